"""The tasks of some studies, each made by itself, on as many cores as a machine has: beside a GPU that is busy."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.pool import AsyncResult
from pathlib import Path

import numpy as np

from experiments.studies.ensembles.many import Wishes
from experiments.studies.ensembles.tasks import Task, made_alone

LOOK_EVERY = 0.2  # seconds


def on_cores(
    wishes: Wishes,
    num_cores: int,
    *,
    seconds: float = np.inf,
    done: Callable[[str, Path], None],
) -> None:
    """Make what these studies want, in their order, and again what they want then, until that is nothing.

    wishes : by study, what it wants next of what has no file yet. seconds : after which all end, and what they have not
    finished is lost. done : called with the study and each file that was written.
    """
    deadline, seen = time.monotonic() + seconds, set[Path]()
    with multiprocessing.get_context("spawn").Pool(num_cores) as pool:  # leaving it ends its processes
        for study, wanted in wishes.items():
            waiting: list[tuple[Task, AsyncResult[None]]] = []
            while True:
                new = [task for task in wanted() if task.file not in seen]
                seen |= {task.file for task in new}
                waiting += [(task, pool.apply_async(make_file, (task,))) for task in new]
                if not waiting:
                    break
                while not any(result.ready() for _, result in waiting):
                    if time.monotonic() > deadline:
                        return
                    time.sleep(LOOK_EVERY)
                ready = [result.ready() for _, result in waiting]  # once: a file may come between two looks
                for (task, result), is_ready in zip(waiting, ready, strict=True):
                    if is_ready:
                        result.get()
                        done(study, task.file)
                waiting = [pair for pair, is_ready in zip(waiting, ready, strict=True) if not is_ready]


def make_file(task: Task) -> None:
    """Its rows, and their file. Raises `BadInput`."""
    task.keep(made_alone(task.make(task.config)))
