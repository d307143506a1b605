"""The table of predictions: for every setting what theory says, what simulation gives, what runs measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.agreement import measure
from experiments.run_directory import Run
from experiments.simulation import SimulationConfig
from gpt.config import TrainConfig
from theory import AdamH, AdamW, Optimizer, Schedule


@dataclass(frozen=True, kw_only=True)
class Row:
    """One prediction, compared.

    ``measured`` is the median over matrices and seeds, ``low`` and ``high`` the range; ``error`` the median of
    measured / predicted - 1 (for a norm drift, and for simulation against theory, the largest deviation).
    ``limit`` is the largest absolute error that passes, None where no verdict is given.
    """

    setting: str
    architecture: str
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

    @property
    def verdict(self) -> str | None:
        """``pass`` or ``fail``; None where none is asked for."""
        if self.limit is None:
            return None
        return "pass" if self.error is not None and abs(self.error) <= self.limit else "fail"


@dataclass(frozen=True)
class Quantity:
    """A column of `agreement.measure`, its prediction, and the largest error that counts as agreement."""

    label: str
    measured: str
    predicted: str
    limit: float


ADAMW_QUANTITIES = (
    Quantity("angular update (rad)", "angular_update", "predicted_angular_update", 0.06),
    Quantity("weight RMS", "weight_rms", "predicted_weight_rms", 0.18),
    Quantity("weight RMS, measured U", "weight_rms", "predicted_weight_rms_from_update", 0.05),
    Quantity("relaxation (steps)", "relaxation_steps", "predicted_relaxation_steps", 0.30),
    Quantity("relaxation, constant U", "plain_relaxation_steps", "predicted_relaxation_steps", math.inf),
)
ADAMH_ANGLE = Quantity("angular update (rad)", "angular_update", "predicted_angular_update", math.inf)
NORM_DRIFT_LIMIT = 1e-6
SIMULATION_LIMIT = 0.005
SIMULATION_STANDARD_ERROR_LIMIT = 0.001


def setting_name(optimizer: Optimizer) -> str:
    """How a setting is called in tables and figures."""
    if isinstance(optimizer, AdamW):
        return f"AdamW lr={optimizer.learning_rate:g} wd={optimizer.weight_decay:g}"
    return f"AdamH lr={optimizer.learning_rate:g}"


def compare(runs: Sequence[Run]) -> list[Row]:
    """All rows for a set of runs: training settings in the order of first appearance, then simulations.

    Verdicts are given on ``scale-invariant`` runs, whose weights fulfil the assumptions of the theory, and on
    simulations with beta2 >= 0.999, for which the theory is stated.
    """
    training = [run for run in runs if isinstance(run.config, TrainConfig)]
    simulations = [run for run in runs if isinstance(run.config, SimulationConfig)]
    rows: list[Row] = []
    for key in dict.fromkeys(_key(run) for run in training):
        group = [run for run in training if _key(run) == key]
        rows += _setting_rows(group, matching_simulation(simulations, group[0]))
    for run in simulations:
        rows.append(_simulation_row(run))
    return rows


def matching_simulation(runs: Sequence[Run], run: Run) -> Run | None:
    """The simulation of a training run's optimizer, schedule and initial RMS, if there is one."""
    config = run.config
    assert isinstance(config, TrainConfig)
    wanted = (config.optimizer, config.schedule, config.model.init_rms)
    for each in runs:
        simulated = each.config
        if isinstance(simulated, SimulationConfig) and wanted == (
            simulated.optimizer,
            simulated.schedule,
            simulated.initial_rms,
        ):
            return each
    return None


def _key(run: Run) -> tuple[str, int, Optimizer, Schedule]:
    assert isinstance(run.config, TrainConfig)
    return (run.config.model.architecture, run.config.model.d_model, run.config.optimizer, run.config.schedule)


def _setting_rows(group: Sequence[Run], simulation: Run | None) -> list[Row]:
    config = group[0].config
    assert isinstance(config, TrainConfig)
    architecture, optimizer, schedule = config.model.architecture, config.optimizer, config.schedule
    judged = architecture == "scale-invariant"
    completed = [run for run in group if run.outcome == "completed"]
    remark = "" if len(completed) == len(group) else f"{len(group) - len(completed)} of {len(group)} runs diverged"
    if completed:
        measured = pd.concat([measure(run.trajectory, optimizer, schedule) for run in completed])
    else:
        measured = measure(group[0].trajectory, optimizer, schedule).iloc[:0]
    simulated = None if simulation is None else measure(simulation.trajectory, optimizer, schedule).iloc[0]
    quantities = ADAMW_QUANTITIES if isinstance(optimizer, AdamW) else (ADAMH_ANGLE,)
    rows = [
        _row(
            measured,
            quantity,
            setting=setting_name(optimizer),
            architecture=architecture,
            simulated=None if simulated is None else _number(simulated[quantity.measured]),
            limit=quantity.limit if judged and math.isfinite(quantity.limit) else None,
            remark=remark,
        )
        for quantity in quantities
    ]
    if isinstance(optimizer, AdamH):
        drift = measured["norm_drift"].to_numpy(dtype=float)
        rows.append(
            Row(
                setting=setting_name(optimizer),
                architecture=architecture,
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


def _row(
    table: pd.DataFrame,
    quantity: Quantity,
    *,
    setting: str,
    architecture: str,
    simulated: float | None,
    limit: float | None,
    remark: str,
) -> Row:
    known = table[[quantity.measured, quantity.predicted]].astype(float).dropna()
    values, predicted = known[quantity.measured], known[quantity.predicted]
    some = len(known) > 0
    return Row(
        setting=setting,
        architecture=architecture,
        quantity=quantity.label,
        predicted=float(predicted.median()) if some else None,
        simulated=simulated,
        measured=float(values.median()) if some else None,
        low=float(values.min()) if some else None,
        high=float(values.max()) if some else None,
        error=float((values / predicted).median() - 1) if some else None,
        limit=limit,
        count=len(known),
        remark=remark or ("" if len(known) == len(table) else f"{len(known)} of {len(table)} matrices"),
    )


def _simulation_row(run: Run) -> Row:
    config, agreement = run.config, run.summary.get("agreement") or {}
    assert isinstance(config, SimulationConfig)
    error, standard_error = agreement.get("max_relative_error"), agreement.get("max_relative_standard_error")
    bias = agreement.get("mean_relative_bias") or {}
    judged = config.optimizer.beta2 >= 0.999
    precise = standard_error is not None and standard_error <= SIMULATION_STANDARD_ERROR_LIMIT
    remark = f"max |z| {agreement.get('max_abs_z') or math.nan:.1f}, standard error {standard_error or math.nan:.2%}"
    if bias:
        remark += f", mean bias RMS {bias['weight_rms']:+.2%} angle {bias['angular_update']:+.2%}"
    return Row(
        setting="Simulation against theory, largest deviation",
        architecture=f"beta2={config.optimizer.beta2:g}, initial RMS {config.initial_rms:.3g}",
        quantity=setting_name(config.optimizer),
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
