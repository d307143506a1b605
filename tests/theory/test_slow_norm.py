"""nu: closed forms solved again, quadrature against another one, the ODE, the exact recursion, and the lag."""

import functools
import itertools

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from tests.theory.symbolic import number
from theory import (
    WSD,
    AdamW,
    Constant,
    Cosine,
    InvalidParameter,
    Linear,
    Schedule,
    adamw,
    predict_trajectory,
    slow_norm,
)
from theory.segments import Segment

DIGITS = 800  # the terms of the integrals are as large as exp(500) and cancel
SCHEDULES = [
    Constant(num_steps=2000, warmup_steps=150),
    Linear(num_steps=2000, warmup_steps=150, final_fraction=0.1),
    Cosine(num_steps=2000),
    WSD(num_steps=2000, warmup_steps=150, decay_fraction=0.4),
]
levels = st.floats(0.0, 1.0)
decays = st.floats(-6, -1).map(lambda exponent: 10.0**exponent)


derive_remembered_square = functools.cache(slow_norm.derive_remembered_square)
derive_linear_decay = functools.cache(slow_norm.derive_linear_decay)


@pytest.mark.long
@given(st.floats(0.01, 1), st.floats(0.01, 1e4), decays)
def test_hold_equals_its_integral(level: float, x: float, decay: float) -> None:
    segment = Segment("ramp", 10_000, level, level)
    solved = number(derive_remembered_square()["hold"], digits=DIGITS, s_0=level, x=x, c=decay)
    assert slow_norm.remembered_square(segment, x, decay) == pytest.approx(solved, rel=1e-10)


@given(st.tuples(levels, levels).filter(lambda s: abs(s[0] - s[1]) > 0.05), st.floats(0.01, 1), decays)
def test_ramp_equals_its_integral(ends: tuple[float, float], share: float, decay: float) -> None:
    """Both forms, and the quadrature that replaces them where they would cancel."""
    segment = Segment("ramp", 500, *ends)
    slope = (ends[1] - ends[0]) / 500
    reached = ends[0] + slope * share * 500
    piece = derive_remembered_square()["rising" if slope > 0 else "falling"]
    solved = number(piece, digits=DIGITS, s_0=ends[0], s_1=reached, g=abs(slope), c=decay)
    assert slow_norm.remembered_square(segment, share * 500, decay) == pytest.approx(solved, rel=1e-10)


@pytest.mark.long
@pytest.mark.parametrize("last", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("decay", [0.0, 1e-4, 0.03, 1.0, 30.0])
def test_half_cosine_equals_another_quadrature(last: float, decay: float) -> None:
    segment = Segment("half cosine", 300, 1.0, last)
    mean, amplitude = (1 + last) / 2, (1 - last) / 2
    for x in (1.0, 100.0, 297.0, 300.0):
        z = mpmath.mpf(x) / 300

        def integrand(y: mpmath.mpf) -> mpmath.mpf:
            turned = amplitude * (mpmath.sin(mpmath.pi * z) - mpmath.sin(mpmath.pi * y / 300)) / mpmath.pi  # noqa: B023
            value = mean + amplitude * mpmath.cos(mpmath.pi * y / 300)
            return mpmath.exp(-decay * 300 * (mean * (z - y / 300) + turned)) * value**2  # noqa: B023

        with mpmath.workdps(25):
            expected = float(mpmath.quad(integrand, [0, *(x * (1 - mpmath.mpf(2) ** -k) for k in range(1, 20)), x]))
        assert slow_norm.remembered_square(segment, x, decay) == pytest.approx(expected, rel=1e-11)


@given(st.sampled_from(SCHEDULES), st.floats(0, 1), st.floats(1e-4, 0.05), st.floats(0, 1))
def test_nu_and_the_start_solve_the_equation(schedule: Schedule, share: float, rate: float, decay: float) -> None:
    end = share * schedule.num_steps
    ends = np.cumsum([0, *(segment.length for segment in schedule.segments())])
    rho = np.array([0.03**2])
    for start, stop in zip(ends[:-1], np.minimum(ends[1:], end), strict=True):
        if stop > start:
            rho = solve_ivp(
                lambda t, r: -2 * decay * rate * schedule.value(t) * r + (rate * schedule.value(t)) ** 2,
                (start, stop),
                rho,
                rtol=1e-10,
                atol=1e-14,
                method="DOP853",
            ).y[:, -1]
    rms = slow_norm.weight_rms(schedule, end, learning_rate=rate, weight_decay=decay, initial_rms=0.03)
    assert rms == pytest.approx(np.sqrt(rho[0]), rel=1e-7)


def test_without_decay_it_is_the_sum_of_squares() -> None:
    for schedule in SCHEDULES:
        x = np.linspace(0, schedule.num_steps, 9)
        squares = 1e-6 * schedule.integral_of_square(x)
        np.testing.assert_allclose(slow_norm.nu(schedule, x, learning_rate=1e-3, weight_decay=0.0), squares, rtol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_the_exact_recursion_tends_to_it_at_first_order(schedule: Schedule) -> None:
    """Four times the steps at a quarter of eta*lam: the error falls to a quarter."""
    errors = []
    for k in (1, 4):
        longer = type(schedule)(**{**vars(schedule), "num_steps": 2000 * k, "warmup_steps": schedule.warmup_steps * k})
        rate, decay = 0.02 / np.sqrt(k), 0.3 / np.sqrt(k)
        rho, _, _ = adamw.moments(rate * longer.multipliers(), decay, 0.0, 0.999, 0.05)
        x = np.arange(0, 2000 * k + 1, 100 * k)
        slow = slow_norm.weight_rms(longer, x, learning_rate=rate, weight_decay=decay, initial_rms=0.05)
        errors.append(np.abs(np.sqrt(rho[x]) / slow - 1).max())
    assert errors[0] < 0.02
    assert np.log(errors[0] / errors[1]) / np.log(4) == pytest.approx(1, abs=0.1)


@given(st.sampled_from(SCHEDULES), st.floats(0, 1), st.floats(0.3, 3), st.floats(1e-4, 1e-2), st.floats(0.01, 1))
def test_stretching_time_is_a_symmetry(
    schedule: Schedule, share: float, stretch: float, rate: float, decay: float
) -> None:
    """Time times k equals eta and lam times sqrt(k): dimensional analysis of the ODE, checked through the integral."""
    x = share * schedule.num_steps
    root = np.sqrt(stretch)
    scaled = slow_norm.nu(schedule, x, learning_rate=rate * root, weight_decay=decay * root)
    plain = slow_norm.nu(schedule, x, learning_rate=rate, weight_decay=decay * stretch) * stretch
    assert scaled == pytest.approx(float(plain), rel=1e-9, abs=1e-300)


def test_settings_broadcast_against_times() -> None:
    times, rates = np.array([10.0, 900.0, 2000.0])[:, None], np.array([1e-3, 1e-2])
    table = slow_norm.nu(SCHEDULES[2], times, learning_rate=rates, weight_decay=0.1)
    for i, j in np.ndindex(3, 2):
        one = slow_norm.nu(SCHEDULES[2], times[i, 0], learning_rate=rates[j], weight_decay=0.1)
        assert table[i, j] == pytest.approx(float(one), rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_at_nodes_it_is_the_same_norm(schedule: Schedule) -> None:
    """From the first moment of a segment to its last, for settings in a row."""
    ends = np.cumsum([0, *(segment.length for segment in schedule.segments())], dtype=np.float64)
    nodes = np.array([[start, start + 0.3, end, (start + end) / 2] for start, end in itertools.pairwise(ends)])
    rates, decays, starts = np.array([1e-3, 0.03, 0.3]), np.array([0.1, 0.0, 0.5]), np.array([0.02, 1.0, 3.0])
    found = slow_norm.weight_rms_at_nodes(schedule, nodes, learning_rate=rates, weight_decay=decays, initial_rms=starts)
    expected = slow_norm.weight_rms(
        schedule, nodes[..., None], learning_rate=rates, weight_decay=decays, initial_rms=starts
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@given(st.sampled_from(SCHEDULES), st.floats(0, 1))
def test_decay_time_runs_backwards_too(schedule: Schedule, share: float) -> None:
    x = share * schedule.num_steps
    amount = schedule.integral(x)
    assert schedule.integral(schedule.time_at_integral(amount)) == pytest.approx(float(amount), rel=1e-12, abs=1e-9)
    assert np.isinf(schedule.time_at_integral(schedule.integral(schedule.num_steps) + 1))


# The lag


@pytest.mark.long
@given(st.floats(0.0, 1.0), st.floats(0.01, 300))
def test_linear_decay_equals_its_derivation_and_nu(remaining: float, count: float) -> None:
    solved = number(derive_linear_decay(), digits=DIGITS, s=max(remaining, 1e-12), n=count)
    assert slow_norm.linear_decay_rms(remaining, count) ** 2 == pytest.approx(solved, rel=1e-10)
    decay = Linear(num_steps=1000)
    rate, weight_decay = 0.01, count / (0.01 * 1000)
    rms = slow_norm.weight_rms(
        decay,
        1000 * (1 - remaining),
        learning_rate=rate,
        weight_decay=weight_decay,
        initial_rms=np.sqrt(rate / (2 * weight_decay)),
    )
    ratio = rms / np.sqrt(rate / (2 * weight_decay))
    assert slow_norm.linear_decay_rms(remaining, count) == pytest.approx(float(ratio), rel=1e-9)


def test_the_end_of_a_decay_tends_to_its_law() -> None:
    """Quarter power after a line, third after a cosine; the constants are those of the derived integral."""
    derived = slow_norm.derive_decay_end()
    counts = np.array([300.0, 3000.0])
    for shape, schedule, amplitude, p in (
        ("line", Linear(num_steps=1000), 1, 1),
        ("cosine", Cosine(num_steps=1000), sp.pi**2 / 4, 2),
    ):
        law = slow_norm.decay_end_rms(counts, shape)
        for count, value in zip(counts, law, strict=True):
            symbols = {symbol.name: symbol for symbol in derived.free_symbols}
            squared = derived.subs({symbols["A"]: amplitude, symbols["p"]: p, symbols["m"]: 2 * count}).evalf(30)
            assert value**2 == pytest.approx(float(squared), rel=1e-10)
        target = np.sqrt(1e-2 / (2 * counts * 0.1))
        rms = slow_norm.weight_rms(schedule, 1000, learning_rate=0.01, weight_decay=counts * 0.1, initial_rms=target)
        np.testing.assert_allclose(rms / target, law, rtol=0.01)
    assert slow_norm.decay_end_rms(counts)[0] == pytest.approx((np.pi / 1200) ** 0.25)


def test_after_the_lag_sets_in_the_angle_falls_like_the_rate() -> None:
    """Slope 1/2 well above s = 1/sqrt(n), slope 1 well below; and the exact recursion agrees with the whole curve."""
    remaining = np.array([0.9, 0.8, 2e-3, 1e-3])
    angle = np.log(slow_norm.linear_decay_angle(remaining, 400.0))
    slopes = np.diff(angle)[[0, 2]] / np.diff(np.log(remaining))[[0, 2]]
    np.testing.assert_allclose(slopes, [0.5, 1.0], atol=0.02)

    schedule = WSD(num_steps=20_000, decay_fraction=0.5)
    rate, decay = 4e-3, 0.5  # 20 relaxation times in the decay, 40 before it
    rho, p, s = adamw.moments(rate * schedule.multipliers(), decay, 0.9, 0.95, 0.06)
    steps = np.array([12_000, 16_000, 19_000, 19_900])
    rates = rate * schedule.multipliers()[steps]
    exact = np.arctan2(rates * np.sqrt(rho[steps] * s[steps] - p[steps] ** 2), rho[steps] - rates * p[steps])
    peak = adamw.angular_update_equilibrium(rate, decay, 0.9)
    law = slow_norm.linear_decay_angle(schedule.multipliers()[steps], 20.0)
    np.testing.assert_allclose(exact / peak, law, rtol=0.01)


def test_lag_is_above_one_while_the_rate_falls_and_below_while_it_rises() -> None:
    schedule = WSD(num_steps=2000, warmup_steps=500, decay_fraction=0.25)
    setting = {"learning_rate": 0.05, "weight_decay": 0.3, "initial_rms": 1e-3}
    assert slow_norm.lag(schedule, 400, **setting) < 1
    assert slow_norm.lag(schedule, 1500, **setting) == pytest.approx(1, abs=1e-6)
    assert slow_norm.lag(schedule, 1900, **setting) > 1.05
    assert np.isinf(slow_norm.lag(schedule, 2000, **setting))


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"x": 2001.0}, "x"),
        ({"x": -1.0}, "x"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": float("inf")}, "learning_rate"),
        ({"weight_decay": -0.1}, "weight_decay"),
        ({"weight_decay": float("inf")}, "weight_decay"),
    ],
)
def test_bad_settings_are_refused_by_name(broken: dict[str, float], name: str) -> None:
    """One of several is enough."""
    good = {"x": 5.0, "learning_rate": 1e-3, "weight_decay": 0.1}
    arguments = good | {each: np.array([good[each], value]) for each, value in broken.items()}
    with pytest.raises(InvalidParameter) as caught:
        slow_norm.nu(SCHEDULES[0], **arguments)
    assert caught.value.name == name
    assert "\n" not in str(caught.value)


def test_fractions_outside_a_decay_are_refused() -> None:
    np.testing.assert_allclose(slow_norm.linear_decay_rms([1.0, 0.0], 300.0), [1, (np.pi / 1200) ** 0.25], rtol=1e-12)
    for beyond in (1.5, -0.1):
        with pytest.raises(InvalidParameter, match="remaining"):
            slow_norm.linear_decay_rms([0.0, 1.0, beyond], 10.0)
    with pytest.raises(InvalidParameter, match="num_relaxations"):
        slow_norm.linear_decay_rms(0.5, [10.0, 0.0])
    with pytest.raises(InvalidParameter, match="shape"):
        slow_norm.decay_end_rms(10.0, "step")
    with pytest.raises(InvalidParameter, match="amount"):
        SCHEDULES[0].time_at_integral(-1.0)


# Rates in a list


@given(st.floats(1e-4, 1e-2), st.floats(0.0, 1.0), st.floats(0.005, 0.2), st.integers(1, 400))
def test_slow_angles_at_constant_rate(rate: float, decay: float, initial_rms: float, num_steps: int) -> None:
    angles = slow_norm.slow_angular_updates(np.full(num_steps, rate), weight_decay=decay, initial_rms=initial_rms)
    rms = adamw.slow_rms(np.arange(num_steps), rate, decay, initial_rms)
    np.testing.assert_allclose(angles, rate * np.sqrt(0.1 / 1.9) / rms, rtol=1e-10)
    coarse = slow_norm.slow_angular_updates(np.full(5, rate), weight_decay=decay, initial_rms=initial_rms, hold=7.0)
    fine = slow_norm.slow_angular_updates(np.full(35, rate), weight_decay=decay, initial_rms=initial_rms)
    np.testing.assert_allclose(coarse, fine[::7], rtol=1e-10)


def test_slow_angles_are_the_trajectorys_after_start_up() -> None:
    schedule = Cosine(num_steps=4000, warmup_steps=200, final_fraction=0.1)
    optimizer = AdamW(learning_rate=1e-3, weight_decay=0.1)
    full = predict_trajectory(optimizer, schedule, initial_rms=0.02).angular_update[:, 0]
    slow = slow_norm.slow_angular_updates(1e-3 * schedule.multipliers(), weight_decay=0.1, initial_rms=0.02)
    np.testing.assert_allclose(slow[200:], full[200:], rtol=0.03)


def test_a_rate_of_zero_turns_nothing_and_a_negative_one_is_refused() -> None:
    angles = slow_norm.slow_angular_updates([0.0, 1e-3, 0.0, 1e-3], weight_decay=0.1, initial_rms=0.02)
    plain = slow_norm.slow_angular_updates([1e-3, 1e-3], weight_decay=0.1, initial_rms=0.02)
    np.testing.assert_allclose(angles, [0.0, plain[0], 0.0, plain[1]], rtol=1e-12)
    with pytest.raises(InvalidParameter, match="learning_rates = -1"):
        slow_norm.slow_angular_updates([1e-3, -1.0], weight_decay=0.1, initial_rms=0.02)
