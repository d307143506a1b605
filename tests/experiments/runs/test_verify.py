"""A run is believed only where its name, its config and all its files belong together."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest

from experiments.cli.main import main
from experiments.files import BadInput, write_whole
from experiments.runs import run_files
from experiments.runs.produce import Job, train_run, training_label
from experiments.runs.run_directory import add_file, claim, find_runs, is_finished, partial_path, publish
from experiments.runs.run_files import Run, load_run, read_summary, verify_run
from tests.experiments.cli.said import strict_json
from tests.experiments.conftest import tiny_config
from theory import Constant

NUM_BITS = 60


@pytest.fixture
def copied(study: tuple[Path, list[Run]], tmp_path: Path) -> list[Path]:
    """Copies of two training runs and a simulation."""
    _, runs = study
    return [Path(shutil.copytree(run.path, tmp_path / run.path.name)) for run in (runs[0], runs[1], runs[-1])]


def verify(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    code = main(["verify", str(path), "--json"])
    return code, strict_json(capsys.readouterr().out)["faults"]


@pytest.mark.parametrize("num_bits", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_every_changed_bit_of_a_finished_run_is_found(num_bits: int, copied: list[Path]) -> None:
    rng = random.Random(0)
    add_file(copied[0], "diagnosis.json", b'{"noise_scale": 1.0}')
    for path in (copied[0], copied[2]):
        assert verify_run(path) == []
        files = sorted(path.iterdir())
        assert {"checksums.json", "config.json", "summary.json"} <= {file.name for file in files}
        for _ in range(num_bits // 2):
            file = rng.choices(files, weights=[file.stat().st_size for file in files])[0]
            file = rng.choice([file, rng.choice(files)])  # small files as well
            content = file.read_bytes()
            changed, place = bytearray(content), rng.randrange(8 * len(content))
            changed[place // 8] ^= 1 << place % 8
            file.write_bytes(changed)
            assert verify_run(path), (file, place)
            file.write_bytes(content)


def test_verify_names_what_it_found(copied: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(tmp_path, capsys) == (0, [])
    (copied[0] / "checkpoint.pt").unlink()
    (copied[1] / "notes.txt").write_text("mine")
    code, faults = verify(tmp_path, capsys)
    assert code == 1
    assert [Path(fault.partition(":")[0]).name for fault in sorted(faults)] == ["checkpoint.pt", "notes.txt"]
    load_run(copied[0])  # a checkpoint is no result


@pytest.mark.long
@pytest.mark.parametrize("inside", ["", "results"])
def test_nothing_is_put_into_a_finished_run_but_its_report(
    inside: str, copied: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(copied[0] / inside)
    with pytest.raises(SystemExit) as stop:
        main(["study", "valley", "--runs", str(tmp_path / "valley"), "--results", place])
    assert stop.value.code == 2
    assert f"--results {place} is " in capsys.readouterr().err
    assert main(["report", str(copied[0])]) == 0
    capsys.readouterr()
    assert verify(tmp_path, capsys) == (0, [])


def other_seed(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"seed": 17}))


FORGERIES: dict[str, Callable[[Path, Path], object]] = {
    "another run under this name": lambda path, other: (shutil.rmtree(path), shutil.copytree(other, path)),
    "an edited config": lambda path, other: other_seed(path),
    "an edited config without checksums": lambda path, other: ((path / "checksums.json").unlink(), other_seed(path)),
    "an edited summary": lambda path, other: (path / "summary.json").write_text('{"outcome": "completed"}'),
    "a summary alone": lambda path, other: [file.unlink() for file in path.iterdir() if file.name != "summary.json"],
    "a file missing": lambda path, other: (path / "loss.csv").unlink(),
    "checksums of another run": lambda path, other: shutil.copy(other / "checksums.json", path),
    "a pipe": lambda path, other: ((path / "config.json").unlink(), os.mkfifo(path / "config.json")),
}


@pytest.mark.parametrize("forgery", list(FORGERIES))
def test_what_does_not_belong_together_is_not_taken(forgery: str, copied: list[Path]) -> None:
    FORGERIES[forgery](copied[0], copied[1])
    for read in (load_run, read_summary):  # the second is all that a table of a sweep is made of
        with pytest.raises(BadInput) as caught:
            read(copied[0])
        assert "\n" not in str(caught.value)
    assert verify_run(copied[0])


def test_runs_of_before_are_read_and_that_is_said(
    copied: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files, "_SAID", [])
    for path in copied:
        (path / "checksums.json").unlink()
        load_run(path)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "checksums.json" in said
    assert main(["verify", *map(str, copied)]) == 0
    assert capsys.readouterr().err.count("has no checksums.json") == 3


def test_a_damaged_trajectory_is_bad_input(copied: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    (copied[0] / "checksums.json").unlink()  # else the checksum tells before anything is read
    rng, file = random.Random(0), copied[0] / "trajectory.nc"
    content = file.read_bytes()
    for _ in range(NUM_BITS):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 10, 100])):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        file.write_bytes(changed[: rng.choice([None, rng.randrange(len(changed))])])
        with contextlib.suppress(BadInput):
            load_run(copied[0])
    assert capsys.readouterr().err.count("\n") <= 1  # of the missing checksums


@pytest.mark.parametrize("name", ["step", "matrix", "weight_rms"])
def test_a_trajectory_takes_no_memory_for_what_it_only_says(name: str, copied: list[Path]) -> None:
    """A variable of 10^9 entries without one that is written takes a few bytes in a file."""
    (copied[0] / "checksums.json").unlink()
    with h5py.File(copied[0] / "trajectory.nc", "r+") as file:
        kind = h5py.string_dtype() if name == "matrix" else file[name].dtype
        del file[name]
        file.create_dataset(name, shape=(10**9,), dtype=kind, chunks=(1000,))
    with pytest.raises(BadInput, match=r"trajectory\.nc: .*more than it has bytes"):
        load_run(copied[0])


@pytest.mark.parametrize("error", [MemoryError(), OSError("Can't read data (memory allocation failed for chunk)")])
def test_a_trajectory_is_not_damaged_because_memory_is_short(
    error: Exception, copied: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(content: bytes) -> None:
        raise error

    monkeypatch.setattr("experiments.runs.run_files.from_netcdf", short)
    with pytest.raises(type(error)):
        load_run(copied[0])


@pytest.mark.parametrize(
    "record", ["step,loss\n0,2.0\n0,2.0\n", "step,loss\n0,2.0\nx,2.0\n", "step,loss\n0,two\n", "step,loss\n0,2,3\n"]
)
def test_a_loss_record_of_nonsense_is_refused(record: str, copied: list[Path]) -> None:
    (copied[0] / "checksums.json").unlink()
    (copied[0] / "loss.csv").write_text(record)
    with pytest.raises(BadInput, match=r"loss\.csv"):
        load_run(copied[0])


@pytest.mark.long
@pytest.mark.parametrize("remade", [False, True])
def test_a_directory_that_was_removed_while_it_was_made_is_not_published(remade: bool, tmp_path: Path) -> None:
    config = tiny_config(schedule=Constant(num_steps=10), record_every=1)
    job = Job(tmp_path, training_label(config), config, checkpoint_every=4)
    partial = partial_path(job.path)

    def remove(step: int, loss: float) -> None:
        if step == 9:
            shutil.rmtree(partial)
            if remade:
                partial.mkdir()

    with pytest.raises((BadInput, OSError)):
        train_run(job, remove)
    assert not is_finished(job.path)
    assert load_run(train_run(job)).outcome == "completed"
    assert find_runs(tmp_path) == [job.path]


@pytest.mark.parametrize(
    "left", ["lock.0123456789abcdef", ".config.json.0123456789abcdef.partial", "checkpoint.pt.x.partial", "progress"]
)
def test_what_killed_processes_left_is_no_part_of_the_run(left: str, tmp_path: Path) -> None:
    final = tmp_path / "run-0123456789"
    with claim(final) as partial:
        assert partial is not None
        (partial / left).write_text("half")
        (partial / "checkpoint.pt").write_text("whole")
        publish(partial, final, {"summary.json": b"{}"}, further=["checkpoint.pt"])
    assert {path.name for path in final.iterdir()} == {"summary.json", "checkpoint.pt", "checksums.json"}


def test_a_directory_taken_by_another_process_is_left_to_it(tmp_path: Path) -> None:
    final = tmp_path / "run-0123456789"
    with claim(final) as partial:
        assert partial is not None
        write_whole(partial / "lock", b'["another machine", 1, "1", "0"]')
        with pytest.raises(BadInput, match="taken by another process"):
            publish(partial, final, {"summary.json": b"{}"})
    assert not final.exists()


def test_the_checkpoint_of_an_unfinished_run_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny_config(schedule=Constant(num_steps=10), record_every=1)
    job = Job(tmp_path, training_label(config), config, checkpoint_every=4)
    with pytest.raises(KeyboardInterrupt):
        train_run(job, should_stop=lambda: True)
    assert verify(tmp_path, capsys) == (0, [])
    checkpoint = partial_path(job.path) / "checkpoint.pt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(content)
    code, faults = verify(tmp_path, capsys)
    assert (code, len(faults)) == (1, 1)
    assert "checkpoint.pt" in faults[0]
