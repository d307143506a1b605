"""Sweeps that are killed, interrupted and run twice at once, as processes of their own: no run is lost or changed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from experiments.runs.local import try_jobs
from experiments.runs.run_directory import find_runs
from experiments.sweeps.study import Study
from experiments.sweeps.sweep import sweep
from tests.experiments.tiny_study import numbers, start_sweep, tiny_study, write_study

FLAGS = ("--checkpoint-every", "10", "--json", "--num-workers")


def checkpoints(out: Path) -> set[tuple[Path, int]]:
    """Every checkpoint with the time it was written."""
    found = set()
    for file in out.glob(".*.partial/checkpoint.pt"):
        try:
            found.add((file, file.stat().st_mtime_ns))
        except FileNotFoundError:
            continue
    return found


def wait_until_it_moves(process: subprocess.Popen[bytes], out: Path, timeout: float = 90) -> None:
    """Until a checkpoint is written that was not there before."""
    before, deadline = checkpoints(out), time.monotonic() + timeout
    while not checkpoints(out) - before:
        assert process.poll() is None, f"the sweep was over before it was disturbed: {process.communicate()}"
        assert time.monotonic() < deadline, "the sweep does not move"
        time.sleep(0.01)


def workers(process: subprocess.Popen[bytes]) -> list[int]:
    """The process ids of the workers of a sweep."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"LokyProcess" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def disturb(file: Path, out: Path, disturbances: list[str], rng: random.Random, num_workers: int = 2) -> None:
    """Run a sweep and disturb it at random times; after the last time it ends by itself, or is left as it is."""
    process = None
    try:
        for what in disturbances:
            process = process or start_sweep(file, out, *FLAGS, str(num_workers))
            wait_until_it_moves(process, out)
            time.sleep(rng.uniform(0, 0.1))  # up to the next checkpoints
            assert process.poll() is None, "the sweep was over before it was disturbed"
            if what == "worker":
                while not (alive := workers(process)):  # those of the last time are gone, the next not there yet
                    time.sleep(0.05)
                os.kill(rng.choice(alive), signal.SIGKILL)
            elif what == "sweep":
                process.kill()
                process.communicate()
                process = None
            else:
                interrupt(process, out)
                process = None
        if process is not None:
            _, error = process.communicate(timeout=600)
            assert process.returncode == 0, error.decode()[-2000:]
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.communicate()


def interrupt(process: subprocess.Popen[bytes], out: Path) -> None:
    """Ctrl-C, which a terminal sends to the workers too: one line that says what is kept, and a table of it."""
    os.killpg(process.pid, signal.SIGINT)
    output, error = process.communicate(timeout=100)
    assert process.returncode == 130
    assert output == b""
    assert "finished and kept" in error.decode().splitlines()[-1]
    assert "Traceback" not in error.decode()
    assert len(numbers(out)) == len(find_runs(out))


def sweep_here(study: Study, out: Path) -> None:
    assert not sweep(study, out, lambda jobs: try_jobs(jobs, num_workers=1)).faults


def assert_same_runs(out: Path, whole: Path, num_runs: int) -> None:
    assert numbers(out) == numbers(whole)
    assert len(numbers(out)) == num_runs
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    for run in find_runs(whole):
        assert (out / run.name / "loss.csv").read_bytes() == (run / "loss.csv").read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path, Path]:
    """A study of four runs, its file, and its directory after a sweep that nothing disturbed."""
    folder = tmp_path_factory.mktemp("small")
    study = tiny_study(folder / "study", num_rates=2, num_seeds=2, num_steps=40)
    sweep_here(study, folder / "whole")
    return study, write_study(study, folder / "study.json"), folder / "whole"


@pytest.mark.long
@pytest.mark.parametrize(
    ("num_workers", "disturbances"),
    [(1, ["Ctrl-C"]), *(pytest.param(2, what, marks=pytest.mark.slow) for what in (["Ctrl-C"], ["worker", "sweep"]))],
)
def test_a_disturbed_sweep_ends_with_the_same_runs(
    num_workers: int, disturbances: list[str], small: tuple[Study, Path, Path], tmp_path: Path
) -> None:
    study, file, whole = small
    out = tmp_path / "out"
    disturb(file, out, disturbances, random.Random(0), num_workers)
    sweep_here(study, out)
    assert_same_runs(out, whole, 4)


@pytest.mark.slow
def test_fifty_kills_of_sweep_and_workers_change_nothing(tmp_path: Path) -> None:
    rng = random.Random(0)
    study = tiny_study(tmp_path / "study", num_rates=10, num_seeds=4, num_steps=400)
    out, whole = tmp_path / "out", tmp_path / "whole"
    kills = [rng.choice(["sweep", "worker"]) for _ in range(50)]
    disturb(write_study(study, tmp_path / "study.json"), out, kills, rng)
    sweep_here(study, out)
    sweep_here(study, whole)
    assert_same_runs(out, whole, 40)


@pytest.mark.slow
def test_two_sweeps_at_once_share_the_work(small: tuple[Study, Path, Path], tmp_path: Path) -> None:
    study, file, whole = small
    out = tmp_path / "out"
    other = start_sweep(file, out, "--num-workers", "1", "--checkpoint-every", "10")
    wait_until_it_moves(other, out)
    sweep_here(study, out)
    _, error = other.communicate(timeout=120)
    assert other.returncode == 0, error.decode()[-2000:]
    assert_same_runs(out, whole, 4)
