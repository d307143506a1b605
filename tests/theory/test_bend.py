"""The bend: differences, the predictions as written, and what undoes it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import WSD, Constant, Cosine, InvalidParameter, bend
from theory.angle_law import EXAMPLE as FITTED
from theory.angle_law import AngleLaw, Setting, excess_loss
from theory.bend import Direction, predict_against, predict_against_schedule, predict_bend, predict_measurement
from theory.optimal_lr import OptimumOutcome, law_with_optimum

CONSTANT, WSD_ = Constant(num_steps=10_000), WSD(num_steps=10_000, warmup_steps=100)
COSINE = Cosine(num_steps=10_000, warmup_steps=100)
SIZES = 2.2e7 * 2.0 ** np.arange(6)
EXAMPLE = AngleLaw(C1=1.0, a1=0.43, C2=12.96, a2=1.4, B2=0.3, noise_growth=0.25)
RUN = Setting(num_params=8.5e7, num_tokens=1e10, schedule=WSD_)  # w = 0.55, and eta* = 1e-3 under the law above


def test_differences_are_exact_for_a_quartic() -> None:
    x = 0.1 * np.array([-4.0, -2, -1, 0, 1, 2, 4])
    slope, curvature, slope_error, curvature_error = bend._differences(2 * x - 3 * x**2 + x**4, 0.1)
    assert (slope, curvature) == (pytest.approx(2), pytest.approx(-6))
    assert max(slope_error, curvature_error) < 1e-9


def test_the_errors_of_differences_are_those_of_the_next_powers() -> None:
    """To leading order, and here there is no other."""
    x = 0.1 * np.array([-4.0, -2, -1, 0, 1, 2, 4])
    slope, curvature, slope_error, curvature_error = bend._differences(x**5 + x**6, 0.1)
    assert (abs(slope), abs(curvature)) == (pytest.approx(4e-4), pytest.approx(8e-4))
    assert (slope_error, curvature_error) == (pytest.approx(4e-4), pytest.approx(8e-4))


def test_a_curvature_of_just_the_limit_is_straight() -> None:
    named = bend._directions(np.array([0.25, -0.25, 0.26, -0.26, np.nan]), 0.25)
    kinds = [Direction.STRAIGHT, Direction.STRAIGHT, Direction.UP, Direction.DOWN, Direction.NOT_IDENTIFIABLE]
    assert named.tolist() == kinds


@pytest.mark.long
def test_the_documented_example() -> None:
    """22M to 707M parameters, 10B tokens, WSD: straight, up by 0.05 and 0.21, straight again, as n falls."""
    for strength, n_first, n_last, curvature, gap in (
        (7.207, 19.1, 3.7, 0.002, -0.03),
        (12.96, 6.2, 1.7, 0.050, 0.21),
        (30.20, 1.7, 0.44, 0.002, -0.04),
    ):
        found = predict_measurement(replace(EXAMPLE, C2=strength), RUN, "num_params", SIZES)
        assert found.num_relaxations[[0, -1]] == pytest.approx([n_first, n_last], rel=0.05)
        assert found.curvature == pytest.approx(curvature, abs=2e-3)
        assert found.gap == pytest.approx(gap, abs=0.01)
        assert found.direction is Direction.STRAIGHT


@pytest.mark.long
def test_bends_are_named_by_their_sign() -> None:
    """Twice the growth of the noise, and the same run crosses more of the bend."""
    up = predict_measurement(replace(EXAMPLE, noise_growth=0.5), RUN, "num_params", SIZES)
    assert up.curvature > bend.DELTA
    assert (up.direction, up.gap > 0.3) == (Direction.UP, True)
    down = predict_measurement(replace(EXAMPLE, C2=30.2), RUN, "num_tokens", 5e9 * 2.0 ** np.arange(5))
    assert down.curvature < -bend.DELTA
    assert (down.direction, down.gap < -0.2) == (Direction.DOWN, True)
    wide = predict_measurement(EXAMPLE, RUN, "num_params", SIZES, straight_within=0.02)
    assert wide.direction is Direction.UP


def test_adamh_does_not_bend_along_params() -> None:
    sphere = replace(RUN, optimizer="adamh", num_params=SIZES)
    for schedule in (CONSTANT, WSD_, COSINE):
        found = predict_bend(EXAMPLE, replace(sphere, schedule=schedule), "num_params")
        assert np.abs(found.curvature).max() < 2e-3
        assert all(direction is Direction.STRAIGHT for direction in found.direction)
        np.testing.assert_array_equal(found.num_relaxations, 0)


def test_along_params_the_curve_goes_down_first_and_then_up_if_the_start_is_small() -> None:
    """w = 0.55: slope over AdamH's rises above its deep value and falls to 1; the curvature changes sign once."""
    law = replace(EXAMPLE, noise_growth=1.0)
    setup = replace(RUN, schedule=CONSTANT, num_params=8.5e7 * np.exp(np.linspace(-3, 4, 29)))
    found = predict_bend(law, setup, "num_params", loss_resolution=0)
    ratio = found.slope / predict_bend(law, replace(setup, optimizer="adamh"), "num_params", loss_resolution=0).slope
    n = found.num_relaxations
    first, later = (n > 10) & (n < 30), (n > 2.5) & (n < 5)
    assert np.all(found.curvature[first] < -found.curvature_error[first])
    assert np.all(found.curvature[later] > found.curvature_error[later])
    assert ratio.max() > 2.4
    assert 5 < n[ratio.argmax()] < 10
    large = replace(setup, initial_rms=0.15)  # w = 4
    upward = predict_bend(law, large, "num_params", loss_resolution=0)
    deep = (upward.num_relaxations > 8) & (upward.num_relaxations < 50)
    assert deep.sum() > 5
    assert np.all(upward.curvature[deep] > 0)


def test_along_tokens_the_curve_bends_down_and_straightens_when_deep() -> None:
    crossing = predict_measurement(EXAMPLE, RUN, "num_tokens", 5e9 * 2.0 ** np.arange(5))
    assert np.all(np.diff(crossing.num_relaxations) > 0)
    assert crossing.curvature < -0.02
    constant = replace(RUN, schedule=CONSTANT)
    deep = predict_measurement(replace(EXAMPLE, C2=0.5), constant, "num_tokens", 5e11 * 2.0 ** np.arange(5))
    assert deep.num_relaxations[0] > 200
    assert abs(deep.curvature) < 0.01
    sphere = predict_measurement(EXAMPLE, replace(constant, optimizer="adamh"), "num_tokens", 5e9 * 2.0 ** np.arange(5))
    assert abs(sphere.curvature) < 0.01


@settings(max_examples=15)
@given(st.floats(0.2, 5))
def test_decay_and_start_bend_through_their_product_alone(c: float) -> None:
    plain = predict_measurement(EXAMPLE, replace(RUN, schedule=CONSTANT), "num_params", SIZES[:4])
    other = replace(RUN, schedule=CONSTANT, weight_decay=0.1 / c, initial_rms=0.02 * c)
    scaled = predict_measurement(EXAMPLE, other, "num_params", SIZES[:4])
    np.testing.assert_allclose(scaled.learning_rates, c * plain.learning_rates, rtol=1e-6)
    assert scaled.curvature == pytest.approx(plain.curvature, abs=1e-5)


def test_starting_every_run_at_its_own_equilibrium_undoes_the_bend() -> None:
    rates = np.exp(np.linspace(np.log(1e-5), np.log(3e-2), 4001))[:, None]
    setup = replace(RUN, schedule=CONSTANT, num_params=SIZES, initial_rms=np.sqrt(rates / 0.2))
    losses = excess_loss(EXAMPLE, setup, rates)
    optima = np.log(rates[losses.argmin(axis=0), 0])
    curvature = np.polyfit(np.log(SIZES), optima, 2)[0]
    sphere = predict_measurement(EXAMPLE, replace(RUN, schedule=CONSTANT, optimizer="adamh"), "num_params", SIZES)
    assert abs(2 * curvature) < 3e-3
    assert np.polyfit(np.log(SIZES), optima, 1)[0] / sphere.slope == pytest.approx(2, rel=0.01)


@pytest.mark.long
def test_where_the_optimum_is_flat_or_jumps_no_direction_is_named() -> None:
    """Cosine with w = 0.04: two minima, at the two sides of the window, change places."""
    small = replace(RUN, schedule=COSINE, initial_rms=0.005, weight_decay=0.03)
    found = predict_measurement(replace(EXAMPLE, C2=30.0), small, "num_params", SIZES)
    assert found.direction is Direction.NOT_IDENTIFIABLE
    assert np.isnan(found.curvature)
    assert np.isnan(found.learning_rates).any()
    local = predict_bend(replace(EXAMPLE, C2=30.0), small.at("num_params", SIZES[:2]), "num_params")
    assert list(local.direction) == [Direction.NOT_IDENTIFIABLE, Direction.UP]


@pytest.mark.parametrize("missing", [None, 0, 3, 4, 5])
def test_a_parabola_is_measured_from_all_of_its_optima(missing: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """ln eta* = x - 0.3 x^2 about the middle of scales a factor of e apart: by hand, or not at all."""
    x = np.arange(-2.5, 3)
    rates = np.exp(x - 0.3 * x**2)
    if missing is not None:
        rates[missing] = np.nan
    monkeypatch.setattr(bend, "optimal_learning_rate", lambda *_, **__: SimpleNamespace(learning_rate=rates))
    found = predict_measurement(EXAMPLE, RUN, "num_params", np.exp(18 + x))
    line = 1 + 0.9, -0.3 * (2.5**2 + 1.5**2 + 0.5**2) / 3 + 0.9 * 1.5  # of the first three: slope, and height at 0
    expected = [1.0, -0.6, 2.5 - 0.3 * 2.5**2 - line[1] - 2.5 * line[0]]
    assert [found.slope, found.curvature, found.gap] == pytest.approx(
        expected if missing is None else [np.nan] * 3, rel=1e-9, nan_ok=True
    )
    assert (found.direction is Direction.DOWN) == (missing is None)


def test_slope_and_curvature_are_those_of_the_optima(monkeypatch: pytest.MonkeyPatch) -> None:
    """ln eta* = -0.3 x + 0.2 x^2 + h x^6 and ln of the mean angle = x + x^4, in x = ln(N/1e8) and with h = 0, 1, 0: by
    hand. The last has no optimum."""
    sixth, asked = np.array([0.0, 1.0, 0.0]), []

    def optima(law: AngleLaw, setting: Setting, *, loss_resolution: float) -> SimpleNamespace:
        asked.append(loss_resolution)
        x = np.log(np.asarray(setting.num_params) / 1e8)
        rate = 1e-3 * np.exp(-0.3 * x + 0.2 * x**2 + sixth * x**6)
        outcome = np.array([OptimumOutcome.FOUND, OptimumOutcome.FOUND, OptimumOutcome.FLAT])
        return SimpleNamespace(learning_rate=rate, mean_angle=1e-2 * np.exp(x + x**4), outcome=outcome)

    monkeypatch.setattr(bend, "optimal_learning_rate", optima)
    run, x = RUN.at("num_params", 1e8 * np.exp([0.5, 0.0, 1.0])), np.array([0.5, 0.0, 1.0])
    found = predict_bend(EXAMPLE, run, "num_params", step=0.2, straight_within=0.02, loss_resolution=0.5)
    assert asked == [0, 0.5]
    np.testing.assert_allclose(found.slope, -0.3 + 0.4 * x, rtol=1e-9)
    np.testing.assert_allclose(found.curvature[[0, 2]], 0.4, rtol=1e-9)
    np.testing.assert_allclose(found.curvature_error, [0, 8 * 0.2**4, 0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.slope_error, 0, atol=1e-9)
    np.testing.assert_allclose(found.mean_angle_slope, 1 + 4 * x**3, rtol=1e-9)
    np.testing.assert_allclose(found.mean_angle_curvature, 12 * x**2, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.learning_rate, 1e-3 * np.exp(-0.3 * x + 0.2 * x**2), rtol=1e-12)
    np.testing.assert_array_equal(found.num_relaxations, run.num_relaxations(found.learning_rate))
    assert found.direction.tolist() == [Direction.UP, Direction.UP, Direction.NOT_IDENTIFIABLE]
    rough = predict_bend(EXAMPLE, run, "num_params", step=0.2, straight_within=0.0128 * (1 - 1e-6))
    assert rough.direction.tolist() == [Direction.UP, Direction.NOT_IDENTIFIABLE, Direction.NOT_IDENTIFIABLE]
    sphere = predict_bend(EXAMPLE, replace(run, optimizer="adamh"), "num_params", straight_within=0.5)
    assert sphere.direction.tolist() == [Direction.STRAIGHT, Direction.STRAIGHT, Direction.NOT_IDENTIFIABLE]
    assert sphere.num_relaxations.tolist() == [0, 0, 0]


def test_best_rates_and_lengths_outside_the_fit_are_told() -> None:
    """For short runs of a fitted law both; for AdamH, whose rates the fit did not have, the length; else nothing."""
    short = replace(RUN, num_tokens=1e8, schedule=CONSTANT)
    assert predict_bend(FITTED, short, "num_params").outside.count("fitted from") == 2
    sphere = predict_bend(FITTED, replace(short, optimizer="adamh"), "num_params").outside
    assert sphere == "outside the fit: steps 191, fitted from 15000 to 50000"
    inside = replace(short, num_params=FITTED.reference_params, tokens_per_step=FITTED.reference_batch, num_tokens=1e9)
    own = law_with_optimum(FITTED, inside, 1e-3)
    assert predict_bend(own, inside, "num_params").outside == ""
    assert predict_bend(EXAMPLE, short, "num_params").outside == ""  # made up: there is no fit to be outside of


def test_scales_may_be_less_than_1_apart() -> None:
    found = predict_measurement(EXAMPLE, RUN, "weight_decay", [0.05, 0.1, 0.2, 0.4])
    assert np.all(np.isfinite(found.learning_rates))
    assert found.gap == pytest.approx(
        np.log(found.learning_rates[3]) - 3 * np.log(found.learning_rates[1]) + 2 * np.log(found.learning_rates[0])
    )  # a line through the first two of four, even in their logarithms


@pytest.mark.long
def test_predictions_against_knobs_are_those_of_single_settings() -> None:
    by_decay = predict_against(EXAMPLE, RUN, "weight_decay", [0.03, 0.3], "num_params", SIZES)
    assert by_decay[1].gap == predict_measurement(EXAMPLE, RUN.at("weight_decay", 0.3), "num_params", SIZES).gap
    assert by_decay[0].gap > by_decay[1].gap > 0  # steeper, the smaller w: here n falls from about 6 to 1
    by_start = predict_against(EXAMPLE, RUN, "initial_rms", [0.006, 0.06], "num_params", SIZES)
    assert by_start[0].gap > by_start[1].gap > 0
    by_schedule = predict_against_schedule(EXAMPLE, RUN, [CONSTANT, WSD_], "num_params", SIZES)
    assert by_schedule[1].gap == predict_measurement(EXAMPLE, RUN, "num_params", SIZES).gap
    assert len(by_schedule) == 2


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: predict_bend(EXAMPLE, RUN, "beta1"), "axis"),
        (lambda: predict_measurement(EXAMPLE, RUN, "num_params", SIZES[:3]), "scales"),
        (lambda: predict_measurement(EXAMPLE, RUN, "num_params", SIZES[::-1]), "scales"),
        (lambda: predict_measurement(EXAMPLE, RUN, "num_params", [*SIZES, SIZES[-1]]), "scales"),
        (lambda: predict_measurement(EXAMPLE, RUN, "num_params", SIZES.reshape(2, 3)), "scales"),
        (lambda: predict_against(EXAMPLE, RUN, "depth", [1.0], "num_params", SIZES), "axis"),
        (lambda: predict_bend(EXAMPLE, RUN, "num_params", straight_within=-1.0), "straight_within"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name
