"""Processes that a command starts, and the conditions under which a run is computed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
import torch

from experiments.cli.flags import num_workers
from experiments.cli.main import main
from experiments.runs import local
from experiments.runs.produce import Job, train_run, training_label
from experiments.runs.progress import ProgressBar, progress_writer
from experiments.runs.run_directory import PROGRESS_FILE, is_finished, partial_path
from experiments.runs.run_files import load_run
from experiments.runs.torchrun import torchrun_command
from gpt.distributed import is_first_process
from tests.experiments.conftest import tiny_config
from tests.experiments.tiny_study import ROOT, numbers, tiny_study, write_study
from theory import Constant


@pytest.mark.slow
def test_code_beside_a_study_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("joblib", "torch", "submitit", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise SystemExit(name)\n")
    study = write_study(tiny_study(tmp_path / "text", num_steps=6), tmp_path / "study.json")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-P", "-m", "experiments.cli.main", "sweep", str(study), "--out", "out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [*command, "--num-workers", "2"], env=environment, capture_output=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert not (tmp_path / "ran").exists()
    assert len(numbers(tmp_path / "out")) == 4


def test_workers_are_started_without_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[dict[str, str]] = []

    class Refusing:
        def __init__(self, *, env: dict[str, str], **_: object) -> None:
            started.append(env)

        def submit(self, *_: object) -> None:
            raise BrokenProcessPool

    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr("joblib.externals.loky.get_reusable_executor", Refusing)
    job = Job(tmp_path, "run", tiny_config())
    assert list(local._in_pool([job], 2)) == [(job.path, None)]
    assert [env["PYTHONSAFEPATH"] for env in started] == [os.environ["PYTHONSAFEPATH"]] == ["1"]


@pytest.mark.parametrize(("num_broken", "is_made"), [(1, True), (local.LARGEST_NUMBER_OF_DEATHS, False)])
def test_a_pool_that_breaks_is_made_anew_but_not_for_ever(
    num_broken: int, is_made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a worker is killed; the next pools are this process."""
    broken: list[int] = []

    def pool(jobs: list[Job], workers: int) -> Iterator[tuple[Path, object]]:
        broken.append(workers)
        return iter([(jobs[0].path, None)]) if len(broken) <= num_broken else local._here(jobs)

    monkeypatch.setattr(local, "_in_pool", pool)
    jobs = [Job(tmp_path, f"run{seed}", tiny_config(seed=seed, schedule=Constant(num_steps=2))) for seed in range(2)]
    faults = local.try_jobs(jobs, num_workers=2)
    assert [is_finished(job.path) for job in jobs] == [is_made] * 2
    assert ["killed again and again" in fault for fault in faults.values()] == ([] if is_made else [True] * 2)


def test_as_many_workers_as_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`taskset` and batch systems give a process some of the cores."""
    asked: list[int] = []
    monkeypatch.setattr(local, "_in_pool", lambda jobs, workers: asked.append(workers) or [])
    done = local._Answer.DONE
    monkeypatch.setattr(local, "_here", lambda jobs: asked.append(1) or [(job.path, done) for job in jobs])
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert num_workers(Namespace(num_workers=None)) == 1
        local.try_jobs([Job(tmp_path, f"run{seed}", tiny_config(seed=seed)) for seed in range(3)])
    finally:
        os.sched_setaffinity(0, cores)
    assert asked == [1]


def test_torchrun_is_started_without_the_current_folder(tmp_path: Path) -> None:
    job = Job(tmp_path, "run", tiny_config())
    assert torchrun_command(job, 2, tmp_path / "job.json")[1] == "-P"


def test_a_rank_without_a_launcher_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert is_first_process()
    config = tiny_config(schedule=Constant(num_steps=4))
    assert is_finished(train_run(Job(tmp_path, training_label(config), config)))
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_first_process()


MODEL = ("--preset", "cpu-16", "--learning-rate", "1e-2", "--num-steps", "40", "--device", "cpu")
TRAIN = ("train", *MODEL, "--record-every", "1", "--source", "./text")


HERE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}


@pytest.mark.parametrize(
    "launch",
    [
        {"WORLD_SIZE": "2"},
        {"WORLD_SIZE": "2", "RANK": "2"},
        {"WORLD_SIZE": "two"},
        {"WORLD_SIZE": "9" * 30, "RANK": "0", **HERE},
        {"WORLD_SIZE": "2", "RANK": "0", **HERE, "MASTER_PORT": "99999999"},
        {"LRBEND_PROCESS_TIMEOUT": "soon", "WORLD_SIZE": "2", "RANK": "0", **HERE},
        {"LRBEND_PROCESS_TIMEOUT": "nan", "WORLD_SIZE": "2", "RANK": "0", **HERE},
    ],
)
def test_a_launch_that_makes_no_sense_is_one_line(
    launch: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert main([*TRAIN, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert next(iter(launch)) in said


@pytest.mark.long
def test_processes_that_do_not_answer_are_one_line(tmp_path: Path) -> None:
    launch = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "no.such.host.invalid", "MASTER_PORT": "1"}
    (tmp_path / "text").write_text("To be, or not to be.\n" * 1000)
    done = subprocess.run(
        [sys.executable, "-m", "experiments.cli.main", *TRAIN, "--out", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | launch | {"LRBEND_PROCESS_TIMEOUT": "0.1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "WORLD_SIZE" in done.stderr


def test_a_model_that_cannot_fit_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("To be, or not to be.\n" * 1000)
    monkeypatch.chdir(tmp_path)
    sizes = {"SC_PHYS_PAGES": 2**19, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    command = "train --preset 708M --learning-rate 1e-2 --num-steps 5 --device cpu --source ./text --out ."
    assert main(command.split()) == 2
    *notes, said = capsys.readouterr().err.splitlines()
    assert all(note.startswith("note: ") for note in notes)
    assert "11.4 GB at least, and there are 2.15 GB" in said


def test_sigterm_saves_and_other_conditions_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(schedule=Constant(num_steps=10), record_every=1)
    job = Job(tmp_path, training_label(config), config)
    told: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        train_run(job, lambda step, loss: told.append(step), lambda: len(told) == 4)
    saved = torch.load(partial_path(job.path) / "checkpoint.pt", weights_only=True)
    assert saved["state"]["step"] == 4
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    run = load_run(train_run(job))
    assert "threads 1 (now 7)" in capsys.readouterr().err
    assert [one["threads"] for one in run.provenance["conditions"]] == [1, 7]

    (tmp_path / "text").write_text("To be, or not to be.\n" * 1000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gpt.train.set_learning_rates", _kill_then(_set_learning_rates()))
    assert main([*TRAIN, "--out", str(tmp_path / "runs")]) == 130
    assert list((tmp_path / "runs").glob(".*.partial/checkpoint.pt"))


def _set_learning_rates() -> object:
    import gpt.train

    return gpt.train.set_learning_rates


def _kill_then(function: object) -> object:
    def once(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        function(*arguments)  # type: ignore[operator]

    return once


def test_ctrl_c_while_workers_are_started_comes_behind_it() -> None:
    """What is started then does not hear it."""
    held = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    started: list[str] = []

    def start() -> None:
        with local._ctrl_c_later():
            os.kill(os.getpid(), signal.SIGINT)
            done = subprocess.run([sys.executable, "-c", held], capture_output=True, text=True, check=True)
            started.append(done.stdout)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert started == ["True\n"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("what", ["pipe", "link", "folder", "text", "nothing", "digits"])
def test_progress_is_neither_waited_for_nor_believed(what: str, tmp_path: Path) -> None:
    """Of a run that somebody else made, whose file of progress may be anything."""
    final = tmp_path / "run"
    partial, elsewhere = partial_path(final), tmp_path / "elsewhere"
    partial.mkdir()
    elsewhere.write_text("3")
    file = partial / PROGRESS_FILE
    if what == "pipe":
        os.mkfifo(file)
    elif what == "link":
        file.symlink_to(elsewhere)
    elif what == "folder":
        file.mkdir()
    elif what != "nothing":
        file.write_text("9" * 5000 if what == "digits" else what)
    with ProgressBar({final: 10}):
        progress_writer(partial, None)(7, 0.0)
    assert elsewhere.read_text() == "3"
    assert file.is_file() == (what in ("link", "text", "nothing", "digits"))
