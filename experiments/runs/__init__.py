"""One run: its config, its directory, how it is produced, on this machine or on a cluster.

A `produce.Job` names a config and the study that wants it. `local.try_jobs` and `slurm.SlurmPool.run` bring many jobs
to `produce.train_run`: `run_directory.claim` locks the hidden directory of the run, `gpt.train.train` trains and leaves
checkpoints there, `run_files` and `provenance` say what happened, `run_directory.publish` gives it its final name. A
simulation goes the same way through `produce.simulate_run`. `run_files.load_run` reads the directory back as a `Run`.
"""
