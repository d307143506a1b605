r"""The best learning rate of one cell, with an interval that may be open, and a status.

**Status**, the first that applies:

- ``too-few-points``: there are fewer than three usable learning rates, or fewer than two where other cells
  tell the curvature;
- ``flat``: the losses do not differ from a constant at the 5 % level, nor does a parabola at 0.1 %, they do not
  fall from rate to rate down to the best one and rise from there, in an order that chance makes once in 50 times, and
  no bound (below) says that they differ;
- ``censored-low``, ``censored-high``: the fitted optimum lies beyond the edge of the grid, or the lowest mean loss
  stands at the edge and the interval reaches past it, so that only a bound is known; where the interval reaches past
  both edges, the one at which the lowest mean loss stands;
- ``interior``.

**The edge above** is the highest rate that is not lost (`experiments.bend.evidence.cells`). Where the loss falls up to
the rate at which training diverges, the optimum is known to lie no lower than the interval's end, and that is all:
divergence says where training breaks down, and nothing of the curve. Rates past a wall
(`experiments.bend.evidence.walls`) finished with a higher loss, so they do close the grid. By the same token the edge
below is the lowest rate with a finite loss.

The interval is that of `experiments.bend.interval`.

**Bounds.** A rate that `experiments.bend.evidence.windows` keeps as a bound has a loss farther above the lowest than
noise explains, so that the optimum lies on the side of the best rate: the interval ends there, if nowhere else. In the
fit it weighs little, however high it stands, and the two neighbours of a best rate that both are bounds would pass for
flat. A bound is none where a rate beyond the window comes as near to the lowest loss as the rates within it: the noise
of such a cell is larger than that of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import factorial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtri

from experiments.bend.evidence.cells import Cell, make_cell, stack
from experiments.bend.evidence.shapes import beside_the_best, fit_shapes
from experiments.bend.evidence.windows import SLACK
from experiments.bend.interval import OptimumInterval, optimum_intervals
from experiments.joint.regression import regress
from theory import InvalidParameter

Array = NDArray[np.float64]

FLAT_BELOW = 1e-3  # level at which a parabola is no accident
ORDERED_BELOW = 0.02  # the same of losses that fall to the best and rise from there: seven or more do
ODD = "a run that is no part of its cell"
FAR_OUTSIDE = 4.0  # ratio to the edge of the grid
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
    """What is known of the optimum of one cell.

    key : its setting, by column. status : as above. learning_rate : the optimum, None unless interior. low, high : the
    ends of its 95 % interval, None where it is open. curvature : of the loss in ln(learning rate) at the optimum, in
    nats, None unless interior. best_learning_rate, best_loss : the lowest mean loss that was measured, in nats, and its
    rate, None where none is finite. num_learning_rates : the usable ones. num_runs : all runs. num_diverged : those
    that diverged or lie far above the others. num_out_of_reach, num_past_wall : those left out by the rules of
    `experiments.bend.evidence`. left_out : ``learning_rate`` and ``reason`` of each rate
    that was not fitted, lost ones not among them, and with its ``loss`` each single run that is no part of its cell.
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

    ``learning_rates`` (num_runs,) are above 0; ``losses`` (num_runs,) are in nats, NaN or infinite where a run
    diverged; ``seeds`` (num_runs,) are labels, the same wherever random numbers are shared; ``level``, in (0, 1), is
    that of the interval. With one seed and few learning rates there is little to estimate the noise from, and the
    interval is wide accordingly. Raises `InvalidParameter`.

    >>> rates = 1e-3 * 2.0 ** np.arange(-2, 3)
    >>> losses = 2.5 + 0.05 * np.log(rates / 1.3e-3) ** 2
    >>> found = cell_optimum(rates, losses)
    >>> found.status.value, round(found.learning_rate, 4)
    ('interior', 0.0013)

    If everything above 1e-3 diverges, the loss falls up to there, and the optimum is bounded from below only:

    >>> found = cell_optimum(rates, np.where(rates > 1e-3, np.nan, losses))
    >>> found.status.value, found.learning_rate, round(found.low, 4), found.high
    ('censored-high', None, 0.0003, None)
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
        return judge_optimum(cell, None)
    return optimum_alone(cell, level)


def optimum_alone(cell: Cell, level: float = 0.95) -> CellOptimum:
    """The optimum of a cell that no law speaks of, from its own losses."""
    one = np.ones((1, 1))
    try:
        shaped = fit_shapes([cell], one, one, tau=0.0)
    except np.linalg.LinAlgError:
        return judge_optimum(cell, None)
    (cell,), (cells, tilt_freedom) = shaped.cells, stack(shaped.cells)
    found = optimum_intervals([cell], cells, shaped.fit, tilt_freedom, level)[0]
    return judge_optimum(cell, found, shaped.fit.variances.sigma)


def judge_optimum(
    cell: Cell, found: OptimumInterval | None, noise: float = np.inf, whole: Cell | None = None
) -> CellOptimum:
    """Status and, where there is one, the optimum, of a cell with that interval, None if it has none.

    ``noise``: standard deviation of a run's loss, nats. ``whole``: the cell with the rates that were left out, which
    have a say in whether it is flat. The interval is closed by the least rate above the best that was left out, or that
    is lost where the losses turn up before it; that rate is never the optimum: one that is held there is told as
    the middle of the gap below it, and its interval holds the gap; so is one beyond a bound. Unless noise explains that
    the optimum is elsewhere, the interval holds the best rate or a neighbour. What bounds an optimum outside the grid
    is not farther out than the edge; an end of an interval that lies more than a factor of `FAR_OUTSIDE` outside it is
    none, since the losses say nothing there.
    """
    bounds = _bounds(cell, whole or cell)
    if found is not None and len(cell.x):
        found = _bounded(cell, found, noise, bounds)
    status = _status(cell, found, whole or cell, bounds)
    interior = status is OptimumStatus.INTERIOR
    known = found is not None and status is not OptimumStatus.FLAT
    low, high = -np.inf, np.inf
    if known and found is not None and status is not OptimumStatus.CENSORED_LOW:
        low = min(found.low, cell.highest)
    if known and found is not None and status is not OptimumStatus.CENSORED_HIGH:
        high = max(found.high, cell.lowest)
    low = low if low >= cell.lowest - np.log(FAR_OUTSIDE) else -np.inf
    high = high if high <= cell.highest + np.log(FAR_OUTSIDE) else np.inf
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
        left_out=_left_out(cell),
    )


def _left_out(cell: Cell) -> tuple[Mapping[str, float | str], ...]:
    found: list[Mapping[str, float | str]] = []
    for reason, rates in cell.left_out.items():
        found += [{"learning_rate": rate, "reason": reason} for rate in rates]
    found += [{"learning_rate": rate, "loss": loss, "reason": ODD} for rate, loss in cell.odd]
    return tuple(found)


def _bounds(cell: Cell, whole: Cell) -> tuple[float, float]:
    """The rates, ln, between which the optimum lies because their losses are bounds; infinite where there is none."""
    slack = np.zeros(len(cell.x)) + cell.slack
    held = np.flatnonzero(slack)
    if not len(held):
        return -np.inf, np.inf
    best, limit = int(np.argmin(cell.loss)), cell.loss[held[0]] - slack[held[0]] / SLACK
    beyond = (whole.x < cell.x[0]) | (whole.x > cell.x[-1])
    if np.any(whole.loss[beyond] <= limit):
        return -np.inf, np.inf
    below, above = cell.x[held[held < best]], cell.x[held[held > best]]
    return float(below.max(initial=-np.inf)), float(above.min(initial=np.inf))


def _told_by(bounds: tuple[float, float], cell: Cell, found: OptimumInterval) -> bool:
    """Whether the bounds say that a cell is not flat: one on either side, or one beyond a best rate at the edge or
    beside the fitted optimum."""
    best = int(np.argmin(cell.loss))
    beside = cell.x[max(best - 1, 0)] <= found.best <= cell.x[min(best + 1, len(cell.x) - 1)]
    one_will_do = bool(beside) or cell.best_is_lowest or cell.best_is_highest
    return bool(np.isfinite(bounds).all() or (np.isfinite(bounds).any() and one_will_do))


def _bounded(
    cell: Cell, found: OptimumInterval, noise: float, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> OptimumInterval:
    """The interval under the rules of `judge_optimum`, between the ``bounds``."""
    value, low, high = found.best, found.low, min(found.high, cell.closed_at)
    if value > cell.closed_at - PINNED:
        value = (float(cell.x[-1]) + cell.closed_at) / 2
        low = min(low, float(cell.x[-1]))
    if not beside_the_best(cell, value, noise):
        best = int(np.argmin(cell.loss))
        low, high = min(low, float(cell.x[best + 1])), max(high, float(cell.x[best - 1]))
    if not bounds[0] < value < bounds[1]:
        held = int(np.searchsorted(cell.x, bounds[value >= bounds[1]]))
        gap = cell.x[[held, held + 1]] if value <= bounds[0] else cell.x[[held - 1, held]]
        value, low, high = float(gap.mean()), min(low, float(gap[0])), max(high, float(gap[1]))
    low, high = max(low, bounds[0]), min(high, bounds[1])
    return replace(found, best=value, low=low, high=high)


def parabolic(points: Array, loss: Array, count: Array) -> bool:
    """Whether a parabola with its minimum inside the ``points``, ln(learning rate), explains the mean losses of so many
    runs better than a constant, by an F test; all (num_points,)."""
    free = len(points) - 3
    if free < 1:
        return False
    x = points - points.mean()
    fit = regress(np.vander(x, 3), loss[:, None], count)
    square, slope, _ = fit.coefficients[:, 0]
    inside = square > 0 and x[0] < -slope / (2 * square) < x[-1]
    variance = fit.spread[0, 0]
    whole = float(np.sum(fit.weights * (loss - np.average(loss, weights=count)) ** 2))
    return bool(inside and (whole - free * variance) / 2 > variance * fdtri(2, free, 1 - FLAT_BELOW))


def _turns(cell: Cell) -> bool:
    """Whether the losses fall to a best rate inside the grid and rise from there, and are too many to do so by chance:
    of the n! orders of n losses, 2^(n - 1) do."""
    size, best = len(cell.x), int(np.argmin(cell.loss))
    steps = np.diff(cell.loss)
    ordered = bool(0 < best < size - 1 and np.all(steps[:best] < 0) and np.all(steps[best:] > 0))
    return ordered and 2.0 ** (size - 1) / factorial(size) < ORDERED_BELOW


def _status(
    cell: Cell, found: OptimumInterval | None, whole: Cell, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> OptimumStatus:
    if len(cell.x) < (3 if found is None else 2):
        return OptimumStatus.TOO_FEW_POINTS
    if found is None:
        return OptimumStatus.FLAT
    uneven = found.gain >= 1 or parabolic(whole.x, whole.loss, whole.count) or _turns(whole)
    if not uneven and not _told_by(bounds, cell, found):
        return OptimumStatus.FLAT
    if found.low < cell.lowest and found.high > cell.highest and cell.best_is_highest:
        return OptimumStatus.CENSORED_HIGH
    if found.best < cell.lowest or (cell.best_is_lowest and found.low < cell.lowest):
        return OptimumStatus.CENSORED_LOW
    if found.best > cell.highest or (cell.best_is_highest and found.high > cell.highest):
        return OptimumStatus.CENSORED_HIGH
    return OptimumStatus.INTERIOR
