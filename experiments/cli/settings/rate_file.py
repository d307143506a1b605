"""A learning-rate series from a file, as a schedule: ``--schedule file:lr.csv``."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.files import BadInput

if TYPE_CHECKING:
    from theory import Tabulated

PREFIX = "file:"
STEP, RATE, MULTIPLIER = ("step", "steps"), ("learning_rate", "lr"), ("multiplier",)


@dataclass(frozen=True)
class RateFile:
    """``steps`` 0-based, ``values`` multipliers in [0, 1]; ``peak``: highest rate, None in a file of multipliers."""

    path: Path
    steps: tuple[int, ...]
    values: tuple[float, ...]
    peak: float | None

    @property
    def num_steps(self) -> int:
        return self.steps[-1] + 1

    def schedule(self, num_steps: int | None) -> Tabulated:
        """Of that length, by default up to the last row; raises `BadInput` where the file knows nothing of the end."""
        from theory import Tabulated

        length = self.num_steps if num_steps is None else num_steps
        gaps = [b - a for a, b in pairwise(self.steps)]
        most = self.steps[-1] + max(gaps, default=1)
        if length > most:
            raise BadInput(f"--num-steps {length}: must be at most {most}, up to which {self.path} gives a rate")
        return Tabulated(num_steps=length, steps=self.steps, values=self.values)


def read_rates(path: Path) -> RateFile:
    """A table with a column ``learning_rate`` (``lr``) or ``multiplier``, and ``step`` unless each row is a step.

    Steps increase; rates are at least 0, one at least above 0; multipliers are at most 1. Rows without a rate are left
    out. Raises `BadInput`.
    """
    from experiments.tables.formats import read_raw
    from experiments.tables.numbers import parse

    raw = read_raw(path)
    places = {name.strip().lower(): place for place, name in reversed(list(enumerate(raw.header)))}

    def column(names: tuple[str, ...]) -> int | None:
        return next((places[name] for name in names if name in places), None)

    rate, factor, step = column(RATE), column(MULTIPLIER), column(STEP)
    chosen = factor if rate is None else rate
    if chosen is None:
        raise BadInput(f"{path}: needs a column learning_rate or multiplier; its header is {raw.shown}")
    name, cells = raw.header[chosen], parse(raw.columns[chosen])
    counted = list(range(len(raw.lines))) if step is None else parse(raw.columns[step]).numbers.tolist()
    steps: list[int] = []
    rates: list[float] = []
    rows = zip(raw.lines, counted, cells.numbers.tolist(), cells.empty.tolist(), strict=True)
    for line, at, value, empty in rows:
        if empty:
            continue
        if not 0 <= value < float("inf"):
            raise BadInput(f"{path} line {line}: {name} must be a finite number of at least 0")
        if not (0 <= at < 2**53 and float(at).is_integer()):
            raise BadInput(f"{path} line {line}: step must be a whole number of at least 0")
        if steps and at <= steps[-1]:
            raise BadInput(f"{path} line {line}: step {at:g} must be above {steps[-1]}, the one before it")
        steps.append(int(at))
        rates.append(value)
    highest = max(rates, default=0.0)
    if not highest > 0:
        raise BadInput(f"{path}: no {name} above 0")
    if rate is None:
        if highest > 1:
            raise BadInput(f"{path}: multiplier {highest:g} must be at most 1; a column learning_rate may hold more")
        return RateFile(path, tuple(steps), tuple(rates), None)
    return RateFile(path, tuple(steps), tuple(value / highest for value in rates), highest)
