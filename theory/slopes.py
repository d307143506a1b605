r"""How steep the optimal learning rate stands, in closed form: the angle of a run at constant rate, and what follows.

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

**Slope.** Let drift go like :math:`\bar\theta^{-a_1}` and noise like :math:`\theta_T` (`theory.angle_law`, short
memory), and let :math:`\theta_*` be the optimum of a run whose angle is set directly. Then in deep equilibrium

.. math::
   \frac{d\ln\eta_*}{d\ln\theta_*} = 2\Big[1 + \frac{2G}{(1+a_1)\,n} + \dots\Big], \quad
   G = a_1(b-b') + 2(b - 2b' + b''), \quad b = 2\ln\frac{2}{1+\sqrt y}, \quad {}' = \frac{d}{d\ln\eta}

and for a frozen norm the slope is 1. The way from 2 to 1 starts by the sign of G: upward, if the norm starts above
about 0.45 of its equilibrium, downward if it starts below.

Against the simplest form of the argument: the bend does not begin at n = 1 but, through the 1/n of the head start, at
10 to 50; inside the window the slope falls below 2 again, since there the ratio of the two elasticities decides, 1/3;
and if the rate decays to 0 the deep slope is 1.75 to 1.9 times AdamH's, not 2 (`asymptotic_slopes`).

What this makes of a sweep over model sizes or data: `theory.bend`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.angle_law import AngleLaw
from theory.checks import InvalidParameter, require_number
from theory.roots import root_between
from theory.schedules import Schedule
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


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
    over :math:`\tau = 2\eta\lambda t`; ``final_elasticity`` and ``mean_elasticity``, d ln / d ln eta at fixed T.

    n is the number of relaxation times in the run, y the squared RMS at the start over that of equilibrium.
    """
    n, y, tau, v = positive("n y tau v")
    squared = sp.Function("R")
    solved = sp.dsolve(sp.Eq(squared(tau).diff(tau), 1 - squared(tau)), ics={squared(0): y}).rhs
    end = sp.sqrt(solved.subs(tau, n))
    turning = 2 / (1 - v**2)  # d tau / v, per dv
    turned = sp.integrate(sp.apart(turning, v), v)
    final, mean = 1 / end, (turned.subs(v, end) - turned.subs(v, sp.sqrt(y))) / n

    def along_rate(form: sp.Expr) -> sp.Expr:
        return n * sp.diff(form, n) - y * sp.diff(form, y)

    ends = ((end, 1), (sp.sqrt(y), -1))
    longer = sum(sign * sp.simplify(turning.subs(v, at) * along_rate(at)) for at, sign in ends)  # of n times the mean
    return {
        "final": final,
        "mean": mean,
        "final_elasticity": sp.Rational(1, 2) + sp.simplify(along_rate(final) / final),
        "mean_elasticity": longer / (n * mean) - sp.Rational(1, 2),
    }


def final_angle_ratio(num_relaxations: ArrayLike, window: ArrayLike) -> Array:
    r""":math:`\theta_T/\theta_{eq}` at the end of n relaxation times; ``window`` is w."""
    count, start = _numbers(num_relaxations, window)
    return 1 / np.sqrt(_end(count, start))


def mean_angle_ratio(num_relaxations: ArrayLike, window: ArrayLike) -> Array:
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
    a1, r = positive("a_1 r")
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
    return float(root_between(deep_correction, 0.0, 1.0, a1))


def derive_asymptotic_slopes() -> dict[str, sp.Expr]:
    r"""Slopes of :math:`\ln\theta_*` in ln N and ln T in (a1, m, g), by minimising drift plus annealed noise."""
    a1, drift, noise, size, growth, steps, angle, m = positive("a_1 C_1 C_2 N g T theta m")
    total = drift * (steps * angle) ** -a1 + noise * size**growth * angle * (steps * angle) ** -m
    (best,) = sp.solve(sp.diff(total, angle), angle)
    log = sp.expand_log(sp.log(best))
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


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
