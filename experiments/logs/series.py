"""Rates, angles and norms along a run, with all matrices as one, and its records as a `Trajectory`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.logs.history import History, Series
from experiments.logs.norms import Norm, each_step, predicted_moments, turns
from experiments.logs.settings import ASSUMED_RMS, Setting
from theory import Optimizer, Trajectory, adamh

Array = NDArray[np.float64]

THINNED = 200  # points of the series in the answer
POOLED = "weights"  # the name of all matrices together


def thinned_series(
    history: History, setting: Setting, optimizer: Optimizer | None, norms: list[Norm], *, decided: bool
) -> tuple[dict[str, list[float | None]], float | None]:
    """Thinned series of the run, matrices pooled, and the root mean square angle.

    decided : whether the decay is known.
    """
    rates = history.learning_rates
    if rates is None or optimizer is None:
        return {}, None
    keep = np.unique(np.linspace(0, len(rates) - 1, THINNED + 1).round().astype(np.int64))
    angles = _pooled(norms, "angles", len(rates))
    predicted, driven = (_pooled(norms, name, len(rates)) for name in ("predicted", "driven"))
    if not norms and decided:
        moments = predicted_moments(setting.model(optimizer), rates, setting.initial_rms or ASSUMED_RMS)
        predicted = np.sqrt(moments.rho[:-1, 0])
        p, s, e, x = each_step(moments)
        angles = turns(moments.rho[:-1, 0], s, p, e, x)
    weights = pooled_weights(history)
    scaled = weights is not None and not any(matrix.norm_only for matrix in history.matrices)
    found: dict[str, Array | None] = {
        "step": keep.astype(np.float64),
        "learning_rate": rates[keep],
        "angular_update": None if angles is None else angles[keep],
        "angular_update_predicted": None,
        "adamh_learning_rate": None,
        "weight_rms": weights.at(keep.astype(np.float64)) if weights is not None and scaled else None,
        "weight_rms_measured_direction": None if driven is None else driven[keep],
        "weight_rms_predicted": None if predicted is None else predicted[keep],
    }
    if norms and (turned := _pooled(norms, "angles_predicted", len(rates))) is not None:
        found["angular_update_predicted"] = turned[keep]
    if angles is not None:
        found["adamh_learning_rate"] = _adamh_rates(angles[keep], getattr(optimizer, "beta1", 0.0))
    mean = None
    if angles is not None and np.isfinite(angles).any():
        mean = float(np.sqrt(np.nanmean(np.square(angles))))
    listed = {name: [_number(one) for one in values] for name, values in found.items() if values is not None}
    return listed, mean


def _adamh_rates(angles: Array, beta1: float) -> Array:
    """AdamH's rate that turns by each angle while it stays the same for 1/(1-beta1) steps; NaN beyond acos(beta1)."""
    return np.where(angles == 0, 0.0, adamh.learning_rate_of_angle(angles, beta1))


def _pooled(norms: list[Norm], name: str, num_steps: int) -> Array | None:
    """Root mean square over matrices by size, (num_steps,), NaN before a start; None where one lacks it."""
    values = [getattr(norm, name) for norm in norms]
    if not values or any(value is None for value in values):
        return None
    total, sizes = np.zeros(num_steps), 0.0
    for norm, value in zip(norms, values, strict=True):
        size = norm.matrix.num_entries or 1.0
        total[: norm.start] = np.nan
        total[norm.start :] += size * np.square(value[: num_steps - norm.start])
        sizes += size
    return np.sqrt(total / sizes)


def pooled_weights(history: History) -> Series | None:
    """The weights of all matrices together, at the records of the first."""
    logged = [(one.weight_rms, one.num_entries or 1.0) for one in history.matrices if one.weight_rms is not None]
    if not logged:
        return None
    done = logged[0][0].done
    squares = sum(size * np.square(series.at(done.astype(np.float64))) for series, size in logged)
    return Series(done=done, values=np.sqrt(squares / sum(size for _, size in logged)))


def trajectory_of(history: History, norms: list[Norm]) -> Trajectory:
    """The records as `Trajectory` has them, of the steps that follow them; NaN for what was not recorded."""
    shown = [norm for norm in norms if norm.matrix.weight_rms is not None and not norm.matrix.norm_only]
    if not shown:
        empty = np.empty((0, 0))
        return Trajectory(
            steps=np.empty(0, np.int64),
            matrices=(),
            weight_rms=empty,
            angular_update=empty,
            relative_update=empty,
            update_rms=empty,
            cosine=empty,
        )
    start = max(norm.start for norm in shown)
    first = shown[0].matrix.weight_rms
    assert first is not None
    steps = first.done[(first.done >= start) & (first.done < history.num_steps)]
    columns: dict[str, list[Array]] = {name: [] for name in ("weight_rms", "angular_update", "update_rms", "cosine")}
    for norm in shown:
        assert norm.matrix.weight_rms is not None
        columns["weight_rms"].append(norm.matrix.weight_rms.at(steps.astype(np.float64)))
        for name, values in (("angular_update", norm.angles), ("update_rms", norm.update_rms), ("cosine", norm.cosine)):
            columns[name].append(np.full(len(steps), np.nan) if values is None else values[steps - norm.start])
    return Trajectory(
        steps=steps,
        matrices=tuple(norm.matrix.name or POOLED for norm in shown),
        relative_update=np.full((len(steps), len(shown)), np.nan),
        **{name: np.stack(values, axis=1) for name, values in columns.items()},
    )


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
