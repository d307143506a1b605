"""The answer to a log: everything that `lrbend read` says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.logs.history import History, Series, history_of
from experiments.logs.norms import TOLERANCE, ForceBudget, Norm, follow, peak_end_of, predicted_moments
from experiments.logs.raw_log import RawLog
from experiments.logs.settings import Setting, beside
from experiments.logs.sources import read_source
from experiments.logs.verdicts import Ending, GradientNorm, change, ending_of, gradient_norm_of
from experiments.text import counted
from theory import Optimizer, RunOutcome, Trajectory, adamh
from theory.models import Decoupled, model_of
from theory.predict import reaches_equilibrium, transient_steps

Array = NDArray[np.float64]

ASSUMED_RMS = 0.02
THINNED = 200  # points of the series in the answer
POOLED = "weights"  # the name of all matrices together


@dataclass(frozen=True, kw_only=True)
class Group:
    """One matrix, or all together. weight_rms_first, weight_rms_last : as recorded, a norm where its size is unknown."""

    name: str
    num_records: int
    weight_rms_first: float | None
    weight_rms_last: float | None
    equilibrium_step: int | None
    weight_rms_error: float | None
    weight_rms_error_predicted: float | None
    force_budget: ForceBudget | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What a log tells; None where it does not.

    equilibrium_step : steps made when every matrix had come to equilibrium, by its norms if they are logged, else by
    theory. adamh_learning_rate : AdamH's rate that turns by AdamW's equilibrium angle at the peak. mean_angle : root mean
    square over the run, in radians per step. belongs : in a fit of the best rate over scale, with ``reasons`` why not, or
    what to heed. changes : what to do otherwise. series : thinned, by name. trajectory : the records.
    """

    kind: str
    num_lines: int
    num_broken: int
    outcome: RunOutcome
    diverged_step: int | None
    num_steps: int
    planned_steps: int | None
    optimizer: str
    weight_decay: float | None
    learning_rate: float | None
    num_relaxations: float | None
    reaches_equilibrium: bool | None
    equilibrium_step: int | None
    adamh_learning_rate: float | None
    mean_angle: float | None
    weight_rms_error: float | None
    weight_rms_error_predicted: float | None
    final_loss: float | None
    gradient_norm: GradientNorm | None
    belongs: bool
    reasons: tuple[str, ...]
    changes: tuple[str, ...]
    groups: tuple[Group, ...]
    series: dict[str, list[float | None]]
    trajectory: Trajectory
    notes: tuple[str, ...]


@dataclass
class _Theory:
    """What the hyperparameters say by themselves."""

    num_relaxations: float | None = None
    reaches: bool | None = None
    step: int | None = None
    adamh_learning_rate: float | None = None
    notes: list[str] = field(default_factory=list)


def read_log(path: Path, setting: Setting, columns: dict[str, str] | None = None) -> Reading:
    """Read a log and answer it. Raises `BadInput` and `InvalidParameter`."""
    log = read_source(path, columns or {})
    setting, told = beside(path, setting)
    history = history_of(log, setting)
    rates = history.learning_rates
    optimizer = None if rates is None else setting.spec(float(rates.max()))
    decay = getattr(optimizer, "weight_decay", None) if setting.weight_decay is not None else None
    theory, norms = _Theory(), list[Norm]()
    if rates is not None and optimizer is not None:
        theory = _theory(history, setting, optimizer, rates)
        for matrix in history.matrices:
            norms.append(
                follow(
                    matrix,
                    optimizer,
                    rates,
                    initial_rms=setting.initial_rms,
                    shape=setting.shape,
                    after=setting.recorded == "after",
                    reaches=bool(theory.reaches),
                )
            )
    if decay is None and optimizer is not None and "weight_decay" in type(optimizer).__dataclass_fields__:
        norms = [replace(norm, predicted=None, driven=None, error=None, error_predicted=None, budget=None) for norm in norms]
        norms = [replace(norm, equilibrium_step=None) for norm in norms]
    loss = history.series.get("loss") or history.series.get("validation_loss")
    ending = ending_of(loss, history.series.get("gradient_norm"))
    series, mean_angle = _series(history, setting, optimizer, norms, decay)
    gradient = gradient_norm_of(history.series.get("gradient_norm"), _pooled_weights(history))
    step = theory.step
    if any(norm.matrix.weight_rms is not None for norm in norms):
        steps = [norm.equilibrium_step for norm in norms if norm.matrix.weight_rms is not None]
        step = None if None in steps else max(one for one in steps if one is not None)
    reading = Reading(
        kind=log.kind,
        num_lines=log.num_lines,
        num_broken=log.num_broken,
        outcome=ending.outcome,
        diverged_step=ending.diverged_step,
        num_steps=history.num_steps,
        planned_steps=history.planned_steps,
        optimizer=setting.optimizer or "adamw",
        weight_decay=decay,
        learning_rate=None if rates is None else float(rates.max()),
        num_relaxations=theory.num_relaxations,
        reaches_equilibrium=theory.reaches,
        equilibrium_step=step,
        adamh_learning_rate=theory.adamh_learning_rate,
        mean_angle=mean_angle,
        weight_rms_error=_largest([norm.error for norm in norms]),
        weight_rms_error_predicted=_largest([norm.error_predicted for norm in norms]),
        final_loss=_last(loss),
        gradient_norm=gradient,
        belongs=True,
        reasons=(),
        changes=(),
        groups=tuple(_group(norm) for norm in norms),
        series=series,
        trajectory=_trajectory(history, norms),
        notes=(),
    )
    belongs, reasons = _membership(reading, history)
    notes = (*_read(log), *told, *history.notes, *theory.notes, *_endings(ending, history), *_remarks(reading, norms))
    return replace(reading, belongs=belongs, reasons=reasons, changes=_changes(reading, history), notes=notes)


def _theory(history: History, setting: Setting, optimizer: Optimizer, rates: Array) -> _Theory:
    found = _Theory()
    model = model_of(optimizer, shape=setting.shape)
    initial = setting.initial_rms or _initial(history)
    if not isinstance(model, Decoupled):
        found.adamh_learning_rate = float(rates.max())
        found.notes.append("the norm is held: there is no transient")
        return found
    if setting.weight_decay is None:
        found.notes.append("no weight decay is told: give --weight-decay, 0 if there was none")
        return found
    assumed = [name for name in ("beta1", "beta2") if getattr(setting, name) is None and hasattr(optimizer, name)]
    if assumed:
        shown = " and ".join(f"{name} {getattr(optimizer, name):g}" for name in assumed)
        found.notes.append(f"{shown} assumed: give " + " and ".join(f"--{name}" for name in assumed))
    found.num_relaxations = model.num_relaxations(rates)
    if not setting.weight_decay:
        found.reaches = False
        found.notes.append("without weight decay there is no equilibrium: the norm grows like the square root of the steps")
        return found
    settled = model.equilibrium(ASSUMED_RMS)
    found.adamh_learning_rate = settled.angular_update
    if initial is None:
        initial = ASSUMED_RMS
        found.notes.append(f"no weight norm is logged: an initial RMS of {initial:g} is assumed, --initial-rms tells another")
    found.reaches = reaches_equilibrium(model, rates, np.array([initial]), tolerance=TOLERANCE)
    if found.reaches:
        rms = np.sqrt(predicted_moments(optimizer, rates, initial, setting.shape).rho[:, 0])
        found.step = transient_steps(rms, settled.weight_rms, peak_end=peak_end_of(rates), tolerance=TOLERANCE)
    return found


def _initial(history: History) -> float | None:
    """Root mean square of the first records of all matrices, weighted by their sizes."""
    squares, sizes = [], []
    for matrix in history.matrices:
        if matrix.weight_rms is not None and not matrix.norm_only:
            values = matrix.weight_rms.values
            squares.append(float(values[np.isfinite(values)][0]) ** 2)
            sizes.append(matrix.num_entries or 1.0)
    return float(np.sqrt(np.average(squares, weights=sizes))) if squares and max(squares) > 0 else None


def _series(
    history: History, setting: Setting, optimizer: Optimizer | None, norms: list[Norm], decay: float | None
) -> tuple[dict[str, list[float | None]], float | None]:
    """Thinned series of the run, matrices pooled, and the root mean square angle."""
    rates = history.learning_rates
    if rates is None or optimizer is None:
        return {}, None
    keep = np.unique(np.linspace(0, len(rates) - 1, THINNED + 1).round().astype(np.int64))
    angles = _pooled(norms, "angles", len(rates))
    predicted, driven = (_pooled(norms, name, len(rates)) for name in ("predicted", "driven"))
    if not norms and decay is not None:
        moments = predicted_moments(optimizer, rates, setting.initial_rms or ASSUMED_RMS, setting.shape)
        predicted = np.sqrt(moments.rho[:-1, 0])
        angles = _predicted_angles(moments)
    weights = _pooled_weights(history)
    found: dict[str, Array | None] = {
        "step": keep.astype(np.float64),
        "learning_rate": rates[keep],
        "angular_update": None if angles is None else angles[keep],
        "adamh_learning_rate": None,
        "weight_rms": None if weights is None or any(norm.matrix.norm_only for norm in norms) else weights.at(keep.astype(float)),
        "weight_rms_measured_direction": None if driven is None else driven[keep],
        "weight_rms_predicted": None if predicted is None else predicted[keep],
    }
    if angles is not None:
        found["adamh_learning_rate"] = _adamh_rates(angles[keep], getattr(optimizer, "beta1", 0.0))
    mean = None
    if angles is not None and np.isfinite(angles).any():
        mean = float(np.sqrt(np.nanmean(np.square(angles))))
    listed = {name: [_number(one) for one in values] for name, values in found.items() if values is not None}
    return listed, mean


def _predicted_angles(moments: Any) -> Array:
    from experiments.logs.norms import turns

    shape = (len(moments.rho) - 1, 1)
    s, p, e, x = (np.broadcast_to(part, shape)[:, 0] for part in moments[1:])
    return turns(moments.rho[:-1, 0], s, p, e, x)


def _adamh_rates(angles: Array, beta1: float) -> Array:
    """AdamH's rate that turns by each angle while it stays the same for 1/(1-beta1) steps; NaN beyond acos(beta1)."""
    cos = np.cos(angles)
    shrink = (cos - beta1) / (1 - beta1 * cos)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(shrink > 0, adamh.matching_learning_rate(np.where(shrink > 0, shrink, 1.0), beta1), np.nan)


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


def _pooled_weights(history: History) -> Series | None:
    """The weights of all matrices together, at the records of the first."""
    logged = [(one.weight_rms, one.num_entries or 1.0) for one in history.matrices if one.weight_rms is not None]
    if not logged:
        return None
    done = logged[0][0].done
    squares = sum(size * np.square(series.at(done.astype(np.float64))) for series, size in logged)
    return Series(done=done, values=np.sqrt(squares / sum(size for _, size in logged)))


def _trajectory(history: History, norms: list[Norm]) -> Trajectory:
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


def _group(norm: Norm) -> Group:
    weights = norm.matrix.weight_rms
    values = np.empty(0) if weights is None else weights.values[np.isfinite(weights.values)]
    return Group(
        name=norm.matrix.name or POOLED,
        num_records=len(values),
        weight_rms_first=float(values[0]) if len(values) else None,
        weight_rms_last=float(values[-1]) if len(values) else None,
        equilibrium_step=norm.equilibrium_step,
        weight_rms_error=norm.error,
        weight_rms_error_predicted=norm.error_predicted,
        force_budget=norm.budget,
    )


def _read(log: RawLog) -> list[str]:
    notes = list(log.notes)
    if log.num_broken:
        notes.insert(0, f"{log.num_broken} of {log.num_lines} lines are broken and left out ({log.broken})")
    return notes


def _endings(ending: Ending, history: History) -> list[str]:
    if ending.diverged_step is None:
        return []
    notes = [f"diverged: {ending.reason}"]
    for name, series in (("weight RMS", _pooled_weights(history)), ("gradient norm", history.series.get("gradient_norm"))):
        found = change(series, ending.diverged_step)
        if found is None:
            notes.append(f"before that: no {name} is logged")
        else:
            step, first, last = found
            notes.append(f"before that the {name} went from {first:.4g} at step {step} to {last:.4g} ({last / first - 1:+.0%})")
    return notes


def _remarks(reading: Reading, norms: list[Norm]) -> list[str]:
    notes = []
    late = [norm for norm in norms if norm.equilibrium_step is None and norm.matrix.weight_rms is not None]
    if reading.reaches_equilibrium and late and reading.num_relaxations:
        notes.append(
            f"by its length the run reaches equilibrium, but the norms of {len(late)} of {len(norms)} groups do not stay"
            f" within {TOLERANCE:.0%} of theirs"
        )
    if any(norm.matrix.norm_only for norm in norms):
        notes.append("a weight norm is logged, not how many entries it has: give --num-entries for angles and RMS")
    predicted = reading.weight_rms_error_predicted
    if predicted is not None and predicted > 0.1 and reading.weight_rms_error is not None:
        notes.append(
            f"the theory is off by {predicted:.0%} with the direction of white noise and by {reading.weight_rms_error:.1%}"
            " with the measured one: the direction is what it misses"
        )
    return notes


def _membership(reading: Reading, history: History) -> tuple[bool, tuple[str, ...]]:
    """Whether a run may stand in a fit of the best rate over scale, and why not, or with what care."""
    against, care = [], []
    if reading.outcome is RunOutcome.DIVERGED:
        against.append(f"it diverged at step {reading.diverged_step}")
    elif reading.planned_steps is not None and reading.num_steps < reading.planned_steps:
        against.append(f"it ends at step {reading.num_steps} of {reading.planned_steps}: its schedule is not finished")
    if reading.learning_rate is None:
        against.append("its learning rate is not known")
    if history.jumps:
        against.append(f"its learning rate jumps at step {history.jumps[0]}: it is not one schedule")
    if reading.final_loss is None:
        against.append("no loss is logged")
    if reading.reaches_equilibrium is False:
        care.append("its norm is not in equilibrium, so that its rate is no measure of its angle: fit in mean angle as well")
    if history.num_restarts:
        care.append("it was restarted: whether with its optimizer state is not told by a log")
    return not against, (*against, *care)


def _changes(reading: Reading, history: History) -> tuple[str, ...]:
    changes = []
    if reading.outcome is RunOutcome.DIVERGED:
        changes.append("a lower peak rate or a longer warmup; restart from a checkpoint before the divergence")
    if reading.num_relaxations is not None and reading.reaches_equilibrium is False and reading.weight_decay:
        needed = 1.5 / max(reading.num_relaxations, 1e-9)
        changes.append(
            f"to reach equilibrium the product of rate, decay and steps has to be about {needed:.2g} times larger; or train"
            " with AdamH on the schedule below, which has no transient"
        )
    if not any(matrix.weight_rms is not None for matrix in history.matrices):
        changes.append("log the weight RMS of the matrices: without it equilibrium is a guess from the settings")
    elif not any(matrix.mean_w_u is not None for matrix in history.matrices):
        changes.append("log the RMS of the optimizer's direction and <W, u> too (gpt.probe does): they split the forces")
    gradient = reading.gradient_norm
    if gradient is not None and gradient.cause == "one over the weight norm":
        changes.append("the rising gradient norm is the falling weight norm: no clipping or lower rate is needed for it")
    return tuple(changes)


def _largest(errors: list[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return max(known) if known else None


def _last(series: Series | None) -> float | None:
    if series is None or not series.known:
        return None
    return float(series.values[np.isfinite(series.values)][-1])


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
