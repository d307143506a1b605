"""Growth and laws read from runs whose law is known."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.files import BadInput
from experiments.studies.radial_gradients import fits
from experiments.studies.radial_gradients.run import run_study
from experiments.studies.radial_gradients.runs import by_kind, configs, growth_windows, label, rows_of_trajectory
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from theory import AdamW, Trajectory, record_steps
from theory.momentum import stationary_update_rms
from theory.radial import Law, moments

PLANTED = Law(outward=2.2, valley=0.05)
RATIO = 0.885
MATRICES = ("blocks.0.attention.query", "blocks.0.attention.value", "blocks.0.mlp.up", "blocks.0.mlp.down")
CHOSEN = [c for c in configs() if isinstance(c.optimizer, AdamW) and c.optimizer.beta2 == 0.95][1:5]


def made_rows(config: TrainConfig, law: Law) -> pd.DataFrame:
    """What the study would keep of a run that follows the law, the four matrices 2 % apart."""
    assert isinstance(config.optimizer, AdamW)
    rates = config.optimizer.learning_rate * config.schedule.multipliers()
    run = moments(rates, 0.1 * rates, 0.9, 0.95, config.block_rms or 0, gradient_scale=np.ones(len(rates)), law=law)
    steps = record_steps(len(rates), config.record_every)
    rms = np.sqrt(run.rho[steps])[:, None] * np.array([1, 1, 0.98, 1.02])
    nothing = np.zeros_like(rms)
    direction = np.full_like(rms, RATIO * float(stationary_update_rms(0.9)))
    found = Trajectory(
        steps=steps,
        matrices=MATRICES,
        weight_rms=rms,
        angular_update=nothing,
        relative_update=nothing,
        update_rms=direction,
        cosine=nothing,
    )
    return rows_of_trajectory(config, found)


def test_growth_is_read_from_the_norm() -> None:
    config = CHOSEN[0]
    windows = growth_windows(config, made_rows(config, PLANTED))
    late = windows[windows["first"] >= 200]
    assert sorted(set(late["kind"])) == ["query, key", "up, down", "value, output"]
    expected = RATIO**2 * PLANTED.force(late["relative_step"].to_numpy())
    np.testing.assert_allclose(late["growth"], expected, rtol=0.02)
    np.testing.assert_allclose(late["force"], late["growth"] / RATIO**2, rtol=1e-9)


def test_a_planted_law_is_found_again() -> None:
    rows = pd.concat([by_kind(made_rows(config, PLANTED)) for config in CHOSEN])
    assert set(rows["run"]) == {label(config) for config in CHOSEN}
    found = fits.fit_law(CHOSEN, rows[rows["kind"] != "up, down"])
    assert found.outward == pytest.approx(PLANTED.outward, rel=0.01)
    assert found.valley == pytest.approx(PLANTED.valley, rel=0.02)
    feed_forward = rows[(rows["kind"] == "up, down") & (rows["run"] == label(CHOSEN[0]))]
    assert np.abs(fits.errors(CHOSEN[0], feed_forward, found)).max() < 1e-3
    assert np.abs(fits.errors(CHOSEN[0], feed_forward, None)).max() > 0.1


def test_a_planted_burst_is_found_again() -> None:
    setting: dict[str, object] = {
        "num_steps": 3000, "warmup_steps": 200, "learning_rate": 1e-3, "weight_decay": 0.05, "beta1": 0.9,
        "beta2": 0.999,
    }  # fmt: skip
    row = pd.Series(setting)
    rms = fits.predicted_rms(row, 0.02, PLANTED, 25.0)
    table = pd.DataFrame({"step": np.arange(0, 3001, 100), "weight_rms": rms[::100]})
    law, burst = fits.fit_pythia([(row, table)], PLANTED)
    assert law == PLANTED
    assert burst == pytest.approx(25, rel=0.01)


def test_the_law_carries_to_public_runs() -> None:
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if root is None:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: github.com/tiexinding/NPM-Weibull-public is not here")
    settings = fits.read_settings(Path(root))
    names = ("pythia_lr1e-3_wd0.05", "pythia_lr3e-4_matrices")
    from_one = [(settings[names[0]], fits.read_pythia(Path(root), names[0]))]
    law, burst = fits.fit_pythia(from_one, fits.DEFAULT)
    other = fits.read_pythia(Path(root), names[1])
    start = float(other["weight_rms"].iloc[0])
    rms = fits.predicted_rms(settings[names[1]], start, law, burst)[other["step"].to_numpy()]
    np.testing.assert_allclose(rms, other["weight_rms"], rtol=0.05)


def test_without_the_public_runs_nothing_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRBEND_PUBLIC_DATA", raising=False)
    with pytest.raises(BadInput, match="LRBEND_PUBLIC_DATA"):
        run_study(Workplace(runs=tmp_path / "runs", results=tmp_path / "results"))
    assert not list(tmp_path.iterdir())
