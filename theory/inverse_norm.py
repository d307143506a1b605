r"""Scale-invariant weights: the gradient goes like one over the norm, and Adam's second moment remembers the old norm.

.. math::
   W_{t+1} = \alpha_tW_t - \eta_tu_t, \qquad
   u_t = \frac{m_t/(1-\beta_1^{t+1})}{\sqrt{v_t/(1-\beta_2^{t+1})}}, \qquad
   \langle g_t^2\rangle = \sigma_t^2 = \frac{h_t^2}{\rho_t}

Legend: as in `theory.adamw`; :math:`h_t` size of the gradient at unit norm (``gradient_scale``, 1 unless gradients
shrink or grow in training); :math:`d_t` what the RMS of u is of that of white noise (``direction_ratio``);
:math:`b = 1-\beta_2`; :math:`\gamma = 2\eta\lambda`.

Assumptions: the gradient is tangent, as it is for any scale-invariant weight, and white noise but for its size and for
d, which multiplies u and leaves its autocorrelation alone.

**Recursion.** With the mean squares :math:`M = \langle m^2\rangle`, :math:`v = \langle v\rangle`, and the sums
:math:`V = 2\sum_j\omega_j^2` (variance of the second moment, relative) and :math:`z = \sum_ja_j^2\sigma_j^2\omega_j/M`
(weight in v of what is in m), where :math:`\omega_j` are the relative weights of past squares in v,

.. math::
   \rho_{t+1} &= \alpha^2\rho - 2\alpha\eta p + \eta^2s, \qquad
   s = k^2M(1+V-2z), \qquad p = k\big[(1+\tfrac38V)\,y + y'\big] \\
   y_{t+1} &= \beta_1\big(\alpha y - \eta kM(1+\tfrac38V-z)\big), \qquad
   y'_{t+1} = \beta_1\varphi\big(\alpha y' - \eta kM(\tfrac14V-z)\big)

with :math:`k = d\sqrt{(1-\beta_2^{t+1})/v}/(1-\beta_1^{t+1})` and :math:`\varphi = \beta_2v_t/v_{t+1}`; M, v,
:math:`\sum(a\sigma)^2\omega v` and :math:`\sum(\omega v)^2` are sums of powers of :math:`\sigma_t^2` with factors
:math:`\beta_1^2, \beta_2, \beta_1^2\beta_2, \beta_2^2` per step. Without V and z it is the limit of a second moment
that averages many gradients; they are its scatter to first order (`derive_scatter`), and two constants put in the rest,
so that it is that of `theory.second_moment` at constant norm; its lagged products up to the squares of V, 4e-4 of them
at a beta2 of 0.95.

While V is large, at the start and as long as a few early gradients outweigh all others in v, the expansion is no good:
`theory.varying_scale` then does the same without expanding, until V is within ``SMALL_SCATTER`` of its last value.

**Equilibrium**: at constant norm the size is constant, so it is that of `theory.second_moment` times d, and the angle
is unchanged. Gradients that shrink in training make v too large and the norm too small as long as v remembers them.

**Relaxation** (slow limit, :math:`\dot\rho = -\gamma\rho + \gamma/(\rho v)`, :math:`\dot v = b(1/\rho - v)`, both in
units of where they settle). A small deviation x of the squared norm, and of v by -x, goes back as

.. math::
   x = \frac{(\mu_+-\gamma)\,e^{-\mu_-t} + (\gamma-\mu_-)\,e^{-\mu_+t}}{\mu_+-\mu_-}, \qquad
   \mu_\pm = \gamma + \tfrac b2 \pm \sqrt{\gamma^2+\tfrac{b^2}4}

Both shares are positive: it does not overshoot. :math:`\mu_-\to\gamma(1-\gamma/b)` for :math:`b\gg\gamma`, the theory
of constant size, and :math:`b/2` for :math:`b\ll\gamma`: the norm cannot relax faster than v forgets.

**Start of a long memory**, :math:`t\ll1/b`: v is the plain mean since the start, so that b reads 1/t. Once
:math:`\gamma t\gg1` the norm follows it, :math:`\rho^2 = 1/v`, and

.. math::  \frac1\rho - 1 \propto t^{-1/2}

an approach by a power, not an exponential (`derive_long_memory`): at beta2 = 0.999 the norm is 5 % off long after
:math:`1/\gamma` and in the end waits for :math:`2/b` steps.

Where it fails: a norm that changes much within a step, and a size h that jumps late in training by factors, which makes
V large again (percents); a radial gradient (weights that are not scale-invariant); what d cannot say about
correlations. Derived here; ``docs/inverse-norm`` has the simulations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import driven, second_moment
from theory.checks import InvalidParameter
from theory.models import Moments
from theory.momentum import startup_steps, stationary_update_rms
from theory.symbolic import positive, sp
from theory.varying_scale import ExactDirection

Array = NDArray[np.float64]

SMALL_SCATTER = 0.01  # V above its value at constant size, where the first order takes over
LARGE_SCATTER = 0.11  # that value, above which it never does: beta2 below 0.9
FEW_SETTINGS = 16  # up to which settings advance one by one, in plain numbers


# Derivations


def derive_scatter() -> sp.Expr:
    r""":math:`\langle u_su_t\rangle` over its value without scatter of v, to first order, for s <= t.

    In V at both times, z at s, and :math:`\varphi`, the share of :math:`v_t` that is in :math:`v_s`, for one gradient
    that both m have in common: :math:`v = \langle v\rangle(1+\epsilon)`, :math:`\epsilon = \sum\omega_j(\xi_j^2-1)`.
    """
    V_s, V_t, z, phi, small, e_s, e_t = sp.symbols("V_s V_t z phi small epsilon_s epsilon_t")
    root = ((1 + small * e_s) * (1 + small * e_t)) ** sp.Rational(-1, 2)
    expanded = sp.Poly(sp.series(root, small, 0, 3).removeO().subs(small, 1).expand(), e_s, e_t)
    # means with the square of a common gradient, whose own fourth moment leaves 2 omega: <xi^2 epsilon> = 2 omega
    mean = {(0, 0): 1, (1, 0): 2 * z, (0, 1): 2 * phi * z, (2, 0): V_s, (0, 2): V_t, (1, 1): phi * V_s}
    return sp.expand(sum(factor * mean[powers] for powers, factor in expanded.terms()))


def derive_relaxation() -> dict[str, sp.Expr]:
    r"""The slow limit, linearised at equilibrium: ``deviation`` of the squared norm over its start, where v starts with
    the opposite one, in t, gamma and b; and its two rates, ``slow`` and ``fast``."""
    gamma, b, t, rho, v = positive("gamma b t rho v")
    flow = sp.Matrix([-gamma * rho + gamma / (rho * v), b * (1 / rho - v)])  # equilibrium at 1, 1
    jacobian = flow.jacobian([rho, v]).subs({rho: 1, v: 1})
    slow, fast = sorted((-value for value in jacobian.eigenvals()), key=lambda rate: rate.subs({gamma: 1, b: 1}))
    share, other = sp.symbols("share other")
    first = (jacobian * sp.Matrix([1, -1]))[0]  # of the deviation, per unit of time at the start
    solution = sp.solve([share + other - 1, share * slow + other * fast + first], [share, other])
    deviation = solution[share] * sp.exp(-slow * t) + solution[other] * sp.exp(-fast * t)
    return {"deviation": sp.simplify(deviation), "slow": slow, "fast": fast}


def derive_long_memory() -> sp.Expr:
    r"""1/rho in time, of a norm that follows the plain mean v of all :math:`1/\rho` so far, from r_1 at t = 1.

    :math:`\dot\rho = 0` makes :math:`v = r^2`, r short for :math:`1/\rho`; the mean obeys :math:`(tv)' = r`.
    """
    t, first = positive("t r_1")
    r = sp.Function("r")
    mean = sp.Eq((t * r(t) ** 2).diff(t), r(t))
    slope = sp.solve(mean, r(t).diff(t))[0]
    return sp.dsolve(sp.Eq(r(t).diff(t), slope), ics={r(1): first}).rhs


# Relaxation


def relaxation_rates(shrinkage: ArrayLike, beta2: ArrayLike) -> Array:
    r""":math:`\mu_-` per step, the rate at which the squared RMS forgets its start in the end (slow limit).

    ``shrinkage`` is :math:`\eta\lambda`, at least 0; both broadcast.
    """
    rate, half = 2 * np.asarray(shrinkage, dtype=np.float64), (1 - np.asarray(beta2, dtype=np.float64)) / 2
    return 2 * rate * half / (rate + half + np.hypot(rate, half))


def _beyond_first_order(beta1: float, beta2: float) -> tuple[float, float]:
    """Factors on the mean square of u, and on its lagged products, that make both exact at constant size, the latter
    up to the squares of V."""
    settled = second_moment.autocovariance(beta1, beta2)
    q, b = float(stationary_update_rms(beta1)) ** 2, 1 - beta2
    scatter, own = 2 * b / (1 + beta2), b * (1 - beta1**2) / (1 - beta1**2 * beta2)
    square = q * (1 + scatter - 2 * own)
    lagged = (1 + 0.75 * scatter - own) / (1 - beta1) + beta2 * (0.25 * scatter - own) / (1 - beta1 * beta2)
    factor = float(settled.weighted_sum(1.0)) / (q * beta1 * lagged) if beta1 > 0 else 1.0
    return settled.variance / square, factor


# Any schedule


class FirstOrderDirection:
    """What `theory.varying_scale.ExactDirection` is, with the scatter of v to first order: numbers or arrays alike.

    beta1, beta2, attributes and calls are the same; a step takes three microseconds for one setting.
    """

    def __init__(self, beta1: float, beta2: float) -> None:
        self.beta1, self.beta2 = beta1, beta2
        self._settled = 2 * (1 - beta2) / (1 + beta2)  # V at constant size
        self._correction = _beyond_first_order(beta1, beta2)
        self._start1 = self._start2 = 1.0  # what is left of the start in m and in v
        self._m2 = self._v = self._m2_in_v = self._v_squares = self._taken = self._taken_fading = 0.0

    def see(self, variance: Any) -> None:
        beta1, beta2 = self.beta1, self.beta2
        entering1, entering2 = (1 - beta1) ** 2 * variance, (1 - beta2) * variance
        earlier = beta2 * self._v
        self._v = v = earlier + entering2
        self._m2 = m2 = beta1 * beta1 * self._m2 + entering1
        self._m2_in_v = beta1 * beta1 * beta2 * self._m2_in_v + entering1 * entering2
        self._v_squares = beta2 * beta2 * self._v_squares + entering2 * entering2
        self._taken_fading *= earlier / v
        self._start1 *= beta1
        self._start2 *= beta2
        self._scatter = scatter = 2 * self._v_squares / (v * v)
        self._own = own = self._m2_in_v / (m2 * v)
        k = ((1 - self._start2) / v) ** 0.5 / (1 - self._start1)
        self._push = k * m2
        square, lagged = self._correction
        self.square = square * k * self._push * (1 + scatter - 2 * own)
        self.alignment = lagged * k * ((1 + 0.375 * scatter) * self._taken + self._taken_fading)

    def move(self, step: Any, alpha: Any) -> None:
        push = step * self._push
        self._taken = self.beta1 * (alpha * self._taken - push * (1 + 0.375 * self._scatter - self._own))
        self._taken_fading = self.beta1 * (alpha * self._taken_fading - push * (0.25 * self._scatter - self._own))

    def good_from(self, step: int) -> bool:
        """Whether the first order will do, after that many steps."""
        if step < startup_steps(self.beta1) or self._settled > LARGE_SCATTER:
            return False
        return bool(np.all(self._scatter < self._settled + SMALL_SCATTER))

    def one(self, setting: int) -> FirstOrderDirection:
        """The state of one setting of many, in plain numbers."""
        alone = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                setattr(alone, name, float(value[setting]))
        return alone


def moments(
    rates: Array,
    shrinkage: Array,
    beta1: float,
    beta2: float,
    initial_rms: float | Array,
    *,
    direction_ratio: ArrayLike = 1.0,
    gradient_scale: ArrayLike | None = None,
) -> Moments:
    r"""Second moments along a run, bias correction included, from W independent of the gradients.

    Parameters
    ----------
    rates, shrinkage : (num_steps, ...) learning rate and the fraction that decay takes off, at every step; they
        broadcast.
    beta1 : in [0, 1). beta2 : in [0.1, 1).
    initial_rms : broadcasts against one row.
    direction_ratio : RMS of the direction over that of white noise, above 0; a number or (num_steps,).
    gradient_scale : (num_steps,) size of the gradient at unit norm, above 0, in any unit; constant by default.

    Raises
    ------
    InvalidParameter : a value outside its range, or an array of another length.
    """
    num_steps = len(rates)
    row = np.broadcast_shapes(rates.shape[1:], shrinkage.shape[1:], np.shape(initial_rms))
    ratio = _per_step("direction_ratio", direction_ratio, num_steps)
    squared_size = np.square(_per_step("gradient_scale", 1.0 if gradient_scale is None else gradient_scale, num_steps))
    steps, alpha = (
        np.broadcast_to(each.reshape(num_steps, *(1,) * (len(row) + 1 - each.ndim), *each.shape[1:]), (num_steps, *row))
        for each in (rates, 1 - shrinkage)
    )
    table = (num_steps, math.prod(row))
    flat = (steps.reshape(table), alpha.reshape(table))
    rho, p, s = np.empty((num_steps + 1, table[1])), np.empty(table), np.empty(table)
    rho[0] = np.broadcast_to(np.square(initial_rms), row).reshape(-1)
    exact, later = ExactDirection(table[1], beta1, beta2), FirstOrderDirection(beta1, beta2)

    def advance(directions: Sequence[ExactDirection | FirstOrderDirection], t: int) -> None:
        """Step t of all settings, by the first of the directions; the others look on."""
        eta, a = flat[0][t], flat[1][t]
        for direction in directions:
            direction.see(squared_size[t] / rho[t])
        p[t], s[t] = ratio[t] * directions[0].alignment, ratio[t] ** 2 * directions[0].square
        rho[t + 1] = a * (a * rho[t] - 2 * eta * p[t]) + eta**2 * s[t]
        for direction in directions:
            direction.move(eta * ratio[t], a)

    began = 0
    while began < num_steps and not later.good_from(began):
        advance((exact, later), began)
        began += 1
    if table[1] > FEW_SETTINGS:
        for t in range(began, num_steps):
            advance((later,), t)
    else:
        for k in range(table[1]):
            eta, a = (each[began:, k].tolist() for each in flat)
            columns = _advance_one(later.one(k), float(rho[began, k]), eta, a, ratio[began:], squared_size[began:])
            rho[began + 1 :, k], p[began:, k], s[began:, k] = columns
    return Moments(rho.reshape(-1, *row), p.reshape(-1, *row), s.reshape(-1, *row), steps, 1 - alpha)


def rates_for_angles(
    angles: Array,
    beta1: float,
    beta2: float,
    initial_rms: float,
    *,
    weight_decay: float = 0.0,
    share: float = 0.0,
    direction_ratio: ArrayLike = 1.0,
    gradient_scale: ArrayLike | None = None,
) -> Array:
    """Learning rates (num_steps,) at which each step turns by ``angles`` (num_steps,) in [0, pi/2): `moments` inverted.

    ``weight_decay`` is taken times the rate of a step, ``share`` whatever the rate; the rest as in `moments`. NaN from
    the first step on that no rate turns so far.
    """
    ratio = _per_step("direction_ratio", direction_ratio, len(angles))
    size = _per_step("gradient_scale", 1.0 if gradient_scale is None else gradient_scale, len(angles))
    exact, later = ExactDirection(1, beta1, beta2), FirstOrderDirection(beta1, beta2)
    directions: tuple[ExactDirection | FirstOrderDirection, ...] = (exact, later)
    rates = np.full(len(angles), np.nan)
    rho: Any = np.array([np.square(initial_rms)])
    for t, turn in enumerate(np.tan(angles)):
        if len(directions) == 2 and later.good_from(t):
            directions, rho = (later.one(0),), rho.item()
        for direction in directions:
            direction.see(size[t] ** 2 / rho)
        p, s = ratio[t] * directions[0].alignment, ratio[t] ** 2 * directions[0].square
        eta = driven.decoupled_rate(turn, rho, p, s, weight_decay=weight_decay, share=share).item()
        if not math.isfinite(eta):
            break
        rates[t] = eta
        alpha = 1 - share - weight_decay * eta
        rho = alpha * (alpha * rho - 2 * eta * p) + eta**2 * s
        for direction in directions:
            direction.move(eta * ratio[t], alpha)
    return rates


def _advance_one(
    direction: FirstOrderDirection,
    rho: float,
    steps: Sequence[float],
    alphas: Sequence[float],
    ratio: Array,
    squared_size: Array,
) -> tuple[list[float], list[float], list[float]]:
    """The same for one setting in plain numbers, which is ten times as fast: rho after every step, p and s."""
    rhos, ps, squares = [], [], []
    for eta, a, d, size in zip(steps, alphas, ratio.tolist(), squared_size.tolist(), strict=True):
        direction.see(size / rho)
        p, s = d * direction.alignment, d * d * direction.square
        rho = a * (a * rho - 2 * eta * p) + eta * eta * s
        direction.move(eta * d, a)
        rhos.append(rho)
        ps.append(p)
        squares.append(s)
    return rhos, ps, squares


def _per_step(name: str, value: ArrayLike, num_steps: int) -> Array:
    """(num_steps,) numbers above 0."""
    array = np.asarray(value, dtype=np.float64)
    if array.shape not in ((), (num_steps,)) or not np.all(np.isfinite(array) & (array > 0)):
        raise InvalidParameter(name, value, f"a finite number above 0, or one for each of {num_steps} steps")
    return np.broadcast_to(array, (num_steps,))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
