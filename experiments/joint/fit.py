r"""The joint estimator: `experiments.joint.model` by restricted likelihood.

**Fit.** Linearised about the best predictions, solved as a linear mixed model, and again until nothing moves (Lindstrom
and Bates 1990); variances by restricted likelihood, replicates included, with weak priors (`Priors`).

**Intervals** (`experiments.joint.averages`) have as many degrees of freedom as the cells tell the scatter :math:`\tau`
with, or average over it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.joint import loss_shape
from experiments.joint.averages import (
    Averages,
    average_over_tau,
    students_t,
    typical_error,
)
from experiments.joint.mixed_model import (
    Design,
    Solution,
    cross_products,
    solve_without_each,
    sums_by_cell,
)
from experiments.joint.model import (
    Priors,
    StackedLosses,
    State,
    Variances,
    curve,
    error_variances,
    linearise,
    spreads,
)
from experiments.joint.restricted import prior_deviance, restricted_variances, solve_with

Array = NDArray[np.float64]

MAX_ROUNDS = 35
STEPS_PER_ROUND = 4
SETTLED = 0.03  # movement of an optimum in a round, over its standard error
DAMPED_FROM = 15  # round from which on variances go a part of the way: losses almost without noise do not tell them
NEGLIGIBLE = 1e-3  # movement of an optimum in a round that settles it from then on, in ln(learning rate)
MOST_LEFT_OUT = 200
NO_MISFIT = 1e-3  # per rise
SOME_LEAN = 0.25  # scatter of the skew: over whole grids cells with kinks of their own have .1 to .5
SOME_TREND = 0.5  # of the skew, per unit of the logarithm of a scale: kinks that go with a budget make .3 to 1


@dataclass(frozen=True, kw_only=True)
class JointFit:
    """What the joint estimator found.

    state : where the model is linearised. coefficients, covariance : (num_regressors,) and (num_regressors,
    num_regressors), at the estimated tau. optimum : (num_cells,), the best prediction of mu_c in ln(learning rate).
    curvature : (num_cells,), that of h_c in nats. curvature_by_law, trend_leverage : (num_cells,), what the trend alone
    makes of h_c, and the leverage of each cell on it. shape, shape_covariance, shape_prior : (3,), (3, 3) and (3, 2),
    the parameters of `loss_shape`, and their means and standard deviations beforehand. skew : (num_cells,), what the
    trend alone makes of each cell's. variances : those estimated.
    known : the coefficients, for their own intervals. averages : the same over tau, for what has a scatter of its own.
    freedom : degrees of freedom of the noise, less one for the misfit, at least 1. left_out : (num_cells,
    num_regressors), the coefficients without each cell, one linear step from the fit with its variances; empty above
    `MOST_LEFT_OUT` cells. residuals : (num_points,), over their standard errors. converged : whether the rounds
    settled.
    """

    state: State
    coefficients: Array
    covariance: Array
    optimum: Array
    curvature: Array
    curvature_by_law: Array
    shape: Array
    skew: Array
    shape_covariance: Array
    shape_prior: Array
    trend_leverage: Array
    variances: Variances
    known: Averages
    averages: Averages
    freedom: float
    left_out: Array
    residuals: Array
    converged: bool


def fit_jointly(
    cells: StackedLosses,
    regressors: Array,
    trend: Array,
    *,
    priors: Priors | None = None,
    tau: float | None = None,
    start: JointFit | None = None,
) -> JointFit:
    """Fit the model of `experiments.joint.model`.

    ``regressors`` (num_cells, p) are those of the optimum, ``trend`` (num_cells, k) those of ln curvature, its first
    column constant. ``priors`` are `Priors` unless given. ``tau`` is the scatter of cells where it is not to be
    estimated. ``start`` is a fit to begin at, of the same cells with other points. Raises
    ``numpy.linalg.LinAlgError`` where the regressors are not identified.
    """
    rules = priors or Priors()
    if start is None:
        state = _start(cells, regressors, trend, rules)
        sigma = _first_noise(cells, state, regressors, trend)
        variances = Variances(sigma=sigma, gamma=0.01, tau=0.1 if tau is None else tau, omega=0.3, lean=rules.lean)
    else:
        state, variances = start.state, start.variances
    converged = False
    design, rise = linearise(cells, state, regressors, trend, rules)
    for number in range(MAX_ROUNDS):
        before = regressors @ state.beta + state.shift
        found = restricted_variances(cells, design, rise, variances, rules, tau)
        damping = max(number - DAMPED_FROM + 1, 0)
        variances = found if not damping else _between(variances, found, 1 / (damping + 1))
        for _ in range(STEPS_PER_ROUND):
            solution = solve_with(cells, design, rise, variances)
            state, moved = _step(cells, state, solution, variances, rise, regressors, trend, rules)
            design, rise = linearise(cells, state, regressors, trend, rules)
            if moved < SETTLED / 10:
                break
        enough = max(SETTLED * typical_error(cells, design, rise, variances), NEGLIGIBLE if damping else 0.0)
        if np.abs(regressors @ state.beta + state.shift - before).max() < enough:
            converged = True
            break
    solution = solve_with(cells, design, rise, variances)
    p = regressors.shape[1]
    freedom = max(len(cells.x) - len(cells.starts) + cells.replicate_freedom - solution.num_fitted - 1, 1.0)
    averages = average_over_tau(
        cells, design, rise, variances, p, freedom, tau, lambda v: prior_deviance(cells, v, rules)
    )
    students = students_t(cells, design, rise, variances, p, freedom) if tau is None else None
    return JointFit(
        state=state,
        coefficients=solution.fixed[:p],
        covariance=solution.covariance[:p, :p],
        optimum=regressors @ state.beta + state.shift,
        curvature=np.exp(trend @ state.trend + state.bend),
        curvature_by_law=np.exp(trend @ state.trend),
        shape=state.shape,
        skew=state.skew(trend),
        shape_covariance=solution.covariance[-len(state.shape) :, -len(state.shape) :],
        shape_prior=rules.shape,
        trend_leverage=np.einsum("ck,ck->c", trend, np.linalg.pinv(trend).T),
        variances=variances,
        known=students or averages,
        averages=averages,
        freedom=freedom,
        residuals=_residuals(cells, state, rise, error_variances(cells, rise, variances)),
        left_out=_without_each(cells, design, rise, variances, p),
        converged=converged,
    )


def _between(before: Variances, after: Variances, share: float) -> Variances:
    """A ``share`` of the way, in logarithms."""
    ends = zip(vars(before).items(), vars(after).values(), strict=True)
    return Variances(**{name: a if a == b else float(a ** (1 - share) * b**share) for (name, a), b in ends})


def misfit_evidence(
    cells: StackedLosses, fit: JointFit, regressors: Array, trend: Array, priors: Priors, tau: float | None = None
) -> float:
    """By how much the restricted deviance grows, other variances fitted anew, if the shape is taken to have no misfit.

    ``fit`` is that of the same cells, regressors, priors and ``tau``, as in `fit_jointly`, and stays linearised where
    it is. Raises ``numpy.linalg.LinAlgError`` where the regressors are not identified.
    """
    design, rise = linearise(cells, fit.state, regressors, trend, priors)
    none = restricted_variances(cells, design, rise, fit.variances, replace(priors, gamma=NO_MISFIT), tau)
    plain = replace(priors, gamma=np.inf)
    deviances = [
        float(solve_with(cells, design, rise, v).deviance) + prior_deviance(cells, v, plain)
        for v in (replace(none, gamma=NO_MISFIT), fit.variances)
    ]
    return deviances[0] - deviances[1]


def lean_evidence(
    cells: StackedLosses, fit: JointFit, regressors: Array, trend: Array, priors: Priors, tau: float | None = None
) -> float:
    """By how much the restricted deviance falls, other variances fitted anew, if every cell has a skew of its own that
    scatters by `SOME_LEAN`; below 0 if it grows. Arguments and errors as in `misfit_evidence`."""
    design, rise = linearise(cells, fit.state, regressors, trend, priors)
    begin, rules = replace(fit.variances, lean=SOME_LEAN), replace(priors, lean=SOME_LEAN)
    own = restricted_variances(cells, design, rise, begin, rules, tau)
    deviances = [
        float(solve_with(cells, design, rise, v).deviance) + prior_deviance(cells, v, priors)
        for v in (fit.variances, own)
    ]
    return deviances[0] - deviances[1]


def skew_trend_evidence(
    cells: StackedLosses, fit: JointFit, regressors: Array, trend: Array, priors: Priors, tau: float | None = None
) -> float:
    """The same if the skew follows the columns of ``trend`` but its first, 0 +- `SOME_TREND` each. ``fit`` has none."""
    design, rise = linearise(cells, fit.state, regressors, trend, priors)
    number = trend.shape[1] - 1
    rules, state = replace(priors, skew_trend=SOME_TREND), replace(fit.state, skew_trend=np.zeros(number))
    wider, _ = linearise(cells, state, regressors, trend, rules)
    follows = restricted_variances(cells, wider, rise, fit.variances, rules, tau)
    deviances = [
        float(solve_with(cells, columns, rise, v).deviance) + prior_deviance(cells, v, priors)
        for columns, v in ((design, fit.variances), (wider, follows))
    ]
    # of the slopes' prior the deviance has all but its own determinant
    return deviances[0] - deviances[1] - 2 * number * float(np.log(SOME_TREND))


def _step(
    cells: StackedLosses,
    state: State,
    solution: Solution,
    variances: Variances,
    rise: Array,
    regressors: Array,
    trend: Array,
    rules: Priors,
) -> tuple[State, float]:
    """Towards the solution of the linear model, as far as the penalised squares fall; ``rise``: that at the state."""
    p, k = regressors.shape[1], trend.shape[1]
    errors, spread = error_variances(cells, rise, variances), np.maximum(spreads(cells, variances), 1e-12)

    def cost(s: State, risen: Array) -> float:
        standard = _residuals(cells, s, risen, errors)
        local = np.stack([s.shift, s.bend, s.tilt, s.lean], axis=1)
        return float(
            (standard**2).sum()
            + ((local / spread) ** 2).sum()
            + (((s.shape - rules.shape[:, 0]) / rules.shape[:, 1]) ** 2).sum()
            + (s.trend[1:] ** 2).sum() / rules.trend**2
            + ((s.skew_trend**2).sum() / rules.skew_trend**2 if len(s.skew_trend) else 0.0)
            + (0.0 if rules.law is None else float(rules.law @ s.beta**2))
        )

    target = State(
        solution.fixed[:p],
        solution.fixed[p : p + k],
        solution.fixed[p + k : -len(state.shape)],
        np.clip(solution.fixed[-len(state.shape) :], loss_shape.LOWEST, loss_shape.HIGHEST),
        solution.random[:, 0],
        solution.random[:, 1],
        solution.random[:, 2],
        solution.random[:, 3],
    )
    start, fraction = cost(state, rise), 1.0
    for _ in range(8):
        pairs = zip(vars(state).values(), vars(target).values(), strict=True)
        trial = State(*(a + fraction * (b - a) for a, b in pairs))
        if cost(trial, curve(cells, trial, regressors, trend)[2]) <= start + 1e-9:
            moved = regressors @ (trial.beta - state.beta) + trial.shift - state.shift
            return trial, float(np.abs(moved).max())
        fraction /= 2
    return state, 0.0


def _residuals(cells: StackedLosses, state: State, rise: Array, errors: Array) -> Array:
    """(num_points,) residuals about the cells' intercepts, over their standard errors; ``rise``: that at the state."""
    across = cells.x - cells.spread_out(cells.mean(cells.x))
    residual = cells.loss - rise - across * cells.spread_out(state.tilt)
    centre = sums_by_cell(residual / errors, cells.starts) / sums_by_cell(1 / errors, cells.starts)
    standard: Array = (residual - cells.spread_out(centre)) / np.sqrt(errors)
    return standard


def _start(cells: StackedLosses, regressors: Array, trend: Array, rules: Priors) -> State:
    """Parabolas with one curvature, and a line through their minima."""
    centred = cells.x - cells.spread_out(cells.mean(cells.x))
    loss = cells.loss - cells.spread_out(cells.mean(cells.loss))
    square = centred**2 - cells.spread_out(cells.mean(centred**2))
    across = sums_by_cell(centred * loss, cells.starts) / np.maximum(sums_by_cell(centred**2, cells.starts), 1e-12)
    rest = loss - centred * cells.spread_out(across)
    curvature = 2 * float(rest @ square) / max(float(square @ square), 1e-12)
    curvature = max(curvature, 0.1 * float(np.std(loss)), 1e-9)
    reach = np.maximum(sums_by_cell(np.abs(centred), cells.starts) / cells.sizes * 2, 0.3)
    optimum = cells.mean(cells.x) + np.clip(-across / curvature, -reach, reach)
    beta = np.asarray(np.linalg.lstsq(regressors, optimum, rcond=None)[0], np.float64)
    first = np.zeros(trend.shape[1])
    first[0] = np.log(curvature)
    zero = np.zeros(len(cells.starts))
    skew_trend = np.zeros(trend.shape[1] - 1 if rules.skew_trend else 0)
    return State(beta, first, skew_trend, np.array([0.3, 0.3, 0.0]), zero, zero.copy(), zero.copy(), zero.copy())


def _first_noise(cells: StackedLosses, state: State, regressors: Array, trend: Array) -> float:
    if cells.replicate_freedom >= 5:
        return float(np.sqrt(cells.replicate_squares / cells.replicate_freedom)) + 1e-9
    _, _, rise = curve(cells, state, regressors, trend)
    residual = cells.loss - rise
    return float(0.5 * np.std(residual - cells.spread_out(cells.mean(residual)))) + 1e-9


def _without_each(cells: StackedLosses, design: Design, rise: Array, variances: Variances, p: int) -> Array:
    number = len(cells.starts)
    if number > MOST_LEFT_OUT or number < 2:
        return np.empty((0, p))
    errors = error_variances(cells, rise, variances)
    return solve_without_each(design, cross_products(design, errors), errors, spreads(cells, variances))[:, :p]
