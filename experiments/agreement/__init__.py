"""Theory and simulation against measured trajectories, as tables; nothing here draws.

`setting_runs.group_runs` puts the runs of one setting together, with its simulation; `measure.measure` reads from each
trajectory the equilibrium and the relaxation of every matrix, once for all that follows: `predictions.prediction_rows`
sets them beside theory, with verdicts; `leave_one_out.leave_one_out` says how far off every record is, and whether the
other settings would have told so; `trajectories.trajectory_table` holds the records themselves, to be drawn.
"""
