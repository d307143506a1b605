"""The bend: closed forms solved again, their limits, brute force against them, and the predictions as written."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from theory import WSD, Constant, Cosine, InvalidParameter, Linear, Schedule, adamw, bend, optimal_lr
from theory.bend import Direction, predict_against, predict_against_schedule, predict_bend, predict_measurement
from theory.optimal_lr import AngleLaw, Setting, optimal_learning_rate

BATCH = 2.0**19
ANGLES = bend.derive_angles()
CORRECTION = bend.derive_deep_correction()
SLOPES = bend.derive_asymptotic_slopes()
CONSTANT, WSD_ = Constant(num_steps=10_000), WSD(num_steps=10_000, warmup_steps=100)
COSINE = Cosine(num_steps=10_000, warmup_steps=100)
SIZES = 2.2e7 * 2.0 ** np.arange(6)
EXAMPLE = AngleLaw(C1=1.0, a1=0.43, C2=12.96, a2=1.4, B2=0.3, noise_growth=0.25)
RUN = Setting(num_params=8.5e7, num_tokens=1e10, schedule=WSD_)  # w = 0.55, and eta* = 1e-3 under the law above

counts = st.floats(0.01, 60)
windows = st.floats(0.03, 8)


def number(expression: sp.Expr, **values: float) -> float:
    at = {symbol: sp.Float(values[symbol.name], 60) for symbol in expression.free_symbols}
    return complex(expression.subs(at).evalf(40)).real


# Closed forms at constant rate


@given(counts, windows)
def test_angles_and_elasticities_equal_their_derivation(n: float, w: float) -> None:
    at = {"n": n, "y": w**2 / n}
    for name, form in (
        ("final", bend.final_angle),
        ("mean", bend.mean_angle),
        ("final_elasticity", bend.final_angle_elasticity),
        ("mean_elasticity", bend.mean_angle_elasticity),
    ):
        assert form(n, w) == pytest.approx(number(ANGLES[name], **at), rel=1e-10, abs=1e-13), name


@pytest.mark.parametrize("initial", [0.01, 0.05, 0.3])
def test_angles_are_those_of_the_exact_recursion(initial: float) -> None:
    """No momentum, eta*lam = 1e-4, 2 relaxation times: 1e-3."""
    rate, decay, steps = 1e-3, 0.1, 10_000
    rho, _, s = adamw.moments(np.full(steps, rate), decay, 0.0, 0.999, initial)
    angles = np.arctan(rate * np.sqrt(s) / np.sqrt(rho[:-1]))
    w = bend.window_parameter(decay, initial, steps)
    equilibrium = adamw.angular_update_equilibrium(rate, decay, 0.0)
    assert bend.final_angle(2.0, w) * equilibrium == pytest.approx(angles[-1], rel=1e-3)
    assert bend.mean_angle(2.0, w) * equilibrium == pytest.approx(angles.mean(), rel=2e-3)


def test_elasticities_have_their_three_limits() -> None:
    """1/2 at equilibrium, 1 for a frozen norm, 0 in the window, where final and mean stand 3:1."""
    for form in (bend.final_angle_elasticity, bend.mean_angle_elasticity):
        assert form(1e4, 0.5) == pytest.approx(0.5, abs=1e-3)
        assert form(1e-6, 3.0) == pytest.approx(1, abs=1e-3)
        assert form(0.02, 1e-6) == pytest.approx(0, abs=0.01)
    ratio = bend.mean_angle_elasticity(0.01, 1e-9) / bend.final_angle_elasticity(0.01, 1e-9)
    assert ratio == pytest.approx(1 / 3, abs=0.01)


def test_the_window_lies_between_its_scales() -> None:
    low, high = bend.window(1e-3, 0.002, 20_000)
    rates = np.geomspace(30 * low, high / 30, 5)
    w = bend.window_parameter(1e-3, 0.002, 20_000)
    n = 2 * rates * 1e-3 * 20_000
    final = bend.final_angle(n, w) * np.sqrt(2 * rates * 1e-3)  # theta_T over sqrt(q)
    np.testing.assert_allclose(final, 1 / np.sqrt(20_000), rtol=0.02)
    assert w == pytest.approx(float(low / high))
    assert np.isinf(bend.window(0.0, 0.02, 100)[1])
    assert bend.crossover_learning_rate(0.1, 0.02) == pytest.approx(8e-5)
    assert adamw.equilibrium_rms(8e-5, 0.1) == pytest.approx(0.02, rel=1e-4)


@given(st.floats(1e-3, 5), st.floats(0.1, 2))
def test_the_deep_correction_equals_its_derivation(ratio: float, a1: float) -> None:
    assert bend.deep_correction(ratio, a1) == pytest.approx(number(CORRECTION, r=ratio, a_1=a1), rel=1e-10, abs=1e-12)


def test_the_first_bend_changes_sign_near_half_the_equilibrium() -> None:
    for a1 in (0.2, 0.43, 1.0):
        balance = bend.balanced_start(a1)
        assert bend.deep_correction(balance, a1) == pytest.approx(0, abs=1e-9)
        assert 0.4 < balance < 0.5


@pytest.mark.parametrize("ratio", [0.1, 0.45, 1.0, 2.0])
def test_brute_force_leaves_deep_equilibrium_as_the_correction_says(ratio: float) -> None:
    """Slope over AdamH's is 2 + 4G/((1+a1)n), and what is left falls like 1/n^2."""
    remainders = []
    for strength in (8e-4, 2e-4):
        law = AngleLaw(C1=1.0, a1=0.43, C2=strength, a2=3.0, B2=1e-2, noise_growth=0.3)
        setup = Setting(num_params=1e8, num_tokens=1e6 * BATCH, schedule=CONSTANT)
        for _ in range(20):  # the start that is this fraction of its own optimum's equilibrium
            rate = optimal_learning_rate(law, setup, loss_resolution=0).learning_rate
            setup = setup.at("initial_rms", ratio * np.sqrt(rate / 0.2))
        found = predict_bend(law, setup, "num_params", loss_resolution=0)
        sphere = predict_bend(law, replace(setup, optimizer="adamh"), "num_params", loss_resolution=0)
        n = float(found.num_relaxations)
        assert n > 200
        first_order = 4 * bend.deep_correction(ratio, 0.43) / (1.43 * n)
        remainders.append(float(found.slope / sphere.slope - 2 - first_order) * n**2)
        deviation = abs(float(found.slope / sphere.slope) / 2 - 1)
        assert bend.onset_relaxations(ratio, 0.43, deviation) == pytest.approx(n, rel=0.1)
    assert remainders[0] == pytest.approx(remainders[1], rel=0.05)


# Slopes far from the bend


@pytest.mark.parametrize("schedule", [CONSTANT, Linear(num_steps=1000), Cosine(num_steps=1000)], ids=lambda s: s.name)
@pytest.mark.parametrize(("a2", "C2"), [(1.15, 1e4), (2.2, 1e2)])
def test_asymptotic_slopes_hold_for_adamh_and_a_frozen_norm(schedule: Schedule, a2: float, C2: float) -> None:
    """Memory longer and shorter than the annealing lasts; the rest of the bend is below 1 %."""
    law = AngleLaw(C1=1.0, a1=0.8, C2=C2, a2=a2, B2=1e-8, noise_growth=0.3)
    expected = bend.asymptotic_slopes(law, schedule)
    for regime, changes in (
        ("adamh", {"optimizer": "adamh"}),
        ("frozen", {"weight_decay": 1e-9, "initial_rms": 50.0}),
    ):
        setup = Setting(num_params=1e8, num_tokens=1e5 * BATCH, schedule=schedule, **changes)  # type: ignore[arg-type]
        for axis in ("num_params", "num_tokens"):
            found = predict_bend(law, setup, axis, loss_resolution=0)
            assert found.slope == pytest.approx(expected[regime][axis], rel=0.01), (regime, axis)
    if schedule is CONSTANT:
        assert expected["equilibrium"]["num_params"] == pytest.approx(2 * expected["frozen"]["num_params"])


@given(st.floats(0.2, 2), st.floats(0.0, 0.9), st.floats(0.05, 1))
def test_asymptotic_slopes_equal_their_derivation(a1: float, memory: float, growth: float) -> None:
    law = AngleLaw(C1=1.0, a1=a1, C2=1.0, a2=1 + memory, B2=1.0, noise_growth=growth)
    slopes = bend.asymptotic_slopes(law, Linear(num_steps=10))
    for regime, gamma, lift in (("adamh", 1.0, 1), ("equilibrium", 0.5, 2)):
        at = {"a_1": a1, "m": min(gamma / (gamma + 1), memory), "g": growth}
        for axis, key in (("num_params", "num_params"), ("num_tokens", "num_steps")):
            assert slopes[regime][axis] == pytest.approx(lift * number(SLOPES[key], **at), rel=1e-10, abs=1e-13)


def test_at_equilibrium_a_decaying_rate_anneals_as_its_root() -> None:
    """n^(3/4) is ten times S/B2, so that the lag at the end is forgotten."""
    law = AngleLaw(C1=1.0, a1=0.8, C2=0.1, a2=1.9, B2=300.0, noise_growth=0.3)
    setup = Setting(num_params=1e8, num_tokens=1e8 * BATCH, schedule=Linear(num_steps=1000), weight_decay=0.3)
    expected = bend.asymptotic_slopes(law, setup.schedule)
    for axis in ("num_params", "num_tokens"):
        found = predict_bend(law, setup, axis, loss_resolution=0)
        assert found.slope == pytest.approx(expected["equilibrium"][axis], rel=0.01)
    ratio = expected["equilibrium"]["num_params"] / expected["adamh"]["num_params"]
    assert ratio == pytest.approx(2 * (1.8 - 1 / 2) / (1.8 - 1 / 3))
    assert ratio < 2


# Predictions


def test_differences_are_exact_for_a_quartic() -> None:
    x = 0.1 * np.array([-4.0, -2, -1, 0, 1, 2, 4])
    slope, curvature, slope_error, curvature_error = bend._differences(2 * x - 3 * x**2 + x**4, 0.1)
    assert (slope, curvature) == (pytest.approx(2), pytest.approx(-6))
    assert max(slope_error, curvature_error) < 1e-9


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
    losses = optimal_lr.excess_loss(EXAMPLE, setup, rates)
    optima = np.log(rates[losses.argmin(axis=0), 0])
    curvature = np.polyfit(np.log(SIZES), optima, 2)[0]
    sphere = predict_measurement(EXAMPLE, replace(RUN, schedule=CONSTANT, optimizer="adamh"), "num_params", SIZES)
    assert abs(2 * curvature) < 3e-3
    assert np.polyfit(np.log(SIZES), optima, 1)[0] / sphere.slope == pytest.approx(2, rel=0.01)


def test_where_the_optimum_is_flat_or_jumps_no_direction_is_named() -> None:
    """Cosine with w = 0.04: two minima, at the two sides of the window, change places."""
    small = replace(RUN, schedule=COSINE, initial_rms=0.005, weight_decay=0.03)
    found = predict_measurement(replace(EXAMPLE, C2=30.0), small, "num_params", SIZES)
    assert found.direction is Direction.NOT_IDENTIFIABLE
    assert np.isnan(found.curvature)
    assert np.isnan(found.learning_rates).any()
    local = predict_bend(replace(EXAMPLE, C2=30.0), small.at("num_params", SIZES), "num_params")
    assert Direction.NOT_IDENTIFIABLE in local.direction


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
        (lambda: predict_against(EXAMPLE, RUN, "depth", [1.0], "num_params", SIZES), "axis"),
        (lambda: predict_bend(EXAMPLE, RUN, "num_params", straight_within=-1.0), "straight_within"),
        (lambda: bend.final_angle(0.0, 1.0), "num_relaxations"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name
