"""Classic GPT-2 over widths: which runs are made beside those of `classic`, and what is made of planted optima."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.runs.configs import config_hash
from experiments.studies.classic_bend import answers, expected, run, runs
from experiments.studies.classic_bend.runs import SMALL, Cell
from experiments.studies.ensembles import tasks
from experiments.studies.moved_optimum.runs import SEEDS
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig
from gpt.train import TrainResult
from tests.experiments.studies.pretended import pretended

DOCS = Path(__file__).parents[3] / "docs"
CLASSIC = runs.read_classic(DOCS / "classic")
SIZES = {8: 1760, 16: 6592, 32: 25472, 64: 100096, 128: 396800}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], tuple[Workplace, list[TrainConfig]]]:
    """A place whose runs have their lowest loss at a rate, and those that were made."""

    def of(best: float) -> tuple[Workplace, list[TrainConfig]]:
        trained: list[TrainConfig] = []

        def train(config: TrainConfig, recording: None) -> TrainResult:
            trained.append(config)
            loss = 2 + np.log(config.optimizer.learning_rate / best) ** 2 + 1e-3 * config.seed
            return replace(pretended(config, recording), final_loss=float(loss))

        monkeypatch.setattr(tasks, "train", train)
        place = Workplace(runs=tmp_path / f"runs {best}", results=tmp_path / "results")
        place.make_folders()
        return place, trained

    return of


def rates(configs: list[TrainConfig]) -> list[float]:
    return sorted({config.optimizer.learning_rate for config in configs})


def test_the_cells_of_the_study() -> None:
    cells = list(runs.cells_in_order())
    assert len(cells) == 4 * (5 + 4)
    assert [cell.width for cell in cells[:20:4]] == [32, 16, 64, 8, 128]
    assert [cell.arm.name for cell in cells[:4]] == ["small", "equilibrium", "large", "adamh 0.18"]
    assert {cell.width for cell in cells if cell.num_steps == 1600} == {8, 16, 32, 64}
    assert list(runs.cells_in_order([800])) == cells[:20]


def test_a_run_is_that_of_classic_at_another_width() -> None:
    known = set(CLASSIC["run"])
    for cell in runs.cells_in_order():
        config = cell.config(runs.RATES[cell.arm.name][2], SEEDS[0])
        assert config.model.d_model == cell.width
        assert config.model.architecture == "gpt2"
        if cell.width == runs.KNOWN_WIDTH and cell.arm is not runs.LARGE:
            same = replace(config, record_every=1) if cell.arm is SMALL else config
            rows = runs.of_cell(CLASSIC, cell)
            assert (config_hash(same) in known) == (config.optimizer.learning_rate in set(rows["learning_rate"]))


def test_what_classic_has_is_not_made_again(made: Callable[[float], tuple[Workplace, list[TrainConfig]]]) -> None:
    place, trained = made(0.01)
    of_32 = {cell.arm.name: cell for cell in runs.cells_in_order([800]) if cell.width == 32}
    assert rates(runs.planned(place, of_32["small"], CLASSIC)) == [0.04]
    assert rates(runs.planned(place, of_32["equilibrium"], CLASSIC)) == [0.000313]
    assert runs.planned(place, of_32["large"], CLASSIC) == []
    assert rates(runs.planned(place, of_32["adamh 0.18"], CLASSIC)) == [0.001, 0.002]
    assert trained == []


@pytest.mark.long
def test_a_grid_grows_twice_at_most_beyond_the_end_where_the_least_loss_is(
    made: Callable[[float], tuple[Workplace, list[TrainConfig]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, none = Cell(SMALL, 16, 800), CLASSIC.iloc[:0]
    monkeypatch.setattr(runs, "cells_in_order", lambda *_: iter([cell]))
    for best, added in ((0.01, []), (1.0, [0.08, 0.16])):
        place, trained = made(best)
        ((table, whole),) = runs.make_cells(place, (800,), none)
        assert rates(trained) == [*runs.RATES["small"], *added]
        assert len(table) == len(whole) == len(trained) == 3 * (6 + len(added))
        assert set(table["width"]) == {16}
        ((again, _),) = runs.make_cells(place, (), none)
        pd.testing.assert_frame_equal(again, table)


def test_a_cell_that_lacks_a_run_has_rows_and_no_optimum(
    made: Callable[[float], tuple[Workplace, list[TrainConfig]]],
) -> None:
    place, trained = made(0.01)
    cell, none = Cell(SMALL, 16, 800), CLASSIC.iloc[:0]
    runs.run_rows(place, runs.planned(place, cell, none)[:-1])
    rows, finished = runs.rows_of_cell(place, cell, none)
    assert (len(rows), finished) == (len(trained), False)


@pytest.mark.long
def test_from_a_table_to_all_results_without_training(
    made: Callable[[float], tuple[Workplace, list[TrainConfig]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell of width 32 as `classic` has it, with what it lacks made; then the same from the table of that."""
    place, trained = made(0.01)
    cell = Cell(runs.ADAMH, 32, 800)
    monkeypatch.setattr(runs, "cells_in_order", lambda *_: iter([cell]))
    runs.run_rows(place, runs.planned(place, cell, CLASSIC))
    first = run.run_study(place, (), classic=DOCS / "classic").answers
    num_trained = len(trained)
    assert num_trained == 3 * 2
    names = ("runs", "optima", "answers")
    tables = {name: (place.results / f"{name}.csv").read_bytes() for name in names}
    assert len(pd.read_csv(place.results / "runs.csv")) == num_trained
    assert (place.results / "classic_bend.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "earlier.csv").write_bytes(tables["runs"])
    monkeypatch.setattr(run, "draw", lambda *_: b"")  # seconds, and drawn above
    other = Workplace(runs=tmp_path / "other runs", results=tmp_path / "other")
    second = run.run_study(other, (), tmp_path / "earlier.csv", classic=DOCS / "classic").answers
    assert len(trained) == num_trained
    pd.testing.assert_frame_equal(first, second)
    assert tables == {name: (other.results / f"{name}.csv").read_bytes() for name in names}
    assert second.empty  # one width: no exponent, no pair


def optima(exponents: dict[str, float], bends: dict[str, float], error: float = 0.1) -> pd.DataFrame:
    """Of every arm and width at 800 steps, without noise; angles as the root of the rate."""
    rows = []
    for arm in runs.ARMS:
        for width, size in SIZES.items():
            n = np.log(size) - np.mean(np.log(list(SIZES.values())))
            rate = 0.01 * np.exp(exponents.get(arm.name, 0) * n + bends.get(arm.name, 0) * n**2 / 2)
            rows.append(
                {"arm": arm.name, "width": width, "num_steps": 800, "num_params": size, "learning_rate": rate}
                | {"error": error, "mean_angle": rate**0.5, "angle_error": error / 2}
            )
    return pd.DataFrame(rows)


def told(table: pd.DataFrame, who: str, rate: str = answers.RATE) -> pd.DataFrame:
    found = answers.answers_of(table, {})
    return found[(found["who"] == who) & (found["rate"] == rate)].set_index("quantity")


@pytest.mark.parametrize(
    ("who", "rate", "exponent", "bend"),
    [
        ("small", answers.RATE, -0.25, 0.15),
        ("small", answers.ANGLE, -0.125, 0.075),
        ("small over equilibrium", answers.RATE, 0.25, 0.15),
        ("large over equilibrium", answers.RATE, 0.5, 0.0),
        ("large over small", answers.RATE, 0.25, -0.15),
        ("equilibrium over adamh 0.18", answers.ANGLE, -0.25, 0.05),
    ],
)
def test_planted_exponents_and_bends_come_back(who: str, rate: str, exponent: float, bend: float) -> None:
    lines = {"small": -0.25, "equilibrium": -0.5}
    row = told(optima(lines, {"small": 0.15, "adamh 0.18": -0.1}), who, rate).loc["curvature"]
    assert row["value"] == pytest.approx(bend, abs=1e-9)
    assert row["verdict"] == ("differs from 0" if abs(bend) > row["high"] - row["value"] else "not shown")
    assert told(optima(lines, {}), who, rate).loc["exponent", "value"] == pytest.approx(exponent, abs=1e-9)


def test_errors_of_two_arms_add_as_independent_ones_do() -> None:
    table = optima({}, {}, error=0.3)
    pair, alone = told(table, "large over small"), told(table, "small")
    ratio = pair.loc[answers.RATIO]
    assert ratio["width"].tolist() == list(SIZES)
    np.testing.assert_allclose(ratio["high"] - ratio["value"], 1.96 * 0.3 * np.sqrt(2))
    two, one = (float((found["high"] - found["value"]).loc["exponent"]) for found in (pair, alone))
    assert two == pytest.approx(np.sqrt(2) * one)


@pytest.mark.parametrize(("lost", "quantities"), [(1, {"exponent", "curvature"}), (2, {"exponent"}), (3, set())])
def test_cells_outside_their_grids_are_in_no_difference_and_few_make_no_line(lost: int, quantities: set[str]) -> None:
    table = optima({}, {})
    outside = (table["arm"] == "small") & table["width"].isin(list(SIZES)[:lost])
    table.loc[outside, ["error", "angle_error"]] = np.nan
    found = told(table, "small over equilibrium").index
    assert set(found) - {answers.RATIO} == quantities
    assert (found == answers.RATIO).sum() == 5 - lost


def test_made_studies_hold_what_was_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One made study with little noise: curves of `classic`, moved."""
    assert expected.sizes_of_widths() == SIZES
    curves = expected._curves
    monkeypatch.setattr(expected, "_curves", lambda own: (*curves(own)[:2], 1e-3))
    monkeypatch.setattr(expected, "ARMS", (runs.SMALL, runs.LARGE))
    monkeypatch.setattr(answers, "PAIRS", (("large", "small", answers.RATE),))
    found = expected._made_answers(CLASSIC[CLASSIC["num_steps"] == 800], SIZES, seed=0)
    for planted, more in expected.PLANTED.items():
        rows = found[(found["planted"] == planted) & (found["who"] == "large over small")].set_index("quantity")
        for quantity, value in zip(("exponent", "curvature"), more, strict=True):
            assert expected._truth(planted, "large over small", quantity) == -value
            assert rows.loc[quantity, "value"] == pytest.approx(-value, abs=0.06)


def test_the_truth_of_a_made_study() -> None:
    assert expected._truth("alike", "small", "exponent") == -0.2
    assert expected._truth("small start bends up", "small", "exponent") == pytest.approx(-0.1)
    assert expected._truth("small start bends up", "small", answers.BEND) == 0.15
    assert expected._truth("small start bends up", "small over equilibrium", "curvature") == 0.15
    assert expected._truth("small start bends up", "equilibrium", "curvature") == 0.0
