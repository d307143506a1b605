"""Diagnosis of finished runs, and its way into a sweep's table."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from experiments.cli.main import main
from experiments.cli.runs.diagnose import _diverged
from experiments.files import BadInput
from experiments.runs.diagnoses import COLUMNS, FILE, read_diagnosis
from experiments.runs.local import try_jobs
from experiments.runs.run_directory import find_runs
from experiments.runs.run_files import load_run
from experiments.sweeps.sweep import sweep
from gpt.config import TrainConfig
from gpt.diagnose import diagnose
from gpt.model import GPT, block_matrices
from tests.experiments.tiny_study import tiny_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diagnosed")
    study = tiny_study(folder / "study", num_rates=1, num_seeds=2)
    assert not sweep(study, folder / "out", lambda jobs: try_jobs(jobs, num_workers=1)).faults
    return folder


def config_of(run_dir: Path) -> TrainConfig:
    config = load_run(run_dir).config
    assert isinstance(config, TrainConfig)
    return config


@pytest.mark.long
def test_every_run_is_measured_once_and_the_table_knows(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = find_runs(finished / "out")
    assert main(["diagnose", str(finished / "out"), "--num-batches", "6", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    first = told["runs"]
    assert (told["num_runs"], told["num_stopped"]) == (len(runs), 0)
    assert [Path(row["run_dir"]) for row in first] == runs
    for row in first:
        assert all(math.isfinite(row[name]) for name in COLUMNS if name != "noise_scale")
        assert 0 < row["sign_agreement"] < 1
    stamp = (runs[0] / FILE).stat().st_mtime_ns
    assert main(["diagnose", str(runs[0]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == first[:1]
    assert (runs[0] / FILE).stat().st_mtime_ns == stamp
    study = tiny_study(finished / "study", num_rates=1, num_seeds=2)
    assert not sweep(study, finished / "out", lambda jobs: try_jobs(jobs, num_workers=1)).faults
    header, *lines = (finished / "out" / "table.csv").read_text().splitlines()
    place = header.split(",").index("sharpness")
    assert sorted(float(line.split(",")[place]) for line in lines) == sorted(row["sharpness"] for row in first)


def test_sharpness_bounds_the_second_difference_of_the_loss(finished: Path) -> None:
    """Along the gradient the loss curves by no more than the largest eigenvalue, and somewhere near it."""
    run = find_runs(finished / "out")[0]
    config = config_of(run)
    found = diagnose(config, run / "checkpoint.pt", num_batches=4)
    model = GPT(config.model).double()
    state = torch.load(run / "checkpoint.pt", weights_only=True)["state"]
    model.load_state_dict(state["model"])
    matrices = list(block_matrices(model).values())
    from gpt.data import load_text

    text = load_text(config.source)
    pairs = [
        text.validation_batch(
            config.eval_batches + index, batch_size=config.batch_size, context_length=config.model.context_length
        )
        for index in range(2)
    ]
    tokens, targets = (torch.cat([pair[side] for pair in pairs]) for side in (0, 1))
    gradients = torch.autograd.grad(model(tokens, targets).mean(), matrices)
    length = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
    step = 1e-4

    def moved(by: float) -> float:
        with torch.no_grad():
            for matrix, gradient in zip(matrices, gradients, strict=True):
                matrix.add_(gradient, alpha=by / length)
            value = float(model(tokens, targets).mean())
            for matrix, gradient in zip(matrices, gradients, strict=True):
                matrix.sub_(gradient, alpha=by / length)
        return value

    curvature = (moved(step) - 2 * moved(0.0) + moved(-step)) / step**2
    assert found.sharpness / 100 < abs(curvature) <= found.sharpness * 1.01


def test_what_is_no_end_of_a_run_is_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(tmp_path)]) == 2
    assert "no completed training run" in capsys.readouterr().err
    run = find_runs(finished / "out")[1]
    (run / FILE).unlink(missing_ok=True)
    kept = (run / "checkpoint.pt").read_bytes()
    try:
        (run / "checkpoint.pt").write_bytes(kept[:1000])
        assert main(["diagnose", str(run)]) == 2
        assert main(["diagnose", str(run), "--num-batches", "2"]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 2
        assert not (run / FILE).exists()
    finally:
        (run / "checkpoint.pt").write_bytes(kept)
    (run / FILE).write_text('{"sharpness": "high"}')
    assert main(["diagnose", str(run)]) == 2
    assert "sharpness is not a number" in capsys.readouterr().err
    (run / FILE).unlink()
    assert math.isnan(read_diagnosis(run)["sharpness"])


def test_a_run_that_diverged_is_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When, what the norms did, and what cannot be measured any more."""
    flags = "--preset cpu-16 --architecture gpt2 --source zipf --weight-decay 0 --num-steps 20 --batch-size 2"
    rates = ["--learning-rate", "1000", "--non-matrix-learning-rate", "10"]
    main(["train", *flags.split(), *rates, "--out", str(tmp_path)])
    (run,) = find_runs(tmp_path)
    capsys.readouterr()
    assert main(["diagnose", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["runs"]
    assert row["outcome"] == "diverged"
    assert row["diverged_at_step"] == load_run(run).summary["diverged_at_step"]
    assert row["weight_rms_last"] > 1000 * row["weight_rms_first"]
    assert all(row[name] is None for name in COLUMNS)
    assert main(["diagnose", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"diverged at step {row['diverged_at_step']} of 20" in said
    assert "sharpness, preconditioned_sharpness, update_rms, sign_agreement cannot be measured" in said
    assert not (run / FILE).exists()


@pytest.mark.parametrize("value", [10**400, 1e308, True, "x", []])
def test_a_diagnosis_whose_numbers_are_none(value: object, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({**dict.fromkeys(COLUMNS, 0.5), "sharpness": value}))
    with pytest.raises(BadInput, match=r"diagnosis.json: sharpness is not a number$"):
        read_diagnosis(tmp_path)


def test_weights_that_diverged_with_the_loss_are_answered(finished: Path) -> None:
    """``summary.json`` has null for what is not a number."""
    run = load_run(find_runs(finished / "out")[0])
    summary = {**run.summary, "outcome": "diverged", "final_weight_rms": dict.fromkeys(run.trajectory.matrices)}
    row = _diverged(dataclasses.replace(run, summary=summary))
    assert math.isnan(row["weight_rms_last"])
    assert row["weight_rms_first"] > 0
