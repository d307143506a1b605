r"""From runs to cells: which learning rates count, their mean losses, and what the seeds say of the noise.

A cell is one setting of everything but learning rate and seed. Rules, applied in this order:

0. **Odd**: a single run that cannot belong to its cell (`experiments.bend.evidence.screening`).
1. **Lost**: a run that diverged, its loss NaN or infinite, or that lies far above the best of its cell
   (`theory.divergence`). A learning rate at which at least half of the runs are lost is left out. The least such rate
   above the best is the *ceiling*, where training breaks down. It closes the grid from above only if the losses turn up
   before it. If they fall for as long as training holds, the optimum is somewhere above, and no run of the table says
   where.
2. **Out of reach**: a learning rate whose mean loss is more than `WINDOW` above the lowest mean of its cell, or a
   factor above `FARTHEST` from it. There the loss says little of where the minimum is, and much of the assumed shape.
   The lowest `FEWEST` stay in any case, `FEWEST_AT_EDGE` where the best stands at the edge of the grid, and so does
   everything within four standard deviations of the noise.

**Seeds** that are the same at all learning rates of a cell (common random numbers) shift the whole curve and tilt it.
The shift is taken out (a two-way layout); the variance of the tilt, which moves the optimum, is estimated from the
seeds' own slopes and goes into the model as the tilt of their mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from experiments.bend.evidence.screening import odd_runs
from experiments.joint.model import StackedLosses
from experiments.tables.run_table import RunTable
from theory.divergence import FAR_ABOVE_BEST, comparable

Array = NDArray[np.float64]

WINDOW = 0.3  # nats
FARTHEST = 16.0 * 1.0001  # ratio of learning rates
FEWEST, FEWEST_AT_EDGE = 3, 5
OUT_OF_REACH = "out of reach of the minimum"
SAME = 1e-9  # relative difference below which two learning rates are one


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: its usable learning rates, and what was counted on the way to them.

    key : the setting, by column. x, loss, count : (num_points,), ln(learning rate), mean loss in nats, number of seeds.
    lowest : ln of the least rate with a finite loss. highest : ln of the largest rate that is not lost. ceiling : ln of
    the least lost rate above the best, inf if there is none. num_runs : all runs. num_diverged : runs that are lost.
    num_out_of_reach : runs by the second rule. num_past_wall : runs that `experiments.bend.evidence.walls` leaves out.
    best_loss, best_rate : the lowest mean loss in nats and the rate where it stands, NaN if no loss is finite. squares,
    freedom : of the noise, squared deviations in nats and their degrees of freedom. tilt_squares, tilt_freedom,
    tilt_lever : what the tilts of the seeds explain, their degrees of freedom, and the sum of their squared levers.
    num_seeds : at the rate that has most. left_out : by reason, the learning rates that no fit uses, lost ones not
    among them. slack : (num_points,), further error of a loss that is a bound only, nats. odd : learning rate and loss
    of each run that `experiments.bend.evidence.screening` leaves out.
    """

    key: Mapping[str, float]
    x: Array
    loss: Array
    count: Array
    lowest: float
    highest: float
    ceiling: float
    num_runs: int
    num_diverged: int
    num_out_of_reach: int
    best_loss: float
    best_rate: float
    squares: float
    freedom: float
    tilt_squares: float
    tilt_freedom: float
    tilt_lever: float
    num_seeds: int
    num_past_wall: int = 0
    left_out: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    slack: Array | float = 0.0
    odd: tuple[tuple[float, float], ...] = ()

    @property
    def best_is_lowest(self) -> bool:
        """Whether the lowest mean loss stands at the lower edge of the grid."""
        return bool(np.log(self.best_rate) <= self.lowest + SAME)

    @property
    def best_is_highest(self) -> bool:
        """The same of the upper edge."""
        return bool(np.log(self.best_rate) >= self.highest - SAME)

    @property
    def falls_to_ceiling(self) -> bool:
        """Whether training breaks down before the loss turns up."""
        return self.best_is_highest and np.isfinite(self.ceiling)

    @property
    def closed_at(self) -> float:
        """ln of the learning rate that closes the grid from above, inf if none does."""
        return np.inf if self.falls_to_ceiling else self.ceiling


def usable_places(cells: Sequence[Cell]) -> list[int]:
    """Of the cells that a joint fit can use: two learning rates, if another has three and so tells the curvature."""
    sizes = [len(cell.x) for cell in cells]
    return [place for place, size in enumerate(sizes) if size >= 2] if max(sizes, default=0) >= 3 else []


def make_cells(table: RunTable, names: Sequence[str]) -> list[Cell]:
    """The cells of a table, keyed by the columns ``names``, in ascending order of the key; one if there are none."""
    keys = np.stack([table.numbers[name] for name in names], axis=1) if names else np.zeros((len(table), 0))
    if names:
        settings, member = np.unique(keys, axis=0, return_inverse=True)
    else:
        settings, member = np.zeros((1, 0)), np.zeros(len(table), np.int64)
    order = np.argsort(member, kind="stable")
    bounds = np.searchsorted(member.ravel()[order], np.arange(len(settings) + 1))
    rates, losses = table.numbers["learning_rate"], table.numbers["loss"]
    seeds = table.labels.get("seed")
    members_out: list[tuple[tuple[float, float], ...]] = []
    members = [order[bounds[place] : bounds[place + 1]] for place in range(len(settings))]
    for place, odd in enumerate(odd_runs([(np.log(rates[rows]), losses[rows]) for rows in members])):
        members[place], left_out = members[place][~odd], members[place][odd]
        members_out.append(tuple(zip(rates[left_out].tolist(), losses[left_out].tolist(), strict=True)))
    cells = []
    for setting, rows, odd_ones in zip(settings, members, members_out, strict=True):
        key = dict(zip(names, map(float, setting), strict=True))
        cell = make_cell(rates[rows], losses[rows], None if seeds is None else seeds[rows], key)
        cells.append(replace(cell, odd=odd_ones, num_runs=cell.num_runs + len(odd_ones)) if odd_ones else cell)
    return cells


def make_cell(rates: Array, losses: Array, seeds: NDArray[np.str_] | None, key: Mapping[str, float]) -> Cell:
    """Apply the rules above to the runs of one cell.

    ``rates`` above 0, ``losses`` in nats and ``seeds``, None where they are not told, are (num_runs,).
    """
    x = np.log(rates)
    order = np.argsort(x, kind="stable")
    x, y = x[order], losses[order]
    labels = None if seeds is None else np.unique(seeds[order], return_inverse=True)[1]
    place = np.concatenate([[0], np.cumsum(np.diff(x) > SAME)])
    sizes = np.bincount(place)
    points = np.bincount(place, x) / sizes
    finite = np.isfinite(y)
    least = y[finite].min() if finite.any() else np.inf
    fine = comparable(y, least, FAR_ABOVE_BEST)
    alive = np.bincount(place, fine) > sizes / 2
    used = fine & alive[place]
    num_diverged = int((~fine).sum() + (fine & ~used).sum())
    mean, count, squares, freedom, tilt = _means(points, place[used], y[used], None if labels is None else labels[used])
    top, ceiling = int(np.argmin(np.where(count > 0, mean, np.inf))), np.inf
    dead_above = np.flatnonzero(~alive & (np.arange(len(points)) > top))
    if len(dead_above):
        ceiling = points[dead_above[0]]
    noise = np.sqrt(squares / freedom) if freedom > 0 else 0.0
    best = mean[top] if len(mean) else np.nan
    first = int(np.argmax(np.bincount(place, finite) > 0))
    last = int(np.flatnonzero(count)[-1]) if count.any() else len(points) - 1
    near = (count > 0) & (np.abs(points - points[top]) <= np.log(FARTHEST))
    rank = np.argsort(np.argsort(np.where(count > 0, mean, np.inf)))
    fewest = FEWEST_AT_EDGE if top in (first, last) else FEWEST
    near = near & ((mean <= best + max(WINDOW, 4 * noise)) | (rank < fewest))
    return Cell(
        key=key,
        x=points[near],
        loss=mean[near],
        count=count[near],
        lowest=float(points[first]),
        highest=float(points[last]),
        ceiling=float(ceiling),
        num_runs=len(y),
        num_diverged=num_diverged,
        num_out_of_reach=int(count[(count > 0) & ~near].sum()),
        best_loss=float(best) if finite.any() else np.nan,
        best_rate=float(np.exp(points[top])) if finite.any() else np.nan,
        squares=squares,
        freedom=freedom,
        tilt_squares=tilt[0],
        tilt_freedom=tilt[1],
        tilt_lever=tilt[2],
        num_seeds=int(count.max(initial=0)),
        left_out={OUT_OF_REACH: rates_of(points[(count > 0) & ~near])} if ((count > 0) & ~near).any() else {},
    )


def rates_of(x: Array) -> tuple[float, ...]:
    """Learning rates as they are shown, from their logarithms."""
    return tuple(float(f"{rate:.6g}") for rate in np.exp(x))


def leave_out(cell: Cell, first: int, end: int, reason: str, *, past_wall: bool = False) -> Cell:
    """The cell with its rates from ``first`` to before ``end``; the others are counted and named with the reason."""
    if first == 0 and end == len(cell.x):
        return cell
    gone = np.ones(len(cell.x), bool)
    gone[first:end] = False
    number, named = int(cell.count[gone].sum()), cell.left_out.get(reason, ())
    return replace(
        cell,
        x=cell.x[first:end],
        loss=cell.loss[first:end],
        count=cell.count[first:end],
        slack=cell.slack if np.ndim(cell.slack) == 0 else np.asarray(cell.slack)[first:end],
        ceiling=min(cell.ceiling, float(cell.x[end])) if end < len(cell.x) else cell.ceiling,
        num_past_wall=cell.num_past_wall + number * past_wall,
        num_out_of_reach=cell.num_out_of_reach + number * (not past_wall),
        left_out={**cell.left_out, reason: tuple(sorted({*named, *rates_of(cell.x[gone])}))},
    )


def _means(
    points: Array, place: NDArray[np.int64], y: Array, labels: NDArray[np.int64] | None
) -> tuple[Array, Array, float, float, tuple[float, float, float]]:
    """Mean loss and count per learning rate, squares and degrees of freedom of the noise, and of the seeds' tilts."""
    count = np.bincount(place, minlength=len(points)).astype(float)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, y, minlength=len(points)) / count
    plain = (mean, count, float(((y - mean[place]) ** 2).sum()), float(len(y) - (count > 0).sum()), (0.0, 0.0, 0.0))
    if labels is None:
        return plain
    names, column = np.unique(labels, return_inverse=True)
    rows, line = np.unique(place, return_inverse=True)
    cells = line * len(names) + column
    if len(names) < 2 or len(rows) < 2 or len(np.unique(cells)) < len(cells) or len(y) < 0.7 * len(names) * len(rows):
        return plain
    # additive layout in learning rate and seed, seeds summing to zero
    shift = np.zeros(len(names))
    for _ in range(50):
        level = np.bincount(line, y - shift[column]) / np.bincount(line)
        change = np.bincount(column, y - level[line]) / np.bincount(column)
        change -= change.mean()
        if np.abs(change - shift).max() <= 1e-12 * (1 + np.abs(y).max()):
            break
        shift = change
    residual = y - level[line] - shift[column]
    mean = mean.copy()
    mean[rows] = level
    across = points[place] - (np.bincount(column, points[place]) / np.bincount(column))[column]
    lever = np.bincount(column, across**2)
    tilts = np.bincount(column, across * residual) / np.maximum(lever, 1e-300)
    explained, freedom = float((lever * tilts**2).sum()), float(len(names) - 1)
    rest = float((residual**2).sum() - explained)
    free = float(len(y) - len(rows) - len(names) + 1 - freedom)
    return mean, count, max(rest, 0.0), max(free, 0.0), (explained, freedom, float(lever.mean()) * freedom)


def stack(cells: Sequence[Cell]) -> tuple[StackedLosses, float]:
    """The cells for the joint estimator, and the degrees of freedom of the tilts (0: no tilt was seen)."""
    sizes = np.array([len(cell.x) for cell in cells])
    squares, freedom = sum(c.squares for c in cells), sum(c.freedom for c in cells)
    explained, tilt_freedom = sum(c.tilt_squares for c in cells), sum(c.tilt_freedom for c in cells)
    lever = sum(c.tilt_lever for c in cells)
    variance = 0.0
    if tilt_freedom and freedom:
        variance = max(0.0, (explained - tilt_freedom * squares / freedom) / lever)
    if tilt_freedom and not variance:
        squares, freedom = squares + explained, freedom + tilt_freedom
    seeds = np.array([max(cell.num_seeds, 1) if cell.tilt_freedom else np.inf for cell in cells])
    return (
        StackedLosses(
            starts=np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
            x=np.concatenate([cell.x for cell in cells]),
            loss=np.concatenate([cell.loss for cell in cells]),
            count=np.concatenate([cell.count for cell in cells]),
            tilt=np.sqrt(variance / seeds),
            slack=np.concatenate([np.zeros(len(cell.x)) + cell.slack for cell in cells]),
            replicate_squares=squares,
            replicate_freedom=freedom,
        ),
        tilt_freedom if variance else 0.0,
    )
