"""Slopes of the optimum: closed forms solved again, their limits, and brute force against them."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import Constant, Cosine, InvalidParameter, Linear, Schedule, adamw, slopes
from theory.angle_law import AngleLaw, Setting
from theory.bend import predict_bend
from theory.optimal_lr import optimal_learning_rate

BATCH = 2.0**19
CONSTANT = Constant(num_steps=10_000)

counts = st.floats(0.01, 60)
windows = st.floats(0.03, 8)


derive_angles, derive_deep_correction, derive_asymptotic_slopes = (
    functools.cache(derive)
    for derive in (slopes.derive_angles, slopes.derive_deep_correction, slopes.derive_asymptotic_slopes)
)


# Closed forms at constant rate


@given(counts, windows)
@example(1.0, 1.0)
def test_angles_and_elasticities_equal_their_derivation(n: float, w: float) -> None:
    y = w**2 / n
    at = {"n": n, "y": y + 1e-15 * (y == 1)}  # smooth where the start is the equilibrium; the derived mean is 0/0 there
    for name, form in (
        ("final", slopes.final_angle_ratio),
        ("mean", slopes.mean_angle_ratio),
        ("final_elasticity", slopes.final_angle_elasticity),
        ("mean_elasticity", slopes.mean_angle_elasticity),
    ):
        assert form(n, w) == pytest.approx(number(derive_angles()[name], **at), rel=1e-10, abs=1e-13), name


@pytest.mark.parametrize("initial", [0.01, 0.05, 0.3])
def test_angles_are_those_of_the_exact_recursion(initial: float) -> None:
    """No momentum, eta*lam = 1e-4, 2 relaxation times: 1e-3."""
    rate, decay, steps = 1e-3, 0.1, 10_000
    rho, _, s = adamw.moments(np.full(steps, rate), decay, 0.0, 0.999, initial)
    angles = np.arctan(rate * np.sqrt(s) / np.sqrt(rho[:-1]))
    w = slopes.window_parameter(decay, initial, steps)
    equilibrium = adamw.angular_update_equilibrium(rate, decay, 0.0)
    assert slopes.final_angle_ratio(2.0, w) * equilibrium == pytest.approx(angles[-1], rel=1e-3)
    assert slopes.mean_angle_ratio(2.0, w) * equilibrium == pytest.approx(angles.mean(), rel=2e-3)


def test_elasticities_have_their_three_limits() -> None:
    """1/2 at equilibrium, 1 for a frozen norm, 0 in the window, where final and mean stand 3:1."""
    for form in (slopes.final_angle_elasticity, slopes.mean_angle_elasticity):
        assert form(1e4, 0.5) == pytest.approx(0.5, abs=1e-3)
        assert form(1e-6, 3.0) == pytest.approx(1, abs=1e-3)
        assert form(0.02, 1e-6) == pytest.approx(0, abs=0.01)
    ratio = slopes.mean_angle_elasticity(0.01, 1e-9) / slopes.final_angle_elasticity(0.01, 1e-9)
    assert ratio == pytest.approx(1 / 3, abs=0.01)


def test_the_window_lies_between_its_scales() -> None:
    low, high = slopes.window(1e-3, 0.002, 20_000)
    rates = np.geomspace(30 * low, high / 30, 5)
    w = slopes.window_parameter(1e-3, 0.002, 20_000)
    n = 2 * rates * 1e-3 * 20_000
    final = slopes.final_angle_ratio(n, w) * np.sqrt(2 * rates * 1e-3)  # theta_T over sqrt(q)
    np.testing.assert_allclose(final, 1 / np.sqrt(20_000), rtol=0.02)
    assert w == pytest.approx(float(low / high))
    assert np.isinf(slopes.window(0.0, 0.02, 100)[1])
    assert slopes.crossover_learning_rate(0.1, 0.02) == pytest.approx(8e-5)
    assert adamw.equilibrium_rms(8e-5, 0.1) == pytest.approx(0.02, rel=1e-4)


@given(st.floats(1e-3, 5), st.floats(0.1, 2))
def test_the_deep_correction_equals_its_derivation(ratio: float, a1: float) -> None:
    assert slopes.deep_correction(ratio, a1) == pytest.approx(
        number(derive_deep_correction(), r=ratio, a_1=a1), rel=1e-10, abs=1e-12
    )


def test_the_first_bend_changes_sign_near_half_the_equilibrium() -> None:
    for a1 in (0.2, 0.43, 1.0):
        balance = slopes.balanced_start(a1)
        assert slopes.deep_correction(balance, a1) == pytest.approx(0, abs=1e-9)
        assert 0.4 < balance < 0.5


@pytest.mark.long
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
        first_order = 4 * slopes.deep_correction(ratio, 0.43) / (1.43 * n)
        remainders.append(float(found.slope / sphere.slope - 2 - first_order) * n**2)
        deviation = abs(float(found.slope / sphere.slope) / 2 - 1)
        assert slopes.onset_relaxations(ratio, 0.43, deviation) == pytest.approx(n, rel=0.1)
    assert remainders[0] == pytest.approx(remainders[1], rel=0.05)


# Slopes far from the bend


@pytest.mark.long
@pytest.mark.parametrize("schedule", [CONSTANT, Linear(num_steps=1000), Cosine(num_steps=1000)], ids=lambda s: s.name)
@pytest.mark.parametrize(("a2", "C2"), [(1.15, 1e4), (2.2, 1e2)])
def test_asymptotic_slopes_hold_for_adamh_and_a_frozen_norm(schedule: Schedule, a2: float, C2: float) -> None:
    """Memory longer and shorter than the annealing lasts; the rest of the bend is below 1 %."""
    law = AngleLaw(C1=1.0, a1=0.8, C2=C2, a2=a2, B2=1e-8, noise_growth=0.3)
    expected = slopes.asymptotic_slopes(law, schedule)
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


@pytest.mark.long
@given(st.floats(0.2, 2), st.floats(0.0, 0.9), st.floats(0.05, 1))
def test_asymptotic_slopes_equal_their_derivation(a1: float, memory: float, growth: float) -> None:
    law = AngleLaw(C1=1.0, a1=a1, C2=1.0, a2=1 + memory, B2=1.0, noise_growth=growth)
    found = slopes.asymptotic_slopes(law, Linear(num_steps=10))
    for regime, gamma, lift in (("adamh", 1.0, 1), ("equilibrium", 0.5, 2)):
        at = {"a_1": a1, "m": min(gamma / (gamma + 1), memory), "g": growth}
        for axis, key in (("num_params", "num_params"), ("num_tokens", "num_steps")):
            assert found[regime][axis] == pytest.approx(
                lift * number(derive_asymptotic_slopes()[key], **at), rel=1e-10, abs=1e-13
            )


def test_at_equilibrium_a_decaying_rate_anneals_as_its_root() -> None:
    """n^(3/4) is ten times S/B2, so that the lag at the end is forgotten."""
    law = AngleLaw(C1=1.0, a1=0.8, C2=0.1, a2=1.9, B2=300.0, noise_growth=0.3)
    setup = Setting(num_params=1e8, num_tokens=1e8 * BATCH, schedule=Linear(num_steps=1000), weight_decay=0.3)
    expected = slopes.asymptotic_slopes(law, setup.schedule)
    for axis in ("num_params", "num_tokens"):
        found = predict_bend(law, setup, axis, loss_resolution=0)
        assert found.slope == pytest.approx(expected["equilibrium"][axis], rel=0.01)
    ratio = expected["equilibrium"]["num_params"] / expected["adamh"]["num_params"]
    assert ratio == pytest.approx(2 * (1.8 - 1 / 2) / (1.8 - 1 / 3))
    assert ratio < 2


@pytest.mark.parametrize("schedule", [CONSTANT, Linear(num_steps=10), Cosine(num_steps=10)], ids=lambda s: s.name)
def test_decay_and_start_enter_as_dimensional_analysis_says(schedule: Schedule) -> None:
    """At equilibrium the angle is a function of rate times decay, with a frozen norm of rate over RMS, on the sphere
    of the rate."""
    found = slopes.asymptotic_slopes(AngleLaw(C1=1.0, a1=0.8, C2=1.0, a2=1.5, B2=1.0), schedule)
    assert {regime: (each["weight_decay"], each["initial_rms"]) for regime, each in found.items()} == {
        "equilibrium": (-1.0, 0.0),
        "frozen": (0.0, 1.0),
        "adamh": (0.0, 0.0),
    }


def test_onset_counts_to_a_tenth_unless_told() -> None:
    """From a tiny start b = 2 ln 2 and G = (a1 + 2) b."""
    correction = 2.5 * 2 * np.log(2)
    assert slopes.deep_correction(0.0, 0.5) == pytest.approx(correction)
    np.testing.assert_allclose(slopes.onset_relaxations([0.0, 0.0], 0.5), 2 * correction / (1.5 * 0.1))


def test_no_relaxations_are_refused() -> None:
    for form in (
        slopes.final_angle_ratio,
        slopes.mean_angle_ratio,
        slopes.final_angle_elasticity,
        slopes.mean_angle_elasticity,
    ):
        for count in (0.0, -1.0):
            with pytest.raises(InvalidParameter, match="num_relaxations = "):
                form([1.0, count], 1.0)
