r"""What one cell's losses say of its optimum: penalised squares at every candidate, in closed form.

For every candidate :math:`\mu` the loss is linear in what is left: an intercept, the curvature, drawn toward what the
cells share, the errors of the shared shape and the tilt of the seeds. So the least penalised squares :math:`Q(\mu)` are
a small linear problem, and

.. math:: \{\mu:\; Q(\mu) - \min Q \le F_{1,\nu}(0.95)\}

is the interval: for a parabola with free curvature Fieller's, exact, and open on a side where the losses allow it.
Nothing of the law across cells enters, only the shape, the typical curvature and the noise. The shape comes from all
cells but this one: what the data say of it beyond the prior is reduced by one cell's share. In a table of one cell
the noise is at least what third differences of its losses show.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import fdtri, ndtri, stdtrit

from experiments.bend.evidence.cells import Cell, leave_out
from experiments.bend.evidence.windows import ENOUGH, rough_noise
from experiments.joint import loss_shape
from experiments.joint.fit import JointFit
from experiments.joint.model import StackedLosses, error_variances

Array = NDArray[np.float64]

MARGIN = np.log(64.0)  # how far outside its grid an optimum is looked for
GRID = 121
PASSES = 6
FEWEST_FREE = 4  # numbers that a parabola and its misfit spend: what the shape takes more, its prior gives back
KINKED = 0.1  # nats above the lowest loss, from which on a kink would pass for noise
AT_ONCE = 20_000  # candidates times points held in memory
LOST = 1e-13  # of a column's squares: what rounding leaves of one that others make up
WIDER_PRIOR = 1.5  # standard deviation of the shape behind an interval, over that of the estimate
LEAST_CURVATURE = 0.02  # of the typical one: below, there is no minimum to speak of
WIDEST_CURVATURE = 2.0  # standard deviation of ln curvature that amounts to knowing nothing
TABLE = np.linspace(-loss_shape.REACH - 2, loss_shape.REACH + 2, 1601)


@dataclass(frozen=True, kw_only=True)
class OptimumInterval:
    """What a cell's own losses say of its optimum.

    best : the minimum in ln(learning rate). low, high : the ends of its interval, infinite where it is open.
    curvature : of the loss at the minimum, in nats. gain : what a minimum explains more than a constant does, over what
    noise would at the 5 % level; below 1 the losses are flat.
    """

    best: float
    low: float
    high: float
    curvature: float
    gain: float


@dataclass(frozen=True, kw_only=True)
class _Losses:
    """The losses of cells with as many learning rates, and what is known beforehand.

    x, y, weight : (num_cells, num_points). typical, spread, tilt : (num_cells,). shape : (num_rows, 1 + 3), tables of
    the rise and its errors one below the other, that of each cell from its row ``first`` (num_cells,) on.
    """

    x: Array
    y: Array
    weight: Array
    typical: Array
    spread: Array
    tilt: Array
    shape: Array
    first: NDArray[np.int64]

    def only(self, cells: NDArray[np.int64]) -> _Losses:
        return _Losses(**{name: value if name == "shape" else value[cells] for name, value in vars(self).items()})

    def squares(self, mu: Array) -> tuple[Array, Array]:
        """Least penalised squares and curvature at the candidates of each cell, (num_cells, num_mu)."""
        z = np.clip(self.x[:, None] - mu[..., None], TABLE[0], TABLE[-1])
        step = (z - TABLE[0]) / (TABLE[1] - TABLE[0])
        left = np.minimum(step.astype(np.int64), len(TABLE) - 2)
        part, row = step - left, left + self.first[:, None, None]
        root, across = np.sqrt(self.weight), self.x - self.x.mean(axis=1, keepdims=True)
        scale, centred = (self.typical[:, None] * root)[:, None], self.y - self.mean(self.y)
        rise, *errors = (
            scale * (each.take(row) * (1 - part) + each.take(row + 1) * part) for each in self.shape.T.copy()
        )
        others = [root[:, None], *errors, *([(across * self.tilt[:, None] * root)[:, None]] if self.tilt.any() else [])]
        columns = np.empty((*z.shape[:2], len(others) + 2, z.shape[2]))
        for place, column in enumerate([*others, rise, (centred * root)[:, None] - rise]):
            columns[:, :, place] = column
        products = np.moveaxis(columns @ np.swapaxes(columns, -1, -2), (0, 1), (2, 3))
        (risen, across), (_, rest) = eliminated(products, np.minimum(np.arange(len(others)), 1))
        spread = self.spread[:, None]
        solved = spread * across / (1 + spread**2 * risen)
        curvature = 1 + spread * solved
        more = 1 - LEAST_CURVATURE
        held = rest + 2 * more * across + more**2 * risen + (more / spread) ** 2
        low = curvature < LEAST_CURVATURE
        best: Array = self.typical[:, None] * np.maximum(curvature, LEAST_CURVATURE)
        least: Array = np.where(low, held, rest - spread * across * solved)
        return least, best

    def mean(self, values: Array) -> Array:
        """(num_cells, 1) weighted means of (num_cells, num_points)."""
        mean: Array = np.sum(self.weight * values, axis=1, keepdims=True) / self.weight.sum(axis=1, keepdims=True)
        return mean


def eliminated(products: Array, precision: ArrayLike) -> Array:
    """What least squares on the first columns, each with a normal prior of that ``precision`` about 0, leave of the
    products (k, k, ...) of all columns with each other: those of the remaining ones.

    A column that those before it make up to rounding is passed over, as beside losses almost without noise, where the
    prior is lost in it.
    """
    left, least = np.array(products), LOST * np.einsum("kk...->k...", products)
    held = np.asarray(precision, np.float64)
    for place in range(len(left)):
        pivot = left[place, place] + (held[place] if place < len(held) else 0.0)
        lost = pivot <= least[place]
        if lost.any():
            left[place] = np.where(lost, 0.0, left[place])
            left[:, place] = np.where(lost, 0.0, left[:, place])
            pivot = np.where(lost, 1.0, pivot)
        if place < len(held):
            row = left[place, place + 1 :]
            left[place + 1 :, place + 1 :] -= (row / pivot)[:, None] * row
    return left[len(held) :, len(held) :]


def optimum_intervals(
    cells: Sequence[Cell],
    data: StackedLosses,
    fit: JointFit,
    tilt_freedom: float = 0.0,
    level: float = 0.95,
    *,
    further: float = 0.0,
) -> list[OptimumInterval]:
    """The interval of every cell, with what the joint fit says of shape, noise and typical curvature.

    ``data`` and ``tilt_freedom`` are what `experiments.bend.evidence.cells.stack` makes of the ``cells``; ``level``, in
    (0, 1), is that of the intervals; ``further``: standard deviation of an optimum in ln beside what the losses say.
    """
    if len(cells) == 1:
        fit = _with_noise(fit, cells[0])
    centre, root = _shape_by_the_others(fit, len(cells))
    omega = np.minimum(fit.variances.omega / np.sqrt(np.maximum(1 - fit.trend_leverage, 1e-6)), WIDEST_CURVATURE)
    skews = np.clip(fit.skew, loss_shape.LOWEST[0], loss_shape.HIGHEST[0])
    shared = _tables(fit.shape, fit.shape[:1], centre, root) if (fit.skew == fit.shape[0]).all() else []
    result: dict[int, OptimumInterval] = {}
    for places in _alike(data.sizes):
        own = shared or _tables(fit.shape, skews[places], centre, root)
        part = data.only(places)
        x, tilt = part.x.reshape(len(places), -1), data.tilt[places]
        distance = x - fit.optimum[places, None]
        rows = np.arange(len(places)) * (not shared)
        risen = np.stack([np.interp(each, TABLE, own[row][0]) for each, row in zip(distance, rows, strict=True)])
        rise = (fit.curvature[places, None] * risen).ravel()
        variance = error_variances(part, rise, fit.variances).reshape(x.shape)
        losses = _Losses(
            x=x,
            y=part.loss.reshape(x.shape),
            weight=1 / variance,
            typical=fit.curvature_by_law[places],
            spread=np.sqrt(np.expm1(omega[places] ** 2)),
            tilt=tilt,
            shape=np.concatenate([table[1] for table in own]),
            first=rows * len(TABLE),
        )
        noise = max(fit.freedom, float(x.shape[1] - FEWEST_FREE))
        freedom = _freedom(noise, tilt_freedom, x, variance, tilt)
        ceiling = np.array([cells[place].closed_at for place in places])
        found = _search(losses, fit.optimum[places], ceiling, freedom, level)
        by = further * stdtrit(freedom, (1 + level) / 2)
        result |= {int(place): _wider(one, float(more)) for place, one, more in zip(places, found, by, strict=True)}
    return [result[place] for place in range(len(cells))]


def _alike(sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Places of cells of one size, as many at once as stay in a processor's cache."""
    for size in np.unique(sizes):
        places, number = np.flatnonzero(sizes == size), max(1, AT_ONCE // (GRID * int(size)))
        yield from (places[first : first + number] for first in range(0, len(places), number))


def _with_noise(fit: JointFit, cell: Cell) -> JointFit:
    """The fit with no less noise than neighbouring losses have about a smooth curve: a shape with almost as many
    numbers as one cell has losses follows them all, and leaves no noise."""
    low = cell.loss <= cell.loss.min() + KINKED
    fours = [leave_out(cell, k, k + 4, "") for k in range(len(cell.x) - 3) if low[k : k + 4].all()]
    noises = np.array([rough_noise([four]) for four in fours])
    if cell.freedom < ENOUGH:
        noises *= ndtri(0.75)  # each from a single difference, of which it was taken for the median
    noise = float(np.sqrt(np.mean(noises**2))) if len(fours) else 0.0
    if not fit.variances.sigma < noise < np.inf:
        return fit
    return replace(fit, variances=replace(fit.variances, sigma=noise), freedom=max(fit.freedom, float(len(fours))))


def _wider(found: OptimumInterval, by: float) -> OptimumInterval:
    """The interval with a further half width, in quadrature."""
    low, high = (float(np.hypot(end - found.best, by)) for end in (found.low, found.high))
    return replace(found, low=found.best - low, high=found.best + high)


def _tables(shape: Array, skews: Array, centre: Array, root: Array) -> list[tuple[Array, Array]]:
    """For each of the ``skews`` instead of that of the shape, the rise over `TABLE`; and that as far from it as
    ``centre`` is from the shape, by one linear step, beside the shape's errors."""
    return [
        (rise, np.concatenate([(rise + gradient @ (centre - shape))[:, None], gradient @ root], axis=1))
        for rise, gradient in loss_shape.tabulate_each(TABLE, shape, skews)
    ]


def _shape_by_the_others(fit: JointFit, num_cells: int) -> tuple[Array, Array]:
    """Mean of the shape, (3,), and root of its covariance, (3, 3), as far as a cell's own losses did not make them.

    The mean leans on the prior, the covariance on one half as wide again. Where the data know as much as the prior, a
    true shape off its middle biases the mean by as much as the posterior is wide. With the wider one the mean square
    error stays below the variance for any true shape within 1.2 standard deviations of the prior, whatever the data.
    """
    prior = np.diag(fit.shape_prior[:, 1] ** -2)
    total = np.linalg.inv(fit.shape_covariance)
    share = 1 - 1 / num_cells
    covariance = np.linalg.inv(prior + share * (total - prior))
    natural = prior @ fit.shape_prior[:, 0] * (1 - share) + share * total @ fit.shape
    wider = np.linalg.inv(prior / WIDER_PRIOR**2 + share * (total - prior))
    wider[0, 0] += fit.variances.lean**2
    root = np.linalg.cholesky((wider + wider.T) / 2)
    return np.asarray(covariance @ natural, np.float64), np.asarray(root, np.float64)


def _freedom(noise: float, tilts: float, x: Array, variance: Array, tilt: Array) -> Array:
    """(num_cells,) of the error of a slope that is part noise and part tilt (Satterthwaite)."""
    if not tilts:
        return np.full(len(x), noise)
    own = 1 / np.sum((x - x.mean(axis=1, keepdims=True)) ** 2 / variance, axis=1)
    both: Array = (own + tilt**2) ** 2 / (own**2 / noise + tilt**4 / tilts)
    return np.where(tilt > 0, both, noise)


def _search(losses: _Losses, start: Array, ceiling: Array, freedom: Array, level: float) -> list[OptimumInterval]:
    """The minimum downhill of ``start`` and the crossings about it, on grids that narrow; arguments (num_cells,)."""
    threshold = fdtri(1, freedom, level)
    lowest, highest = losses.x.min(axis=1) - MARGIN, np.minimum(losses.x.max(axis=1) + MARGIN, ceiling)
    grid = np.linspace(lowest, highest, GRID, axis=1)
    values, curvature = losses.squares(grid)
    best = _downhill(values, np.argmin(np.abs(grid - start[:, None]), axis=1))
    first, last = _connected(values, best, threshold)
    for _ in range(PASSES):
        some = np.flatnonzero(last - first <= GRID / 3)
        if not len(some):
            break
        ends = grid[some, np.maximum(first[some] - 1, 0)], grid[some, np.minimum(last[some] + 1, GRID - 1)]
        grid[some] = np.linspace(*ends, GRID, axis=1)
        values[some], curvature[some] = losses.only(some).squares(grid[some])
        best[some] = np.argmin(values[some], axis=1)
        first[some], last[some] = _connected(values[some], best[some], threshold[some])
    every = np.arange(len(grid))
    limit = values[every, best] + threshold
    low = np.where(first == 0, -np.inf, _crossing(grid, values, np.maximum(first - 1, 0), first, limit))
    over = np.minimum(last + 1, GRID - 1)
    high = np.where(last == GRID - 1, np.inf, _crossing(grid, values, over, last, limit))
    constant = (losses.weight * (losses.y - losses.mean(losses.y)) ** 2).sum(axis=1)
    gain = (constant - values[every, best]) / (2 * fdtri(2, freedom, 0.95))
    found = np.stack([grid[every, best], low, high, curvature[every, best], gain], axis=1)
    names = ("best", "low", "high", "curvature", "gain")
    return [OptimumInterval(**dict(zip(names, one, strict=True))) for one in found.tolist()]


def _downhill(values: Array, place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the minimum that a walk from ``place`` ends in, in each row."""
    every, walled = np.arange(len(values)), np.pad(values, ((0, 0), (1, 1)), constant_values=np.inf)
    while True:
        below, here, above = (walled[every, place + step] for step in range(3))
        down = np.where((below < here) & (below <= above), -1, np.where(above < here, 1, 0))
        if not down.any():
            return place
        place = place + down


def _connected(values: Array, best: NDArray[np.int64], threshold: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and last index about ``best`` without a gap that lie within the threshold of it, in each row."""
    least, index = np.take_along_axis(values, best[:, None], axis=1), np.arange(values.shape[1])
    outside = values > least + threshold[:, None]
    below = np.where(outside & (index < best[:, None]), index, -1).max(axis=1)
    above = np.where(outside & (index > best[:, None]), index, len(index)).min(axis=1)
    return below + 1, above - 1


def _crossing(grid: Array, values: Array, outside: NDArray[np.int64], inside: NDArray[np.int64], limit: Array) -> Array:
    """Where each row reaches its limit between two of its places; anything where they are one."""
    every = np.arange(len(grid))
    with np.errstate(invalid="ignore", divide="ignore"):
        fraction = (values[every, outside] - limit) / (values[every, outside] - values[every, inside])
        crossing: Array = grid[every, outside] + fraction * (grid[every, inside] - grid[every, outside])
    return crossing
