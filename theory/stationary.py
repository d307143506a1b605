r"""One formula for every optimizer: the norm and rotation of weights that sum up a stationary update.

.. math::
   \rho = \frac{\eta^2}{1-\alpha^2}\sum_{k=-\infty}^{\infty}\alpha^{|k|}c_k, \qquad
   p = -\eta\sum_{k\ge1}\alpha^{k-1}c_k, \qquad
   \theta = \mathrm{atan2}\left(\eta\sqrt{\rho c_0-p^2},\; \alpha\rho-\eta p\right)

for :math:`W_{t+1} = \alpha W_t - \eta u_t`, :math:`\alpha = 1-\eta\lambda`.

Legend: :math:`c_k = \langle u_t u_{t+k}\rangle` autocovariance of an entry of the update; :math:`\rho = \langle
W^2\rangle` squared weight RMS; :math:`p = \langle W_t u_t\rangle`; :math:`\theta` angle per step;
:math:`S = \sum_{k\ge1}\alpha^{k-1}c_k`, so :math:`p = -\eta S`.

Assumption: u is stationary, and depends on W in no other way than that both remember the same gradients.

Derivation: :math:`W_t = -\eta\sum_{j\ge0}\alpha^j u_{t-1-j}`. The mean of :math:`W_t u_t` is p; the mean of
:math:`W_t^2` is a double sum over lags, or the fixed point of
:math:`\rho = \alpha^2\rho - 2\alpha\eta p + \eta^2 c_0`. The angle is that between W and :math:`\alpha W - \eta u`.

**Slow limit.** Two numbers are left of the whole autocovariance, its value at lag 0 and its sum D over all lags:

.. math::
   \dot\rho = -2\lambda\eta\rho + \eta^2 D, \qquad \rho \to \frac{\eta D}{2\lambda}, \qquad
   \theta \to \sqrt{2\eta\lambda\,c_0/D}, \qquad D = \sum_{k=-\infty}^{\infty} c_k

Momentum slows the rotation because it makes D larger than :math:`c_0`, and for no other reason.

**On a sphere** of radius R, :math:`W \leftarrow R\,\mathrm{Norm}(W - \eta R u/\|u\|)`: the norm before projection
settles at :math:`R/\alpha`, so the step is one with shrink :math:`\alpha`, and :math:`\rho = R^2` asks for

.. math::  \eta^2 = \frac{1-\alpha^2}{\alpha^2 (1 + 2\alpha S/c_0)}

Where it fails: a radial gradient (weights that are not scale-invariant), or a gradient that changes with the norm
(`theory.sgdm`, `theory.adam_l2`). Derived here; checked optimizer by optimizer in Monte Carlo.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.checks import InvalidParameter, NoEquilibrium
from theory.roots import solve_rising
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


def _none() -> Array:
    return np.zeros(0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Autocovariance:
    r"""Autocovariance of one entry of the update, as listed lags and then a sum of geometric modes.

    .. math:: c_{K+i} = \sum_j a_j r_j^{i-1}, \quad i \ge 1

    Parameters
    ----------
    variance : :math:`c_0`, above 0.
    lags : (K,) :math:`c_1 \dots c_K`; none by default.
    amplitudes, ratios : (num_modes,) :math:`a_j` and :math:`r_j`, the latter in (-1, 1).

    Raises
    ------
    InvalidParameter : a value outside its range, or one that is not finite.
    """

    variance: float
    lags: Array = field(default_factory=_none)
    amplitudes: Array = field(default_factory=_none)
    ratios: Array = field(default_factory=_none)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.variance) and self.variance > 0):
            raise InvalidParameter("variance", self.variance, "a finite number above 0")
        if not np.all(np.isfinite(self.lags)):
            raise InvalidParameter("lags", self.lags, "finite numbers")
        if self.amplitudes.shape != self.ratios.shape or not np.all(np.isfinite(self.amplitudes)):
            raise InvalidParameter("amplitudes", self.amplitudes, "finite numbers, one per ratio")
        if not np.all(np.abs(self.ratios) < 1):
            raise InvalidParameter("ratios", self.ratios, "between -1 and 1")

    @classmethod
    def from_lags(cls, values: ArrayLike, tail_ratio: float = 0.0) -> Self:
        r"""From :math:`c_0, c_1, \dots`, continued after the last one by the factor ``tail_ratio`` per lag."""
        c = np.asarray(values, dtype=np.float64)
        if c.ndim != 1 or len(c) == 0:
            raise InvalidParameter("values", values, "a list of at least one number")
        tail = c[-1:] * tail_ratio
        return cls(variance=float(c[0]), lags=c[1:], amplitudes=tail, ratios=np.full(tail.shape, tail_ratio))

    def at(self, lags: ArrayLike) -> Array:
        """:math:`c_k` at whole lags k of any shape and sign."""
        k = np.abs(np.asarray(lags, dtype=np.int64))
        beyond = np.maximum(k - len(self.lags) - 1, 0)
        modes = np.sum(self.amplitudes * self.ratios ** beyond[..., None], axis=-1)
        listed = np.concatenate([[self.variance], self.lags])
        return np.where(k <= len(self.lags), listed[np.minimum(k, len(self.lags))], modes)

    def weighted_sum(self, shrink: ArrayLike) -> Array:
        r""":math:`S(\alpha) = \sum_{k\ge1}\alpha^{k-1}c_k`, for ``shrink`` in [0, 1] of any shape."""
        a = np.asarray(shrink, dtype=np.float64)
        listed = np.polynomial.polynomial.polyval(a, self.lags) if len(self.lags) else np.zeros_like(a)
        modes = np.sum(self.amplitudes / (1 - a[..., None] * self.ratios), axis=-1)
        return np.asarray(listed + a ** len(self.lags) * modes)

    @property
    def total(self) -> float:
        """D, the sum over all lags: what drives the slow norm."""
        return self.variance + 2 * float(self.weighted_sum(1.0))


# Derivations


def derive_equilibrium(variance: sp.Expr, weighted_sum: sp.Expr) -> dict[str, sp.Expr]:
    r"""``rho``, ``p``, ``cosine`` (of the angle) from :math:`c_0` and S(alpha): the fixed point of the norm."""
    eta, alpha = positive("eta alpha")
    rho = sp.Symbol("rho")
    p = -eta * weighted_sum
    (solution,) = sp.solve(sp.Eq(rho, alpha**2 * rho - 2 * alpha * eta * p + eta**2 * variance), rho)
    return {"rho": solution, "p": p, "cosine": alpha - eta * p / solution}


def derive_limits(variance: sp.Expr, weighted_sum: sp.Expr) -> dict[str, sp.Expr]:
    r"""For x = eta*lam to 0: ``rho`` and ``angle``; for lam to 0: ``growth`` of rho per step, :math:`\eta^2 D`."""
    alpha, x = positive("alpha x")
    s0, slope = sp.symbols("s_0 slope")  # S is regular at alpha = 1
    exact = {k: v.subs(alpha, 1 - x) for k, v in derive_equilibrium(variance, s0 + slope * x).items()}
    rho = sp.limit(exact["rho"] * x, x, 0, "+") / x
    squared_angle = sp.limit(sp.together((1 - exact["cosine"] ** 2) / x), x, 0, "+") * x
    growth = sp.limit(exact["rho"] * (1 - (1 - x) ** 2), x, 0, "+")
    at_one = {s0: weighted_sum.subs(alpha, 1)}
    limits = {"rho": sp.cancel(rho), "angle": sp.sqrt(sp.cancel(squared_angle)), "growth": sp.cancel(growth)}
    return {name: limit.subs(at_one) for name, limit in limits.items()}


def derive_sums(num_lags: int) -> dict[str, sp.Expr]:
    r"""``rho`` and ``p`` of lags :math:`c_0 \dots c_K` and none beyond, straight from :math:`W = -\eta\sum\alpha^j
    u_{-1-j}`: over all pairs of updates in W, and over all updates in W against the one to come."""
    eta, alpha = positive("eta alpha")
    c = sp.symbols(f"c_0:{num_lags + 1}")
    older, newer = sp.symbols("i j", integer=True, nonnegative=True)
    rho = sp.Integer(0)
    for lag in range(-num_lags, num_lags + 1):
        weight = (alpha**newer * alpha**older).subs(older, newer + lag)
        ratio = sp.simplify(weight.subs(newer, newer + 1) / weight)
        rho += weight.subs(newer, max(0, -lag)) * geometric_sum(ratio) * c[abs(lag)]
    met = sum(alpha**j * c[j + 1] for j in range(num_lags))
    return {"rho": eta**2 * rho, "p": -eta * met}


def derive_mode_sum() -> sp.Expr:
    r"""S of one mode, :math:`c_k = a r^{k-1}`, in a, r and alpha."""
    alpha, a, r = positive("alpha a r")
    return a * geometric_sum(alpha * r)


def geometric_sum(ratio: sp.Expr) -> sp.Expr:
    """The sum of all powers of a ratio below 1."""
    (z,), i = positive("z"), sp.Symbol("i", integer=True, nonnegative=True)
    return sp.summation(z**i, (i, 0, sp.oo)).args[0][0].subs(z, ratio)


def derive_sphere_learning_rate() -> sp.Expr:
    r"""Rate on the sphere at which the shrink is alpha, in alpha and s = S/c_0.

    In units of R = 1 and of the update's norm. Projection divides what a step has made, W and the update in it, by the
    norm N before it: a shrink and a step of :math:`e = \eta/N`, which decide p, which decides N.
    """
    eta, alpha, s, rate, norm = positive("eta alpha s eta_H N")
    step = rate / norm
    p = derive_equilibrium(sp.Integer(1), s)["p"].subs(eta, step)
    (squared,) = sp.solve(sp.Eq(norm**2, 1 - 2 * rate * p + rate**2), rate**2)
    return sp.sqrt(sp.factor(squared.subs(norm, 1 / alpha)))


# Equilibrium


def equilibrium_rms(autocovariance: Autocovariance, learning_rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    """Weight RMS at equilibrium; rates and decays broadcast. Raises `NoEquilibrium` at zero weight decay."""
    return np.sqrt(_moments(autocovariance, learning_rate, weight_decay)[0])


def cosine_equilibrium(autocovariance: Autocovariance, learning_rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    r""":math:`\cos(W, u) = p/\sqrt{\rho c_0}` at equilibrium."""
    rho, p, _, _ = _moments(autocovariance, learning_rate, weight_decay)
    return p / np.sqrt(rho * autocovariance.variance)


def angular_update_equilibrium(
    autocovariance: Autocovariance, learning_rate: ArrayLike, weight_decay: ArrayLike
) -> Array:
    """Angle per step at equilibrium in radians."""
    rho, p, eta, product = _moments(autocovariance, learning_rate, weight_decay)
    across = eta * np.sqrt(rho * autocovariance.variance - p**2)
    return np.arctan2(across, (1 - product) * rho - eta * p)


def relaxation_steps(learning_rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    r"""Steps in which the squared RMS forgets its start by 1/e: :math:`1/(2\eta\lambda)` (slow limit)."""
    _, product = rate_and_product(learning_rate, weight_decay)
    return 1 / (2 * product)


def rate_and_product(learning_rate: ArrayLike, weight_decay: ArrayLike) -> tuple[Array, Array]:
    r""":math:`\eta` and :math:`\eta\lambda`, checked: above 0, and the product below 1."""
    eta, lam = (np.asarray(a, dtype=np.float64) for a in (learning_rate, weight_decay))
    if not np.all((eta > 0) & np.isfinite(eta)):
        raise InvalidParameter("learning_rate", learning_rate, "a finite number above 0")
    if np.any(lam == 0):
        raise NoEquilibrium(
            "weight_decay",
            weight_decay,
            "above 0 for an equilibrium to exist (without decay the weight RMS grows like sqrt(t):"
            " rms^2 = initial_rms^2 + the sum of learning_rate^2)",
        )
    if not np.all((lam > 0) & (eta * lam < 1)):
        raise InvalidParameter("weight_decay", weight_decay, "above 0 and below 1/learning_rate")
    return eta, eta * lam


# On a sphere


def sphere_learning_rate(autocovariance: Autocovariance, decay: ArrayLike) -> Array:
    r"""Rate on the sphere that turns like decoupled decay with :math:`\eta\lambda` = ``decay`` in (0, 1)."""
    y = np.asarray(decay, dtype=np.float64)
    s = autocovariance.weighted_sum(1 - y) / autocovariance.variance
    return np.sqrt(y * (2 - y) / (1 + 2 * (1 - y) * s)) / (1 - y)


def equivalent_decay(autocovariance: Autocovariance, learning_rate: ArrayLike) -> Array:
    r"""The :math:`\eta\lambda` of the decoupled run that turns like the sphere at ``learning_rate``."""
    rate = np.asarray(learning_rate, dtype=np.float64)
    if not np.all((rate > 0) & np.isfinite(rate)):
        raise InvalidParameter("learning_rate", learning_rate, "a finite number above 0")
    return solve_rising(lambda y: sphere_learning_rate(autocovariance, y), rate)


def _moments(
    autocovariance: Autocovariance, learning_rate: ArrayLike, weight_decay: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    rate, product = rate_and_product(learning_rate, weight_decay)
    c0, s = autocovariance.variance, autocovariance.weighted_sum(1 - product)
    rho = rate**2 * (c0 + 2 * (1 - product) * s) / (product * (2 - product))
    return rho, -rate * s, rate, product


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
