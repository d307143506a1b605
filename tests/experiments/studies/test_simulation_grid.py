"""The grid of `experiments.studies.simulation_grid` in small, on settings that the full one does not have.

Draws are fixed. Had they been new: of the exact forms' 30 comparisons at most one in 4,000 runs exceeds 4.5. A bias of
0.2 % would show at 5 standard errors.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.cli.main import main
from experiments.studies import simulation_grid
from experiments.studies.simulation_grid import APPROXIMATE, COMPARED, TARGET_ERROR, draw_setting, measure, normal_z
from tests.experiments.cli.said import refusal, strict_json
from theory import OPTIMIZERS

FIRST = 1000
# Worst single setting that the theory's own account allows, relative.
LARGEST_BIAS = {"adamw": 1e-3, "adamc": 1e-3, "adamh": 1e-4, "adam-l2": 4e-3, "muon": 2e-3, "muonh": 1e-3}


@pytest.mark.long
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_random_settings_agree_with_theory(name: str) -> None:
    for index in (FIRST,) if name.startswith("muon") else (FIRST + 1, FIRST + 2, FIRST + 3):
        row = measure(draw_setting(name, index), target=np.inf)
        for field in COMPARED:
            bias, error = row[f"{field}_bias"], row[f"{field}_error"]
            assert error < 1.5 * TARGET_ERROR
            if error < 1e-9:
                assert abs(bias) < 1e-7  # held by construction
            elif (name, field) in APPROXIMATE:
                assert abs(bias) < LARGEST_BIAS[name] + 4.5 * error, (index, field)
            else:
                assert abs(normal_z(np.array(bias / error), np.array(row["num_replicas"]))) < 4.5, (index, field)


def test_normal_z_of_students_t() -> None:
    """Two-sided 0.1 % points of t with 9 degrees of freedom and of the normal law, from tables."""
    assert normal_z(np.array([4.781, -4.781]), np.array([10, 10])) == pytest.approx([3.291, -3.291], abs=1e-3)


@pytest.mark.parametrize("bias", [0.0, 1e-4])
def test_an_error_of_0_among_others_is_no_agreement(bias: float) -> None:
    row = {f"{field}_bias": 1e-4 for field in COMPARED} | {f"{field}_error": 1e-4 for field in COMPARED}
    row |= {"num_replicas": 64, "dim": 4096}
    rows = [row, {**row, "weight_rms_bias": bias, "weight_rms_error": 0.0}]
    rms, angle = simulation_grid.summarise({"lion": rows})
    assert (rms["max_abs_z"], simulation_grid.passes(rms), simulation_grid.passes(angle)) == (np.inf, False, True)


def test_the_study_keeps_its_settings_and_fails_where_a_form_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On made-up rows: a bias of one standard error passes, one of ten does not; only settings that are missing run."""
    made: list[float] = []
    bias = 1e-4

    def made_up(setting: simulation_grid.Setting) -> dict[str, float]:
        made.append(setting.seed)
        row: dict[str, float] = {"num_replicas": 64, "dim": 4096}
        for field in COMPARED:
            row |= {f"{field}_bias": bias, f"{field}_error": 1e-4}
        return row

    monkeypatch.setattr(simulation_grid, "measure", made_up)
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--num-workers", "1"]
    study = ["study", "simulation-grid", *folders, "--json", "--option", "optimizers=lion,sgdm", "--option"]
    assert main([*study, "settings=2"]) == 0
    said = strict_json(capsys.readouterr().out)
    assert said["passed"] is True
    assert [row["optimizer"] for row in said["answers"]] == ["lion", "lion", "sgdm", "sgdm"]
    table = (tmp_path / "results" / "agreement.csv").read_text().splitlines()
    assert len(table) == 1 + 4
    assert json.loads((tmp_path / "results" / "config.json").read_text())["num_settings"] == 2
    assert made == [0, 1, 0, 1]

    bias = 1e-3
    assert main([*study, "settings=3"]) == 1
    assert made == [0, 1, 0, 1, 2, 2]
    assert strict_json(capsys.readouterr().out)["passed"] is False
    for wrong in ("settings=0", "settings=2.5", "optimizers=lamb"):
        assert f"--option {wrong}: must be " in refusal([*study[:-3], "--option", wrong], capsys)

    kept = (tmp_path / "runs" / "lion.csv").read_text()
    for damaged in (kept + "64,40", kept[:-2], kept.replace("0.001", "nan"), kept.replace("0.001", "0.001,1")):
        (tmp_path / "runs" / "lion.csv").write_text(damaged)
        assert "lion.csv: damaged" in refusal([*study, "settings=4"], capsys)
