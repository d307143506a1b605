"""Training: reproducible, resumable to the bit, and honest about how it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import theory
from gpt.checkpoint import previous
from gpt.train import TrainResult, autocast, first_bad_loss, train
from tests.gpt.walk import CONFIG, make_text
from theory import InvalidParameter, RunOutcome

MODEL = CONFIG.model
ADAMH = theory.AdamH(learning_rate=2e-2)


@pytest.fixture(autouse=True)
def walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train on the walk."""
    monkeypatch.setattr("gpt.train.load_text", lambda source: make_text())


undisturbed = cache(train)  # what several tests compare with is trained once


def assert_same(first: TrainResult, second: TrainResult) -> None:
    """Every number equal to the last bit, speed aside."""
    assert np.array_equal(first.losses, second.losses)
    assert (first.outcome, first.final_loss, first.final_loss_se) == (
        second.outcome,
        second.final_loss,
        second.final_loss_se,
    )
    assert np.array_equal(first.trajectory.steps, second.trajectory.steps)
    for field in ("weight_rms", "angular_update", "relative_update", "update_rms", "cosine"):
        assert np.array_equal(getattr(first.trajectory, field), getattr(second.trajectory, field)), field
    assert first.initial_weight_rms == second.initial_weight_rms


@pytest.mark.parametrize("architecture", ["gpt2", "scale-invariant"])
@pytest.mark.parametrize("optimizer", [CONFIG.optimizer, ADAMH], ids=["adamw", "adamh"])
def test_learns(architecture: Any, optimizer: theory.Optimizer) -> None:
    model = dataclasses.replace(MODEL, architecture=architecture)
    schedule = theory.Linear(num_steps=150, warmup_steps=10)
    result = train(dataclasses.replace(CONFIG, model=model, optimizer=optimizer, schedule=schedule))
    assert result.outcome is RunOutcome.COMPLETED
    assert result.losses[0] == pytest.approx(np.log(32), abs=0.1)
    assert result.final_loss < 2.2
    assert abs(result.final_loss - result.losses[-20:].mean()) < 8 * result.final_loss_se
    assert 0 < result.final_loss_se < 0.1
    assert result.diverged_at_step is None
    assert result.tokens_per_second > 0
    assert result.fingerprint == "walk 0"


def test_an_observer_sees_what_the_optimizer_uses_and_changes_nothing() -> None:
    """Its first gradient, through Adam's first step and the decay, is the step that the matrix then makes."""
    config = dataclasses.replace(CONFIG, gradient_clip=0.05, accumulation_steps=2)
    steps: list[int] = []
    seen: dict[str, list[torch.Tensor]] = {}

    def observe(step: int, matrices: Mapping[str, torch.Tensor]) -> None:
        steps.append(step)
        for name, w in matrices.items():
            assert w.grad is not None
            seen.setdefault(name, []).append(torch.stack([w.detach(), w.grad]))

    observed = train(config, before_step=observe)
    assert_same(observed, train(config))
    assert steps == list(range(25))
    assert tuple(seen) == observed.trajectory.matrices
    optimizer = config.optimizer
    assert isinstance(optimizer, theory.AdamW)
    rate = optimizer.learning_rate * config.schedule.multipliers()[0]
    gradients = torch.cat([states[0][1].flatten() for states in seen.values()])
    assert 0.01 < gradients.norm() < 0.05  # clipped: others have a share of the norm
    for (w, g), (later, _) in (states[:2] for states in seen.values()):
        step = g / (g.abs() + optimizer.eps) + optimizer.weight_decay * w
        torch.testing.assert_close(later, w - rate * step, rtol=1e-4, atol=1e-6)


def test_result_describes_the_run() -> None:
    result = train(CONFIG)
    assert result.losses.shape == (25,)
    assert result.trajectory.steps.tolist() == [0, 10, 20, 24]
    assert list(result.trajectory.matrices) == list(result.initial_weight_rms)
    np.testing.assert_allclose(result.trajectory.weight_rms[0], list(result.initial_weight_rms.values()), rtol=1e-12)
    assert result.num_params == 12 * 16**2 + 5 * 16 + 2 * 16 + 4 * 16
    assert len(result.groups) == 2


def test_adamh_keeps_every_norm() -> None:
    result = train(dataclasses.replace(CONFIG, optimizer=ADAMH))
    np.testing.assert_allclose(result.trajectory.weight_rms, result.trajectory.weight_rms[:1].repeat(4, 0), rtol=1e-6)
    angles = result.trajectory.angular_update[1]
    multiplier = CONFIG.schedule.multipliers()[10]
    np.testing.assert_allclose(angles, 0.02 * multiplier, rtol=0.05)  # atan(eta), were u orthogonal to W


@pytest.mark.parametrize("nesterov", [True, False])
def test_muonh_shows_its_direction(nesterov: bool) -> None:
    """Nesterov's needs the gradient after the step. Newton-Schulz leaves singular values around one: u of RMS 1/4."""
    optimizer = theory.MuonH(learning_rate=2e-2, nesterov=nesterov)
    trajectory = train(dataclasses.replace(CONFIG, optimizer=optimizer)).trajectory
    np.testing.assert_allclose(trajectory.update_rms[:, :4], 0.25, rtol=0.25)  # attention: 16 by 16
    assert (np.abs(trajectory.cosine) < 1).all()


@pytest.mark.parametrize("architecture", ["gpt2", "scale-invariant"])
def test_same_config_same_bits(architecture: Any) -> None:
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, architecture=architecture))
    first = train(config)
    assert_same(first, train(config))
    other = train(dataclasses.replace(config, seed=1))
    assert not np.array_equal(first.losses, other.losses)
    assert first.initial_weight_rms != other.initial_weight_rms


def test_recording_and_float64_do_not_change_the_run() -> None:
    first = undisturbed(CONFIG)
    assert np.array_equal(first.losses, train(dataclasses.replace(CONFIG, record_every=1)).losses)
    double = train(dataclasses.replace(CONFIG, dtype="float64"))
    np.testing.assert_allclose(double.losses, first.losses, rtol=1e-3)
    assert not np.array_equal(double.losses, first.losses)


def test_bfloat16_trains() -> None:
    exact, rounded = undisturbed(CONFIG), train(dataclasses.replace(CONFIG, dtype="bfloat16"))
    assert rounded.final_loss == pytest.approx(exact.final_loss, rel=0.02)
    assert not np.array_equal(rounded.losses, exact.losses)


@pytest.mark.long
@pytest.mark.parametrize("optimizer", [CONFIG.optimizer, ADAMH], ids=["adamw", "adamh"])
@pytest.mark.parametrize("stop_at", [1, 11, 21])
def test_a_stopped_run_resumes_bit_for_bit(optimizer: theory.Optimizer, stop_at: int, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, optimizer=optimizer, gradient_clip=0.5)
    whole = undisturbed(config)
    checkpoint = tmp_path / "checkpoint.pt"
    progress: list[int] = []
    stopped = train(
        config,
        checkpoint=checkpoint,
        on_progress=lambda done, loss: progress.append(done),
        should_stop=lambda: progress[-1] >= stop_at,
    )
    assert stopped.outcome is RunOutcome.STOPPED
    assert len(stopped.losses) == stop_at
    assert np.isnan(stopped.final_loss)
    assert_same(train(config, checkpoint=checkpoint), whole)


class Killed(BaseException):
    """Stands for a signal: nothing in the code under test may catch it."""


@pytest.mark.parametrize("kill_at", [1, 11, 21])
def test_a_killed_run_resumes_from_its_last_save(kill_at: int, tmp_path: Path) -> None:
    whole = undisturbed(CONFIG)
    checkpoint = tmp_path / "checkpoint.pt"

    def die(done: int, loss: float) -> None:
        if done == kill_at:
            raise Killed

    with pytest.raises(Killed):
        train(CONFIG, checkpoint=checkpoint, checkpoint_every=4, on_progress=die)
    assert checkpoint.exists() == (kill_at > 4)
    resumed: list[int] = []
    result = train(CONFIG, checkpoint=checkpoint, on_progress=lambda done, loss: resumed.append(done))
    assert_same(result, whole)
    assert resumed[0] > kill_at - 4
    assert set(tmp_path.iterdir()) <= {checkpoint, previous(checkpoint)}


def test_checkpoint_of_a_finished_run_only_evaluates(tmp_path: Path) -> None:
    first = train(CONFIG, checkpoint=tmp_path / "c.pt", checkpoint_every=25)
    again = train(CONFIG, checkpoint=tmp_path / "c.pt", on_progress=lambda done, loss: pytest.fail("trained on"))
    assert_same(first, again)
    assert np.isnan(again.tokens_per_second)


def test_checkpoint_of_another_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "c.pt"
    train(CONFIG, checkpoint=checkpoint, checkpoint_every=10)
    with pytest.raises(InvalidParameter, match="of the config"):
        train(dataclasses.replace(CONFIG, seed=1), checkpoint=checkpoint)
    monkeypatch.setattr("gpt.train.load_text", lambda source: make_text(1))
    with pytest.raises(InvalidParameter, match="on the text walk 1"):
        train(CONFIG, checkpoint=checkpoint)


@pytest.mark.long
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "other tensors"])
def test_in_place_of_a_damaged_checkpoint_the_one_before_is_taken(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "c.pt"
    train(CONFIG, checkpoint=checkpoint, checkpoint_every=10)
    whole = checkpoint.read_bytes()
    if damage == "other tensors":
        torch.save({"weights": torch.ones(3)}, checkpoint)
    else:
        checkpoint.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[damage])
    result = train(CONFIG, checkpoint=checkpoint)
    assert capsys.readouterr().err == f"note: {checkpoint} is damaged; going on from c.previous.pt\n"
    assert_same(result, undisturbed(CONFIG))
    for file in (checkpoint, previous(checkpoint)):
        file.write_bytes(b"hello")
    with pytest.raises(InvalidParameter, match="whole checkpoint file"):
        train(CONFIG, checkpoint=checkpoint)


def test_the_last_but_one_checkpoint_is_kept(tmp_path: Path) -> None:
    """With the last one deleted the run goes on from it, to the same end."""
    checkpoint = tmp_path / "c.pt"
    with pytest.raises(Killed):
        train(CONFIG, checkpoint=checkpoint, checkpoint_every=4, on_progress=_die_after(11))
    steps = [torch.load(path, weights_only=True)["state"]["step"] for path in (checkpoint, previous(checkpoint))]
    assert steps == [8, 4]
    checkpoint.unlink()
    resumed: list[int] = []
    result = train(CONFIG, checkpoint=checkpoint, on_progress=lambda done, loss: resumed.append(done))
    assert_same(result, undisturbed(CONFIG))
    assert resumed[0] == 11


def test_a_failed_save_keeps_the_older_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "c.pt"
    with pytest.raises(Killed):
        train(CONFIG, checkpoint=checkpoint, checkpoint_every=10, on_progress=_die_after(11))
    older = checkpoint.read_bytes()

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full_disk)
        with pytest.raises(OSError, match="No space left") as error:
            train(CONFIG, checkpoint=checkpoint, checkpoint_every=10)
    assert checkpoint.read_bytes() == older
    assert list(tmp_path.iterdir()) == [checkpoint]
    assert str(checkpoint) in str(error.value)
    assert_same(train(CONFIG, checkpoint=checkpoint), undisturbed(CONFIG))


def _die_after(step: int) -> Any:
    def die(done: int, loss: float) -> None:
        if done >= step:
            raise Killed

    return die


def test_divergence_is_recorded() -> None:
    model = dataclasses.replace(MODEL, architecture="gpt2")
    wild = theory.AdamW(learning_rate=300.0, weight_decay=0.0)
    result = train(dataclasses.replace(CONFIG, model=model, optimizer=wild, non_matrix_learning_rate=100.0))
    assert result.outcome is RunOutcome.DIVERGED
    assert result.diverged_at_step is not None
    assert 0 < result.diverged_at_step <= 10
    assert len(result.losses) == result.diverged_at_step + 1
    assert not result.losses[-1] < 3 * np.log(32)
    assert (result.losses[:-1] < 3 * np.log(32)).all()
    assert np.isnan(result.final_loss)
    assert np.isfinite(result.trajectory.weight_rms).all()
    assert (result.trajectory.steps <= result.diverged_at_step).all()


def test_a_divergence_before_the_checkpoint_is_seen_after_it(tmp_path: Path) -> None:
    """Losses are examined at recorded steps only; a run that resumes in between has to look back."""
    model = dataclasses.replace(MODEL, architecture="gpt2")
    wild = dataclasses.replace(
        CONFIG,
        model=model,
        optimizer=theory.AdamW(learning_rate=300.0, weight_decay=0.0),
        non_matrix_learning_rate=100.0,
        record_every=1000,
    )
    whole = train(wild)
    checkpoint = tmp_path / "checkpoint.pt"
    train(wild, checkpoint=checkpoint, checkpoint_every=wild.schedule.num_steps - 2)
    assert checkpoint.exists()  # of the step before the last but one, which the run has long diverged at
    resumed = train(wild, checkpoint=checkpoint)
    assert whole.outcome is resumed.outcome is RunOutcome.DIVERGED
    assert whole.diverged_at_step == resumed.diverged_at_step
    assert np.array_equal(whole.losses, resumed.losses)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([5.0, 4.0], None), ([5.0, float("nan"), 4.0], 8), ([float("inf")], 7), ([5.0, 6.0, 17.0], 9), ([16.6], None)],
)
def test_first_bad_loss(losses: list[float], expected: int | None) -> None:
    assert first_bad_loss(torch.tensor(losses), 7, 256) == expected


def test_gradient_clip_acts() -> None:
    clipped = train(dataclasses.replace(CONFIG, gradient_clip=1e-3))
    assert not np.array_equal(clipped.losses, undisturbed(CONFIG).losses)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo does it
def test_compiled_model_trains_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="eager"))
    compiled = train(dataclasses.replace(CONFIG, compile=True))
    np.testing.assert_allclose(compiled.losses, undisturbed(CONFIG).losses, rtol=1e-5)


def test_mfu_needs_a_peak() -> None:
    assert np.isnan(undisturbed(CONFIG).mfu)
    result = train(CONFIG, device_peak_flops=1e12)
    per_token = 6 * (12 * 16**2 + 2 * 16 * 16 + 32 * 16)
    assert result.mfu == pytest.approx(result.tokens_per_second * per_token / 1e12)


def test_autocast_is_on_where_asked_for() -> None:
    cpu, x = torch.device("cpu"), torch.ones(2, 2)
    with autocast(dataclasses.replace(CONFIG, dtype="bfloat16"), cpu):
        assert (x @ x).dtype == torch.bfloat16
    with autocast(CONFIG, cpu):
        assert (x @ x).dtype == torch.float32


def test_text_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="vocab_size"):
        train(dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, vocab_size=31)))
    with pytest.raises(InvalidParameter, match="context_length"):
        train(dataclasses.replace(CONFIG, model=dataclasses.replace(MODEL, context_length=4000)))
