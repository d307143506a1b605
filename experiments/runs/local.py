"""Many runs on the cores of this machine: one process per core, one torch thread per process.

A run that another process works on is left to it and looked at again later. A worker that dies (killed, out of memory)
takes nothing with it but the steps since its last checkpoint: the pool is made anew and its run goes on. Workers end by
themselves when the process that started them is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from pathlib import Path

from experiments.files import BadInput, one_line
from experiments.runs import run_directory
from experiments.runs.produce import SAFE_PATH, Job, train_run
from experiments.runs.progress import ProgressBar
from experiments.streams import lasting_errors
from theory import InvalidParameter

LARGEST_NUMBER_OF_DEATHS = 10  # of pools in a row without a checkpoint or a finished run between them
PAUSE = 0.5  # seconds between looks at what other processes do


class _Answer(Enum):
    DONE = "done"
    BUSY = "another process works on it"


def run_jobs(jobs: Iterable[Job], *, num_workers: int | None = None) -> list[Path]:
    """Produce all runs or find them finished; their directories in the order of the jobs.

    Raises `BadInput` with the first fault when the other runs are done; `KeyboardInterrupt`, after the workers were
    stopped, on Ctrl-C. Either way finished runs stay, and unfinished ones resume from their checkpoint next time.
    """
    jobs = list(jobs)
    faults = try_jobs(jobs, num_workers=num_workers)
    if faults:
        raise BadInput(next(iter(faults.values())))
    return [job.path for job in jobs]


def try_jobs(jobs: Iterable[Job], *, num_workers: int | None = None) -> dict[Path, str]:
    """The same, but a run that fails does not stop the others; returns a line per run that failed.

    A progress bar over the steps of all unfinished runs goes to stderr. ``num_workers`` defaults to one per core that
    this process may use; a single worker is this process itself.
    """
    from joblib import cpu_count

    waiting = {job.path: job for job in jobs if not run_directory.is_finished(job.path)}
    faults: dict[Path, str] = {}
    if waiting:
        workers = min(num_workers or cpu_count(), len(waiting))
        with ProgressBar({path: job.config.schedule.num_steps for path, job in waiting.items()}):
            deaths = 0
            while waiting:
                before = _checkpoint_times(waiting)
                answers = _here(waiting.values()) if workers == 1 else _in_pool(list(waiting.values()), workers)
                died = False
                for path, answer in answers:
                    if answer is None:
                        died = True
                    elif answer is not _Answer.BUSY:
                        del waiting[path]
                        if isinstance(answer, str):
                            faults[path] = answer
                deaths = deaths + 1 if died and _checkpoint_times(waiting) == before else 0
                if deaths == LARGEST_NUMBER_OF_DEATHS:
                    line = "its process was killed again and again (out of memory?)"
                    return faults | {path: f"{path}: {line}" for path in waiting}
                if waiting and not died:
                    time.sleep(PAUSE)
    return faults


def _here(jobs: Iterable[Job]) -> Iterator[tuple[Path, _Answer | str | None]]:
    import torch

    torch.set_num_threads(1)
    for job in list(jobs):
        yield job.path, _attempt(job)


def _in_pool(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Path, _Answer | str | None]]:
    """Answers as they come; None once for a pool that broke, which ends it."""
    from concurrent.futures import as_completed
    from concurrent.futures.process import BrokenProcessPool

    from joblib.externals.loky import get_reusable_executor

    os.environ.update(SAFE_PATH)  # for what loky starts beside its workers
    executor = get_reusable_executor(
        max_workers=workers,
        timeout=60,
        env={"OMP_NUM_THREADS": "1", **SAFE_PATH},
        initializer=_end_with,
        initargs=(os.getpid(),),
    )
    try:
        try:
            with _ctrl_c_later():
                futures = {executor.submit(_train_in_worker, job): job.path for job in jobs}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            yield jobs[0].path, None
    except BaseException:
        executor.shutdown(wait=False, kill_workers=True)
        raise


@contextlib.contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold a Ctrl-C back until the block ends. Processes that are started in it do not hear one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))  # another thread may take it
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # which processes inherit, as no handler is
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _end_with(parent: int) -> None:
    """Let this worker end soon after the process that started it, also while it waits for work."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PAUSE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
    lasting_errors()


def _train_in_worker(job: Job) -> _Answer | str:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(1)
    return _attempt(job)


def _attempt(job: Job) -> _Answer | str:
    """Produce the run, unless another process does; a fault is one line that names it."""
    if run_directory.is_claimed(job.path):
        return _Answer.BUSY
    try:
        train_run(job)
    except Exception as error:
        kind = "" if isinstance(error, InvalidParameter | BadInput | OSError) else f"{type(error).__name__}: "
        return f"{job.path}: {kind}{one_line(error)}"
    return _Answer.DONE


def _checkpoint_times(paths: Iterable[Path]) -> dict[Path, int]:
    """What changes whenever a run has come further."""
    return {path: run_directory.checkpoint_time(path) for path in paths}
