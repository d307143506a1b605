r"""A linear mixed model whose cells are independent, by restricted likelihood, from sums over each cell.

.. math::
   y_{ci} = L_c + x_{ci}^\top\beta + z_{ci}^\top b_c + \epsilon_{ci}, \qquad
   b_c \sim N(0, \mathrm{diag}(g_c^2)), \quad \epsilon_{ci} \sim N(0, v_{ci})

Every cell has an intercept of its own, taken out exactly. With :math:`A_c` the weighted cross products about the cell's
mean, everything the likelihood needs is :math:`A_c` and a few numbers per cell, so that the cost is linear in points
and in cells:

.. math::
   X^\top V^{-1} X = \sum_c A_c^{xx} - A_c^{xz} g_c (1 + g_c A_c^{zz} g_c)^{-1} g_c A_c^{zx}

Source: Harville 1977 (restricted likelihood), Woodbury's identity; the arrangement is derived here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

AT_ONCE = 4_000_000  # numbers held in memory
POINTS_AT_ONCE = 4096  # of one block, so that its columns stay in a processor's cache


@dataclass(frozen=True, kw_only=True)
class Block:
    """Cells of like size: ``cells`` (num,), their ``points`` (num, most), of which the last fills up, ``inside`` (num,
    most), whether a point is one or only fills up, ``columns`` (num, most, num_columns) at them, ``rows`` (num, 1 +
    num_random, most), ones and the columns of the random effects."""

    cells: NDArray[np.int64]
    points: NDArray[np.int64]
    inside: NDArray[np.bool_]
    columns: Array
    rows: Array


@dataclass(frozen=True, kw_only=True)
class Design:
    """Columns of the model, points sorted by cell.

    starts : (num_cells,) index of the first point of every cell.
    random : (num_points, num_random). fixed : (num_points, num_fixed). response : (num_points,).
    prior_mean, prior_precision : (num_fixed,); precision 0 is a flat prior.
    """

    starts: NDArray[np.int64]
    random: Array
    fixed: Array
    response: Array
    prior_mean: Array
    prior_precision: Array

    @cached_property
    def level(self) -> Array:
        """(num_cells, num_random + num_fixed + 1), plain means of the columns, the response last."""
        return sums_by_cell(self._side_by_side, self.starts) / self.sizes[:, None]

    @cached_property
    def columns(self) -> Array:
        """(num_points, num_random + num_fixed + 1), all of them side by side, the response last, less their means over
        the cell, which its intercept takes: what is left keeps its digits in sums over all cells."""
        return self._side_by_side - np.repeat(self.level, self.sizes, axis=0)

    @cached_property
    def _side_by_side(self) -> Array:
        return np.concatenate([self.random, self.fixed, self.response[:, None]], axis=1)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(num_cells,) number of points."""
        return np.diff(np.append(self.starts, len(self.response)))

    @cached_property
    def blocks(self) -> list[Block]:
        """The cells, those of like size together."""
        doublings = np.ceil(np.log2(self.sizes)).astype(int)
        found = []
        for doubling in np.unique(doublings):
            alike = np.flatnonzero(doublings == doubling)
            step = np.arange(self.sizes[alike].max())
            number = max(1, POINTS_AT_ONCE // len(step))
            found += [self._block(alike[first : first + number], step) for first in range(0, len(alike), number)]
        return found

    def _block(self, cells: NDArray[np.int64], step: NDArray[np.int64]) -> Block:
        sizes = self.sizes[cells, None]
        points = self.starts[cells, None] + np.minimum(step, sizes - 1)
        columns = self.columns[points]
        random = np.swapaxes(columns[..., : self.random.shape[1]], 1, 2)
        rows = np.concatenate([np.ones_like(random[:, :1]), random], axis=1)
        return Block(cells=cells, points=points, inside=step < sizes, columns=columns, rows=rows)


@dataclass(frozen=True, kw_only=True)
class Solution:
    """``fixed`` and ``covariance`` of the fixed effects; ``random`` (num_cells, num_random), their best predictions;
    ``deviance``: minus twice the restricted log likelihood, up to a constant; ``active``: places of the random effects
    that have a spread; ``root`` (num_cells, num_active, num_active): of it and its transpose the prior over posterior
    precision of these is the inverse, scaled; ``across`` (num_cells, num_active, num_fixed + 1): the root times their
    scaled cross products with the fixed columns and the response."""

    fixed: Array
    covariance: Array
    random: Array
    deviance: Array
    active: NDArray[np.int64]
    root: Array
    across: Array
    design: Design

    @property
    def num_fitted(self) -> float:
        """Effective number of parameters, intercepts not counted: what the data and not the priors decide."""
        held = (np.diag(self.covariance) * self.design.prior_precision).sum() + (self.root**2).sum()
        return float(len(self.fixed) + self.root.shape[0] * len(self.active) - held)

    def given(self, rows: Array) -> Array:
        """The root's transpose times ``rows`` (num_cells, num_active, ...)."""
        return np.swapaxes(self.root, 1, 2) @ rows


def predict(
    design: Design,
    variance: Array,
    spread: Array,
    solution: Solution,
    points: NDArray[np.int64],
    cell: NDArray[np.int64],
) -> tuple[Array, Array]:
    """Expected response and its variance, noise not included, at ``points`` of the design, each in its ``cell``.

    ``variance`` and ``spread`` as the solution had them; a point of infinite variance took no part in it.
    """
    products = cross_products(design, variance)
    active, num_random = solution.active, design.random.shape[1]
    away = (design.columns[points] - products.means[cell])[:, :-1]
    scaled = spread[np.ix_(cell, active)] * away[:, active]
    # what the random effects give back of a change of the fixed ones
    root = (solution.root[cell] @ scaled[:, :, None])[:, :, 0]
    fixed = away[:, num_random:] - np.einsum("nr,nrf->nf", root, solution.across[cell, :, :-1])
    expected = (
        (design.level[cell] + products.means[cell])[:, -1]
        + away[:, num_random:] @ solution.fixed
        + (away[:, :num_random] * solution.random[cell]).sum(axis=1)
    )
    error = 1 / products.total[cell] + (root**2).sum(axis=1)
    return expected, error + np.einsum("nf,fg,ng->n", fixed, solution.covariance, fixed)


def sums_by_cell(columns: Array, starts: NDArray[np.int64]) -> Array:
    """Sums over the points of each cell, along the first axis."""
    return np.add.reduceat(columns, starts, axis=0)


@dataclass(frozen=True, kw_only=True)
class Products:
    """What the errors' variances make of a design: ``total`` (num_cells,) weights, ``means`` (num_cells, num_columns)
    weighted, of `Design.columns`; weighted cross products about them, ``random`` (num_cells, num_random, num_columns)
    of each cell, and ``fixed`` (num_fixed + 1, num_fixed + 1) of the other columns over all cells; ``log_variance``
    summed over points."""

    total: Array
    means: Array
    random: Array
    fixed: Array
    log_variance: float


def cross_products(design: Design, variance: Array) -> Products:
    """Sums over each cell, for error variances (num_points,) above 0."""
    number, width, num_random = len(design.starts), design.columns.shape[1], design.random.shape[1]
    total, means, random = np.empty(number), np.empty((number, width)), np.empty((number, num_random, width))
    weight = 1 / variance
    for block in design.blocks:
        own = weight[block.points] * block.inside
        products = (block.rows * own[:, None, :]) @ block.columns
        sums = products[:, 0]
        total[block.cells] = own.sum(axis=1)
        means[block.cells] = mean = sums / total[block.cells, None]
        random[block.cells] = products[:, 1:] - sums[:, :num_random, None] * mean[:, None, :]
    scaled = design.columns[:, num_random:] * np.sqrt(weight)[:, None]
    level = means[:, num_random:] * np.sqrt(total)[:, None]
    return Products(
        total=total,
        means=means,
        random=random,
        fixed=scaled.T @ scaled - level.T @ level,
        log_variance=float(np.log(variance).sum()),
    )


def solve(design: Design, products: Products, spread: Array) -> Solution:
    """Fixed effects, predictions and restricted likelihood.

    ``spread`` (..., num_cells, num_random), standard deviations of the random effects; leading axes are so many
    problems of one design, and stay in front in the result. Raises ``numpy.linalg.LinAlgError`` if the fixed effects
    are not identified.
    """
    active, root, across, log_pivots = _eliminated(design, products, spread)
    rows = across.reshape(*spread.shape[:-2], -1, across.shape[-1])
    whole = products.fixed - np.swapaxes(rows, -1, -2) @ rows
    fixed, covariance, rest = fixed_effects(design, whole)
    deviance = products.log_variance + np.log(products.total).sum() + log_pivots + rest
    left = across[..., -1] - (across[..., :-1] @ fixed[..., None, :, None])[..., 0]
    random = np.zeros(spread.shape)
    random[..., active] = spread[..., active] * (np.swapaxes(root, -1, -2) @ left[..., None])[..., 0]
    return Solution(
        fixed=fixed,
        covariance=covariance,
        random=random,
        deviance=np.asarray(deviance),
        active=active,
        root=root,
        across=across,
        design=design,
    )


def _eliminated(
    design: Design, products: Products, spread: Array
) -> tuple[NDArray[np.int64], Array, Array, NDArray[np.float64]]:
    """``active``, ``root`` and ``across`` of a `Solution`, and the logarithms of the pivots, summed: the random effects
    taken out of all cells at once, row by row, those of no spread, which nothing depends on, left where they are."""
    num_random = design.random.shape[1]
    active = np.flatnonzero(spread.reshape(-1, num_random).any(axis=0))
    own = spread[..., active]
    scaled = own[..., None] * products.random[:, active]
    unit = np.broadcast_to(np.eye(len(active)), (*own.shape, len(active)))
    rows = np.concatenate([scaled[..., active] * own[..., None, :] + unit, unit, scaled[..., num_random:]], axis=-1)
    log_pivots = np.zeros(spread.shape[:-2])
    for place in range(len(active)):
        pivot = rows[..., place, place].copy()
        for below in range(place + 1, len(active)):
            rows[..., below, :] -= (rows[..., below, place] / pivot)[..., None] * rows[..., place, :]
        rows[..., place, :] /= np.sqrt(pivot)[..., None]
        log_pivots = log_pivots + np.log(pivot).sum(axis=-1)
    number = len(active)
    return active, rows[..., number : 2 * number], rows[..., 2 * number :], log_pivots


def fixed_effects(design: Design, whole: Array) -> tuple[Array, Array, Array]:
    """Fixed effects, their covariance, and their part of the deviance, from the cross products (..., num_fixed + 1,
    num_fixed + 1) of their columns and the response that the random effects leave. Raises as `solve`."""
    information = whole[..., :-1, :-1] + np.diag(design.prior_precision)
    right = whole[..., :-1, -1] + design.prior_precision * design.prior_mean
    scale = 1 / np.sqrt(np.maximum(np.diagonal(information, axis1=-2, axis2=-1), 1e-300))
    inverse = np.linalg.inv(information * scale[..., :, None] * scale[..., None, :])
    covariance = inverse * scale[..., :, None] * scale[..., None, :]
    if not np.all(np.diagonal(covariance, axis1=-2, axis2=-1) > 0):
        raise np.linalg.LinAlgError("the fixed effects are not identified")
    fixed = (covariance @ right[..., None])[..., 0]
    squares = whole[..., -1, -1] + (design.prior_precision * design.prior_mean**2).sum() - (right * fixed).sum(axis=-1)
    return fixed, covariance, squares - np.linalg.slogdet(inverse)[1] - 2 * np.log(scale).sum(axis=-1)


def solve_without_each(design: Design, products: Products, variance: Array, spread: Array) -> Array:
    """(num_cells, num_fixed) fixed effects of all cells but one, NaN where these do not identify them; arguments as
    `solve`, one problem, and `cross_products` have them."""
    _, _, across, _ = _eliminated(design, products, spread)
    num_random, whole = design.random.shape[1], np.empty((len(spread), *products.fixed.shape))
    for block in design.blocks:
        away = (block.columns - products.means[block.cells, None])[..., num_random:]
        weighted = away * (block.inside / variance[block.points])[..., None]
        whole[block.cells] = np.swapaxes(weighted, 1, 2) @ away
    whole -= np.swapaxes(across, 1, 2) @ across
    nothing = np.zeros_like(whole[:1])
    # sums of those before and of those after: a difference from the sum of all would lose digits
    before = np.cumsum(np.concatenate([nothing, whole[:-1]]), axis=0)
    after = np.cumsum(np.concatenate([nothing, whole[:0:-1]]), axis=0)[::-1]
    result = np.full((len(spread), design.fixed.shape[1]), np.nan)
    for place, others in enumerate(before + after):
        with suppress(np.linalg.LinAlgError):
            result[place] = fixed_effects(design, others)[0]
    return result


def deviance_slopes(
    design: Design, products: Products, variance: Array, spread: Array, solution: Solution
) -> tuple[Array, Array]:
    r"""Derivatives of the deviance of one `solve`: by each error variance, (num_points,), and by the logarithm of each
    ``spread``, (num_cells, num_random).

    .. math::
       \frac{\partial}{\partial v_i} = \frac1{v_i} - \frac{q_i + \hat e_i^2}{v_i^2}, \qquad
       \frac{\partial}{\partial\ln g_{ck}} = 2\Big(1 - \frac{\mathrm{Var}(b_{ck}) + \hat b_{ck}^2}{g_{ck}^2}\Big)

    with :math:`\hat e_i` the residual, :math:`q_i` the variance of the fitted value, and that of the predicted effect,
    all given the losses (Searle, Casella and McCulloch 1992, chapter 6, arranged by cells).
    """
    active, num_random = solution.active, design.random.shape[1]
    given = solution.given(solution.across)
    scaled = given[..., -1] - given[..., :-1] @ solution.fixed
    known = (solution.root**2).sum(axis=1) + ((given[..., :-1] @ solution.covariance) * given[..., :-1]).sum(axis=2)
    by_spread = np.zeros(spread.shape)
    by_spread[:, active] = 2 * (1 - known - scaled**2)
    fitted = np.empty(len(variance))
    for block in design.blocks:
        away = block.columns - products.means[block.cells, None]
        turned = away[..., active] * spread[np.ix_(block.cells, active)][:, None]
        left = away[..., num_random:] - turned @ given[block.cells]
        fixed = left[..., :-1]
        squares = (left[..., -1] - fixed @ solution.fixed) ** 2 + ((fixed @ solution.covariance) * fixed).sum(axis=2)
        squares += ((turned @ np.swapaxes(solution.root[block.cells], 1, 2)) ** 2).sum(axis=2)
        fitted[block.points] = squares + 1 / products.total[block.cells, None]
    return 1 / variance - fitted / variance**2, by_spread


def scatter_information(design: Design, products: Products, spread: Array, solution: Solution) -> tuple[float, float]:
    r"""What the losses tell of the variance of the first random effect, by one `solve`: :math:`\mathrm{tr}\,K` and
    :math:`\mathrm{tr}\,K^2`, K = :math:`Z_0^\top P Z_0` with P the projector of restricted likelihood.

    Half the second is Fisher's information. Of n cells whose effects have errors s, and p coefficients, the two are
    :math:`(n-p)/(s^2+g^2)` and :math:`(n-p)/(s^2+g^2)^2`.
    """
    active, num_random = solution.active, design.random.shape[1]
    own = products.random[:, active, 0] * spread[:, active]
    given = solution.given(solution.root @ own[:, :, None])[..., 0] * spread[:, active]
    rest = products.random[:, 0, :-1] - np.einsum("cr,crk->ck", given, products.random[:, active, :-1])
    alone, shared = rest[:, 0], rest[:, num_random:]
    taken = solution.covariance @ (shared.T @ shared)
    lost = ((shared @ solution.covariance) * shared).sum(axis=1)
    squares = alone @ alone - 2 * alone @ lost + np.trace(taken @ taken)
    return float(alone.sum() - lost.sum()), float(squares)


def solve_each(design: Design, products: Products, spread: Array) -> list[Solution]:
    """`solve` for several spreads (num, num_cells, num_random), as many at once as memory holds."""
    size = max(1, AT_ONCE // products.random.size)
    return [solve(design, products, spread[first : first + size]) for first in range(0, len(spread), size)]
