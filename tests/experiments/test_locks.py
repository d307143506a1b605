"""One process at a time, also where locks do not reach from node to node; the dead hold nothing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from pathlib import Path

import pytest

from experiments import locks
from experiments.locks import is_locked, locked, try_lock


def holder(file: Path) -> int:
    """A process that has the lock until it is killed."""
    child = os.fork()
    if child == 0:
        with locked(file):
            (file.parent / "held").touch()
            time.sleep(60)
        os._exit(0)
    while not (file.parent / "held").exists():
        time.sleep(0.01)
    return child


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


@pytest.mark.parametrize("local_locks", [False, True])
def test_a_living_process_keeps_others_away_and_a_dead_one_does_not(
    local_locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``local_locks`` flock always succeeds, as between two nodes whose file system keeps locks to itself."""
    if local_locks:
        monkeypatch.setattr(fcntl, "flock", lambda descriptor, operation: None)
    file = tmp_path / "lock"
    child = holder(file)
    assert is_locked(file)
    assert try_lock(file) is None
    end(child)
    assert not is_locked(file)
    lock = try_lock(file)
    assert lock is not None
    assert lock.is_held()
    assert is_locked(file)
    lock.release()
    assert not is_locked(file)
    again = try_lock(file)
    assert again is not None
    again.release()


def test_another_machine_counts_while_it_renews_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lock"
    file.write_text(json.dumps(["another machine", 1, "12", "0123"]))
    assert is_locked(file)
    assert try_lock(file) is None
    old = time.time() - 2 * locks.STALE
    os.utime(file, (old, old))
    assert not is_locked(file)
    monkeypatch.setattr(locks, "RENEWAL", 0.02)
    lock = try_lock(file)
    assert lock is not None
    os.utime(file, (old, old))
    deadline = time.monotonic() + 20
    while file.stat().st_mtime < old + 1:
        assert time.monotonic() < deadline, "the lease is not renewed"
        time.sleep(0.02)
    lock.release()


def test_a_lock_that_was_removed_or_taken_is_not_held(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    first = try_lock(file)
    assert first is not None
    file.unlink()
    assert not first.is_held()
    second = try_lock(file)
    assert second is not None
    assert not first.is_held()
    first.release()
    assert second.is_held()
    second.release()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"):
        try_lock(tmp_path / "lock")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("content", ["[" * 4000, '["MACHINE", Infinity, "1", ""]', '["MACHINE", 1e308, "1", ""]'])
def test_a_lease_that_says_nothing_is_not_held(content: str, tmp_path: Path) -> None:
    file = tmp_path / "lock"
    file.write_text(content.replace("MACHINE", locks._machine()))
    os.utime(file, (0, 0))
    assert not is_locked(file)
    lock = try_lock(file)
    assert lock is not None
    lock.release()
