r"""The best learning rate of one cell, with an interval that may be open, and a status.

Status, the first that applies: ``too-few-points``, below three usable learning rates, below two in a table where other
cells tell the curvature; ``flat``, the losses do not differ from a constant at the 5 % level, nor does a parabola at
0.1 %; ``censored-low``, ``censored-high``, the fitted optimum lies beyond the edge of what was tried, or the lowest
mean loss stands at the edge and the interval reaches past it: only a bound is known; ``interior``. A diverged rate
counts as tried, so it closes the grid from above. The interval is that of `experiments.bend.interval`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f as fisher

from experiments.bend.cells import Cell, make_cell, stack
from experiments.bend.evidence.shapes import beside_the_best, fit_shapes
from experiments.bend.interval import Profile, profile
from theory import InvalidParameter

FLAT_BELOW = 1e-3  # level at which a parabola is no accident
PINNED = 1e-3  # in ln: an optimum so close to the end of its range is held there by it


class OptimumStatus(Enum):
    """What is known of an optimum."""

    INTERIOR = "interior"
    CENSORED_LOW = "censored-low"  # at or below the lowest rate tried
    CENSORED_HIGH = "censored-high"
    FLAT = "flat"
    TOO_FEW_POINTS = "too-few-points"


@dataclass(frozen=True, kw_only=True)
class CellOptimum:
    """The optimum of one cell.

    key : its setting. learning_rate : the optimum, None unless interior; low, high : its 95 % interval, None where
    open. curvature : of the loss in ln(learning rate) at the optimum, nats, None where unknown. best_learning_rate,
    best_loss : the lowest mean loss that was measured. num_learning_rates : usable; num_runs, num_diverged,
    num_out_of_reach, num_past_wall : runs. left_out : ``learning_rate`` and ``reason`` of each rate that was not
    fitted, diverged ones not among them.
    """

    key: Mapping[str, float]
    status: OptimumStatus
    learning_rate: float | None
    low: float | None
    high: float | None
    curvature: float | None
    best_learning_rate: float | None
    best_loss: float | None
    num_learning_rates: int
    num_runs: int
    num_diverged: int
    num_out_of_reach: int
    num_past_wall: int = 0
    left_out: tuple[Mapping[str, float | str], ...] = ()


def cell_optimum(
    learning_rates: ArrayLike, losses: ArrayLike, *, seeds: Sequence[object] | None = None, level: float = 0.95
) -> CellOptimum:
    """The optimum of a single cell, from its own losses alone.

    ``learning_rates`` (num_runs,) above 0; ``losses`` (num_runs,) in nats, NaN or infinite where a run diverged;
    ``seeds`` (num_runs,), the same label wherever random numbers are shared. With one seed and few learning rates
    there is little to estimate the noise from, and the interval is wide accordingly. Raises `InvalidParameter`.
    """
    rates, values = np.asarray(learning_rates, np.float64), np.asarray(losses, np.float64)
    if rates.ndim != 1 or not np.all(np.isfinite(rates) & (rates > 0)) or not len(rates):
        raise InvalidParameter("learning_rates", learning_rates, "finite numbers above 0, one axis, not empty")
    if values.shape != rates.shape:
        raise InvalidParameter("losses", f"shape {values.shape}", f"of shape {rates.shape}")
    labels = None if seeds is None else np.array([str(seed) for seed in seeds])
    if labels is not None and labels.shape != rates.shape:
        raise InvalidParameter("seeds", f"shape {labels.shape}", f"of shape {rates.shape}")
    cell = make_cell(rates, values, labels, {})
    if len(cell.x) < 3:
        return describe(cell, None)
    return alone(cell, level)


def alone(cell: Cell, level: float = 0.95) -> CellOptimum:
    """The optimum of a cell from its own losses only."""
    one = np.ones((1, 1))
    try:
        shaped = fit_shapes([cell], one, one, tau=0.0)
    except np.linalg.LinAlgError:
        return describe(cell, None)
    (cell,), (cells, tilt_freedom) = shaped.cells, stack(shaped.cells)
    found = profile([cell], cells, shaped.fit, tilt_freedom, level)[0]
    return describe(cell, found, shaped.fit.variances.sigma)


def describe(cell: Cell, found: Profile | None, noise: float = np.inf, whole: Cell | None = None) -> CellOptimum:
    """Status and optimum; ``noise``: standard deviation of a run's loss; ``whole``: the cell with
    the rates that were left out, which have a say in whether it is flat.

    The interval is closed by the least rate above the best that diverged or was left out; that rate is never the
    optimum. Unless noise explains that the optimum is elsewhere, the interval holds the best rate or a neighbour. A
    bound on an optimum outside the grid is not farther out than the edge.
    """
    if found is not None and len(cell.x):
        found = _bounded(cell, found, noise)
    status = _status(cell, found, whole or cell)
    interior = status is OptimumStatus.INTERIOR
    known = found is not None and status is not OptimumStatus.FLAT
    low, high = -np.inf, np.inf
    if known and found is not None and status is not OptimumStatus.CENSORED_LOW:
        low = min(found.low, cell.highest)
    if known and found is not None and status is not OptimumStatus.CENSORED_HIGH:
        high = max(found.high, cell.lowest)
    return CellOptimum(
        key=cell.key,
        status=status,
        learning_rate=float(np.exp(found.best)) if interior and found is not None else None,
        low=float(np.exp(low)) if np.isfinite(low) else None,
        high=float(np.exp(high)) if np.isfinite(high) else None,
        curvature=found.curvature if interior and found is not None else None,
        best_learning_rate=cell.best_rate if np.isfinite(cell.best_rate) else None,
        best_loss=cell.best_loss if np.isfinite(cell.best_loss) else None,
        num_learning_rates=len(cell.x),
        num_runs=cell.num_runs,
        num_diverged=cell.num_diverged,
        num_out_of_reach=cell.num_out_of_reach,
        num_past_wall=cell.num_past_wall,
        left_out=tuple(
            {"learning_rate": rate, "reason": reason} for reason, rates in cell.left_out.items() for rate in rates
        ),
    )


def _bounded(cell: Cell, found: Profile, noise: float) -> Profile:
    """The profile under the three rules of `describe`."""
    value, low, high = found.best, found.low, min(found.high, cell.ceiling)
    if value > cell.ceiling - PINNED:
        value = (float(cell.x[-1]) + cell.ceiling) / 2
    if not beside_the_best(cell, value, noise):
        best = int(np.argmin(cell.loss))
        low, high = min(low, float(cell.x[best + 1])), max(high, float(cell.x[best - 1]))
    return replace(found, best=value, low=low, high=high)


def _parabolic(cell: Cell) -> bool:
    """Whether a parabola with its minimum inside the rates explains the losses better than a constant, by an F test."""
    free = len(cell.x) - 3
    if free < 1:
        return False
    x = cell.x - cell.x.mean()
    weight = np.sqrt(cell.count)
    powers = np.vander(x, 3)
    fitted = np.linalg.lstsq(powers * weight[:, None], cell.loss * weight, rcond=None)[0]
    inside = fitted[0] > 0 and x[0] < -fitted[1] / (2 * fitted[0]) < x[-1]
    rest = float(np.sum(cell.count * (cell.loss - powers @ fitted) ** 2))
    whole = float(np.sum(cell.count * (cell.loss - np.average(cell.loss, weights=cell.count)) ** 2))
    return bool(inside and (whole - rest) / 2 > rest / free * fisher.ppf(1 - FLAT_BELOW, 2, free))


def _status(cell: Cell, found: Profile | None, whole: Cell) -> OptimumStatus:
    if len(cell.x) < (3 if found is None else 2):
        return OptimumStatus.TOO_FEW_POINTS
    if found is None or (found.gain < 1 and not _parabolic(whole)):
        return OptimumStatus.FLAT
    best = np.log(cell.best_rate)
    if found.best < cell.lowest or (best <= cell.lowest and found.low < cell.lowest):
        return OptimumStatus.CENSORED_LOW
    if found.best > cell.highest or (best >= cell.highest and found.high > cell.highest):
        return OptimumStatus.CENSORED_HIGH
    return OptimumStatus.INTERIOR
