r"""Second-order statistics of the Adam direction under pure gradient noise.

Model: gradient entries :math:`g_t` independent :math:`N(0, \sigma^2)`. Adam's direction after t + 1 gradients is

.. math:: u_t = \frac{m_t/(1-\beta_1^{t+1})}{\sqrt{v_t/(1-\beta_2^{t+1})}}

For :math:`\beta_2 \to 1` its autocovariance factorises,
:math:`\langle u_s u_t\rangle = s_s \prod_{j=s}^{t-1} r_j` for s <= t, with

.. math::
   s_t = \frac{1-\beta_1}{1+\beta_1}\,\frac{1+\beta_1^{t+1}}{1-\beta_1^{t+1}}, \qquad
   r_t = \beta_1 \frac{1-\beta_1^{t+1}}{1-\beta_1^{t+2}} \frac{A(n_t)}{A(n_{t+1})}, \qquad
   A(n) = \frac{\Gamma(\frac{n+1}{2})}{\Gamma(\frac n2)\sqrt{n/2}}.

Derivation. While :math:`v_t` is a plain mean of n = t + 1 squares, the gradients of one coordinate are a radius
times a point :math:`\omega` uniform on the sphere. Then :math:`u_t^2 = n (a\cdot\omega)^2`, whose mean is
:math:`|a|^2`: dividing by the *estimated* scale does not bias the variance :math:`s_t`. At unequal times the
radii differ: :math:`\langle g_i^2/\sqrt{v_s v_t}\rangle = \langle\sqrt{v_s/v_t}\rangle`, the mean of the root of a
Beta variable, which is :math:`A(n_s)/A(n_t)`. Hence A in :math:`r_t`; it equals :math:`\sqrt{2/\pi}` at the first
step, where u is a sign, and tends to 1.

For :math:`\beta_2 < 1` the number of squares is replaced by the effective number of samples in the average,
:math:`n_t = \frac{1+\beta_2}{1-\beta_2}\frac{1-\beta_2^{t+1}}{1+\beta_2^{t+1}}`. What is left out is of relative
order :math:`1-\beta_2` in the stationary state (`theory.second_moment` has it, exactly), and eps, which gradients
are assumed to exceed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.driven import Drive
from theory.stationary import Autocovariance


def stationary_update_rms(beta1: ArrayLike) -> NDArray[np.float64]:
    r"""RMS of the direction, :math:`\sqrt{(1-\beta_1)/(1+\beta_1)}`: what averaging leaves of unit noise."""
    beta1 = np.asarray(beta1, dtype=np.float64)
    return np.sqrt((1 - beta1) / (1 + beta1))


def update_variance(steps: ArrayLike, beta1: ArrayLike) -> NDArray[np.float64]:
    """:math:`s_t`, the mean square of the direction at 0-based steps, start-up included; 1 at step 0."""
    decayed = np.asarray(beta1, dtype=np.float64) ** (np.asarray(steps, dtype=np.float64) + 1)
    return stationary_update_rms(beta1) ** 2 * (1 + decayed) / (1 - decayed)


def update_carry(steps: ArrayLike, beta1: ArrayLike, beta2: ArrayLike) -> NDArray[np.float64]:
    """:math:`r_t`, the regression of the direction at step t + 1 on that at step t; tends to beta1."""
    beta1 = np.asarray(beta1, dtype=np.float64)
    t = np.asarray(steps, dtype=np.float64)
    started = (1 - beta1 ** (t + 1)) / (1 - beta1 ** (t + 2))
    now, after = (_mean_root(effective_samples(s, beta2)) for s in (t, t + 1))
    return beta1 * started * now / after


def effective_samples(steps: ArrayLike, beta2: ArrayLike) -> NDArray[np.float64]:
    r""":math:`n_t = (\sum b)^2/\sum b^2` of the weights b of the bias-corrected second moment, at 0-based steps."""
    beta2 = np.asarray(beta2, dtype=np.float64)
    remembered = beta2 ** (np.asarray(steps, dtype=np.float64) + 1)
    return (1 + beta2) / (1 - beta2) * (1 - remembered) / (1 + remembered)


def autocovariance(beta1: float) -> Autocovariance:
    r"""Of the direction in the stationary state, :math:`q\beta_1^k`."""
    q = float(stationary_update_rms(beta1)) ** 2
    return Autocovariance(variance=q, amplitudes=np.array([q * beta1]), ratios=np.array([beta1]))


def drive(num_steps: int, beta1: float, beta2: float) -> Drive:
    """The direction as a process from the first gradient on: one mode, entered with s * r and carried on by r.

    Once both averages have forgotten their start, to the last bit, every step is as the one before it: powers are taken
    up to there.
    """
    steps = np.arange(min(num_steps, _forgotten_steps(beta1, beta2) + 1))
    s, r = (
        np.concatenate([values, np.full(num_steps - len(steps), values[-1])])
        for values in (update_variance(steps, beta1), update_carry(steps, beta1, beta2))
    )

    def modes() -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        yield s * r, r

    return Drive(variance=s, modes=modes)


def startup_steps(beta1: float) -> int:
    """Ten memories of the first moment, 10/(1 - beta1): from here on the start of the averages is forgotten."""
    return math.ceil(10 / (1 - beta1) - 1e-9)


def _forgotten_steps(*betas: float) -> int:
    """First step t with beta^(t+1) below 2^-54 for each of them: 1 plus or minus it is 1."""
    slowest = max(betas)
    return math.ceil(54 * math.log(2) / -math.log(slowest)) if slowest > 0 else 0


def _mean_root(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    r""":math:`A(n)`: mean of :math:`\sqrt{\chi^2_n/n}`."""
    from scipy.special import poch

    return poch(samples / 2, 0.5) / np.sqrt(samples / 2)


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
