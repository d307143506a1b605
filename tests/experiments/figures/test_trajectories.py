"""Pictures of closed forms and of simulations carry the numbers of both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.figures.style import picture_bytes
from experiments.figures.trajectories import PredictedRun, prediction_figure, simulation_figure
from tests.experiments.figures.drawn import line, lines, words
from theory import WSD, AdamW, Constant, Cosine, Linear, Trajectory, predict, predict_trajectory
from theory.schedules import Schedule
from theory.trajectory import FIELDS


def run(rate: float, num_steps: int = 20_000) -> PredictedRun:
    optimizer, schedule = AdamW(learning_rate=rate, weight_decay=0.1), Constant(num_steps=num_steps)
    said = predict(optimizer, schedule, initial_rms=0.02)
    return PredictedRun(
        name=f"learning rate {rate:g}",
        trajectory=predict_trajectory(optimizer, schedule, initial_rms=0.02, record_every=max(1, num_steps // 100)),
        equilibrium_rms=said.equilibrium_rms,
        angular_update_equilibrium=said.angular_update_equilibrium,
        transient_steps=said.transient_steps,
    )


def test_a_setting_with_its_equilibrium_and_the_end_of_its_transient() -> None:
    shown = run(1e-3)
    figure = prediction_figure([shown], title="adamw, network white-noise", tolerance=0.05)
    for ax, quantity in zip(figure.axes, ("weight_rms", "angular_update"), strict=True):
        x, y = line(ax, shown.name)
        np.testing.assert_array_equal(x, shown.trajectory.steps)
        np.testing.assert_array_equal(y, getattr(shown.trajectory, quantity)[:, 0])
    (_, height), (step, reached) = (
        line(figure.axes[0], f"equilibrium {shown.name}"),
        line(figure.axes[0], f"transient ends {shown.name}"),
    )
    assert height[0] == shown.equilibrium_rms
    assert step[0] == shown.transient_steps
    assert reached[0] == pytest.approx(0.95 * height[0], rel=1e-3)
    assert {"weight RMS", "angle per step (rad)", "step"} <= set(words(figure).splitlines())
    assert "network white-noise" in words(figure)
    num_steps = int(shown.trajectory.steps[-1]) + 1
    assert num_steps in [tick for tick in figure.axes[0].get_xticks() if tick <= figure.axes[0].get_xlim()[1]]


def test_one_step_far_below_its_equilibrium_leaves_room_for_the_axes() -> None:
    """Its mark lies outside of the picture."""
    far = replace(run(1e-3, num_steps=1), equilibrium_rms=1e8)
    figure = prediction_figure([far], title="t", tolerance=0.05)
    assert picture_bytes(figure, "svg")
    assert figure.axes[0].get_position().width > 0.2


def test_a_crossing_is_not_called_the_end_of_a_transient() -> None:
    crossing = replace(run(1e-3), passes_equilibrium=True)
    figure = prediction_figure([crossing], title="n", tolerance=0.05)
    assert line(figure.axes[0], f"first within {crossing.name}")[0] == crossing.transient_steps
    assert "first within 5 % of the peak rate's equilibrium" in words(figure).replace("\n", " ")
    assert "transient ends" not in words(figure)


@pytest.mark.parametrize(
    ("schedule", "start"),
    [
        (WSD(num_steps=300_000, warmup_steps=2000, decay_fraction=0.1), 0.02),
        (Constant(num_steps=12_000), 0.02),
        (Constant(num_steps=40_000), 0.5),
        (Cosine(num_steps=100_000, warmup_steps=500), 0.14),
    ],
)
def test_the_name_of_a_step_stands_where_no_curve_is(schedule: Schedule, start: float) -> None:
    """Below a norm that rises and above one that falls, the other way round for angles."""
    optimizer, every = AdamW(learning_rate=1e-3, weight_decay=0.1), schedule.num_steps // 1000
    said = predict(optimizer, schedule, initial_rms=start)
    shown = PredictedRun(
        name="one",
        trajectory=predict_trajectory(optimizer, schedule, initial_rms=start, record_every=every),
        equilibrium_rms=said.equilibrium_rms,
        angular_update_equilibrium=said.angular_update_equilibrium,
        transient_steps=said.transient_steps,
    )
    figure = prediction_figure([shown], title="t", tolerance=0.05)
    figure.draw_without_rendering()
    for ax in figure.axes:
        (name,) = (text for text in ax.texts if text.get_text() == f"step {said.transient_steps}")
        box, corners = name.get_window_extent(), ax.get_window_extent()
        assert corners.x0 <= box.x0 < box.x1 <= corners.x1
        for label in ("one", "equilibrium one"):
            (drawn,) = (each for each in ax.lines if each.get_label() == label)
            path = drawn.get_transform().transform_path(drawn.get_path())
            assert not path.intersects_bbox(box, filled=False), (ax.get_ylabel(), label)
        (mark,) = (each for each in ax.lines if str(each.get_label()).startswith("transient ends"))
        height = ax.transData.transform(mark.get_xydata())[0, 1]
        rises = (start < (said.equilibrium_rms or 0)) == (ax is figure.axes[0])
        assert (box.y1 < height) if rises else (box.y0 > height)


def test_a_few_settings_are_named_in_a_legend_and_more_where_they_end() -> None:
    rates = (1e-3, 3e-3, 4e-3, 5e-3, 6e-3, 7e-3, 8e-3)
    few = prediction_figure([run(rate) for rate in rates[:2]], title="n", tolerance=0.05)
    assert not few.axes[0].texts  # panels of one width, nothing between them
    legend = few.axes[1].get_legend()
    assert legend is not None
    named = {text.get_text(): handle.get_color() for text, handle in zip(legend.texts, legend.get_lines(), strict=True)}
    drawn = {str(each.get_label()): each.get_color() for each in few.axes[0].lines}
    assert set(named) == {"learning rate 0.001", "learning rate 0.003"}
    assert all(drawn[name] == colour for name, colour in named.items())
    more = prediction_figure([run(rate) for rate in rates], title="n", tolerance=0.05)
    texts = {text.get_text(): text.get_position()[1] for text in more.axes[0].texts}
    assert texts["learning rate 0.003"] > texts["learning rate 0.001"]
    assert more.axes[1].get_legend() is None


@pytest.mark.parametrize("number", [1, 40])
def test_one_step_and_many_settings(number: int) -> None:
    shown = [run(rate, num_steps=1) for rate in np.geomspace(1e-8, 1e-1, number)]
    figure = prediction_figure(shown, title="n", tolerance=0.05)
    assert picture_bytes(figure, "png")
    assert len([each for each in figure.axes[0].lines if str(each.get_label()).startswith("learning rate")]) == number


def simulated(theory: Trajectory, by: float) -> Trajectory:
    return Trajectory(steps=theory.steps, matrices=("m",), **{name: by * getattr(theory, name) for name in FIELDS})


def test_a_simulation_its_band_and_what_was_not_compared() -> None:
    schedule = Linear(num_steps=40)
    theory = predict_trajectory(AdamW(learning_rate=0.01, weight_decay=0.1), schedule, initial_rms=0.02)
    compared = theory.steps >= 10
    shown = simulation_figure(simulated(theory, 1.01), simulated(theory, 0.002), theory, compared, title="t")
    upper, lower = shown.axes[:2], shown.axes[2:]
    for ax, below, quantity in zip(upper, lower, ("weight_rms", "angular_update"), strict=True):
        expected = getattr(theory, quantity)[:, 0]
        np.testing.assert_allclose(line(ax, "simulation")[1], 1.01 * expected)
        np.testing.assert_allclose(line(ax, "closed form")[1], expected)
        difference = line(below, "difference")[1]
        np.testing.assert_array_equal(np.isfinite(difference), compared)
        np.testing.assert_allclose(difference[compared], 1.0, rtol=1e-9)
        band = below.collections[0].get_paths()[0].vertices[:, 1]
        assert band.min() == pytest.approx(1 - 0.4)
        assert band.max() == pytest.approx(1 + 0.4)
        assert len(lines(below, "not compared")) == 1
    assert "two Monte Carlo standard errors" in words(shown).replace("\n", " ")
    assert picture_bytes(shown, "svg")


def test_without_a_closed_form_it_is_said_why() -> None:
    theory = predict_trajectory(AdamW(learning_rate=0.01, weight_decay=0.1), Constant(num_steps=1), initial_rms=0.02)
    figure = simulation_figure(theory, simulated(theory, 0.0), None, title="t", why_not="it diverged")
    assert len(figure.axes) == 2
    assert "it diverged" in words(figure)
    assert picture_bytes(figure, "png")
