"""Small tables of runs, made for the tests."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RATES = (1e-3, 2e-3, 4e-3, 8e-3, 16e-3)


def sweep(
    best: float = 4e-3, rates: Sequence[float] = RATES, floor: float = 3.0, **columns: Any
) -> list[dict[str, Any]]:
    """One cell: a parabola about ``best`` in ln(learning rate), and columns that are the same in all runs."""
    return [
        {"learning_rate": rate, "loss": round(floor + 0.05 * np.log(rate / best) ** 2, 6), **columns} for rate in rates
    ]


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], separator: str = ",") -> Path:
    """Rows that all have the same columns."""
    rows, buffer = list(rows), io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter=separator, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(buffer.getvalue())
    return path
