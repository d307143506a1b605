"""Many runs for one question: studies, adaptive grids, plans, sweeps.

A `study.Study` holds the question and its cells. `sweep.states` gives the runs that each cell asks for now: all of a
fixed grid, or what `adaptive.grow` makes of the finished ones. `sweep.sweep` has the missing ones executed, round by
round, until no cell asks for more, and `sweep.write_table` leaves ``table.csv``, a row per finished run, for `lrbend
fit`. `plan.make_plan` counts and prices the same runs before anything starts.
"""
