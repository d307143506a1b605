"""The study of conversions: what its arms are, and its decision rule, on a run of a few steps."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.files import csv_text
from experiments.runs.local import run_jobs
from experiments.runs.produce import Job
from experiments.runs.run_files import load_run
from experiments.studies.conversion import arms, run
from experiments.studies.conversion.answers import answers_of, verdict_of
from experiments.studies.conversion.causes import direction_of
from experiments.studies.workplace import Workplace
from theory import AdamH, Cosine, predict_trajectory

SHORT, LONG, KNOWN = (arms.SETTINGS[name] for name in ("fast", "late", "settled"))


@pytest.mark.long
def test_the_arms_of_a_short_run(tmp_path: Path) -> None:
    config = arms.original(0, dataclasses.replace(SHORT, schedule=Cosine(num_steps=12, warmup_steps=2)))
    job = Job(tmp_path, "adamw", config)
    run_jobs([job], num_workers=1)
    recorded = load_run(job.path)
    made = arms.arms_of(config, recorded, KNOWN.arms)
    assert tuple(made) == KNOWN.arms
    assert made["twin"].optimizer == config.optimizer
    assert made["unconverted"].matrix_schedule is None
    conversions = [made[name] for name in ("converted", "ratio", "history", "measured")]
    for one in conversions:
        assert isinstance(one.optimizer, AdamH)
        assert one.schedule == config.schedule  # of all that is no block matrix
    assert len({str(one.matrix_schedule) for one in conversions}) == 4
    assert direction_of(recorded, config)[0] == pytest.approx(1, abs=0.01)  # a first step is a sign, but for eps
    measured = Job(tmp_path, "measured", made["measured"])
    run_jobs([measured], num_workers=1)
    # Real directions are not white: the rates are from the angles, the angles made by them are near these.
    assert run.angle_ratio(load_run(measured.path), recorded) == pytest.approx(1, abs=0.15)


def test_the_control_of_the_same_mean_angle() -> None:
    config = arms.original(0, LONG)
    control = arms.arms_of(config, None, ["mean"])["mean"]
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
def test_the_rule_of_late(setting: arms.Setting, unconverted: float, verdict: str, borne_out: bool | None) -> None:
    rng = np.random.default_rng(0)
    losses = 2 + 0.01 * rng.normal(size=5)
    near, far = rng.normal(size=(2, 5)) * 1e-3
    by_arm = {"adamw": losses, "twin": losses + near, "converted": losses + near}
    by_arm |= dict.fromkeys(("measured", "mean"), losses + 0.004 + 4 * far)
    by_arm["unconverted"] = losses + unconverted + 5 * far
    table = {row["arm"]: row for row in answers_of(rows_of(by_arm), setting)}
    assert tuple(table) == setting.arms
    assert table["converted"]["seed_noise"] == pytest.approx(losses.std(ddof=1) / 5**0.5)
    assert table["converted"]["rerun_noise"] == pytest.approx(np.sqrt(np.mean(near**2)))
    assert table["converted"]["verdict"] == "agrees"
    assert table["unconverted"]["verdict"] == verdict
    assert table["converted"]["borne_out"] is borne_out
    assert verdict_of(0.03, 0.011, 0.01) == "not-resolved"


@pytest.mark.parametrize(
    ("offset", "spread", "unconverted", "borne_out"),
    [
        (0.0, 0.01, 0.1, True),
        (0.009, 0.01, 0.1, False),  # significant: its standard error is .0033
        (0.0, 0.06, 0.1, False),  # an interval that reaches to a half of the damage
        (0.0125, 0.0195, 0.1, False),  # more than a rerun by rounding, .0113
        (0.0, 0.005, 0.02, False),  # a damage that is no more than a rerun
    ],
)
def test_the_rule_of_settled(offset: float, spread: float, unconverted: float, borne_out: bool) -> None:
    """Differences of exactly that mean and standard deviation over nine seeds."""
    shape = np.linspace(-1, 1, 9) / np.linspace(-1, 1, 9).std(ddof=1)
    losses, twist = 2 + 0.02 * shape, shape[[3, 0, 6, 8, 1, 5, 7, 2, 4]]
    by_arm = dict.fromkeys(KNOWN.arms, losses + offset + spread * twist)
    by_arm |= {"adamw": losses, "twin": losses + 0.012 * twist, "unconverted": losses + unconverted + 0.01 * twist}
    table = {row["arm"]: row for row in answers_of(rows_of(by_arm), KNOWN)}
    for name in ("converted", "ratio", "history", "measured"):
        row = table[name]
        assert row["borne_out"] is borne_out
        assert (row["difference"], row["se"]) == pytest.approx((offset, spread / 3))
        assert row["high"] == pytest.approx(offset + 2.306004 * spread / 3)
        assert row["scatter"] == pytest.approx(0.02)
    assert table["twin"]["borne_out"] is table["unconverted"]["borne_out"] is None


def test_rows_of_a_table_stand_for_their_runs(tmp_path: Path) -> None:
    place = Workplace(runs=tmp_path, results=tmp_path)
    rows = rows_of({arm: np.array([2.5, np.nan]) for arm in ("adamw", *SHORT.arms)}, name="fast")
    place.write("losses.csv", csv_text(rows))
    known = {run.key_of(row): row for row in run.rows_in(tmp_path / "losses.csv")}
    found = run.rows_of(place, "fast", SHORT, 0, known)
    assert [(row["arm"], row["loss"]) for row in found] == [(arm, 2.5) for arm in ("adamw", *SHORT.arms)]
    assert not list(tmp_path.glob("fast*"))


def rows_of(by_arm: Mapping[str, np.ndarray], name: str = "a") -> list[dict[str, Any]]:
    return [
        {"setting": name, "seed": seed, "arm": arm, "loss": loss, "angle_ratio": 1.0}
        for arm, losses in by_arm.items()
        for seed, loss in enumerate(losses)
    ]
