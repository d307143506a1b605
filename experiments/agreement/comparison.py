"""The table of predictions: for every setting what theory says, what simulation gives, what runs measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiments.agreement.measure import ComparedOptimizer, empty_measurement, measure
from experiments.runs.configs import config_hash
from experiments.runs.run_files import Run
from experiments.runs.simulation import SimulationConfig
from gpt.config import TrainConfig
from theory import AdamC, AdamH, AdamW


@dataclass(frozen=True, kw_only=True)
class Row:
    """One prediction, compared.

    ``measured`` is the median over matrices and seeds, ``low`` and ``high`` the range; ``error`` the median of
    measured / predicted - 1 (for a norm drift, and for simulation against theory, the largest deviation).
    ``limit`` is the largest absolute error that passes, None where no verdict is given.
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

    @property
    def verdict(self) -> str | None:
        """``pass`` or ``fail``; None where none is asked for, or nothing was measured."""
        if self.limit is None or self.count == 0:
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


def setting_name(config: TrainConfig | SimulationConfig) -> str:
    """How a setting is called in tables and figures."""
    optimizer = config.optimizer
    steering = config.steering if isinstance(config, TrainConfig) else None
    decay = f" wd={optimizer.weight_decay:g}" if isinstance(optimizer, AdamW | AdamC) else ""
    name = f"{type(optimizer).__name__} lr={optimizer.learning_rate:g}{decay}"
    if steering is None:
        return name
    angle = "recorded angle" if steering.angle is None else f"angle {steering.angle:g}"
    return f"{name}, {angle}, {steering.norm} norm"


def has_closed_form(config: TrainConfig) -> bool:
    """Whether tables and figures set this run beside theory: nothing but AdamW or AdamH decides about its steps."""
    return config.steering is None and isinstance(config.optimizer, ComparedOptimizer)


def compare(runs: Sequence[Run]) -> list[Row]:
    """All rows for a set of runs: groups of training runs in the order of first appearance, then simulations.

    Verdicts are given on ``scale-invariant`` runs, whose weights fulfil the assumptions of the theory; on AdamH's norm,
    which is kept whatever the model; and on simulations with beta2 >= 0.999, which `validate` makes precise enough.
    """
    simulations = [run for run in runs if isinstance(run.config, SimulationConfig)]
    rows: list[Row] = []
    for title, group in group_runs(runs).items():
        rows += _group_rows(title, group, matching_simulation(simulations, group[0]))
    return rows + [_simulation_row(run) for run in simulations]


def group_runs(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Training runs that differ in seed and device only, under a title that names what sets the group apart.

    Runs without a closed form are left out.
    """
    groups: dict[TrainConfig, list[Run]] = {}
    for run in runs:
        if isinstance(run.config, TrainConfig) and has_closed_form(run.config):
            groups.setdefault(dataclasses.replace(run.config, seed=0, device="auto"), []).append(run)
    titles: dict[str, list[Run]] = {}
    for config, group in groups.items():
        short, long = _titles(config)
        alike = [other for other in groups if _titles(other)[0] == short]
        if len(alike) > 1:
            same = sum(_titles(other)[1] == long for other in alike)
            short = long if same == 1 else f"{long} [{config_hash(config)}]"
        titles[short] = group
    return titles


def _titles(config: TrainConfig) -> tuple[str, str]:
    short = f"{setting_name(config)}, {config.model.architecture}"
    schedule = config.schedule
    return short, f"{short}, width {config.model.d_model}, {schedule.name}, {schedule.num_steps} steps"


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


def _group_rows(title: str, group: Sequence[Run], simulation: Run | None) -> list[Row]:
    config = group[0].config
    assert isinstance(config, TrainConfig)
    optimizer, schedule = config.optimizer, config.schedule
    assert isinstance(optimizer, ComparedOptimizer)
    judged = config.model.architecture == "scale-invariant"
    completed = [run for run in group if run.outcome == "completed"]
    remark = "" if len(completed) == len(group) else f"{len(group) - len(completed)} of {len(group)} runs diverged"
    tables = [measure(run.trajectory, optimizer, schedule) for run in completed]
    measured = pd.concat(tables) if tables else empty_measurement()
    simulated = None if simulation is None else measure(simulation.trajectory, optimizer, schedule).iloc[0]
    quantities = ADAMW_QUANTITIES if isinstance(optimizer, AdamW) else (ADAMH_ANGLE,)
    rows = [
        _row(
            measured,
            quantity,
            group=title,
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
                group=title,
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
    group: str,
    simulated: float | None,
    limit: float | None,
    remark: str,
) -> Row:
    known = table[[quantity.measured, quantity.predicted]].astype(float).dropna()
    values, predicted = known[quantity.measured], known[quantity.predicted]
    some = len(known) > 0
    return Row(
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
    )


def _coverage(known: int, matrices: int) -> str:
    if known == matrices:
        return ""
    return f"{known} of {matrices} matrices" if known else "not measured: no equilibrium, or no relaxation, in this run"


def _simulation_row(run: Run) -> Row:
    config, agreement = run.config, run.summary.get("agreement") or {}
    assert isinstance(config, SimulationConfig)
    assert isinstance(config.optimizer, ComparedOptimizer)
    error, standard_error = agreement.get("max_relative_error"), agreement.get("max_relative_standard_error")
    bias = agreement.get("mean_relative_bias") or {}
    judged = config.optimizer.beta2 >= 0.999
    precise = standard_error is not None and standard_error <= SIMULATION_STANDARD_ERROR_LIMIT
    remark = "diverged"
    if agreement:
        remark = f"max |z| {agreement['max_abs_z']:.1f}, standard error {standard_error:.2%}"
        remark += f", mean bias RMS {bias['weight_rms']:+.2%} angle {bias['angular_update']:+.2%}"
    return Row(
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
