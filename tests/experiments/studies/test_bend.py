"""The bend in small models: the order of the runs, what is kept of one, and answers on planted optima."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.cli.main import main
from experiments.studies.bend import answers, first_design, hardware, runs
from experiments.studies.bend.figure import curve_of, draw, draw_differences
from experiments.studies.bend.run import run_study
from experiments.studies.bend.sensitivity import sensitivity_of
from experiments.studies.solvable_bend.answers import log_ratios
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from theory import AdamH

DOCS = Path(__file__).parents[3] / "docs"
PREDICTED = pd.read_csv(DOCS / "bend" / "predictions.csv")
CENTRES = {(arm.name, steps): 0.02 for arm in runs.ARMS for steps in runs.LENGTHS}


def planted(slope: float, curvature: float, error: float = 0.03) -> pd.DataFrame:
    """Optima with the same law in all arms, but for the large start, which has these more of along tokens."""
    rng = np.random.default_rng(5)
    n, d = (np.log(PREDICTED[name]) - np.log(PREDICTED[name]).mean() for name in ("num_params", "num_tokens"))
    log_rate = np.log(0.02) - 0.2 * n + 0.05 * n**2 - 0.3 * d + error * rng.normal(size=len(PREDICTED))
    log_rate += (PREDICTED["arm"] == "large start") * (1 + slope * d + curvature * d**2 / 2)
    rate = np.exp(log_rate)
    ends = {"low": rate / 1.1, "high": rate * 1.1, "error": 0.05}
    return PREDICTED.assign(status="interior", learning_rate=rate, **ends, mean_angle_there=rate, num_runs=48)


def between_starts(optima: pd.DataFrame) -> pd.DataFrame:
    found = answers.answers_of(optima, {})
    return found[found["who"] == "large start over usual start"].set_index(["axis", "quantity"])


def test_a_difference_between_starts_is_found_where_it_was_planted() -> None:
    found = between_starts(planted(slope=-0.8, curvature=0.5))
    for quantity, value in (("exponent", -0.8), ("curvature", 0.5)):
        row = found.loc["num_tokens", quantity]
        assert row["low"] < value < row["high"]
        assert row["verdict"].startswith("differs from 0")
        assert found.loc["num_params", quantity]["verdict"] == "not shown"
    assert found.loc["num_tokens", "exponent"]["verdict"] == "differs from 0; refutes mean angle"
    assert found.loc["num_tokens", "exponent"]["law"] == pytest.approx(-0.79, abs=0.01)


def test_cells_count_by_their_runs() -> None:
    """As if the last width were not there, where it has next to none and is all wrong."""
    optima = planted(slope=-0.8, curvature=0.5)
    last = optima["width"] == runs.LAST_WIDTH
    without = between_starts(optima[~last])
    optima["num_runs"] = np.where(last, 1e-9, 48)
    optima.loc[last & (optima["arm"] == "large start"), "learning_rate"] *= 10
    both = [
        found.xs("curvature", level="quantity")["value"].astype(float) for found in (between_starts(optima), without)
    ]
    np.testing.assert_allclose(*both, rtol=1e-6)


def test_no_difference_is_found_where_there_is_none() -> None:
    found = between_starts(planted(slope=0.0, curvature=0.0))
    assert {verdict.split(";")[0] for verdict in found["verdict"]} == {"not shown"}


def test_the_law_is_judged_by_what_the_study_finds_on_its_own_losses() -> None:
    row = {"who": "a", "rate": "r", "axis": "x", "quantity": "exponent", "value": 1.0, "low": 0.8, "high": 1.2}
    table = pd.DataFrame([row | {"axis": axis, "verdict": "differs from 0"} for axis in "xyz"])
    made = table.assign(value=[1.1, 1.5, 1.5], spread=[0.05, 0.1, 0.5])
    found = answers.against_law(table, made, complete=True)
    assert ["refutes law" in verdict for verdict in found["verdict"]] == [False, True, False]
    assert list(answers.against_law(table, made, complete=False)["verdict"]) == ["differs from 0"] * 3


def test_adamh_is_compared_as_the_rate_of_adamw_that_turns_alike() -> None:
    optima = planted(slope=0.0, curvature=0.0, error=1e-9)
    root = optima["learning_rate"].where(optima["arm"] != "adamh", optima["learning_rate"] ** 0.5)
    found = answers.answers_of(optima.assign(learning_rate=root), {})
    row = found[(found["who"] == "equilibrium over adamh") & (found["rate"] == answers.MATCHED)]
    np.testing.assert_allclose(row["value"].astype(float), 0, atol=1e-6)


@pytest.mark.long
def test_too_few_cells_have_no_difference_and_are_drawn() -> None:
    optima = planted(-0.8, 0.5)
    optima.loc[optima["width"] > 8, ["status", "learning_rate", "low", "high"]] = ["not run", np.nan, np.nan, np.nan]
    assert set(between_starts(optima)["verdict"]) == {"not identifiable"}
    for drawn in (draw, draw_differences):
        assert drawn(optima, answers.answers_of(optima, {})).startswith(b"\x89PNG")
    assert sensitivity_of(optima)["value"].isna().all()


def test_the_curve_that_is_drawn_is_the_one_that_was_planted() -> None:
    """Its band holds it, and is wider at the ends."""
    optima = planted(slope=-0.8, curvature=0.5, error=0.01)
    one, other = (optima[optima["arm"] == arm] for arm in ("large start", "usual start"))
    curve = curve_of(*log_ratios(one, other, runs="num_runs"))
    assert curve is not None
    at, value, half = curve
    d = np.log(at) - np.log(PREDICTED["num_tokens"]).mean()
    np.testing.assert_allclose(np.polyfit(d, value, 2), (0.25, -0.8, 1.0), atol=0.05)
    inside = np.abs(value - (1 - 0.8 * d + 0.25 * d**2)) <= half
    assert inside.all()
    assert half.max() < 0.04
    assert half[[0, -1]].min() > 1.2 * half.min()


def test_a_width_that_is_all_wrong_is_seen_in_the_sensitivity() -> None:
    """Only without it are the planted values found; it counts less by the errors of its optima."""
    optima = planted(slope=-0.8, curvature=0.5, error=1e-6)
    wrong = (optima["arm"] == "large start") & (optima["width"] == 16)
    optima.loc[wrong, "learning_rate"] *= np.exp([2.0, -2.0, -2.0, 2.0])
    optima.loc[wrong, "error"] = 1e6
    found = sensitivity_of(optima)
    along = found[(found["who"] == "large start over usual start") & (found["axis"] == "num_tokens")]
    bent = along[along["quantity"] == "curvature"].set_index("cells")["value"]
    right = np.isclose(bent.astype(float), 0.5, atol=1e-3)
    assert set(bent.index[right]) == {"without width 16", "weighted by their errors"}
    assert (along["num_cells"][along["cells"] == "without 500 steps"] == 15).all()


def test_before_any_cell_is_finished_all_of_them_are_missing() -> None:
    begun = pd.DataFrame(columns=list(runs.COLUMNS))
    begun.loc[0, ["arm", "num_params", "num_tokens"]] = ["adamh", 1704, 512000]
    optima = answers.optima_of(begun, begun.iloc[:0], {}, PREDICTED)
    assert list(optima[optima["status"] == "unfinished"]["width"]) == [8]
    assert (optima["status"] == "not run").sum() == 79
    assert set(between_starts(optima)["verdict"]) == {"not identifiable"}


def pretended(best: Callable[[TrainConfig], float], seconds: float = 1.0) -> Callable[[TrainConfig], pd.DataFrame]:
    """In place of a run: a parabola about the best rate."""

    def rows_of(config: TrainConfig) -> pd.DataFrame:
        row = dict.fromkeys((*runs.NUMBERS, *runs.GAPS), 1.0) | {"outcome": "completed", "seconds": seconds}
        row |= {"run": runs.moved.config_hash(config), "seed": config.seed, "num_steps": config.schedule.num_steps}
        rate = config.optimizer.learning_rate
        row |= {"width": config.model.d_model, "learning_rate": rate, "loss": 2 + np.log(rate / best(config)) ** 2}
        return pd.DataFrame([row])

    return rows_of


def place_in(folder: Path) -> Workplace:
    return Workplace(runs=folder / "runs", results=folder / "results")


def test_a_grid_grows_towards_its_best_rate_twice_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LENGTHS", runs.LENGTHS[:1])
    monkeypatch.setattr(runs, "WIDTHS", runs.WIDTHS[:1])
    monkeypatch.setattr(runs, "SEEDS", runs.SEEDS[:2])
    monkeypatch.setattr(
        runs,
        "rows_of",
        pretended(lambda c: 0.02 if isinstance(c.optimizer, AdamH) else 9.0 if c.block_rms == 1.6 else 0.04),
    )
    *_, table = runs.make_runs(place_in(tmp_path), CENTRES)
    rates = {arm: sorted(set(rows["learning_rate"])) for arm, rows in table.groupby("arm")}
    assert len(rates["adamh"]) == 6
    np.testing.assert_allclose(rates["large start"], 0.02 * 2.0 ** np.arange(-2.5, 5), rtol=1e-2)
    np.testing.assert_allclose(rates["equilibrium"], 0.02 * 2.0 ** np.arange(-3, 4), rtol=1e-2)
    assert all(set(rows["seed"]) == {0, 1} for _, rows in table.groupby(["arm", "learning_rate"]))
    assert len(runs.finished(table)) == len(table)
    torn = table.drop(table.index[table["arm"] == "adamh"][0])
    assert set(runs.finished(torn)["arm"]) == {"usual start", "large start", "equilibrium"}


def test_no_run_begins_beyond_the_budget_or_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LENGTHS", runs.LENGTHS[:1])
    monkeypatch.setattr(runs, "WIDTHS", runs.WIDTHS[:1])
    monkeypatch.setattr(runs, "rows_of", pretended(lambda config: 0.02, seconds=runs.BUDGET / 3))
    *_, table = runs.make_runs(place_in(tmp_path), CENTRES)
    assert len(table) == 3
    assert runs.finished(table).empty
    monkeypatch.setattr(runs, "rows_of", lambda config: pytest.fail("a run began"))
    *_, again = runs.make_runs(place_in(tmp_path), CENTRES, minutes=0)
    pd.testing.assert_frame_equal(again, table)


def test_late_seeds_come_after_all_else_and_widen_no_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the late seeds alone the best rate would lie beyond the grid."""
    monkeypatch.setattr(runs, "SEEDS", runs.SEEDS[:3])
    monkeypatch.setattr(runs, "LENGTHS", runs.LENGTHS[:1])
    monkeypatch.setattr(runs, "WIDTHS", (8, runs.LAST_WIDTH))
    monkeypatch.setattr(runs, "ARMS", runs.ARMS[3:])
    monkeypatch.setattr(runs, "rows_of", pretended(lambda c: 9.0 if c.seed in (2, 3) and c.model.d_model > 8 else 0.02))
    *_, table = runs.make_runs(place_in(tmp_path), CENTRES)
    assert len(set(table["learning_rate"])) == 6
    early = len(table) - 2 * 6
    assert set(table["seed"][:early][table["width"][:early] == runs.LAST_WIDTH]) == {0, 1}
    assert set(table["seed"][early:]) == {2, 3}
    assert set(table["width"][early:]) == {runs.LAST_WIDTH}
    assert len(runs.finished(table[:early])) == early
    place = place_in(tmp_path)
    assert runs.wanted(place, CENTRES, {}) == []
    for seed in (1, 2):  # an early one is wanted before the late ones that are missing too
        names = table["run"][(table["width"] == runs.LAST_WIDTH) & (table["seed"] == seed)]
        (place.runs / f"{names.iloc[0]}.csv").unlink()
    assert [task.config.seed for task in runs.wanted(place, CENTRES, {})] == [1]
    assert set(runs.finished(table[: early - 1])["width"]) == {8}


def test_the_first_design_is_found_in_the_runs_of_the_amended_one() -> None:
    """Its two seeds, three in short runs, its four rates, and a fifth where its own rule asks for it."""
    best = {"adamh": 0.02, "large start": 0.1, "usual start": 0.004, "equilibrium": 0.02}
    rows = [
        {"arm": arm.name, "width": width, "num_steps": steps, "learning_rate": rate, "seed": seed}
        for arm in runs.ARMS
        for width in (8, runs.LAST_WIDTH)
        for steps in (1000, 2000)
        for rate in runs.rates_of(arm, 0.02)
        for seed in runs.seeds_of(width)
    ]
    table = pd.DataFrame(rows)
    table["loss"] = np.log(table["learning_rate"] / table["arm"].map(best)) ** 2
    found = first_design.of_first_design(table, CENTRES)
    assert set(found["width"]) == {8}
    assert {steps: set(own["seed"]) for steps, own in found.groupby("num_steps")} == {1000: {0, 1, 2}, 2000: {0, 1}}
    for arm, powers in (
        ("adamh", (-1.5, -0.5, 0.5, 1.5)),
        ("large start", (-1.5, -0.5, 0.5, 1.5, 2.5)),
        ("usual start", (-2.5, -1.5, -0.5, 0.5, 1.5)),
        ("equilibrium", (-3, -1, 1, 3)),
    ):
        rates = sorted(set(found[found["arm"] == arm]["learning_rate"]))
        np.testing.assert_allclose(rates, 0.02 * 2.0 ** np.array(powers), rtol=1e-2)
    one = (table["arm"] == "adamh") & (table["width"] == 8) & (table["num_steps"] == 2000) & (table["seed"] == 1)
    left = first_design.of_first_design(table.drop(table.index[one][2]), CENTRES)
    assert set(left[left["arm"] == "adamh"]["num_steps"]) == {1000}


def test_the_corner_comes_first() -> None:
    order = [(width, steps) for width, steps, arm in runs.cells_in_order() if arm is runs.ARMS[0]]
    assert len(order) == len(set(order)) == 20
    assert [width for width, _ in order].index(128) == 16
    assert set(order[:9]) == {(width, steps) for width in (8, 16, 32) for steps in (500, 1000, 2000)}


def test_what_is_kept_of_a_run() -> None:
    """AdamH at a constant norm: the mean rate over the RMS is known, up to what the RMS of the matrices differ by, and
    its angles and relative updates agree."""
    config = runs.config_of(runs.ARMS[-1], 8, 500, 0.05, 0)
    schedule = replace(config.schedule, num_steps=12, warmup_steps=2)
    row = runs.rows_of(replace(config, schedule=schedule, record_every=1, eval_batches=1)).iloc[0]
    assert {*runs.COLUMNS, "device"} == {*row.index, "arm"}
    assert row["rate_over_rms"] == pytest.approx(0.05 * schedule.multipliers().mean() / row["initial_rms"], rel=0.02)
    assert row["relative_update"] == pytest.approx(row["mean_angle"], rel=1e-2)


def test_rows_of_another_study_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    given = ["--option", f"earlier={DOCS / 'moved-optimum' / 'runs.csv'}", "--option", "minutes=0"]
    assert main(["study", "bend", *folders, *given]) == 2
    assert "no column width" in capsys.readouterr().err


@pytest.mark.slow  # a core-minute: every arm fitted for the study, its first design and both halves of its seeds
def test_committed_tables_are_those_of_the_code(tmp_path: Path) -> None:
    run_study(
        place_in(tmp_path), minutes=0, earlier=DOCS / "bend" / "runs.csv", expected=DOCS / "bend" / "expected.csv"
    )
    for name in (
        "predictions",
        "runs",
        "optima",
        "answers",
        "sensitivity",
        "first-design-optima",
        "first-design-answers",
        "halves",
    ):
        made, committed = (pd.read_csv(folder / f"{name}.csv") for folder in (tmp_path / "results", DOCS / "bend"))
        pd.testing.assert_frame_equal(made, committed, rtol=1e-3)


def rerun(cores: pd.DataFrame, changed: str) -> pd.DataFrame:
    """The same runs with what rounding does to them, more at larger angles, and one thing more."""
    size = np.where(cores["mean_angle"] < hardware.SMALL_ANGLE, 3e-4, 0.01)
    d = size * np.random.default_rng(3).normal(size=len(cores))
    d -= d.mean()
    small = cores["mean_angle"] < hardware.SMALL_ANGLE
    add = {
        "bias": np.full(len(cores), 0.003),
        "twin": np.where(np.arange(len(cores)) % 10 == 9, 0.08, 0.0) * np.sign(d),
        "small angles": np.where(small, 0.004 * np.sign(d), 0.0),
        "size": 0.012 * np.sign(d) * ~small,
    }.get(changed, np.zeros(len(cores)))
    again = cores.assign(loss=cores["loss"] + d + add)
    again.loc[again.index[:1], "outcome"] = "diverged" if changed == "outcomes" else "completed"
    return again.sample(frac=1, random_state=0)[["run", "loss", "outcome"]]


@pytest.mark.parametrize("changed", ["nothing", "bias", "twin", "small angles", "size", "outcomes"])
def test_a_machine_with_other_numbers_is_found_out(changed: str) -> None:
    cores = pd.read_csv(DOCS / "bend" / "core-runs.csv", dtype={"run": str})
    told = hardware.compared(hardware.pairs_of(cores, rerun(cores, changed))).set_index("line")["holds"]
    assert told["all"] == (changed == "nothing")
    assert told.get(changed, True) == (changed == "nothing")


def test_runs_of_cores_are_compared_by_one_command(tmp_path: Path) -> None:
    again = tmp_path / "again.csv"
    cores = DOCS / "bend" / "core-runs.csv"
    pd.read_csv(cores).assign(loss=lambda table: table["loss"] + 1e-5).to_csv(again, index=False)
    run_study(place_in(tmp_path), again=[again], cores=cores)
    told = pd.read_csv(tmp_path / "results" / "hardware.csv").set_index("line")
    assert told.loc["small angles", "value"] == pytest.approx(1e-5, rel=1e-3)
    assert (told.loc["all", "num_pairs"], told.loc["small angles", "num_pairs"]) == (118, 49)
    assert len(pd.read_csv(tmp_path / "results" / "hardware-pairs.csv")) == 118
