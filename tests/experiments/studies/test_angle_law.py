"""The law of AdamH's runs: planted constants come back, the committed tables follow from the committed runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.files import BadInput
from experiments.studies.angle_law import answers, fit
from experiments.studies.angle_law.run import run_study
from experiments.studies.angle_law.runs import SHAPES, angle_runs
from experiments.studies.workplace import Workplace
from theory.two_clocks import TwoClockLaw

DOCS = Path(__file__).parents[3] / "docs"
PLANTED = TwoClockLaw(
    start=2.5, gain=1.0, half_clock=240.0, angle_scale=0.45, noise=1.0, lag=1250.0, early_angle=3.3, early_clock=70.0
)
NOISE = 0.01


def tables(law: TwoClockLaw, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of both studies, their losses replaced by the law's and noise."""
    rng = np.random.default_rng(seed)
    runs = pd.read_csv(DOCS / "angle-law" / "runs.csv")
    same = pd.read_csv(DOCS / "same-angle" / "runs.csv")
    cells = fit.cells_of(runs, same)
    loss = {(c.shape, c.num_steps, c.level): x for c, x in zip(cells, fit.predicted(law, cells), strict=True)}
    line = same[same["arm"] == "adamh"].copy()
    line["loss"] = [loss["line", int(t), float(r)] for t, r in zip(line.num_steps, line.learning_rate, strict=True)]
    keys = zip(runs["shape"], runs["num_steps"], runs["mean_angle"], strict=True)
    runs = runs.assign(loss=[loss[str(s), int(t), float(m)] for s, t, m in keys])
    return tuple(t.assign(loss=t["loss"] + NOISE * rng.normal(size=len(t))) for t in (runs, line))  # type: ignore[return-value]


def test_planted_constants_come_back_within_their_errors() -> None:
    """Three draws of noise: eight constants within 4 standard errors (false alarm 1 %), and no worse than the truth."""
    for seed in range(3):
        cells = fit.cells_of(*tables(PLANTED, seed))
        found, measured = fit.fit_law(cells), np.array([cell.losses.mean() for cell in cells])
        misses = (found.law.coordinates() - PLANTED.coordinates()) / np.sqrt(np.diag(found.covariance))
        assert np.all(np.abs(misses) < 4), misses
        of_truth = np.sum(((fit.predicted(PLANTED, cells) - measured) / fit.errors_of(cells)) ** 2)
        assert found.chi_squared < of_truth
        assert np.allclose(found.table["error"], fit.errors_of(cells))
        assert found.table["error"].min() > 0.5 * NOISE / 2
        assert found.table["error"].max() < 1.5 * NOISE / np.sqrt(2)


def test_optima_are_those_of_the_law_that_made_the_losses() -> None:
    """From the fit to noisy runs of AdamH, within the stated 95 % intervals of the truth times 2."""
    found = fit.fit_law(fit.cells_of(*tables(PLANTED)))
    same = pd.read_csv(DOCS / "same-angle" / "answers.csv")
    optima = answers.optima_of(found, same)
    assert len(optima) == len(answers.PILOT) + 3
    arm = answers.PILOT[2]
    rates = np.geomspace(0.01, 0.2, 201)
    losses = PLANTED.loss(answers.adamw_angles(rates, arm.num_steps, arm.initial_rms), answers.line(arm.num_steps))
    row = optima.iloc[2]
    spread = np.log(row["high"] / row["predicted"])
    assert 0 < spread < 0.5
    assert abs(np.log(rates[losses.argmin()] / row["predicted"])) < 2 * spread


def test_the_committed_tables_follow_from_the_committed_runs(tmp_path: Path) -> None:
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    run_study(place, table=DOCS / "angle-law" / "runs.csv", same_angle=DOCS / "same-angle")
    for name in ("law", "cells", "optima", "adamw-losses"):
        made, committed = (pd.read_csv(folder / f"{name}.csv") for folder in (place.results, DOCS / "angle-law"))
        pd.testing.assert_frame_equal(made, committed, rtol=1e-3, check_dtype=False)


def test_nothing_of_adamw_enters_the_fit() -> None:
    runs, same = (pd.read_csv(DOCS / name / "runs.csv") for name in ("angle-law", "same-angle"))
    spoiled = same.assign(loss=np.where(same["arm"] == "adamh", same["loss"], 9.0))
    whole, without = (fit.cells_of(runs, table) for table in (same, spoiled))
    assert [c.losses.tolist() for c in whole] == [c.losses.tolist() for c in without]


def test_prescribed_angles_have_the_mean_that_they_are_named_by() -> None:
    runs = angle_runs()
    assert len({run.name for run in runs}) == len(runs)
    for run in runs:
        angles = run.angles()
        assert angles.shape == (run.num_steps,)
        assert angles.mean() == pytest.approx(run.mean_angle)
    halves = {shape: SHAPES[shape](1600)[:800].sum() / SHAPES[shape](1600).sum() for shape in SHAPES}
    assert halves["front"] > halves["root"] > halves["late"]


def test_tables_of_something_else_are_refused(tmp_path: Path) -> None:
    runs, same = tables(PLANTED)
    with pytest.raises(BadInput, match="no column shape"):
        fit.cells_of(runs.drop(columns="shape"), same)
    with pytest.raises(BadInput, match="no cell has two seeds"):
        fit.errors_of(fit.cells_of(runs[runs["seed"] == 0], same[same["seed"] == 0]))
    place, absent = Workplace(runs=tmp_path, results=tmp_path), tmp_path / "absent.csv"
    with pytest.raises(BadInput, match=r"absent\.csv"):
        run_study(place, table=absent, same_angle=DOCS / "same-angle")
