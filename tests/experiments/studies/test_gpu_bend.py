"""The bend at 22M to 708M parameters: the plan is crossed and matched in angle, its costs add up, nothing runs."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.cli.main import main
from experiments.studies.gpu import bend
from experiments.sweeps.study import Study
from gpt.config import TrainConfig
from gpt.estimates import num_matrix_params, num_tokens
from theory import predict_trajectory
from theory.networks import SCALE_INVARIANT

DOCS = Path(__file__).parents[3] / "docs"


@cache
def planned() -> Study:
    return bend.study()


def mean_angle_of(config: TrainConfig, rms: float) -> float:
    """By the exact recursion, where the grids are made in the slow limit."""
    run = predict_trajectory(config.optimizer, config.schedule, initial_rms=rms, network=SCALE_INVARIANT)
    return float(run.angular_update.mean())


def test_arms_sizes_and_lengths_are_crossed() -> None:
    keys = {(c.arm, num_matrix_params(c.config.model), num_tokens(c.config)) for c in planned().cells}
    arms, sizes, lengths = (set(part) for part in zip(*keys, strict=True))
    assert (len(arms), len(sizes), len(lengths)) == (4, 4, 4)
    assert len(keys) == 64
    assert max(sizes) == pytest.approx(708e6, rel=1e-3)
    assert {c.config.model.d_model for c in planned().cells} == {512, 768, 1024, 1280}


def test_the_arms_turn_alike() -> None:
    """The middle rate of each arm in the shortest runs, within what the slow limit leaves out at their start."""
    found = {}
    for cell in planned().cells:
        if cell.label.endswith("22M-1B"):
            config = cell.run(cell.learning_rates[2], 0)
            found[cell.arm] = mean_angle_of(config, config.block_rms or 1.0)
    assert len(found) == 4
    usual = found.pop("usual start")
    assert all(angle == pytest.approx(usual, rel=0.1) for angle in found.values()), (usual, found)


def test_it_plans_and_says_that_no_gpu_has_run_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(["study", "bend", "--scale", "gpu", *folders]) == 0
    assert "planned, not run on a GPU" in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())
    table = pd.read_csv(tmp_path / "results" / "plan.csv")
    totals = json.loads((tmp_path / "results" / "plan.json").read_text())
    assert table["hours_on_one"].sum() == pytest.approx(totals["hours_on_one"], rel=1e-3)
    assert table["runs"].sum() == totals["num_runs"]
    committed = json.loads((DOCS / "bend-gpu" / "plan.json").read_text())
    assert totals["hours_on_one"] == pytest.approx(committed["hours_on_one"])
    pd.testing.assert_frame_equal(table, pd.read_csv(DOCS / "bend-gpu" / "plan.csv"))


def test_a_scale_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "bend", "--scale", "tpu"]) == 2
    assert "--option scale=tpu: must be cpu or gpu" in capsys.readouterr().err


def test_smaller_errors_of_optima_show_smaller_bends() -> None:
    wide, narrow = (bend.smallest_bends(planned(), "num_params", error) for error in (0.12, 0.04))
    assert narrow["of_an_arm"] < wide["of_an_arm"] < wide["between_two_arms"]
    n = np.log([22020096, 84934656, 301989888, 707788800])
    x = (n - n.mean()) / 1.0
    residual = x**2 / 2 - np.polyval(np.polyfit(x, x**2 / 2, 1), x)  # four lengths each, other axes are orthogonal
    error = 0.12 / np.sqrt(4 * (residual**2).sum())
    assert wide["of_an_arm"] == pytest.approx((1.95996 + 1.03643) * error, rel=0.01)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_hour_is_refused_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "gpu-hour", "--runs", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "gpu-hour: needs a GPU" in line
    assert not (tmp_path / "runs").exists()
