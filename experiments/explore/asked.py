"""A setting as the explorer is asked for it: fields of text from the page, read by the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.files import BadInput
from theory import Optimizer, Schedule, Trajectory

MOST = {"num_steps": 1_000_000, "num_cycles": 20, "shape": 100_000}  # what a page may ask for
MOST_PIECES = 4  # of a schedule, for what is computed at many settings: it costs their number squared


@dataclass(frozen=True, kw_only=True, eq=False)
class Solved:
    """answer : what ``lrbend predict --json`` prints. words : the verdict, in a sentence or two. run : every step."""

    answer: Mapping[str, Any]
    words: str
    run: Trajectory


@dataclass(frozen=True, kw_only=True, eq=False)
class Asked:
    """A setting that was understood.

    model : keywords of `theory.predict_trajectory` beside optimizer and schedule, with an initial RMS above 0.
    tolerance : where a transient ends. worth : what the numbers mean and what the network's predictions are worth.
    command : a command line that gives the answer. solve : does what takes time.
    """

    optimizer: Optimizer
    schedule: Schedule
    model: Mapping[str, Any]
    tolerance: float
    worth: str
    command: str
    solve: Callable[[], Solved]


class RefusedField(BadInput):
    """What one field holds cannot be used. field : its name, None where no single one is to blame."""

    def __init__(self, message: str, field: str | None) -> None:
        super().__init__(message)
        self.field = field


Reader = Callable[[Mapping[str, str]], Asked]
"""Fields by name to a setting; raises `RefusedField`."""
