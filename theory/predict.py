"""From a specification to a predicted trajectory: the theory's side of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import adamh, adamw
from theory.momentum import update_variance
from theory.optimizers import AdamH, AdamW, Optimizer
from theory.parameters import InvalidParameter, NoEquilibrium, require_number
from theory.schedules import Schedule
from theory.trajectory import Trajectory, record_steps

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Equilibrium:
    """Where one setting settles at its peak learning rate.

    ``relaxation_steps`` is None for AdamH, whose norm has nothing to forget.
    """

    weight_rms: float
    angular_update: float
    cosine: float
    relaxation_steps: float | None


def equilibrium(optimizer: Optimizer, *, initial_rms: float) -> Equilibrium:
    """Equilibrium at the peak learning rate; ``initial_rms`` matters to AdamH only, which keeps it.

    Raises `NoEquilibrium` for AdamW without weight decay.
    """
    if isinstance(optimizer, AdamH):
        decay = float(adamh.equivalent_decay(optimizer.learning_rate, optimizer.beta1))
        return Equilibrium(
            weight_rms=initial_rms,
            angular_update=float(adamh.angular_update_equilibrium(optimizer.learning_rate, optimizer.beta1)),
            cosine=float(adamw.cosine_equilibrium(decay, 1.0, optimizer.beta1)),
            relaxation_steps=None,
        )
    setting = (optimizer.learning_rate, optimizer.weight_decay)
    return Equilibrium(
        weight_rms=float(adamw.equilibrium_rms(*setting, optimizer.beta1)),
        angular_update=float(adamw.angular_update_equilibrium(*setting, optimizer.beta1)),
        cosine=float(adamw.cosine_equilibrium(*setting, optimizer.beta1)),
        relaxation_steps=float(adamw.relaxation_steps(*setting)),
    )


def predict_trajectory(
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    initial_rms: ArrayLike,
    matrices: Sequence[str] = ("matrix",),
    record_every: int = 1,
) -> Trajectory:
    """The trajectory that noise alone would give, by the exact second-moment recursion.

    Parameters
    ----------
    initial_rms : weight RMS at the start, above 0; scalar or (num_matrices,).
    matrices : names, one per matrix.
    record_every : thinning; the last step is always recorded.

    Raises
    ------
    InvalidParameter : an initial RMS that is not a positive number.
    """
    initial = np.broadcast_to(_positive("initial_rms", initial_rms), (len(matrices),))
    keep = record_steps(schedule.num_steps, record_every)
    rates = optimizer.learning_rate * schedule.multipliers()
    columns = (len(keep), len(matrices))
    if isinstance(optimizer, AdamH):
        s = update_variance(keep, optimizer.beta1)
        c = adamh.cosines(rates, optimizer.beta1, optimizer.beta2)[keep]
        angle = np.arctan2(rates[keep] * np.sqrt(1 - c**2), 1 - rates[keep] * c)
        return Trajectory(
            steps=keep,
            matrices=tuple(matrices),
            weight_rms=np.broadcast_to(initial, columns).copy(),
            angular_update=_columns(angle, columns),
            relative_update=_columns(2 * np.sin(angle / 2), columns),
            update_rms=_columns(np.sqrt(s), columns),
            cosine=_columns(c, columns),
        )
    rho, p, s = adamw.moments(rates[:, None], optimizer.weight_decay, optimizer.beta1, optimizer.beta2, initial)
    rho, p, s_column, eta = rho[keep], p[keep], s[keep, None], rates[keep, None]
    shrink = eta * optimizer.weight_decay
    return Trajectory(
        steps=keep,
        matrices=tuple(matrices),
        weight_rms=np.sqrt(rho),
        angular_update=np.arctan2(eta * np.sqrt(rho * s_column - p**2), (1 - shrink) * rho - eta * p),
        relative_update=np.sqrt(shrink**2 + (2 * shrink * eta * p + eta**2 * s_column) / rho),
        update_rms=_columns(np.sqrt(s[keep]), columns),
        cosine=p / np.sqrt(rho * s_column),
    )


def final_rms(optimizer: Optimizer, schedule: Schedule, *, initial_rms: float) -> float:
    """Weight RMS after the last step (a `Trajectory` holds the one before it)."""
    initial = float(_positive("initial_rms", initial_rms))
    if isinstance(optimizer, AdamH):
        return initial
    rates = optimizer.learning_rate * schedule.multipliers()
    rho, _, _ = adamw.moments(rates, optimizer.weight_decay, optimizer.beta1, optimizer.beta2, initial)
    return float(np.sqrt(rho[-1]))


def num_relaxations(optimizer: Optimizer, schedule: Schedule) -> float | None:
    r"""Relaxation times that fit in the run, :math:`2\lambda\sum_t\eta_t`; None for AdamH."""
    if isinstance(optimizer, AdamH):
        return None
    decay = schedule.kappa(
        schedule.num_steps, learning_rate=optimizer.learning_rate, weight_decay=optimizer.weight_decay
    )
    return 2 * float(decay)


def transient_steps(weight_rms: Array, equilibrium_rms: float, *, peak_end: int, tolerance: float = 0.05) -> int | None:
    """First step after which the RMS stays within ``tolerance`` of its equilibrium; None if it never gets there.

    Parameters
    ----------
    weight_rms : (num_steps + 1,) RMS before each step and after the last.
    equilibrium_rms : equilibrium at the peak learning rate.
    peak_end : step at which the learning rate begins to decay. "Stays" is asked up to there: a decaying rate
        takes the norm away from the equilibrium of the peak again. A norm that is not there by then counts from
        the first step at which it is.
    """
    require_number("tolerance", tolerance, above=0, below=1)
    inside = np.abs(weight_rms / equilibrium_rms - 1) <= tolerance
    held = inside[: peak_end + 1]
    if held[-1]:
        outside = np.flatnonzero(~held)
        return int(outside[-1]) + 1 if len(outside) else 0
    later = np.flatnonzero(inside[peak_end + 1 :])
    return peak_end + 1 + int(later[0]) if len(later) else None


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The closed form for one setting, under the project's names; None where a quantity does not exist."""

    equilibrium_rms: float
    relaxation_steps: float | None
    num_relaxations: float | None
    transient_steps: int | None
    reaches_equilibrium: bool
    angular_update_equilibrium: float
    adamh_learning_rate: float
    final_rms: float
    final_angular_update: float


def predict(optimizer: Optimizer, schedule: Schedule, *, initial_rms: float, tolerance: float = 0.05) -> Prediction:
    """Equilibrium, transient and end of one run.

    Raises
    ------
    NoEquilibrium : AdamW with zero weight decay.
    InvalidParameter : ``initial_rms`` not above 0, ``tolerance`` outside (0, 1).
    """
    initial = float(_positive("initial_rms", initial_rms))
    require_number("tolerance", tolerance, above=0, below=1)
    settled = equilibrium(optimizer, initial_rms=initial)
    trajectory = predict_trajectory(optimizer, schedule, initial_rms=initial)
    last = final_rms(optimizer, schedule, initial_rms=initial)
    transient = transient_steps(
        np.append(trajectory.weight_rms[:, 0], last),
        settled.weight_rms,
        peak_end=schedule.peak_end,
        tolerance=tolerance,
    )
    return Prediction(
        equilibrium_rms=settled.weight_rms,
        relaxation_steps=settled.relaxation_steps,
        num_relaxations=num_relaxations(optimizer, schedule),
        transient_steps=transient,
        reaches_equilibrium=transient is not None,
        angular_update_equilibrium=settled.angular_update,
        adamh_learning_rate=settled.angular_update,
        final_rms=last,
        final_angular_update=float(trajectory.angular_update[-1, 0]),
    )


def _positive(name: str, value: ArrayLike) -> Array:
    array = np.asarray(value, dtype=np.float64)
    if not np.all(np.isfinite(array) & (array > 0)):
        raise InvalidParameter(name, value, "a finite number above 0")
    return array


def _columns(values: Array, shape: tuple[int, int]) -> Array:
    return np.repeat(values[:, None], shape[1], axis=1)


__all__ = [
    "AdamW",
    "Equilibrium",
    "NoEquilibrium",
    "Prediction",
    "equilibrium",
    "final_rms",
    "num_relaxations",
    "predict",
    "predict_trajectory",
    "transient_steps",
]
