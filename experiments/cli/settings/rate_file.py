"""A learning-rate series from a file, as a schedule: ``--schedule file:lr.csv``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.settings.series_file import SeriesFile, read_series
from experiments.files import BadInput

if TYPE_CHECKING:
    from theory import Tabulated

PREFIX = "file:"
RATE, MULTIPLIER = ("learning_rate", "lr"), ("multiplier",)


@dataclass(frozen=True)
class RateFile:
    """``series`` of multipliers in [0, 1]; ``peak``: highest rate, None in a file of multipliers."""

    series: SeriesFile
    peak: float | None

    @property
    def num_steps(self) -> int:
        return self.series.steps[-1] + 1

    def schedule(self, num_steps: int | None) -> Tabulated:
        """Of that length, by default up to the last row; raises `BadInput` where the file knows nothing of the end."""
        from theory import Tabulated

        length, most = self.num_steps if num_steps is None else num_steps, self.series.longest
        if length > most:
            raise BadInput(f"--num-steps {length}: must be at most {most}, up to which {self.series.path} gives a rate")
        return Tabulated(num_steps=length, steps=self.series.steps, values=self.series.values)


def read_rates(path: Path) -> RateFile:
    """A table with a column ``learning_rate`` (``lr``) or ``multiplier``, as `read_series` reads it.

    One rate at least is above 0; multipliers are at most 1. Raises `BadInput`.
    """
    series = read_series(path, (RATE, MULTIPLIER))
    highest = max(series.values)
    if series.name.strip().lower() in RATE:
        multipliers = tuple(value / highest for value in series.values)
        return RateFile(SeriesFile(path, series.name, series.steps, multipliers), highest)
    if highest > 1:
        raise BadInput(f"{path}: multiplier {highest:g} must be at most 1; a column learning_rate may hold more")
    return RateFile(series, None)
