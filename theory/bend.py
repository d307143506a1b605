r"""Where the optimal learning rate bends away from a power law, which way, and how much: predictions to be tested.

Constant rate, slow limit. All that AdamW's angle does follows from two numbers (derived here),

.. math::
   n = 2\eta\lambda T, \qquad w = 2\lambda\,\mathrm{RMS}_0\sqrt T, \qquad
   y = \Big(\frac{\mathrm{RMS}_0}{\mathrm{RMS}_{eq}}\Big)^2 = \frac{\eta_c}{\eta} = \frac{w^2}{n}, \quad
   \eta_c = 2\lambda\,\mathrm{RMS}_0^2

With :math:`v = \mathrm{RMS}/\mathrm{RMS}_{eq}` and :math:`v_T^2 = 1 + (y-1)e^{-n}`, final and mean angle are

.. math::
   \theta_T = \frac{\theta_{eq}}{v_T}, \qquad
   \bar\theta = \theta_{eq}\Big[1 + \frac2n\ln\frac{1+v_T}{1+v_0}\Big]

The logarithm is the head start: the angle that a small start gains, or a large one loses, before equilibrium.

**Slope.** Let drift go like :math:`\bar\theta^{-a_1}` and noise like :math:`\theta_T` (`theory.optimal_lr`, short
memory), and let :math:`\theta_*` be the optimum of a run whose angle is set directly. Then in deep equilibrium

.. math::
   \frac{d\ln\eta_*}{d\ln\theta_*} = 2\Big[1 + \frac{2G}{(1+a_1)\,n} + \dots\Big], \quad
   G = a_1(b-b') + 2(b - 2b' + b''), \quad b = 2\ln\frac{2}{1+\sqrt y}, \quad {}' = \frac{d}{d\ln\eta}

and for a frozen norm the slope is 1. The way from 2 to 1 starts by the sign of G: upward, if the norm starts above
about 0.45 of its equilibrium, downward if it starts below.

**Along N at fixed D** :math:`\theta_*` and n fall. From `predict_bend` and `predict_measurement` with the example law
a1 = 0.43, a2 = 1.4, B2 = 0.3, for constant rate, WSD and cosine; slopes in units of AdamH's, p:

* w above 1: up nearly all the way, from n of 50 (w = 4) or 10 (w = 1.3) to 0.5, slope 1.8-2 to 0.8-1.
* w below 1: first down, slope up to 2.5-4 near n = 5-10, and then up, the more steeply the smaller w. A run of scales
  bends up if n passes from 3-10 to about 1 along it, and down if it goes from 20 to 2. Under a constant rate it goes
  down once more below n = 1.5, before the norm is frozen.
* below w of 0.2 the optimum crosses the flat window; under a cosine there are two minima which change places.
* size: curvature up to 1-4 times :math:`p^2`. For 22M to 707M parameters, 10B tokens in steps of 2^19, WSD, decay 0.1,
  RMS_0 0.02 (w = 0.55), p = 0.22: straight if n falls from 19 to 4; if from 6 to 1.7, curvature 0.05, and a line
  through the smaller half of the sizes is 0.21 too low in ln eta* at the largest; straight again from 1.7 to 0.4.
* the mean angle at the optimum is far straighter under a cosine (w = 0.4: 0.5 where eta* has 3.7, times
  :math:`p^2`); under a constant rate and WSD it bends by 0.4 to 1.2 times as much as eta*.

**Along D at fixed batch** n grows, as :math:`\eta_*` falls more slowly than 1/D: the curve bends down on its way from
frozen to equilibrium, by 0.03-0.15 in the example above, and is as straight as AdamH's only for large n or w above 1.5.

**What undoes it**: AdamH; starting every run at its own equilibrium, :math:`\mathrm{RMS}_0^2 = \eta/2\lambda`, where a
constant rate turns by :math:`\theta_{eq}` from the first step. Decay and initial norm act through their product alone:
:math:`(\eta, \lambda, \mathrm{RMS}_0) \to (c\eta, \lambda/c, c\,\mathrm{RMS}_0)` leaves every loss as it is.

Against the simplest form of the argument: the bend does not begin at n = 1 but, through the 1/n of the head start, at
10 to 50; inside the window the slope falls below 2 again, since there the ratio of the two elasticities decides, 1/3;
and if the rate decays to 0 the deep slope is 1.75 to 1.9 times AdamH's, not 2 (`asymptotic_slopes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray

from theory.checks import InvalidParameter, require_number
from theory.optimal_lr import AngleLaw, OptimumOutcome, Setting, optimal_learning_rate
from theory.schedules import Schedule

Array = NDArray[np.float64]

DELTA = 0.07  # curvature that moves a tenfold extrapolation by 0.2 in ln eta

n, y, a1, r = sp.symbols("n y a_1 r", positive=True)


# Scales


def crossover_learning_rate(weight_decay: ArrayLike, initial_rms: ArrayLike) -> Array:
    r""":math:`\eta_c = 2\lambda\,\mathrm{RMS}_0^2`: the rate whose equilibrium is the initial norm."""
    return 2 * np.asarray(weight_decay, np.float64) * np.square(initial_rms)


def window_parameter(weight_decay: ArrayLike, initial_rms: ArrayLike, num_steps: ArrayLike) -> Array:
    r""":math:`w = 2\lambda\,\mathrm{RMS}_0\sqrt T`; far below 1 there is a window, above 1 there is none."""
    return 2 * np.asarray(weight_decay, np.float64) * np.asarray(initial_rms) * np.sqrt(num_steps)


def window(weight_decay: ArrayLike, initial_rms: ArrayLike, num_steps: ArrayLike) -> tuple[Array, Array]:
    r"""Learning rates between which the angle is :math:`\sqrt{q/t}` whatever they are.

    From :math:`\mathrm{RMS}_0/\sqrt T`, where updates outgrow the start, to :math:`1/2\lambda T`, where decay begins
    to tell (inf without decay). Empty where the first is above the second.
    """
    steps = np.asarray(num_steps, np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(initial_rms) / np.sqrt(steps), 1 / (2 * np.asarray(weight_decay, np.float64) * steps)


# The angle of a run at constant rate, over that of equilibrium


def derive_angles() -> dict[str, sp.Expr]:
    r"""``final`` and ``mean`` angle over :math:`\theta_{eq}` in (n, y), by integrating :math:`dv/d\tau = (1-v^2)/2v`
    over :math:`\tau = 2\eta\lambda t`; ``final_elasticity`` and ``mean_elasticity``, d ln / d ln eta at fixed T."""
    tau, v = sp.symbols("tau v", positive=True)
    squared = sp.Function("R")
    solved = sp.dsolve(sp.Eq(squared(tau).diff(tau), 1 - squared(tau)), ics={squared(0): y}).rhs
    end = sp.sqrt(solved.subs(tau, n))
    turned = sp.integrate(sp.apart(2 / (1 - v**2), v), v)  # of d tau / v
    angles = {"final": 1 / end, "mean": (turned.subs(v, end) - turned.subs(v, sp.sqrt(y))) / n}
    elasticities = {
        f"{key}_elasticity": sp.Rational(1, 2) + (n * sp.diff(angle, n) - y * sp.diff(angle, y)) / angle
        for key, angle in angles.items()
    }
    return angles | elasticities


def final_angle(num_relaxations: ArrayLike, window: ArrayLike) -> Array:
    r""":math:`\theta_T/\theta_{eq}` at the end of n relaxation times; ``window`` is w."""
    count, start = _numbers(num_relaxations, window)
    return 1 / np.sqrt(_end(count, start))


def mean_angle(num_relaxations: ArrayLike, window: ArrayLike) -> Array:
    r""":math:`\bar\theta/\theta_{eq} = 1 + \frac2n\ln\frac{1+v_T}{1+v_0}`."""
    count, start = _numbers(num_relaxations, window)
    return 1 + 2 * _head_start(count, start) / count


def final_angle_elasticity(num_relaxations: ArrayLike, window: ArrayLike) -> Array:
    r""":math:`d\ln\theta_T/d\ln\eta`: 1/2 at equilibrium, 1 for a frozen norm, 0 in the window."""
    count, start = _numbers(num_relaxations, window)
    return 0.5 - _end_slope(count, start) / (2 * _end(count, start))


def mean_angle_elasticity(num_relaxations: ArrayLike, window: ArrayLike) -> Array:
    r""":math:`d\ln\bar\theta/d\ln\eta`; the same limits."""
    count, start = _numbers(num_relaxations, window)
    end, first = np.sqrt(_end(count, start)), np.sqrt(start)
    change = _end_slope(count, start) / (2 * end * (1 + end)) + first / (2 * (1 + first))
    logarithm = _head_start(count, start)
    return 0.5 + 2 * (change - logarithm) / (count + 2 * logarithm)


def _numbers(num_relaxations: ArrayLike, window: ArrayLike) -> tuple[Array, Array]:
    """n, and y at the start."""
    count, w = np.broadcast_arrays(np.asarray(num_relaxations, np.float64), np.asarray(window, np.float64))
    if not np.all(count > 0):
        raise InvalidParameter("num_relaxations", num_relaxations, "above 0")
    return count, w**2 / count


def _end(count: Array, start: Array) -> Array:
    r""":math:`v_T^2`, without cancellation where both n and y are small."""
    return start * np.exp(-count) - np.expm1(-count)


def _end_slope(count: Array, start: Array) -> Array:
    r""":math:`d v_T^2/d\ln\eta`."""
    return -np.exp(-count) * (start + (start - 1) * count)


def _head_start(count: Array, start: Array) -> Array:
    end, first = np.sqrt(_end(count, start)), np.sqrt(start)
    rise = (1 - start) * -np.expm1(-count) / (end + first)
    return np.log1p(rise / (1 + first))


# Slopes of ln eta* against ln theta*, the effective optimum


def derive_deep_correction() -> sp.Expr:
    r"""G(r, a1), :math:`r = \mathrm{RMS}_0/\mathrm{RMS}_{eq}`: the condition of the optimum to first order in 1/n."""
    x, small = sp.symbols("x epsilon", real=True)  # x = ln eta; 1/n = epsilon exp(-x)
    head_start = 2 * sp.log(2 / (1 + r * sp.exp(-x / 2)))
    log_mean = x / 2 + sp.log(1 + small * sp.exp(-x) * head_start)
    log_target = (a1 * log_mean - sp.log(sp.diff(log_mean, x)) + x / 2) / (1 + a1)  # ln theta*, up to a constant
    first_order = sp.diff(1 / sp.diff(log_target, x), small).subs(small, 0).subs(x, 0)
    return sp.simplify(first_order * (1 + a1) / 4)


def deep_correction(start_over_equilibrium: ArrayLike, a1: ArrayLike) -> Array:
    r"""G: above 0 the optimum steepens on its way out of deep equilibrium (bends down), below 0 it bends up.

    ``start_over_equilibrium`` is :math:`\mathrm{RMS}_0/\mathrm{RMS}_{eq}`, at least 0; ``a1`` the drift's exponent.
    """
    ratio = np.asarray(start_over_equilibrium, np.float64)
    b, first, second = 2 * np.log(2 / (1 + ratio)), ratio / (1 + ratio), -ratio / (2 * (1 + ratio) ** 2)
    return np.asarray(a1) * (b - first) + 2 * (b - 2 * first + second)


def onset_relaxations(start_over_equilibrium: ArrayLike, a1: ArrayLike, deviation: float = 0.1) -> Array:
    r"""Relaxation times at which the slope is off 2 by the fraction ``deviation``, :math:`2|G|/((1+a_1)\,\epsilon)`.

    First order; at a deviation of 0.1 the true one is 0.09 to 0.11 for starts of 0.02 to 4 times the equilibrium.
    """
    require_number("deviation", deviation, above=0, below=1)
    return 2 * np.abs(deep_correction(start_over_equilibrium, a1)) / ((1 + np.asarray(a1)) * deviation)


def balanced_start(a1: float) -> float:
    """RMS_0 over the equilibrium RMS at which the first bend vanishes: below it down, above it up. About 0.45."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if deep_correction(middle, a1) > 0 else (low, middle)
    return (low + high) / 2


def derive_asymptotic_slopes() -> dict[str, sp.Expr]:
    r"""Slopes of :math:`\ln\theta_*` in ln N and ln T in (a1, m, g), by minimising drift plus annealed noise."""
    drift, noise, size, growth, steps, angle, m = sp.symbols("C_1 C_2 N g T theta m", positive=True)
    total = drift * (steps * angle) ** -a1 + noise * size**growth * angle * (steps * angle) ** -m
    (best,) = sp.solve(sp.expand(sp.expand_power_base(sp.diff(total, angle) * angle ** (1 + a1))), angle)
    log = sp.expand_log(sp.log(best), force=True)
    return {"num_params": sp.simplify(size * sp.diff(log, size)), "num_steps": sp.simplify(steps * sp.diff(log, steps))}


def asymptotic_slopes(law: AngleLaw, schedule: Schedule) -> dict[str, dict[str, float]]:
    """Slopes of ln eta* in the logarithm of N, D (B fixed), weight decay and initial RMS, far from any bend.

    Keys ``equilibrium``, ``frozen`` and ``adamh``, then the axes. Presumes B1, B2 << S (`theory.optimal_lr`), and for a
    decaying schedule at equilibrium that the lag at its end has been forgotten, n^(3/4) >> S/B2.
    """
    last = schedule.segments()[-1]
    power = 0 if last.last > 0 else {"ramp": 1, "half cosine": 2}[last.shape]
    slopes = {}
    for regime, gamma, lift in (("equilibrium", 0.5, 2), ("frozen", 1.0, 1), ("adamh", 1.0, 1)):
        m = min(power * gamma / (power * gamma + 1), law.a2 - 1)
        slopes[regime] = {
            "num_params": -lift * law.noise_growth / (1 + law.a1 - m),
            "num_tokens": -lift * (law.a1 - m) / (1 + law.a1 - m),
            "weight_decay": -1.0 if regime == "equilibrium" else 0.0,
            "initial_rms": 1.0 if regime == "frozen" else 0.0,
        }
    return slopes


# Bends


class Direction(Enum):
    """Which way ln eta* curves against ln of the axis, as the axis grows."""

    STRAIGHT = "straight"
    UP = "bends-up"
    DOWN = "bends-down"
    NOT_IDENTIFIABLE = "not-identifiable"


@dataclass(frozen=True, kw_only=True)
class Bend:
    """Slope and curvature of ln eta* at every entry of a setting, arrays of its shape.

    ``slope_error``, ``curvature_error``: of the differences, from two step sizes; ``mean_angle_slope``,
    ``mean_angle_curvature``: of the mean angle at the optimum; ``num_relaxations``: at the optimum, 0 for AdamH.
    """

    learning_rate: Array
    num_relaxations: Array
    slope: Array
    slope_error: Array
    curvature: Array
    curvature_error: Array
    mean_angle_slope: Array
    mean_angle_curvature: Array
    direction: NDArray[np.object_]


def predict_bend(
    law: AngleLaw,
    setting: Setting,
    axis: str,
    *,
    step: float = 0.1,
    straight_within: float = DELTA,
    loss_resolution: float = 1e-3,
) -> Bend:
    """Local slope and curvature of the optimum along one axis of the setting, everything else fixed.

    Parameters
    ----------
    axis : one of `theory.optimal_lr.AXES`; "num_params" and "num_tokens" are the two axes of the scaling question.
    step : of the differences, in ln of the axis.
    straight_within : curvature up to which a line is called straight.
    loss_resolution : in nats. NOT_IDENTIFIABLE where the optimum is flat at this resolution, or at an edge, or where
        the differences do not settle, as where two minima change places; 0 asks for mathematics only.
    """
    offsets = step * np.array([-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0]).reshape(-1, *(1,) * len(setting.shape))
    moved = setting.at(axis, np.asarray(getattr(setting, axis, 1.0), np.float64) * np.exp(offsets))
    optimum = optimal_learning_rate(law, moved, loss_resolution=0)
    slope, curvature, slope_error, curvature_error = _differences(np.log(optimum.learning_rate), step)
    angle_slope, angle_curvature, _, _ = _differences(np.log(optimum.mean_angle), step)
    resolved = optimal_learning_rate(law, setting, loss_resolution=loss_resolution)
    settled = (curvature_error < straight_within) & (resolved.outcome == OptimumOutcome.FOUND)
    rate = optimum.learning_rate[3]
    return Bend(
        learning_rate=rate,
        num_relaxations=setting.num_relaxations(rate) * (setting.optimizer == "adamw"),
        slope=slope,
        slope_error=slope_error,
        curvature=curvature,
        curvature_error=curvature_error,
        mean_angle_slope=angle_slope,
        mean_angle_curvature=angle_curvature,
        direction=_directions(np.where(settled, curvature, np.nan), straight_within),
    )


@dataclass(frozen=True, kw_only=True)
class MeasuredBend:
    """What an experiment with these scales would measure without noise; NaN where one of its optima is missing.

    ``slope`` at the middle and ``curvature`` of a parabola through ln eta* against ln of the axis; ``gap``: ln of the
    optimum at the largest scale over a straight line through the smaller half of the scales, above 0 where a straight
    fit underestimates; ``learning_rates``, ``num_relaxations``: (num_scales,).
    """

    slope: float
    curvature: float
    gap: float
    learning_rates: Array
    num_relaxations: Array
    direction: Direction


def predict_measurement(
    law: AngleLaw,
    setting: Setting,
    axis: str,
    scales: Sequence[float],
    *,
    straight_within: float = DELTA,
    loss_resolution: float = 1e-3,
) -> MeasuredBend:
    """The bend over a range: ``scales`` (at least 4, ascending) replace the setting's ``axis``; the rest is numbers."""
    values = np.asarray(scales, np.float64)
    if values.ndim != 1 or values.size < 4 or not np.all(np.diff(values) > 0):
        raise InvalidParameter("scales", scales, "at least four numbers, ascending")
    runs = setting.at(axis, values)
    optimum = optimal_learning_rate(law, runs, loss_resolution=loss_resolution)
    rates, x = np.log(optimum.learning_rate), np.log(values)
    half = slice(0, (values.size + 1) // 2)
    slope = curvature = gap = np.nan
    if np.all(np.isfinite(rates)):
        quadratic, slope, _ = np.polyfit(x - x.mean(), rates, 2)
        curvature = 2 * quadratic
        gap = rates[-1] - np.polyval(np.polyfit(x[half], rates[half], 1), x[-1])
    return MeasuredBend(
        slope=float(slope),
        curvature=float(curvature),
        gap=float(gap),
        learning_rates=optimum.learning_rate,
        num_relaxations=runs.num_relaxations(optimum.learning_rate) * (setting.optimizer == "adamw"),
        direction=_directions(np.asarray(curvature), straight_within).item(),
    )


def predict_against(
    law: AngleLaw, setting: Setting, knob: str, values: Sequence[float], axis: str, scales: Sequence[float]
) -> list[MeasuredBend]:
    """`predict_measurement` along ``axis`` for each value of another axis, as "initial_rms" or "weight_decay"."""
    return [predict_measurement(law, setting.at(knob, value), axis, scales) for value in values]


def predict_against_schedule(
    law: AngleLaw, setting: Setting, schedules: Sequence[Schedule], axis: str, scales: Sequence[float]
) -> list[MeasuredBend]:
    """`predict_measurement` along ``axis`` for each schedule."""
    return [predict_measurement(law, replace(setting, schedule=schedule), axis, scales) for schedule in schedules]


def _differences(f: Array, step: float) -> tuple[Array, Array, Array, Array]:
    """First and second derivative at the middle of samples at -4, -2, -1, 0, 1, 2, 4 steps, and their errors."""
    slopes, curvatures = [], []
    for low, left, right, high, h in ((1, 2, 4, 5, step), (0, 1, 5, 6, 2 * step)):
        slopes.append((f[low] - 8 * f[left] + 8 * f[right] - f[high]) / (12 * h))
        curvatures.append((-f[low] + 16 * f[left] - 30 * f[3] + 16 * f[right] - f[high]) / (12 * h**2))
    slope_error, curvature_error = (np.abs(fine - coarse) / 15 for fine, coarse in (slopes, curvatures))
    return slopes[0], curvatures[0], slope_error, curvature_error


def _directions(curvature: Array, straight_within: float) -> NDArray[np.object_]:
    """Name each curvature; NaN is one that could not be had."""
    require_number("straight_within", straight_within, at_least=0)
    kinds = np.array(list(Direction), dtype=object)
    bent = np.where(curvature > 0, 1, 2)
    index = np.where(np.isnan(curvature), 3, np.where(np.abs(curvature) <= straight_within, 0, bent))
    return np.asarray(kinds[index], dtype=object)
