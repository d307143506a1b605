"""Which losses count, and what is said where few do: kinks of a cell's own, odd runs, single cells, pairs of rates."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.bend.evidence.cells import Cell, make_cell, stack
from experiments.bend.evidence.screening import odd_runs
from experiments.bend.evidence.shapes import LEAN_EVIDENCE, OWN, TREND_EVIDENCE, beside_the_best, fit_shapes
from experiments.bend.evidence.windows import near_the_best, rough_noise
from experiments.bend.fit import GroupFit, fit_bend
from experiments.bend.optimum import OptimumStatus, cell_optimum
from experiments.bend.scaling_law import group_cells
from experiments.calibration.kinked_sweeps import Design, KinkedLoss
from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.joint import loss_shape
from experiments.joint.fit import fit_jointly, lean_evidence, skew_trend_evidence
from experiments.joint.model import Priors
from experiments.joint.regressors import Regressors
from experiments.recommend.recommendation import recommend
from experiments.recommend.target_run import TargetRun
from experiments.tables.reading import table_from_frame
from theory.bend import Direction

KINKED = Scenario(name="kinked", noise=0.002, kinked=Design())
NUM_SWEEPS = 4


def one_group(table: pd.DataFrame) -> GroupFit:
    (group,) = fit_bend(table, sensitivity=False).groups
    return group


def parabolas(sizes: list[float], rates: int, noise: float, *, exponent: float = -0.5, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for size in sizes:
        optimum = np.log(2e-3) + exponent * np.log(size / 1e8)
        x = np.round(optimum / 0.35) * 0.35 + 0.35 * (np.arange(rates) - rates // 2)
        loss = 3 - 0.05 * np.log(size / 1e8) + 0.05 * (x - optimum) ** 2 + noise * rng.normal(size=rates)
        rows += [(size, rate, value) for rate, value in zip(np.exp(x), loss, strict=True)]
    return pd.DataFrame(rows, columns=["num_params", "learning_rate", "loss"])


@pytest.fixture(scope="module")
def kinked() -> list[tuple[GroupFit, dict[tuple[float, ...], float]]]:
    made = [make_sweep(KINKED, seed) for seed in range(NUM_SWEEPS)]
    return [(one_group(sweep.table), dict(sweep.optima)) for sweep in made]


@pytest.mark.long
def test_kinks_of_their_own_do_not_move_optima(kinked: list[tuple[GroupFit, dict[tuple[float, ...], float]]]) -> None:
    """68 optima: with one shape for all cells and walls cut off, 0.66 of the intervals hold them."""
    held = []
    for group, optima in kinked:
        assert any("cells differ in shape" in note for note in group.notes)
        for cell in group.cells:
            truth = optima[tuple(cell.key.values())]
            held.append((cell.low or 0) <= truth <= (cell.high or np.inf))
    assert np.mean(held) > 0.82


def test_no_optimum_on_a_rate_that_was_left_out(kinked: list[tuple[GroupFit, dict[tuple[float, ...], float]]]) -> None:
    for group, _ in kinked:
        for cell in group.cells:
            if cell.learning_rate is None:
                continue
            assert cell.best_learning_rate is not None
            left_out = [float(one["learning_rate"]) for one in cell.left_out]
            above = [rate for rate in left_out if rate > cell.best_learning_rate]
            below = [rate for rate in left_out if rate < cell.best_learning_rate]
            assert all(cell.learning_rate < rate * 0.999 for rate in above)
            assert all(cell.learning_rate > rate * 1.001 for rate in below)
            assert cell.low is not None
            assert cell.high is not None
            assert cell.low <= cell.best_learning_rate * 2**0.5 * 1.001
            assert cell.high >= cell.best_learning_rate / 2**0.5 / 1.001
            assert all(one["reason"] for one in cell.left_out)


def test_the_window_keeps_the_best_and_what_bounds_it() -> None:
    x = np.log(1e-3) + 0.35 * np.arange(9)
    rise = np.array([0.2, 0.1, 0.02, 0.004, 0.0, 0.003, 0.08, 0.09, 0.2])
    cell = make_cell(np.exp(x), 3 + rise, None, {})
    noisy = [replace(cell, squares=40 * 0.001**2, freedom=40.0)]
    assert rough_noise(noisy) == pytest.approx(0.001)
    (kept,) = near_the_best(noisy)
    np.testing.assert_allclose(kept.loss - 3, [0.02, 0.004, 0.0, 0.003, 0.08], atol=1e-12)
    np.testing.assert_allclose(kept.slack, [0.01, 0, 0, 0, 0.07], atol=1e-12)
    assert kept.ceiling == pytest.approx(x[7])
    assert len(kept.left_out["outside the window about the best rate"]) == 4


@pytest.mark.long
def test_a_shape_that_cells_share_is_shared() -> None:
    """Of ten smooth sweeps at most two are taken for shapes of their own; at one in twenty, three come once in 90."""
    own = 0
    for seed in range(10):
        cells, _, _ = group_cells(table_from_frame(make_sweep(Scenario(name="parabola"), seed).table), None)
        cells = [cell for cell in cells if len(cell.x) >= 3]
        model = Regressors.of([cell.key for cell in cells], ("num_params", "num_tokens"), skip_batch=True)
        fit = fit_shapes(cells, model.columns, model.trend, law=model.precision, orders=model.orders)
        own += fit.reason is not None
    assert own <= 2


@pytest.mark.parametrize("seed", [2, 19, 27])
def test_laws_that_differ_by_what_windows_add_leave_the_shape_shared(seed: int) -> None:
    """Of forty such sweeps the three that were taken for shapes of their own when that error was left out."""
    scenario = Scenario(name="few", shape="powers", noise=0.005, num_sizes=3, num_budgets=3, num_rates=7)
    law = one_group(make_sweep(scenario, 91_000_000 + seed).table).law
    assert law.shaped is not None
    assert law.shaped.reason is None


@pytest.mark.parametrize(("scatter", "own"), [(0.0, False), (0.8, True)])
def test_skews_of_their_own_are_told_from_one_that_is_shared(scatter: float, own: bool) -> None:
    """Optima scatter by 0.1 besides, so that neither the law nor the misfit tells."""
    rng, cells = np.random.default_rng(3), []
    for size in np.geomspace(1e8, 1e9, 12):
        optimum = -6 - 0.5 * np.log(size / 1e8) + 0.1 * rng.normal()
        x = optimum + rng.uniform(-0.3, 0.3) + 0.35 * (np.arange(9) - 4)
        shape = np.array([0.3 + scatter * rng.normal(), 0.0, 0.0])
        loss = 3 + 0.05 * loss_shape.rise(x - optimum, shape) + 5e-4 * rng.normal(size=9)
        cells.append(make_cell(np.exp(x), loss, None, {"num_params": size}))
    model, rules = Regressors.of([cell.key for cell in cells], ("num_params",), skip_batch=True), Priors()
    data, _ = stack(cells)
    one = fit_jointly(data, model.columns, model.trend, priors=rules)
    assert (lean_evidence(data, one, model.columns, model.trend, rules) > LEAN_EVIDENCE) is own


@pytest.mark.parametrize("follows", [False, True])
def test_a_skew_that_goes_with_the_budget_is_told_from_one_that_is_shared(follows: bool) -> None:
    """Cells of one budget are alike, so that no cell's own skew is wanted."""
    rng, cells = np.random.default_rng(5), []
    for size in np.geomspace(1e8, 8e8, 4):
        for budget in np.geomspace(2e9, 5e10, 4):
            optimum = -6 - 0.5 * np.log(size / 1e8) + 0.07 * rng.normal()
            x = optimum + rng.uniform(-0.3, 0.3) + 0.35 * (np.arange(9) - 4)
            skew = 0.8 - (0.4 * np.log(budget / 2e9) if follows else 0.0)
            loss = 3 + 0.05 * loss_shape.rise(x - optimum, np.array([skew, 0.0, 0.0])) + 1e-3 * rng.normal(size=9)
            cells.append(make_cell(np.exp(x), loss, None, {"num_params": size, "num_tokens": budget}))
    model = Regressors.of([cell.key for cell in cells], ("num_params", "num_tokens"), skip_batch=True)
    data, rules = stack(cells)[0], Priors()
    one = fit_jointly(data, model.columns, model.trend, priors=rules)
    evidence = skew_trend_evidence(data, one, model.columns, model.trend, rules)
    assert (evidence > TREND_EVIDENCE) is follows


@pytest.mark.parametrize(
    ("kink", "width", "seed", "why"), [(0.1, 0.1, 0, "past walls"), (0.28, 0.25, 0, "right above the best ones")]
)
def test_where_all_above_the_best_would_be_walls_no_shape_is_shared(
    kink: float, width: float, seed: int, why: str
) -> None:
    """A kink just above the optima of the least budget, and none elsewhere: without the rates above it the shape of the
    other budgets puts the optima there up to 0.4 too high in ln, and the law bends."""
    rng, rows = np.random.default_rng(seed), []
    rest: dict[str, Any] = {"above": 0.8, "diverges": 9.0, "kind": "step"}
    low = KinkedLoss(slope=0.03, width=width, kink=kink, height=0.06, **rest)
    high = KinkedLoss(slope=0.024, width=0.75, kink=1.6, height=0.015, **rest)
    for size in np.geomspace(1e8, 8e8, 4):
        optimum = -6 - 0.6 * np.log(size / 1e8)
        for budget, curve in ((2e9, low), (9e9, high), (4e10, high)):
            x = 0.35 * np.arange(round(optimum / 0.35) - 6, round(optimum / 0.35) + 5)
            losses = 2.5 + curve.rise(x - optimum) + 1.4e-3 * rng.normal(size=len(x))
            rows += [(size, budget, float(rate), loss) for rate, loss in zip(np.exp(x), losses, strict=True)]
    group = one_group(pd.DataFrame(rows, columns=["num_params", "num_tokens", "learning_rate", "loss"]))
    assert group.law.shaped is not None
    assert why in (group.law.shaped.reason or "shared")
    for cell in group.cells:
        assert cell.learning_rate is not None
        assert abs(np.log(cell.learning_rate) + 6 + 0.6 * np.log(cell.key["num_params"] / 1e8)) < 0.25
    assert group.curvature["num_tokens"].verdict not in (Direction.UP, Direction.DOWN)


def test_a_few_cells_without_noise_share_their_shape() -> None:
    """Parabolas on one lattice of powers of 2: the optima are known to two per cent."""
    sizes = {1e8: -7, 4e8: -8, 1.6e9: -10}
    rows = [
        (size, 2.0**power, 3 - 0.1 * place + 0.012 * (power - best) ** 2)
        for place, (size, best) in enumerate(sizes.items())
        for power in range(-12, -4)
    ]
    group = one_group(pd.DataFrame(rows, columns=["num_params", "learning_rate", "loss"]))
    assert group.law.shaped is not None
    assert group.law.shaped.reason is None
    for cell, best in zip(group.cells, sizes.values(), strict=True):
        assert cell.low is not None
        assert cell.high is not None
        assert 2.0**best / 1.02 < cell.low < 2.0**best < cell.high < 1.02 * 2.0**best


@pytest.mark.parametrize("seed", [18, 20, 39])
def test_real_walls_above_most_optima_leave_the_shape_shared(seed: int) -> None:
    """A step 1.7 rates above the optimum of all cells of two budgets; in two of these eight right above the best."""
    rng, rows = np.random.default_rng(seed), []
    for size in np.geomspace(1e8, 8e8, 4):
        optimum = -6 - 0.6 * np.log(size / 1e8)
        for budget, step in ((2e9, 0.06), (9e9, 0.06), (4e10, 0.0)):
            first = 0.35 * (round(optimum / 0.35) - 6) - optimum + rng.uniform(-0.17, 0.17)
            z = first + 0.35 * np.arange(11)
            losses = 2.5 + 0.015 * z**2 + step * (z > 0.6) + 1.5e-3 * rng.normal(size=len(z))
            rows += [(size, budget, float(rate), loss) for rate, loss in zip(np.exp(z + optimum), losses, strict=True)]
    group = one_group(pd.DataFrame(rows, columns=["num_params", "num_tokens", "learning_rate", "loss"]))
    assert group.law.shaped is not None
    assert group.law.shaped.reason is None
    assert group.curvature["num_tokens"].verdict is Direction.STRAIGHT


def test_the_error_that_more_cells_leave_goes_with_the_window(
    kinked: list[tuple[GroupFit, dict[tuple[float, ...], float]]],
) -> None:
    law = kinked[0][0].law
    assert law.model is not None
    assert law.joint is not None
    data, _ = stack(law.usable)
    alone = fit_jointly(data, law.model.columns, law.model.trend, priors=replace(OWN, law=law.model.precision))
    width = np.median([np.ptp(cell.x) for cell in law.usable])
    added = np.sqrt(np.diag(law.joint.covariance - alone.covariance).clip(0)) / width**2
    by_order = dict(zip(law.model.orders.tolist(), added.tolist(), strict=True))
    assert by_order == pytest.approx({0: 0.0, 1: 0.002, 2: 0.005}, rel=1e-3, abs=1e-6)


def bare(loss: list[float]) -> Cell:
    return make_cell(np.exp(-6 + 0.5 * np.arange(len(loss))), np.array(loss), None, {})


def test_beside_the_best_unless_noise_explains() -> None:
    cell = bare([3.3, 3.1, 3.0, 3.05, 3.2])
    assert beside_the_best(cell, float(cell.x[3]), 1e-3)
    assert not beside_the_best(cell, float(cell.x[4]), 1e-3)
    assert beside_the_best(cell, float(cell.x[4]), 0.1)


def test_odd_runs_are_found_and_others_are_not() -> None:
    rng = np.random.default_rng(1)
    x = np.repeat(np.log([1e-3, 2e-3, 4e-3, 8e-3, 16e-3]), 2)
    cells = [(x, 3 + 0.05 * (x + 5.5) ** 2 + 0.002 * rng.normal(size=10)) for _ in range(4)]
    assert not np.concatenate(odd_runs(cells)).any()
    for by, place in ((0.6, 3), (-0.4, 6), (0.3, 0)):
        loss = cells[1][1].copy()
        loss[place] += by
        found = odd_runs([cells[0], (x, loss), *cells[2:]])
        assert np.flatnonzero(np.concatenate(found)).tolist() == [10 + place]


def test_one_odd_run_makes_no_cell_flat() -> None:
    table = pd.concat([parabolas([1e8, 2e8, 4e8], 7, 0.002, seed=s).assign(seed=s) for s in (0, 1)], ignore_index=True)
    table.loc[24, "loss"] += 0.7
    group = one_group(table)
    assert [cell.status for cell in group.cells] == [OptimumStatus.INTERIOR] * 3
    assert any("no part of its cell" in note and f"{table.loss[24]:.5g}" in note for note in group.notes)
    (odd,) = (one for cell in group.cells for one in cell.left_out if "loss" in one)
    assert odd["loss"] == table.loss[24]
    assert odd["learning_rate"] == pytest.approx(table.learning_rate[24])
    gone = 1 + sum(cell.num_out_of_reach + cell.num_past_wall + cell.num_diverged for cell in group.cells)
    assert f"{len(table) - gone} of {len(table)} runs in the fit" in group.notes


@pytest.mark.parametrize("num_cells", [20, pytest.param(60, marks=pytest.mark.slow)])
def test_a_clean_single_cell_has_an_optimum(num_cells: int) -> None:
    """Noisy parabolas of seven rates: found in all, bounds near the grid; 0.88 of 100 intervals hold it."""
    rates = 1e-3 * 2.0 ** (np.arange(7) / 2)
    held, widest = [], 0.0
    for seed in range(num_cells):
        rng = np.random.default_rng(seed)
        centre = np.log(rates[3]) + rng.uniform(-0.4, 0.4)
        loss = 4 + 0.04 * (np.log(rates) - centre) ** 2 + 0.001 * rng.normal(size=7)
        found = cell_optimum(rates, loss)
        assert found.status is OptimumStatus.INTERIOR
        assert found.low is not None
        assert found.high is not None
        held.append(found.low <= np.exp(centre) <= found.high)
        widest = max(widest, found.high / found.low)
    assert np.mean(held) > 0.8
    assert widest < 64


def test_three_sizes_give_an_exponent_and_a_recommendation() -> None:
    table = parabolas([5e7, 1e8, 2e8], 9, 0.001)
    exponent = one_group(table).exponents["num_params"]
    assert exponent.low is not None
    assert exponent.high is not None
    assert -0.9 < exponent.low < -0.5 < exponent.high < -0.1
    (found,) = recommend(table, TargetRun(num_params=8e8), further=False)
    assert found.answer is not None
    truth = 2e-3 * 8**-0.5
    assert abs(np.log(found.answer.value / truth)) < np.log(1.5)
    assert truth / 2.5 < found.answer.low < truth < found.answer.high < truth * 2.5


def test_pairs_of_rates_speak_through_the_shared_curvature() -> None:
    table = parabolas([6e7, 1.2e8, 2.4e8, 4.8e8, 9.6e8], 5, 0.0005)
    number = table.groupby("num_params").cumcount()
    pairs = table[(table.num_params < 2e8) | number.isin([1, 2])]
    lost = pairs.groupby("num_params", as_index=False).learning_rate.max().assign(loss=np.nan)
    lost["learning_rate"] *= 2
    group = one_group(pd.concat([pairs, lost], ignore_index=True))
    exponent = group.exponents["num_params"]
    assert exponent.low is not None
    assert exponent.high is not None
    assert exponent.low < -0.5 < exponent.high
    # Student's t with the one degree of freedom that is left would stretch what the curvature tells to 1.1
    assert exponent.high - exponent.low < 0.3


def near_line(spread: float) -> pd.DataFrame:
    table = parabolas([3e7, 6e7, 1.2e8, 2.4e8, 4.8e8, 9.6e8], 5, 0.001)
    ratio = 20 * np.exp(spread * np.array([0.8, -1, 0.3, 1, -0.5, -0.6]))
    sizes = sorted(table.num_params.unique())
    return table.assign(num_tokens=table.num_params * table.num_params.map(dict(zip(sizes, ratio, strict=True))))


@pytest.mark.long
def test_nearly_tied_axes_are_answered_and_wider_off_the_line() -> None:
    truth = 2e-3 * 20**-0.5
    for spread in (0.0, 0.09, 0.11, 0.2):
        widths = []
        for factor in (1, 4):
            (found,) = recommend(near_line(spread), TargetRun(num_params=2e9, num_tokens=4e10 * factor), further=False)
            assert found.answer is not None
            widths.append(np.log(found.answer.high / found.answer.low))
            if factor == 1:
                assert abs(np.log(found.answer.value / truth)) < 0.3
        assert widths[1] > 1.5 * widths[0]


def test_exponents_change_with_batch() -> None:
    rng = np.random.default_rng(3)
    rows = []
    for size in (1e8, 3e8, 9e8):
        for budget in (4e9, 1.6e10, 6.4e10):
            for batch in (64, 256, 1024):
                d, b = np.log(budget / 1.6e10), np.log(batch / 256)
                optimum = np.log(2e-3) - 0.5 * np.log(size / 3e8) + (0.1 + 0.15 * b) * d + 0.3 * b - 0.1 * b**2
                x = optimum + 0.4 * (np.arange(6) - 2.5) + rng.uniform(-0.3, 0.3)
                loss = 3 + 0.05 * (x - optimum) ** 2 + 0.001 * rng.normal(size=6)
                rows += [(size, budget, batch, rate, y) for rate, y in zip(np.exp(x), loss, strict=True)]
    names = ["num_params", "num_tokens", "batch_size", "learning_rate", "loss"]
    group = one_group(pd.DataFrame(rows, columns=names))
    assert [item.batch_size for item in group.exponents_by_batch] == [64, 256, 1024]
    for item in group.exponents_by_batch:
        one = item.exponents["num_tokens"]
        assert one.value == pytest.approx(0.1 + 0.15 * np.log(item.batch_size / 256), abs=0.02)
    assert any("num_tokens rises with batch size" in note for note in group.notes)
    assert group.curvature["num_tokens"].verdict is Direction.STRAIGHT
