"""A series along a run from a file: learning rates, angles, directions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.files import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from experiments.tables.formats import RawTable

STEP = ("step", "steps", "_step", "global_step", "trainer/global_step", "iteration", "iterations", "iter", "iters", "t")


@dataclass(frozen=True)
class SeriesFile:
    """``name`` of the column in the file; ``steps`` 0-based, increasing, one ``value`` each, at least 0."""

    path: Path
    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def longest(self) -> int:
        """Steps of a run up to which the file knows something: its last row and one more gap."""
        return self.steps[-1] + max((b - a for a, b in pairwise(self.steps)), default=1)

    def each_step(self, num_steps: int) -> NDArray[np.float64]:
        """(num_steps,) values, straight between the rows, the last one held. Raises `BadInput` unless that is the
        length of the run. A table of a log has closer rows than the log: as much may be missing as of a log, and is
        told.
        """
        import numpy as np

        from experiments.logs.history import SHORT

        last = self.steps[-1]
        longest = max(self.longest, last + (last + 1) // SHORT)
        if not last < num_steps <= longest:
            allowed = f"from {last + 1} to {longest}"
            raise BadInput(f"--num-steps {num_steps}: must be {allowed}, since {self.path} has a row for step {last}")
        if num_steps > self.longest:
            print(f"note: {self.path} ends at step {last}: its last {self.name} is held from there on", file=sys.stderr)
        return np.interp(np.arange(num_steps), self.steps, self.values)


def read_series(path: Path, columns: Sequence[tuple[str, ...]]) -> SeriesFile:
    """The first of the ``columns``, each with its other names, that a table has; its steps, by one of `STEP`, unless
    each row is a step.

    Steps increase, values are finite and at least 0; rows without a value are left out. Raises `BadInput`, also where
    nothing is called a step and another column counts upward, since it may be one.
    """
    from experiments.tables.formats import read_raw
    from experiments.tables.numbers import parse

    raw = read_raw(path)
    places = {name.strip().lower(): place for place, name in reversed(list(enumerate(raw.header)))}

    def column(names: tuple[str, ...]) -> int | None:
        return next((places[name] for name in names if name in places), None)

    chosen = next((place for names in columns if (place := column(names)) is not None), None)
    if chosen is None:
        known = " or ".join(names[0] for names in columns)
        raise BadInput(f"{path}: needs a column {known}; its header is {raw.shown}")
    step, name, cells = column(STEP), raw.header[chosen], parse(raw.columns[chosen])
    if step is None and (counter := _counter(raw)) is not None:
        raise BadInput(
            f"{path}: no column step, and {counter} counts upward: call it step, or leave it out if each row is one"
        )
    if step is not None and (called := raw.header[step].strip()).lower() not in STEP[:2]:
        print(f"note: {path}: step is read from {called}", file=sys.stderr)
    counted = list(range(len(raw.lines))) if step is None else parse(raw.columns[step]).numbers.tolist()
    steps: list[int] = []
    values: list[float] = []
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
        values.append(value)
    if not max(values, default=0.0) > 0:
        raise BadInput(f"{path}: no {name} above 0")
    return SeriesFile(path, name, tuple(steps), tuple(values))


def _counter(raw: RawTable) -> str | None:
    """A column of whole numbers, each above the one before."""
    from experiments.tables.numbers import parse

    for name, cells in zip(raw.header, raw.columns, strict=True):
        values = parse(cells).numbers.tolist()
        if len(values) > 1 and all(float(at).is_integer() for at in values) and all(a < b for a, b in pairwise(values)):
            return name
    return None
