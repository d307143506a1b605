"""One calibration for AdamH and AdamW: verdicts on made losses, predictions that read no loss of AdamW."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from experiments.studies.angle_law import fit
from experiments.studies.angle_law.fit import Cell, adamh_angles
from experiments.studies.angle_law.runs import line
from experiments.studies.moved_optimum.predictions import read_law
from experiments.studies.one_calibration import answers, elsewhere, predictions
from theory import AdamW, Linear, predict_trajectory
from theory.final_loss import FinalLossLaw
from theory.networks import SCALE_INVARIANT

DOCS = Path(__file__).parents[3] / "docs"
LAW = read_law(DOCS / "angle-law" / "two-clocks.csv")
PREDICTED = pd.read_csv(DOCS / "one-calibration" / "predictions.csv")
OPTIMA = pd.read_csv(DOCS / "one-calibration" / "predicted-optima.csv")
LENGTH = 1600


ANGLES_BY_THEORY = predictions.angles_of


@cache
def known_angles(name: str, rates: tuple[float, ...], num_steps: int) -> NDArray[np.float64]:
    return ANGLES_BY_THEORY(predictions.ADAMW[name], np.array(rates), num_steps)


@pytest.fixture(autouse=True)
def angles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The theory's angles are computed once for all tests."""
    monkeypatch.setattr(predictions, "angles_of", lambda arm, rates, steps: known_angles(arm.name, tuple(rates), steps))


def made_cells(off: float, angle_factor: float = 1.0) -> pd.DataFrame:
    """Runs at one length whose losses are the law's, at angles times a factor, plus ``off`` and a little noise."""
    rng, rows = np.random.default_rng(3), []
    here = PREDICTED[PREDICTED["num_steps"] == LENGTH]
    for name, own in here.groupby("arm"):
        rates = own["learning_rate"].to_numpy(float)
        angles = angle_factor * predictions.angles_of(predictions.ADAMW[str(name)], rates, LENGTH)
        losses = LAW.loss(angles, line(LENGTH)) + off
        for rate, loss, mean in zip(rates, losses, angles.mean(axis=0), strict=True):
            row = {"arm": name, "num_steps": LENGTH, "learning_rate": rate, "mean_angle": mean}
            rows += [row | {"seed": seed, "loss": loss + 0.002 * rng.normal()} for seed in (0, 1, 2)]
    adamh = [
        Cell("line", LENGTH, rate, angles, line(LENGTH), np.array([float(LAW.loss(angles, line(LENGTH)))]))
        for rate in (0.0045, 0.009, 0.018, 0.036)
        for angles in (adamh_angles(rate, Linear(num_steps=LENGTH, warmup_steps=LENGTH // 20)),)
    ]
    return answers.cells_of(pd.DataFrame(rows), here, OPTIMA, LAW, adamh)


def verdicts(cells: pd.DataFrame) -> pd.DataFrame:
    optima = answers.compared_optima(OPTIMA, pd.read_csv(DOCS / "moved-optimum" / "optima.csv"))
    return answers.answers_of(cells, optima).set_index("quantity")


def test_losses_that_the_law_made_are_predicted_and_shifted_ones_are_missed() -> None:
    assert verdicts(made_cells(0.0)).loc["loss, law", "verdict"] == "predicted"
    found = verdicts(made_cells(0.06))
    assert found.loc["loss, law", "verdict"] == "missed"
    assert found.loc["loss, law", "signed"] == pytest.approx(-0.06, abs=0.002)
    assert found.loc["off by more than the limit", "verdict"] == "0 by the angle, 20 by the law"


def test_losses_of_other_angles_are_put_down_to_the_angle() -> None:
    cells = made_cells(0.0, angle_factor=2.5)
    assert set(cells["put_down_to"]) == {"", "angle"}
    assert (cells["at_measured_angle"] - cells["loss"]).abs().max() < 0.006


def test_where_the_times_of_the_angles_count_the_law_is_nearer_than_the_mean_angle() -> None:
    found = verdicts(made_cells(0.0))
    assert found.loc["cells nearer to the law", "verdict"] == "law"
    assert found.loc["loss, same mean angle", "cells"] < 20  # not beyond AdamH's cells


def test_a_cell_with_a_run_that_has_no_loss_is_shown_and_not_counted() -> None:
    cells = made_cells(0.0)
    cells.loc[0, ["loss", "miss"]] = np.nan
    assert verdicts(cells).loc["loss, law", "cells"] == 19


def test_the_interval_of_a_median_is_that_of_the_order_statistics() -> None:
    """Of 20 values the 6th and the 15th (95.9 %), of six the least and the largest (96.9 %), of five none."""
    row = answers.median_of("", 1, pd.Series(np.arange(1.0, 21.0)))
    assert (row["low"], row["high"], row["value"]) == (6.0, 15.0, 10.5)
    six = answers.median_of("", 1, pd.Series(np.arange(1.0, 7.0)))
    assert (six["low"], six["high"]) == (1.0, 6.0)
    assert "low" not in answers.median_of("", 1, pd.Series(np.arange(1.0, 6.0)))


def test_angles_are_those_of_the_theory_of_scale_invariant_networks() -> None:
    arm, rate = predictions.ADAMW["start 14.4"], 0.1
    run = predict_trajectory(
        AdamW(learning_rate=rate, weight_decay=0.1),
        Linear(num_steps=200, warmup_steps=10),
        initial_rms=14.4,
        network=SCALE_INVARIANT,
    )
    np.testing.assert_allclose(ANGLES_BY_THEORY(arm, np.array([rate]), 200), run.angular_update, rtol=1e-9)


def test_predictions_do_not_change_with_the_losses() -> None:
    """What moved-optimum's runs lend the predictions is their rates."""
    runs = pd.read_csv(DOCS / "moved-optimum" / "runs.csv")
    predictor = predictions.Predictor(LAW, (LAW, LAW))
    centres = pd.read_csv(DOCS / "moved-optimum" / "predictions.csv")
    without = runs.drop(columns=["loss", "loss_se", "mean_angle", "final_rms"])
    told = predictions.losses_of(predictor, without, centres, lengths=(LENGTH,))
    committed = PREDICTED[PREDICTED["num_steps"] == LENGTH]
    both = committed.merge(told, on=predictions.KEYS, suffixes=("", "_told"))
    assert len(both) == len(committed) >= 20
    for name in ("law", "predicted_mean_angle"):
        np.testing.assert_allclose(both[f"{name}_told"], both[name], rtol=2e-4)


def test_committed_cells_are_those_of_the_runs_and_the_predictions() -> None:
    cells = pd.read_csv(DOCS / "one-calibration" / "cells.csv")
    runs = pd.read_csv(DOCS / "moved-optimum" / "runs.csv")
    measured = runs.groupby(predictions.KEYS)["loss"].agg(["mean", "size"]).reset_index()
    both = cells.merge(measured, on=predictions.KEYS).merge(PREDICTED, on=predictions.KEYS, suffixes=("", "_told"))
    assert len(both) == len(cells)
    np.testing.assert_allclose(both["loss"], both["mean"], rtol=1e-4)
    np.testing.assert_allclose(both["law"], both["law_told"], rtol=1e-4)
    np.testing.assert_allclose(both["miss"], both["law"] - both["loss"], atol=2e-4)


def test_runs_of_bend_are_told_beside_the_noise_of_their_own_seeds_without_a_verdict() -> None:
    """Losses 0.01 below the law's at its width, anything at another one; AdamH's seeds 0.02 apart from their mean."""
    arm, rates = elsewhere.ARMS[0], np.array([0.005, 0.01, 0.02])
    losses = LAW.loss(ANGLES_BY_THEORY(arm, rates, 500), line(500)) - 0.01
    known = {"width": elsewhere.WIDTH, "num_steps": 500}
    rows = [known | {"arm": arm.name, "learning_rate": r, "loss": x} for r, x in zip(rates, losses, strict=True)]
    rows += [known | {"arm": "adamh", "learning_rate": 0.01, "loss": 2.0 + x} for x in (-0.02, 0.0, 0.02)]
    rows += [row | {"width": 64, "loss": 9.0} for row in rows] + [rows[0] | {"learning_rate": 0.04, "loss": np.nan}]
    optima = pd.DataFrame({"arm": arm.name, "width": [32, 64], "num_steps": 500, "learning_rate": 0.02, "law": 0.01})
    cells = elsewhere.bend_cells(pd.DataFrame(rows), LAW)
    first, *others = elsewhere.answers_at_bend(cells, optima.assign(error=0.1))
    assert (first["cells"], first["limit"]) == (3, pytest.approx(2 * 0.02))
    assert first["signed"] == pytest.approx(0.01)
    assert [(row["cells"], row["value"]) for row in others] == [(1, pytest.approx(np.log(2)))] * 2
    assert not any("verdict" in row for row in (first, *others))


def test_what_is_left_out_is_not_fitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[set[tuple[str, int]]] = []

    def fitted_law(cells: Sequence[Cell], start: FinalLossLaw) -> SimpleNamespace:
        assert start is fit.TWO_CLOCKS
        fitted.append({(cell.shape, cell.num_steps) for cell in cells})
        return SimpleNamespace(law=LAW)

    monkeypatch.setattr(fit, "fit_law", fitted_law)
    kinds = [("line", 100), ("line", 200), ("front", 100), ("late", 200)]
    cells = [Cell(shape, steps, 0.01, np.full(steps, 0.01), line(steps), np.array([2.0])) for shape, steps in kinds]
    table = fit.left_out(cells, predictions.parts_of(cells), fit.TWO_CLOCKS)
    assert fitted == [{*kinds} - {("front", 100)}, {*kinds} - {("late", 200)}, {("line", 100), ("front", 100)}]
    assert table["left_out"].tolist() == ["front", "late", "200 steps", "200 steps"]
    np.testing.assert_allclose(table["miss"], table["law"] - 2.0)
