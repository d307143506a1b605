"""Partial checkpoint files: those of dead writers go at the next start of the run, those being written stay."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt.checkpoint import remove_partial_checkpoints, save_checkpoint
from gpt.train import train
from tests.gpt.walk import CONFIG, make_text


def saved(path: Path) -> object:
    return torch.load(path, weights_only=True)["state"]


def test_leftovers_of_a_killed_writer_go_when_the_run_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt.train.load_text", lambda source: make_text())
    child = os.fork()
    if child == 0:  # die in the middle of a save, as under kill -9

        def die(content: object, file: Any) -> None:
            file.write(b"half of a checkpoint")
            file.flush()
            os._exit(9)

        torch.save = die
        save_checkpoint(tmp_path / "c[0].pt", CONFIG, "text", {})
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    (leftover,) = tmp_path.iterdir()
    assert leftover.read_bytes() == b"half of a checkpoint"
    kept = {tmp_path / name for name in ("c[0].pt.backup", "c[0].previous.pt.1.partial", "c0.pt.1.partial")}
    for path in kept:
        path.touch()
    train(CONFIG, checkpoint=tmp_path / "c[0].pt")
    assert set(tmp_path.iterdir()) == {tmp_path / "c[0].pt", *kept}


def test_a_file_that_is_being_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "c.pt", torch.save
    seen: list[Path] = []

    def disturbed(content: object, file: Any) -> None:
        write(content, file)
        remove_partial_checkpoints(path)
        seen.extend(tmp_path.iterdir())

    monkeypatch.setattr(torch, "save", disturbed)
    save_checkpoint(path, CONFIG, "text", {"step": 3})
    assert len(seen) == 1
    assert saved(path) == {"step": 3}
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipe_among_the_leftovers_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.pt.1.partial")
    remove_partial_checkpoints(tmp_path / "c.pt")
    assert not list(tmp_path.iterdir())


def test_a_file_taken_for_a_dead_one_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lock = tmp_path / "c.pt", fcntl.flock
    calls: list[int] = []

    def late(handle: int, operation: int) -> None:
        calls.append(operation)
        if len(calls) == 1:
            remove_partial_checkpoints(path)
        lock(handle, operation)

    monkeypatch.setattr("gpt.checkpoint.fcntl.flock", late)
    save_checkpoint(path, CONFIG, "text", {"step": 3})
    assert calls == [fcntl.LOCK_EX, fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX]
    assert list(tmp_path.iterdir()) == [path]
    assert saved(path) == {"step": 3}
