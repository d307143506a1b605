"""What a study wants trained, written once for both ways of making it: run by run, and many at once.

A *making* is a generator: it yields the runs that it needs next, is sent what came of them, and returns its rows. So a
run that is steered by others can ask for it once they are there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from experiments.files import write_whole
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from gpt.replay import Recording
from gpt.train import TrainResult, train


@dataclass(frozen=True)
class Run:
    """A training run, with the recording that steers it."""

    config: TrainConfig
    recording: Recording | None = None


@dataclass(frozen=True)
class Trained:
    """What came of a run, and how long it took; in an ensemble that is its share of the whole."""

    result: TrainResult
    seconds: float

    @property
    def device(self) -> str:
        """Where it was computed, at last: "cpu", or the name of a GPU."""
        return str(self.result.conditions[-1]["device"])


Making = Generator[list[Run], list[Trained], pd.DataFrame]


@dataclass(frozen=True)
class Task:
    """The rows of one file among the runs of a study; ``make`` begins their making."""

    place: Workplace
    config: TrainConfig
    make: Callable[[TrainConfig], Making]

    @property
    def file(self) -> Path:
        return self.place.file_of(self.config)

    def keep(self, rows: pd.DataFrame) -> None:
        """Write the file, whole. Raises `BadInput`."""
        write_whole(self.file, rows.to_csv(index=False).encode())


def made_alone(making: Making, clock: Callable[[], float] = time.perf_counter) -> pd.DataFrame:
    """Its rows, each run trained by itself on one thread; ``clock`` tells its seconds."""
    torch.set_num_threads(1)
    try:
        runs = next(making)
        while True:
            found = []
            for run in runs:
                start = clock()
                result = train(run.config, recording=run.recording)
                found.append(Trained(result, clock() - start))
            runs = making.send(found)
    except StopIteration as end:
        rows: pd.DataFrame = end.value
        return rows
