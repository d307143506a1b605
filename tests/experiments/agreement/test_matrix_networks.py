"""Matrices of gpt2 are set beside the law of their kind: runs that follow it pass, others do not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.agreement.leave_one_out import leave_one_out
from experiments.agreement.matrix_networks import kind_of, network_of, predict_matrices
from experiments.agreement.predictions import PredictionRow, prediction_rows
from experiments.agreement.setting_runs import group_runs
from experiments.agreement.trajectories import trajectory_table
from experiments.runs.run_files import Run
from gpt.config import preset
from tests.experiments.conftest import tiny_config
from theory import AdamH, AdamW, Constant, equilibrium, predict_trajectory
from theory.networks import WHITE_NOISE

MATRICES = ("blocks.0.mlp.up.weight", "blocks.0.attention.query.weight", "blocks.0.attention.value.weight")
CONFIG = tiny_config(
    optimizer=AdamW(learning_rate=1e-2, weight_decay=0.5),
    schedule=Constant(num_steps=1600, warmup_steps=50),
    model=preset("cpu-16", "gpt2"),
)
STARTS = np.array([0.02, 0.03, 0.04])


def made(factor: float = 1.0) -> Run:
    """A run that follows the theory of each kind, the RMS times a factor after the start."""
    found = predict_matrices(CONFIG, initial_rms=STARTS, matrices=MATRICES, record_every=10)
    factors = np.where(found.steps == 0, 1.0, factor)[:, None]
    return Run(
        path=Path("run"),
        config=CONFIG,
        provenance={},
        summary={"outcome": "completed"},
        trajectory=dataclasses.replace(found, weight_rms=found.weight_rms * factors),
        standard_error=None,
        losses=np.zeros(CONFIG.schedule.num_steps),
    )


def rows_of(run: Run) -> dict[tuple[str, str], PredictionRow]:
    rows = prediction_rows(group_runs([run]), [])
    return {(row.group.split("gpt2, ")[1], row.quantity): row for row in rows}


def test_each_matrix_is_predicted_from_its_own_start_by_the_law_of_its_kind() -> None:
    found = predict_matrices(CONFIG, initial_rms=STARTS, matrices=MATRICES)
    assert found.matrices == MATRICES
    for place, matrix in enumerate(MATRICES):
        alone = predict_trajectory(
            CONFIG.optimizer, CONFIG.schedule, initial_rms=STARTS[place], network=network_of(CONFIG, matrix)
        )
        np.testing.assert_allclose(found.weight_rms[:, place], alone.weight_rms[:, 0])
    assert [kind_of(matrix) for matrix in MATRICES] == ["up, down", "query, key", "value, output"]
    settled = [equilibrium(CONFIG.optimizer, initial_rms=1, network=network_of(CONFIG, m)).weight_rms for m in MATRICES]
    assert settled[0] > settled[2] > settled[1]


def test_other_runs_are_compared_with_white_noise() -> None:
    held = dataclasses.replace(CONFIG, optimizer=AdamH(learning_rate=0.01))
    other = dataclasses.replace(CONFIG, model=preset("cpu-16", "scale-invariant"))
    assert {network_of(config, matrix) for config in (held, other) for matrix in MATRICES} == {WHITE_NOISE}


def test_runs_that_follow_the_law_pass_and_others_do_not() -> None:
    rows = rows_of(made())
    judged = {key for key, row in rows.items() if row.limit is not None}
    assert {kind for kind, _ in judged} == {"value, output", "up, down"}
    assert all(rows[key].verdict == "within" for key in judged)
    assert all(abs(rows[key].error or 0) < 0.02 for key in judged)
    off = rows_of(made(1.3))["up, down", "weight RMS"]
    assert off.verdict == "outside"
    assert off.error == pytest.approx(0.3, abs=0.02)


def test_records_are_set_beside_the_theory_of_their_kind() -> None:
    (setting,) = group_runs([made()])
    errors = leave_one_out([setting]).points["error"].to_numpy(float)
    assert np.abs(errors).max() < 1e-9
    table = trajectory_table(setting)
    series = [name for name in table["series"].unique() if name.startswith("theory")]
    assert series == [
        "theory of query, key, from 0.03", "theory of value, output, from 0.04", "theory of up, down, from 0.02",
    ]  # fmt: skip
