r"""The joint model, declared before any table is looked at: losses of all cells about optima that follow one law.

.. math::
   y_{ci} &= L_c + h_c\,\phi(x_{ci} - \mu_c;\, s + k_c, q) + t_c (x_{ci} - \bar x_c) + \epsilon_{ci} \\
   \mu_c &= X_c\beta + u_c, \qquad \ln h_c = T_c a + r_c \\
   u_c &\sim N(0, \tau^2), \quad r_c \sim N(0, \omega^2), \quad t_c \sim N(0, \kappa_c^2), \quad
   k_c \sim N(T'_c b, \psi^2), \quad
   \epsilon_{ci} \sim N\big(0,\; \sigma^2/m_{ci} + \gamma^2 (R_{ci}^2 + \bar R_c^2/16)\big)

Legend: cell c is one (num_params, num_tokens, batch, decay); x = ln(learning rate); y the mean loss of
:math:`m_{ci}` seeds; :math:`\phi` the shape of `experiments.joint.loss_shape` with skew s and growth q shared by all
cells; :math:`h_c` the curvature of the loss at the optimum in nats, drawn toward a power law of the scales;
:math:`\mu_c` the optimum; X_c its regressors (constant, ln N, ln D, their half squares and product, further ones);
:math:`u_c` what the law does not explain; :math:`t_c` the tilt that seeds common to all learning rates of a cell leave
in their mean; :math:`k_c` what the cell's own skew is more than the shared one, where shapes may differ (:math:`\psi`
above 0, not estimated: near the minima, where such cells are fitted, the losses do not tell it; its mean follows the
scales, T' being T without the constant, since a trend of the shape that nobody asked for would pass for one of the
optima); :math:`R = h\phi` the
rise above the minimum: an error in proportion to it, :math:`\gamma`, is how a shape that does not fit speaks, and it
leaves the say to the points near the minimum.

A cell whose optimum lies outside its grid keeps its slope: with the curvature it would have by its neighbours, within
:math:`\omega`, the slope says how far outside.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from experiments.joint import loss_shape
from experiments.joint.mixed_model import Design, sums_by_cell

Array = NDArray[np.float64]

STEEPEST_SKEW = 4.0  # of one cell
MISFIT_AT_MINIMUM = 0.25  # of that at the mean rise: without it, noise could vanish into a perfect fit near the minimum


@dataclass(frozen=True, kw_only=True)
class StackedLosses:
    """Losses by cell, points sorted by cell and learning rate.

    starts : (num_cells,) first point of each. x : (num_points,) ln(learning rate). loss : (num_points,) in nats, mean
    over seeds. count : (num_points,) seeds. tilt : (num_cells,) standard deviation of the tilt, nats per unit of x.
    replicate_squares, replicate_freedom : what seeds say of the variance of one run. slack : (num_points,) further
    standard deviation of a loss that counts as a bound only, nats.
    """

    starts: NDArray[np.int64]
    x: Array
    loss: Array
    count: Array
    tilt: Array
    replicate_squares: float = 0.0
    replicate_freedom: float = 0.0
    slack: Array | float = 0.0

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(num_cells,) number of learning rates."""
        return np.diff(np.append(self.starts, len(self.x)))

    def only(self, places: NDArray[np.int64]) -> StackedLosses:
        """Those cells alone, of one size."""
        points = (self.starts[places, None] + np.arange(self.sizes[places[0]])).ravel()
        return replace(
            self,
            starts=np.arange(len(places)) * self.sizes[places[0]],
            x=self.x[points],
            loss=self.loss[points],
            count=self.count[points],
            tilt=self.tilt[places],
            slack=self.slack if np.ndim(self.slack) == 0 else np.asarray(self.slack)[points],
        )

    def spread_out(self, per_cell: Array) -> Array:
        """A number per cell, repeated for each of its points."""
        return np.repeat(per_cell, self.sizes, axis=0)

    def mean(self, values: Array) -> Array:
        """(num_cells,) plain mean over the points of each cell."""
        return sums_by_cell(values, self.starts) / self.sizes


@dataclass(frozen=True, kw_only=True)
class Priors:
    """Weak priors, the same for every table: they hold where a table is silent.

    The skew, 0.3 +- 0.7: losses rise faster beyond the optimum. The growth, 0.3 +- 0.7. The split, 0 +- 0.4. Slopes of
    ln curvature, 0 +- 0.5. ln omega, that of 0.3, within a factor of 2. gamma, half normal, 0.1. lean: psi, as it is.
    skew_trend: b, 0 +- that, per unit of the logarithms; 0 where there is none. law: (num_regressors,) precisions about
    0 of the law's coefficients, none if not given. sigma and tau, none (tau: `experiments.joint.fit`).
    """

    skew: tuple[float, float] = (0.3, 0.7)
    growth: tuple[float, float] = (0.3, 0.7)
    split: tuple[float, float] = (0.0, 0.4)
    trend: float = 0.5
    omega: tuple[float, float] = (0.3, 0.7)
    gamma: float = 0.1
    lean: float = 0.0
    skew_trend: float = 0.0
    law: Array | None = None

    @property
    def shape(self) -> Array:
        """(3, 2) means and standard deviations, in the order of `loss_shape.PARAMETERS`."""
        return np.array([self.skew, self.growth, self.split])


@dataclass(frozen=True, kw_only=True)
class Variances:
    """``sigma`` noise of one run in nats; ``gamma`` misfit per rise; ``tau`` scatter of optima about the law in ln;
    ``omega`` scatter of ln curvature; ``lean`` that of the skew."""

    sigma: float
    gamma: float
    tau: float
    omega: float
    lean: float = 0.0


@dataclass
class State:
    """Where the model is linearised."""

    beta: Array
    trend: Array
    skew_trend: Array  # b, none where the skew has no trend
    shape: Array  # see `loss_shape.PARAMETERS`
    shift: Array  # u_c
    bend: Array  # r_c
    tilt: Array  # t_c
    lean: Array  # k_c less its mean

    def skew(self, trend: Array) -> Array:
        """(num_cells,) of each cell, as far as its scales tell it."""
        skew: Array = self.shape[0] + (trend[:, 1:] @ self.skew_trend if len(self.skew_trend) else np.zeros(len(trend)))
        return skew


def curve(cells: StackedLosses, state: State, regressors: Array, trend: Array) -> tuple[Array, Array, Array]:
    """Distance from the optimum, curvature per point, rise."""
    z, h, shapes = _places(cells, state, regressors, trend)
    return z, h, h * loss_shape.rise(z, shapes)


def _places(cells: StackedLosses, state: State, regressors: Array, trend: Array) -> tuple[Array, Array, Array]:
    """Distance from the optimum, curvature per point, shape."""
    z = cells.x - cells.spread_out(regressors @ state.beta + state.shift)
    h = cells.spread_out(np.exp(np.clip(trend @ state.trend + state.bend, -25, 10)))
    return z, h, _shapes(cells, state, trend)


def _shapes(cells: StackedLosses, state: State, trend: Array) -> Array:
    """(3,) if the cells share it, else (3, num_points)."""
    if not state.lean.any() and not state.skew_trend.any():
        return state.shape
    shapes = np.tile(state.shape[:, None], len(cells.x))
    shapes[0] = cells.spread_out(np.clip(state.skew(trend) + state.lean, -STEEPEST_SKEW, STEEPEST_SKEW))
    return shapes


def linearise(
    cells: StackedLosses, state: State, regressors: Array, trend: Array, rules: Priors
) -> tuple[Design, Array]:
    """The linear model about a state, and the rise at each point."""
    z, h, shapes = _places(cells, state, regressors, trend)
    unit, by_shape = loss_shape.rise_and_gradient(z, shapes)
    pull, rise, by_shape = -h * loss_shape.slope(z, shapes), h * unit, h[:, None] * by_shape
    across = cells.x - cells.spread_out(cells.mean(cells.x))
    random = np.stack([pull, rise, across, by_shape[:, 0]], axis=1)
    fixed = np.concatenate(
        [
            pull[:, None] * cells.spread_out(regressors),
            rise[:, None] * cells.spread_out(trend),
            by_shape[:, :1] * cells.spread_out(trend[:, 1 : 1 + len(state.skew_trend)]),
            by_shape,
        ],
        axis=1,
    )
    here = np.concatenate([state.beta, state.trend, state.skew_trend, state.shape])
    local = cells.spread_out(np.stack([state.shift, state.bend, state.tilt, state.lean], axis=1))
    response = cells.loss - rise - across * local[:, 2] + fixed @ here + (random * local).sum(axis=1)
    p, k, b = regressors.shape[1], trend.shape[1], len(state.skew_trend)
    mean = np.concatenate([np.zeros(p + k + b), rules.shape[:, 0]])
    law = np.zeros(p) if rules.law is None else rules.law
    trends = [np.zeros(1), np.full(k - 1, rules.trend**-2), np.full(b, rules.skew_trend**-2 if b else 0.0)]
    precision = np.concatenate([law, *trends, rules.shape[:, 1] ** -2])
    return (
        Design(
            starts=cells.starts,
            random=random,
            fixed=fixed,
            response=response,
            prior_mean=mean,
            prior_precision=precision,
        ),
        rise,
    )


def error_variances(cells: StackedLosses, rise: Array, variances: Variances) -> Array:
    """(num_points,) of the mean losses: noise of the seeds, misfit, and slack."""
    return with_misfit(cells, misfit(cells, rise), variances)


def with_misfit(cells: StackedLosses, per_gamma: Array, variances: Variances) -> Array:
    """`error_variances` where `misfit` is known."""
    return variances.sigma**2 / cells.count + variances.gamma**2 * per_gamma + np.square(cells.slack)


def misfit(cells: StackedLosses, rise: Array) -> Array:
    """(num_points,) squared error for a gamma of 1."""
    near = cells.spread_out(MISFIT_AT_MINIMUM * cells.mean(rise))
    squared: Array = rise**2 + near**2
    return squared


def spreads(cells: StackedLosses, variances: Variances) -> Array:
    found = np.empty((len(cells.starts), 4))
    found[:, 0], found[:, 1], found[:, 2], found[:, 3] = variances.tau, variances.omega, cells.tilt, variances.lean
    return found
