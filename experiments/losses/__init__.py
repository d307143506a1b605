"""Final loss from the schedule, the size and the length of a run, with intervals.

A table of final losses: `loss_table` (cells by `columns`, schedules by `settings`) -> `finished_runs` -> `features` ->
`schedule_law` -> `intervals` -> `final_loss`, which ranks runs not made.
Loss curves of one model: `curve_files` -> `curve_fit` (the laws of `theory.loss_laws`) -> `curve_law`, which ranks too.
"""
