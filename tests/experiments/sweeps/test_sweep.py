"""Sweeps whose runs are made up: rounds, restarts, the table, and what is said of bad input."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.cli.runs.plan import plan_in_words
from experiments.files import to_json
from experiments.runs.configs import config_text
from experiments.runs.produce import Job
from experiments.runs.run_directory import is_finished, partial_path
from experiments.studies.registered import load_study
from experiments.sweeps import plan
from experiments.sweeps.adaptive import Status
from experiments.sweeps.study import Adaptive, Study
from experiments.sweeps.sweep import Execute, states, sweep
from experiments.tables.reading import read_table
from tests.experiments.tiny_study import tiny_study, write_study
from theory import Constant

ADAPTIVE = Adaptive(interval=0.4, max_runs=30)


def pretend(job: Job) -> None:
    """A finished run, with a loss that is a parabola in ln(learning rate) and a divergence at high rates."""
    rate = job.config.optimizer.learning_rate
    job.path.mkdir(parents=True)
    (job.path / "config.json").write_text(config_text(job.config))
    loss = None if rate > 0.3 else 2 + 0.04 * math.log(rate / 0.01) ** 2 + 0.001 * job.config.seed
    outcome = "diverged" if loss is None else "completed"
    summary = {"outcome": outcome, "final_loss": loss, "final_loss_se": 0.01, "num_params": 3248}
    summary |= {"final_weight_rms": {"a": 0.1, "b": 0.3}, "mean_angular_update": 0.02}
    (job.path / "summary.json").write_text(to_json(summary))


def pretend_all(jobs: Sequence[Job]) -> dict[Path, str]:
    for job in jobs:
        assert not is_finished(job.path), "a finished run was asked for again"
        pretend(job)
    return {}


def stopping_after(count: int) -> Execute:
    def execute(jobs: Sequence[Job]) -> dict[Path, str]:
        nonlocal count
        for job in reversed(jobs):
            if count == 0:
                raise KeyboardInterrupt
            pretend(job)
            count -= 1
        return {}

    return execute


def table(directory: Path) -> list[dict[str, str]]:
    with (directory / "table.csv").open() as file:
        return list(csv.DictReader(file))


def adaptive_study(folder: Path) -> Study:
    return tiny_study(folder, num_rates=3, adaptive=ADAPTIVE)


def test_a_sweep_ends_with_every_run_once_and_a_table_that_fit_can_read(tmp_path: Path) -> None:
    study = tiny_study(tmp_path / "s", num_rates=10, num_seeds=3)
    result = sweep(study, tmp_path / "out", pretend_all)
    assert (result.num_runs, result.num_finished, result.faults) == (30, 30, ())
    rows = table(tmp_path / "out")
    assert len({row["run"] for row in rows}) == 30
    assert all((tmp_path / "out" / row["run"] / "config.json").exists() for row in rows)
    read = read_table(result.table)
    assert len(read) == 30
    assert not read.exclusions
    diverged = read.numbers["learning_rate"] > 0.3
    assert diverged.any()
    assert [row["outcome"] == "diverged" for row in rows] == [math.isnan(float(row["loss"])) for row in rows]
    assert {row["final_rms"] for row in rows} == {"0.2"}
    assert {row["mean_angle"] for row in rows} == {"0.02"}
    assert {row["arm"] for row in rows} == {"adamw"}


def test_cells_of_one_arm_have_its_name_in_the_table(tmp_path: Path) -> None:
    study = tiny_study(tmp_path / "s")
    (cell,) = study.cells
    longer = replace(cell.config, schedule=Constant(num_steps=60))
    cells = (replace(cell, label="a-30", arm="a"), replace(cell, label="a-60", arm="a", config=longer))
    sweep(replace(study, cells=cells), tmp_path / "out", pretend_all)
    assert [(row["arm"], row["num_steps"]) for row in table(tmp_path / "out")] == [("a", "30")] * 4 + [("a", "60")] * 4


def test_an_interrupted_sweep_has_a_table_of_what_is_finished_and_goes_on(tmp_path: Path) -> None:
    """Also an adaptive one: killed after every fourth run, it asks for the same runs as one that was left alone."""
    study = adaptive_study(tmp_path / "s")
    whole = sweep(study, tmp_path / "whole", pretend_all)
    found = whole.cells[0].grid
    assert found is not None
    assert found.status is Status.REACHED
    assert whole.num_runs > 6
    for _ in range(whole.num_runs):
        try:
            result = sweep(study, tmp_path / "out", stopping_after(4))
            break
        except KeyboardInterrupt:
            finished = sum(is_finished(path) for path in (tmp_path / "out").iterdir())
            assert len(table(tmp_path / "out")) == finished
    assert table(tmp_path / "out") == table(tmp_path / "whole")
    assert result.cells[0].grid == found


def test_a_failed_run_stops_its_cell_and_nothing_else(tmp_path: Path) -> None:
    study = tiny_study(tmp_path / "s", num_rates=2, num_seeds=2)

    def execute(jobs: Sequence[Job]) -> dict[Path, str]:
        pretend_all(jobs[1:])
        return {jobs[0].path: "no luck"}

    result = sweep(study, tmp_path / "out", execute)
    assert result.faults == ("no luck",)
    assert (result.num_finished, len(table(tmp_path / "out"))) == (3, 3)
    assert sweep(study, tmp_path / "out", pretend_all).num_finished == 4


def test_a_study_that_grows_keeps_its_runs_and_another_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tiny_study(tmp_path / "s", num_rates=2), tmp_path / "out", pretend_all)
    larger = tiny_study(tmp_path / "s", num_rates=3)
    assert sum(len(state.missing) for state in states(larger, tmp_path / "out")) == 2
    assert sweep(larger, tmp_path / "out", pretend_all).num_finished == 6
    assert main.main(["sweep", "lr-transfer-small", "--out", str(tmp_path / "out")]) == 2
    assert "holds the study tiny" in capsys.readouterr().err


def test_plan_counts_what_is_finished_and_prices_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, out = adaptive_study(tmp_path / "s"), tmp_path / "out"
    file = write_study(study, tmp_path / "study.json")
    with pytest.raises(KeyboardInterrupt):
        sweep(study, out, stopping_after(2))
    assert main.main(["plan", str(file), "--out", str(out), "--num-workers", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_runs"], found["num_finished"], found["most_runs"]) == (6, 2, 30)
    assert found["num_tokens"] == 6 * 30 * 2 * 16
    assert found["hours_here"] > 0
    # 4 of 6 runs are left, at 989e12 FLOP/s and 45 %
    assert found["gpu_hours"] == pytest.approx(found["flops"] * 4 / 6 / (989e12 * 0.45) / 3600)
    assert "not run on a GPU" in found["gpu_note"]
    (text,) = found["texts"]
    assert (text["tokens_needed"], text["missing"]) == (30 * 2 * 16, None)
    assert text["tokens_found"] == 8170  # 43 x 200 bytes without a twentieth
    assert not list(out.glob("*.partial")), "planning left something behind"


def test_a_plan_in_words_has_no_figure_that_is_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "measured_hours", lambda configs, num_workers: 0.5)
    assert main.main(["plan", str(write_study(tiny_study(tmp_path), tmp_path / "study.json")), "--out", "none"]) == 0
    said = capsys.readouterr().out
    assert "GPU" not in said
    assert "the longest run reads 960 tokens; 8.17e+03 are there, which is 0.12 times through." in said


def test_the_hour_is_an_hour(tmp_path: Path) -> None:
    """By FLOPs, at 30 % of the peak, and a quarter of a minute for each run to start; no arm's hours are left blank."""
    found = plan.make_plan(load_study("gpu-hour"), tmp_path, gpu="H100 80GB", utilisation=0.3, num_workers=1)
    assert 0.7 < found.gpu_hours + found.num_runs * 15 / 3600 < 1.1
    assert found.texts[0].tokens_needed == 1600 * 65_536
    rows = [line for line in plan_in_words(found).splitlines() if line.startswith("adam")]
    assert {line.split()[0] for line in rows if line.endswith(" < 0.01")} == {"adamw-256-400", "adamh-256-400"}
    assert all(line[-1].isdigit() and len(line) == len(rows[0]) for line in rows)
    nothing = replace(found, texts=(replace(found.texts[0], tokens_found=0, missing=None),))
    assert "it is built at the first run" in plan_in_words(nothing)


def test_the_ladder_is_planned_though_no_step_of_it_could_be_timed_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "measured_hours", None)  # must not be called
    assert main.main(["plan", "ladder", "--gpu", "H200", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hours_here"] is None
    assert "36 layers of width 1280" in found["not_timed"]
    assert found["num_runs"] == 110
    monkeypatch.chdir(tmp_path)
    assert main.main(["plan", "ladder"]) == 0
    said = capsys.readouterr().out
    assert (
        "Text ./data/fineweb: the longest run reads 2.72e+10 tokens; none are on this machine. lrbend prepare" in said
    )
    assert "not known" in said
    assert "not run on a GPU" in said
    assert ["1280", "7.08e+08"] in [line.split()[1:3] for line in said.splitlines()]


BAD = {
    "unknown study": (["sweep", "no-such-study"], "no-such-study: not a study"),
    "no study to plan": (["plan"], "STUDY is missing; lrbend study lists those there are"),
    "unknown study to plan": (["plan", "no-such-study"], "no-such-study: not a study"),
    "no such file": (["sweep", "/no/such/study.json"], "/no/such/study.json"),
    "unknown GPU": (["plan", "ladder", "--gpu", "abacus"], "--gpu abacus"),
    "utilisation": (["plan", "ladder", "--utilisation", "1.2"], "--utilisation 1.2"),
    "no worker": (["sweep", "ladder", "--num-workers", "0"], "--num-workers 0"),
    "no checkpoint": (["sweep", "ladder", "--checkpoint-every", "0"], "--checkpoint-every 0"),
    "unknown executor": (["sweep", "ladder", "--executor", "cloud"], "cloud"),
    "slurm flag without slurm": (["sweep", "ladder", "--gpus", "2"], "--gpus"),
    "workers with slurm": (["sweep", "ladder", "--executor", "slurm", "--num-workers", "2"], "--num-workers"),
    "slurm without slurm": (["sweep", "ladder", "--executor", "slurm"], "sbatch, squeue, srun not found"),
    "out under a file": (["sweep", "STUDY", "--out", "FILE/out"], "FILE/out"),
    "a text that is gone": (["sweep", "TEXTLESS", "--out", "OUT"], "text.txt"),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line_and_leaves_nothing(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("")
    write_study(tiny_study(tmp_path / "s"), tmp_path / "STUDY.json")
    write_study(tiny_study(tmp_path / "t"), tmp_path / "TEXTLESS.json")
    (tmp_path / "t" / "text.txt").unlink()
    before = sorted(tmp_path.rglob("*"))
    arguments = [f"{word}.json" if word in ("STUDY", "TEXTLESS") else word for word in arguments]
    try:
        code = main.main(arguments)
    except SystemExit as stop:
        code = stop.code  # type: ignore[assignment]
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert named in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_claimed_run_is_left_alone_until_it_is_free(tmp_path: Path) -> None:
    """`partial_path` of a run that no process holds is no claim."""
    from experiments.runs.run_directory import claim, is_claimed

    final = tmp_path / "run-0123456789"
    assert not is_claimed(final)
    with claim(final) as partial:
        assert partial == partial_path(final)
        assert is_claimed(final)
    assert not is_claimed(final)


def test_what_a_table_mixes_or_leaves_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"

    def with_origins(jobs: Sequence[Job]) -> dict[Path, str]:
        for index, job in enumerate(jobs):
            pretend(job)
            origin = {"data_fingerprint": f"text {index % 2}", "conditions": [{"code": f"code {index}"}]}
            (job.path / "provenance.json").write_text(to_json(origin))
        return {}

    sweep(tiny_study(tmp_path / "s", num_rates=3, num_seeds=1), out, with_origins)
    said = capsys.readouterr().err
    assert "2 different texts" in said
    assert "3 versions of the code" in said
    sweep(tiny_study(tmp_path / "s", num_rates=1, num_seeds=1), out, with_origins)
    assert "without 2 finished runs" in capsys.readouterr().err
