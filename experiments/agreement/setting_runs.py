"""Which runs belong together: those of one setting, with the simulation of the same setting."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from experiments.agreement.matrix_networks import network_of
from experiments.agreement.measure import ComparedOptimizer, empty_measurement, measure
from experiments.runs.configs import config_hash
from experiments.runs.run_files import Run
from experiments.runs.simulation import SimulationConfig
from gpt.config import TrainConfig
from theory import AdamC, AdamW, RunOutcome, Schedule


@dataclass(frozen=True, kw_only=True)
class SettingRuns:
    """Training runs that differ in seed and device only, and whose steps have a closed form.

    title : names what sets them apart from the others. runs : at least one. simulation : of their optimizer, schedule
    and initial RMS, if there is one.
    """

    title: str
    runs: tuple[Run, ...]
    simulation: Run | None

    @property
    def config(self) -> TrainConfig:
        """That of the first run."""
        config = self.runs[0].config
        assert isinstance(config, TrainConfig)
        return config

    @property
    def optimizer(self) -> ComparedOptimizer:
        assert isinstance(self.config.optimizer, ComparedOptimizer)
        return self.config.optimizer

    @property
    def schedule(self) -> Schedule:
        return self.config.schedule

    @property
    def completed(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.outcome is RunOutcome.COMPLETED)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """`measure` of every completed run, a row for each matrix, with the name of its ``run``."""
        tables = [
            measure(
                run.trajectory, self.optimizer, self.schedule, lambda matrix: network_of(self.config, matrix)
            ).assign(run=run.path.name)
            for run in self.completed
        ]
        return pd.concat(tables, ignore_index=True) if tables else empty_measurement().assign(run=None)


def group_runs(runs: Sequence[Run]) -> list[SettingRuns]:
    """The training runs among these by setting, in the order of first appearance.

    Runs without a closed form are left out.
    """
    groups: dict[TrainConfig, list[Run]] = {}
    for run in runs:
        if isinstance(run.config, TrainConfig) and has_closed_form(run.config):
            groups.setdefault(dataclasses.replace(run.config, seed=0, device="auto"), []).append(run)
    found = []
    for config, group in groups.items():
        title, longer = _titles(config)
        if sum(_titles(other)[0] == title for other in groups) > 1:
            alone = sum(_titles(other)[1] == longer for other in groups) == 1
            title = longer if alone else f"{longer} [{config_hash(config)}]"
        found.append(SettingRuns(title=title, runs=tuple(group), simulation=_simulation_of(config, runs)))
    return found


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


def _titles(config: TrainConfig) -> tuple[str, str]:
    """A short one, and one that says more."""
    short = f"{setting_name(config)}, {config.model.architecture}"
    schedule = config.schedule
    return short, f"{short}, width {config.model.d_model}, {schedule.name}, {schedule.num_steps} steps"


def _simulation_of(config: TrainConfig, runs: Sequence[Run]) -> Run | None:
    wanted = (config.optimizer, config.schedule, config.model.init_rms)
    for run in runs:
        simulated = run.config
        if isinstance(simulated, SimulationConfig) and wanted == (
            simulated.optimizer,
            simulated.schedule,
            simulated.initial_rms,
        ):
            return run
    return None
