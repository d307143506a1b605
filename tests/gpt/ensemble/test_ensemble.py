"""An ensemble does to each model what training it alone does."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import theory
from gpt.arms import adamc, steered
from gpt.config import TrainConfig
from gpt.ensemble import same_shape, train_ensemble
from gpt.replay import Recording, recording_of
from gpt.train import TrainResult, train
from tests.gpt.walk import CONFIG, make_text
from theory import InvalidParameter, RunOutcome

EXACT = replace(CONFIG, dtype="float64", record_every=4)


@pytest.fixture(autouse=True)
def walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on the walk."""
    for place in ("gpt.train", "gpt.ensemble.train"):
        monkeypatch.setattr(f"{place}.load_text", lambda source: make_text())


def assert_alike(one: TrainResult, other: TrainResult, rounding: float = 1e-9) -> None:
    """Every number, up to rounding."""
    assert (one.outcome, one.trajectory.matrices) == (other.outcome, other.trajectory.matrices)
    assert np.array_equal(one.trajectory.steps, other.trajectory.steps)
    for name, values in other.trajectory.fields().items():
        np.testing.assert_allclose(one.trajectory.fields()[name], values, rtol=rounding, atol=rounding, err_msg=name)
    np.testing.assert_allclose(one.losses, other.losses, rtol=rounding)
    for name in ("final_loss", "final_loss_se", "num_params"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=rounding), name
    for name in ("initial_weight_rms", "final_weight_rms"):
        assert getattr(one, name) == pytest.approx(getattr(other, name), rel=rounding), name
    assert (one.groups, one.fingerprint) == (other.groups, other.fingerprint)


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["gpt2", "scale-invariant"])
def test_each_model_is_trained_as_it_would_be_alone(architecture: Any) -> None:
    base = replace(EXACT, model=dataclasses.replace(EXACT.model, architecture=architecture, num_heads=2, num_layers=2))
    independent = dataclasses.replace(base.optimizer, decay="independent", weight_decay=0.01)
    constant = theory.Constant(num_steps=25)
    configs = [
        base,
        replace(base, seed=1, optimizer=theory.AdamH(learning_rate=0.02)),
        replace(base, block_rms=0.5, schedule=constant),
        replace(adamc(base), seed=1),
        replace(base, optimizer=independent, matrix_schedule=constant, non_matrix_learning_rate=1e-2),
        replace(base, initial_factor=1.5),
    ]
    assert len({same_shape(config) for config in configs}) == 1
    for found, config in zip(train_ensemble(configs, device="cpu"), configs, strict=True):
        assert_alike(found, train(config))


def test_float32_is_what_the_config_says() -> None:
    config = replace(EXACT, dtype="float32")
    (found,) = train_ensemble([config], device="cpu")
    alone = train(config)
    assert_alike(found, alone, 1e-3)
    assert not np.array_equal(found.losses, train(EXACT).losses)


def test_steered_runs_turn_as_the_recordings_say() -> None:
    base = replace(EXACT, record_every=1)
    small, large = train_ensemble([base, replace(base, block_rms=0.6)], device="cpu")
    recordings = [recording_of(run.trajectory, run.final_weight_rms, 25) for run in (small, large)]
    crossed = Recording(
        matrices=recordings[0].matrices, angles=recordings[1].angles, rms=np.repeat(recordings[0].rms[:1], 26, axis=0)
    )
    configs, given = [], [recordings[1], crossed]
    for start, recording in zip((0.6, None), given, strict=True):
        own = replace(base, block_rms=start)
        configs.append(steered(own, norm="recorded", recording=recording, rescale_gradients=False))
    found = train_ensemble(configs, device="cpu", recordings=given)
    for run, config, recording in zip(found, configs, given, strict=True):
        assert_alike(run, train(config, recording=recording))
        np.testing.assert_allclose(run.trajectory.angular_update, recording.angles, rtol=1e-9)
    assert found[0].final_loss == pytest.approx(large.final_loss, rel=1e-6)


def test_a_run_that_diverges_ends_alone() -> None:
    wild = replace(EXACT, optimizer=theory.AdamW(learning_rate=1e200, weight_decay=0.0))
    found, alone = train_ensemble([EXACT, wild], device="cpu"), train(wild)
    assert_alike(found[0], train(EXACT))
    assert found[1].outcome is alone.outcome is RunOutcome.DIVERGED
    assert found[1].diverged_at_step == alone.diverged_at_step
    assert len(found[1].losses) == len(alone.losses)
    assert np.isnan(found[1].final_loss)


def refused(**changes: Any) -> TrainConfig:
    return replace(EXACT, **changes)


@pytest.mark.parametrize(
    ("configs", "name"),
    [
        ([EXACT, refused(batch_size=4)], "configs"),
        ([refused(dtype="bfloat16")], "dtype"),
        ([refused(gradient_clip=1.0)], "gradient_clip"),
        ([refused(optimizer=theory.MuonH(learning_rate=0.1))], "optimizer"),
        ([steered(EXACT, norm="fixed", angle=0.1)], "steering"),
    ],
    ids=["shape", "dtype", "clip", "optimizer", "steering"],
)
def test_what_an_ensemble_cannot_do_is_refused(configs: list[TrainConfig], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        train_ensemble(configs, device="cpu")
    assert caught.value.name == name
