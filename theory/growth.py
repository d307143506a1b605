r"""Without weight decay, or from zero: what happens where `theory.predict` has no equilibrium or no start.

Without decay the squared RMS grows by what each step adds,

.. math::
   \rho_t = \rho_0 + D\sum_{i<t}\eta_i^2 \;\text{ (slow limit)}, \qquad
   \mathrm{RMS} \to \eta\sqrt{Dt}, \qquad \theta \to \sqrt{c_0/(Dt)}

Legend: as in `theory.stationary`; D the sum of the autocovariance of the update over all lags, 1 for Adam. The angle
falls like one over the root of the steps whatever the learning rate. SGDM's update falls as the norm grows, so that its
RMS grows like the fourth root.

Weights of zero have no direction: their first step has no angle. After it they are as weights that started from very
little, since what a start contributes is :math:`\rho_0`. On the sphere, and where the gradient goes like one over the
norm, there is no such start.

Derivation: `theory.stationary` with :math:`\lambda\to0` (`stationary.derive_limits`, "growth").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from theory.checks import InvalidParameter
from theory.models import Decoupled, OnSphere
from theory.networks import model_of
from theory.optimizers import SGDM, Optimizer, pytorch_decay
from theory.predict import final_rms, predict_trajectory
from theory.schedules import ScheduleLike, as_schedule

FROM_ZERO = 1e-20  # RMS that stands for weights of zero: its square is lost beside one step


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A run without decay.

    exponent : of the steps, with which the RMS grows in the end. rms_per_growth : RMS at the peak rate over the steps
    to that exponent, None where no closed form is here. outgrown_steps : steps at the peak rate in which what they add
    is as much as the start, None likewise. final_rms, final_angular_update : after and at the last step.
    """

    exponent: float
    rms_per_growth: float | None
    outgrown_steps: float | None
    final_rms: float
    final_angular_update: float


def grow(optimizer: Optimizer, schedule: ScheduleLike, *, initial_rms: float, **model: Any) -> Growth:
    """What a run without decay does; the keywords are those of `theory.networks.model_of`.

    Raises `InvalidParameter` for an optimizer on the sphere or with decay.

    Examples
    --------
    Adam without decay at a constant rate: 1e-3 per root step, from step 400 on.

    >>> from theory import AdamW, Constant
    >>> run = grow(AdamW(learning_rate=1e-3, weight_decay=0.0), Constant(num_steps=10_000), initial_rms=0.02)
    >>> print(f"{run.rms_per_growth:.4f} {run.outgrown_steps:.0f} {run.final_rms:.4f}")
    0.0010 400 0.1020
    """
    schedule, found = as_schedule(schedule), model_of(optimizer, **model)
    if isinstance(found, OnSphere) or pytorch_decay(optimizer):
        raise InvalidParameter("optimizer", optimizer.name, "one without weight decay whose norm is not held")
    last = predict_trajectory(optimizer, schedule, initial_rms=initial_rms, record_every=schedule.num_steps, **model)
    per_step = outgrown = None
    if isinstance(found, Decoupled):
        per_step = optimizer.learning_rate * float(np.sqrt(found.autocovariance().total))
        outgrown = (initial_rms / per_step) ** 2 if initial_rms > FROM_ZERO else 0.0
    return Growth(
        exponent=0.25 if isinstance(optimizer, SGDM) else 0.5,
        rms_per_growth=per_step,
        outgrown_steps=outgrown,
        final_rms=final_rms(optimizer, schedule, initial_rms=initial_rms, **model),
        final_angular_update=float(last.angular_update[-1, 0]),
    )


def start_of(optimizer: Optimizer, initial_rms: float, **model: Any) -> float:
    """``initial_rms``, or for 0 what stands for it; raises `InvalidParameter` where weights of zero cannot start."""
    if initial_rms != 0:
        return initial_rms
    found = model_of(optimizer, **model)
    if isinstance(found, OnSphere):
        raise InvalidParameter(
            "initial_rms", 0.0, f"above 0: {optimizer.name} keeps the norm, and zero has no direction"
        )
    if not isinstance(found, Decoupled):
        raise InvalidParameter("initial_rms", 0.0, "above 0: the theory has gradients, or steps, over the norm")
    return FROM_ZERO


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
