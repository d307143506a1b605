"""From a log to its answer: what is told is put together, and what is not is left out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.logs.advice import angles_from, changes_for, endings, equilibrium_in_words, membership, remarks
from experiments.logs.answer import Group, Reading
from experiments.logs.history import History, Series, history_of
from experiments.logs.norms import NOT_KNOWN, TOLERANCE, Norm, follow, peak_end_of, predicted_moments
from experiments.logs.series import POOLED, pooled_weights, thinned_series, trajectory_of
from experiments.logs.settings import ASSUMED_RMS, Setting, beside, from_words
from experiments.logs.sources.detect import read_source
from experiments.logs.sources.raw_log import RawLog
from experiments.logs.verdicts import ending_of, gradient_norm_of
from theory import Optimizer
from theory.models import OnSphere
from theory.optimizers import pytorch_decay
from theory.predict import adamh_learning_rate
from theory.settling import reaches_equilibrium, transient_steps

Array = NDArray[np.float64]


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
    num_entries = setting.num_entries
    setting, told = beside(path, setting)
    log = read_source(path, columns or {}, setting.steps_per_record)
    history = history_of(log, setting)
    if num_entries is not None:
        _require_one_norm(num_entries, history, log)
    rates = history.learning_rates
    setting, said = from_words(log, setting, None if rates is None else float(rates.max()))
    optimizer = None if rates is None else setting.spec(float(rates.max()))
    decays = setting.weight_decay is not None and setting.has_decay
    coupled = setting.decay == "coupled"
    theory, norms = _Theory(), list[Norm]()
    if rates is not None and optimizer is not None:
        theory = _theory(history, setting, optimizer, rates)
        for matrix in history.matrices:
            norms.append(
                follow(
                    matrix,
                    optimizer,
                    setting.model(optimizer),
                    rates,
                    initial_rms=setting.initial_rms,
                    after=setting.recorded == "after",
                    reaches=bool(theory.reaches),
                )
            )
    decided = optimizer is not None and (decays or not setting.has_decay)
    if not decided:
        norms = [_without_decay(norm) for norm in norms]
    elif coupled:
        norms = [
            replace(norm, predicted=None, angles_predicted=None, error_predicted=None, direction_ratio=None)
            for norm in norms
        ]
        decided = bool(norms)
    loss = history.series.get("loss") or history.series.get("validation_loss")
    ending = ending_of(loss)
    series, mean_angle = thinned_series(history, setting, optimizer, norms, decided=decided)
    gradient = gradient_norm_of(history.series.get("gradient_norm"), pooled_weights(history))
    step = theory.step
    if any(norm.matrix.weight_rms is not None for norm in norms):
        steps = [norm.settled.step for norm in norms if norm.matrix.weight_rms is not None]
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
        weight_decay=setting.weight_decay if decays else None,
        decay=setting.decay or "pytorch",
        independent_weight_decay=None
        if optimizer is None or not decays or coupled
        else optimizer.learning_rate * pytorch_decay(optimizer),
        learning_rate=None if rates is None else float(rates.max()),
        num_relaxations=theory.num_relaxations,
        reaches_equilibrium=theory.reaches,
        equilibrium_step=step,
        equilibrium="",
        adamh_learning_rate=theory.adamh_learning_rate,
        mean_angle=mean_angle,
        angles_from=None if mean_angle is None else angles_from(norms, setting.network),
        weight_rms_error=_largest([norm.error for norm in norms]),
        weight_rms_error_predicted=_largest([norm.error_predicted for norm in norms]),
        final_loss=_last(loss),
        gradient_norm=gradient,
        belongs=True,
        reasons=(),
        changes=(),
        groups=tuple(_group(norm) for norm in norms),
        series=series,
        trajectory=trajectory_of(history, norms),
        notes=(),
    )
    belongs, reasons = membership(reading, history)
    notes = (
        *_read(log),
        *told,
        *said,
        *history.notes,
        *theory.notes,
        *endings(ending, history),
        *remarks(reading, norms, setting),
    )
    return replace(
        reading,
        equilibrium=equilibrium_in_words(reading, norms),
        belongs=belongs,
        reasons=reasons,
        changes=changes_for(reading, history),
        notes=notes,
    )


def _require_one_norm(num_entries: int, history: History, log: RawLog) -> None:
    """Raise `BadInput` where a size that was given for one norm is that of none."""
    names = [matrix.name for matrix in history.matrices]
    if not names:
        raise BadInput(f"--num-entries {num_entries}: no weight norm is read from {log.where}")
    if history.matrices[0].num_entries != num_entries or len(names) > 1:
        norms = "the norm of a matrix is" if len(names) == 1 else f"norms of {len(names)} matrices are"
        raise BadInput(
            f"--num-entries {num_entries}: {norms} logged in {log.where}; give the size of each by its name,"
            f" --matrix-entries '{names[0]}=NUMBER'"
        )


def _without_decay(norm: Norm) -> Norm:
    """What does not hang on the decay: the angles of a norm that was measured."""
    measured = norm.matrix.weight_rms is not None
    return replace(
        norm,
        predicted=None,
        driven=None,
        angles_predicted=None,
        error=None,
        error_predicted=None,
        settled=NOT_KNOWN,
        budget=None,
        direction_ratio=None,
        angles=norm.angles if measured else None,
    )


def _theory(history: History, setting: Setting, optimizer: Optimizer, rates: Array) -> _Theory:
    found = _Theory()
    model = setting.model(optimizer)
    initial = setting.initial_rms or _initial(history)
    if isinstance(model, OnSphere):
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
    if setting.decay == "coupled":
        found.notes.append(
            "the decay is part of the gradient: what it does to the norm depends on the gradient's scale, which a log"
            " does not tell; the norm is followed with the logged direction alone, in which the decay is"
        )
        return found
    found.num_relaxations = model.num_relaxations(rates)
    if not setting.weight_decay:
        found.reaches = False
        found.notes.append(
            "without weight decay there is no equilibrium: the norm grows like the square root of the steps"
        )
        return found
    settled = model.equilibrium(ASSUMED_RMS)
    found.adamh_learning_rate = adamh_learning_rate(optimizer, settled.angular_update)
    if initial is None:
        initial = ASSUMED_RMS
        unsized = any(matrix.norm_only for matrix in history.matrices)
        known = "the logged norms are of no known size" if unsized else "no weight norm is logged"
        if history.unread_norms and not unsized:
            known = "no weight norm is read"
        found.notes.append(f"{known}: an initial RMS of {initial:g} is assumed, --initial-rms tells another")
    found.reaches = reaches_equilibrium(model, rates, np.array([initial]), tolerance=TOLERANCE)
    if found.reaches:
        rms = np.sqrt(predicted_moments(model, rates, initial).rho[:, 0])
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


def _group(norm: Norm) -> Group:
    weights = norm.matrix.weight_rms
    values = np.empty(0) if weights is None else weights.values[np.isfinite(weights.values)]
    return Group(
        name=norm.matrix.name or POOLED,
        num_records=len(values),
        weight_rms_first=float(values[0]) if len(values) else None,
        weight_rms_last=float(values[-1]) if len(values) else None,
        equilibrium_step=norm.settled.step,
        settles=norm.settled.step is not None if norm.settled.known else None,
        weight_rms_error=norm.error,
        weight_rms_error_predicted=norm.error_predicted,
        force_budget=norm.budget,
    )


def _read(log: RawLog) -> list[str]:
    notes = list(log.notes)
    if log.num_broken:
        notes.insert(0, f"{log.num_broken} of {log.num_lines} lines are broken and left out ({log.broken})")
    return notes


def _largest(errors: list[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return max(known) if known else None


def _last(series: Series | None) -> float | None:
    if series is None or not series.known:
        return None
    return float(series.values[np.isfinite(series.values)][-1])
