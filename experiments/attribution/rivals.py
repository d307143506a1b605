r"""Could something else that changes with scale do the bend: gradient noise, sharpness, Adam's statistics?

**Definition**, before use. Let r be a column that every run has, y = ln(optimal learning rate) of a cell, X the law of
`experiments.joint.regressors` (constant, slopes, half squares, product):

.. math::
   \ln r_{ci} \approx \rho_c + s\,(\ln\eta_{ci} - \overline{\ln\eta_*}), \qquad
   \rho_c = X_c\, q + d_c, \qquad y_c = X_c\, \beta + g\, d_c + e_c

Legend: c cells, i runs; :math:`\rho_c` the column at one learning rate for all cells
(`experiments.attribution.rival_levels`); s its slope in learning rate; q the curvature of the column along an axis (one
component); :math:`\kappa` that of y (a component of :math:`\beta`); g the exponent that links them, :math:`\eta_*
\propto r^g`, seen in what neither law explains. The column makes :math:`g q` of the bend, and :math:`\kappa - g q` is
left (the identity of omitted variables, exact for least squares). So a column that is a power of scale, q = 0, makes no
bend whatever its exponent; one that follows the quadratic law exactly, d = 0, shows no exponent and cannot be told
apart from scale itself, unless the exponent is given.

Verdict on an axis, the first that applies:

- ``nothing-to-explain``: the 95 % interval of :math:`\kappa` holds 0.
- ``cannot-explain``: the exponent needed, :math:`\kappa/q`, is steeper than `STEEPEST` throughout its 95 % interval
  (Fieller's, of :math:`q/\kappa`; not asked where g is given), or the 95 % interval of :math:`g q` stays below half of
  :math:`\kappa`, or on its other side.
- ``cannot-be-told-apart``: g is not known (too few cells; d is 0, or mostly the noise of the column; the exponent
  that the cells show is itself beyond `STEEPEST`), or the interval of :math:`g q` holds both 0 and half the bend.
- ``could-explain``: the interval of :math:`g q` excludes 0 on the side of the bend, that of :math:`\kappa - g q` holds
  0.
- ``explains-part``: as before, but some bend is left.

`STEEPEST` is 2, twice what any mechanism asks for that we know of: an optimum goes at most like 1/sharpness, like
1/(update RMS), and like the noise scale or its root (arXiv 1812.06162, 2405.14578).

What neither law explains may still be scale, a cubic say, that column and optimum share: g is a correlation.

**Intervals**: t, weights and joint covariance of y and :math:`\rho` from `experiments.joint.regression`; of
the product the central quantiles of the product of the two t distributions, which are independent given X.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from experiments.attribution.arm_optima import standard_error
from experiments.attribution.rival_levels import read_cells, read_levels
from experiments.bend.optimum import CellOptimum
from experiments.bend.scaling_law import AXES
from experiments.joint.regression import Regression, cell_weights, regress, share_interval
from experiments.joint.regressors import Regressors
from experiments.tables.run_table import RunTable
from theory import InvalidParameter
from theory.checks import require_number

Array = NDArray[np.float64]
Interval = tuple[float, float, float]  # value, low, high at 95 %

STEEPEST = 2.0
LEAST_FREEDOM = 2
LEAST_RELIABILITY = 0.8  # share of the variance of d that is not the column's own noise
LEAST_SCATTER = 1e-9  # of ln r: below, the column follows the law exactly
DRAWS = 20_000


class RivalVerdict(Enum):
    """Whether a column could do the bend."""

    NOTHING_TO_EXPLAIN = "nothing-to-explain"
    CANNOT_EXPLAIN = "cannot-explain"
    CANNOT_BE_TOLD_APART = "cannot-be-told-apart"
    COULD_EXPLAIN = "could-explain"
    EXPLAINS_PART = "explains-part"


@dataclass(frozen=True, kw_only=True)
class RivalAxis:
    """One axis. ``bend``: kappa; ``curvature``: q; ``explained``: g q; ``left``: kappa - g q; ``needed``: kappa/q, low
    and high None where the interval is unbounded. None where not known; ``reason`` in words."""

    verdict: RivalVerdict
    bend: Interval | None
    curvature: Interval | None
    needed: tuple[float, float | None, float | None] | None
    explained: Interval | None
    left: Interval | None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One column. ``exponent``: g; ``given``: whether it was assumed; ``slope``: s; ``slopes``: of ln r along each axis
    at the middle of the table; ``reliability``: share of the variance of d that is not noise of the column, None with a
    single seed."""

    column: str
    axes: Mapping[str, RivalAxis]
    exponent: Interval | None
    given: bool
    slope: float
    slopes: Mapping[str, Interval]
    reliability: float | None
    num_cells: int


def judge_rival(
    optima: Sequence[CellOptimum],
    runs: RunTable,
    column: str,
    *,
    axes: Sequence[str] = AXES,
    exponent: float | None = None,
    steepest: float = STEEPEST,
) -> Rival:
    """Whether ``column`` could make the bend of ``optima``.

    Parameters
    ----------
    optima : of one arm, from `experiments.bend.fit`.
    runs : of that arm, with the column among its numbers; NaN where a run does not have it, else above 0.
    exponent : g, where it is assumed; None estimates it.
    steepest : exponent beyond which nothing is believed, above 0.

    Raises
    ------
    InvalidParameter : no such column, values not above 0, no cell with both an optimum and the column.
    """
    require_number("steepest", steepest, above=0)
    if column not in runs.numbers:
        raise InvalidParameter("rival", column, f"a column of numbers: {', '.join(runs.numbers)}")
    values = runs.numbers[column]
    if np.any(values[np.isfinite(values)] <= 0):
        raise InvalidParameter("rival", column, "above 0 in every run: its logarithm is what counts")
    chosen, readings = read_cells(optima, runs, column)
    if not chosen:
        raise InvalidParameter("rival", column, "given for runs of cells whose optimum lies inside the grid")
    model = Regressors.of([cell.key for cell in chosen], axes, skip_batch=False)
    log_optimum = np.log([cell.learning_rate or np.nan for cell in chosen])
    errors = np.array([[standard_error(cell)] for cell in chosen])
    spare = len(chosen) - model.columns.shape[1]
    if spare < LEAST_FREEDOM:
        reason = f"{len(chosen)} cells for {model.columns.shape[1]} terms, at least {LEAST_FREEDOM} more are needed"
        return _unknown(column, axes, reason, exponent, len(chosen))
    weights = cell_weights(model.columns, log_optimum[:, None], errors)
    alone = regress(model.columns, log_optimum[:, None], weights)
    levels = read_levels(readings, log_optimum - alone.residuals[:, 0])
    fit = regress(model.columns, np.stack([log_optimum, levels.level], axis=1), weights)
    scatter = float(fit.spread[1, 1])
    noise = float(np.average(levels.variance, weights=fit.weights)) if levels.variance is not None else None
    reliability = None if noise is None or scatter <= 0 else max(0.0, 1 - noise / scatter)
    link, why_not = _link(fit, scatter, reliability, exponent, steepest)
    slopes = {axis: fit.interval(which, np.array([0.0, 1.0])) for axis, which in model.slopes.items()}
    return Rival(
        column=column,
        axes={axis: _axis(axis, model, fit, link, why_not, exponent, steepest) for axis in axes},
        exponent=None if link is None else (link.value, link.value - link.half, link.value + link.half),
        given=exponent is not None,
        slope=levels.slope,
        slopes=slopes,
        reliability=reliability,
        num_cells=len(chosen),
    )


@dataclass(frozen=True, kw_only=True)
class _Link:
    """g with standard error (0 if given), its degrees of freedom, half its 95 % interval, variance of y given rho."""

    value: float
    error: float
    freedom: int
    half: float
    variance: float


def _link(
    fit: Regression, scatter: float, reliability: float | None, exponent: float | None, steepest: float
) -> tuple[_Link | None, str | None]:
    """Partial regression of the residuals of the optimum on those of the column; or why there is none to believe."""
    s_yy, s_yr, s_rr = fit.spread[0, 0], fit.spread[0, 1], fit.spread[1, 1]
    if exponent is not None:
        variance = s_yy - 2 * exponent * s_yr + exponent**2 * s_rr
        return _Link(value=exponent, error=0.0, freedom=fit.freedom, half=0.0, variance=float(variance)), None
    if scatter < LEAST_SCATTER**2:
        return None, "collinear: the column follows the law in scale exactly"
    if reliability is not None and reliability < LEAST_RELIABILITY:
        return None, f"{1 - reliability:.0%} of what sets the column apart from a law in scale is its own noise"
    freedom = fit.freedom - 1
    if freedom < 1:
        return None, "no degree of freedom left for the exponent"
    value = float(s_yr / s_rr)
    if abs(value) > steepest:
        return None, f"the exponent that the cells show, {value:+.2g}, is beyond {steepest:g}"
    variance = float(s_yy - s_yr**2 / s_rr) * fit.freedom / freedom
    error = float(np.sqrt(max(variance, 0.0) / (s_rr * fit.freedom)))
    half = float(stdtrit(freedom, 0.975)) * error
    return _Link(value=value, error=error, freedom=freedom, half=half, variance=variance), None


def _axis(
    axis: str,
    model: Regressors,
    fit: Regression,
    link: _Link | None,
    why_not: str | None,
    exponent: float | None,
    steepest: float,
) -> RivalAxis:
    if axis not in model.halves:
        lost = model.lost.get(axis) or model.lost.get(f"{axis} squared") or f"fewer than 3 values of {axis}"
        return _nothing(lost)
    which, half = model.halves[axis], fit.half_width(0.95)
    y, r = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    bend, curvature = fit.interval(which, y), fit.interval(which, r)
    covariance = (fit.covariance(which, y, y), fit.covariance(which, y, r), fit.covariance(which, r, r))
    wanted = share_interval(bend[0], curvature[0], covariance, half)
    needed = (bend[0] / curvature[0] if curvature[0] else np.inf, *(wanted or (None, None)))
    explained = left = None
    if link is not None:
        explained = _product(fit, which, link, curvature[0])
        left = _left(fit, which, link, bend[0] - link.value * curvature[0], curvature[0], half)
    # of q / kappa, since it is the bend that is told from 0
    inverse = share_interval(curvature[0], bend[0], covariance[::-1], half)
    too_steep = exponent is None and inverse is not None and steepest * max(map(abs, inverse)) < 1
    verdict, reason = _decide(bend, explained, left, why_not, steepest if too_steep else None)
    return RivalAxis(
        verdict=verdict, bend=bend, curvature=curvature, needed=needed, explained=explained, left=left, reason=reason
    )


def _product(fit: Regression, which: int, link: _Link, curvature: float) -> Interval:
    """Of g q."""
    rng = np.random.default_rng(0)
    error = float(np.sqrt(fit.spread[1, 1] * fit.cross[which, which]))
    g = link.value + link.error * rng.standard_t(link.freedom, DRAWS)
    q = curvature + error * rng.standard_t(fit.freedom, DRAWS)
    low, high = np.quantile(g * q, [0.025, 0.975])
    return link.value * curvature, float(low), float(high)


def _left(fit: Regression, which: int, link: _Link, value: float, curvature: float, half: float) -> Interval:
    """Of kappa - g q: the coefficient of the half square beside the column itself."""
    variance = max(link.variance, 0.0) * float(fit.cross[which, which]) + (curvature * link.error) ** 2
    width = half * float(np.sqrt(variance))
    return value, value - width, value + width


def _decide(
    bend: Interval, explained: Interval | None, left: Interval | None, why_not: str | None, beyond: float | None
) -> tuple[RivalVerdict, str | None]:
    """``beyond``: the steepest exponent, if a steeper one would be needed."""
    kappa, low, high = bend
    if low <= 0 <= high:
        return RivalVerdict.NOTHING_TO_EXPLAIN, "the interval of the bend holds 0"
    if beyond is not None:
        return RivalVerdict.CANNOT_EXPLAIN, f"an exponent beyond {beyond:g} would be needed"
    if explained is None or left is None:
        return RivalVerdict.CANNOT_BE_TOLD_APART, why_not
    towards = sorted(float(np.sign(kappa)) * bound for bound in explained[1:])
    if towards[1] < abs(kappa) / 2:
        return RivalVerdict.CANNOT_EXPLAIN, "it makes less than half of the bend"
    if towards[0] <= 0:
        return RivalVerdict.CANNOT_BE_TOLD_APART, "the interval of what it makes holds 0 and half the bend"
    if left[1] <= 0 <= left[2]:
        return RivalVerdict.COULD_EXPLAIN, None
    return RivalVerdict.EXPLAINS_PART, None


def _nothing(reason: str) -> RivalAxis:
    return RivalAxis(
        verdict=RivalVerdict.CANNOT_BE_TOLD_APART,
        bend=None,
        curvature=None,
        needed=None,
        explained=None,
        left=None,
        reason=reason,
    )


def _unknown(column: str, axes: Sequence[str], reason: str, exponent: float | None, num_cells: int) -> Rival:
    return Rival(
        column=column,
        axes={axis: _nothing(reason) for axis in axes},
        exponent=None,
        given=exponent is not None,
        slope=np.nan,
        slopes={},
        reliability=None,
        num_cells=num_cells,
    )
