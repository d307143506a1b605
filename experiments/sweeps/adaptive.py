r"""Which learning rates a cell needs next: a function of its finished runs alone.

The rule is played from the first grid on. While a run of the current grid is missing, that run is asked for. When all
are there, the first that applies:

1. the lowest mean stands at an edge of what was tried, or the fitted optimum beyond it or within a factor `NEAR` of it,
   or the losses are flat: one rate a ``factor`` beyond that edge (of flat losses, beyond both), but not beyond
   ``lowest`` and ``highest``, and not beyond a rate at which runs diverged;
2. the 95 % interval of :math:`\ln\eta_*` (`experiments.bend.optimum`) is as narrow as asked: done;
3. the gap between neighbouring rates that holds the optimum, or one whose middle is within a factor `NEAR` of it, is
   wider than `FINEST`: a rate in the middle of the widest such gap, nearest to the optimum;
4. the loss falls up to the rates at which runs diverge: a rate halfway to them, until the gap is below
   `FINEST_AT_CEILING`; then the cell ends, since no run can tell where the optimum is;
5. else one more seed at every rate within `REACH` of the optimum. With few seeds it is their tilts
   (`experiments.bend.evidence.cells`) that make an interval wide, and no finer grid helps against those.

A step that the budget does not allow ends the cell. Since each step depends only on runs of the grids before it, the
order in which runs finish, and where a sweep was interrupted, make no difference.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from experiments.bend.optimum import CellOptimum, OptimumStatus, cell_optimum
from experiments.sweeps.study import Adaptive, rounded_rate
from theory.divergence import FAR_ABOVE_BEST, comparable

FINEST = 1.5  # ratio of neighbouring rates below which a new rate tells no more than a new seed
FINEST_AT_CEILING = 1.2  # the same, of the best rate and the next, at which runs diverge
NEAR = 2.0  # ratio of learning rates: what the grid has beyond the optimum, and where its gaps are refined
REACH = 4.0  # the same, of rates that get a further seed

Point = tuple[float, int]  # learning rate, seed


class Status(Enum):
    """Where the grid of a cell stands."""

    RUNNING = "running"
    REACHED = "reached"  # the interval is as narrow as asked
    BUDGET = "budget spent"
    BOUNDS = "at the bounds"  # the best rate stands at ``lowest`` or ``highest``
    CEILING = "at the ceiling"  # the best rate is the highest at which training holds
    DIVERGED = "all diverged"


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The grid of a cell, as far as its finished runs have grown it.

    status; points : all runs asked for so far, ``missing`` those of them that are not finished. optimum : of the last
    complete grid, None before there is one. width : of its 95 % interval in ln(learning rate), infinite where open.
    """

    status: Status
    points: tuple[Point, ...]
    missing: tuple[Point, ...]
    optimum: CellOptimum | None
    width: float


def grow(adaptive: Adaptive, rates: tuple[float, ...], seeds: tuple[int, ...], losses: Mapping[Point, float]) -> Grid:
    """Play the rule against the finished runs.

    ``rates``, ``seeds``: the first grid. ``losses``: in nats by learning rate and seed, NaN or infinite where a run
    diverged; others than those asked for are ignored.

    >>> grow(Adaptive(interval=0.3, max_runs=9), (0.001, 0.002, 0.004), (0,), {(0.001, 0): 3.0}).missing
    ((0.002, 0), (0.004, 0))
    """
    points = [(rate, seed) for rate in rates for seed in seeds]
    while True:
        missing = tuple(point for point in points if point not in losses)
        if missing:
            return Grid(status=Status.RUNNING, points=tuple(points), missing=missing, optimum=None, width=math.inf)
        finished = {point: losses[point] if math.isfinite(losses[point]) else math.inf for point in points}
        optimum = _optimum(tuple(finished.items()))
        width = _width(optimum)
        step = _step(adaptive, optimum, width, finished, seeds)
        if isinstance(step, list) and len(points) + len(step) > adaptive.max_runs:
            step = Status.BUDGET
        if isinstance(step, Status):
            return Grid(status=step, points=tuple(points), missing=(), optimum=optimum, width=width)
        points += step


@lru_cache(maxsize=4096)
def _optimum(finished: tuple[tuple[Point, float], ...]) -> CellOptimum:
    """Remembered, since the rule is played from the start every time."""
    points, losses = zip(*finished, strict=True)
    return cell_optimum([rate for rate, _ in points], losses, seeds=[str(seed) for _, seed in points])


def _step(
    adaptive: Adaptive,
    optimum: CellOptimum,
    width: float,
    losses: Mapping[Point, float],
    seeds: tuple[int, ...],
) -> list[Point] | Status:
    """The next runs, or why there are none."""
    tried = sorted({rate for rate, _ in losses})
    if optimum.best_learning_rate is None:
        return _beyond(adaptive, tried, seeds, down=True, up=False) or Status.DIVERGED
    best = min(tried, key=lambda rate: abs(math.log(rate / optimum.best_learning_rate)))  # type: ignore[operator]
    flat = optimum.status is OptimumStatus.FLAT
    center = optimum.learning_rate or best
    diverged = [rate for rate in tried if _diverged(rate, losses)]
    closed = tried[-1] in diverged  # nothing is to be learnt beyond
    beyond_low = flat or best == tried[0] or optimum.status is OptimumStatus.CENSORED_LOW
    beyond_high = not closed and (flat or best == tried[-1] or optimum.status is OptimumStatus.CENSORED_HIGH)
    down = beyond_low or center < NEAR * tried[0]
    up = beyond_high or (not closed and center > tried[-1] / NEAR)
    if down or up:
        wider = _beyond(adaptive, tried, seeds, down=down, up=up)
        if wider:
            return wider
        if (beyond_low or beyond_high) and not flat:
            return Status.BOUNDS
    if width <= adaptive.interval:
        return Status.REACHED
    middle = _widest_gap(tried, center)
    if middle is not None:
        return [(middle, seed) for seed in seeds]
    if closed and optimum.status is OptimumStatus.CENSORED_HIGH:
        ceiling = min(rate for rate in diverged if rate > best)
        if ceiling / best <= FINEST_AT_CEILING:
            return Status.CEILING
        return [(rounded_rate(math.sqrt(best * ceiling)), seed) for seed in seeds]
    used = {seed for _, seed in losses}
    further = next(seed for seed in range(len(used) + 1) if seed not in used)
    return [(rate, further) for rate in tried if abs(math.log(rate / center)) <= math.log(REACH)]


def _diverged(rate: float, losses: Mapping[Point, float]) -> bool:
    """Whether at least half of the runs at a rate did, by the rule of `experiments.bend.evidence.cells`."""
    here, least = [loss for point, loss in losses.items() if point[0] == rate], min(losses.values())
    return (~comparable(here, least, FAR_ABOVE_BEST)).sum() >= len(here) / 2


def _beyond(adaptive: Adaptive, tried: list[float], seeds: tuple[int, ...], *, down: bool, up: bool) -> list[Point]:
    rates = [rounded_rate(tried[0] / adaptive.factor)] * down + [rounded_rate(tried[-1] * adaptive.factor)] * up
    return [(rate, seed) for rate in rates if adaptive.lowest <= rate <= adaptive.highest for seed in seeds]


def _widest_gap(tried: list[float], center: float) -> float | None:
    """The geometric middle of the widest gap near the optimum, nearest first among equals; None if all are fine."""
    gaps = []
    for low, high in itertools.pairwise(tried):
        middle, ratio = math.sqrt(low * high), high / low
        away = abs(math.log(middle / center))
        holds = low <= center <= high
        if ratio > FINEST and (holds or away <= math.log(NEAR)):
            gaps.append((-round(math.log(ratio), 2), away, middle))
    return rounded_rate(min(gaps)[2]) if gaps else None


def _width(optimum: CellOptimum) -> float:
    if optimum.learning_rate is None or optimum.low is None or optimum.high is None:
        return math.inf
    return float(np.log(optimum.high / optimum.low))
