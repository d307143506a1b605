r"""The loss of a short real run, in two clocks: block matrices turn by angles, everything else learns in steps.

`theory.angle_law` lets a run be seen through its angles alone. In small real runs that fails: embeddings, gains and
head learn in steps of their own, what they make learnable arrives step by step, and an angle made before it arrives is
spent. So the final loss depends on *when* the angles come.

.. math::
   L = L_0 - G\sum_t \Delta H_t\,\Big[1 - \Big(1 + \frac{S_t}{B}\Big)^{-1/2}\Big]
       + C\,H_T^2\sum_t \frac{\theta_t^2}{S_t^{3/4}}, \qquad S_t = \tfrac12\theta_t + \sum_{j>t}\theta_j

.. math::
   H_t = \frac{x_t^{3/2}}{\tau_h^{3/2} + x_t^{3/2}}, \qquad x_t = \tau_t - D_t\big(1-e^{-\tau_t/D_t}\big), \qquad
   \tau_t = \sum_{j\le t} s_j, \qquad
   D_t = \delta\,\frac{E_t}{E_t + E_0}, \qquad E_t = \sum_{j\le t}\theta_j\,e^{-\tau_j/\tau_e}

Legend: :math:`\theta_t` angle of the block matrices in step t; :math:`S_t` angle still to come; :math:`s_t` learning
rate of all other parameters over its peak, :math:`\tau` the steps at that peak that they have made; H the share of the
gain G that they have made learnable; :math:`L_0` the loss of a run whose blocks learn nothing.

* What arrives at step t is learned as far as the blocks turn from there on: half of it in 3B radians.
* Noise is the angle's own, forgotten as the blocks turn on, and costs the more the more has been learned.
* x lags the clock with the relaxation time D, :math:`dx/d\tau = (\tau - x)/D` at fixed D. Angles in the first
  :math:`\tau_e` steps make the lag: half of the most that there is at :math:`E_0` radians.

**Limits** (derived here). No lag and :math:`\tau_h\to0`: a functional law of `theory.loss_laws` with exponents 1/2 and
3/4, :math:`L_0 - G + G(1+S/B)^{-1/2} + \dots`. At a constant angle the noise is :math:`4C H_T^2\,\theta S^{1/4}`; if it
is small, S below B, the share :math:`S/5B` of what arrives without lag long before :math:`\tau_h` is learned. Without
lag and noise, an angle that is moved to a later step never raises the loss. No angles: :math:`L_0`.

Assumptions: the exponents are chosen, the constants are measured on one model (`docs/angle-law`); the schedule of the
other parameters, and all else about them, is that of the fit. Where it fails: far from the lengths of the fit, since H
ends at 1; in runs so long that what the blocks learn by themselves decides; at a constant rate, where it is refuted
(`docs/schedule-exponent`). `theory.two_angles` has a law that is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theory.final_loss import TINY, FinalLossLaw, lagged, to_come
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TwoClockLaw(FinalLossLaw):
    """The law above; constants above 0, ``lag`` at least 0. Raises `InvalidParameter`.

    ``start`` is L_0, ``gain`` G in nats; ``half_clock`` tau_h, ``lag`` delta and ``early_clock`` tau_e in steps at the
    peak rate of the other parameters; ``angle_scale`` B and ``early_angle`` E_0 in radians; ``noise`` C in nats per
    rad^(5/4).
    """

    start: float
    gain: float
    half_clock: float
    angle_scale: float
    noise: float
    lag: float
    early_angle: float
    early_clock: float

    def _loss(self, angles: Array, multipliers: Array) -> Array:
        clock, ahead = np.cumsum(multipliers, axis=0), to_come(angles)
        early = np.cumsum(angles * np.exp(-clock / self.early_clock), axis=0)
        x = lagged(clock, self.lag * early / (early + self.early_angle))
        progress = (x / self.half_clock) ** 1.5
        ready = progress / (1 + progress)
        learned = 1 - 1 / np.sqrt(1 + ahead / self.angle_scale)
        noise = (angles**2 / np.maximum(ahead, TINY) ** 0.75).sum(axis=0)
        gained = (np.diff(ready, axis=0, prepend=0.0) * learned).sum(axis=0)
        return np.asarray(self.start - self.gain * gained + self.noise * ready[-1] ** 2 * noise)


# Closed forms


def derive_lag() -> sp.Expr:
    """x at tau, from dx/dtau = (tau - x)/D and x = 0 at the start."""
    clock, relaxation = positive("tau D")
    x = sp.Function("x")
    return sp.dsolve(sp.Eq(x(clock).diff(clock), (clock - x(clock)) / relaxation), x(clock), ics={x(0): 0}).rhs


def derive_constant_angle() -> dict[str, sp.Expr]:
    """A constant angle at a constant rate, no lag and tau_h beyond the run, in continuous time.

    ``learned``: the share of what has arrived, H like t^(3/2), that is learned to first order in S/B; ``noise`` over
    H_T^2, in theta, S and C.
    """
    theta, total, B, C = positive("theta S B C")
    done, to_come = positive("z u")  # share of the run, angle still to come
    first_order = sp.series(1 - 1 / sp.sqrt(1 + to_come / B), to_come, 0, 2).removeO()
    arrived = sp.diff(done ** sp.Rational(3, 2), done)
    return {
        "learned": sp.integrate(sp.expand(arrived * first_order.subs(to_come, total * (1 - done))), (done, 0, 1)),
        "noise": C * sp.integrate(theta / to_come ** sp.Rational(3, 4), (to_come, 0, total)),
    }


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
