"""The parts of a short direction, on gradients whose one fault is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.files import BadInput
from experiments.studies import direction
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from tests.gpt.walk import make_text
from theory import AdamW, Constant, equilibrium, predict_trajectory

ADAMW = AdamW(learning_rate=1e-2, weight_decay=0.3)
STEPS, ENTRIES, SETTLED = 700, 400, 300


def split(gradients: np.ndarray) -> dict[str, float]:
    return direction.parts(gradients.astype(np.float32), ADAMW, SETTLED, seed=1)


def normal(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(STEPS, ENTRIES))


def test_white_noise_has_the_theorys_direction_and_no_parts() -> None:
    found = split(normal())
    start = equilibrium(ADAMW, initial_rms=1.0).weight_rms
    path = predict_trajectory(ADAMW, Constant(num_steps=400), initial_rms=start, finite_beta2=True)
    assert found["noise"] == pytest.approx(float(path.update_rms[-1, 0]), rel=0.01)
    for name in direction.SHOWN:
        assert found[name] == pytest.approx(0, abs=0.012)
    assert sum(found[name] for name in direction.PARTS) == pytest.approx(found["whole"])


@pytest.mark.parametrize("memory", [-0.3, 0.3])
def test_correlation_alone(memory: float) -> None:
    """An autoregression: 1 + 2 sum (beta1 memory)^k, in closed form; beside it Adam's second moment moves little."""
    noise, series = normal(), np.zeros((STEPS, ENTRIES))
    for step in range(1, STEPS):
        series[step] = memory * series[step - 1] + np.sqrt(1 - memory**2) * noise[step]
    found = split(series)
    expected = np.log(1 + 2 * 0.9 * memory / (1 - 0.9 * memory)) / 2
    assert found["correlation"] == pytest.approx(expected, abs=0.03)
    assert found["by_autocorrelation"] == pytest.approx(expected, abs=0.03)
    assert found["sizes"] == pytest.approx(0, abs=0.02)


def test_sizes_alone() -> None:
    """Sizes that come and go faster than the second moment can follow, and heavy tails, which have no order to lose."""
    swinging = split(normal() * np.exp(1.5 * np.sin(np.arange(STEPS) / 20))[:, None])
    tailed = split(np.random.default_rng(2).standard_t(3, size=(STEPS, ENTRIES)))
    for found in (swinging, tailed):
        assert found["correlation"] == pytest.approx(0, abs=0.02)
        assert found["sizes_shuffled"] < -0.02
    assert swinging["sizes"] < swinging["sizes_shuffled"] - 0.05
    assert tailed["sizes"] == pytest.approx(tailed["sizes_shuffled"], abs=0.015)


@pytest.mark.long
def test_recorded_gradients_are_the_ones_that_adam_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Adam run on them again has the direction that the probe saw. And the study from end to end, resumed."""
    monkeypatch.setattr("gpt.train.load_text", lambda source: make_text())
    monkeypatch.setattr(direction, "SETTLED", 25)
    monkeypatch.setattr(direction, "FIRST_STEP", 0)
    monkeypatch.setattr(direction, "LAGS", 10)
    short = [
        replace(config, schedule=Constant(num_steps=50, warmup_steps=10), record_every=1, eval_batches=1)
        for config in direction.configs()[:2]
    ]
    table = pd.concat([direction.rows_of(config) for config in short])
    assert len(table) == 2 * 12
    np.testing.assert_allclose(table["as_recorded"], table["probed"], rtol=1e-3)

    made: list[int] = []

    def canned(config: TrainConfig) -> pd.DataFrame:
        made.append(config.seed)
        assert isinstance(config.optimizer, AdamW)
        rate, decay = config.optimizer.learning_rate, config.optimizer.weight_decay
        return table[table["seed"] == config.seed].assign(learning_rate=rate, weight_decay=decay)

    monkeypatch.setattr(direction, "configs", lambda: short)
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    first = direction.run_study(place, canned).answers
    assert sorted(made) == [10, 11]
    monkeypatch.setattr(direction, "draw", lambda *_: b"")  # once is enough
    again = direction.run_study(place, canned).answers
    assert sorted(made) == [10, 11]
    pd.testing.assert_frame_equal(first, again)
    for damage in ("", "a,b\n"):
        next((tmp_path / "runs").iterdir()).write_text(damage)
        with pytest.raises(BadInput, match=r"damaged .* delete it"):
            direction.run_study(place, canned)
    whole = first.set_index("part")["value"]
    assert whole[list(direction.PARTS)].sum() == pytest.approx(whole["whole"])
    names = {"config.json", "matrices.csv", "answers.csv", "direction.png"}
    assert {file.name for file in (tmp_path / "results").iterdir()} == names
