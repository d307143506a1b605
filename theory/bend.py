r"""Where the optimal learning rate bends away from a power law, which way, and how much: predictions to be tested.

Slope and curvature come from optima of `theory.optimal_lr`, by differences or over a range of scales, under any
schedule; `theory.slopes` has the closed forms, and the legend of n, w and y.

**At which rate.** Every answer is one at the law's own best rate, ``learning_rate``, with ``num_relaxations`` there; no
rate of yours enters. Look at these two first. If your best rate makes another number of relaxations n,
:math:`2\lambda\sum_t\eta_t` (``setting.num_relaxations(rate)``), the answer is not about your runs:
`theory.optimal_lr.law_with_optimum` gives the law whose best rate is yours. ``outside`` says where best rates or
lengths lie outside the runs that a law was fitted to, as at most settings of ``EXAMPLE``.

**Along N at fixed D** :math:`\theta_*` and n fall. From `predict_bend` and `predict_measurement` with a law made up for
this (a1 = 0.43, a2 = 1.4, B2 = 0.3; not the fitted ``EXAMPLE`` of `theory.angle_law`), for constant rate, WSD and
cosine. All n are at the optimum; slopes in units of AdamH's, here p:

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
frozen to equilibrium, by 0.03-0.15 with the law made up above, and is as straight as AdamH's only for large n or w
above 1.5.

**What undoes it**: AdamH; starting every run at its own equilibrium, :math:`\mathrm{RMS}_0^2 = \eta/2\lambda`, where a
constant rate turns by :math:`\theta_{eq}` from the first step. Decay and initial norm act through their product alone:
:math:`(\eta, \lambda, \mathrm{RMS}_0) \to (c\eta, \lambda/c, c\,\mathrm{RMS}_0)` leaves every loss as it is.

**A shorter direction**, as on real gradients (``direction_ratio`` of `theory.angle_law.Setting`, about 0.885), is a
start that is higher by its inverse: w grows by as much, and the equilibrium angle stays. ``network`` of the same
setting asks for the norm of another network; classic GPT-2's (`theory.slow_radial`) has the symmetry too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from theory.angle_law import AngleLaw, Setting
from theory.checks import InvalidParameter, require_number
from theory.optimal_lr import OptimumOutcome, optimal_learning_rate
from theory.schedules import Schedule

Array = NDArray[np.float64]

DELTA = 0.07  # curvature that moves a tenfold extrapolation by 0.2 in ln eta


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
    ``mean_angle_curvature``: of the mean angle at the optimum; ``learning_rate``: the law's own best, not yours;
    ``num_relaxations``: at that rate, 0 for AdamH; ``outside``: in words, which best rates and lengths lie outside the
    runs that the law was fitted to, empty where none do.
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
    outside: str


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
    axis : one of `theory.angle_law.AXES`; "num_params" and "num_tokens" are the two axes of the scaling question.
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
        outside=_outside(law, setting, rate),
    )


@dataclass(frozen=True, kw_only=True)
class MeasuredBend:
    """What an experiment with these scales would measure without noise; NaN where one of its optima is missing.

    ``slope`` at the middle and ``curvature`` of a parabola through ln eta* against ln of the axis; ``gap``: ln of the
    optimum at the largest scale over a straight line through the smaller half of the scales, above 0 where a straight
    fit underestimates; ``learning_rates``, ``num_relaxations``: (num_scales,), the law's own best rates, not yours, and
    the relaxations at them; ``outside``: as in `Bend`.
    """

    slope: float
    curvature: float
    gap: float
    learning_rates: Array
    num_relaxations: Array
    direction: Direction
    outside: str


def predict_measurement(
    law: AngleLaw,
    setting: Setting,
    axis: str,
    scales: Sequence[float],
    *,
    straight_within: float = DELTA,
    loss_resolution: float = 1e-3,
) -> MeasuredBend:
    """The bend over a range: ``scales`` (at least 4, ascending) replace the setting's ``axis``; the rest is numbers.

    Examples
    --------
    The fitted law has its best rates far above those of its runs, at 55 relaxations or more, where the line is
    straight. With 1e-3 as the best rate of 85M parameters the same run of sizes has 1 to 9, and bends.

    >>> from theory import WSD
    >>> from theory.angle_law import EXAMPLE, Setting
    >>> from theory.bend import predict_measurement
    >>> from theory.optimal_lr import law_with_optimum
    >>> run = Setting(num_params=8.5e7, num_tokens=1e10, schedule=WSD(num_steps=19_000))
    >>> for law in (EXAMPLE, law_with_optimum(EXAMPLE, run, 1e-3)):
    ...     found = predict_measurement(law, run, "num_params", [2.2e7, 8.5e7, 3e8, 7e8])
    ...     print(found.direction.value, found.num_relaxations.round(1).tolist(), found.outside)
    straight [430.1, 193.6, 91.7, 55.4] outside the fit: learning rate 0.0161 to 0.125, fitted from 0.0001 to 0.002
    bends-up [8.6, 3.4, 1.8, 1.2] outside the fit: learning rate 0.000335 to 0.00251, fitted from 0.0001 to 0.002
    """
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
        outside=_outside(law, runs, optimum.learning_rate),
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


def _outside(law: AngleLaw, setting: Setting, rates: Array) -> str:
    """By the rates of AdamW alone: the law's runs had no other."""
    return law.outside(rates if setting.optimizer == "adamw" else (), setting.num_steps)


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


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
