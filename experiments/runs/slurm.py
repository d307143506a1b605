"""Many runs on a Slurm cluster: job arrays through submitit, each job one run in its own directory.

A job that Slurm stops at its time limit or preempts is put back into the queue under the same number and goes on from
its checkpoint; so is one whose node fails. A job that dies in any other way is submitted again. ``.slurm`` in the
study's directory holds which job has which run, so that a sweep that is started again finds the jobs of the one before;
submitit's files and the jobs' logs lie there too. The directory has to be on a file system that all nodes share. What
keeps two jobs from producing one run at once is `experiments.locks`, which does not need locks between nodes.

Jobs are looked for with squeue alone; a cluster need not keep accounts.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.files import BadInput, read_json, to_json, write_whole
from experiments.locks import locked
from experiments.runs import run_directory
from experiments.runs.produce import SAFE_PATH, Job, train_run
from experiments.runs.progress import ProgressBar
from experiments.runs.torchrun import torchrun_command
from theory import InvalidParameter
from theory.checks import require_integer

FOLDER, LEDGER = ".slurm", "jobs.json"
LARGEST_ARRAY = 1000  # Slurm's default limit
MOST_ATTEMPTS = 3  # submissions of one run without a new checkpoint between them
SHORTEST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds between looks, longer while nothing happens
SLURM_TIMEOUT = 120  # seconds that squeue may take


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """What each run asks of the cluster.

    partition : None for the cluster's default. time_minutes : after which a job goes back into the queue. gpus : 0 for
    none; with more than one, torchrun shares the run among them. cpus : per run. memory_gb : None for the cluster's
    default. max_parallel : jobs of an array that run at once. further : ``#SBATCH`` settings by name.

    Raises
    ------
    InvalidParameter : a number outside its range.
    """

    partition: str | None = None
    time_minutes: int = 240
    gpus: int = 0
    cpus: int = 1
    memory_gb: int | None = None
    max_parallel: int = 256
    further: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("time_minutes", "cpus", "max_parallel"):
            require_integer(name, getattr(self, name), at_least=1)
        require_integer("gpus", self.gpus, at_least=0)
        if self.memory_gb is not None:
            require_integer("memory_gb", self.memory_gb, at_least=1)


@dataclass(frozen=True)
class SlurmRun:
    """What submitit calls on the node. ``fault``: where a fault that another attempt would meet too is written."""

    job: Job
    gpus: int
    cpus: int
    fault: Path

    def __call__(self) -> None:
        import torch

        try:
            if self.gpus > 1:
                command = torchrun_command(self.job, self.gpus, self.fault.with_suffix(".json"))
                subprocess.run(command, check=True, env={**os.environ, **SAFE_PATH})
            else:
                torch.set_num_threads(self.cpus)
                train_run(self.job)
        except (InvalidParameter, BadInput) as error:
            write_whole(self.fault, str(error).encode(errors="replace"))

    def checkpoint(self) -> Any:
        """Called by submitit before the job goes back into the queue: the run's own checkpoint is all there is."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def require_slurm() -> None:
    """Raise `BadInput` with what is missing for ``--executor slurm``."""
    missing = [command for command in ("sbatch", "squeue", "srun") if shutil.which(command) is None]
    if missing:
        raise BadInput(f"--executor slurm: {', '.join(missing)} not found; start the sweep on a node with Slurm")
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise BadInput(
            "--executor slurm: submitit is not installed; pip install -c constraints.txt -e '.[cluster]'"
        ) from None
    if active_jobs() is None:
        raise BadInput("--executor slurm: squeue does not answer; is the controller of the cluster running?")


def active_jobs() -> set[str] | None:
    """Numbers of this user's jobs that wait or run, array tasks as 12_3; None if squeue does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SLURM_TIMEOUT, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.split())


class SlurmPool:
    """The jobs of one study."""

    def __init__(self, directory: Path, name: str, options: SlurmOptions) -> None:
        self._folder = (directory / FOLDER).absolute()
        self._name = name
        self._options = options
        self._attempts: dict[str, tuple[int, int]] = {}  # by run: submissions, and the checkpoint's time at the last
        self._suspects: set[str] = set()  # runs whose job was not there at the last look

    def run(self, jobs: Sequence[Job]) -> dict[Path, str]:
        """Produce all runs; returns a line per run that failed. On Ctrl-C the jobs stay with Slurm."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{self._folder}: cannot hold jobs ({error.strerror})") from None
        waiting = {job.path: replace(job, study=job.study.absolute()) for job in jobs}
        faults: dict[Path, str] = {}
        pause = SHORTEST_PAUSE
        for job in waiting.values():
            self._fault(job).unlink(missing_ok=True)
        with ProgressBar({job.path: job.config.schedule.num_steps for job in jobs}):
            while True:
                before = len(waiting)
                for path, job in list(waiting.items()):
                    if run_directory.is_finished(path):
                        del waiting[path]
                    elif self._fault(job).exists():
                        faults[path] = f"{path}: {self._fault(job).read_text(encoding='utf-8')}"
                        del waiting[path]
                if not waiting:
                    return faults
                submitted = self._submit_lost(waiting, faults)
                moved = submitted or bool(self._suspects) or len(waiting) < before
                pause = SHORTEST_PAUSE if moved else min(1.5 * pause, LONGEST_PAUSE)
                time.sleep(pause)

    def _submit_lost(self, waiting: dict[Path, Job], faults: dict[Path, str]) -> bool:
        """Submit the runs that have no job; one that had a job is given a second look first."""
        with self._ledger() as ledger:
            active = active_jobs()
            if active is None:
                return False
            lost = {path: job for path, job in waiting.items() if ledger.get(job.path.name) not in active}
            new = [job for job in lost.values() if job.path.name not in ledger or job.path.name in self._suspects]
            self._suspects = {job.path.name for job in lost.values() if job not in new}
            chosen = []
            for job in new:
                if run_directory.is_finished(job.path):
                    continue
                attempts, seen = self._attempts.get(job.path.name, (0, -1))
                now = run_directory.checkpoint_time(job.path)
                attempts = 1 if now != seen else attempts + 1
                self._attempts[job.path.name] = (attempts, now)
                if attempts > MOST_ATTEMPTS:
                    path = next(path for path, other in waiting.items() if other is job)
                    log = self._folder / f"{ledger[job.path.name]}_0_log.err"
                    faults[path] = f"{path}: {MOST_ATTEMPTS} jobs in a row ended without progress, see {log}"
                    del waiting[path]
                else:
                    chosen.append(job)
            for first in range(0, len(chosen), LARGEST_ARRAY):
                part = chosen[first : first + LARGEST_ARRAY]
                for job, number in zip(part, self._submit(part), strict=True):
                    ledger[job.path.name] = number
            return bool(chosen)

    def _submit(self, jobs: Sequence[Job]) -> list[str]:
        """Submit an array; returns the jobs' numbers."""
        import submitit

        options = self._options
        executor = submitit.SlurmExecutor(
            folder=self._folder, max_num_timeout=10_000, python=shlex.join([sys.executable, "-P"])
        )
        settings: dict[str, Any] = {
            "job_name": self._name,
            "partition": options.partition,
            "time": options.time_minutes,
            "cpus_per_task": options.cpus,
            "gpus_per_node": options.gpus or None,
            "mem": None if options.memory_gb is None else f"{options.memory_gb}GB",
            "array_parallelism": options.max_parallel,
            "setup": [f"export {name}={value}" for name, value in SAFE_PATH.items()],
            "additional_parameters": {"requeue": True, **options.further},
        }
        executor.update_parameters(**{name: value for name, value in settings.items() if value is not None})
        calls = [SlurmRun(job, options.gpus, options.cpus, self._fault(job)) for job in jobs]
        try:
            submitted = executor.submit_array(calls)
        except (subprocess.SubprocessError, RuntimeError) as error:
            reason = " ".join(str(error).split())[-300:]
            raise BadInput(f"--executor slurm: sbatch refused the jobs ({reason})") from None
        return [job.job_id for job in submitted]

    def _fault(self, job: Job) -> Path:
        return self._folder / f"{job.path.name}.fault"

    @contextlib.contextmanager
    def _ledger(self) -> Iterator[dict[str, str]]:
        """Job numbers by run; kept when the block ends, even by an exception; one sweep at a time."""
        file = self._folder / LEDGER
        with locked(self._folder / "lock"):
            ledger: dict[str, str] = read_json(file) if file.exists() else {}
            before = dict(ledger)
            try:
                yield ledger
            finally:
                if ledger != before:
                    write_whole(file, to_json(ledger, indent=0).encode())
