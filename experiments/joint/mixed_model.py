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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

AT_ONCE = 4_000_000  # products held in memory


@dataclass(frozen=True, kw_only=True)
class Block:
    """Cells of like size: ``cells`` (num,), their ``points`` (num, most), ``inside`` (num, most), whether a point is
    one or only fills up, ``columns`` (num, most, num_columns) at them."""

    cells: NDArray[np.int64]
    points: NDArray[np.int64]
    inside: NDArray[np.bool_]
    columns: Array


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
    def columns(self) -> Array:
        """(num_points, num_random + num_fixed + 1), all of them side by side, the response last."""
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
            cells = np.flatnonzero(doublings == doubling)
            sizes = self.sizes[cells, None]
            step = np.arange(sizes.max())
            points = self.starts[cells, None] + np.minimum(step, sizes - 1)
            found.append(Block(cells=cells, points=points, inside=step < sizes, columns=self.columns[points]))
        return found


@dataclass(frozen=True, kw_only=True)
class Solution:
    """``fixed`` and ``covariance`` of the fixed effects; ``random`` (num_cells, num_random), their best predictions;
    ``deviance``: minus twice the restricted log likelihood, up to a constant; ``inner`` (num_cells, num_random,
    num_random): prior over posterior precision of the random effects, scaled."""

    fixed: Array
    covariance: Array
    random: Array
    deviance: Array
    inner: Array
    design: Design

    @property
    def num_fitted(self) -> float:
        """Effective number of parameters, intercepts not counted: what the data and not the priors decide."""
        held = (np.diag(self.covariance) * self.design.prior_precision).sum()
        held += np.trace(np.linalg.inv(self.inner), axis1=1, axis2=2).sum()
        return float(len(self.fixed) + self.random.size - held)


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
    total = products.total
    num_random = design.random.shape[1]
    centred = products.centred[cell, :num_random, num_random:-1]
    away = (design.columns[points] - products.means[cell])[:, :-1]
    scaled = spread[cell] * away[:, :num_random]
    # what the random effects give back of a change of the fixed ones
    given = np.linalg.solve(solution.inner[cell], scaled[:, :, None])[:, :, 0]
    fixed = away[:, num_random:] - np.einsum("nr,nr,nrf->nf", given, spread[cell], centred)
    expected = (
        products.means[cell, -1]
        + away[:, num_random:] @ solution.fixed
        + (away[:, :num_random] * solution.random[cell]).sum(axis=1)
    )
    error = 1 / total[cell] + (scaled * given).sum(axis=1) + np.einsum("nf,fg,ng->n", fixed, solution.covariance, fixed)
    return expected, error


def sums_by_cell(columns: Array, starts: NDArray[np.int64]) -> Array:
    """Sums over the points of each cell, along the first axis."""
    return np.add.reduceat(columns, starts, axis=0)


@dataclass(frozen=True, kw_only=True)
class Products:
    """What the errors' variances make of a design: ``total`` (num_cells,) weights, ``means`` (num_cells, k) weighted,
    ``centred`` (num_cells, k, k) cross products about them, ``log_variance`` summed over points."""

    total: Array
    means: Array
    centred: Array
    log_variance: Array


def cross_products(design: Design, variance: Array) -> Products:
    """Sums over each cell, for error variances (num_points,) above 0."""
    number, width = len(design.starts), design.columns.shape[1]
    total, means, centred = np.empty(number), np.empty((number, width)), np.empty((number, width, width))
    weight = 1 / variance
    for block in design.blocks:
        own = weight[block.points] * block.inside
        weighted = block.columns * own[:, :, None]
        sums = weighted.sum(axis=1)
        total[block.cells] = own.sum(axis=1)
        means[block.cells] = mean = sums / total[block.cells, None]
        products = np.swapaxes(weighted, 1, 2) @ block.columns
        centred[block.cells] = products - sums[:, :, None] * mean[:, None, :]
    return Products(total=total, means=means, centred=centred, log_variance=np.asarray(np.log(variance).sum()))


def solve(design: Design, products: Products, spread: Array) -> Solution:
    """Fixed effects, predictions and restricted likelihood.

    ``spread`` (..., num_cells, num_random), standard deviations of the random effects; leading axes are so many
    problems of one design, and stay in front in the result. Raises ``numpy.linalg.LinAlgError`` if the fixed effects
    are not identified.
    """
    num_random, num_fixed = design.random.shape[1], design.fixed.shape[1]
    across = spread[..., :, None] * products.centred[..., :num_random, num_random:]
    inner = spread[..., :, None] * products.centred[..., :num_random, :num_random] * spread[..., None, :]
    inner += np.eye(num_random)
    shrunk = np.linalg.solve(inner, across)
    whole = (products.centred[..., num_random:, num_random:] - np.swapaxes(across, -1, -2) @ shrunk).sum(axis=-3)
    information = whole[..., :num_fixed, :num_fixed] + np.diag(design.prior_precision)
    right = whole[..., :num_fixed, num_fixed] + design.prior_precision * design.prior_mean
    scale = 1 / np.sqrt(np.maximum(np.diagonal(information, axis1=-2, axis2=-1), 1e-300))
    inverse = np.linalg.inv(information * scale[..., :, None] * scale[..., None, :])
    covariance = inverse * scale[..., :, None] * scale[..., None, :]
    if not np.all(np.diagonal(covariance, axis1=-2, axis2=-1) > 0):
        raise np.linalg.LinAlgError("the fixed effects are not identified")
    fixed = (covariance @ right[..., None])[..., 0]
    squares = whole[..., -1, -1] + (design.prior_precision * design.prior_mean**2).sum() - (right * fixed).sum(axis=-1)
    deviance = products.log_variance + np.log(products.total).sum(axis=-1) + squares
    deviance = deviance + np.linalg.slogdet(inner)[1].sum(axis=-1)
    deviance = deviance - np.linalg.slogdet(inverse)[1] - 2 * np.log(scale).sum(axis=-1)
    random = spread * (shrunk[..., -1] - (shrunk[..., :-1] @ fixed[..., None, :, None])[..., 0])
    return Solution(fixed=fixed, covariance=covariance, random=random, deviance=deviance, inner=inner, design=design)


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
    num_random = design.random.shape[1]
    cell = np.repeat(np.arange(len(design.starts)), design.sizes)
    inverse = np.linalg.inv(solution.inner)
    given = inverse @ (spread[:, :, None] * products.centred[:, :num_random, num_random:])
    scaled = given[..., -1] - given[..., :-1] @ solution.fixed
    given = given[..., :-1]
    known = np.diagonal(inverse, axis1=1, axis2=2) + ((given @ solution.covariance) * given).sum(axis=2)
    away = design.columns - products.means[cell]
    turned = spread[cell] * away[:, :num_random]
    fixed = away[:, num_random:-1]
    residual = away[:, -1] - fixed @ solution.fixed - (turned * scaled[cell]).sum(axis=1)
    left = fixed - np.einsum("nr,nrf->nf", turned, given[cell])
    fitted = 1 / products.total[cell] + ((left @ solution.covariance) * left).sum(axis=1)
    fitted += np.einsum("nr,nrs,ns->n", turned, inverse[cell], turned)
    return 1 / variance - (fitted + residual**2) / variance**2, 2 * (1 - known - scaled**2)


def scatter_information(design: Design, products: Products, spread: Array, solution: Solution) -> tuple[float, float]:
    r"""What the losses tell of the variance of the first random effect, by one `solve`: :math:`\mathrm{tr}\,K` and
    :math:`\mathrm{tr}\,K^2`, K = :math:`Z_0^\top P Z_0` with P the projector of restricted likelihood.

    Half the second is Fisher's information. Of n cells whose effects have errors s, and p coefficients, the two are
    :math:`(n-p)/(s^2+g^2)` and :math:`(n-p)/(s^2+g^2)^2`.
    """
    num_random = design.random.shape[1]
    own = products.centred[:, :num_random, 0] * spread
    given = np.linalg.solve(solution.inner, own[:, :, None])[:, :, 0] * spread
    rest = products.centred[:, 0, :-1] - np.einsum("cr,crk->ck", given, products.centred[:, :num_random, :-1])
    alone, shared = rest[:, 0], rest[:, num_random:]
    taken = solution.covariance @ (shared.T @ shared)
    lost = ((shared @ solution.covariance) * shared).sum(axis=1)
    squares = alone @ alone - 2 * alone @ lost + np.trace(taken @ taken)
    return float(alone.sum() - lost.sum()), float(squares)


def solve_each(design: Design, products: Sequence[Products], spread: Array) -> list[Solution]:
    """`solve` for several error variances and spreads (num, num_cells, num_random), as many at once as memory holds."""
    each = design.random.shape[0] + products[0].centred.size
    size = max(1, AT_ONCE // each)
    solutions = []
    for first in range(0, len(spread), size):
        part = products[first : first + size]
        if all(one is part[0] for one in part):
            together = part[0]
        else:
            together = Products(
                total=np.stack([one.total for one in part]),
                means=np.stack([one.means for one in part]),
                centred=np.stack([one.centred for one in part]),
                log_variance=np.array([one.log_variance for one in part]),
            )
        solutions.append(solve(design, together, spread[first : first + size]))
    return solutions
