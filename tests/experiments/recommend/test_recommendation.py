"""``lrbend recommend``: planted laws, held-out cells, what is assumed and what is refused, and the command."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, chi2, norm
from scipy.stats import t as student

from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.calibration.recommend import run_pilot, scenarios
from experiments.recommend.pilot_law import fit_pilot_law
from experiments.recommend.recommendation import recommend
from experiments.recommend.target_run import TargetRun
from experiments.tables.reading import table_from_frame
from tests.experiments.recommend.pilots import EXACT, half_width, split


def test_bent_law_without_noise_is_extrapolated_along_its_bend() -> None:
    pilot, target, truth, sizes, budgets = split(EXACT, 4)
    (found,) = recommend(pilot, target, further=False)
    answer = found.answer
    assert answer is not None
    assert answer.value == pytest.approx(truth, rel=2e-3)
    parts = answer.contributions
    assert set(parts) == {"num_params", "num_tokens", "num_params by num_tokens"}
    product = np.prod([part.value for part in parts.values()]) * answer.value_at_middle.value
    assert product == pytest.approx(answer.value, rel=1e-9)
    sweep, middle = make_sweep(EXACT, 4), answer.middle
    for axis, values in (("num_params", sizes), ("num_tokens", budgets)):
        centre = np.log(values).mean()  # of the planted law
        start, end = np.log(middle[axis]) - centre, np.log(values[-1]) - centre
        slope, bend = sweep.exponents[axis], sweep.curvature[axis]
        planted = slope * (end - start) + bend * (end**2 - start**2) / 2
        # the cross term is 0 at the middle of the law, not at that of the table
        other = next(name for name in parts if name not in (axis, "num_params by num_tokens"))
        other_values = sizes if other == "num_params" else budgets
        cross = np.log(parts["num_params by num_tokens"].value) / (
            np.log(sizes[-1] / middle["num_params"]) * np.log(budgets[-1] / middle["num_tokens"])
        )
        planted += cross * (end - start) * (np.log(middle[other]) - np.log(other_values).mean())
        assert np.log(parts[axis].value) == pytest.approx(planted, abs=5e-3)
    assert found.beyond == pytest.approx({"num_params": sizes[-1] / sizes[-2], "num_tokens": budgets[-1] / budgets[-2]})
    assert answer.leverage > answer.largest_leverage
    fitted = fit_pilot_law(table_from_frame(pilot), None)
    own = [fitted.coefficients.leverage(cell.key) for cell in fitted.cells]
    assert np.mean([leverage for leverage, _ in own]) == pytest.approx(6 / 16)  # terms over cells
    assert max(leverage for leverage, _ in own) == pytest.approx(answer.largest_leverage)
    assert any("2.38 beyond the table's largest" in phrase for phrase in found.warnings)


def test_with_scatter_far_above_the_noise_it_is_the_prediction_of_a_regression() -> None:
    """Of ordinary least squares over the planted optima, one more of them predicted: 0.6 % wider, by the averaging."""
    scenario = Scenario(name="scatter", noise=1e-4, scatter=0.2, num_sizes=5, num_budgets=5, num_rates=15, factor=1.3)
    pilot, target, _, sizes, budgets = split(scenario, 0)
    (found,) = recommend(pilot, target, further=False, straight=True)
    assert found.answer is not None
    optima = make_sweep(scenario, 0).optima
    cells = [(size, budget) for size in sizes[:-1] for budget in budgets[:-1]]
    columns = np.column_stack([np.ones(len(cells)), np.log(cells)])
    y, row = np.log([optima[cell] for cell in cells]), np.array([1, np.log(sizes[-1]), np.log(budgets[-1])])
    beta, squares, _, _ = np.linalg.lstsq(columns, y, rcond=None)
    freedom = len(cells) - 3
    error = np.sqrt(squares[0] / freedom * (1 + row @ np.linalg.inv(columns.T @ columns) @ row))
    assert np.log(found.answer.value) == pytest.approx(row @ beta, abs=0.02 * error)
    expected = student.ppf((1 + found.confidence) / 2, freedom) * error
    assert half_width(found.answer.low, found.answer.high) == pytest.approx(expected, rel=0.02)


@pytest.mark.long
@pytest.mark.parametrize("num_sweeps", [6, pytest.param(30, marks=pytest.mark.slow)])
def test_coverage_of_held_out_cells(num_sweeps: int) -> None:
    """Two scenarios, the target beyond on both axes and the one inside. A false alarm once in 3,000 of each count and
    in 1,000 of each mean square of errors over standard errors. With 30 sweeps a true coverage of 75 % in place of
    90 % is noticed in 4 of 10 tests, and intervals 1.6 times too wide; with 6 one of 50 %."""
    cells = 2 * num_sweeps
    least, (low, high) = binom.ppf(3.5e-4, cells, 0.9), chi2.ppf([5e-4, 1 - 5e-4], cells) / cells
    chosen = [item for item in scenarios() if item.name in ("scatter 0.1", "bend of 2 delta, low noise")]
    assert len(chosen) == 2
    results = [run_pilot(scenario, seed) for scenario in chosen for seed in range(num_sweeps)]
    for kind in ("interpolated", "both"):
        found = [item for result in results if (item := result[kind]) is not None]
        assert len(found) == cells
        assert sum(item["covered"] for item in found) >= least
        standard = [item["error"] / item["half_width"] * norm.ppf(0.95) for item in found]
        assert low < np.mean(np.square(standard)) < high


def test_one_optimizer_that_cannot_be_answered_does_not_silence_the_other() -> None:
    pilot, target, *_ = split(Scenario(name="test", noise=0.002, num_sizes=5, num_budgets=5), 1)
    poor = pilot.groupby(["num_params", "num_tokens"]).head(2).assign(optimizer="lion")
    lion, sgd = recommend(pd.concat([poor, pilot.assign(optimizer="sgdm")]), target, further=False)
    assert (lion.optimizer, lion.answer) == ("lion", None)
    assert "three usable learning rates" in str(lion.reason)
    assert sgd.answer is not None


def test_public_sweep_predicts_its_largest_budgets() -> None:
    """MuonH's budgets up to 48B tokens: the optimum at 128B by a fit that has it lies in the interval."""
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip("LRBEND_PUBLIC_DATA is unset: wd_blog/scripts/lr_datasize of WhenWen.github.io is not here")
    frame = pd.read_csv(Path(root) / "hyperball" / "lr_datasize_muon_vs_muonh.csv")
    (found,) = recommend(
        frame[(frame.optimizer_name == "muonh") & (frame.num_tokens < 5e10)],
        TargetRun(num_tokens=128e9),
        columns={"optimizer": "optimizer_name"},
        constants={"num_params": 1.3e8},
    )
    whole = fit_pilot_law(table_from_frame(frame[frame.optimizer_name == "muonh"]), None)
    measured = float(np.exp(whole.joint.optimum[-1]))
    assert found.answer is not None
    assert found.answer.low < measured < found.answer.high
    assert half_width(found.answer.low, found.answer.high) < 0.3
    assert found.beyond["num_tokens"] == pytest.approx(128 / 48)
