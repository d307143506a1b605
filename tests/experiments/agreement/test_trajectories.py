"""The table of records: each of a run, of the theory from where its matrices start, and of the simulation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.agreement.setting_runs import SettingRuns, group_runs
from experiments.agreement.trajectories import COLUMNS, trajectory_table
from experiments.runs.run_files import Run
from theory import predict_trajectory


@pytest.fixture(scope="module")
def setting(study: tuple[Path, list[Run]]) -> SettingRuns:
    return group_runs(study[1])[0]


def of(table: pd.DataFrame, source: str, place: int = 0) -> pd.DataFrame:
    sources, places = (table.index.get_level_values(level) for level in ("source", "place"))
    return table[(sources == source) & (places == place)]


def test_every_record_of_every_run_is_there(setting: SettingRuns) -> None:
    table = trajectory_table(setting)
    assert tuple(table.columns) == COLUMNS
    for place, run in enumerate(setting.runs):
        rows = of(table, "measured", place)
        assert set(rows["series"]) == {f"measured, seed {run.config.seed}"}
        for column, matrix in enumerate(run.trajectory.matrices):
            own = rows[rows["matrix"] == matrix]
            np.testing.assert_array_equal(own["step"], run.trajectory.steps)
            np.testing.assert_array_equal(own["angular_update"], run.trajectory.angular_update[:, column])
            np.testing.assert_array_equal(own["weight_rms"], run.trajectory.weight_rms[:, column])
    assert setting.simulation is not None
    simulated = of(table, "simulation")
    np.testing.assert_array_equal(simulated["weight_rms"], setting.simulation.trajectory.weight_rms[:, 0])


def test_there_is_a_theory_for_each_scale_at_which_matrices_start(setting: SettingRuns) -> None:
    (run, *_), columns = setting.runs, np.arange(len(setting.runs[0].trajectory.matrices))
    factor = np.where(columns == 0, 3.0, np.where(columns == 1, 1.1, 1.0))
    scaled = replace(run.trajectory, weight_rms=run.trajectory.weight_rms * factor)
    table = trajectory_table(replace(setting, runs=(replace(run, trajectory=scaled),)))
    theory = table[table["series"].str.startswith("theory")]
    starts = theory[theory["step"] == 0]["weight_rms"].to_numpy(float)
    assert starts == pytest.approx([np.median(scaled.weight_rms[0, 1:]), scaled.weight_rms[0, 0]])
    for place, initial in enumerate(starts):
        predicted = predict_trajectory(
            setting.optimizer, setting.schedule, initial_rms=initial, record_every=setting.config.record_every
        )
        np.testing.assert_array_equal(of(table, "theory", place)["angular_update"], predicted.angular_update[:, 0])
