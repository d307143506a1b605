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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
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
AT_ONCE = 200_000  # candidates times points held in memory
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
    """A cell's losses, what is known beforehand, and the tabulated shape: (table, 1 + 3) rise and its errors."""

    x: Array
    y: Array
    weight: Array
    typical: float
    spread: float
    tilt: float
    shape: Array

    def squares(self, mu: Array) -> tuple[Array, Array]:
        """Least penalised squares and curvature at the candidates (num_mu,)."""
        size = max(1, AT_ONCE // len(self.x))
        parts = [self._squares(mu[start : start + size]) for start in range(0, len(mu), size)]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def _squares(self, mu: Array) -> tuple[Array, Array]:
        z = np.clip(self.x - mu[:, None], TABLE[0], TABLE[-1])
        step = (z - TABLE[0]) / (TABLE[1] - TABLE[0])
        left = np.minimum(step.astype(np.int64), len(TABLE) - 2)
        part = (step - left)[..., None]
        columns = self.typical * (self.shape[left] * (1 - part) + self.shape[left + 1] * part)
        tilt = np.broadcast_to(((self.x - self.x.mean()) * self.tilt)[:, None], (*z.shape, 1))
        rise = self._centred(columns[..., :1])
        others = self._centred(np.concatenate([columns[..., 1:], tilt], axis=-1))
        own = self._centred(self.y[:, None])
        free, solved = self._ridge(np.concatenate([rise * self.spread, others], axis=-1), own - rise)
        curvature = 1 + self.spread * solved[..., 0]
        held, _ = self._ridge(others, own - LEAST_CURVATURE * rise)
        held = held + ((1 - LEAST_CURVATURE) / self.spread) ** 2
        low = curvature < LEAST_CURVATURE
        best = np.asarray(self.typical * np.maximum(curvature, LEAST_CURVATURE), np.float64)
        least: Array = np.where(low, held, free)
        return least, best

    def _centred(self, columns: Array) -> Array:
        weight = self.weight[:, None]
        centred: Array = columns - (weight * columns).sum(axis=-2, keepdims=True) / weight.sum()
        return centred

    def _ridge(self, design: Array, target: Array) -> tuple[Array, Array]:
        """Least squares with a standard normal prior on every coefficient."""
        weighted = np.swapaxes(design, -1, -2) * self.weight
        right = weighted @ target
        normal = np.eye(design.shape[-1]) + weighted @ design
        try:
            solved = np.linalg.solve(normal, right)
        except np.linalg.LinAlgError:  # losses almost without noise: the prior is lost in rounding
            solved = np.linalg.pinv(normal, hermitian=True) @ right
        squares = (self.weight[:, None] * target**2).sum(axis=(-2, -1)) - (right * solved).sum(axis=(-2, -1))
        return np.asarray(squares, np.float64), np.asarray(solved[..., 0], np.float64)


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
    distance = data.x - data.spread_out(fit.optimum)
    if (fit.skew == fit.shape[0]).all():
        tables = [_tables(fit.shape, centre, root)] * len(cells)
    else:
        tables = [_tables(own, centre + own - fit.shape, root) for own in _shapes(fit)]
    bounds = np.append(data.starts, len(data.x))
    spans = [slice(first, end) for first, end in pairwise(bounds)]
    risen = np.concatenate([np.interp(distance[s], TABLE, t[0]) for s, t in zip(spans, tables, strict=True)])
    variances = error_variances(data, data.spread_out(fit.curvature) * risen, fit.variances)
    result = []
    for place, cell in enumerate(cells):
        span = spans[place]
        x, variance, tilt = data.x[span], variances[span], float(data.tilt[place])
        losses = _Losses(
            x=x,
            y=data.loss[span],
            weight=1 / variance,
            typical=float(fit.curvature_by_law[place]),
            spread=float(np.sqrt(np.expm1(omega[place] ** 2))),
            tilt=tilt,
            shape=tables[place][1],
        )
        own = max(fit.freedom, float(len(x) - FEWEST_FREE))
        freedom = _freedom(own, tilt_freedom, x, variance, tilt)
        found = _search(losses, float(fit.optimum[place]), cell.closed_at, freedom, level)
        result.append(_wider(found, further * float(stdtrit(freedom, (1 + level) / 2))))
    return result


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


def _shapes(fit: JointFit) -> Array:
    """(num_cells, 3): the shared shape, with the skew that the trend makes of it."""
    shapes = np.tile(fit.shape, (len(fit.skew), 1))
    shapes[:, 0] = fit.skew
    return np.clip(shapes, loss_shape.LOWEST, loss_shape.HIGHEST)


def _tables(shape: Array, centre: Array, root: Array) -> tuple[Array, Array]:
    """The rise of a shape over `TABLE`, that of ``centre`` by one linear step, and the shape's errors."""
    rise, gradient = loss_shape.tabulate(TABLE, shape)
    return rise, np.concatenate([(rise + gradient @ (centre - shape))[:, None], gradient @ root], axis=1)


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


def _freedom(noise: float, tilts: float, x: Array, variance: Array, tilt: float) -> float:
    """Of the error of a slope that is part noise and part tilt (Satterthwaite)."""
    if not tilt or not tilts:
        return noise
    own = 1 / np.sum((x - x.mean()) ** 2 / variance)
    return float((own + tilt**2) ** 2 / (own**2 / noise + tilt**4 / tilts))


def _search(losses: _Losses, start: float, ceiling: float, freedom: float, level: float) -> OptimumInterval:
    """The minimum downhill of ``start`` and the crossings about it, on grids that narrow."""
    threshold = float(fdtri(1, freedom, level))
    grid = np.linspace(losses.x.min() - MARGIN, min(losses.x.max() + MARGIN, ceiling), GRID)
    values, curvature = losses.squares(grid)
    best = _downhill(values, int(np.argmin(np.abs(grid - start))))
    first, last = _connected(values, best, threshold)
    for _ in range(PASSES):
        if last - first > GRID / 3:
            break
        grid = np.linspace(grid[max(first - 1, 0)], grid[min(last + 1, GRID - 1)], GRID)
        values, curvature = losses.squares(grid)
        best = int(np.argmin(values))
        first, last = _connected(values, best, threshold)
    limit = values[best] + threshold
    mean = np.sum(losses.weight * losses.y) / losses.weight.sum()
    constant = float((losses.weight * (losses.y - mean) ** 2).sum())
    return OptimumInterval(
        best=float(grid[best]),
        low=-np.inf if first == 0 else _crossing(grid, values, first - 1, first, limit),
        high=np.inf if last == GRID - 1 else _crossing(grid, values, last + 1, last, limit),
        curvature=float(curvature[best]),
        gain=(constant - float(values[best])) / (2 * float(fdtri(2, freedom, 0.95))),
    )


def _downhill(values: Array, place: int) -> int:
    """Index of the minimum that a walk from ``place`` ends in."""
    while True:
        beside = [k for k in (place - 1, place + 1) if 0 <= k < len(values) and values[k] < values[place]]
        if not beside:
            return place
        place = min(beside, key=lambda k: float(values[k]))


def _connected(values: Array, best: int, threshold: float) -> tuple[int, int]:
    """First and last index about ``best`` without a gap that lie within the threshold of it."""
    outside = np.flatnonzero(values > values[best] + threshold)
    below, above = outside[outside < best], outside[outside > best]
    return int(below[-1]) + 1 if len(below) else 0, int(above[0]) - 1 if len(above) else len(values) - 1


def _crossing(grid: Array, values: Array, outside: int, inside: int, limit: float) -> float:
    fraction = (values[outside] - limit) / (values[outside] - values[inside])
    return float(grid[outside] + fraction * (grid[inside] - grid[outside]))
