r"""A column of the runs at one learning rate for all cells, so that it is not the optimum that moves it.

A cell's ln r is read at the rate that the law of the optima gives for the cell, between the rates that were tried, and
from there taken to the common rate by the mean slope of ln r in ln(learning rate). It is not read at the cell's own
optimum: the error of that would then stand in the column as well, and look like a link between the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.tables.run_table import RunTable

Array = NDArray[np.float64]

REACH = 4.0  # ratio to the optimum within which runs are read


@dataclass(frozen=True, kw_only=True)
class Readings:
    """Runs of one cell near its optimum: ``log_rate``, ``log_value``, ``seed``, (num_runs,)."""

    log_rate: Array
    log_value: Array
    seed: NDArray[np.str_]


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Of every cell: ``level`` (num_cells,) of ln r at the common rate, its ``variance`` by seeds, None with a single
    seed somewhere. ``slope``: d ln r / d ln(learning rate), NaN with a single rate in every cell."""

    level: Array
    variance: Array | None
    slope: float


def read_cells(optima: Sequence[CellOptimum], runs: RunTable, column: str) -> tuple[list[CellOptimum], list[Readings]]:
    """Cells that have both an optimum and the column; its values are above 0 or NaN."""
    values, rates = runs.numbers[column], runs.numbers["learning_rate"]
    seeds = runs.labels.get("seed", np.full(len(runs), "0"))
    cells, readings = [], []
    for cell in optima:
        if cell.status is not OptimumStatus.INTERIOR or cell.learning_rate is None:
            continue
        chosen = np.isfinite(values) & (np.abs(np.log(rates / cell.learning_rate)) <= np.log(REACH))
        for name, value in cell.key.items():
            chosen &= runs.numbers[name] == value
        if chosen.any():
            cells.append(cell)
            readings.append(
                Readings(log_rate=np.log(rates[chosen]), log_value=np.log(values[chosen]), seed=seeds[chosen])
            )
    return cells, readings


def read_levels(readings: Sequence[Readings], at: Array) -> Levels:
    """``at`` (num_cells,): ln of the rate that each cell is read at; their mean is the common rate."""
    across = [each.log_rate - each.log_rate.mean() for each in readings]
    along = [each.log_value - each.log_value.mean() for each in readings]
    squares = sum(float(x @ x) for x in across)
    slope = sum(float(x @ y) for x, y in zip(across, along, strict=True)) / squares if squares > 0 else np.nan
    centre, level, variance = float(at.mean()), [], []
    for each, wanted, x, y in zip(readings, at, across, along, strict=True):
        rates, place = np.unique(each.log_rate, return_inverse=True)
        means = np.bincount(place, each.log_value) / np.bincount(place)
        nearest = float(np.clip(wanted, rates[0], rates[-1]))
        moved = 0.0 if np.isnan(slope) else slope * (centre - nearest)
        level.append(float(np.interp(nearest, rates, means)) + moved)
        variance.append(_variance_by_seed(y if np.isnan(slope) else y - slope * x, each.seed))
    known = [value for value in variance if value is not None]
    return Levels(
        level=np.array(level), variance=np.array(known) if len(known) == len(variance) else None, slope=float(slope)
    )


def _variance_by_seed(residual: Array, seeds: NDArray[np.str_]) -> float | None:
    """Of the mean over seeds; None with a single one."""
    means = [residual[seeds == seed].mean() for seed in np.unique(seeds)]
    return float(np.var(means, ddof=1)) / len(means) if len(means) > 1 else None
