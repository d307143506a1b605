"""The optima of several arms, cell by cell: read from a table, and paired.

Cells of two arms are the same if they agree in every scale that both have. A weight decay that does not vary within any
arm does not count: an arm on the sphere has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.files import BadInput
from experiments.tables.numbers import LARGEST, SMALLEST
from experiments.tables.run_table import DECAYS, SCALES

Array = NDArray[np.float64]

WIDEST_ERROR = 3.0  # of ln(optimum), where an interval is open
NORMAL_95 = 1.96
KEYS = (*SCALES, DECAYS[0])  # of a table of optima


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Cells whose optimum lies inside its grid in every arm.

    settings : of the cells, by column. log_optimum, error : (num_cells, num_arms), ln(optimal rate) and its standard
    error. num_in_all : the number of cells that some arm has.
    """

    settings: tuple[Mapping[str, float], ...]
    log_optimum: Array
    error: Array
    num_in_all: int


def pair(optima: Mapping[str, Sequence[CellOptimum]], arms: Sequence[str]) -> Paired:
    """The cells that all of ``arms`` share."""
    keys = [one.key for name in arms for one in optima[name]]
    names = [name for name in dict.fromkeys(name for key in keys for name in key) if all(name in key for key in keys)]
    decays = [{tuple(one.key.get(name) for name in DECAYS) for one in optima[arm]} for arm in arms]
    if all(len(each) <= 1 for each in decays):
        names = [name for name in names if name not in DECAYS]
    by_cell = [{tuple(one.key[name] for name in names): one for one in optima[arm]} for arm in arms]
    everywhere = sorted({key for cells in by_cell for key in cells})
    kept = [key for key in everywhere if all(_inside(cells.get(key)) for cells in by_cell)]
    found = [[cells[key] for cells in by_cell] for key in kept]
    shape = (len(kept), len(arms))
    return Paired(
        settings=tuple(dict(zip(names, key, strict=True)) for key in kept),
        log_optimum=np.array([[np.log(cell.learning_rate or np.nan) for cell in row] for row in found]).reshape(shape),
        error=np.array([[standard_error(cell) for cell in row] for row in found]).reshape(shape),
        num_in_all=len(everywhere),
    )


def _inside(cell: CellOptimum | None) -> bool:
    return cell is not None and cell.status is OptimumStatus.INTERIOR and cell.learning_rate is not None


def standard_error(cell: CellOptimum) -> float:
    """Of ln(optimum), from its 95 % interval; `WIDEST_ERROR` where that is open or unknown."""
    if cell.low is None or cell.high is None or not cell.high > cell.low:
        return WIDEST_ERROR
    return min(float(np.log(cell.high / cell.low)) / (2 * NORMAL_95), WIDEST_ERROR)


def optima_from_frame(
    frame: pd.DataFrame, *, arm: str = "arm", where: str = "optima"
) -> dict[str, tuple[CellOptimum, ...]]:
    """Optima by arm from a table with a row per cell and arm.

    Columns: ``arm``, ``learning_rate``, any of `KEYS`, and, if they are there, ``low, high`` (95 %) and ``status``, one
    of `OptimumStatus`. A learning rate that is missing is not known. Raises `BadInput`, which names ``where``.
    """
    missing = [f"no column {name}" for name in (arm, "learning_rate") if name not in frame.columns]
    if missing:
        raise BadInput(f"{where}: {'; '.join(missing)}; it has {', '.join(map(str, frame.columns))[:200]}")
    scales = [name for name in KEYS if name in frame.columns]
    try:
        numbers = frame[[*scales, *(c for c in ("learning_rate", "low", "high") if c in frame)]].astype(float)
    except (ValueError, OverflowError) as error:  # the second of a whole number of hundreds of digits
        raise BadInput(f"{where}: {' '.join(str(error).split())}") from None
    if frame.duplicated([arm, *scales]).any():
        raise BadInput(f"{where}: two rows for one cell and arm")
    for name in scales:
        if not numbers[name].abs().between(SMALLEST, LARGEST).where(numbers[name] != 0, True).all():
            raise BadInput(f"{where}: {name} is not a number between {SMALLEST:g} and {LARGEST:g} in every row")
    labels = frame[arm].map(_word)
    words = frame["status"].map(_word) if "status" in frame.columns else labels.map(lambda _: "interior")
    known = [status.value for status in OptimumStatus]
    if unknown := [word for word in words if word not in known]:
        raise BadInput(f"{where}: status {unknown[0][:40]!r} is not one of {', '.join(known)}")
    result: dict[str, tuple[CellOptimum, ...]] = {}
    for label in dict.fromkeys(labels):
        rows = numbers[labels == label]
        result[label] = tuple(
            _optimum({name: float(row[name]) for name in scales}, row, word)
            for row, word in zip(rows.to_dict("records"), words[labels == label], strict=True)
        )
    return result


def _word(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _optimum(key: dict[str, float], row: Mapping[Any, Any], word: str) -> CellOptimum:
    def number(name: str) -> float | None:
        value = float(row.get(name, np.nan))
        return value if SMALLEST <= value <= LARGEST else None

    interior = word == OptimumStatus.INTERIOR.value
    return CellOptimum(
        key=key,
        status=OptimumStatus(word),
        learning_rate=number("learning_rate") if interior else None,
        low=number("low"),
        high=number("high"),
        curvature=None,
        best_learning_rate=None,
        best_loss=None,
        num_learning_rates=0,
        num_runs=0,
        num_diverged=0,
        num_out_of_reach=0,
    )
