r"""Gradients that remember: a persistent signal on top of the noise, and what it does to the norm.

.. math::
   h_t = s_t + n_t, \qquad \langle s_ts_{t+k}\rangle = S\,\gamma^{|k|}\,\langle n^2\rangle

Legend: S signal-to-noise ratio, which grows like the batch size; :math:`\gamma` autocorrelation of the signal per
step, so it lasts :math:`1/(1-\gamma)` steps; :math:`k^2 = S/(1+S)`; :math:`q = (1-\beta_1)/(1+\beta_1)`; u Adam's
direction at :math:`\beta_2\to1`, :math:`U^2` its mean square; :math:`\alpha = 1-\eta\lambda`.

**Tangent gradients** (scale-invariant weights, the case of this project): the gradient is h without its part along W.
The signal enters the norm through U and in no other way, since :math:`\langle W_tg_t\rangle = 0` closes the recursion
of p whatever the gradients remember:

.. math::
   p = \beta_1(\alpha p - \eta U^2) \quad\Rightarrow\quad
   \rho = \eta^2U^2\frac{1+\alpha\beta_1}{(1-\alpha^2)(1-\alpha\beta_1)}, \qquad
   \cos\theta = \frac{\alpha+\beta_1}{1+\alpha\beta_1}

The angle is that of noise. U comes from :math:`c = \cos^2(W, s)`, the share of the signal that tangency takes away:

.. math::
   U^2 = \frac{q(1-k^2c) + Q(1-c)}{1-k^2c}, \qquad
   Q = \frac{2q\beta_1\gamma k^2}{1-\beta_1\gamma}(1-K), \qquad K = \frac{1-\alpha^2}{(1-\alpha\gamma)(1+\alpha\beta_1)}

.. math::
   (R+qk^2+Q)\,c^2 - (q+Q+2R)\,c + R = 0, \qquad
   R = \frac{\gamma^2(1-\beta_1)^2k^2}{(1-\beta_1\gamma)^2}\,\frac{K(1-\alpha\beta_1)}{1-\alpha\gamma}

Derivation: the means of W s, m s, m W and m m close in the stationary state of a large matrix, where
:math:`g = h - W\langle Wh\rangle/\rho`.

**Free gradients** (weights that are not scale-invariant, h independent of W): the weights follow the signal, and
`theory.stationary` applies with

.. math::
   c_0 = U^2 = \frac q{1+S}\left[1 + S\,\frac{1+\beta_1\gamma}{1-\beta_1\gamma}\right], \qquad
   S(\alpha) = \frac q{1+S}\left[\frac{\beta_1}{1-\alpha\beta_1} + S\,
   \frac{\gamma+\beta_1-\alpha\beta_1\gamma(1+\beta_1\gamma)}{(1-\beta_1\gamma)(1-\alpha\gamma)(1-\alpha\beta_1)}\right]

**Limits**: :math:`S\to0` or :math:`\gamma\to0` is noise alone, in both. A signal that is short against the relaxation
has c = 0 and the same U in both: at most :math:`(1+\beta_1)/(1-\beta_1)` in :math:`\rho`, a factor 4.4 in the RMS at
0.9. A signal that never turns takes free weights to :math:`\mathrm{RMS} = k/\lambda` as :math:`\eta\lambda\to0`, the
often quoted :math:`1/\lambda`; tangent weights turn until they lie along it and the signal is gone.

Where it fails: while the norm moves, c has not settled; put the measured U into `theory.adamw`. Both are exact at
:math:`\beta_2\to1` only: a shorter second moment rises with the signal and falls with it. At the customary (0.9, 0.95)
U is 2 to 14 % below the formula (S from 0.3 to 20, signals of 2 to 1,000 steps; most for signals that last about
:math:`1/(1-\beta_2)`), and the RMS with it; the angle stays within 1.3 % of that of noise and the RMS within 1.2 % of
`theory.adamw` at the U of the run. Derived here; checked in Monte Carlo up to S = 20 and a signal of 200 steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import adamw
from theory.checks import InvalidParameter
from theory.momentum import stationary_update_rms
from theory.stationary import geometric_sum, rate_and_product
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


def derive_free_update() -> sp.Expr:
    r""":math:`U^2` of free gradients: the filter's autocovariance :math:`q\beta_1^{|k|}` summed against that of h."""
    beta1, gamma, snr = positive("beta_1 gamma S")
    signal = 1 + 2 * (geometric_sum(beta1 * gamma) - 1)
    return sp.factor((1 - beta1) / (1 + beta1) * (1 + snr * signal) / (1 + snr))


def derive_free_sum() -> sp.Expr:
    r""":math:`S(\alpha)` of free gradients. The signal's part of m has lags :math:`A\gamma^k + B\beta_1^k`."""
    alpha, beta1, gamma, snr = positive("alpha beta_1 gamma S")
    q = (1 - beta1) / (1 + beta1)
    overlap = (1 - beta1) * geometric_sum(
        beta1 * gamma
    )  # <m_t s_t>; c_{k+1} = beta_1 c_k + (1-beta_1) gamma^(k+1) that
    slow = (1 - beta1) * gamma * overlap / (gamma - beta1)
    fast = q * (2 * geometric_sum(beta1 * gamma) - 1) - slow
    signal = slow * gamma * geometric_sum(alpha * gamma) + fast * beta1 * geometric_sum(alpha * beta1)
    noise = q * beta1 * geometric_sum(alpha * beta1)
    return sp.factor(sp.cancel((noise + snr * signal) / (1 + snr)))


def derive_tangent() -> dict[str, sp.Expr]:
    """Tangent gradients: ``rho`` and ``p`` given U2; ``U2``, and ``quadratic``, which vanishes at the right ``c``.

    In units in which eta = 1 and <h^2> = 1; U2 is <m^2>, and ``k`` the root of S/(1+S).
    """
    alpha, beta1, gamma = positive("alpha beta_1 gamma")
    c, k, square, rho, p = sp.symbols("c k U2 rho p")
    closed = sp.solve(
        [sp.Eq(p, beta1 * (alpha * p - square)), sp.Eq(rho, alpha**2 * rho - 2 * alpha * p + square)],
        [rho, p],
        dict=True,
    )[0]
    overlap, along = sp.symbols("overlap along")  # <m s>, <W s>; s of unit variance
    signal = sp.solve(
        [
            sp.Eq(overlap, beta1 * gamma * overlap + (1 - beta1) * k * (1 - c)),
            sp.Eq(along, gamma * (alpha * along - overlap)),
        ],
        [overlap, along],
        dict=True,
    )[0]
    # <m_{t-1} g_t>, with <m_{t-1} W_t> = p / beta_1; p / rho does not depend on U2
    before = k * gamma * signal[overlap] - k * signal[along] * sp.cancel(closed[p] / closed[rho]) / beta1
    found = ((1 - beta1) ** 2 * (1 - k**2 * c) + 2 * beta1 * (1 - beta1) * before) / (1 - beta1**2)
    quadratic = sp.cancel(c * closed[rho].subs(square, found) - signal[along] ** 2)
    return {"rho": closed[rho], "p": closed[p], "U2": sp.factor(found), "quadratic": quadratic}


def derive_persistent_limit() -> sp.Expr:
    r"""RMS of free weights times lambda, for gamma to 1 and then eta*lam to 0."""
    alpha, gamma, x = positive("alpha gamma x")
    lagged, square = (expression.subs(gamma, 1) for expression in (derive_free_sum(), derive_free_update()))
    reduced = ((square + 2 * alpha * lagged) / (1 - alpha**2)).subs(alpha, 1 - x)  # rho/eta^2
    return sp.sqrt(sp.factor(sp.limit(sp.cancel(reduced * x**2), x, 0, "+")))


def alignment(product: ArrayLike, beta1: ArrayLike, snr: ArrayLike, persistence: ArrayLike) -> Array:
    r""":math:`c = \cos^2(W, s)` under tangent gradients, at ``product`` = :math:`\eta\lambda`.

    ``snr`` is S, at least 0; ``persistence`` is gamma, in [0, 1]. All arguments broadcast.
    """
    q, big_q, big_r, signal = _tangent(product, beta1, snr, persistence)
    linear = q + big_q + 2 * big_r
    quadratic = big_r + q * signal + big_q
    return 2 * big_r / (linear + np.sqrt(linear**2 - 4 * quadratic * big_r))


def tangent_update_rms(product: ArrayLike, beta1: ArrayLike, snr: ArrayLike, persistence: ArrayLike) -> Array:
    """U, in units of the RMS of the tangent gradient; arguments as in `alignment`."""
    q, big_q, _, signal = _tangent(product, beta1, snr, persistence)
    c = alignment(product, beta1, snr, persistence)
    return np.sqrt(q + big_q * (1 - c) / (1 - signal * c))


def equilibrium_rms(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    snr: ArrayLike,
    persistence: ArrayLike,
    tangent: bool = True,
) -> Array:
    """Weight RMS at equilibrium with a signal in tangent gradients, or in free ones."""
    rate, x = rate_and_product(learning_rate, weight_decay)
    if tangent:
        update_rms = tangent_update_rms(x, beta1, snr, persistence)
        return adamw.equilibrium_rms(learning_rate, weight_decay, beta1, update_rms=update_rms)
    square, lagged = _free(x, beta1, snr, persistence)
    return rate * np.sqrt((square + 2 * (1 - x) * lagged) / (x * (2 - x)))


def angular_update_equilibrium(
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    beta1: ArrayLike = 0.9,
    *,
    snr: ArrayLike,
    persistence: ArrayLike,
    tangent: bool = True,
) -> Array:
    """Angle per step at equilibrium in radians; under tangent gradients that of noise."""
    _, x = rate_and_product(learning_rate, weight_decay)
    square, lagged = _free(x, beta1, snr, persistence)
    if tangent:
        return adamw.angular_update_equilibrium(learning_rate, weight_decay, beta1) * np.ones_like(square)
    rho = (square + 2 * (1 - x) * lagged) / (x * (2 - x))  # in units of the squared rate
    return np.arctan2(np.sqrt(rho * square - lagged**2), (1 - x) * rho + lagged)


def _free(product: Array, beta1: ArrayLike, snr: ArrayLike, persistence: ArrayLike) -> tuple[Array, Array]:
    r""":math:`U^2` and :math:`S(\alpha)` of free gradients."""
    b, ratio, g = _arguments(beta1, snr, persistence)
    q, a = stationary_update_rms(b) ** 2 / (1 + ratio), 1 - product
    square = q * (1 + ratio * (1 + b * g) / (1 - b * g))
    signal = (g + b - a * b * g * (1 + b * g)) / ((1 - b * g) * (1 - a * g) * (1 - a * b))
    return square, q * (b / (1 - a * b) + ratio * signal)


def _tangent(
    product: ArrayLike, beta1: ArrayLike, snr: ArrayLike, persistence: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """q, Q, R and k^2 of the module's docstring."""
    b, ratio, g = _arguments(beta1, snr, persistence)
    x = np.asarray(product, dtype=np.float64)
    a, q, signal = 1 - x, stationary_update_rms(b) ** 2, ratio / (1 + ratio)
    big_k = x * (2 - x) / ((1 - a * g) * (1 + a * b))
    big_q = 2 * q * b * g * signal / (1 - b * g) * (1 - big_k)
    big_r = (g * (1 - b) / (1 - b * g)) ** 2 * signal * big_k * (1 - a * b) / (1 - a * g)
    return q, big_q, big_r, signal


def _arguments(beta1: ArrayLike, snr: ArrayLike, persistence: ArrayLike) -> tuple[Array, Array, Array]:
    b, ratio, g = (np.asarray(value, dtype=np.float64) for value in (beta1, snr, persistence))
    if not np.all((b >= 0) & (b < 1)):
        raise InvalidParameter("beta1", beta1, "at least 0 and below 1")
    if not np.all((ratio >= 0) & np.isfinite(ratio)):
        raise InvalidParameter("snr", snr, "a finite number of at least 0")
    if not np.all((g >= 0) & (g <= 1)):
        raise InvalidParameter("persistence", persistence, "between 0 and 1")
    return b, ratio, g


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
