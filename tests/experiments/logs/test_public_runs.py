"""Somebody else's GPU runs: weight norms and directions of Pythia-70M under AdamW (tiexinding/NPM-Weibull-public)."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest

from experiments.logs.reading import read_log
from experiments.logs.settings import Setting
from theory.networks import GPT2, WHITE_NOISE

WITH_DIRECTION = (
    "pythia_lr1e-3_wd0.01_seed3",
    "pythia_lr1e-3_wd0.01_seed4",
    "pythia_lr3e-4_matrices",
    "pythia_continued_lr1e-3_matrices",
)


@pytest.fixture
def runs() -> Path:
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip(
            "LRBEND_PUBLIC_DATA is unset: npm_weibull, from github.com/tiexinding/NPM-Weibull-public, is not here"
        )
    return Path(root) / "npm_weibull"


@pytest.mark.parametrize("name", WITH_DIRECTION)
def test_norms_under_the_measured_direction(name: str, runs: Path, tmp_path: Path) -> None:
    """Within 5 % at every record of every matrix, with the settings beside the log and with flags alone."""
    settings = {row["run"]: row for row in csv.DictReader((runs / "runs.csv").read_text().splitlines())}[name]
    alone = Path(shutil.copy(runs / f"{name}.csv", tmp_path))
    told = Setting(weight_decay=float(settings["weight_decay"]), beta1=0.9, beta2=0.999)
    for path, setting in ((runs / f"{name}.csv", Setting()), (alone, told)):
        found = read_log(path, setting)
        assert found.num_steps == int(settings["num_steps"])
        assert found.learning_rate == pytest.approx(float(settings["learning_rate"]), rel=1e-3)
        assert found.weight_decay == float(settings["weight_decay"])
        assert found.weight_rms_error is not None
        assert found.weight_rms_error < 0.05
        assert found.weight_rms_error_predicted is not None
        assert found.weight_rms_error < found.weight_rms_error_predicted
        assert len(found.groups) == (18 if "matrices" in name else 1)
        assert found.reaches_equilibrium is False


def test_what_is_above_white_noise(runs: Path) -> None:
    """The direction's product is 2/(1-beta1) = 20 by momentum; pooled over the run a little more."""
    (group,) = read_log(runs / f"{WITH_DIRECTION[0]}.csv", Setting()).groups
    budget = group.force_budget
    assert budget is not None
    assert budget.alignment_white_noise == pytest.approx(20)
    assert 20 < budget.alignment < 22
    assert 0 < budget.signal < 0.1


def test_norms_alone(runs: Path) -> None:
    """Rates from the settings beside it; no direction, so no error with one, and no constant one that explains it."""
    found = read_log(runs / "pythia_lr1e-3_wd0.05.csv", Setting())
    assert found.num_relaxations == pytest.approx(1.1, abs=0.01)
    assert found.weight_rms_error is None
    assert found.weight_rms_error_predicted is not None
    assert 0.1 < found.weight_rms_error_predicted < 0.3
    assert not any("--direction" in note for note in found.notes)
    assert found.angles_from == "logged norm, direction of white noise"


def test_the_direction_of_the_network_they_are_is_predicted_better(runs: Path) -> None:
    """Nothing of these runs is put in but their hyperparameters; by white noise the norm is 25 % off on its way."""
    for name in ("pythia_lr1e-3_wd0.01_seed3", "pythia_lr1e-3_wd0.01_seed4"):
        log = runs / f"{name}.csv"
        white, ours = (read_log(log, Setting(network=each)).weight_rms_error_predicted for each in (WHITE_NOISE, GPT2))
        assert white is not None
        assert ours is not None
        assert white > 0.2
        assert ours < 0.1
