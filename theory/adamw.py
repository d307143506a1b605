r"""AdamW on a scale-invariant matrix driven by gradient noise: norm and rotation at equilibrium and before.

.. math::
   W_{t+1} = \alpha_t W_t - \eta_t u_t, \qquad \alpha_t = 1 - \eta_t\lambda

Legend: :math:`\rho_t = \langle W_t^2\rangle` squared weight RMS; :math:`p_t = \langle W_t u_t\rangle`;
:math:`s_t, r_t` variance and carry of the direction (`theory.momentum`), :math:`s \to q =
(1-\beta_1)/(1+\beta_1)` and :math:`r \to \beta_1` after start-up; :math:`U = \sqrt q`, RMS of the direction;
:math:`\alpha = 1-\eta\lambda`, what a step leaves of the weights.

Assumptions: the gradient is tangent, :math:`\langle W_t, g_t\rangle = 0`, as it is for any scale-invariant
weight; gradient entries are white noise whose scale is constant over the memory of the second moment,
:math:`1/(1-\beta_2)` steps; averages over the entries of a matrix stand for expectations. A scale-invariant gradient
goes like one over the norm, so the norm must change little within that memory.

**Exact recursion** (second moments close, derived here):

.. math::
   \rho_{t+1} = \alpha_t^2\rho_t - 2\alpha_t\eta_t p_t + \eta_t^2 s_t, \qquad
   p_{t+1} = r_t(\alpha_t p_t - \eta_t s_t)

**Equilibrium** at constant learning rate, exact in :math:`\eta\lambda`:

.. math::
   \rho = \eta^2 U^2 \frac{1+\alpha\beta_1}{(1-\alpha^2)(1-\alpha\beta_1)} \to \frac{\eta}{2\lambda}, \qquad
   \cos\theta = \frac{\alpha+\beta_1}{1+\alpha\beta_1}, \qquad
   \theta \to \sqrt{2\eta\lambda\,\frac{1-\beta_1}{1+\beta_1}}

The angle composes like velocities in special relativity: :math:`\mathrm{artanh}\cos\theta =
\mathrm{artanh}\,\alpha + \mathrm{artanh}\,\beta_1`. U has dropped out of it.

**Slow limit**: :math:`\dot\rho = -2\lambda\eta_t\rho + \eta_t^2`, relaxation time :math:`1/(2\eta\lambda)` steps.

Where it fails: while norms grow from a small start, a persistent gradient adds to the growth, and a norm that moves
fast against the memory of the second moment makes updates too small or too large: with :math:`g \propto 1/\|W\|` from
RMS 0.02 at (0.01, 0.3) the RMS is off by 14 % on the way at beta2 = 0.95, by 37 % at 0.999 (simulated;
`theory.inverse_norm` is right there). A finite beta2 takes 1 % off (`theory.second_moment`); heavy tails, a varying
scale and successive gradients that anticorrelate lower U further (put the measured one in). Weights that are not
scale-invariant have a radial gradient, which is not in the model.

Sources: Kosson et al., arXiv 2305.17212; Li, Lyu and Arora, arXiv 2010.02916; Wen et al., arXiv 2606.16899.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import driven, momentum, stationary
from theory.checks import InvalidParameter
from theory.momentum import stationary_update_rms
from theory.stationary import relaxation_steps
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


# Equilibrium


def derive_equilibrium() -> dict[str, sp.Expr]:
    """Solve the stationary recursion; in eta, lam, beta1, U: ``rms``; ``cosine_of_w_and_u``, of the weights with the
    update; ``sine`` of the angle that a step turns by, whose cosine is that of the law above."""
    eta, lam, beta1, U = positive("eta lambda beta_1 U")
    alpha = 1 - eta * lam
    rho, p = sp.symbols("rho p")
    stationary = sp.solve(
        [
            sp.Eq(rho, alpha**2 * rho - 2 * alpha * eta * p + eta**2 * U**2),
            sp.Eq(p, beta1 * (alpha * p - eta * U**2)),
        ],
        [rho, p],
        dict=True,
    )[0]
    rho, p = stationary[rho], stationary[p]
    tangential = eta**2 * (rho * U**2 - p**2)
    return {
        "rms": sp.sqrt(sp.factor(rho)),
        "cosine_of_w_and_u": sp.factor(p / (sp.sqrt(sp.factor(rho)) * U)),
        "sine": sp.sqrt(sp.factor(sp.simplify(tangential / rho**2))),
    }


def derive_limits() -> dict[str, sp.Expr]:
    r"""The limits of the exact forms, in eta, lam and beta1.

    eta*lam to 0: ``rms``, ``angle``, ``relaxation_steps`` (the slow decay of the squared RMS). lam to 0: ``growth`` of
    the squared RMS per step, which is the equilibrium times what decay takes off. beta1 to 0: ``rms_without_momentum``
    and ``sine_without_momentum`` (of the angle).
    """
    eta, lam, beta1, U = positive("eta lambda beta_1 U")
    (x,) = positive("x")  # eta*lam
    q = (1 - beta1) / (1 + beta1)
    exact = {name: value.subs(U, sp.sqrt(q)) for name, value in derive_equilibrium().items()}
    square = sp.cancel(exact["rms"].subs(lam, x / eta) ** 2)
    squared_sine = sp.cancel(exact["sine"].subs(lam, x / eta) ** 2)
    decay = sp.limit((1 - (1 - x) ** 2) / x, x, 0, "+")  # of rho per step, in units of eta*lam
    return {
        "rms": sp.sqrt(sp.limit(square * x, x, 0, "+") / (eta * lam)),
        "angle": sp.sqrt(sp.factor(sp.limit(sp.cancel(squared_sine / x), x, 0, "+")) * eta * lam),
        "relaxation_steps": 1 / (decay * eta * lam),
        "growth": sp.limit(sp.cancel(square * (1 - (1 - x) ** 2)), x, 0, "+"),
        "rms_without_momentum": sp.sqrt(sp.limit(square, beta1, 0)).subs(x, eta * lam),
        "sine_without_momentum": sp.sqrt(sp.limit(squared_sine, beta1, 0)).subs(x, eta * lam),
    }


def equilibrium_rms(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    update_rms: ArrayLike | None = None,
) -> Array:
    r"""Weight RMS at equilibrium, :math:`\eta U\sqrt{(1+\alpha\beta_1)/((1-\alpha^2)(1-\alpha\beta_1))}`.

    ``update_rms`` is U, by default that of white noise; put in a measured one where gradients are not that. All
    arguments broadcast. Raises `NoEquilibrium` at zero weight decay.
    """
    eta, alpha, beta1 = _equilibrium_arguments(learning_rate, weight_decay, beta1)
    U = stationary_update_rms(beta1) if update_rms is None else np.asarray(update_rms, dtype=np.float64)
    # 1 - alpha^2 = x (2 - x) keeps its digits when x = eta*lam is tiny
    x = eta * np.asarray(weight_decay, dtype=np.float64)
    return eta * U * np.sqrt((1 + alpha * beta1) / (x * (2 - x) * (1 - alpha * beta1)))


def cosine_equilibrium(learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    r""":math:`\cos(W, u) = -\beta_1\sqrt{(1-\alpha^2)/((1+\alpha\beta_1)(1-\alpha\beta_1))}` at equilibrium."""
    eta, alpha, beta1 = _equilibrium_arguments(learning_rate, weight_decay, beta1)
    x = eta * np.asarray(weight_decay, dtype=np.float64)
    return -beta1 * np.sqrt(x * (2 - x) / (1 - (alpha * beta1) ** 2))


def angular_update_equilibrium(learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    r"""Angle per step at equilibrium in radians, :math:`\arccos\frac{\alpha+\beta_1}{1+\alpha\beta_1}`."""
    eta, alpha, beta1 = _equilibrium_arguments(learning_rate, weight_decay, beta1)
    x = eta * np.asarray(weight_decay, dtype=np.float64)
    return np.arctan2(np.sqrt(x * (2 - x) * (1 - beta1**2)), alpha + beta1)


# Slow limit


def derive_slow_rms() -> sp.Expr:
    r"""Solve :math:`\dot\rho = -2\lambda\eta\rho + \eta^2`, :math:`\rho(0)=\rho_0`, for the weight RMS."""
    eta, lam, rho0 = positive("eta lambda rho_0")
    t = sp.symbols("t", nonnegative=True)
    rho = sp.Function("rho")
    equation = sp.Eq(rho(t).diff(t), -2 * lam * eta * rho(t) + eta**2)
    return sp.sqrt(sp.simplify(sp.dsolve(equation, ics={rho(0): rho0}).rhs))


def slow_rms(steps: ArrayLike, learning_rate: ArrayLike, weight_decay: ArrayLike, initial_rms: ArrayLike) -> Array:
    r"""Weight RMS after ``steps`` at constant learning rate in the slow limit; also at zero weight decay.

    :math:`\rho = \rho_0 e^{-2\eta\lambda t} + \eta^2 t\,\frac{1-e^{-2\eta\lambda t}}{2\eta\lambda t}`.
    """
    eta, steps = np.asarray(learning_rate, dtype=np.float64), np.asarray(steps, dtype=np.float64)
    exponent = 2 * eta * np.asarray(weight_decay, dtype=np.float64) * steps
    with np.errstate(invalid="ignore", divide="ignore"):
        grown = np.where(exponent == 0, 1.0, -np.expm1(-exponent) / exponent)
    return np.sqrt(np.square(initial_rms) * np.exp(-exponent) + eta**2 * steps * grown)


def derive_transient_steps() -> sp.Expr:
    """Time at which `derive_slow_rms` reaches f times the equilibrium RMS (f a positive symbol)."""
    eta, lam = positive("eta lambda")
    t = sp.symbols("t", nonnegative=True)
    f, forgotten = positive("f forgotten")  # forgotten = exp(-2 eta lam t)
    squared = sp.expand(derive_slow_rms() ** 2).subs(t, -sp.log(forgotten) / (2 * eta * lam))
    (solution,) = sp.solve(sp.Eq(sp.simplify(squared), f**2 * eta / (2 * lam)), forgotten)
    return -sp.log(sp.factor(solution)) / (2 * eta * lam)


def slow_transient_steps(
    learning_rate: ArrayLike, weight_decay: ArrayLike, initial_rms: ArrayLike, tolerance: float = 0.05
) -> Array:
    r"""Length of the transient at constant learning rate, slow limit, in steps (not rounded).

    :math:`\frac{1}{2\eta\lambda}\ln\frac{1-\rho_0/\rho}{1-f^2}` with f = 1 -+ tolerance on the side the RMS
    starts from; 0 if it starts within the tolerance. Raises `NoEquilibrium` at zero weight decay.
    """
    relaxation = relaxation_steps(learning_rate, weight_decay)
    ratio = (np.asarray(initial_rms) / np.sqrt(np.asarray(learning_rate) / (2 * np.asarray(weight_decay)))) ** 2
    edge = np.where(ratio < 1, (1 - tolerance) ** 2, (1 + tolerance) ** 2)
    start = np.abs(1 - ratio) / np.abs(1 - edge)
    return relaxation * np.log(np.maximum(start, 1.0))


# Any schedule


def moments(
    learning_rates: Array, weight_decay: float | Array, beta1: float, beta2: float, initial_rms: float | Array
) -> tuple[Array, Array, Array]:
    """Run the exact recursion from W independent of the gradients.

    Parameters
    ----------
    learning_rates : (num_steps, ...) the rate at every step.
    weight_decay, initial_rms : broadcast against one row of ``learning_rates``.

    Returns
    -------
    rho : (num_steps + 1, ...) squared weight RMS before each step, and after the last.
    p : (num_steps, ...) mean of W * u at each step.
    s : (num_steps,) mean square of u.
    """
    num_steps = len(learning_rates)
    shape = np.broadcast_shapes(learning_rates.shape[1:], np.shape(weight_decay), np.shape(initial_rms))
    rows = learning_rates.reshape(num_steps, *(1,) * (len(shape) - learning_rates.ndim + 1), *learning_rates.shape[1:])
    rates = np.broadcast_to(rows, (num_steps, *shape))
    drive = momentum.drive(num_steps, beta1, beta2)
    rho, p = driven.moments(rates, rates * weight_decay, drive, initial_rms)
    return rho, p, drive.variance


def _equilibrium_arguments(
    learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike
) -> tuple[Array, Array, Array]:
    eta, product = stationary.rate_and_product(learning_rate, weight_decay)
    beta = np.asarray(beta1, dtype=np.float64)
    if not np.all((beta >= 0) & (beta < 1)):
        raise InvalidParameter("beta1", beta1, "at least 0 and below 1")
    return eta, 1 - product, beta


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
