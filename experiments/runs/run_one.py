"""One run of a sweep as a module that ``torchrun`` starts, once for each process that shares the run.

No command for people: `experiments.runs.slurm` writes the job and names this module to the launcher.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.files import BadInput, read_json, to_json
from experiments.runs.producing import Job, train_run
from experiments.runs.run_directory import read_config, write_config
from gpt.config import TrainConfig
from theory import InvalidParameter


def job_to_json(job: Job) -> str:
    """The job as text that `job_from_json` reads back."""
    kept = {"study": str(job.study), "label": job.label, "checkpoint_every": job.checkpoint_every}
    return to_json({**kept, "config": write_config(job.config)})


def job_from_json(path: Path) -> Job:
    """Read a job; raises `BadInput`."""
    import json

    data = read_json(path)
    try:
        config = read_config(json.loads(data["config"]), where=str(path))
        job = Job(Path(data["study"]), data["label"], config, checkpoint_every=data["checkpoint_every"])  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not a job ({' '.join(str(error).split())})") from None
    if not isinstance(config, TrainConfig):
        raise BadInput(f"{path}: not a training run")
    return job


def main(arguments: Sequence[str]) -> int:
    """Make the run of the job file that is the only argument; returns the exit code."""
    if len(arguments) != 1:
        print("run_one: expects one file, JOB.json", file=sys.stderr)
        return 2
    try:
        train_run(job_from_json(Path(arguments[0])))
    except (BadInput, InvalidParameter) as error:
        print(f"run_one: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
