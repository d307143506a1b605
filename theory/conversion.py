r"""From one optimizer to another with the same angles: the schedule that makes each step turn as far.

What is converted is the whole path :math:`\theta_t`, transient included, and not only the rate at equilibrium.

1. The source's angles follow from its recursion (`theory.predict`): learning rates, decay, betas and the initial RMS.
2. The target's rate is found step by step: at step t its norm and the part of W along its update are known from the
   steps before, and the angle of a step is an increasing function of its rate that can be inverted in closed form
   (`theory.driven.sphere_rates`, `theory.driven.decoupled_rates`).

On the sphere (AdamH, MuonH) the norm is a constant, so that the rates are the implicit schedule that the source's norm
made of its own. Under decoupled decay (AdamW, Lion, SignSGDM, Muon) the rates also have to outweigh the norm that they
make, and there is one more freedom: the decay. By default it is the one with which the target settles at the RMS of the
source, at the angle of the source's peak rate:

.. math::
   \theta(x) = \theta^*, \qquad \eta f(x) = \mathrm{RMS}^*, \qquad \lambda = x/\eta

Legend: :math:`x = \eta\lambda`; :math:`\theta(x)` and :math:`\eta f(x)` angle and RMS at equilibrium of the target
(`theory.stationary`); a star marks the source's, whose RMS on the sphere is its initial one.

**Limits**: between two decoupled optimizers whose updates have the same autocovariance, at equal decay and RMS, it is
the identity. At equilibrium and constant rate AdamW becomes AdamH at `theory.adamh.matching_learning_rate`.

Where it fails: where the prediction of the angles does (`theory.models`): gradients that are no white noise, weights
that are not scale-invariant. An angle above that of a step straight along the update, which only a small start or a
long momentum asks for, is refused. A whole network has one angle schedule here; matrices that start at several RMS have
several. Derived here; for the rule without a transient see `theory.effective_lr`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import driven, stationary
from theory.checks import InvalidParameter, require_magnitude
from theory.models import Decoupled, FedBack, OnSphere, model_of
from theory.momentum import startup_steps
from theory.optimizers import AdamC, Optimizer
from theory.predict import equilibrium, predict_trajectory
from theory.roots import solve_rising
from theory.schedules import ScheduleLike, Tabulated, as_schedule

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The target and its schedule.

    optimizer : with the peak rate of the new schedule. schedule : its multipliers at every step. initial_rms : that the
    target has to start from. matching_learning_rate : the rate that turns at equilibrium like the source at its peak,
    None where there is none. angles : (num_steps,) those of the source, radians. largest_angle_error : largest relative
    difference between the two predictions after start-up (`first_step`); steps without a turn are not counted.
    unconverted_angle_error : the same for the matching rate under the source's own schedule.
    """

    optimizer: Optimizer
    schedule: Tabulated
    initial_rms: float
    matching_learning_rate: float | None
    angles: Array
    first_step: int
    largest_angle_error: float
    unconverted_angle_error: float | None


def convert(
    source: Optimizer,
    schedule: ScheduleLike,
    target: Optimizer,
    *,
    initial_rms: float,
    target_initial_rms: float | None = None,
    keep_decay: bool = True,
    angles: ArrayLike | None = None,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
) -> Conversion:
    """The schedule under which ``target`` turns like ``source``.

    Parameters
    ----------
    target : its betas, convention of decay and the like are kept, its learning rate is not; its decay if
        ``keep_decay``, else that of the module's rule, or 0 where the source has no equilibrium.
    initial_rms, target_initial_rms : of the weights at the start, above 0; the target's is the source's by default.
    angles : (num_steps,) those of the source in radians, in [0, pi/2), where more is known of them than white noise
        tells, as from a run; predicted by default. ``largest_angle_error`` then refers to them.
    finite_beta2, gradient_rms, shape : see `theory.models.model_of`.

    Raises
    ------
    InvalidParameter : an optimizer whose update depends on its norm (SGDM, Adam with L2) or whose decay depends on its
        peak (AdamC) as target, an angle out of its reach, or what `predict_trajectory` refuses.

    Examples
    --------
    A small start: AdamW's norm grows and its angle falls, all at one learning rate. AdamH needs the schedule.

    >>> from theory import AdamH, AdamW, Constant
    >>> source, schedule = AdamW(learning_rate=1e-3, weight_decay=0.1), Constant(num_steps=20_000)
    >>> found = convert(source, schedule, AdamH(learning_rate=1.0), initial_rms=0.02)
    >>> rates = found.optimizer.learning_rate * found.schedule.multipliers()
    >>> [f"{rate:.5f}" for rate in rates[[0, 10, 100, 1000, 19_999]]], f"{found.matching_learning_rate:.5f}"
    (['0.05001', '0.01561', '0.01024', '0.00651', '0.00327'], '0.00325')
    >>> found.largest_angle_error < 1e-9
    True
    """
    schedule = as_schedule(schedule)
    model: dict[str, Any] = {"finite_beta2": finite_beta2, "gradient_rms": gradient_rms, "shape": shape}
    start = initial_rms if target_initial_rms is None else target_initial_rms
    require_magnitude("target_initial_rms", start)
    turns = _angles(source, schedule, initial_rms, model) if angles is None else np.asarray(angles, np.float64)
    if turns.shape != (schedule.num_steps,):
        raise InvalidParameter("angles", f"shape {turns.shape}", f"{schedule.num_steps} numbers, one per step")
    product, rms = _settled(source, target, initial_rms, model)
    if not keep_decay and hasattr(target, "weight_decay"):
        target = _with_decay(target, product, rms, model)
    rates = rates_for_angles(target, turns, initial_rms=start, **model)
    peak = float(rates.max())
    steps = tuple(range(len(rates)))
    converted = Tabulated(num_steps=len(rates), steps=steps, values=tuple((rates / peak).tolist()))
    found = replace(target, learning_rate=peak)
    first_step = min(max(startup_steps(source.beta1), startup_steps(target.beta1)), len(rates) - 1)
    error = _largest_error(_angles(found, converted, start, model), turns, first_step)
    matching = None if product is None else _matching_rate(target, product, rms, model)
    unconverted = None
    if matching is not None:
        try:
            plain = _angles(replace(target, learning_rate=matching), schedule, start, model)
            unconverted = _largest_error(plain, turns, first_step)
        except InvalidParameter:  # a rate that goes with no such decay
            unconverted = None
    return Conversion(
        optimizer=found,
        schedule=converted,
        initial_rms=start,
        matching_learning_rate=matching,
        angles=turns,
        first_step=first_step,
        largest_angle_error=error,
        unconverted_angle_error=unconverted,
    )


def rates_for_angles(
    target: Optimizer,
    angles: Array,
    *,
    initial_rms: float,
    finite_beta2: bool = False,
    gradient_rms: float = 1.0,
    shape: tuple[int, int] | None = None,
) -> Array:
    """Learning rates (num_steps,) at which ``target`` turns by ``angles`` (num_steps,), in [0, pi/2) radians.

    Its own learning rate does not matter. Raises `InvalidParameter` as `convert` does.
    """
    turns = np.asarray(angles, dtype=np.float64)
    if not np.all((turns >= 0) & (turns < np.pi / 2)):
        raise InvalidParameter("angles", float(np.max(turns, initial=np.nan)), "at least 0 and below pi/2")
    if isinstance(target, AdamC):
        raise InvalidParameter("target", target.name, "another optimizer: its decay depends on the peak rate")
    found = model_of(target, finite_beta2=finite_beta2, gradient_rms=gradient_rms, shape=shape)
    drive = None if isinstance(found, FedBack) else found.drive(len(turns))
    match found:
        case FedBack():
            raise InvalidParameter("target", target.name, "an optimizer whose update does not depend on the norm")
        case OnSphere():
            assert drive is not None
            rates = driven.sphere_rates(turns, drive)
        case Decoupled():
            assert drive is not None
            decay: float = getattr(target, "weight_decay", 0.0)
            held = {"share": decay} if _independent(target) else {"weight_decay": decay}
            rates = driven.decoupled_rates(turns, drive, initial_rms, **held)
        case _:
            assert_never(found)
    bad = np.flatnonzero(~(rates >= 0))
    if len(bad):
        step = int(bad[0])
        raise InvalidParameter("angles", float(turns[step]), f"within reach of {target.name} at step {step}")
    return rates


def _angles(optimizer: Optimizer, schedule: ScheduleLike, initial_rms: float, model: dict[str, Any]) -> Array:
    return predict_trajectory(optimizer, schedule, initial_rms=initial_rms, **model).angular_update[:, 0]


def _settled(
    source: Optimizer, target: Optimizer, initial_rms: float, model: dict[str, Any]
) -> tuple[float | None, float]:
    r""":math:`\eta\lambda` of the decoupled run that turns like the source at its peak, with the target's update; and
    the RMS of the source there. None where the source has no equilibrium, or the target turns less at any decay."""
    if hasattr(source, "weight_decay") and not source.weight_decay:
        return None, initial_rms
    settled = equilibrium(source, initial_rms=initial_rms, **model)
    found = model_of(_bare(target), **model)
    if isinstance(found, FedBack):
        return None, settled.weight_rms
    autocovariance = found.autocovariance()

    def turn(y: Array) -> Array:
        return stationary.angular_update_equilibrium(autocovariance, 1.0, np.minimum(y, 1 - 1e-15))

    product = float(solve_rising(turn, settled.angular_update))
    return (product if product < 1 else None), settled.weight_rms


def _with_decay(target: Optimizer, product: float | None, rms: float, model: dict[str, Any]) -> Optimizer:
    """The target with the decay of the module's rule."""
    if product is None:
        return _bare(target)
    if _independent(target):
        return _changed(target, weight_decay=product)
    rate = rms / _rms_per_rate(target, product, model)
    return _changed(target, learning_rate=rate, weight_decay=product / rate)  # both: one may not go with the old other


def _matching_rate(target: Optimizer, product: float, rms: float, model: dict[str, Any]) -> float | None:
    found = model_of(_bare(target), **model)
    if isinstance(found, OnSphere):
        return float(stationary.sphere_learning_rate(found.autocovariance(), product))
    decay: float = getattr(target, "weight_decay", 0.0)
    if not _independent(target):
        return product / decay if decay else None
    # Whatever the rate, this decay makes this angle and no other.
    return rms / _rms_per_rate(target, product, model) if np.isclose(decay, product, rtol=1e-6) else None


def _rms_per_rate(target: Optimizer, product: float, model: dict[str, Any]) -> float:
    found = model_of(_bare(target), **model)
    assert isinstance(found, Decoupled)
    return float(stationary.equilibrium_rms(found.autocovariance(), 1.0, product))


def _bare(target: Optimizer) -> Optimizer:
    """Without decay: what its update alone says."""
    return _changed(target, weight_decay=0.0) if hasattr(target, "weight_decay") else target


def _changed(target: Optimizer, **values: float) -> Optimizer:
    spec: Any = target
    changed: Optimizer = replace(spec, **values)
    return changed


def _independent(target: Optimizer) -> bool:
    return getattr(target, "decay", "pytorch") == "independent"


def _largest_error(angles: Array, wanted: Array, first_step: int) -> float:
    later, asked = angles[first_step:], wanted[first_step:]
    turning = asked > 0
    return float(np.max(np.abs(later[turning] / asked[turning] - 1), initial=0.0))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
