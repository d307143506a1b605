r"""Variances at the maximum of the restricted likelihood, of the joint model linearised.

Replicates and weak priors (`experiments.joint.model.Priors`) are part of it. The search runs over
:math:`\ln\sigma`, :math:`\ln(.01^2 + \gamma^2)`, :math:`\ln\omega` and :math:`\ln(s^2 + \tau^2)`, s the error of an
optimum, with exact derivatives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from experiments.joint.averages import LARGEST_SCATTER, LOWEST_SPREAD, typical_error
from experiments.joint.mixed_model import Design, Solution, cross_products, deviance_slopes, solve
from experiments.joint.model import Priors, StackedLosses, Variances, error_variances, misfit, spreads, with_misfit

Array = NDArray[np.float64]

LIMITS = {"maxiter": 50, "ftol": 1e-9}
SMALL_MISFIT = 0.01  # per rise


def solve_with(cells: StackedLosses, design: Design, rise: Array, variances: Variances) -> Solution:
    """The linear model under these variances. Raises ``numpy.linalg.LinAlgError`` where it is not identified."""
    products = cross_products(design, error_variances(cells, rise, variances))
    return solve(design, products, spreads(cells, variances))


def prior_deviance(cells: StackedLosses, variances: Variances, rules: Priors) -> float:
    """What replicates and weak priors add to the restricted deviance."""
    value = cells.replicate_freedom * 2 * np.log(variances.sigma) + cells.replicate_squares / variances.sigma**2
    value += ((np.log(variances.omega) - np.log(rules.omega[0])) / rules.omega[1]) ** 2
    return float(value + (variances.gamma / rules.gamma) ** 2)


def _prior_slopes(cells: StackedLosses, variances: Variances, rules: Priors) -> Array:
    """Derivatives of `prior_deviance` by the squares of sigma, gamma, omega and tau."""
    sigma = (cells.replicate_freedom - cells.replicate_squares / variances.sigma**2) / variances.sigma**2
    omega = (np.log(variances.omega) - np.log(rules.omega[0])) / (rules.omega[1] * variances.omega) ** 2
    return np.array([sigma, rules.gamma**-2, omega, 0.0])


def restricted_variances(
    cells: StackedLosses, design: Design, rise: Array, start: Variances, rules: Priors, tau: float | None
) -> Variances:
    """Variances at the maximum of the restricted likelihood."""
    scale = float(np.std(cells.loss - cells.spread_out(cells.mean(cells.loss)))) + 1e-12
    per_gamma = misfit(cells, rise)
    # the likelihood is flat in the logarithm of a variance far below what it adds to, not in that of the sum
    beside = np.array([0.0, SMALL_MISFIT, 0.0, typical_error(cells, design, rise, start)]) ** 2

    # about what a step of 1 in each is worth to the deviance: twice as many degrees of freedom as speak of it
    number = len(cells.starts)
    points = len(cells.x) - number
    sharp = np.sqrt(2.0 * np.maximum([points, points / 4, number, number - design.fixed.shape[1]], 4))

    def unpack(theta: Array) -> Variances:
        sigma, gamma, omega, scatter = np.sqrt(np.exp(2 * theta) - beside)
        return Variances(
            sigma=float(sigma),
            gamma=float(gamma),
            tau=float(scatter) if tau is None else tau,
            omega=float(omega),
            lean=rules.lean,
        )

    def objective(scaled: Array) -> tuple[float, Array]:
        """Restricted deviance and its derivatives."""
        theta = scaled / sharp
        here = unpack(theta)
        errors, spread = with_misfit(cells, per_gamma, here), spreads(cells, here)
        try:
            products = cross_products(design, errors)
            solution = solve(design, products, spread)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros(4)
        by_error, by_spread = deviance_slopes(design, products, errors, spread, solution)
        by_square = np.array(
            [
                by_error @ (1 / cells.count),
                by_error @ per_gamma,
                by_spread[:, 1].sum() / (2 * here.omega**2),
                by_spread[:, 0].sum() / (2 * here.tau**2) if tau is None else 0.0,
            ]
        )
        by_square += _prior_slopes(cells, here, rules)
        slopes = 2 * np.exp(2 * theta) * by_square
        return float(solution.deviance) + prior_deviance(cells, here, rules), slopes / sharp

    lowest = np.array([scale * 1e-5, 1e-3, 0.02, LOWEST_SPREAD])
    highest = np.array([scale * 10, 1.0, 2.0, LARGEST_SCATTER])
    begin = np.clip([start.sigma, start.gamma, start.omega, start.tau], lowest, highest)
    low, high, theta = (np.log(ends**2 + beside) / 2 for ends in (lowest, highest, begin))
    bounds = list(zip(low * sharp, high * sharp, strict=True))
    found = minimize(objective, theta * sharp, jac=True, method="L-BFGS-B", bounds=bounds, options=LIMITS)
    return unpack(found.x / sharp)
