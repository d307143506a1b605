"""The study of conversions: what its arms are, and its decision rule, on a run of a few steps."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.runs.local import run_jobs
from experiments.runs.produce import Job
from experiments.runs.run_files import load_run
from experiments.studies import conversion
from theory import AdamH, Cosine, predict_trajectory

SHORT, LONG = conversion.SETTINGS["fast"], conversion.SETTINGS["late"]


def test_the_arms_of_a_short_run(tmp_path: Path) -> None:
    config = conversion.original(0, dataclasses.replace(SHORT, schedule=Cosine(num_steps=12, warmup_steps=2)))
    job = Job(tmp_path, "adamw", config)
    run_jobs([job], num_workers=1)
    recorded = load_run(job.path)
    arms = conversion.arms_of(config, recorded, SHORT.arms)
    assert tuple(arms) == SHORT.arms
    assert arms["twin"].optimizer == config.optimizer
    assert arms["unconverted"].matrix_schedule is None
    for name in ("converted", "measured"):
        assert isinstance(arms[name].optimizer, AdamH)
        assert arms[name].schedule == config.schedule  # of all that is no block matrix
    measured = Job(tmp_path, "measured", arms["measured"])
    run_jobs([measured], num_workers=1)
    # Real directions are not white: the rates are from the angles, the angles made by them are near these.
    assert conversion.angle_ratio(load_run(measured.path), recorded) == pytest.approx(1, abs=0.15)


def test_the_control_of_the_same_mean_angle() -> None:
    config = conversion.original(0, LONG)
    control = conversion.arms_of(config, None, ["mean"])["mean"]  # type: ignore[arg-type]
    sums = [
        predict_trajectory(spec, config.schedule, initial_rms=LONG.initial_rms, finite_beta2=True).angular_update.sum()
        for spec in (config.optimizer, control.optimizer)
    ]
    assert sums[1] == pytest.approx(sums[0], rel=0.03)
    assert control.matrix_schedule is None


@pytest.mark.parametrize(
    ("setting", "unconverted", "verdict", "borne_out"),
    [(SHORT, 0.1, "differs", None), (LONG, 0.1, "differs", True), (LONG, 0.002, "agrees", False)],
    ids=["not asked", "borne out", "no power"],
)
def test_the_decision_rule(
    setting: conversion.Setting, unconverted: float, verdict: str, borne_out: bool | None
) -> None:
    rng = np.random.default_rng(0)
    losses = 2 + 0.01 * rng.normal(size=5)
    near, far = rng.normal(size=(2, 5)) * 1e-3
    of_arm = {
        "adamw": losses,
        "twin": losses + near,
        "converted": losses + near,
        "unconverted": losses + unconverted + 5 * far,
        "measured": losses + 0.004 + 4 * far,
        "mean": losses + 0.004 + 4 * far,
    }
    rows = [
        {"setting": "a", "seed": seed, "arm": arm, "loss": loss, "angle_ratio": 1.0}
        for arm, of_seeds in of_arm.items()
        for seed, loss in enumerate(of_seeds)
    ]
    table = {row["arm"]: row for row in conversion.answers_of(rows, setting)}
    assert tuple(table) == setting.arms
    assert table["converted"]["seed_noise"] == pytest.approx(losses.std(ddof=1) / 5**0.5)
    assert table["converted"]["rerun_noise"] == pytest.approx(np.sqrt(np.mean(near**2)))
    assert table["converted"]["verdict"] == "agrees"
    assert table["unconverted"]["verdict"] == verdict
    assert table["converted"]["borne_out"] is borne_out
    assert conversion.verdict_of(0.03, 0.011, 0.01) == "not-resolved"
