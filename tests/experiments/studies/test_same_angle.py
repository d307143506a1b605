"""The answers of the study same-angle on planted tables: losses that see the mean angle alone, and others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.files import BadInput
from experiments.studies.same_angle import run
from experiments.studies.same_angle.answers import answers_of, mean_angle, measured_angle, predicted_rate
from experiments.studies.same_angle.study import study
from experiments.studies.workplace import Workplace
from tests.experiments.cli.said import refusal
from tests.experiments.tiny_study import tiny_study
from theory import AdamH, AdamW

NOISE = 0.004


def planted(shift: float = 0.0) -> pd.DataFrame:
    """Parabolas in ln(mean angle) with the optimum at 0.008 (num_steps/1600)^-0.3; that of AdamW ``shift`` higher."""
    rng = np.random.default_rng(0)
    rows = []
    for cell in study().cells:
        config = cell.config
        steps = config.schedule.num_steps
        for rate in cell.learning_rates:
            optimizer = (
                AdamH(learning_rate=rate) if cell.arm == "adamh" else AdamW(learning_rate=rate, weight_decay=0.1)
            )
            angle = mean_angle(optimizer, config.schedule)
            z = np.log(angle / 0.008) + 0.3 * np.log(steps / 1600) - (shift if cell.arm != "adamh" else 0.0)
            for seed in cell.seeds:
                loss = 2 + 0.06 * z**2 / 2 + NOISE * rng.normal()
                rows.append((cell.arm, steps, 24576, 1024 * steps, rate, loss, seed, angle))
    names = ["arm", "num_steps", "num_params", "num_tokens", "learning_rate", "loss", "seed", "mean_angle"]
    return pd.DataFrame(rows, columns=names)


def test_adamw_at_equilibrium_turns_by_the_root() -> None:
    """Twice AdamH's rate, four times AdamW's, up to terms of the order of the decay per step."""
    low, high = (predicted_rate(rate, 1600) for rate in (1e-3, 2e-3))
    assert high / low == pytest.approx(4, rel=0.02)


def test_losses_that_see_the_angle_alone_are_told_so() -> None:
    answers = answers_of(planted())
    assert list(answers["quantity"]) == ["cell", "cell", "cell", "pooled", "slope"]
    for _, row in answers.iloc[:3].iterrows():
        optimum = 0.008 * (row["num_steps"] / 1600) ** -0.3
        assert row["adamh_angle"] == pytest.approx(optimum, rel=0.15)
        assert row["adamw_angle"] == pytest.approx(optimum, rel=0.15)
    for _, row in answers.iloc[3:].iterrows():
        assert row["low"] < 0 < row["high"]
    assert answers["high"].iloc[3] - answers["low"].iloc[3] < 0.7


def test_an_optimum_at_another_angle_is_not_missed() -> None:
    """0.4 in ln(angle) is 0.8 in ln(rate) at equilibrium."""
    pooled = answers_of(planted(shift=0.4)).iloc[3]
    assert pooled["low"] > 0.4
    assert pooled["low"] < 0.8 < pooled["high"]


def test_tables_that_hold_no_answer() -> None:
    table = planted()
    with pytest.raises(BadInput, match="no column mean_angle"):
        answers_of(table.drop(columns="mean_angle"))
    with pytest.raises(BadInput, match="no column arm"):
        answers_of(table.drop(columns="arm"))
    with pytest.raises(BadInput, match="num_steps other than the study's 800, 1600, 3200"):
        answers_of(table.assign(num_steps=100))
    with pytest.raises(BadInput, match="mean_angle must be above 0"):
        answers_of(table.assign(mean_angle=np.nan))
    with pytest.raises(BadInput, match="an arm is missing"):
        answers_of(table[table["arm"] == "adamh"])
    low = table[(table["arm"] == "equilibrium") | (table["learning_rate"] < 0.02)]
    with pytest.raises(BadInput, match="fewer than two lengths"):
        answers_of(low.assign(loss=low["learning_rate"]))


def test_angles_between_rates() -> None:
    runs = pd.DataFrame({"learning_rate": [1e-3, 4e-3], "mean_angle": [1e-2, 4e-2]})
    assert measured_angle(runs, 2e-3) == pytest.approx(2e-2)


@pytest.mark.long
def test_a_table_is_answered_in_place_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "table.csv"
    planted().to_csv(file, index=False)
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    answers = run.run_study(place, file).answers
    assert list(place.runs.iterdir()) == []
    assert {path.name for path in place.results.iterdir()} == {"answers.csv", "same-angle.png"}
    assert (place.results / "same-angle.png").read_bytes().startswith(b"\x89PNG")
    written = pd.read_csv(place.results / "answers.csv")
    np.testing.assert_allclose(written["value"], answers["value"], rtol=1e-4)
    said = refusal(["study", "same-angle", "--option", f"table={tmp_path / 'none.csv'}"], capsys)
    assert "none.csv: " in said

    # Without a table the study's own runs are made; here those of a study that cannot answer.
    monkeypatch.setattr(run, "study", lambda: replace(tiny_study(tmp_path, num_steps=10), name="same-angle"))
    with pytest.raises(BadInput, match="an arm is missing"):
        run.run_study(place)
    assert len(pd.read_csv(place.results / "runs.csv")) == 4
