"""Replay: the same run again, and the same angles under other norms."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

import theory
from gpt.arms import steered
from gpt.config import ModelConfig, Norm, Steering, TrainConfig
from gpt.replay import Recording, recording_of, rotated
from gpt.text import Text
from gpt.train import TrainResult, train
from theory import InvalidParameter

MODEL = ModelConfig(architecture="scale-invariant", vocab_size=32, context_length=16, num_layers=1, d_model=16)
STEPS = 100
CONFIG = TrainConfig(
    model=MODEL,
    optimizer=theory.AdamW(learning_rate=2e-2, weight_decay=1.0),
    non_matrix_learning_rate=3e-3,
    schedule=theory.Linear(num_steps=STEPS, warmup_steps=5),
    batch_size=8,
    dtype="float64",
    record_every=1,
    eval_batches=3,
    gradient_clip=0.5,
    device="cpu",
)


@pytest.fixture(autouse=True)
def walk(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    tokens = (np.cumsum(rng.choice([1, 5], p=[0.9, 0.1], size=20_000)) % 32).astype(np.uint8)
    text = Text(train=tokens[:16_000], validation=tokens[16_000:], vocab_size=32, fingerprint="walk")
    monkeypatch.setattr("gpt.train.load_text", lambda source: text)


def final_weights(config: TrainConfig, folder: Path, recording: Recording | None = None) -> dict[str, torch.Tensor]:
    path = folder / f"{config.checkpoint_digest}.pt"
    train(config, checkpoint=path, recording=recording)
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state"]["model"]
    return weights


@functools.cache
def record(config: TrainConfig) -> tuple[TrainResult, Recording]:
    """Made once for all tests that replay it; nobody changes it."""
    result = train(config)
    return result, recording_of(result.trajectory, result.final_weight_rms, config.schedule.num_steps)


def model(architecture: Any) -> ModelConfig:
    return dataclasses.replace(MODEL, architecture=architecture, residual_init_rms=None)


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["gpt2", "scale-invariant"])
@pytest.mark.parametrize(
    "optimizer",
    [CONFIG.optimizer, theory.AdamH(learning_rate=2e-2)],
    ids=["adamw", "adamh"],
)
def test_angles_and_norms_of_a_run_give_its_weights(
    architecture: Any, optimizer: theory.Optimizer, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, model=model(architecture), optimizer=optimizer)
    original, recording = record(config)
    before = final_weights(config, tmp_path)
    after = final_weights(steered(config, norm="recorded", recording=recording), tmp_path, recording)
    for name, w in before.items():
        # a key bias does not act: its gradient, and so its value, is nothing but rounding
        assert float((after[name] - w).norm()) <= 1e-6 * float(w.norm()) + 1e-12, name
    assert recording.rms[0].tolist() == pytest.approx(list(original.initial_weight_rms.values()), rel=1e-14)


def test_norm_does_nothing_where_the_model_does_not_see_it() -> None:
    """Scale-invariant: the losses are the same at every step. The norms differ by far more than a factor of 1.1."""
    original, recording = record(CONFIG)
    fixed = train(steered(CONFIG, norm="fixed", recording=recording), recording=recording)
    np.testing.assert_allclose(fixed.losses, original.losses, rtol=1e-7)
    assert fixed.final_loss == pytest.approx(original.final_loss, rel=1e-7)
    np.testing.assert_allclose(fixed.trajectory.angular_update, recording.angles, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(fixed.trajectory.weight_rms, recording.rms[:1].repeat(STEPS, 0), rtol=1e-13)
    assert np.abs(np.log(recording.rms[-1] / recording.rms[0])).max() > 1


def test_norm_acts_in_the_classic_model() -> None:
    config = dataclasses.replace(CONFIG, model=model("gpt2"))
    original, recording = record(config)
    fixed = train(steered(config, norm="fixed", recording=recording), recording=recording)
    assert abs(fixed.final_loss - original.final_loss) > 0.02
    np.testing.assert_allclose(fixed.trajectory.angular_update, recording.angles, rtol=1e-9, atol=1e-12)


def test_plain_gradients_meet_adams_memory() -> None:
    """Without rescaling the averages mix gradients of several scales, and the run is another one."""
    original, recording = record(CONFIG)
    plain = steered(CONFIG, norm="fixed", recording=recording, rescale_gradients=False)
    difference = np.abs(train(plain, recording=recording).losses - original.losses).max()
    assert difference > 1e-4


@pytest.mark.long
def test_angle_times_norm_is_a_square() -> None:
    """Both columns of the 2 x 2 with an angle of its own: the angle follows the schedule, the norm does not matter."""
    _, recording = record(CONFIG)

    def run(norm: Norm) -> TrainResult:
        return train(steered(CONFIG, norm=norm, angle=0.05, recording=recording), recording=recording)

    runs = {norm: run(norm) for norm in get_args(Norm)}
    expected = 0.05 * CONFIG.schedule.multipliers()
    for each in runs.values():
        angles = each.trajectory.angular_update
        np.testing.assert_allclose(angles, np.tile(expected[:, None], (1, angles.shape[1])), rtol=1e-9)
    np.testing.assert_allclose(runs["recorded"].trajectory.weight_rms, recording.rms[:-1], rtol=1e-13)
    np.testing.assert_allclose(runs["fixed"].losses, runs["recorded"].losses, rtol=1e-7)
    alone = train(steered(CONFIG, norm="fixed", angle=0.05))
    assert not np.array_equal(alone.losses, runs["fixed"].losses)


@pytest.mark.long
def test_a_steered_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    _, recording = record(CONFIG)
    config = steered(CONFIG, norm="fixed", recording=recording)
    whole = train(config, recording=recording)
    checkpoint = tmp_path / "c.pt"
    train(config, recording=recording, checkpoint=checkpoint, should_stop=lambda: True)
    resumed = train(config, recording=recording, checkpoint=checkpoint)
    assert np.array_equal(resumed.losses, whole.losses)
    assert resumed.final_weight_rms == whole.final_weight_rms


@pytest.mark.parametrize("angle", [1e-9, 0.1, 2.0])
def test_rotation_is_in_the_plane_and_by_the_angle(angle: float) -> None:
    """Against the formula of Rodrigues for two unit vectors, from a step that is nearly radial."""
    generator = torch.Generator().manual_seed(0)
    before, noise = (torch.randn(5, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    after = 0.8 * before + 1e-6 * noise
    e1 = before / before.norm()
    e2 = noise - e1 * (noise * e1).sum()
    expected = math.cos(angle) * e1 + math.sin(angle) * e2 / e2.norm()
    torch.testing.assert_close(rotated(before, after, angle), expected, rtol=0, atol=1e-9)


def test_a_step_without_direction_leaves_the_direction() -> None:
    before = torch.ones(2, 3, dtype=torch.float64)
    torch.testing.assert_close(rotated(before, before, 0.3), before / before.norm())


def test_only_a_whole_recording_of_this_model_is_replayed() -> None:
    original, recording = record(CONFIG)
    thinned = train(dataclasses.replace(CONFIG, record_every=10))
    with pytest.raises(InvalidParameter, match="record_every"):
        recording_of(thinned.trajectory, thinned.final_weight_rms, STEPS)
    with pytest.raises(InvalidParameter, match="final_weight_rms"):
        recording_of(original.trajectory, {}, STEPS)
    config = steered(CONFIG, norm="fixed", recording=recording)
    with pytest.raises(InvalidParameter, match=recording.digest):
        train(config)
    other = dataclasses.replace(recording, angles=recording.angles * 2)
    with pytest.raises(InvalidParameter, match=recording.digest):
        train(config, recording=other)
    for last in (None, 1e-310, 1e40):
        with pytest.raises(InvalidParameter, match="its norms"):
            recording_of(original.trajectory, {**original.final_weight_rms, recording.matrices[0]: last}, STEPS)
    for damage in ({"angles": recording.angles * np.inf}, {"rms": recording.rms * np.nan}):
        with pytest.raises(InvalidParameter, match=f"its {'norms' if 'rms' in damage else 'angles'}"):
            dataclasses.replace(recording, **damage)
    longer = dataclasses.replace(config, schedule=theory.Linear(num_steps=STEPS + 1))
    with pytest.raises(InvalidParameter, match="over 101 steps"):
        train(longer, recording=recording)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("norm", {"norm": "free"}),
        ("angle", {"norm": "fixed", "angle": 0.0}),
        ("angle", {"norm": "fixed", "angle": 4.0}),
        ("recording", {"norm": "fixed"}),
        ("recording", {"norm": "recorded", "angle": 0.1}),
        ("rescale_gradients", {"norm": "fixed", "angle": 0.1, "rescale_gradients": 1}),
    ],
)
def test_steering_names_the_bad_value(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter) as error:
        Steering(**changes)
    assert error.value.name == name
