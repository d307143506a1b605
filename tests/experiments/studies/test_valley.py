"""The study of the valley on made matrices, whose curvatures and noise are known at every setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.studies import direction, valley
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from theory import AdamW
from theory.valley import Valley

# No curvature that comes near its limit, or beyond what is fitted, at any setting.
SPECTRUM = Valley(beta1=0.9, curvatures=np.array([0.05, 0.5, 2.0]), shares=np.array([0.4, 0.4, 0.2]))
SIZES = -0.06
MATRICES = ("first", "second")
At = Callable[[float, float], Valley]  # the valley at (factor, beta1)


def made(config: TrainConfig, at: At, *, gradient_rms: float = 1.0) -> pd.DataFrame:
    """The rows of a run whose matrices are in the valley at the factor that theory gives its setting."""
    assert isinstance(config.optimizer, AdamW)
    optimizer = config.optimizer
    factor = float(np.sqrt(optimizer.learning_rate * optimizer.weight_decay / 0.003 * config.batch_size / 16))
    found = at(factor, optimizer.beta1)
    lags = found.gradient_autocorrelation(valley.LAGS)
    shared = {
        "learning_rate": optimizer.learning_rate,
        "weight_decay": optimizer.weight_decay,
        "beta1": optimizer.beta1,
        "batch_size": config.batch_size,
        "d_model": config.model.d_model,
        "seed": config.seed,
        "gradient_rms": gradient_rms,
        "correlation": np.log(found.direction_ratio),
        "sizes": SIZES,
        "whole": np.log(found.direction_ratio) + SIZES,
        "sizes_shuffled": SIZES,
        "by_autocorrelation": np.log(found.direction_ratio),
    }
    return pd.DataFrame([{**shared, "matrix": m, **dict(zip(valley.LAG_NAMES, lags, strict=True))} for m in MATRICES])


def table(at: At, **changed: float) -> pd.DataFrame:
    return pd.concat([made(config, at, **changed) for config in valley.configs()], ignore_index=True)


def errors(predictions: pd.DataFrame, name: str) -> np.ndarray:
    return np.asarray(np.abs(predictions[name] / predictions["measured"] - 1))


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("noise", lambda factor, beta1: SPECTRUM.moved(factor=factor, beta1=beta1)),
        ("shares", lambda factor, beta1: SPECTRUM.scaled(factor=factor, beta1=beta1)),
        ("same", lambda factor, beta1: SPECTRUM),
    ],
)
def test_the_predictor_whose_world_it_is_is_right_and_no_other(name: str, at: At) -> None:
    """``noise`` without beta1 = 0.5: curvatures of up to 10, which no fit can rule out, are past the limit there."""
    whole = table(at)
    found = valley.predictions_of(whole[(whole["beta1"] > 0.5) | (name != "noise")])
    num_settings = 8 if name == "noise" else 9
    assert len(found) == num_settings * len(MATRICES)
    assert errors(found, name).max() < 4e-3
    assert found[f"lags_{name}"].max() < 4e-3
    for other in {"noise", "shares", "same", "constant"} - {name}:
        assert errors(found, other).max() > 0.01
    answers = valley.answers_of(found)
    verdicts = valley.verdicts_of(answers).set_index("predictor")
    assert verdicts.loc[name, "passed"] == verdicts.loc[name, "settings"] == num_settings - 1
    worth = verdicts["worth_having"]
    assert worth[name]
    assert not worth["constant"]


def test_fisher_reads_the_size_of_the_gradient() -> None:
    """Gradients half as large in all settings but the reference: curvatures too, at the same batch."""
    whole = table(lambda factor, beta1: SPECTRUM)
    elsewhere = (whole["weight_decay"] != 0.3) | (whole["beta1"] != 0.9) | (whole["batch_size"] != 16)
    whole.loc[elsewhere, "gradient_rms"] = 0.5
    found = valley.predictions_of(whole)
    row = found[(found["weight_decay"] == 0.1)].iloc[0]
    assert row["measured_factor"] == 0.5
    expected = SPECTRUM.scaled(factor=0.5).direction_ratio * np.exp(SIZES)
    assert row["fisher"] == pytest.approx(expected, rel=3e-3)
    assert found.loc[found["batch_size"] == 64, "measured_factor"].iloc[0] == 2.0


def test_the_constant_is_judged_by_setting() -> None:
    found = valley.answers_of(valley.predictions_of(table(lambda factor, beta1: SPECTRUM)))
    constant = found[found["predictor"] == "constant"]
    measured = SPECTRUM.direction_ratio * np.exp(SIZES)
    np.testing.assert_allclose(constant["error"], valley.CONSTANT / measured - 1)
    assert abs(valley.CONSTANT / measured - 1) > valley.TOLERANCE
    assert not constant["within_tolerance"].any()


def test_rows_have_the_setting_and_the_gradients_size(monkeypatch: pytest.MonkeyPatch) -> None:
    config = next(c for c in valley.configs() if c.batch_size == 64)
    steps = direction.SETTLED + 100
    gradients = 3.0 * np.random.default_rng(1).standard_normal((steps, 50)).astype(np.float32)
    gradients[: direction.SETTLED] *= 10  # not read
    monkeypatch.setattr(direction, "record_gradients", lambda config, first: ([gradients], {"w": 0.2}))
    (row,) = valley.rows_of(config).to_dict("records")
    assert (row["batch_size"], row["d_model"], row["beta1"], row["matrix"], row["probed"]) == (64, 32, 0.9, "w", 0.2)
    assert row["gradient_rms"] == pytest.approx(3.0, rel=0.03)


@pytest.mark.long
def test_the_study_from_end_to_end_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = valley.configs()
    assert len({(replace(config, seed=0)) for config in chosen}) == 9
    runs: list[int] = []

    def make(config: TrainConfig) -> pd.DataFrame:
        runs.append(config.seed)
        return made(config, lambda factor, beta1: SPECTRUM.scaled(factor=factor, beta1=beta1))

    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    first = valley.run_study(place, make).answers
    assert len(runs) == len(chosen)
    monkeypatch.setattr(valley, "draw", lambda *_: b"")  # once is enough
    pd.testing.assert_frame_equal(first, valley.run_study(place, make).answers)
    assert len(runs) == len(chosen)
    names = {"config.json", "matrices.csv", "predictions.csv", "answers.csv", "verdicts.csv", "valley.png"}
    assert {file.name for file in place.results.iterdir()} == names
