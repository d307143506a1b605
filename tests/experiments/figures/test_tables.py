"""Pictures of tables of runs: laws, cells, a run to be made, parts of a bend, a ranking; the numbers in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments.attribution.parts import Arm, attribute
from experiments.bend.fit import GroupFit, fit_bend
from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.figures.laws import recommendation_figure
from experiments.figures.parts import parts_figure
from experiments.figures.ranking import Entry, ranking_figure
from experiments.figures.style import picture_bytes
from experiments.figures.sweeps import MOST_CELLS, sweep_figure
from experiments.recommend.recommendation import recommend
from experiments.recommend.target_run import TargetRun
from tests.experiments.figures.drawn import bars, line, words
from tests.experiments.planted_optima import ARMS, make_optima


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return make_sweep(Scenario(name="test", noise=0.003, bend=0.15, num_sizes=3, num_budgets=3), 2).table


@pytest.fixture(scope="module")
def group(table: pd.DataFrame) -> GroupFit:
    return fit_bend(table, sensitivity=False).groups[0]


def test_the_law_along_a_scale_with_its_slope_and_its_tangent(group: GroupFit) -> None:
    figure = sweep_figure([group], title="t")
    for ax, axis in zip(figure.axes, ("num_params", "num_tokens"), strict=False):
        x, y = (np.log(values) for values in line(ax, "law"))
        middle = len(x) // 2
        slope = (y[middle + 1] - y[middle - 1]) / (x[middle + 1] - x[middle - 1])
        assert slope == pytest.approx(group.exponents[axis].value, abs=0.01)
        bend = (y[-1] - 2 * y[middle] + y[0]) / (x[-1] - x[middle]) ** 2
        assert bend == pytest.approx(group.curvature[axis].value, abs=1e-6)
        along, height = (np.log(values) for values in line(ax, "tangent at the middle"))
        assert np.diff(height)[0] / np.diff(along)[0] == pytest.approx(group.exponents[axis].value, abs=1e-9)


def test_optima_stand_at_their_cells_moved_along_the_law(group: GroupFit) -> None:
    inside = [cell for cell in group.cells if cell.learning_rate is not None]
    points, _ = bars(sweep_figure([group], title="t").axes[0], "optima")
    np.testing.assert_allclose(points[:, 0], [cell.key["num_params"] for cell in inside])
    law = group.law
    assert law.model is not None
    assert law.joint is not None
    for cell, height in zip(inside, points[:, 1], strict=True):
        at_middle = {**law.model.centre, "num_params": cell.key["num_params"]}
        moved = law.model.row(at_middle) - law.model.row(cell.key)
        assert height == pytest.approx(cell.learning_rate * np.exp(law.joint.averages.along(moved, 0.95)[0]))


def test_every_cell_with_its_losses_its_curve_and_its_optimum(group: GroupFit) -> None:
    figure = sweep_figure([group], title="t")
    assert len(group.cells) == 9
    for ax, cell, optimum in zip(figure.axes[2:], group.law.cells, group.cells, strict=False):
        points, _ = bars(ax, "losses")
        rest = line(ax, "left out")
        seen = {*points[:, 0].round(12), *rest[0].round(12)}
        assert seen == set(np.exp(cell.x).round(12))
        if optimum.learning_rate is not None:
            assert line(ax, "optimum")[0][0] == optimum.learning_rate
        x, y = line(ax, "fitted")
        assert abs(np.log(x[np.argmin(y)] / optimum.best_learning_rate)) < np.log(2)
    told = " ".join(words(figure).split())
    assert "Points: losses. Bars: one standard error" in told


def test_more_cells_than_fit_are_counted() -> None:
    table = make_sweep(Scenario(name="test", noise=0.003), 2).table
    groups = fit_bend(table, sensitivity=False).groups
    figure = sweep_figure(groups, title="t")
    assert len([ax for ax in figure.axes[2:] if ax.axison]) == MOST_CELLS < len(groups[0].cells)
    assert "Losses of 12 of 16 cells" in words(figure)


def test_the_caption_tells_of_no_bars_that_cannot_be_seen() -> None:
    frame = pd.DataFrame(HOSTILE["six decades"], columns=["num_params", "learning_rate", "loss"])
    frame = pd.concat([frame.assign(seed=seed) for seed in range(2)])
    figure = sweep_figure(fit_bend(frame, sensitivity=False).groups, title="t")
    assert "Points: losses. They are means over seeds. Curve:" in " ".join(words(figure).split())


HOSTILE = {
    "one run": [(1e8, 1e-3, 3.0)],
    "a cell without a loss": [(1e8, 1e-3, np.nan), (1e8, 2e-3, np.inf)],
    "six decades": [
        (size, rate, 3 + 0.05 * np.log(rate / 1e-3 * (size / 1e9)) ** 2)
        for size in (1e6, 1e9, 1e12)
        for rate in 1e-3 / (size / 1e9) * 2.0 ** np.arange(-2, 3)
    ],
    "diverging": [(1e8, rate, 3 + rate if rate < 1e-2 else np.nan) for rate in (1e-4, 1e-3, 5e-3, 2e-2)],
}


@pytest.mark.long
@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("names", [None, ("a very long name of a group that goes on and on", "$x_1$ \\alpha", "日本")])
def test_hostile_tables_are_drawn(kind: str, names: tuple[str, ...] | None) -> None:
    frame = pd.DataFrame(HOSTILE[kind], columns=["num_params", "learning_rate", "loss"])
    if names is not None:
        frame = pd.concat([frame.assign(optimizer=name) for name in names])
    figure = sweep_figure(fit_bend(frame, sensitivity=False).groups, title="t")
    assert picture_bytes(figure, "png")


@pytest.mark.long
@pytest.mark.parametrize("losses", [(1e-310,), (1e-310, 3.0, 1e-310), (3.0, 3.0, 3.0), (1e-29, 2e-29, 1e-29)])
def test_a_cell_has_a_height_whatever_its_losses_are(losses: tuple[float, ...]) -> None:
    rates = 1e-3 * 2.0 ** np.arange(len(losses))
    frame = pd.DataFrame({"num_params": 1e8, "learning_rate": rates, "loss": losses})
    figure = sweep_figure(fit_bend(frame, sensitivity=False).groups, title="t")
    for ax in figure.axes:
        assert np.diff(ax.get_ylim())[0] >= 1e-6
    assert picture_bytes(figure, "svg")


@pytest.mark.long
def test_the_run_to_be_made_stands_on_its_law(table: pd.DataFrame) -> None:
    (found,) = recommend(table, TargetRun(num_params=1e10, num_tokens=1e11), further=False)
    assert found.answer is not None
    figure = recommendation_figure([found])
    for ax, value in zip(figure.axes, (1e10, 1e11), strict=True):
        points, ends = bars(ax, "target")
        assert points[0] == pytest.approx([value, found.answer.value])
        assert ends[0][:, 1] == pytest.approx([found.answer.low, found.answer.high])
        x, y = line(ax, "law")
        assert (x[-1], y[-1]) == (pytest.approx(value), pytest.approx(found.answer.value))
    assert "90 % interval" in words(figure)


def test_parts_with_their_intervals_and_those_that_are_not_known() -> None:
    planted = {"adamw": 0.20, "replay": 0.18, "equilibrium": 0.03, "adamh": 0.02}
    optima = make_optima(np.random.default_rng(0), planted, shared=0, own=1e-6)
    found = attribute(optima, ARMS)
    ax = parts_figure(found, title="t").axes[0]
    names = [label.get_text() for label in ax.get_yticklabels()]
    for name in ("bend", "angle", "norm", "left"):
        part = found.axes["num_params"].parts[name]
        points, ends = bars(ax, name)
        assert points[0].tolist() == [part.value, names.index(name)]
        assert ends[0][:, 0] == pytest.approx([part.low, part.high])
    pair = {"adamw": ARMS["adamw"], "adamh": ARMS["adamh"]}
    figure = parts_figure(attribute({name: optima[name] for name in pair}, pair), title="t")
    assert words(figure).count("not identifiable") == 4  # angle and norm, along two scales
    alone = parts_figure(attribute({"x": optima["adamw"][:2]}, {"x": Arm(angle="own", norm="own")}), title="t")
    assert picture_bytes(alone, "png")


@pytest.mark.long
def test_a_ranking_keeps_its_order_and_says_what_is_not_shown() -> None:
    entries = [
        Entry(name=f"run {i}", loss=3 + i / 100, low=2.9 + i / 100, high=np.nan if i == 1 else 3.2, outside=i == 2)
        for i in range(100)
    ]
    figure = ranking_figure([("web", entries), ("", entries[:1])], confidence=0.8, title="t")
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"run {i}" for i in range(20)]
    points, ends = bars(ax, "run 3")
    assert points[0].tolist() == [3.03, 3]
    assert ends[0][:, 0] == pytest.approx([2.93, 3.2])
    said = words(figure).replace("\n", " ")
    assert "the first 20 of 100" in said
    assert "80 % prediction intervals" in said
    assert picture_bytes(figure, "pdf")
