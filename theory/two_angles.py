r"""The loss of a short real run, in two angles: that of the block matrices and that of the embeddings.

Embeddings feel no decay, so their own norm grows and their steps turn them ever less. What they make learnable comes
in their angle, the block matrices learn it in theirs, and the noise that both leave blurs what has been learned.

.. math::
   L = L_0 - G\,e^{-\nu}\sum_t \Delta H_t\,\Big[1 - \Big(1+\frac{S_t}{B}\Big)^{-1/3}\Big], \qquad
   \nu = C\sum_t\frac{\theta_t^2}{S_t} + c\sum_t\frac{\varphi_t^2}{\Phi_t}

.. math::
   H_t = \frac{x_t^{5/2}}{\psi_h^{5/2} + x_t^{5/2}}, \qquad
   x_t = \psi_t - D_t\big(1-e^{-\psi_t/D_t}\big), \qquad
   D_t = \delta\,\big(1-e^{-E_t/E_0}\big), \qquad
   E_t = \sum_{j\le t}\frac{\theta_j}{\big(1+(\psi_j/\psi_h)^{5/2}\big)^3}

Legend: :math:`\theta_t` angle of the block matrices in step t, :math:`S_t` what is still to come of it, half of the
step's own included; :math:`s_t` learning rate of all other parameters over its peak,
:math:`\varphi_t = s_t/\sqrt{\tau_0+\sum_{j\le t}s_j^2}` their angle, :math:`\psi_t` its sum up to t and :math:`\Phi_t`
what is still to come; H the share of the gain G that they have made learnable; :math:`L_0` the loss of a run whose
blocks learn nothing.

* **Learning.** A mode of curvature k has :math:`e^{-kS}` of what arrived left to learn after S radians. With
  curvatures spread like a gamma distribution, a power law below 1/B, the mean is :math:`(1+S/B)^{-1/3}`.
* **Noise.** A step kicks a mode by an amount like its angle, and what is left of the kick after S radians is
  :math:`e^{-2kS}` of its variance. Modes of all curvatures alike give the kernel 1/S, which has no scale of its own.
* **Blur.** A Gaussian scatter of the phase of a feature multiplies its mean by :math:`e^{-\sigma^2/2}` (Debye and
  Waller). So the loss of noise is bounded by what has been learned.
* **The angle of the embeddings.** Adam's steps of RMS near the rate add up to a squared RMS that grows by the squared
  rate, as in `theory.growth`: :math:`\tau_0` is the number of steps at the peak that add as much as there was.
* **Lag.** What has arrived follows :math:`\psi` with the relaxation D. Angles made before there is anything to learn
  turn the first configuration away, the share :math:`e^{-E/E_0}` of it stays, and what was spoilt makes the lag.

**What follows** (derived here). A constant angle for T steps has the noise :math:`\nu = C\theta\,(\ln T + 1.96)`, a
line from :math:`\theta_0` to 0 has :math:`2C\theta_0`, at any length. Where S is large, noise small and everything
arrived, the best angle goes like :math:`T^{-1/4}`, and the best constant rate is
:math:`[2/(\ln T+1.96)\cdot 2^{-1/3}]^{3/4}` of the best one under a line: ln -1.33 at 1,600 steps, -1.38 at 3,200.

Assumptions: the exponents are chosen and the constants measured on one model (`docs/angle-law`); the peak rate of the
other parameters and all else about them are those of the fit. :math:`\tau_0` is fitted, 50 steps: embeddings that start
at twice their rate would have 4 by white noise, gains 10,000, and neither turns as evenly as :math:`\varphi`. Only one
schedule of the other parameters beside the line was seen, and the block matrices were constant with it, so the two
terms of the noise are told apart by their form alone. Where it fails: far from the lengths of the fit, since H ends at
1; at 1,600 steps and small angles, where the best rates of AdamH and AdamW lie above it (`docs/small-starts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.final_loss import TINY, FinalLossLaw, lagged, to_come
from theory.symbolic import positive, sp

Array = NDArray[np.float64]

LEARNING, ARRIVAL, UNREADY = 1 / 3, 2.5, 3.0  # the exponents above


@dataclass(frozen=True, kw_only=True)
class TwoAngleLaw(FinalLossLaw):
    """The law above.

    ``start`` is L_0, ``gain`` G in nats; ``angle_scale`` B and ``early_angle`` E_0 in radians of the block matrices;
    ``blur`` C per such radian, ``other_blur`` c per radian of the others; ``growth_steps`` tau_0; ``half_angle`` psi_h
    and ``lag`` delta in radians of the others.
    """

    start: float
    gain: float
    angle_scale: float
    blur: float
    other_blur: float
    growth_steps: float
    half_angle: float
    lag: float
    early_angle: float

    def _loss(self, angles: Array, multipliers: Array) -> Array:
        turned = other_angles(multipliers, self.growth_steps)
        clock = np.cumsum(turned, axis=0)
        unready = (1 + (clock / self.half_angle) ** ARRIVAL) ** -UNREADY
        spoilt = -np.expm1(-np.cumsum(angles * unready, axis=0) / self.early_angle)
        progress = (lagged(clock, self.lag * spoilt) / self.half_angle) ** ARRIVAL
        arrived = np.diff(progress / (1 + progress), axis=0, prepend=0.0)
        learned = (arrived * (1 - (1 + to_come(angles) / self.angle_scale) ** -LEARNING)).sum(axis=0)
        noise = self.blur * noise_of(angles) + self.other_blur * noise_of(turned)
        return np.asarray(self.start - self.gain * np.exp(-noise) * learned)


def other_angles(multipliers: Array, growth_steps: float) -> Array:
    """phi of every step in radians, in units in which Adam's direction has a RMS of 1; shapes (num_steps, ...)."""
    return np.asarray(multipliers / np.sqrt(growth_steps + np.cumsum(multipliers**2, axis=0)))


def noise_of(angles: Array) -> Array:
    """The sum of squared angles over angles to come; (num_steps, ...) to (...)."""
    return np.asarray((angles**2 / np.maximum(to_come(angles), TINY)).sum(axis=0))


# Closed forms


def derive_kernels() -> dict[str, sp.Expr]:
    """What is left after S radians: ``learning``, curvatures like a gamma distribution of shape a and scale 1/B;
    ``noise``, of squared kicks, all curvatures alike, with twice their density as unit; ``blur``, the mean of cos of a
    Gaussian scatter of variance sigma^2."""
    S, B, k, a, x, sigma = positive("S B k a x sigma")
    gamma = B**a * k ** (a - 1) * sp.exp(-B * k) / sp.gamma(a)
    normal = sp.exp(-(x**2) / (2 * sigma**2)) / (sp.sqrt(2 * sp.pi) * sigma)
    return {
        "learning": sp.simplify(sp.integrate(gamma * sp.exp(-k * S), (k, 0, sp.oo), conds="none")),
        "noise": sp.integrate(2 * sp.exp(-2 * k * S), (k, 0, sp.oo)),
        "blur": sp.simplify(2 * sp.integrate(sp.cos(x) * normal, (x, 0, sp.oo), conds="none")),
    }


def derive_noise() -> dict[str, sp.Expr]:
    """`noise_of`, of T steps: ``constant`` at theta; ``line``, theta j/T at j = T, ..., 1, in which every step leaves
    the same."""
    theta, T = positive("theta T")
    j, i = sp.symbols("j i", integer=True, positive=True)
    of_step = theta * j / T
    ahead = sp.summation(theta * i / T, (i, 1, j - 1)) + of_step / 2
    return {
        "constant": theta * (sp.digamma(T + sp.Rational(1, 2)) - sp.digamma(sp.Rational(1, 2))),
        "line": sp.summation(sp.simplify(of_step**2 / ahead), (j, 1, T)),
    }


def derive_optimum() -> dict[str, sp.Expr]:
    """The best angle, where S = kappa T theta is far above B and the noise n C theta is small: ``angle``, and
    ``ratio``, that of one schedule (kappa_1, n_1) over that of another (kappa_2, n_2) at equal length."""
    theta, B, a, T, blur, kappa, n = positive("theta B a T C kappa n")
    excess = (kappa * T * theta / B) ** (-a) + n * blur * theta
    (best,) = sp.solve(sp.Eq(sp.expand_power_base(sp.diff(excess, theta)), 0), theta)
    one, two = ({name: sp.Symbol(f"{name}_{i}", positive=True) for name in ("kappa", "n")} for i in (1, 2))
    ratio = best.subs({kappa: one["kappa"], n: one["n"]}) / best.subs({kappa: two["kappa"], n: two["n"]})
    return {"angle": best, "ratio": sp.simplify(ratio)}


def derive_other_angle() -> sp.Expr:
    """psi after T steps at the peak, in continuous time: it goes like the root of the steps."""
    T, tau0, t = positive("T tau_0 t")
    return sp.simplify(sp.integrate(1 / sp.sqrt(tau0 + t), (t, 0, T)))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
