"""Runs that are killed, disturbed or short of disk: nothing is lost, and every fault is one line."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import gpt.train
from experiments.cli.main import main
from experiments.runs.configs import config_text
from experiments.runs.produce import Job, train_run, training_label
from experiments.runs.run_directory import is_finished, partial_path
from experiments.runs.run_files import load_run
from gpt.config import TrainConfig
from tests.experiments.conftest import tiny_config
from tests.fresh import run_fresh
from tests.gpt.walk import make_text
from theory import Constant


@pytest.fixture(autouse=True)
def walk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small text, which is there at once, except where the test brings its own."""
    if "text" not in request.node.name:
        monkeypatch.setattr("gpt.train.load_text", lambda source: make_text())


def config(num_steps: int) -> TrainConfig:
    return tiny_config(schedule=Constant(num_steps=num_steps, warmup_steps=5), record_every=1)


def job(folder: Path, num_steps: int, every: int = 3) -> Job:
    one = config(num_steps)
    return Job(folder, training_label(one), one, checkpoint_every=every)


def weights_at_the_end(one: Job) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(one.path / "checkpoint.pt", weights_only=True)["state"]["model"]
    return state


def kill_and_resume(folder: str, num_steps: int, kills: int) -> None:
    """In a fresh process: a run, and the same run killed at random times until it has been killed that often."""
    gpt.train.load_text = lambda source: make_text()
    train_run(job(Path(folder, "whole"), num_steps, every=num_steps))  # also imports what the children will need
    one, rng = job(Path(folder, "killed"), num_steps), random.Random(0)
    checkpoint = partial_path(one.path) / "checkpoint.pt"
    for _ in range(kills):
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        child = multiprocessing.get_context("fork").Process(target=train_run, args=(one,))
        child.start()
        while child.is_alive() and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == seen):
            time.sleep(0.0005)
        time.sleep(rng.uniform(0, 0.02))  # about three steps: in the middle of one, or of a save
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL, "the run was over before it was killed"
    train_run(one)


@pytest.mark.long
@pytest.mark.parametrize(("num_steps", "kills"), [(60, 3), pytest.param(600, 20, marks=pytest.mark.slow)])
def test_a_run_killed_again_and_again_is_the_same_run(num_steps: int, kills: int, tmp_path: Path) -> None:
    run_fresh(kill_and_resume, str(tmp_path), num_steps, kills)
    one, whole = job(tmp_path / "killed", num_steps), job(tmp_path / "whole", num_steps)
    lines = (one.path / "loss.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == list(range(num_steps))
    assert lines == (whole.path / "loss.csv").read_text().splitlines()
    for name, w in weights_at_the_end(whole).items():
        assert torch.equal(weights_at_the_end(one)[name], w), name
    first, second = load_run(one.path), load_run(whole.path)
    assert first.summary["final_loss"] == second.summary["final_loss"]
    np.testing.assert_array_equal(first.trajectory.angular_update, second.trajectory.angular_update)
    assert {path.name for path in one.path.iterdir()} == {path.name for path in whole.path.iterdir()}


class Killed(BaseException):
    """Stands for a signal: nothing in the code under test may catch it."""


def interrupted(folder: Path) -> tuple[Job, Path]:
    """A half-finished run of 20 steps with two checkpoints, and the file with its config."""
    one = job(folder, 20, every=4)

    def die(done: int, loss: float) -> None:
        if done == 11:
            raise Killed

    with pytest.raises(Killed):
        train_run(one, die)
    file = folder / "config.json"
    file.write_text(config_text(one.config))
    return one, file


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file may grow beyond ``limit`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    *notes, error = said.err.splitlines()
    assert all(note.startswith("note: resumed from step ") for note in notes)
    return error


@pytest.mark.long
def test_a_full_disk_is_one_line_and_the_older_checkpoint_still_loads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, file = interrupted(tmp_path)
    checkpoint = partial_path(one.path) / "checkpoint.pt"
    before = {path.name: path.read_bytes() for path in checkpoint.parent.glob("checkpoint*")}
    assert set(before) == {"checkpoint.pt", "checkpoint.previous.pt"}
    with full_disk(len(before["checkpoint.pt"]) // 2):
        said = refused(["train", "--config", str(file), "--out", str(tmp_path), "--json"], capsys)
    assert str(checkpoint) in said
    assert "File too large" in said
    assert {path.name: path.read_bytes() for path in checkpoint.parent.glob("checkpoint*")} == before
    np.testing.assert_array_equal(load_run(train_run(one)).losses, load_run(train_run(job(tmp_path / "w", 20))).losses)


@pytest.mark.long
@pytest.mark.parametrize("damage", ["other config", "other data"])
def test_a_checkpoint_that_cannot_be_used_is_one_line(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Deleting it, as the line says, goes on from the one before."""
    one, file = interrupted(tmp_path)
    checkpoint = partial_path(one.path) / "checkpoint.pt"
    saved = torch.load(checkpoint, weights_only=True)
    key, reason = {"other config": ("digest", "of the config"), "other data": ("fingerprint", "it saw")}[damage]
    torch.save(saved | {key: "0123456789abcdef"}, checkpoint)
    said = refused(["train", "--config", str(file), "--out", str(tmp_path), "--json"], capsys)
    assert reason in said
    assert "delete it to go on from checkpoint.previous.pt" in said
    checkpoint.unlink()
    assert main(["train", "--config", str(file), "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "completed"
    np.testing.assert_array_equal(load_run(one.path).losses, load_run(train_run(job(tmp_path / "w", 20))).losses)


TRAIN = ["train", "--preset", "cpu-16", "--learning-rate", "1e-2", "--num-steps", "5", "--device", "cpu", "--json"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        (b"\1", "even number of bytes"),
        (np.arange(1000, dtype="<u4").tobytes(), "32-bit"),
        (np.full(5000, 300, dtype="<u2").tobytes(), "at least 301"),
        (np.zeros(100, dtype="<u2").tobytes(), "below the 5 tokens"),
    ],
    ids=["missing", "cut", "wrong dtype", "beyond the vocabulary", "too little"],
)
def test_a_text_that_cannot_be_trained_on_is_one_line(
    content: bytes | None,
    reason: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LRBEND_CACHE", str(tmp_path / "cache"))
    shard = tmp_path / "shard.bin"
    if content is not None:
        shard.write_bytes(content)
    said = refused([*TRAIN, "--source", str(shard), "--out", str(tmp_path / "runs")], capsys)
    assert reason in said
    assert str(shard) in said or "context" in said
    assert not [path for path in (tmp_path / "runs").rglob("*") if is_finished(path)]


def test_a_text_of_ones_own_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRBEND_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text").write_text("To be, or not to be, that is the question.\n" * 100)
    monkeypatch.chdir(tmp_path)
    assert main([*TRAIN, "--source", "./text", "--peak-flops", "1e11", "--out", str(tmp_path)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["outcome"] == "completed"
    assert 0 < result["mfu"] < 10
    assert result["loss_floor"] is None
