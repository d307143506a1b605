"""``python -m experiments.runs.run_one JOB.json``: one run of a sweep, as a process that ``torchrun`` can multiply."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.cli.parser import Parser, answer
from experiments.files import BadInput, read_json, to_json
from experiments.runs.producing import Job, train_run
from experiments.runs.run_directory import read_config, write_config
from gpt.config import TrainConfig


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


def main() -> int:
    parser = Parser(prog="python -m experiments.runs.run_one", description="One run of a sweep.")
    parser.add_argument("job", type=Path, metavar="JOB.json", help="as written by the sweep")
    return answer(run, parser.parse_args(), prog=parser.prog)


def run(options: argparse.Namespace) -> int:
    train_run(job_from_json(options.job))
    return 0


if __name__ == "__main__":
    sys.exit(main())
