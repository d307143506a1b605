"""The table of predictions: for every setting what theory says, what simulation gives, what runs measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.agreement.matrix_networks import DRIVEN, has_kinds, kind_of
from experiments.agreement.measure import ComparedOptimizer, measure
from experiments.agreement.setting_runs import SettingRuns, setting_name
from experiments.runs.run_files import Run
from experiments.runs.simulation import SimulationConfig
from theory import AdamH, AdamW, radial


@dataclass(frozen=True, kw_only=True)
class PredictionRow:
    """One prediction, compared.

    ``measured`` is the median over matrices and seeds, ``low`` and ``high`` the range; ``error`` the median of
    measured / predicted - 1 (for a norm drift, and for simulation against theory, the largest deviation).
    ``limit`` is the largest absolute error that passes, None where no verdict is given. ``promised`` is False where the
    theory is a draft, whose rows are judged and counted apart. ``seed_low`` and ``seed_high`` are the smallest and
    the largest ``error`` of a single seed, None with fewer than two.
    """

    group: str
    quantity: str
    predicted: float | None
    simulated: float | None
    measured: float | None
    low: float | None
    high: float | None
    error: float | None
    limit: float | None
    count: int
    remark: str = ""
    promised: bool = True
    seed_low: float | None = None
    seed_high: float | None = None

    @property
    def verdict(self) -> str | None:
        """``pass`` or ``fail``, ``within`` or ``outside`` where nothing is promised; None where none is asked for, or
        nothing was measured."""
        if self.limit is None or self.count == 0:
            return None
        held = self.error is not None and abs(self.error) <= self.limit
        return ("pass" if held else "fail") if self.promised else ("within" if held else "outside")


@dataclass(frozen=True)
class ComparedQuantity:
    """A column of `agreement.measure`, its prediction, and the largest error that counts as agreement."""

    label: str
    measured: str
    predicted: str
    limit: float


ADAMW_QUANTITIES = (
    ComparedQuantity("angular update (rad)", "angular_update", "predicted_angular_update", 0.06),
    ComparedQuantity("weight RMS", "weight_rms", "predicted_weight_rms", 0.18),
    ComparedQuantity("weight RMS, measured U", "weight_rms", "predicted_weight_rms_from_update", 0.05),
    ComparedQuantity("relaxation (steps)", "relaxation_steps", "predicted_relaxation_steps", 0.30),
    ComparedQuantity("relaxation, constant U", "plain_relaxation_steps", "predicted_relaxation_steps", math.inf),
)
# Of one kind of matrix of gpt2: what `theory.networks.GPT2` is said to be worth in small models, at its far end.
KIND_QUANTITIES = (
    ComparedQuantity("angular update (rad)", "angular_update", "predicted_angular_update", 0.20),
    ComparedQuantity("weight RMS", "weight_rms", "predicted_weight_rms", 0.20),
    ComparedQuantity("weight RMS, measured U", "weight_rms", "predicted_weight_rms_from_update", 0.20),
    ComparedQuantity("relaxation (steps)", "relaxation_steps", "predicted_relaxation_steps", math.inf),
)
ADAMH_ANGLE = ComparedQuantity("angular update (rad)", "angular_update", "predicted_angular_update", math.inf)
NORM_DRIFT_LIMIT = 1e-6
SIMULATION_LIMIT = 0.005
SIMULATION_STANDARD_ERROR_LIMIT = 0.001
MOST_NAMED = 3  # predictions that fail, in a sentence


def prediction_rows(settings: Sequence[SettingRuns], simulations: Sequence[Run]) -> list[PredictionRow]:
    """The rows of every setting in their order, then one for each simulation.

    ``scale-invariant`` runs, whose weights fulfil the assumptions of the theory, are judged against white noise;
    AdamW's ``gpt2`` runs by kind of matrix, against the network of that kind, whose law is a draft, queries and keys
    shown; AdamH's norm, which is kept whatever the model; and simulations with beta2 >= 0.999, which `validate` makes
    precise enough.
    """
    rows = [row for setting in settings for row in _setting_rows(setting)]
    return rows + [_simulation_row(run) for run in sorted(simulations, key=_order_of)]


def all_pass(rows: Sequence[PredictionRow]) -> bool:
    """Whether every promised row with a limit was measured and passes."""
    return all(row.verdict == "pass" for row in rows if row.limit is not None and row.promised)


def tally(rows: Sequence[PredictionRow]) -> str:
    """How many judged predictions hold and which do not; of the draft of classic GPT-2 how many are off by more than
    their limit, and by how much; the largest error of what has no limit. A sentence each; empty if nothing is judged.
    """
    judged = [row for row in rows if row.verdict in ("pass", "fail")]
    drafted = [row for row in rows if row.verdict in ("within", "outside")]
    parts = []
    if judged:
        failed = [row for row in judged if row.verdict == "fail"]
        names = [f"{row.quantity} of {row.group} ({_off(row)})" for row in failed[:MOST_NAMED]]
        more = f" and {len(failed) - MOST_NAMED} more" if len(failed) > MOST_NAMED else ""
        parts.append(f"{len(judged) - len(failed)} of {len(judged)} judged predictions hold")
        parts[-1] += f"; not {', '.join(names)}{more}." if failed else "."
    if drafted:
        outside = [row for row in drafted if row.verdict == "outside"]
        parts.append("Not judged is classic GPT-2, whose law is a draft: ")
        parts[-1] += (
            f"there {len(outside)} of {len(drafted)} are off by more than their limit, {_farthest(outside)}."
            if outside
            else f"there all {len(drafted)} hold."
        )
    shown = [row for row in rows if row.limit is None and row.predicted and row.error is not None]
    if parts and shown:
        parts.append(f"What has no limit is off {_farthest(shown)}.")
    return " ".join(parts)


def _farthest(rows: Sequence[PredictionRow]) -> str:
    known = [row for row in rows if row.error is not None]
    if not known:
        return "by an unknown amount"
    row = max(known, key=lambda each: abs(each.error or 0.0))
    return f"by up to {abs(row.error or 0.0):.0%} ({row.quantity} of {row.group})"


def _off(row: PredictionRow) -> str:
    return "unknown" if row.error is None else f"{row.error:+.0%}" if row.predicted else f"{row.error:.1g}"


def _setting_rows(setting: SettingRuns) -> list[PredictionRow]:
    optimizer, measured = setting.optimizer, setting.measured
    num_diverged = len(setting.runs) - len(setting.completed)
    remark = f"{num_diverged} of {len(setting.runs)} runs diverged" if num_diverged else ""
    if has_kinds(setting.config):
        return _kind_rows(setting, remark)
    judged = setting.config.model.architecture == "scale-invariant"
    simulated = None
    if setting.simulation is not None:
        simulated = measure(setting.simulation.trajectory, optimizer, setting.schedule).iloc[0]
    quantities = ADAMW_QUANTITIES if isinstance(optimizer, AdamW) else (ADAMH_ANGLE,)
    rows = [
        _quantity_row(
            measured,
            quantity,
            group=setting.title,
            simulated=None if simulated is None else _number(simulated[quantity.measured]),
            limit=quantity.limit if judged and math.isfinite(quantity.limit) else None,
            remark=remark,
        )
        for quantity in quantities
    ]
    if isinstance(optimizer, AdamH):
        drift = measured["norm_drift"].to_numpy(dtype=float)
        rows.append(
            PredictionRow(
                group=setting.title,
                quantity="norm drift",
                predicted=0.0,
                simulated=None if simulated is None else float(simulated["norm_drift"]),
                measured=_number(np.median(drift)) if len(drift) else None,
                low=_number(drift.min()) if len(drift) else None,
                high=_number(drift.max()) if len(drift) else None,
                error=_number(drift.max()) if len(drift) else None,
                limit=NORM_DRIFT_LIMIT,
                count=len(drift),
                remark=remark,
            )
        )
    return rows


def _kind_rows(setting: SettingRuns, remark: str) -> list[PredictionRow]:
    """Without simulation, which is one of white noise."""
    kinds = setting.measured["matrix"].map(kind_of)
    return [
        _quantity_row(
            setting.measured[kinds == kind],
            quantity,
            group=f"{setting.title}, {kind}",
            simulated=None,
            limit=quantity.limit if kind != DRIVEN and math.isfinite(quantity.limit) else None,
            remark=remark,
            promised=False,
        )
        for kind in radial.KINDS
        for quantity in KIND_QUANTITIES
    ]


def _quantity_row(
    table: pd.DataFrame,
    quantity: ComparedQuantity,
    *,
    group: str,
    simulated: float | None,
    limit: float | None,
    remark: str,
    promised: bool = True,
) -> PredictionRow:
    known = table[[quantity.measured, quantity.predicted]].astype(float).dropna()
    values, predicted = known[quantity.measured], known[quantity.predicted]
    by_seed = (values / predicted).groupby(table["run"].loc[known.index]).median() - 1
    some = len(known) > 0
    return PredictionRow(
        group=group,
        quantity=quantity.label,
        predicted=float(predicted.median()) if some else None,
        simulated=simulated,
        measured=float(values.median()) if some else None,
        low=float(values.min()) if some else None,
        high=float(values.max()) if some else None,
        error=float((values / predicted).median() - 1) if some else None,
        limit=limit,
        count=len(known),
        remark=remark or _coverage(len(known), len(table)),
        promised=promised,
        seed_low=float(by_seed.min()) if len(by_seed) > 1 else None,
        seed_high=float(by_seed.max()) if len(by_seed) > 1 else None,
    )


def _coverage(known: int, matrices: int) -> str:
    if known == matrices:
        return ""
    return f"{known} of {matrices} matrices" if known else "not measured: no equilibrium, or no relaxation, in this run"


def _order_of(run: Run) -> tuple[float | str, ...]:
    """The same whatever the folders are called."""
    config = run.config
    assert isinstance(config, SimulationConfig)
    optimizer = config.optimizer
    decay = getattr(optimizer, "weight_decay", 0.0)
    return getattr(optimizer, "beta2", 0.0), config.initial_rms, optimizer.name, optimizer.learning_rate, decay


def _simulation_row(run: Run) -> PredictionRow:
    config, agreement = run.config, run.summary.get("agreement") or {}
    assert isinstance(config, SimulationConfig)
    assert isinstance(config.optimizer, ComparedOptimizer)
    error, standard_error = agreement.get("max_relative_error"), agreement.get("max_relative_standard_error")
    bias = agreement.get("mean_relative_bias") or {}
    judged = config.optimizer.beta2 >= 0.999
    precise = standard_error is not None and standard_error <= SIMULATION_STANDARD_ERROR_LIMIT
    remark = "diverged" if run.summary.get("outcome") == "diverged" else "not compared"
    if agreement:
        remark = f"max |z| {agreement['max_abs_z']:.1f}, standard error {standard_error:.2%}"
        remark += f", mean bias RMS {bias['weight_rms']:+.2%} angle {bias['angular_update']:+.2%}"
    return PredictionRow(
        group=(
            "Simulation against theory, largest deviation, constant gradient scale,"
            f" beta2={config.optimizer.beta2:g}, initial RMS {config.initial_rms:.3g}"
        ),
        quantity=setting_name(config),
        predicted=0.0,
        simulated=None,
        measured=error,
        low=None,
        high=None,
        error=error if precise or not judged else None,
        limit=SIMULATION_LIMIT if judged else None,
        count=config.dim * config.num_replicas,
        remark=remark if precise or not judged else remark + " (too large)",
    )


def _number(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None
