"""The transient: definition, closed forms, contours and maps."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import (
    WSD,
    Constant,
    Cosine,
    InvalidParameter,
    Linear,
    Schedule,
    adamw,
    transient,
    transient_map,
)

CONTOUR = transient.derive_contour()
SCHEDULES: list[Schedule] = [
    Constant(num_steps=1500),
    WSD(num_steps=1500, warmup_steps=100),
    Cosine(num_steps=1500, warmup_steps=100, final_fraction=0.1),
    Linear(num_steps=1500),
]


# Closed forms


@given(st.floats(1e-3, 0.03), st.floats(0.03, 1), st.floats(0.002, 0.5))
def test_at_constant_rate_all_forms_agree(rate: float, decay: float, initial: float) -> None:
    schedule = Constant(num_steps=50_000)
    setting = {"learning_rate": rate, "weight_decay": decay, "initial_rms": initial}
    formula = float(adamw.slow_transient_steps(rate, decay, initial))
    expected = formula if formula <= 50_000 else np.inf
    assert transient.decay_time_transient_steps(schedule, **setting) == pytest.approx(expected, rel=1e-10)
    assert transient.slow_transient_steps(schedule, **setting) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    fraction = transient.transient_fraction(50_000, **setting)
    assert fraction == pytest.approx(min(formula / 50_000, 1), rel=1e-10)


@pytest.mark.parametrize("warmup", [40, 200])
def test_a_warmup_delays_by_a_sixth_of_its_length(warmup: int) -> None:
    """One relaxation time is 1667 steps here; the exact recursion agrees with the closed form to 0.5 %."""
    schedule = WSD(num_steps=20_000, warmup_steps=warmup)
    setting = {"learning_rate": 3e-3, "weight_decay": 0.1, "initial_rms": 0.02}
    slow = transient.slow_transient_steps(schedule, **setting)
    delay = slow - float(transient.decay_time_transient_steps(schedule, **setting))
    assert delay == pytest.approx(warmup / 6, rel=0.15)
    exact = transient.run_grid(schedule, **setting).transient_steps
    assert slow == pytest.approx(float(exact), rel=5e-3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_the_continuous_norm_settles_where_the_recursion_does(schedule: Schedule) -> None:
    """To 1 %, and the ten to twenty steps that the start of Adam's averages is worth."""
    longer = replace(schedule, num_steps=30_000, warmup_steps=10 * schedule.warmup_steps)
    rates, starts = [1e-2, 1e-2, 2e-3, 1e-4, 1e-2], [0.02, 0.5, 0.001, 0.02, 0.22]
    exact = transient.run_grid(longer, learning_rate=rates, weight_decay=0.1, initial_rms=starts).transient_steps
    for rate, initial, steps in zip(rates, starts, exact.tolist(), strict=True):
        slow = transient.slow_transient_steps(longer, learning_rate=rate, weight_decay=0.1, initial_rms=initial)
        assert slow == pytest.approx(steps, rel=0.01, abs=25), (rate, initial)


@pytest.mark.parametrize(
    ("schedule", "decay", "steps"),
    [
        (Constant(num_steps=10_000), 1.0, 0.5),
        (Linear(num_steps=10_000), 1.0, 0.5),
        (Constant(num_steps=10_000), 1.0, 5.0),
        (Constant(num_steps=10_000), 0.01, 9990.0),
    ],
)
def test_an_end_at_either_end_of_a_run(schedule: Schedule, decay: float, steps: float) -> None:
    """Between the first two and the last two of the times at which the norm is looked at; from above where early."""
    relaxation = 1 / (2 * 0.01 * decay)
    edge = (1.05 if steps < relaxation else 0.95) ** 2 - 1
    initial = float(np.sqrt(0.01 / (2 * decay) * (1 + edge * np.exp(steps / relaxation))))
    slow = transient.slow_transient_steps(schedule, learning_rate=0.01, weight_decay=decay, initial_rms=initial)
    assert slow == pytest.approx(steps, rel=1e-3)
    plane = transient_map.slow_transient_map(schedule, [0.01], [decay], initial_rms=initial)
    assert plane.transient_steps[0, 0] == pytest.approx(steps, rel=0.01)


@pytest.mark.parametrize(
    ("schedule", "start"), [(Constant(num_steps=10_000), 0.5329), *((Linear(num_steps=10_000), s) for s in (1.1, 1.3))]
)
def test_where_a_norm_is_slow_the_map_is_straight_between_its_times(schedule: Schedule, start: float) -> None:
    """A cell is a thirtieth of a relaxation time here; the line through the one before it misses by more."""
    setting, initial = {"learning_rate": 0.01, "weight_decay": 0.01}, start * np.sqrt(0.5)
    slow = transient.slow_transient_steps(schedule, **setting, initial_rms=initial)
    plane = transient_map.slow_transient_map(schedule, [0.01], [0.01], initial_rms=initial)
    assert plane.transient_steps[0, 0] == pytest.approx(slow, rel=1.5e-4)


@pytest.mark.parametrize(
    ("schedule", "start", "steps"),
    [
        (WSD(num_steps=10_000, decay_fraction=0.5), 0.02, 421),
        (WSD(num_steps=10_000, decay_fraction=0.5), np.sqrt(0.005), 0),
        (Linear(num_steps=10_000), np.sqrt(0.005), 0),
        (Constant(num_steps=10_000), np.sqrt(0.005), 0),
    ],
)
def test_a_norm_that_leaves_as_soon_as_the_rate_falls_had_settled_before(
    schedule: Schedule, start: float, steps: int
) -> None:
    """Within 1e-4 of equilibrium, where it may have been from the start; closed forms look once in 20 or 80 steps."""
    setting = {"learning_rate": 0.01, "weight_decay": 1.0}
    expected = transient.decay_time_transient_steps(schedule, **setting, initial_rms=start, tolerance=1e-4)
    assert expected == pytest.approx(steps, abs=1 if steps else 0)
    slow = transient.slow_transient_steps(schedule, **setting, initial_rms=start, tolerance=1e-4)
    assert slow == pytest.approx(float(expected), rel=1e-6, abs=0)
    plane = transient_map.slow_transient_map(schedule, [0.01], [1.0], initial_rms=start, tolerance=1e-4)
    assert plane.transient_steps[0, 0] == pytest.approx(float(expected), rel=0.1, abs=0)


def test_the_start_is_forgotten_in_decay_time() -> None:
    schedule = Cosine(num_steps=1000, warmup_steps=100)
    steps = transient.forgetting_steps(schedule, [1.0, 0.5, 1e-3], learning_rate=0.01, weight_decay=0.2)
    kappa = schedule.kappa(steps[:2], learning_rate=0.01, weight_decay=0.2)
    np.testing.assert_allclose(np.exp(-2 * kappa), [1.0, 0.5], rtol=1e-9)
    assert np.isinf(steps[2])


@given(st.floats(0.05, 1), st.floats(0.005, 0.1), st.floats(1e-3, 20), st.sampled_from([0.02, 0.05, 0.2]))
def test_contours_equal_their_derivation(fraction: float, initial: float, count: float, tolerance: float) -> None:
    curves = transient.transient_contour(
        fraction, num_steps=1000, initial_rms=initial, tolerance=tolerance, num_relaxations=[count]
    )
    edges = {"below": 1 - (1 - tolerance) ** 2, "above": (1 + tolerance) ** 2 - 1}
    for name, (rate, decay) in curves.items():
        if rate.size == 0:
            assert name == "below"
            assert edges[name] * np.exp(fraction * count) > 1 - 1e-9
            continue
        values = {"F": fraction, "n": count, "T": 1000, "epsilon": edges[name], "R_0": initial}
        for form, found in zip(CONTOUR[f"start {name} equilibrium"].values(), (rate, decay), strict=True):
            assert found[0] == pytest.approx(number(form, **values), rel=1e-10)


@pytest.mark.parametrize("fraction", [0.2, 0.7])
def test_on_a_contour_the_transient_takes_its_fraction(fraction: float) -> None:
    curves = transient.transient_contour(fraction, num_steps=4000, initial_rms=0.02)
    for rate, decay in curves.values():
        found = transient.transient_fraction(4000, learning_rate=rate, weight_decay=decay, initial_rms=0.02)
        np.testing.assert_allclose(found, fraction, rtol=1e-4)


def test_contours_cover_what_a_start_from_nothing_allows() -> None:
    """200 values from a thousandth of the longest count up to it, a millionth below; from above all of them count."""
    rate, decay = transient.transient_contour(0.5, num_steps=1000, initial_rms=0.02, tolerance=0.05)["above"]
    longest = -np.log(1 - 0.95**2) / 0.5
    assert len(rate) == 200
    counts = 2 * rate * decay * 1000 / longest
    assert (counts.min(), counts.max()) == pytest.approx((1e-3, 1.0), rel=1e-9)
    assert np.all(counts <= 1.0 + 1e-12)
    assert 1 - np.sort(counts)[-2] == pytest.approx(1e-6, rel=1e-6)


def test_a_map_has_its_axes_and_its_contours() -> None:
    rates, decays = np.geomspace(1e-3, 3e-2, 4), np.geomspace(0.02, 0.3, 3)
    plane = transient_map.transient_map(
        Constant(num_steps=4000), learning_rates=rates, weight_decays=decays, initial_rms=0.02
    )
    assert plane.transient_steps.shape == plane.num_relaxations.shape == (3, 4)
    slow = transient.transient_fraction(4000, learning_rate=rates, weight_decay=decays[:, None], initial_rms=0.02)
    np.testing.assert_allclose(plane.transient_fraction, slow, atol=0.01)
    np.testing.assert_allclose(plane.num_relaxations, 2 * rates * decays[:, None] * 4000)


def test_bad_remainders_and_fractions_are_refused() -> None:
    for remainder in (0.0, 1.5, [0.5, 0.0]):
        with pytest.raises(InvalidParameter, match="remainder"):
            transient.forgetting_steps(Constant(num_steps=10), remainder, learning_rate=1e-3, weight_decay=0.1)
    with pytest.raises(InvalidParameter, match="fraction"):
        transient.transient_contour(0.0, num_steps=10, initial_rms=0.02)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.name)
def test_the_map_for_pictures_is_the_closed_form_of_each_setting(schedule: Schedule) -> None:
    """Within a hundredth of the run; where the transient does not end, nowhere else."""
    rates, decays = np.geomspace(1e-4, 3e-2, 7), np.geomspace(0.03, 3, 6)
    plane = transient_map.slow_transient_map(schedule, rates, decays, initial_rms=0.03)
    assert plane.transient_steps.shape == (6, 7)
    for i, j in np.ndindex(6, 7):
        setting = {"learning_rate": float(rates[j]), "weight_decay": float(decays[i])}
        expected = transient.slow_transient_steps(schedule, initial_rms=0.03, **setting)
        assert np.isinf(plane.transient_steps[i, j]) == np.isinf(expected)
        assert plane.transient_fraction[i, j] == pytest.approx(min(expected / 1500, 1), abs=0.01)
        assert plane.num_relaxations[i, j] == pytest.approx(2 * rates[j] * decays[i] * schedule.integral(1500))
    assert 0 < np.isinf(plane.transient_steps).mean() < 1
