"""Which rows are asked for: ``COLUMN=VALUE`` and ``COLUMN!=VALUE``, several joined by and.

A value may be several with commas between them, any of which fits, and may hold ``*`` for any text. Numbers are
compared as numbers, so that 1e8 is 100000000; an empty value fits a cell that holds nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from experiments.files import BadInput
from experiments.tables.formats import RawTable
from experiments.tables.numbers import is_empty, parse
from experiments.tables.run_table import Exclusion

CLOSE = 1e-9  # relative difference below which two numbers are one
MOST_SHOWN = 8


@dataclass(frozen=True)
class Condition:
    """``column`` of the source; ``value`` as it was typed; ``equal``: whether it has to fit or must not."""

    column: str
    value: str
    equal: bool

    def __str__(self) -> str:
        return f"{self.column}{'=' if self.equal else '!='}{self.value}"

    @staticmethod
    def read(text: str) -> Condition:
        """From a flag; raises `BadInput`."""
        found = re.fullmatch(r"\s*([^=]*[^=!\s])\s*(!?=)\s*(.*?)\s*", text, re.DOTALL)
        if not found:
            raise BadInput(f"--where {text}: must be COLUMN=VALUE or COLUMN!=VALUE")
        return Condition(found[1], found[3], found[2] == "=")

    def fits(self, values: Sequence[Any]) -> list[bool]:
        """Of every value whether its row stays."""
        options = [self.value, *(part.strip() for part in self.value.split(","))] if "," in self.value else [self.value]
        wanted = [float(n) for n in parse(options, suffixes=True).numbers if math.isfinite(n)]
        patterns = [option for option in options if "*" in option]

        def fit(value: Any, plain: float) -> bool:
            if is_empty(value) or value != value:
                return "" in options
            text = str(value).strip()
            return (
                text in options
                or any(abs(plain - n) <= CLOSE * max(abs(n), 1e-300) for n in wanted)
                or any(fnmatchcase(text, pattern) for pattern in patterns)
            )

        distinct = list(dict.fromkeys(values))  # most columns hold few values
        numbers = parse(distinct, suffixes=True).numbers.tolist()
        known = {value: fit(value, plain) for value, plain in zip(distinct, numbers, strict=True)}
        return [known[value] == self.equal for value in values]


def select_rows(raw: RawTable, conditions: Sequence[Condition], columns: Mapping[str, str]) -> RawTable:
    """The rows that all conditions let through, the others counted as excluded.

    ``columns``: names of ours that stand for one of the source's. Raises `BadInput` for a column that is not there, and
    where no row is left, with the values that there are.
    """
    for condition in conditions:
        name = condition.column if condition.column in raw.header else columns.get(condition.column, condition.column)
        if raw.times[name] != 1:
            raise BadInput(f"--where {condition}: {raw.where} has no such column; it has {raw.shown}")
        values = raw.columns[raw.header.index(name)]
        fits = condition.fits(values)
        left = [place for place, fit in enumerate(fits) if fit]
        if not left:
            shown = list(dict.fromkeys(str(value) for value in values))
            text = ", ".join(shown[:MOST_SHOWN])[:200] + (", ..." if len(shown) > MOST_SHOWN else "")
            raise BadInput(f"--where {condition}: no such row in {raw.where}; {name} has {text}")
        if len(left) < len(values):
            first = fits.index(False)
            example = f"{str(values[first])[:40]!r} in line {raw.lines[first]}"
            dropped = Exclusion(
                reason=f"other than --where {condition}", count=len(values) - len(left), example=example
            )
            raw = replace(raw.select(left), exclusions=(*raw.exclusions, dropped))
    return raw
