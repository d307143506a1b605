"""From a table of final losses to the loss of a run not made: the law, its errors, and candidates ranked by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.files import BadInput
from experiments.losses.finished_runs import Run
from experiments.losses.intervals import Constant, ErrorModel, bootstrap_constants, error_model, own_terms
from experiments.losses.loss_table import MOST_STEPS, FinalLosses, Unmeasured
from experiments.losses.schedule_law import ROUNDING, ScheduleLaw, shape_grid
from experiments.losses.settings import Setting
from experiments.text import counted
from theory import InvalidParameter
from theory.checks import require_integer, require_number

LAW = "schedule-and-scale"
LEAST_SCHEDULES = 2
SAME_SIZE = 0.005  # relative difference, which rounding and what counts as a parameter make
TARGET_QUANTITIES = ("num_params", "num_steps", "tokens_per_step", "weight_decay")
BETWEEN_NOTE = "terms of the law are assumed to differ between data sets by a tenth, beside the offset"


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedLosses:
    """A law and what it is worth. train_rms : of its errors on the runs it was fitted to, in nats."""

    table: FinalLosses
    law: ScheduleLaw
    errors: ErrorModel
    constants: tuple[Constant, ...]
    train_rms: float
    notes: tuple[str, ...]

    @property
    def residual_rms(self) -> dict[str, float | None]:
        """Root mean square errors in nats by how the runs were left out; None where they could not be."""
        found = {one.kind: one.rms for one in self.errors.left_out}
        kinds = ("horizon", "size", "schedule")
        return {"train": self.train_rms, **{f"leave_one_{kind}_out": found.get(kind) for kind in kinds}}

    def beyond(self, target: Target) -> list[str]:
        """In which quantities ``target`` lies outside the runs trained on, as phrases."""
        values = {name: float(getattr(target, name)) for name in TARGET_QUANTITIES}
        return [
            f"{name} of the target, {value:g}, is outside the table's {_range(set(self.law.trained[name]))}"
            for name, value in values.items()
            if not self.law.trained[name][0] * (1 - ROUNDING) <= value <= self.law.trained[name][1] * (1 + ROUNDING)
        ]


@dataclass(frozen=True, kw_only=True)
class Target:
    """The run to be made, but for its schedule. num_params : N. num_steps : its length. tokens_per_step : of its batch.
    weight_decay : PyTorch convention. dataset : that the loss is measured on."""

    num_params: float
    num_steps: int
    tokens_per_step: float
    weight_decay: float
    dataset: str


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """``loss`` with the ends of its interval, in nats; ``outside``: quantities in which the run lies outside those
    trained on."""

    setting: Setting
    loss: float
    low: float
    high: float
    outside: tuple[str, ...]


def fit_final_losses(table: FinalLosses, *, level: float = 0.9) -> FittedLosses:
    """Fit the law and measure its errors; a few seconds. level : of the constants' intervals.

    Raises `BadInput` that says what is missing: runs, or schedules.
    """
    runs = table.runs
    shapes = sorted({run.schedule for run in runs})
    has = f"{len(runs)} runs with {_counted(runs)}"
    if len(shapes) < LEAST_SCHEDULES:
        raise BadInput(
            f"{table.where}: one schedule only ({shapes[0]}) in {has}: what a decay is worth is told by"
            f" {LEAST_SCHEDULES} at least, of another kind, decay_fraction or final_fraction"
        )
    try:
        grid = shape_grid(runs)
    except InvalidParameter as error:
        raise BadInput(f"{table.where}: {has}; needed are {error.allowed}") from None
    law = grid.law()
    residuals = own_terms(grid, law).sum(axis=1) - grid.losses
    return FittedLosses(
        table=table,
        law=law,
        errors=error_model(grid, runs, law),
        constants=tuple(bootstrap_constants(grid, law, level=level)),
        train_rms=float(np.sqrt(np.mean(residuals**2))),
        notes=(BETWEEN_NOTE,) if len(law.datasets) > 1 else (),
    )


def settle_target(
    table: FinalLosses,
    *,
    num_params: float | None = None,
    num_steps: int | None = None,
    num_tokens: float | None = None,
    tokens_per_step: float | None = None,
    weight_decay: float | None = None,
    dataset: str | None = None,
) -> tuple[Target, list[str]]:
    """The run that is asked for, with what the table leaves no choice about, and notes on what was taken.

    Raises `BadInput` for what has to be told, `InvalidParameter` for what cannot be.
    """
    notes: list[str] = []
    sizes, steps = ({getattr(run, name) for run in table.runs} for name in ("num_params", "num_steps"))
    names = sorted({run.dataset for run in table.runs})
    needed = []
    if num_params is None and len(sizes) > 1:
        needed.append(f"--num-params: needed, since the table has {len(sizes)}: {_range(sizes)}")
    if (num_steps is None) == (num_tokens is None):
        needed.append(f"--num-steps or --num-tokens: one of them is needed; the table has {_range(steps)} steps")
    if dataset is None and len(names) > 1:
        needed.append(f"--dataset: needed, since the table has {', '.join(names)}")
    if needed:
        raise BadInput("; ".join(needed))
    num_params = next(iter(sizes)) if num_params is None else num_params
    num_params = _table_size(require_number("num_params", num_params, above=0), table, notes)
    if tokens_per_step is None:
        tokens_per_step = _most_frequent("tokens_per_step", table, notes)
    if weight_decay is None:
        weight_decay = _most_frequent("weight_decay", table, notes)
    if num_tokens is not None:
        if not table.tokens_known:
            raise BadInput("--num-tokens: the table does not tell tokens per step; give --num-steps")
        require_number("num_tokens", num_tokens, above=0)
        require_number("tokens_per_step", tokens_per_step, above=0)
        wanted = num_tokens / tokens_per_step
        if not wanted <= MOST_STEPS:
            raise InvalidParameter("num_tokens", num_tokens, f"at most {MOST_STEPS:g} steps of {tokens_per_step:g}")
        num_steps = max(1, round(wanted))
    assert num_steps is not None
    if len(steps) == 1 and num_steps not in steps:
        (only,) = steps
        raise InvalidParameter(
            "num_steps", num_steps, f"{only}, the only horizon in the table; another one needs two horizons in it"
        )
    return (
        Target(
            num_params=num_params,
            num_steps=require_integer("num_steps", num_steps, at_least=1, at_most=MOST_STEPS),
            tokens_per_step=require_number("tokens_per_step", tokens_per_step, above=0),
            weight_decay=require_number("weight_decay", weight_decay, at_least=0),
            dataset=names[0] if dataset is None else dataset,
        ),
        notes,
    )


def rank(fitted: FittedLosses, target: Target, settings: Sequence[Setting], *, level: float = 0.9) -> list[Prediction]:
    """Candidates by predicted loss, lowest first; those with a peak rate outside the range trained on stand behind all
    others, since damage by too high a rate is not in the law. Raises `BadInput` for more than `MOST_STEPS` steps."""
    if len(settings) * target.num_steps > MOST_STEPS:
        raise BadInput(f"{len(settings)} candidates of {target.num_steps} steps: more than {MOST_STEPS:g} steps in all")
    runs = [
        Run(
            learning_rates=setting.learning_rates(),
            num_params=target.num_params,
            tokens_per_step=target.tokens_per_step,
            weight_decay=target.weight_decay,
            schedule=setting.shape,
            dataset=target.dataset,
        )
        for setting in settings
    ]
    found = predict(fitted, settings, runs, level=level)
    return sorted(found, key=lambda one: ("peak_learning_rate" in one.outside, one.loss))


def predict(
    fitted: FittedLosses, settings: Sequence[Setting], runs: Sequence[Run], *, level: float = 0.9
) -> list[Prediction]:
    """Losses of ``runs`` of those ``settings``, in their order. Raises `InvalidParameter` as the law's ``predict``."""
    if not runs:
        return []
    losses, half = fitted.errors.predict(runs, level)
    return [
        Prediction(
            setting=setting,
            loss=float(loss),
            low=float(loss - width),
            high=float(loss + width),
            outside=fitted.law.outside(run),
        )
        for setting, run, loss, width in zip(settings, runs, losses, half, strict=True)
    ]


def predict_unmeasured(
    fitted: FittedLosses, *, level: float = 0.9
) -> list[tuple[Unmeasured, Prediction | None, str | None]]:
    """The table's rows without a loss, each with its prediction or with the reason why there is none."""
    result: list[tuple[Unmeasured, Prediction | None, str | None]] = []
    for row in fitted.table.unmeasured:
        try:
            (found,) = predict(fitted, [row.setting], [row.run], level=level)
        except InvalidParameter as error:
            result.append((row, None, str(error)))
        else:
            result.append((row, found, None))
    return result


def _counted(runs: Sequence[Run]) -> str:
    counts: dict[str, set[object]] = {
        "schedule": {run.schedule for run in runs},
        "learning rate": {run.peak_learning_rate for run in runs},
        "horizon": {run.num_steps for run in runs},
        "size": {run.num_params for run in runs},
    }
    return ", ".join(counted(len(values), name) for name, values in counts.items())


def _range(values: set[float] | set[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _table_size(num_params: float, table: FinalLosses, notes: list[str]) -> float:
    """The size of the table that is meant: one within a rounding, or one that has that many with the embedding."""
    sizes = sorted({run.num_params for run in table.runs})
    for known, size in (*((size, size) for size in sizes), *sorted(table.whole_sizes.items())):
        if size in sizes and abs(num_params - known) <= SAME_SIZE * known:
            if num_params != size:
                notes.append(f"num_params {num_params:.6g} is taken as the table's {size:.6g}, without the embedding")
            return size
    return num_params


def _most_frequent(name: str, table: FinalLosses, notes: list[str]) -> float:
    values = [float(getattr(run, name)) for run in table.runs]
    value = max(sorted(set(values)), key=values.count)
    if len(set(values)) > 1:
        notes.append(f"{name} of the target is taken as {value:g}, the most frequent in the table")
    return value
