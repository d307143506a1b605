"""Divergence above the best rate: what closes a grid from above, and what only says that training breaks down there."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from experiments.bend.evidence.cells import make_cell
from experiments.bend.fit import fit_bend
from experiments.bend.optimum import CellOptimum, OptimumStatus, cell_optimum
from experiments.files import BadInput
from experiments.recommend.recommendation import recommend
from experiments.recommend.target_run import TargetRun

SIZES, BUDGETS = np.geomspace(2e7, 5e8, 3), np.geomspace(1e9, 2.5e10, 3)
RATES = 1e-3 * 2.0 ** np.arange(-4, 3)  # the highest two diverge
FINISHED = RATES <= 1e-3
LOST = (np.nan, np.inf, 11.0)  # losses of runs that diverged, as tables have them


def planted(size: float, budget: float) -> float:
    return float(3e-3 * (size / 1e8) ** -0.3 * (budget / 1e9) ** -0.1)


def sweep(above: float, diverged: float, seed: int = 0) -> pd.DataFrame:
    """Nine cells; the optimum of each is ``above`` times its highest finished rate, two higher rates are lost."""
    rng, rows = np.random.default_rng(seed), []
    for size in SIZES:
        for budget in BUDGETS:
            optimum = planted(size, budget)
            rates = optimum / above * 2.0 ** np.arange(-4, 3)
            losses = 2.5 + 0.08 * np.log(rates / optimum) ** 2 / 2 + 0.002 * rng.normal(size=len(rates))
            losses[-2:] = diverged
            rows += [(size, budget, rate, value) for rate, value in zip(rates, losses, strict=True)]
    return pd.DataFrame(rows, columns=["num_params", "num_tokens", "learning_rate", "loss"])


def one_cell(optimum: float, *, curvature: float = 0.08, noise: float = 1e-3, seed: int = 0) -> CellOptimum:
    """Three seeds at seven rates, of which the highest two diverged."""
    rng = np.random.default_rng(seed)
    losses = 2.5 + curvature * np.log(RATES / optimum) ** 2 / 2 + noise * rng.normal(size=(3, len(RATES)))
    losses[:, ~FINISHED] = np.nan
    return cell_optimum(np.tile(RATES, 3), losses.ravel(), seeds=np.repeat(["a", "b", "c"], len(RATES)).tolist())


@cache
def lows_of_survivors(above: float) -> list[float | None]:
    """Lower bounds from a table that leaves out what diverged."""
    table = sweep(above, np.inf)
    return [cell.low for cell in fit_bend(table[table.loss < 5], sensitivity=False).groups[0].cells]


@pytest.mark.long
@pytest.mark.parametrize("diverged", LOST)
@pytest.mark.parametrize("above", [2.0, 4.0, 8.0])
def test_an_optimum_above_all_that_finished_is_bounded_from_below_only(above: float, diverged: float) -> None:
    table = sweep(above, diverged)
    (group,) = fit_bend(table, sensitivity=False).groups
    for cell in group.cells:
        assert cell.status is OptimumStatus.CENSORED_HIGH
        assert (cell.learning_rate, cell.high) == (None, None)
        assert isinstance(cell.low, float)
        assert cell.low < planted(cell.key["num_params"], cell.key["num_tokens"])
        assert cell.num_diverged == 2
    assert lows_of_survivors(above) == [cell.low for cell in group.cells]  # divergence tells nothing more
    assert {bend.verdict.value for bend in group.curvature.values()} == {"not-identifiable"}
    assert "in 9 of 9 cells training diverged before the loss turned up" in " ".join(group.notes)


@pytest.mark.parametrize("diverged", LOST)
def test_nothing_is_recommended_where_all_optima_lie_above_what_finished(diverged: float) -> None:
    with pytest.raises(BadInput, match=r"9 censored-high\): in 9 of 9 cells training diverged before"):
        recommend(sweep(4.0, diverged), TargetRun(num_params=1e9, num_tokens=5e10))


def test_an_optimum_below_the_last_finished_rate_stays_where_it_is() -> None:
    """Losses that turn up, divergence right above; and a best rate that is the last, its minimum clearly below it."""
    for optimum, noise in ((0.5e-3, 2e-3), (0.4e-3, 2e-3), (0.75e-3, 1e-4)):
        found = one_cell(optimum, noise=noise)
        assert found.status is OptimumStatus.INTERIOR
        assert found.learning_rate == pytest.approx(optimum, rel=0.1)
        assert found.low is not None
        assert found.high is not None
        assert found.low < optimum < found.high
        assert found.best_learning_rate == pytest.approx(0.5e-3 if optimum < 0.7e-3 else 1e-3)


def test_a_minimum_about_the_last_finished_rate_is_a_bound() -> None:
    """The best rate is the last, and the interval about the minimum reaches past it."""
    found = one_cell(0.95e-3, noise=2e-3)
    assert found.best_learning_rate == pytest.approx(1e-3)
    assert found.status is OptimumStatus.CENSORED_HIGH
    assert found.high is None
    assert found.low is not None
    assert found.low < 0.95e-3


def test_a_flat_loss_below_the_ceiling_stays_flat() -> None:
    assert one_cell(1e-3, curvature=0.0, seed=3).status is OptimumStatus.FLAT


def test_a_rate_that_failed_below_others_that_did_not_is_no_ceiling() -> None:
    """The loss at the highest rate, above the best, closes the grid, whatever happened in between."""
    losses = 2.5 + 0.08 * np.log(RATES / 0.6e-3) ** 2 / 2
    losses[RATES == 1e-3] = np.nan
    cell = make_cell(RATES, losses, None, {})
    assert not cell.falls_to_ceiling
    assert cell_optimum(RATES, losses).status is OptimumStatus.INTERIOR


def test_what_failed_below_the_best_rate_is_no_bound_from_below() -> None:
    losses = 2.5 + 0.03 * np.log(RATES / RATES[1]) ** 2 / 2
    losses[0] = np.nan
    found = cell_optimum(RATES, losses)
    assert found.status is OptimumStatus.CENSORED_LOW
    assert found.low is None
    assert found.high is not None
    assert found.high > RATES[1]


def test_some_cells_at_the_ceiling_leave_a_law_and_a_warning() -> None:
    """The largest size loses what lies above half of its optimum."""
    table = sweep(0.5, np.nan)
    at_largest = table.num_params == table.num_params.max()
    optimum = [planted(size, budget) for size, budget in zip(table.num_params, table.num_tokens, strict=True)]
    table.loc[at_largest & (table.learning_rate > 0.55 * np.array(optimum)), "loss"] = np.nan
    (group,) = fit_bend(table, sensitivity=False).groups
    for cell in group.cells:
        largest = cell.key["num_params"] == table.num_params.max()
        assert cell.status is (OptimumStatus.CENSORED_HIGH if largest else OptimumStatus.INTERIOR)
    assert group.curvature["num_params"].verdict.value == "not-identifiable"
    (found,) = recommend(table, TargetRun(num_params=1e9, num_tokens=2.5e10), further=False)
    assert any("in 3 of 9 cells training diverged" in phrase for phrase in found.warnings)
