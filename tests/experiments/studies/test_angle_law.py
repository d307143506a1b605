"""The laws of AdamH's runs: planted constants come back, the committed tables follow from the committed runs."""

import json
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.files import BadInput
from experiments.studies.angle_law import answers, fit
from experiments.studies.angle_law.later import cells_inside, later_answers, later_cells, later_losses
from experiments.studies.angle_law.run import constants_of, parts_of, run_study
from experiments.studies.angle_law.runs import SHAPES, angle_runs, make_runs
from experiments.studies.workplace import Workplace
from theory.final_loss import FinalLossLaw
from theory.two_angles import TwoAngleLaw
from theory.two_clocks import TwoClockLaw

DOCS = Path(__file__).parents[3] / "docs"
ANGLES = TwoAngleLaw(
    start=2.48,
    gain=1.25,
    angle_scale=0.5,
    blur=3.3,
    other_blur=0.63,
    growth_steps=45.0,
    half_angle=16.5,
    lag=28.0,
    early_angle=1.6,
)
CLOCKS = TwoClockLaw(
    start=2.5, gain=1.0, half_clock=240.0, angle_scale=0.45, noise=1.0, lag=1250.0, early_angle=3.3, early_clock=70.0
)
NOISE = 0.01


def committed(*names: str) -> list[pd.DataFrame]:
    return [fit.at_its_lengths(pd.read_csv(DOCS / name / "runs.csv")) for name in names]


def made_cells(law: FinalLossLaw, seed: int = 0, constant: bool = True) -> list[fit.Cell]:
    """The cells of all studies, their losses replaced by the law's and noise."""
    rng = np.random.default_rng(seed)
    runs, same, flat = committed("angle-law", "same-angle", "schedule-exponent")
    cells = fit.cells_of(runs, same, flat if constant else None)
    losses = fit.predicted(law, cells)
    for cell, loss in zip(cells, losses, strict=True):
        object.__setattr__(cell, "losses", loss + NOISE * rng.normal(size=len(cell.losses)))
    return cells


@pytest.mark.long
@pytest.mark.parametrize(("planted", "start"), [(ANGLES, fit.TWO_ANGLES), (CLOCKS, fit.TWO_CLOCKS)])
def test_planted_constants_come_back_within_their_errors(planted: FinalLossLaw, start: FinalLossLaw) -> None:
    """All constants within 4 standard errors (false alarm 0.1 %), and no worse than the truth."""
    cells = made_cells(planted)
    found, measured = fit.fit_law(cells, start), np.array([cell.losses.mean() for cell in cells])
    misses = (found.law.coordinates() - planted.coordinates()) / np.sqrt(np.diag(found.covariance))
    assert np.all(np.abs(misses) < 4), misses
    of_truth = np.sum(((fit.predicted(planted, cells) - measured) / fit.errors_of(cells)) ** 2)
    assert found.chi_squared < of_truth
    assert found.degrees_of_freedom == len(cells) - len(planted.coordinates())
    assert np.allclose(found.table["error"], fit.errors_of(cells))
    assert found.table["error"].min() > 0.5 * NOISE / 2
    assert found.table["error"].max() < 1.5 * NOISE / np.sqrt(2)


@pytest.mark.long
def test_a_law_of_lines_is_found_out_by_runs_at_a_constant_rate() -> None:
    """Losses that the law in two angles makes: fitted to lines alone, and to constant rates as well."""
    lines, both = (fit.fit_law(made_cells(ANGLES, 1, constant), fit.TWO_CLOCKS) for constant in (False, True))
    assert both.chi_squared > lines.chi_squared + 100


def test_optima_are_those_of_the_law_that_made_the_losses() -> None:
    """From the fit to noisy runs of AdamH, within the stated 95 % intervals of the truth times 2."""
    found = fit.fit_law(made_cells(ANGLES), fit.TWO_ANGLES)
    arm = answers.PILOT[2]
    rates = np.geomspace(0.01, 0.2, 201)
    losses = ANGLES.loss(answers.adamw_angles(rates, arm.num_steps, arm.initial_rms), answers.line(arm.num_steps))
    row = answers.optima_of(found, CLOCKS, [arm]).iloc[0]
    spread = np.log(row["high"] / row["predicted"])
    assert 0 < spread < 0.5
    assert abs(np.log(rates[losses.argmin()] / row["predicted"])) < 2 * spread
    assert row["ratio"] == pytest.approx(arm.learning_rate / row["predicted"])


@cache
def results(folder: Path) -> Path:
    place = Workplace(runs=folder / "runs", results=folder / "results")
    run_study(
        place,
        table=DOCS / "angle-law" / "runs.csv",
        same_angle=DOCS / "same-angle",
        schedule_exponent=DOCS / "schedule-exponent",
        moved_optimum=DOCS / "moved-optimum",
        bend=DOCS / "bend",
    )
    return place.results


def law_of(table: str, kind: type[FinalLossLaw]) -> FinalLossLaw:
    constants = pd.read_csv(DOCS / "angle-law" / f"{table}.csv").set_index("quantity")["value"]
    return kind(**{field.name: constants[field.name] for field in fields(kind)})  # type: ignore[arg-type]


@pytest.mark.parametrize(("table", "kind"), [("law", TwoAngleLaw), ("two-clocks", TwoClockLaw)])
def test_the_committed_constants_are_the_fit_of_the_committed_runs(table: str, kind: type[FinalLossLaw]) -> None:
    """A fit that begins at them stays; with its intervals, its chi^2, and the losses that stand beside the cells."""
    runs, same, flat = committed("angle-law", "same-angle", "schedule-exponent")
    cells = fit.cells_of(runs, same, flat if table == "law" else None)
    again, docs = fit.fit_law(cells, law_of(table, kind)), DOCS / "angle-law"
    pd.testing.assert_frame_equal(constants_of(again), pd.read_csv(docs / f"{table}.csv"), rtol=1e-3, atol=1e-4)
    columns = ["shape", "num_steps", "level", "mean_angle", "loss", "error", "law"]
    beside = pd.read_csv(docs / "cells.csv").rename(columns={} if table == "law" else {"law": "", "two_clocks": "law"})
    beside = beside[: len(cells)][columns].drop(columns=[] if table == "law" else "error")
    pd.testing.assert_frame_equal(again.table[list(beside)], beside, rtol=1e-3, atol=1e-4, check_dtype=False)


@pytest.mark.slow
def test_the_committed_tables_follow_from_the_committed_runs(tmp_path: Path) -> None:
    made = results(tmp_path)
    names = ("law", "two-clocks", "cells", "left-out", "optima", "adamw-losses", "answers")
    for name in (*names, "later", "later-optima", "later-answers"):
        one, other = (pd.read_csv(folder / f"{name}.csv") for folder in (made, DOCS / "angle-law"))
        pd.testing.assert_frame_equal(one, other, rtol=1e-3, atol=1e-4, check_dtype=False)


def test_the_answers_count_what_stands_in_the_tables() -> None:
    optima, losses = (pd.read_csv(DOCS / "angle-law" / f"{name}.csv") for name in ("optima", "adamw-losses"))
    pilot = optima["source"] == "pilot"
    right = optima.assign(two_clocks=np.where(pilot, 1.19 * optima["measured"], optima["measured"]))
    right["predicted"] = np.where(pilot & (optima["initial_rms"] < 1), 0.79, 1.0) * optima["measured"]
    found = answers.answers_of([("law", 38, 80.0, 29)], right, losses.assign(law=losses["loss"] + 0.02))
    value = found.set_index(["quantity", "law"])["value"]
    assert value["optima of the pilot within 20 %", "two clocks"] == 7
    assert value["optima of the pilot within 20 %", "law"] == 4
    assert value["scatter over moved-optimum", "law"] == pytest.approx(0, abs=1e-9)
    assert value["slope over moved-optimum", "two clocks"] == pytest.approx(1)
    assert value["median miss of losses, 1600 steps", "law"] == pytest.approx(0.02)
    assert found["verdict"].dropna().tolist()[:3] == ["missed", "missed", "kept"]
    assert found.set_index("quantity").loc["median miss of losses, 3200 steps", "verdict"].iloc[0] == "missed"


def test_nothing_of_adamw_enters_the_fit() -> None:
    runs, same, flat = committed("angle-law", "same-angle", "schedule-exponent")
    spoiled = same.assign(loss=np.where(same["arm"] == "adamh", same["loss"], 9.0))
    others = pd.concat([flat, flat.assign(arm="start 1.6", loss=9.0)])
    whole, without = (fit.cells_of(runs, *tables) for tables in ((same, flat), (spoiled, others)))
    assert [c.losses.tolist() for c in whole] == [c.losses.tolist() for c in without]
    assert len(whole) == 38


@pytest.mark.long
def test_what_came_later_is_in_no_fit() -> None:
    bend, moved, flat = (
        pd.read_csv(DOCS / name / "runs.csv") for name in ("bend", "moved-optimum", "schedule-exponent")
    )
    later = later_cells(bend, moved, flat)
    assert {(cell.shape, cell.num_steps) for cell in later} == {
        *(("line", steps) for steps in (500, 1000, 2000, 4000, 6400, 12800)),
        ("constant", 6400),
    }
    losses = later_losses(later, made_cells(ANGLES), {"law": ANGLES})
    around = NOISE * np.array([-1.0, 1.0])
    flawless = [replace(cell, losses=loss + around) for cell, loss in zip(later, losses["law"], strict=True)]
    table = later_losses(flawless, made_cells(ANGLES), {"law": ANGLES, "two_clocks": CLOCKS})
    optima = pd.DataFrame(
        {"measured": [0.02, 0.02], "low": 0.01, "high": 0.03, "law": [0.02, 0.04], "two_clocks": 0.01}
    )
    found = later_answers(table, optima, flawless, made_cells(ANGLES), {"law": ANGLES}).set_index("quantity")["value"]
    assert found.filter(like="root mean square").abs().max() < 1e-9
    assert found["optima of bend whose interval holds the law's"] == 1
    assert found["scatter over bend"] == pytest.approx(np.log(2) / np.sqrt(2))
    assert found["chi^2 per degree of freedom, fitted to all"] < 2
    assert found["chi^2 per degree of freedom, fitted to all inside"] < 2
    exact = fit.Fit(ANGLES, np.eye(9), 1.0, 1, pd.DataFrame())
    by_hand = answers.optima_of(exact, CLOCKS, answers.PILOT)
    met = ((by_hand["predicted"] / by_hand["measured"] - 1).abs() <= 0.2).sum()
    assert found["optima of the pilot within 20 %, fitted to all inside"] == met
    assert 0 < met < len(answers.PILOT)
    everything = [*made_cells(ANGLES), *later]
    assert [len(cells_inside(everything, name)) for name in ("law", "two_clocks")] == [38 + 12, 28 + 12]


def test_what_is_left_out_is_every_shape_and_the_ends_of_the_lengths() -> None:
    cells = fit.cells_of(*committed("angle-law", "same-angle", "schedule-exponent"))
    parts = {name: sum(out) for name, out in parts_of(cells).items()}
    assert parts == {"line": 15, "front": 5, "late": 5, "root": 3, "constant": 10, "800 steps": 7, "3200 steps": 12}


def test_a_cell_has_the_schedule_of_the_other_parameters_in_its_run() -> None:
    cells = fit.cells_of(*committed("angle-law", "same-angle", "schedule-exponent"))
    for cell in cells:
        assert cell.multipliers.shape == cell.angles.shape == (cell.num_steps,)
        assert (cell.multipliers[-1] == 1) == (cell.shape == "constant")


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
    runs, same, flat = committed("angle-law", "same-angle", "schedule-exponent")
    with pytest.raises(BadInput, match="no column shape"):
        fit.cells_of(runs.drop(columns="shape"), same)
    with pytest.raises(BadInput, match="constant rate: no column arm"):
        fit.cells_of(runs, same, flat.drop(columns="arm"))
    with pytest.raises(BadInput, match="no cell has two seeds"):
        fit.errors_of(fit.cells_of(runs[runs["seed"] == 0], same[same["seed"] == 0]))
    place, absent = Workplace(runs=tmp_path, results=tmp_path), tmp_path / "absent.csv"
    with pytest.raises(BadInput, match=r"absent\.csv"):
        run_study(place, table=absent, same_angle=DOCS / "same-angle")


@pytest.mark.parametrize(
    "changed", [{"loss": 1e308}, {"loss": None}, {"loss_se": True}, {"loss_se": 10**400}, {"seed": 9}]
)
def test_a_file_of_a_run_that_is_not_that_run(changed: dict[str, object], tmp_path: Path) -> None:
    run = angle_runs()[0]
    row = {**vars(run), "loss": 2.5, "loss_se": 0.01, **changed}
    (tmp_path / f"{run.name}.json").write_text(json.dumps({"row": row}))
    with pytest.raises(BadInput, match=rf"{run.name}\.json: not this run of the study"):
        make_runs(Workplace(runs=tmp_path, results=tmp_path))
