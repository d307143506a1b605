r"""SGD with momentum on a scale-invariant matrix: the gradient shrinks as the norm grows.

.. math::
   m_t = a\,m_{t-1} + g_t + \lambda_c W_t, \qquad W_{t+1} = (1-\eta_t\lambda_d)W_t - \eta_t m_t, \qquad
   g_t = \tilde g_t/\sqrt{\rho_t}

Legend: a momentum (``beta1``); decay goes into the gradient (coupled, :math:`\lambda_c = \lambda`, as in PyTorch's
SGD) or beside it (decoupled, :math:`\lambda_d = \lambda`); :math:`\rho` squared weight RMS; :math:`\sigma` RMS of an
entry of the gradient at unit weight RMS (``gradient_rms``), which scale invariance divides by the weight RMS;
:math:`\alpha = 1-\eta\lambda`.

**Equilibrium**, exact in :math:`\eta\lambda`:

.. math::
   \text{coupled: } \rho^2 = \frac{\eta\sigma^2}{\lambda}\,\frac{1+a}{(1-a)(2(1+a)-\eta\lambda)}, \qquad
   \cos\theta = 1-\frac{\eta\lambda}{1+a}, \qquad \cos(W,m) = \sin\frac\theta2

.. math::
   \text{decoupled: } \rho^2 = \frac{\eta^2\sigma^2(1+\alpha a)}{(1-\alpha^2)(1-a^2)(1-\alpha a)}, \qquad
   \cos\theta = \frac{\alpha+a}{1+\alpha a}

Derivation: in the stationary state the norm of a large matrix stands still, so the gradient is white with variance
:math:`\sigma^2/\rho`, and what is left is a condition on :math:`\rho`. Decoupled, m is Adam's momentum up to scale;
coupled, W obeys :math:`W_{t+1} = (1+a-\eta\lambda)W_t - aW_{t-1} - \eta g_t`, whose moments close.

**Slow limit.** :math:`\dot\rho = -2\lambda'\eta\rho + D\eta^2\sigma^2/\rho` with :math:`\lambda' = \lambda/(1-a)`
coupled and :math:`\lambda` decoupled, :math:`D = (1-a)^{-2}`. Hence :math:`\rho^2`, the fourth power of the RMS,
relaxes linearly, in :math:`1/(4\eta\lambda')` steps: twice as fast as AdamW. Angle
:math:`\sqrt{2\eta\lambda/(1+a)}` coupled, :math:`\sqrt{2\eta\lambda(1-a)/(1+a)}` decoupled; coupled
:math:`\|W\|_F = (\eta\langle\|\tilde g\|^2\rangle/(2\lambda(1-a)))^{1/4}`. Without momentum both are one. Without
decay :math:`\rho^2` grows by :math:`2D\eta^2\sigma^2` per step.

Where it fails: small matrices, in which the norm fluctuates (relative error of order 1/n entries); a start from a
tiny norm, where the first steps are as large as the weights. Van Laarhoven, arXiv 1706.05350; Li, Lyu and Arora, arXiv
2010.02916; the exact forms are derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.checks import InvalidParameter
from theory.stationary import rate_and_product
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


def _step(
    r: sp.Expr, y: sp.Symbol, s: sp.Symbol, v: sp.Symbol, *, decoupled: bool
) -> tuple[list[sp.Eq], sp.Expr, sp.Expr]:
    r"""One step at rho = r and a variance v of the gradient: what holds where ``y`` (mean of :math:`W_tm_{t-1}`) and
    ``s`` (mean square of m) have settled; p (mean of W m); and rho after it."""
    eta, lam, a = positive("eta lambda a")
    coupled_decay, alpha = (sp.Integer(0), 1 - eta * lam) if decoupled else (lam, sp.Integer(1))
    p = a * y + coupled_decay * r
    settled = [
        sp.Eq(s, a**2 * s + v + coupled_decay**2 * r + 2 * a * coupled_decay * y),
        sp.Eq(y, alpha * p - eta * s),
    ]
    return settled, p, alpha**2 * r - 2 * alpha * eta * p + eta**2 * s


def derive_moments(*, decoupled: bool) -> dict[str, sp.Expr]:
    r"""Stationary ``rho``, ``p`` (mean of W m), ``s`` (mean square of m) at a given variance ``v`` of the gradient."""
    (v,), (r, y, s) = positive("v"), sp.symbols("r y s")
    settled, p, following = _step(r, y, s, v, decoupled=decoupled)
    (solution,) = sp.solve([*settled, sp.Eq(r, following)], [r, y, s], dict=True)
    return {name: sp.factor(value.subs(solution)) for name, value in {"rho": r, "p": p, "s": s}.items()}


def derive_slow_drift(*, decoupled: bool) -> sp.Expr:
    """Change of rho per step, to first order in the decay and in the variance ``v`` of the gradient: y and s settle
    while rho has hardly moved."""
    lam, rho, small, v, y, s = positive("lambda rho epsilon v y s")
    settled, _, following = _step(rho, y, s, v, decoupled=decoupled)
    (solution,) = sp.solve(settled, [y, s], dict=True)
    change = (following - rho).subs(solution)
    scaled = sp.cancel(change.subs({lam: small * lam, v: small * v}) / small)
    first_order = sp.expand(sp.limit(scaled, small, 0))
    return sum(sp.factor(first_order.coeff(part)) * part for part in (rho, v))


def derive_equilibrium(*, decoupled: bool) -> dict[str, sp.Expr]:
    """``rms`` at gradient RMS sigma, and ``cosine`` of the angle, in eta, lambda, a."""
    eta, lam, sigma, v = positive("eta lambda sigma v")
    alpha = 1 - eta * lam if decoupled else sp.Integer(1)
    found = derive_moments(decoupled=decoupled)
    per_variance = sp.factor(found["rho"] / v)  # rho = per_variance * sigma^2 / rho
    return {
        "rms": sp.root(per_variance * sigma**2, 4),
        "cosine": sp.factor(alpha - eta * sp.cancel(found["p"] / found["rho"])),
    }


def derive_limits(*, decoupled: bool) -> dict[str, sp.Expr]:
    """The limits of the exact forms, in eta, lambda, a, sigma.

    eta*lambda to 0: ``rms``, ``angle``, ``relaxation_steps`` of rho. lambda to 0: ``growth`` of rho**2 per step. a to
    0: ``rms_without_momentum``, ``cosine_without_momentum`` (of the angle).
    """
    eta, lam, a, sigma, rho, v, x = positive("eta lambda a sigma rho v x")
    exact = derive_equilibrium(decoupled=decoupled)
    fourth = sp.limit(sp.cancel(exact["rms"] ** 4 * x / eta**2).subs(lam, x / eta), x, 0, "+") * eta / lam
    squared_angle = sp.limit(2 * (1 - exact["cosine"].subs(lam, x / eta)) / x, x, 0, "+") * eta * lam
    drift = derive_slow_drift(decoupled=decoupled).subs(v, sigma**2 / rho)
    return {
        "rms": sp.root(sp.factor(fourth), 4),
        "angle": sp.sqrt(sp.factor(squared_angle)),
        "relaxation_steps": sp.simplify(-1 / drift.diff(rho).subs(rho, sp.sqrt(fourth))),
        "growth": sp.simplify(sp.limit(2 * rho * drift, lam, 0, "+")),
        "rms_without_momentum": sp.limit(exact["rms"] ** 4, a, 0) ** sp.Rational(1, 4),
        "cosine_without_momentum": sp.limit(exact["cosine"], a, 0),
    }


def equilibrium_rms(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    decoupled: bool = False,
    gradient_rms: ArrayLike = 1.0,
) -> Array:
    """Weight RMS at equilibrium; all numbers broadcast. Raises `NoEquilibrium` at zero weight decay."""
    rate, x, a = _arguments(learning_rate, weight_decay, beta1)
    if decoupled:
        kept = (1 - x) * a
        per_variance = rate**2 * (1 + kept) / (x * (2 - x) * (1 - a**2) * (1 - kept))
    else:
        per_variance = rate**2 * (1 + a) / (x * (1 - a) * (2 * (1 + a) - x))
    return (per_variance * np.square(gradient_rms)) ** 0.25


def angular_update_equilibrium(
    learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9, *, decoupled: bool = False
) -> Array:
    """Angle per step at equilibrium in radians; the size of the gradient has dropped out."""
    _, x, a = _arguments(learning_rate, weight_decay, beta1)
    if decoupled:
        return np.arctan2(np.sqrt(x * (2 - x) * (1 - a**2)), 1 - x + a)
    return 2 * np.arcsin(np.sqrt(x / (2 * (1 + a))))


def cosine_equilibrium(
    learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9, *, decoupled: bool = False
) -> Array:
    """Cosine of W and m at equilibrium; positive when m carries the decay itself."""
    _, x, a = _arguments(learning_rate, weight_decay, beta1)
    if decoupled:
        return -a * np.sqrt(x * (2 - x) / (1 - ((1 - x) * a) ** 2))
    return np.sqrt(x / (2 * (1 + a)))


def relaxation_steps(
    learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9, *, decoupled: bool = False
) -> Array:
    """Steps in which a small deviation of the squared RMS falls to 1/e (slow limit)."""
    _, x, a = _arguments(learning_rate, weight_decay, beta1)
    return (1 if decoupled else 1 - a) / (4 * x)


def moments(
    rates: Array,
    weight_decay: float,
    beta1: float,
    initial_rms: float | Array,
    *,
    decoupled: bool = False,
    gradient_rms: float = 1.0,
) -> tuple[Array, Array, Array]:
    """Squared RMS (num_steps + 1, ...), mean of W m and mean square of m (num_steps, ...) from an empty momentum on.

    ``rates`` has shape (num_steps, ...); ``initial_rms`` broadcasts against one row.
    """
    row = rates.shape[1:]
    coupled_decay, decoupled_decay = (0.0, weight_decay) if decoupled else (weight_decay, 0.0)
    rho = np.empty((len(rates) + 1, *row))
    p, s = np.empty_like(rates), np.empty_like(rates)
    rho[0] = np.square(initial_rms)
    previous, square = np.zeros(row), np.zeros(row)  # means of W_t m_{t-1} and m_{t-1}^2
    for t, rate in enumerate(rates):
        r, alpha = rho[t], 1 - rate * decoupled_decay
        square = beta1**2 * square + gradient_rms**2 / r + coupled_decay * (coupled_decay * r + 2 * beta1 * previous)
        p[t] = beta1 * previous + coupled_decay * r
        s[t] = square
        previous = alpha * p[t] - rate * square
        rho[t + 1] = alpha**2 * r - 2 * alpha * rate * p[t] + rate**2 * square
    return rho, p, s


def _arguments(learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike) -> tuple[Array, Array, Array]:
    rate, product = rate_and_product(learning_rate, weight_decay)
    a = np.asarray(beta1, dtype=np.float64)
    if not np.all((a >= 0) & (a < 1)):
        raise InvalidParameter("beta1", beta1, "at least 0 and below 1")
    return rate, product, a


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
