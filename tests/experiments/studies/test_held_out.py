"""The held-out study on made runs: what follows the theory meets every target, and what is off is told by how much."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.studies.held_out import answers, causes, readings, run, runs
from experiments.studies.held_out.run import run_study
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from theory.radial import NOISE

NAMES = {
    "query, key": "blocks.0.attention.key",
    "value, output": "blocks.0.attention.value",
    "up, down": "blocks.0.mlp.up",
}


def made(config: TrainConfig, *, rms: float = 1.0, angle: float = 1.0) -> pd.DataFrame:
    """The rows of a run that follows the theory, but for constant factors after the start."""
    tables = []
    for kind, name in NAMES.items():
        matrix = readings.predicted_matrix(config, kind, "predicted")
        factor = np.where(matrix["step"] > 0, rms, 1.0)
        columns = matrix | {"weight_rms": factor * matrix["weight_rms"]}
        columns |= {"angular_update": angle * matrix["angular_update"]}
        tables.append(pd.DataFrame({"matrix": name, "kind": kind, **columns}))
    return pd.concat(tables, ignore_index=True)


@pytest.mark.long
def test_runs_that_follow_the_theory_meet_every_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for architecture, settings in runs.SETTINGS.items():
        monkeypatch.setitem(runs.SETTINGS, architecture, settings[::2])
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    found = run_study(place, make=made)
    judged = found.answers[found.answers["group"] == "judged"].set_index(["architecture", "quantity"])
    assert found.passed
    assert judged["met"].all()
    assert (judged["value"].drop([("scale-invariant", "first_passage_rank")]) < 1e-3).all()
    assert judged.loc[("scale-invariant", "first_passage_rank"), "value"] == 1
    assert (judged["white_noise"].dropna() > 0.01).all()
    assert sorted(file.name for file in place.results.iterdir()) == [
        "answers.csv", "causes.csv", "config.json", "held_out.png", "matrices.csv", "predictions.csv", "settings.csv",
    ]  # fmt: skip


@pytest.mark.long
def test_runs_that_are_there_are_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for architecture, settings in runs.SETTINGS.items():
        monkeypatch.setitem(runs.SETTINGS, architecture, settings[:1])
    monkeypatch.setattr(run, "draw", lambda *_: b"")
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    found = run_study(place, make=made)
    again = run_study(place, make=lambda config: pytest.fail("made a run that was there"))
    pd.testing.assert_frame_equal(again.answers, found.answers, rtol=1e-4)


def test_errors_are_those_that_were_planted() -> None:
    config = runs.configs("scale-invariant")[0]
    found = readings.readings_of(config, made(config, rms=1.07, angle=0.9))
    setting = answers.settings_of(found).iloc[0]
    assert setting["rms_error_predicted"] == pytest.approx(0.07)
    assert setting["angle_error_predicted"] == pytest.approx(-0.1)
    assert setting["trajectory_error_predicted"] == pytest.approx(np.log(1.07))
    assert setting["growth"] / setting["growth_predicted"] == pytest.approx(1.07**2)
    told = answers.answers_of(answers.settings_of(found), {"scale-invariant": 1}).set_index("quantity")
    assert not told.loc["rms", "met"]
    assert told.loc["relaxation", "met"]
    assert not told.loc["angle", "met"]
    missing = answers.answers_of(answers.settings_of(found), {"scale-invariant": 2})
    assert not missing["met"].any()


def test_passage_and_time_are_read_between_records() -> None:
    config = runs.configs("scale-invariant")[6]
    steps = np.arange(0.0, 800, 10)
    rms = 1 - 0.7 * np.exp(-steps / 100)
    matrix = {"step": steps, "weight_rms": rms, "angular_update": rms, "update_rms": rms}
    found = readings.read(config, matrix)
    own = readings.settled_rms(config, matrix)
    assert own == pytest.approx(1, rel=2e-3)
    assert found["first_passage"] == pytest.approx(100 * np.log(0.7 / (1 - 0.9 * own)), rel=2e-3)
    assert found["time"] == pytest.approx(100 * np.log(0.7 / (1 - 0.3 - 0.9 * (own - 0.3))), rel=2e-3)
    assert "time" not in readings.read(config, matrix, own=0.31)


def test_a_run_that_broke_off_has_no_readings() -> None:
    config = runs.configs("gpt2")[0]
    rows = made(config)
    assert readings.readings_of(config, rows[rows["step"] < 500]).empty


def test_every_setting_is_of_its_own() -> None:
    """No two settings share a label or a name of a run; the starts span a factor of ten."""
    for architecture, settings in runs.SETTINGS.items():
        chosen = runs.configs(architecture)
        assert len({runs.label(config) for config in chosen}) == len(settings) >= 12
        assert {s.start for s in settings} >= {0.3, 3}
        assert {s.schedule for s in settings} == {"constant", "cosine", "wsd"}


def test_a_direction_that_was_measured_accounts_for_the_norm() -> None:
    """A run of white noise with a direction 1.2 times as large: the account without force is right, with it is not."""
    config = runs.configs("gpt2")[0]
    settled = readings.predicted_matrix(config, "value, output", "white_noise")
    loud = causes.account_of(config, settled | {"update_rms": 1.2 * settled["update_rms"]}, NOISE)
    rows = pd.DataFrame({"matrix": NAMES["value, output"], "kind": "value, output", **loud})
    (row,) = causes.by_setting(causes.causes_of(config, rows)).to_dict("records")
    assert row["direction_ratio"] == pytest.approx(1.2, rel=1e-3)
    assert row["force"] == pytest.approx(1, abs=0.04)  # 1 for eta lam to 0
    assert row["rms_error_measured_direction_without_force"] == pytest.approx(0, abs=1e-9)
    assert row["force_of_law"] < 0.9
    assert row["rms_error_measured_direction"] > 0.05
