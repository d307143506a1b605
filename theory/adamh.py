r"""AdamH: Adam on the sphere. The norm is a constant, so the angle is set directly, almost.

.. math::
   w_{t+1} = \frac{w_t - \eta_t n_t}{N_t}, \qquad N_t = \sqrt{1 - 2\eta_t c_t + \eta_t^2}

Legend: :math:`w = W/R` on the unit sphere, :math:`n = u/\|u\|`, :math:`c = \langle w, n\rangle`; :math:`s_t, r_t`
variance and carry of the direction u (`theory.momentum`).

Assumptions: as in `theory.adamw` (tangent, independent, Gaussian gradients).

**Recursion.** Momentum remembers past directions, which the weights have moved against:

.. math::
   c_{t+1} = r_t \sqrt{s_t/s_{t+1}}\,\frac{c_t - \eta_t}{N_t}, \qquad c_0 = 0, \qquad
   \theta_t = \mathrm{atan2}\left(\eta_t\sqrt{1-c_t^2},\; 1-\eta_t c_t\right)

With no momentum c = 0 and the angle is ``atan(eta)``; with beta1 = 0.9 and eta = 0.01 it is 0.5 % less.

**Equilibrium by equivalence.** A step of AdamH is a step of AdamW with shrink :math:`\alpha = 1/N` and learning rate
:math:`\eta/N` in units of R. Asking AdamW's equilibrium norm to be 1 gives

.. math::
   \eta^2 = \frac{(1-\alpha^2)(1-\alpha\beta_1)}{\alpha^2(1+\alpha\beta_1)}, \qquad
   \cos\theta = \frac{\alpha+\beta_1}{1+\alpha\beta_1}

so AdamH at :math:`\eta` turns exactly like AdamW with :math:`\eta\lambda = 1-\alpha`; to leading order
:math:`\eta = \sqrt{2(\eta\lambda)_{AdamW}(1-\beta_1)/(1+\beta_1)}`.

**Limits**: the angle goes to :math:`\eta` for small :math:`\eta`, whatever the momentum. Without momentum
:math:`\eta = \tan\theta`.

Where it fails: hardly at a finite beta2, since the size of the update drops out; at (0.9, 0.95) it takes 0.03 % off the
angle at :math:`\eta = 0.02` and 0.13 % at 0.05 (`theory.second_moment` with `theory.stationary`).

Derived here; the update is that of arXiv 2606.16899.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import driven, momentum
from theory.checks import InvalidParameter
from theory.roots import solve_rising
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


def derive_matching_learning_rate() -> sp.Expr:
    """AdamH's learning rate that turns like AdamW with shrink alpha: stationary c, then N = 1/alpha."""
    alpha, beta1 = positive("alpha beta_1")
    rate, c = sp.symbols("eta c")
    stationary = sp.solve(sp.Eq(c / alpha, beta1 * (c - rate)), c)[0]
    norm_condition = sp.Eq(1 / alpha**2, 1 - 2 * rate * stationary + rate**2)
    (squared,) = sp.solve(norm_condition.subs(rate, sp.sqrt(sp.Symbol("y"))), sp.Symbol("y"))
    return sp.sqrt(sp.factor(squared))


def derive_limits() -> dict[str, sp.Expr]:
    """``angle_per_rate`` for small rates; ``rate_without_momentum`` in alpha, the cosine of the angle there."""
    alpha, beta1, y = positive("alpha beta_1 y")
    rate = derive_matching_learning_rate().subs(alpha, 1 - y)
    sine = sp.sqrt(y * (2 - y) * (1 - beta1**2)) / (1 + (1 - y) * beta1)
    return {
        "angle_per_rate": sp.sqrt(sp.limit(sp.cancel(sine**2 / rate**2), y, 0, "+")),
        "rate_without_momentum": sp.sqrt(sp.limit(derive_matching_learning_rate() ** 2, beta1, 0)),
    }


def matching_learning_rate(shrink: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    r"""Learning rate of AdamH with the same equilibrium angle as AdamW with :math:`1-\eta\lambda` = ``shrink``.

    Examples
    --------
    AdamW at learning rate 0.03 and decay 1, as an AdamH run. The rate is 15 % above the angle: of a step that remembers
    others, a part goes along the weights.

    >>> from theory import adamh, adamw
    >>> rate = adamh.matching_learning_rate(1 - 0.03 * 1.0)
    >>> angles = adamh.angular_update_equilibrium(rate), adamw.angular_update_equilibrium(0.03, 1.0)
    >>> print(f"rate {rate:.5f}, angles {angles[0]:.5f} and {angles[1]:.5f}")
    rate 0.06526, angles 0.05661 and 0.05661
    """
    a, b = np.asarray(shrink, dtype=np.float64), np.asarray(beta1, dtype=np.float64)
    return np.sqrt((1 - a**2) * (1 - a * b) / (1 + a * b)) / a


def learning_rate_of_angle(angle: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    r"""Learning rate at which AdamH turns by ``angle`` per step in the stationary state; NaN where none does.

    With :math:`\cos\theta = (\alpha+\beta_1)/(1+\alpha\beta_1)` it is the `matching_learning_rate` of that
    :math:`\alpha`, :math:`1-\alpha = (1+\beta_1)(1-\cos\theta)/(1-\beta_1\cos\theta)`. Angles of
    :math:`\arccos\beta_1` and more are out of reach: the rate has gone to infinity. ``angle`` in radians, above 0.

    >>> from theory import adamh
    >>> rate = adamh.learning_rate_of_angle(0.05)
    >>> print(f"{rate:.5f} turns by {adamh.angular_update_equilibrium(rate):.5f}")
    0.05602 turns by 0.05000
    """
    theta, b = np.asarray(angle, dtype=np.float64), np.asarray(beta1, dtype=np.float64)
    y = (1 + b) * 2 * np.sin(theta / 2) ** 2 / (1 - b * np.cos(theta))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((theta > 0) & (y < 1), _rate_of_decay(y, b), np.nan)


def equivalent_decay(learning_rate: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    r"""The product :math:`\eta\lambda = 1 - \alpha` of the AdamW run that turns like AdamH at ``learning_rate``.

    Solved in :math:`\ln(1-\alpha)`, in which the matching rate rises from 0 to infinity.
    """
    rate, beta = np.asarray(learning_rate, np.float64), np.asarray(beta1, np.float64)
    if not np.all((rate > 0) & np.isfinite(rate)):
        raise InvalidParameter("learning_rate", learning_rate, "a finite number above 0")
    return solve_rising(_rate_of_decay, rate, beta)


def _rate_of_decay(y: Array, beta1: Array) -> Array:
    r"""`matching_learning_rate` in :math:`y = 1-\alpha`, without cancellation where y is small."""
    return np.sqrt(y * (2 - y) * (1 - (1 - y) * beta1) / (1 + (1 - y) * beta1)) / (1 - y)


def angular_update_equilibrium(learning_rate: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    """Angle per step in the stationary state, in radians; ``atan(learning_rate)`` at beta1 = 0."""
    y, beta = equivalent_decay(learning_rate, beta1), np.asarray(beta1, dtype=np.float64)
    return np.arctan2(np.sqrt(y * (2 - y) * (1 - beta**2)), 1 - y + beta)


def cosines(learning_rates: Array, beta1: float, beta2: float) -> Array:
    """:math:`c_t = cos(W_t, u_t)` at every step by the recursion, shape of ``learning_rates`` (num_steps, ...)."""
    return driven.sphere_cosines(learning_rates, momentum.drive(len(learning_rates), beta1, beta2))


def rates_for_angles(angles: ArrayLike, beta1: float = 0.9, beta2: float = 0.95) -> Array:
    r"""Learning rates that make AdamH turn by the given angles, the inverse of the recursion step by step.

    ``angles`` (num_steps, ...) in radians, from 0 to below pi/2. :math:`\eta_t =
    \tan\theta_t/(\sqrt{1-c_t^2} + c_t\tan\theta_t)`. From the angles of an AdamW run it makes the implicit schedule
    that the norm makes of its learning rate. Raises `InvalidParameter`.
    """
    turns = np.asarray(angles, dtype=np.float64)
    if not np.all((turns >= 0) & (turns < np.pi / 2)):
        raise InvalidParameter("angles", angles, "at least 0 and below pi/2")
    return driven.sphere_rates(turns, momentum.drive(len(turns), beta1, beta2))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
