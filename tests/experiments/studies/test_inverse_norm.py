"""The study `experiments.studies.inverse_norm` in small, on settings that the full one does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.cli.main import main
from experiments.studies import inverse_norm
from experiments.studies.inverse_norm import LIMITS, RESOLVED, Setting, draw_setting, first_passage, measure
from tests.experiments.cli.said import refusal, strict_json
from theory import AdamW, Constant

FIRST = 1000


def within(row: dict[str, Any]) -> bool:
    transient, theory = row["transient"], row["theory_transient"]
    judged = transient > 0 and row["transient_noise"] <= RESOLVED
    return (
        abs(row["rms_error"]) < LIMITS["rms_error"]
        and abs(row["angle_error"]) < LIMITS["angle_error"]
        and (not judged or abs(theory / transient - 1) < LIMITS["transient_error"])
    )


@pytest.mark.long
@pytest.mark.parametrize("index", range(FIRST, FIRST + 6))
def test_random_settings_agree_with_the_recursion(index: int) -> None:
    """Draws are fixed. The Monte Carlo error of a record is below a tenth of the limits."""
    row = measure(draw_setting(index), most_batches=1)
    assert row["rms_noise"] < 0.1 * LIMITS["rms_error"]
    assert row["angle_noise"] < 0.1 * LIMITS["angle_error"]
    assert within(row)


@pytest.mark.long
def test_where_the_constant_scale_misplaces_the_transient() -> None:
    """A memory of 1,000 steps, from 0.3 of equilibrium: the closed form is far too early, the recursion is right."""
    optimizer = AdamW(learning_rate=0.01, weight_decay=0.3, beta2=0.999, eps=1e-12)
    row = measure(Setting(optimizer=optimizer, schedule=Constant(num_steps=3000), start=0.3, seed=5), most_batches=1)
    assert within(row)
    assert row["transient"] > 4 * row["white_transient"]
    assert abs(row["white_rms_error"]) > 0.15


def test_settings_cover_the_domain() -> None:
    settings = [draw_setting(index) for index in range(200)]
    memories = [1 - setting.optimizer.beta2 for setting in settings]
    starts = [setting.start for setting in settings]
    assert min(memories) < 1.3e-3
    assert max(memories) > 0.08
    assert min(starts) < 0.11
    assert max(starts) > 9
    assert {setting.schedule.name for setting in settings} == {"constant", "linear", "cosine", "wsd"}
    assert {setting.optimizer.name for setting in settings} == {"adamw", "adamc"}
    assert settings[7] == draw_setting(7)


def test_first_passage_is_read_between_records() -> None:
    steps = np.array([0, 10, 20, 30])
    edge = np.log(0.95)
    assert first_passage(steps, np.array([-1.0, edge - 0.3, edge + 0.1, 0.0]), 40) == pytest.approx(17.5)
    assert first_passage(steps, np.log([3, 2, 1.05 * 1.1, 1.05 / 1.1]), 40) == pytest.approx(25)
    assert first_passage(steps, np.array([0.01, 1, 1, 1]), 40) == 0
    assert np.isnan(first_passage(steps, np.array([-1.0, -1.0, -1.0, 0.0]), 20))


def test_the_study_keeps_its_settings_and_fails_where_one_is_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[int] = []
    error = 0.009

    def made_up(setting: Setting) -> dict[str, float]:
        made.append(setting.seed)
        row = dict.fromkeys(inverse_norm.ROW, 0.0) | {"num_replicas": 16}
        return {
            **row,
            "rms_error": -error,
            "transient": 100.0,
            "theory_transient": 100 * (1 + error),
            "white_transient": 50.0,
            "transient_noise": 1e-3,
        }

    monkeypatch.setattr(inverse_norm, "measure", made_up)
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--num-workers", "1"]
    study = ["study", "inverse-norm", *folders, "--json", "--option"]
    assert main([*study, "settings=3"]) == 0
    said = strict_json(capsys.readouterr().out)
    assert said["passed"] is True
    overall = {row["quantity"]: row for row in said["answers"][-3:]}
    assert overall["rms"]["largest_percent"] == pytest.approx(0.9)
    assert overall["transient"]["num_judged"] == overall["transient"]["num_within"] == 3
    assert overall["transient"]["white_median_percent"] == pytest.approx(50)
    assert json.loads((tmp_path / "results" / "config.json").read_text())["num_settings"] == 3
    assert len((tmp_path / "results" / "agreement.csv").read_text().splitlines()) == 1 + 3

    error = 0.011
    assert main([*study, "settings=4"]) == 1
    assert made == [0, 1, 2, 3]
    said = strict_json(capsys.readouterr().out)
    assert [row["num_judged"] - row["num_within"] for row in said["answers"][-3:]] == [1, 0, 0]

    kept = (tmp_path / "runs" / "settings.csv").read_text()
    for damaged in (
        kept + "64,40",
        kept[:-2],
        kept.replace("16,", "inf,"),
        kept.replace("16,", "16,1,"),
        kept + "\0\n",
    ):
        (tmp_path / "runs" / "settings.csv").write_text(damaged)
        assert "settings.csv: damaged" in refusal([*study, "settings=6"], capsys)
