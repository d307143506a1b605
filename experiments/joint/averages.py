r"""Averages over the scatter: what is known of the coefficients where :math:`\tau` is not known well.

:math:`\tau` is not well known from a dozen cells and often estimated as 0. So the distribution of :math:`\beta` is
averaged over it,

.. math::
   p(\beta) = \sum_k w_k\; t_\nu\big(\beta;\; \hat\beta_{\tau_k}, C_{\tau_k}\big), \qquad
   w_k \propto L(\tau_k)\,\frac{\mathrm{d}\tau_k}{s_0/4 + \tau_k}

Legend: :math:`\hat\beta_\tau`, :math:`C_\tau` the estimate at that scatter and its covariance; L the restricted
likelihood; :math:`s_0` the typical standard error of an optimum; :math:`\nu` the degrees of freedom of the noise. The
grid is even in :math:`\ln(s_0/4 + \tau)`, in which the prior is flat.

Where the scatter is far above the noise, the tail :math:`1/\tau` alone gives the interval of a regression over cells, t
with as many degrees of freedom as there are cells more than coefficients; a prior that falls faster (DuMouchel's,
:math:`1/(s_0+\tau)^2`) covers too little there. Below the noise the prior is flat.

**Few degrees of freedom.** Student's t stretches the whole of C by what the noise may be more than its estimate, also
what the priors or the scatter hold. Two rates a cell leave the noise one degree of freedom, and 12.7 standard errors on
either side of what is known well. So below `FEW` degrees of freedom the noise, :math:`\sigma` and :math:`\gamma`
together, is averaged over as :math:`\tau` is, with a prior flat in its logarithm, and the components are normal. Where
nothing but the noise counts the mixture is Student's t again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from experiments.joint.mixed_model import Design, cross_products, solve_each, sums_by_cell
from experiments.joint.model import StackedLosses, Variances, error_variances, spreads

Array = NDArray[np.float64]

NODES = 40
LOWEST_SPREAD = 1e-3
LARGEST_SCATTER = 3.0
FLAT_BELOW = 0.25  # scatter below which the prior is flat, over the typical standard error of an optimum
FEW = 10.0  # degrees of freedom
NOISES = np.linspace(-1.5, 7.0, 30)  # logarithms over the estimate, for one degree of freedom
MOST_CELLS = 200  # whose noise is averaged over
LAST_BIT = 4 * float(np.finfo(np.float64).eps)  # relative


@dataclass(frozen=True, kw_only=True)
class Averages:
    """The coefficients at each tau, or each tau and noise, of a grid, for averaging over it.

    tau : (num_nodes,). weights : (num_nodes,), which sum to 1. centres : (num_nodes, num_regressors), the estimates.
    covariances : (num_nodes, num_fixed, num_fixed) of the coefficients, the trend of curvature and the shape, in this
    order. freedom : of each component, above 0, infinite where the noise is averaged over.
    """

    tau: Array
    weights: Array
    centres: Array
    covariances: Array
    freedom: float

    def estimate(self, which: int) -> float:
        """The mean of one coefficient."""
        return float(self.weights @ self.centres[:, which])

    def along(self, direction: Array, level: float) -> tuple[float, float, float]:
        """The mean and the central interval of a combination of the coefficients, (num_regressors,) not all 0."""
        p = len(direction)
        centres = self.centres @ direction
        errors = np.sqrt(np.einsum("p,npq,q->n", direction, self.covariances[:, :p, :p], direction))
        return float(self.weights @ centres), *central_interval(centres, errors, self.weights, self.freedom, level)

    def interval(self, which: int, level: float) -> tuple[float, float]:
        """The central interval of one coefficient, of that ``level``."""
        errors = np.sqrt(self.covariances[:, which, which])
        return central_interval(self.centres[:, which], errors, self.weights, self.freedom, level)

    def log_error_variance(self, which: int) -> float:
        """Variance of the logarithm of a coefficient's standard error: from the degrees of freedom, and over tau."""
        logs = np.log(self.covariances[:, which, which]) / 2
        return float(1 / (2 * self.freedom) + self.weights @ (logs - self.weights @ logs) ** 2)


def central_interval(
    centres: Array, errors: Array, weights: Array, freedom: float, level: float
) -> tuple[float, float]:
    """The central interval of a mixture of t distributions, as `mixture_quantile` takes them."""
    low, high = (
        mixture_quantile(centres, errors, weights, freedom, probability)
        for probability in ((1 - level) / 2, (1 + level) / 2)
    )
    return low, high


def mixture_quantile(centres: Array, errors: Array, weights: Array, freedom: float, probability: float) -> float:
    """A quantile of a mixture of t distributions, to the last bit.

    centres, errors, weights : (num_nodes,) of the components, the errors above 0, the weights with sum 1. freedom :
    above 0, of all of them. probability : in (0, 1). The quantile lies between the least and the largest of the
    components' own.
    """
    own = centres + errors * stdtrit(freedom, probability)
    room = 1e-6 * float(errors.max())  # for a mixture of one, or of equals

    def excess(x: float) -> float:
        return float(weights @ stdtr(freedom, (x - centres) / errors)) - probability

    return float(brentq(excess, own.min() - room, own.max() + room, xtol=LAST_BIT * errors.max(), rtol=LAST_BIT))


def typical_error(cells: StackedLosses, design: Design, rise: Array, variances: Variances) -> float:
    """Median standard error of an optimum in ln(learning rate), its curvature known."""
    pull = sums_by_cell(design.random[:, 0] ** 2 / error_variances(cells, rise, variances), cells.starts)
    return float(np.clip(1 / np.sqrt(np.median(np.maximum(pull, 1e-12))), LOWEST_SPREAD, 1.0))


def average_over_tau(
    cells: StackedLosses,
    design: Design,
    rise: Array,
    variances: Variances,
    num_regressors: int,
    freedom: float,
    tau: float | None,
    prior_deviance: Callable[[Variances], float],
) -> Averages:
    """The average by the rule above, for a model linearised as ``design``; at a single ``tau`` where it is given.

    ``freedom``: degrees of freedom of the noise. ``prior_deviance``: what other knowledge of the variances adds to
    the restricted deviance.
    """
    flat = FLAT_BELOW * typical_error(cells, design, rise, variances)
    place = (np.arange(NODES) + 0.5) / NODES
    nodes = flat * np.expm1(place * np.log1p(LARGEST_SCATTER / flat)) if tau is None else np.array([tau])
    few = freedom < FEW and len(cells.starts) <= MOST_CELLS
    deviances, centres, covariances = [], [], []
    for factor in np.exp(NOISES / np.sqrt(freedom)) if few else np.ones(1):
        noise = replace(variances, sigma=variances.sigma * float(factor), gamma=variances.gamma * float(factor))
        products = cross_products(design, error_variances(cells, rise, noise))
        spread = np.stack([spreads(cells, replace(noise, tau=float(node))) for node in nodes])
        solutions = solve_each(design, [products] * len(nodes), spread)
        deviances += [s.deviance + prior_deviance(noise) for s in solutions]
        centres += [s.fixed[:, :num_regressors] for s in solutions]
        covariances += [s.covariance for s in solutions]
    deviance = np.concatenate(deviances)
    weights = np.exp(-(deviance - deviance.min()) / 2)
    return Averages(
        tau=np.tile(nodes, len(deviance) // len(nodes)),
        weights=weights / weights.sum(),
        centres=np.concatenate(centres),
        covariances=np.concatenate(covariances),
        freedom=np.inf if few else freedom,
    )
