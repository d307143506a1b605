"""Studies made of a sweep: runs kept, the table in the results, the verdicts of the joint fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.bend.mean_angle import AngleOf
from experiments.files import BadInput
from experiments.runs.produce import Job
from experiments.studies import swept
from experiments.studies.workplace import Workplace
from experiments.sweeps.study import Study, geometric
from experiments.sweeps.sweep import STUDY_FILE
from tests.experiments.sweeps.test_sweep import pretend
from tests.experiments.tiny_study import tiny_study
from theory import Constant


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(runs=tmp_path / "runs", results=tmp_path / "results", num_workers=3)


def test_runs_are_made_once_and_their_table_is_a_result(place: Workplace, tmp_path: Path) -> None:
    study = tiny_study(tmp_path, num_steps=10)
    table = swept.run_swept(study, replace(place, num_workers=1))
    assert len(table) == 4
    assert (place.results / "runs.csv").read_bytes() == (place.runs / "table.csv").read_bytes()
    assert (place.results / STUDY_FILE).read_bytes() == (place.runs / STUDY_FILE).read_bytes()
    stamps = {path: path.stat().st_mtime_ns for path in place.runs.glob("*/summary.json")}
    assert len(stamps) == 4
    pd.testing.assert_frame_equal(swept.run_swept(study, place), table)
    assert {path: path.stat().st_mtime_ns for path in place.runs.glob("*/summary.json")} == stamps


def test_runs_that_fail_are_told_and_the_others_kept(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(jobs: Sequence[Job], *, num_workers: int) -> dict[Path, str]:
        assert num_workers == 3
        pretend(jobs[0])
        return {job.path: f"{job.path}: broken" for job in jobs[1:]}

    monkeypatch.setattr(swept, "try_jobs", failing)
    with pytest.raises(BadInput, match=r"broken \(and 2 more runs failed\)"):
        swept.run_swept(tiny_study(tmp_path), place)
    assert len(pd.read_csv(place.runs / "table.csv")) == 1
    assert list(place.results.iterdir()) == []


def law(tmp_path: Path) -> Study:
    """Three lengths of one model, five rates, two seeds."""
    (cell,) = tiny_study(tmp_path).cells
    cells = [
        replace(
            cell,
            label=f"adamw-{steps}",
            config=replace(cell.config, schedule=Constant(num_steps=steps)),
            learning_rates=geometric(2.5e-3, 2, 5),
        )
        for steps in (100, 200, 400)
    ]
    return replace(tiny_study(tmp_path), cells=tuple(cells))


def test_the_verdict_of_the_fit_is_the_answer(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses as `pretend` makes them: the optimum is 0.01 at every length, so the exponent is 0."""

    def all_of_them(jobs: Sequence[Job], *, num_workers: int) -> dict[Path, str]:
        for job in jobs:
            pretend(job)
        return {}

    monkeypatch.setattr(swept, "try_jobs", all_of_them)
    found = swept.judge_bend(law(tmp_path), place, AngleOf(schedule="constant", warmup_fraction=0.0))
    rows = found.answers.set_index(["quantity", "axis"])
    assert set(rows["optimizer"]) == {"adamw"}
    assert found.passed is None
    slope = rows.loc[("learning rate", "num_tokens")]
    assert slope["slope"] == pytest.approx(0, abs=0.05)
    assert slope["slope_low"] < 0 < slope["slope_high"]
    assert rows.loc[("learning rate", "num_params"), "verdict"] == "not-identifiable"
    assert ("mean angle", "num_tokens") in rows.index
    written = pd.read_csv(place.results / "answers.csv")
    np.testing.assert_allclose(written["slope"], found.answers["slope"].astype(float), rtol=1e-4)
