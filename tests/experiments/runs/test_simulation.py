"""`lrbend simulate` for every optimizer, and where there is nothing to compare with."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from experiments.cli.main import main
from experiments.runs.configs import config_from_dict, config_to_dict
from experiments.runs.produce import simulate_run
from experiments.runs.simulation import RESOLVED, SimulationConfig, why_no_comparison
from theory import OPTIMIZERS, Constant
from theory.optimizers import AdamL2, AdamW, Muon

SIMULATE = ["simulate", "--learning-rate", "0.01", "--num-steps", "300", "--json"]
FLAGS = {
    "sgdm": ["--gradient-rms", "0.03", "--initial-rms", "0.1"],
    "adam-l2": ["--gradient-rms", "0.03", "--initial-rms", "0.1", "--weight-decay", "0.03"],
    "muon": ["--shape", "16", "64"],
    "muonh": ["--shape", "64", "16"],
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_compared_with_its_theory(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """65,536 entries: errors of 0.3 %, and 1 % for what the theory of the small matrices here leaves out."""
    assert main([*SIMULATE, "--optimizer", name, *FLAGS.get(name, [])]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["outcome"] == "completed"
    assert result["not_compared"] is None
    assert result["max_relative_error"] < 0.02
    assert result["max_relative_standard_error"] < 0.004


def test_it_says_where_there_is_no_theory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SIMULATE, "--beta2", "0.05"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["max_abs_z"] is None
    assert "beta2" in result["not_compared"]
    assert main([*SIMULATE[:-1], "--beta2", "0.05"]) == 0
    assert "Not compared" in capsys.readouterr().out
    assert why_no_comparison(AdamW(learning_rate=0.01, weight_decay=0.1, beta2=0.1)) is None
    assert "decay per step" in str(why_no_comparison(AdamL2(learning_rate=0.1, weight_decay=5.0)))


def test_a_config_of_a_matrix_survives_storage() -> None:
    config = SimulationConfig(
        optimizer=Muon(learning_rate=0.01, weight_decay=0.1),
        schedule=Constant(num_steps=3),
        initial_rms=0.02,
        dim=32,
        shape=(4, 8),
    )
    assert config_from_dict(SimulationConfig, json.loads(json.dumps(config_to_dict(config))), where="here") == config


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_updates_below_the_resolution_of_the_weights_are_not_compared(
    schedule: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last angle of a cosine is 1e-9: with it, a correct simulation is off by tens of standard errors."""
    path = tmp_path / "run.csv"
    flags = [*SIMULATE[:-1], "--schedule", schedule, "--record-every", "1", "--num-replicas", "32", "--csv", str(path)]
    assert main([*flags, "--learning-rate", "1e-4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["max_abs_z"] < 6
    assert result["max_relative_error"] < 0.03
    rows = pd.read_csv(path)
    assert rows["step"].tolist() == list(range(300))
    late = rows[rows["step"] >= result["first_step"]]
    resolved = late["angular_update_theory"] >= RESOLVED
    assert result["num_unresolved"] == int((~resolved).sum())
    assert (result["num_unresolved"] > 0) == (schedule == "cosine")
    name = result["largest_in"]
    difference = (late[name] / late[f"{name}_theory"] - 1)[resolved].abs()
    assert difference.max() == pytest.approx(result["max_relative_error"], rel=1e-9)
    assert late["step"][difference.idxmax()] == result["largest_at_step"]
    assert main([*flags, "--learning-rate", "1e-4"]) == 0
    assert f"({name.replace('_', ' ')}, step {result['largest_at_step']})" in capsys.readouterr().out
    z = ((late[name] - late[f"{name}_theory"]) / late[f"{name}_standard_error"])[resolved].abs().max()
    assert result["max_abs_z"] >= z > 1


def test_a_run_of_which_nothing_can_be_resolved_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SIMULATE, "--learning-rate", "1e-9", "--num-steps", "20"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert "float32" in result["not_compared"]
    assert result["max_abs_z"] is None


def test_a_folder_says_what_was_simulated_and_one_of_another_name_counts(tmp_path: Path) -> None:
    config = SimulationConfig(
        optimizer=AdamW(learning_rate=1e-2, weight_decay=0.1, beta2=0.95),
        schedule=Constant(num_steps=20),
        initial_rms=0.02,
        dim=16,
        num_replicas=2,
    )
    made = simulate_run(tmp_path, config)
    label, _, name = made.name.rpartition("-")
    assert label == "simulation-adamw-lr0.01-wd0.1-beta2_0.95-rms0.02"
    earlier = made.rename(tmp_path / f"simulation-adamw-lr0.01-{name}")
    assert simulate_run(tmp_path, config) == earlier
    assert list(tmp_path.iterdir()) == [earlier]
