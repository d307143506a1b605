"""A directory under a final name is a finished run, whatever happened to the process that made it."""

import dataclasses
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from experiments.files import BadInput
from experiments.runs.local import run_jobs
from experiments.runs.produce import Job, train_run, training_label
from experiments.runs.run_directory import claim, find_checkpoints, find_runs, is_finished, partial_path, run_path
from experiments.runs.run_files import (
    Run,
    from_netcdf,
    load_run,
    read_provenance,
    read_summary,
    to_netcdf,
    to_xarray,
    verify_run,
)
from experiments.runs.simulation import SimulationConfig
from tests.experiments.conftest import tiny_config
from theory import Constant, InvalidParameter
from theory.trajectory import FIELDS, OPTIONAL_FIELDS, Trajectory


def make_job(directory: Path, **changes: object) -> Job:
    config = tiny_config(**changes)
    return Job(directory, training_label(config), config)


def test_a_finished_run_reads_back_whole(study: tuple[Path, list]) -> None:
    directory, runs = study
    assert sorted(run.path for run in runs) == find_runs(directory)
    for run in runs:
        assert run.outcome == "completed"
        assert run.path.name.endswith(run_path(directory, "x", run.config).name[2:])
        if not isinstance(run.config, SimulationConfig):
            assert run.losses.shape == (run.config.schedule.num_steps,)
            assert run.provenance["data_fingerprint"]
            assert (run.path / "checkpoint.pt").is_file()
        assert {"commit", "versions", "machine", "seed", "command"} <= set(run.provenance)
    assert not list(directory.glob(".*"))


def test_trajectories_survive_the_disk_to_the_last_bit(study: tuple[Path, list]) -> None:
    _, runs = study
    again = load_run(runs[0].path).trajectory
    for field in (*FIELDS, *OPTIONAL_FIELDS):
        np.testing.assert_array_equal(getattr(again, field), getattr(runs[0].trajectory, field))


def test_trajectories_of_old_runs_lack_the_optional_fields() -> None:
    steps = np.arange(3)
    old = Trajectory(steps=steps, matrices=("w",), **{field: np.ones((3, 1)) for field in FIELDS})
    new = dataclasses.replace(old, radial_gradient=np.arange(3.0)[:, None])
    assert "radial_gradient" not in to_xarray(old)
    assert from_netcdf(to_netcdf(old)).at(steps[1:]).radial_gradient is None
    np.testing.assert_array_equal(from_netcdf(to_netcdf(new)).at(steps[1:]).radial_gradient, [[1], [2]])
    with pytest.raises(ValueError, match="radial_gradient has shape"):
        dataclasses.replace(old, radial_gradient=np.ones(3))


@pytest.mark.parametrize(
    ("field", "kind"), [("weight_rms", "c16"), ("step", "c16"), ("step", "f8"), ("angular_update", "S3")]
)
def test_numbers_of_another_kind_are_no_trajectory(field: str, kind: str) -> None:
    """Complex ones would be taken with a warning and without their imaginary part."""
    ones = {field: np.ones((3, 1)) for field in FIELDS}
    content = io.BytesIO(to_netcdf(Trajectory(steps=np.arange(3), matrices=("w",), **ones)))
    with h5py.File(content, "r+") as file:
        shape = file[field].shape
        del file[field]
        file.create_dataset(field, shape=shape, dtype=kind)
    with pytest.raises(ValueError, match=f"{field} does not hold (real|whole) numbers"):
        from_netcdf(content.getvalue())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("angular_update", 1e308),
        ("angular_update", -0.1),
        ("angular_update", 3.2),
        ("cosine", 1.01),
        ("cosine", -1e300),
        ("weight_rms", -1.0),
        ("weight_rms", 1e31),
        ("update_rms", 1e308),
        ("relative_update", 1e200),
        ("radial_gradient", -1e200),
    ],
)
def test_records_that_no_run_has_are_refused(field: str, value: float) -> None:
    records = {name: np.full((2, 1), 0.5) for name in (*FIELDS, *OPTIONAL_FIELDS)}
    records[field] = np.array([[0.5], [value]])
    with pytest.raises(ValueError, match=f"{field} of .*, expected from"):
        from_netcdf(to_netcdf(Trajectory(steps=np.arange(2), matrices=("a",), **records)))


def test_denormals_are_nothing_and_what_diverged_is_kept() -> None:
    records = {name: np.array([[1e-310], [np.inf], [np.nan]]) for name in FIELDS}
    found = from_netcdf(to_netcdf(Trajectory(steps=np.arange(3), matrices=("a",), **records)))
    np.testing.assert_array_equal(found.weight_rms, [[0.0], [np.inf], [np.nan]])


def test_finished_runs_are_kept(study: tuple[Path, list]) -> None:
    directory, runs = study
    before = (runs[0].path / "summary.json").stat()
    path = train_run(Job(directory, training_label(runs[0].config), runs[0].config))
    assert path == runs[0].path
    assert (path / "summary.json").stat().st_mtime_ns == before.st_mtime_ns


def test_kill_9_leaves_no_finished_run_and_the_next_attempt_gives_the_same_numbers(
    study: tuple[Path, list], tmp_path: Path
) -> None:
    _, runs = study
    job = make_job(tmp_path)
    config_file = tmp_path / "config.json"
    config_file.write_text((runs[0].path / "config.json").read_text())
    code = "import sys; from experiments.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "train", "--config", str(config_file), "--out", str(tmp_path), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    partial = partial_path(job.path)
    deadline = time.monotonic() + 60
    while not (partial / "config.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not is_finished(job.path)
    assert find_runs(tmp_path) == []
    again = load_run(train_run(job))
    np.testing.assert_array_equal(again.losses, runs[0].losses)
    assert find_runs(tmp_path) == [job.path]
    assert not partial.exists()


def test_an_unusable_checkpoint_is_kept_and_named(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    partial = partial_path(job.path)
    partial.mkdir(parents=True)
    checkpoint = partial / "checkpoint.pt"
    checkpoint.write_bytes(b"half a checkp")
    with pytest.raises(InvalidParameter, match="whole checkpoint file"):
        train_run(job)
    assert checkpoint.read_bytes() == b"half a checkp"
    checkpoint.unlink()
    assert load_run(train_run(job)).outcome == "completed"


def test_workers_in_parallel_do_not_change_the_numbers(study: tuple[Path, list], tmp_path: Path) -> None:
    _, runs = study
    jobs = [make_job(tmp_path), make_job(tmp_path, seed=1)]
    paths = run_jobs(jobs, num_workers=2)
    for path, run in zip(paths, runs[:2], strict=True):
        np.testing.assert_array_equal(load_run(path).losses, run.losses)


def test_the_same_run_is_produced_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second process says that it waits for the first and then finds the run finished."""
    final = tmp_path / "run-0123456789"
    child = os.fork()
    if child == 0:
        with claim(final) as partial:
            assert partial is not None
            time.sleep(0.5)
            (partial / "summary.json").write_text("{}")
            os.replace(partial, final)
        os._exit(0)
    while not partial_path(final).exists():
        time.sleep(0.005)
    time.sleep(0.1)
    with claim(final) as partial:
        assert partial is None
    assert os.waitpid(child, 0)[1] == 0
    assert capsys.readouterr().err == f"note: another process makes {final}; waiting for it\n"


def test_a_run_that_gets_its_name_while_others_are_looked_for_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run-0123456789").mkdir()
    (tmp_path / "run-0123456789" / "summary.json").write_text("{}")
    (tmp_path / ".other-0123456789.partial").mkdir()
    (tmp_path / ".third-0123456789.partial").mkdir()
    (tmp_path / ".third-0123456789.partial" / "checkpoint.pt").touch()
    scandir = os.scandir

    def look(path: str) -> object:
        if ".other" in str(path):
            raise FileNotFoundError(2, "No such file or directory", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look)
    assert find_runs(tmp_path) == [tmp_path / "run-0123456789"]
    assert find_runs(tmp_path / "run-0123456789") == [tmp_path / "run-0123456789"]
    assert [path.parent.name for path in find_checkpoints(tmp_path)] == [".third-0123456789.partial"]


def test_a_diverged_run_is_a_record_too(tmp_path: Path) -> None:
    job = make_job(tmp_path, non_matrix_learning_rate=1e6, schedule=Constant(num_steps=20), record_every=1)
    run = load_run(train_run(job))
    assert run.outcome == "diverged"
    assert json.loads((run.path / "summary.json").read_text())["final_loss"] is None


def test_what_is_in_the_way_is_not_touched(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    job.path.mkdir(parents=True)
    (job.path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="not a finished one"):
        train_run(job)
    assert (job.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("damaged", ["config.json", "summary.json", "provenance.json", "trajectory.nc", "loss.csv"])
def test_a_damaged_run_is_refused_with_one_line(damaged: str, study: tuple[Path, list], tmp_path: Path) -> None:
    _, runs = study
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in runs[0].path.iterdir():
        (copy / file.name).write_bytes(b"\x00broken" if file.name == damaged else file.read_bytes())
    with pytest.raises(BadInput) as caught:
        load_run(copy)
    assert damaged in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_summary_without_its_loss_is_refused_also_without_checksums(study: tuple[Path, list], tmp_path: Path) -> None:
    _, runs = study
    run = next(run for run in runs if not isinstance(run.config, SimulationConfig))
    copy = tmp_path / run.path.name
    shutil.copytree(run.path, copy)
    (copy / "checksums.json").unlink()
    summary = json.loads((copy / "summary.json").read_text())
    assert load_run(copy).summary == summary
    del summary["final_loss"]
    (copy / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(BadInput, match=r"summary.json: has no final_loss$"):
        load_run(copy)


def test_a_folder_of_runs_in_place_of_one_names_one_of_them(tmp_path: Path) -> None:
    (tmp_path / "a-run").mkdir()
    with pytest.raises(BadInput, match=r"not a finished run \(no summary.json\)$"):
        load_run(tmp_path)
    (tmp_path / "a-run" / "summary.json").write_text("{}")
    with pytest.raises(BadInput, match=r"a folder of runs: give one of them, as .*a-run$"):
        load_run(tmp_path)


@pytest.mark.parametrize(("steps", "count"), [((-1, 0, 1), 1), ((0, 1, 2), 0)])
def test_steps_below_0_and_no_matrices_are_no_trajectory(steps: tuple[int, ...], count: int) -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["step"] = steps
        file.create_dataset("matrix", (count,), h5py.string_dtype())
        for field in FIELDS:
            file[field] = np.ones((3, count))
    with pytest.raises(ValueError, match="below 0" if count else "no matrix"):
        from_netcdf(content.getvalue())


def copy_with(run: Run, tmp_path: Path, name: str, **changed: object) -> Path:
    """A copy of a run, without checksums, whose JSON file of that name says something else."""
    copy = tmp_path / run.path.name
    shutil.copytree(run.path, copy)
    (copy / "checksums.json").unlink()
    (copy / name).write_text(json.dumps({**json.loads((copy / name).read_text()), **changed}))
    return copy


@pytest.mark.parametrize("value", [10**400, 1e308, -1e101, True, "x", [], {}])
@pytest.mark.parametrize("key", ["final_loss_se", "mfu", "num_params", "mean_angular_update", "loss_floor"])
def test_a_summary_whose_numbers_are_none(key: str, value: object, study: tuple[Path, list], tmp_path: Path) -> None:
    run = next(run for run in study[1] if not isinstance(run.config, SimulationConfig))
    copy = copy_with(run, tmp_path, "summary.json", **{key: value})
    with pytest.raises(BadInput, match=f"summary.json: {key} is not a number$"):
        read_summary(copy)
    assert verify_run(copy)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, 3e38, -0.0, 0, 10**30])
def test_a_summary_may_have_gaps_and_weights_of_a_run_that_diverged(
    value: object, study: tuple[Path, list], tmp_path: Path
) -> None:
    run = next(run for run in study[1] if not isinstance(run.config, SimulationConfig))
    read_summary(copy_with(run, tmp_path, "summary.json", final_weight_rms={"w": value}, tokens_per_second=value))


PARTS = {
    "parameter_groups": ["x", [1], {}],
    "final_weight_rms": [[], {"w": 10**400}, {"w": "x"}],
    "agreement": ["x", [1], {"max_abs_z": 1.0}, 1],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in PARTS.items() for value in values])
def test_a_summary_whose_parts_are_others(key: str, value: object, study: tuple[Path, list], tmp_path: Path) -> None:
    run = study[1][0]
    with pytest.raises(BadInput, match=f"summary.json: {key} is not "):
        load_run(copy_with(run, tmp_path, "summary.json", **{key: value}))


@pytest.mark.parametrize("value", [None, 1, "x", {}])
def test_conditions_that_are_no_list(value: object, study: tuple[Path, list], tmp_path: Path) -> None:
    copy = copy_with(study[1][0], tmp_path, "provenance.json", conditions=value)
    for read in (load_run, read_provenance):
        with pytest.raises(BadInput, match=r"provenance.json: conditions is not a list$"):
            read(copy)
