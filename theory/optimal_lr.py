r"""The learning rate that a loss law in effective learning rate calls best, for AdamW and for AdamH.

The law, what is trained and the loss of a run: `theory.angle_law`. Here the loss is minimised, numerically under any
schedule, and in closed form where the angle's path has a fixed shape.

**Asymptotics** (derived here). Where the angle's path is a fixed shape times its peak :math:`\theta`, and
:math:`B_1, B_2 \ll S`, the integral goes like :math:`\theta (T\theta)^{-m}` and the best peak angle is log-linear:

.. math::
   \theta_* \propto \big(N^{-g} B\big)^{1/(1+a_1-m)}\; T^{-(a_1-m)/(1+a_1-m)}, \qquad
   m = \min\Big(\frac{p\gamma}{p\gamma+1},\, a_2-1\Big)

A rate that ends like :math:`\zeta^p` in the time :math:`\zeta` left (p = 0: no decay to 0; 1: a line; 2: a cosine; the
slope p of `theory.bend` is another one) makes an angle that ends like :math:`\zeta^{p\gamma}`, and annealing takes m
powers of S off the noise.

* deep equilibrium: :math:`\theta = \sqrt{2q\eta\lambda}`, :math:`\gamma = 1/2`, :math:`\eta_* = \theta_*^2/2q\lambda`;
* frozen norm: :math:`\theta = \eta\sqrt q/\mathrm{RMS}_0`, :math:`\gamma = 1`, :math:`\eta_* =
  \theta_*\mathrm{RMS}_0/U`, with :math:`U = \sqrt q` on white noise;
* between them, if :math:`2\lambda\,\mathrm{RMS}_0\sqrt T \ll 1`, :math:`\theta = \sqrt{q/t}` whatever the rate: the
  loss is flat there, and `OptimumOutcome.FLAT` says so instead of naming a rate.

So the slopes of :math:`\ln\eta_*` stand 2:1 if the rate does not decay. If it does, their ratio is
:math:`2(1+a_1-m_{frozen})/(1+a_1-m_{deep}) \le 2`: at equilibrium the angle anneals as the root of the rate, until the
lag of `theory.slow_norm` sets in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from theory.angle_law import AngleLaw, Setting, angle_and_excess, excess_loss
from theory.checks import InvalidParameter, require_number
from theory.momentum import stationary_update_rms
from theory.symbolic import positive, sp

Array = NDArray[np.float64]

LOWEST, HIGHEST = 1e-9, 1e3  # learning rates among which an optimum is looked for
SCAN = 81  # points of the first scan
STEP = 0.02  # of the differences in ln(learning rate) that polish a minimum


# The search


class OptimumOutcome(Enum):
    """What a search for the best learning rate found."""

    FOUND = "found"
    FLAT = "flat"  # the loss changes less than its resolution over a wide range: nothing to identify
    AT_EDGE = "at-edge"  # the best rate that was looked at is the first or the last


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Best learning rates, arrays of the setting's shape.

    ``learning_rate`` is NaN unless the outcome is FOUND; ``low``, ``high``: the outermost rates whose loss is within
    the resolution of the least; ``excess``: the least loss above what no rate changes, in nats; ``mean_angle``: mean
    angle per step at the minimum, in radians.
    """

    learning_rate: Array
    low: Array
    high: Array
    excess: Array
    mean_angle: Array
    outcome: NDArray[np.object_]


def optimal_learning_rate(
    law: AngleLaw, setting: Setting, *, loss_resolution: float = 1e-3, widest: float = 10.0
) -> Optimum:
    """Minimise the loss in the learning rate, for every entry of the setting.

    Parameters
    ----------
    loss_resolution : nats below which two losses are the same; 0 asks for the mathematical minimum.
    widest : ratio of ``high`` to ``low`` above which an optimum is called FLAT.

    A scan from 1e-9 up to where one step would remove the weights (AdamW: 1/weight_decay, at most 1e3; AdamH: 1), two
    finer scans about its lowest point, then Newton's method, all in that range. Of two minima, as at the two sides of a
    flat window, the lower counts.
    """
    require_number("loss_resolution", loss_resolution, at_least=0)
    require_number("widest", widest, above=1)
    ceiling = np.ones(setting.shape)
    if setting.optimizer == "adamw":
        ceiling = ceiling / np.maximum(np.asarray(setting.weight_decay, np.float64), 1 / HIGHEST)
    high = np.log(ceiling)
    column = (-1, *(1,) * high.ndim)

    def excess(x: Array) -> Array:
        return excess_loss(law, setting, np.exp(x))

    spacing = (high - np.log(LOWEST)) / (SCAN - 1)
    grid = high - spacing * np.arange(SCAN)[::-1].reshape(column)
    values = excess(grid)
    place = np.argmin(values, axis=0)
    best = np.take_along_axis(grid, place[None], axis=0)[0]
    for _ in range(2):
        local = np.clip(best + spacing * np.linspace(-1, 1, 9).reshape(column), grid[0], high)
        best = np.take_along_axis(local, np.argmin(excess(local), axis=0)[None], axis=0)[0]
        spacing = spacing / 4
    best = np.clip(_polish(excess, best, spacing), grid[0], high)
    least = excess(best)
    first, last = (
        _reach(excess, grid, values, best, least + loss_resolution, side) if loss_resolution else best
        for side in (-1, 1)
    )
    at_edge = (place == 0) | (place == SCAN - 1)
    flat = last - first > np.log(widest)
    kind = np.where(at_edge, 2, np.where(flat, 1, 0))
    return Optimum(
        learning_rate=np.where(kind == 0, np.exp(best), np.nan),
        low=np.exp(first),
        high=np.exp(last),
        excess=least,
        mean_angle=angle_and_excess(law, setting, np.exp(best))[0],
        outcome=np.asarray(np.array(list(OptimumOutcome), dtype=object)[kind], dtype=object),
    )


def law_with_optimum(law: AngleLaw, setting: Setting, learning_rate: float) -> AngleLaw:
    """The law with another coefficient C2 of the noise, for which ``learning_rate`` is the best of one setting.

    So a law whose own best rates are not yours answers for yours: what `theory.bend` says then holds at your number of
    relaxations. Raises `InvalidParameter` where no C2 makes it the best, as in a flat window.

    Examples
    --------
    The best rate of the fitted law is far from practice at this batch, which its runs did not have.

    >>> from theory import WSD
    >>> from theory.angle_law import EXAMPLE, Setting
    >>> from theory.optimal_lr import law_with_optimum, optimal_learning_rate
    >>> run = Setting(num_params=1e8, num_tokens=1e10, schedule=WSD(num_steps=19_000))
    >>> laws = EXAMPLE, law_with_optimum(EXAMPLE, run, 1e-3)
    >>> [f"{float(optimal_learning_rate(law, run).learning_rate):.3g}" for law in laws]
    ['0.0512', '0.001']
    """
    require_number("learning_rate", learning_rate, above=0)
    if setting.shape:
        raise InvalidParameter("setting", setting.shape, "of numbers, not of arrays")
    rates = learning_rate * np.exp(STEP * np.array([-2.0, -1.0, 1.0, 2.0]))
    once, twice = (excess_loss(replace(law, C2=k * law.C2), setting, rates) for k in (1, 2))  # linear in C2
    falls, rises = (f[0] - 8 * f[1] + 8 * f[2] - f[3] for f in (2 * once - twice, twice - once))
    if falls < 0 < rises:
        found = replace(law, C2=float(-law.C2 * falls / rises))
        best = optimal_learning_rate(found, setting, loss_resolution=0).learning_rate
        if abs(np.log(best / learning_rate)) < 1e-2:
            return found
    raise InvalidParameter("learning_rate", learning_rate, "one that this law can have as the best, with another C2")


def _polish(excess: Callable[[Array], Array], best: Array, spacing: Array) -> Array:
    """Newton's method on the derivative, by five-point differences, no farther than ``spacing`` from the start."""
    start, offsets = best, STEP * np.arange(-2.0, 3.0).reshape(-1, *(1,) * best.ndim)
    for _ in range(6):
        f = excess(best + offsets)
        slope = (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * STEP)
        curvature = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * STEP**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            move = np.where(curvature > 0, -slope / curvature, 0.0)
        best = np.clip(best + move, start - spacing, start + spacing)
    return best


def _reach(excess: Callable[[Array], Array], grid: Array, values: Array, best: Array, level: Array, side: int) -> Array:
    """Outermost ln(learning rate) on one side with an excess of at most ``level``, to 1e-4."""
    inside = np.maximum(best * side, np.where(values <= level, grid * side, -np.inf).max(axis=0))
    beyond = np.where(grid * side > inside, grid * side, np.inf).min(axis=0)
    outside = np.where(np.isfinite(beyond), beyond, inside)
    for _ in range(12):
        middle = (inside + outside) / 2
        within = excess(middle * side) <= level
        inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
    return inside * side


# Closed forms at both ends


def derive_asymptotic_optimum() -> dict[str, sp.Expr]:
    """Constant rate, B1 = 0, B2 << S, a2 > 1: the best ``angle``, and eta at it: ``equilibrium``, ``frozen``."""
    C1, a1, C2, a2, B2, T, theta, lam, rms0, q = positive("C_1 a_1 C_2 a_2 B_2 T theta lambda R_0 q")
    u, excess = positive("u epsilon")  # a2 = 1 + epsilon
    memory = sp.integrate((B2 + u) ** (-1 - excess), (u, 0, sp.oo)).subs(excess, a2 - 1)
    total = C1 * (T * theta) ** -a1 + C2 * theta * memory
    (angle,) = sp.solve(sp.diff(total, theta), theta)
    return {"angle": angle, "equilibrium": angle**2 / (2 * q * lam), "frozen": angle * rms0 / sp.sqrt(q)}


def asymptotic_optimum(law: AngleLaw, setting: Setting) -> dict[str, Array]:
    """Numbers for `derive_asymptotic_optimum`; the constant rate and AdamW are presumed, a2 must exceed 1."""
    if law.a2 <= 1:
        raise InvalidParameter("a2", law.a2, "above 1 for the noise to be forgotten")
    if law.noise_batch is not None:
        raise InvalidParameter("noise_batch", law.noise_batch, "None: the closed form has no share of the signal")
    params, batch = (np.asarray(v, np.float64) for v in (setting.num_params, setting.tokens_per_step))
    strength = law.C2 * (params / law.reference_params) ** law.noise_growth * law.reference_batch / batch
    noise = strength * law.B2 ** (1 - law.a2) / (law.a2 - 1)
    angle = (law.a1 * law.C1 / noise) ** (1 / (1 + law.a1)) * setting.num_steps ** (-law.a1 / (1 + law.a1))
    share = stationary_update_rms(setting.beta1)
    return {
        "angle": angle,
        "equilibrium": angle**2 / (2 * share**2 * np.asarray(setting.weight_decay)),
        "frozen": angle * np.asarray(setting.initial_rms) / (share * np.asarray(setting.direction_ratio)),
    }


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
