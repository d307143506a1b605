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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

AT_ONCE = 4_000_000  # products held in memory


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


@dataclass(frozen=True, kw_only=True)
class Solution:
    """``fixed`` and ``covariance`` of the fixed effects; ``random`` (num_cells, num_random), their best predictions;
    ``deviance``: minus twice the restricted log likelihood, up to a constant; ``inner`` (num_cells, num_random,
    num_random): prior over posterior precision of the random effects, scaled."""

    fixed: Array
    covariance: Array
    random: Array
    deviance: float
    inner: Array
    design: Design

    @property
    def num_fitted(self) -> float:
        """Effective number of parameters, intercepts not counted: what the data and not the priors decide."""
        held = (np.diag(self.covariance) * self.design.prior_precision).sum()
        held += np.trace(np.linalg.inv(self.inner), axis1=1, axis2=2).sum()
        return float(len(self.fixed) + self.random.size - held)


def sums_by_cell(columns: Array, starts: NDArray[np.int64]) -> Array:
    """Sums over the points of each cell, along the first axis."""
    return np.add.reduceat(columns, starts, axis=0)


@dataclass(frozen=True, kw_only=True)
class Products:
    """What the errors' variances make of a design: ``total`` (num_cells,) weights, ``centred`` (num_cells, k, k) cross
    products about the means of the cells, ``log_variance`` summed over points."""

    total: Array
    centred: Array
    log_variance: float


def cross_products(design: Design, variance: Array) -> Products:
    """Sums over each cell, for error variances (num_points,) above 0; the part that costs."""
    columns = np.concatenate([design.random, design.fixed, design.response[:, None]], axis=1)
    weight = 1 / variance
    weighted = columns * weight[:, None]
    if columns.shape[0] * columns.shape[1] ** 2 <= AT_ONCE:
        products = sums_by_cell(weighted[:, :, None] * columns[:, None, :], design.starts)
    else:
        products = np.stack([sums_by_cell(weighted * column[:, None], design.starts) for column in columns.T], axis=2)
    total, sums = sums_by_cell(weight, design.starts), sums_by_cell(weighted, design.starts)
    centred = products - sums[:, :, None] * sums[:, None, :] / total[:, None, None]
    return Products(total=total, centred=centred, log_variance=float(np.log(variance).sum()))


def solve(design: Design, products: Products, spread: Array) -> Solution:
    """Fixed effects, predictions and restricted likelihood.

    ``spread`` (num_cells, num_random), standard deviations of the random effects. Raises ``numpy.linalg.LinAlgError``
    if the fixed effects are not identified.
    """
    num_random, num_fixed = design.random.shape[1], design.fixed.shape[1]
    across = spread[:, :, None] * products.centred[:, :num_random, num_random:]
    inner = spread[:, :, None] * products.centred[:, :num_random, :num_random] * spread[:, None, :]
    inner += np.eye(num_random)
    shrunk = np.linalg.solve(inner, across)
    whole = (products.centred[:, num_random:, num_random:] - np.swapaxes(across, 1, 2) @ shrunk).sum(axis=0)
    information = whole[:num_fixed, :num_fixed] + np.diag(design.prior_precision)
    right = whole[:num_fixed, num_fixed] + design.prior_precision * design.prior_mean
    scale = 1 / np.sqrt(np.maximum(np.diag(information), 1e-300))
    inverse = np.linalg.inv(information * scale[:, None] * scale)
    covariance = inverse * scale[:, None] * scale
    if not np.all(np.diag(covariance) > 0):
        raise np.linalg.LinAlgError("the fixed effects are not identified")
    fixed = covariance @ right
    squares = whole[-1, -1] + (design.prior_precision * design.prior_mean**2).sum() - right @ fixed
    deviance = products.log_variance + np.log(products.total).sum() + np.linalg.slogdet(inner)[1].sum() + squares
    deviance -= np.linalg.slogdet(inverse)[1] + 2 * np.log(scale).sum()
    random = spread * (shrunk[:, :, -1] - shrunk[:, :, :-1] @ fixed)
    return Solution(
        fixed=fixed, covariance=covariance, random=random, deviance=float(deviance), inner=inner, design=design
    )
