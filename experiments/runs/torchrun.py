"""One run shared by several processes of a node: the command that starts them, and what each of them does.

No command for people: `experiments.runs.slurm` writes the job and starts ``torchrun`` with this module.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.files import BadInput, one_line, read_json, to_json, write_whole
from experiments.runs.configs import config_text, read_config
from experiments.runs.produce import Job, train_run
from gpt.config import TrainConfig
from theory import InvalidParameter


def torchrun_command(job: Job, num_processes: int, file: Path) -> list[str]:
    """The command that shares a run among ``num_processes`` processes of this node; writes the job to ``file``."""
    write_whole(file, job_to_json(job).encode())
    launcher = [
        sys.executable,
        "-P",
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_processes}",
    ]
    return [*launcher, "-m", "experiments.runs.torchrun", str(file)]


def job_to_json(job: Job) -> str:
    """The job as text that `job_from_json` reads back."""
    kept = {"study": str(job.study), "label": job.label, "checkpoint_every": job.checkpoint_every}
    return to_json({**kept, "config": config_text(job.config)})


def job_from_json(path: Path) -> Job:
    """Read a job; raises `BadInput`."""
    data = read_json(path)
    try:
        config = read_config(json.loads(data["config"]), where=str(path))
        job = Job(Path(data["study"]), data["label"], config, checkpoint_every=data["checkpoint_every"])  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: not a job ({one_line(error)})") from None
    if not isinstance(config, TrainConfig):
        raise BadInput(f"{path}: not a training run")
    return job


def main(arguments: Sequence[str]) -> int:
    """What each process does: the run of the job file that is the only argument. Returns the exit code."""
    if len(arguments) != 1:
        print("torchrun: expects one file, JOB.json", file=sys.stderr)
        return 2
    try:
        train_run(job_from_json(Path(arguments[0])))
    except (BadInput, InvalidParameter) as error:
        print(f"torchrun: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
