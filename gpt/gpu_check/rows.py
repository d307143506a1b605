"""What the check found: one row a figure, and how rows are written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure.

    part : of the check. what : is measured, in words. value : None where it could not be had, for the reason in
    ``note``. unit : of the value. limit : that the value must not exceed; None where nothing is judged.
    """

    part: str
    what: str
    value: float | None
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """None where nothing is judged. A figure that is missing where one is to be judged has not passed."""
        if self.value is None:
            return False if self.limit is not None else None
        return None if self.limit is None else math.isfinite(self.value) and self.value <= self.limit

    def in_words(self) -> str:
        """Part, what, value and verdict on one line."""
        part, what, value, limit, verdict = _cells(self)
        return f"{part}: {what}: {value}{f' (limit {limit})' if limit else ''} {verdict}".rstrip()


COLUMNS = (*(field.name for field in fields(Row)), "passed")


@dataclass(frozen=True, kw_only=True)
class Report:
    """The whole of it.

    device : its name. on_gpu : whether that is a GPU; if not, nothing here speaks of one. scale : of the sizes, 1 is
    all. torch, cuda : versions. seconds : by part.
    """

    device: str
    on_gpu: bool
    scale: float
    torch: str
    cuda: str | None
    seconds: dict[str, float]
    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether every figure that is judged keeps its limit."""
        return all(row.passed is not False for row in self.rows)

    def records(self) -> list[dict[str, object]]:
        """The rows as a table has them; None for what is not finite."""
        return [
            {name: _plain(value) for name, value in {**asdict(row), "passed": row.passed}.items()} for row in self.rows
        ]

    def to_json(self) -> str:
        head = {"passed": self.passed, **{f.name: getattr(self, f.name) for f in fields(self) if f.name != "rows"}}
        return json.dumps({**head, "rows": self.records()}, indent=2, allow_nan=False) + "\n"

    def in_words(self) -> str:
        """The table, and the verdict."""
        table = [("part", "what", "value", "limit", ""), *map(_cells, self.rows)]
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        lines = [
            "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
        ]
        return "\n".join([*lines, self.verdict()])

    def verdict(self) -> str:
        """Whether it passed, where, and whether that speaks of a GPU."""
        where = f"{self.device}, torch {self.torch}, {sum(self.seconds.values()):.0f} seconds"
        if not self.on_gpu:
            where += f". NOT RUN ON A GPU: at {self.scale:g} of its size on a CPU, which says nothing of speed on a GPU"
        return f"{'PASSED' if self.passed else 'FAILED'} on {where}."


def _cells(row: Row) -> Sequence[str]:
    value = f"not known: {row.note}" if row.value is None else f"{row.value:.4g} {row.unit}"
    verdict = {True: "kept", False: "MISSED", None: ""}[row.passed]
    note = row.note if row.value is not None else ""
    return row.part, row.what, value, "" if row.limit is None else f"{row.limit:g}", f"{verdict} {note}".strip()


def _plain(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
