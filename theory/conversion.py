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

**What is known of the source.** On the sphere a tangent gradient adds nothing to :math:`\langle Wu\rangle`, whatever
gradients remember: the cosine is carried on from the step before, and the rate makes the angle. So a target on the
sphere turns as it is asked to (in real runs within 0.2 %, `docs/conversion`), and what a conversion misses is what the
prediction of the source missed. Under decoupled decay, away from equilibrium, the angle goes with U, the RMS of the
direction: smaller than in white noise where gradients swing (`theory.valley`), larger where a signal lasts, as at the
start of training. ``network`` has a ratio for that, or one for each step, and the second moment's memory of another
norm (`theory.networks`); ``angles`` of a run leave nothing to predict.

Where it fails: where the prediction of the angles does: a ratio that changes along the run; weights that are not
scale-invariant, whose norm does more than set the angle (``gpt2`` is refused). An angle above that of a step straight
along the update, which only a small start or a long momentum asks for, is refused. A whole network has one angle
schedule here; matrices that start at several RMS have several. Derived here; for the rule without a transient see
`theory.effective_lr`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, assert_never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import driven, stationary
from theory.checks import InvalidParameter, require_magnitude
from theory.models import Decoupled, FedBack, OnSphere
from theory.momentum import startup_steps
from theory.networks import (
    GPT2,
    SCALE_INVARIANT,
    WHITE_NOISE,
    InverseNorm,
    Network,
    NetworkLike,
    RadialGradients,
    as_network,
    model_of,
)
from theory.optimizers import AdamC, AdamH, AdamW, Optimizer
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
    network: NetworkLike = WHITE_NOISE,
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
    network : of the source, and of a target that is AdamW; other updates are as large in one network as in another, and
        are taken as those of white noise. ``gpt2`` is refused: there the norm does more than set the angle.

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

    Where gradients swing, AdamW's direction is shorter, and the angle with it until the norm has settled.

    >>> from dataclasses import replace
    >>> from theory.networks import WHITE_NOISE
    >>> swinging = replace(WHITE_NOISE, direction_ratio=0.885)
    >>> found = convert(source, schedule, AdamH(learning_rate=1.0), initial_rms=0.02, network=swinging)
    >>> rates = found.optimizer.learning_rate * found.schedule.multipliers()
    >>> [f"{rate:.5f}" for rate in rates[[0, 10, 100, 1000, 19_999]]]
    ['0.04425', '0.01387', '0.00929', '0.00628', '0.00327']
    """
    network = as_network(network)
    if network.name == GPT2.name:
        raise _not_scale_invariant(network)
    schedule = as_schedule(schedule)
    model: dict[str, Any] = {"finite_beta2": finite_beta2, "gradient_rms": gradient_rms, "shape": shape}
    of_source, model = {**model, "network": network}, {**model, "network": network_of_target(target, network)}
    start = initial_rms if target_initial_rms is None else target_initial_rms
    require_magnitude("target_initial_rms", start)
    turns = _angles(source, schedule, initial_rms, of_source) if angles is None else np.asarray(angles, np.float64)
    if turns.shape != (schedule.num_steps,):
        raise InvalidParameter("angles", f"shape {turns.shape}", f"{schedule.num_steps} numbers, one per step")
    product, rms = _settled(source, target, initial_rms, of_source, model)
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
    network: NetworkLike = WHITE_NOISE,
) -> Array:
    """Learning rates (num_steps,) at which ``target`` turns by ``angles`` (num_steps,), in [0, pi/2) radians.

    Its own learning rate does not matter. ``network`` is that of the target. Raises `InvalidParameter` as `convert`
    does.
    """
    turns = np.asarray(angles, dtype=np.float64)
    possible = (turns >= 0) & (turns < np.pi / 2)
    if not possible.all():
        raise InvalidParameter("angles", float(turns[~possible][0]), "at least 0 and below pi/2")
    if isinstance(target, AdamC):
        raise InvalidParameter("target", target.name, "another optimizer: its decay depends on the peak rate")
    found = model_of(target, network, finite_beta2=finite_beta2, gradient_rms=gradient_rms, shape=shape)
    decay: float = getattr(target, "weight_decay", 0.0)
    held = {"share": decay} if _independent(target) else {"weight_decay": decay}
    match found:
        case FedBack():
            raise InvalidParameter("target", target.name, "an optimizer whose update does not depend on the norm")
        case RadialGradients():
            raise _not_scale_invariant(as_network(network))
        case OnSphere():
            rates = driven.sphere_rates(turns, found.drive(len(turns)))
        case Decoupled():
            rates = driven.decoupled_rates(turns, found.drive(len(turns)), initial_rms, **held)
        case InverseNorm():
            rates = found.rates_for_angles(turns, initial_rms, **held)
        case _:
            assert_never(found)
    bad = np.flatnonzero(~(rates >= 0))
    if len(bad):
        step = int(bad[0])
        raise InvalidParameter("angles", float(turns[step]), f"within reach of {target.name} at step {step}")
    return rates


def _not_scale_invariant(network: Network) -> InvalidParameter:
    return InvalidParameter("network", network.name, f"{WHITE_NOISE.name} or {SCALE_INVARIANT.name} for a conversion")


def network_of_target(target: Optimizer, network: Network) -> Network:
    """What of a source's network acts on the target: all of it on AdamW, on others not the sizes of their updates."""
    if isinstance(target, AdamH):
        return replace(network, gradient_history=None, direction_history=None)  # sizes, which do not act there
    return network if isinstance(target, AdamW) else WHITE_NOISE


def _model_of(optimizer: Optimizer, model: dict[str, Any]) -> Decoupled | OnSphere | FedBack:
    """At constant norm, where the networks of a conversion differ in the size of the update alone."""
    found = model_of(optimizer, **model)
    assert not isinstance(found, RadialGradients)  # refused
    return found.settled if isinstance(found, InverseNorm) else found


def _angles(optimizer: Optimizer, schedule: ScheduleLike, initial_rms: float, model: dict[str, Any]) -> Array:
    return predict_trajectory(optimizer, schedule, initial_rms=initial_rms, **model).angular_update[:, 0]


def _settled(
    source: Optimizer, target: Optimizer, initial_rms: float, of_source: dict[str, Any], model: dict[str, Any]
) -> tuple[float | None, float]:
    r""":math:`\eta\lambda` of the decoupled run that turns like the source at its peak, with the target's update; and
    the RMS of the source there. None where the source has no equilibrium, or the target turns less at any decay."""
    if hasattr(source, "weight_decay") and not source.weight_decay:
        return None, initial_rms
    settled = equilibrium(source, initial_rms=initial_rms, **of_source)
    found = _model_of(_bare(target), model)
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
    found = _model_of(_bare(target), model)
    if isinstance(found, OnSphere):
        return float(stationary.sphere_learning_rate(found.autocovariance(), product))
    decay: float = getattr(target, "weight_decay", 0.0)
    if not _independent(target):
        return product / decay if decay else None
    # Whatever the rate, this decay makes this angle and no other.
    return rms / _rms_per_rate(target, product, model) if np.isclose(decay, product, rtol=1e-6) else None


def _rms_per_rate(target: Optimizer, product: float, model: dict[str, Any]) -> float:
    found = _model_of(_bare(target), model)
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
