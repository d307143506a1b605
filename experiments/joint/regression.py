r"""Weighted least squares: the coefficients of one response or several under one law, and how these vary together.

.. math::
   y_{ac} = X_c \beta_a + e_{ac}, \qquad \mathrm{cov}(e_{ac}, e_{bc}) = \Sigma_{ab} / w_c, \qquad
   \mathrm{cov}(\hat\beta_a, \hat\beta_b) = \hat\Sigma_{ab}\, (X^\top W X)^{-1}, \qquad
   \hat\Sigma = \frac{R^\top W R}{n - p}

Legend: a, b responses (the arms of an experiment), c one of n cells, X_c its p regressors, the same for all responses,
R the residuals (n, number of responses). With the same regressors weighted least squares of each response is the best
estimate of all of them together (Zellner 1962), and any combination of responses has a t distribution with n - p
degrees of freedom. Whatever the responses of a cell share, seeds, data, a law that is not quite quadratic, is in
:math:`\hat\Sigma` and cancels in their difference.

**Weights.** :math:`1/w_c = \tau^2 + \overline{s_c^2}`, s the known standard errors of the responses of a cell, the mean
over responses; :math:`\tau` makes the weighted squares of all residuals equal their degrees of freedom (Paule and
Mandel 1982). All equal where no standard errors are known. One set of weights, so that parts add up to their sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtrit

Array = NDArray[np.float64]


ALONE = np.ones(1)  # the combination over responses where there is one


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A fitted regression of n cells on p regressors, of one response or several.

    coefficients : (num_regressors, num_responses). cross : (num_regressors, num_regressors), the inverse of X'WX.
    spread : (num_responses, num_responses), the covariance of the residuals. freedom : n - p. residuals : (num_cells,
    num_responses). weights : (num_cells,), with mean 1.
    """

    coefficients: Array
    cross: Array
    spread: Array
    freedom: int
    residuals: Array
    weights: Array

    def combination(self, which: int, over: Array = ALONE) -> tuple[float, float]:
        """Value and standard error of the coefficient ``which``, combined ``over`` (num_responses,) responses."""
        variance = float(over @ self.spread @ over) * float(self.cross[which, which])
        return float(self.coefficients[which] @ over), float(np.sqrt(max(variance, 0.0)))

    def covariance(self, which: int, one: Array, other: Array) -> float:
        """The covariance of two such combinations."""
        return float(one @ self.spread @ other) * float(self.cross[which, which])

    def half_width(self, level: float) -> float:
        """Half the central interval of that ``level``, in standard errors."""
        return float(stdtrit(self.freedom, (1 + level) / 2))

    def interval(self, which: int, over: Array = ALONE, level: float = 0.95) -> tuple[float, float, float]:
        """Value, low and high end of such a combination: its central t interval."""
        value, error = self.combination(which, over)
        half = self.half_width(level)
        return value, value - half * error, value + half * error


def regress(design: Array, responses: Array, weights: Array | None = None) -> Regression:
    """Fit ``responses`` (num_cells, num_responses) on ``design`` (num_cells, num_regressors).

    ``weights`` (num_cells,) are above 0 and count relative to each other; None stands for equal ones. Raises
    ``numpy.linalg.LinAlgError`` where the design is not of full rank or leaves no degree of freedom.

    >>> line = np.array([[1.0, -1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    >>> fit = regress(line, np.array([[1.0], [3.0], [5.0], [7.3]]))
    >>> print(*np.round(fit.interval(1), 3))  # the slope, with its 95 % interval
    2.09 1.866 2.314
    """
    cells, regressors = design.shape
    if cells <= regressors or np.linalg.matrix_rank(design) < regressors:
        raise np.linalg.LinAlgError("the cells do not determine the law")
    weights = np.ones(cells) if weights is None else weights / weights.mean()
    coefficients, cross, spread, residuals = _least_squares(design, responses, weights)
    return Regression(
        coefficients=coefficients,
        cross=cross,
        spread=spread,
        freedom=cells - regressors,
        residuals=residuals,
        weights=weights,
    )


def regress_each(designs: Array, responses: Array, weights: Array | None = None) -> tuple[Array, Array, Array]:
    """As many regressions of one response each, (num, n, p) on (num, n): the coefficients (num, p), ``cross`` as in
    `Regression`, (num, p, p), and the variance of the residuals, (num,); NaN where n cells do not determine them.

    ``weights``: (num, n), above 0, those of each regression with any mean.
    """
    num, cells, regressors = designs.shape
    weights = np.ones((num, cells)) if weights is None else weights / weights.mean(axis=1, keepdims=True)
    told = np.linalg.matrix_rank(designs) == regressors if cells > regressors else np.zeros(num, bool)
    found = np.full((num, regressors), np.nan), np.full((num, regressors, regressors), np.nan), np.full(num, np.nan)
    if told.any():
        coefficients, cross, spread, _ = _least_squares(designs[told], responses[told][..., None], weights[told])
        for whole, part in zip(found, (coefficients[..., 0], cross, spread[:, 0, 0]), strict=True):
            whole[told] = part
    return found


def power_columns(x: Array, degree: int) -> Array:
    """(..., degree + 1) powers of ``x``, the highest first."""
    return np.asarray(x)[..., None] ** np.arange(degree, -1, -1)


def _least_squares(design: Array, responses: Array, weights: Array) -> tuple[Array, Array, Array, Array]:
    """Coefficients, ``cross``, ``spread`` and residuals of `Regression`; leading axes are so many of them."""
    root = np.sqrt(weights)[..., None]
    q, r = np.linalg.qr(design * root)
    coefficients = np.linalg.solve(r, np.swapaxes(q, -1, -2) @ (responses * root))
    residuals = responses - design @ coefficients
    inverse, freedom = np.linalg.inv(r), design.shape[-2] - design.shape[-1]
    spread = np.swapaxes(residuals * weights[..., None], -1, -2) @ residuals / freedom
    return coefficients, inverse @ np.swapaxes(inverse, -1, -2), spread, residuals


def cell_weights(design: Array, responses: Array, errors: Array) -> Array:
    """(num_cells,) weights by the rule above; ``errors`` of the responses, same shape, finite and above 0. Raises
    ``numpy.linalg.LinAlgError`` as `regress`."""
    cells, regressors = design.shape
    if cells <= regressors or np.linalg.matrix_rank(design) < regressors:
        raise np.linalg.LinAlgError("the cells do not determine the law")
    variances = errors**2
    freedom = responses.shape[1] * (cells - regressors)

    def excess(scatter: float) -> float:
        """Weighted squares of all residuals less their degrees of freedom; falls with the scatter."""
        total = 0.0
        for response, variance in zip(responses.T, variances.T, strict=True):
            root = 1 / np.sqrt(scatter + variance)
            scaled = design * root[:, None]
            beta = np.linalg.lstsq(scaled, response * root, rcond=None)[0]
            total += float(((response * root - scaled @ beta) ** 2).sum())
        return total - freedom

    ceiling = float(responses.var(axis=0).max() + variances.max()) * cells + 1e-12
    scatter = float(brentq(excess, 0.0, ceiling, xtol=1e-9, rtol=1e-4)) if excess(0.0) > 0 > excess(ceiling) else 0.0
    weights: Array = 1 / (scatter + variances.mean(axis=1))
    return weights


def share_interval(
    part: float, whole: float, covariance: tuple[float, float, float], half_width: float
) -> tuple[float, float] | None:
    """Fieller's interval of part / whole; None where it is unbounded, the whole not being told from 0.

    ``covariance``: variance of the part, of both, of the whole; ``half_width`` of the interval in standard errors.
    """
    t2 = half_width**2
    a = whole**2 - t2 * covariance[2]
    if a <= 0:
        return None
    b, c = part * whole - t2 * covariance[1], part**2 - t2 * covariance[0]
    root = float(np.sqrt(max(b**2 - a * c, 0.0)))
    return (b - root) / a, (b + root) / a
