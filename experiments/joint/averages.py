r"""What is known of the coefficients where the scatter :math:`\tau` is not known: Student's t, or an average over it.

**Student's t** where cells enough tell the scatter. A combination c of the coefficients has the error
:math:`V = c^\top C c` at the estimate, and as many degrees of freedom as its estimated variance has
(Satterthwaite 1946; Kenward and Roger 1997),

.. math::
   \frac{1}{\nu_c} = \frac{(\partial V/\partial\tau^2)^2\,\mathrm{Var}(\hat\tau^2)}{2 V^2} + \frac1\nu, \qquad
   \mathrm{Var}(\hat\tau^2) = \frac{2}{\mathrm{tr}\,(Z_0^\top P Z_0)^2},

:math:`\nu` those of the noise. Where all optima have the same error the first term is 1/(n - p), cells more than
coefficients, as of a regression over cells. The errors of :math:`\hat\tau^2` and of the noise are partly opposed, so
that their sum is on the safe side; by the first alone 5.8 % of the intervals missed where the scatter is once or twice
the error. What priors hold does not change with :math:`\tau` and has the noise's.

**An average** where a coefficient would have fewer than `ENOUGH` of them, and t would say nothing. :math:`\tau` is
often estimated as 0 there. And where something has a scatter of its own, as the optimum of a cell not yet made. So the
distribution of :math:`\beta` is averaged over it,

.. math::
   p(\beta) = \sum_k w_k\; t_\nu\big(\beta;\; \hat\beta_{\tau_k}, C_{\tau_k}\big), \qquad
   w_k \propto L(\tau_k)\,\frac{\mathrm{d}\tau_k}{s_0/4 + \tau_k}

Legend: :math:`\hat\beta_\tau`, :math:`C_\tau` the estimate at that scatter and its covariance; L the restricted
likelihood; :math:`s_0` the typical standard error of an optimum. The grid is even in :math:`\ln(s_0/4 + \tau)`, in
which the prior is flat. With many cells up to 6.5 % of these intervals miss, where the scatter is once or twice
:math:`s_0`: one that came out small is believed.

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
from scipy.special import ndtr, stdtr, stdtrit

from experiments.joint.mixed_model import (
    Design,
    cross_products,
    scatter_information,
    solve,
    solve_each,
    sums_by_cell,
)
from experiments.joint.model import StackedLosses, Variances, error_variances, spreads

Array = NDArray[np.float64]

NODES = 40
LOWEST_SPREAD = 1e-3
LARGEST_SCATTER = 3.0
FLAT_BELOW = 0.25  # scatter below which the prior is flat, over the typical standard error of an optimum
FEW = 10.0  # degrees of freedom
NOISES = np.linspace(-1.5, 7.0, 30)  # logarithms over the estimate, for one degree of freedom
MOST_CELLS = 200  # whose noise is averaged over
ENOUGH = 4.0  # degrees of freedom of every coefficient, from which on the scatter is not averaged over
STEP = 1e-3  # in the squared scatter, over what an optimum varies by
LAST_BIT = 4 * float(np.finfo(np.float64).eps)  # relative


@dataclass(frozen=True, kw_only=True)
class Averages:
    """The coefficients at each tau, or each tau and noise, of a grid, for averaging over it; or at the estimated tau,
    which then counts alone, and at a second one a little above it.

    tau : (num_nodes,). weights : (num_nodes,), which sum to 1. centres : (num_nodes, num_regressors), the estimates.
    covariances : (num_nodes, num_fixed, num_fixed) of the coefficients, the trend of curvature and the shape, in this
    order. freedom : of each component, above 0, infinite where the noise is averaged over. doubt : variance of the
    estimated squared scatter, None where it is averaged over or given.
    """

    tau: Array
    weights: Array
    centres: Array
    covariances: Array
    freedom: float
    doubt: float | None = None

    def freedom_of(self, variances: Array) -> float:
        """Degrees of freedom of what has these ``variances``, (num_nodes,)."""
        if self.doubt is None:
            return self.freedom
        slope = np.diff(variances)[0] / np.diff(self.tau**2)[0]
        return float(1 / (slope**2 * self.doubt / (2 * variances[0] ** 2) + 1 / self.freedom))

    def estimate(self, which: int) -> float:
        """The mean of one coefficient."""
        return float(self.weights @ self.centres[:, which])

    def along(self, direction: Array, level: float) -> tuple[float, float, float]:
        """The mean and the central interval of a combination of the coefficients, (num_regressors,) not all 0."""
        p = len(direction)
        centres = self.centres @ direction
        variances = np.einsum("p,npq,q->n", direction, self.covariances[:, :p, :p], direction)
        freedom = self.freedom_of(variances)
        low, high = central_interval(centres, np.sqrt(variances), self.weights, freedom, level)
        return float(self.weights @ centres), low, high

    def interval(self, which: int, level: float) -> tuple[float, float]:
        """The central interval of one coefficient, of that ``level``."""
        variances = self.covariances[:, which, which]
        freedom = self.freedom_of(variances)
        return central_interval(self.centres[:, which], np.sqrt(variances), self.weights, freedom, level)

    def log_error_variance(self, which: int) -> float:
        """Variance of the logarithm of a coefficient's standard error: from the noise's degrees of freedom, and over
        tau, whose estimate would be normal if it could be below 0."""
        variances = self.covariances[:, which, which]
        logs = np.log(variances) / 2
        spread = self.weights @ (logs - self.weights @ logs) ** 2
        if self.doubt is not None:
            slope = np.diff(logs)[0] / np.diff(self.tau**2)[0]
            spread = slope**2 * self.doubt * _variance_above_0(float(self.tau[0] ** 2 / np.sqrt(self.doubt)))
        return float(1 / (2 * self.freedom) + spread)


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


def _variance_above_0(mean: float) -> float:
    """That of a normal variable of variance 1, taken as 0 where it is below."""
    above, density = float(ndtr(mean)), float(np.exp(-(mean**2) / 2) / np.sqrt(2 * np.pi))
    first = mean * above + density
    return (mean**2 + 1) * above + mean * density - first**2


def typical_error(cells: StackedLosses, design: Design, rise: Array, variances: Variances) -> float:
    """Median standard error of an optimum in ln(learning rate), its curvature known."""
    pull = sums_by_cell(design.random[:, 0] ** 2 / error_variances(cells, rise, variances), cells.starts)
    return float(np.clip(1 / np.sqrt(np.median(np.maximum(pull, 1e-12))), LOWEST_SPREAD, 1.0))


def students_t(
    cells: StackedLosses, design: Design, rise: Array, variances: Variances, num_regressors: int, freedom: float
) -> Averages | None:
    """Student's t by the rule above, for a model linearised as ``design``; None where a coefficient would have fewer
    than `ENOUGH` degrees of freedom. ``freedom``: those of the noise."""
    if freedom < FEW or len(cells.starts) - num_regressors < ENOUGH:
        return None
    products, spread = cross_products(design, error_variances(cells, rise, variances)), spreads(cells, variances)
    here = solve(design, products, spread)
    first, second = scatter_information(design, products, spread, here)
    if second <= 0:
        return None
    tau = np.sqrt([variances.tau**2, variances.tau**2 + STEP * first / second])
    above = solve(design, products, spreads(cells, replace(variances, tau=float(tau[1]))))
    found = Averages(
        tau=tau,
        weights=np.array([1.0, 0.0]),
        centres=np.stack([here.fixed, above.fixed])[:, :num_regressors],
        covariances=np.stack([here.covariance, above.covariance]),
        freedom=freedom,
        doubt=2 / second,
    )
    own = np.diagonal(found.covariances, axis1=1, axis2=2)[:, :num_regressors]
    return found if min(found.freedom_of(each) for each in own.T) >= ENOUGH else None


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
        solutions = solve_each(design, products, spread)
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
