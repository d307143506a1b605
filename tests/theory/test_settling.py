"""When a norm counts as settled: by hand on short lists, and by closed forms of a relaxation."""

import numpy as np
import pytest

from theory import AdamW, Equilibrium
from theory.models import model_of
from theory.settling import (
    decay_time_steps,
    passes_equilibrium,
    reaches_equilibrium,
    settles,
    steps_to_equilibrium,
    transient_steps,
)

EQUILIBRIUM = 2.0  # so that a ratio is not an RMS


def settled(relaxation_steps: float | None) -> Equilibrium:
    return Equilibrium(weight_rms=EQUILIBRIUM, angular_update=0.1, cosine=0.0, relaxation_steps=relaxation_steps)


@pytest.mark.parametrize(
    ("ratios", "peak_end", "expected"),
    [
        ([1, 1, 1], 2, 0),
        ([2, 1.5, 1, 1], 3, 2),
        ([0.2, 0.5, 0.9, 1], 3, 2),
        ([1.25, 1.25, 0.75, 0.75], 3, 0),  # the edge is within
        ([2, 1, 2, 1, 2, 1, 1], 6, 5),  # to come within is not to stay
        ([1, 2, 2, 2, 1], 4, 4),
        ([2, 1, 1, 2, 2], 2, 1),  # behind the peak it may leave
        ([2, 1, 2, 2, 1, 1], 2, 4),  # not there at the end of the peak: the first step at which it is
        ([1, 2, 1, 1], 1, 2),
        ([2, 2, 2, 2, 1, 2], 1, 4),
        ([1, 1, 2, 2, 2], 2, None),
        ([2, 2], 1, None),
    ],
)
def test_the_end_of_a_transient_by_hand(ratios: list[float], peak_end: int, expected: int | None) -> None:
    rms = EQUILIBRIUM * np.array(ratios)
    assert transient_steps(rms, EQUILIBRIUM, peak_end=peak_end, tolerance=0.25) == expected


@pytest.mark.parametrize(
    ("transient", "final_ratio", "expected"),
    [
        (None, 2.0, False),
        (9, 2.0, False),
        (10, 2.0, False),  # the last step of the peak
        (11, 2.0, True),
        (11, 0.7, True),
        (11, 1.25, False),  # the edge is within
        (11, 0.75, False),
        (11, 1.0, False),
    ],
)
def test_a_crossing_is_behind_the_peak_and_left_again(
    transient: int | None, final_ratio: float, expected: bool
) -> None:
    assert passes_equilibrium(transient, final_ratio, peak_end=10, tolerance=0.25) is expected


@pytest.mark.parametrize(
    ("rates", "steps"), [([1e-3], 1), ([1e-3] * 7, 7), ([0.0, 0.5, 1.0, 1.0, 0.5, 0.0], 3), ([1.0, 0.2, 0.2], 1)]
)
def test_decay_time_counts_steps_at_the_peak_rate(rates: list[float], steps: int) -> None:
    assert decay_time_steps(np.array(rates)) == steps


def test_a_run_reaches_equilibrium_if_as_many_steps_at_the_peak_rate_do() -> None:
    """The shortest run that does, to a step: at the peak all along, and under rates that rise and fall."""
    model, initial = model_of(AdamW(learning_rate=0.01, weight_decay=0.5, beta1=0.0)), np.array([0.01])
    rms = np.sqrt(model.moments(np.full(600, 0.01), initial).rho[:, 0])
    at_peak = model.equilibrium(0.01)
    shortest = int(np.argmax(rms >= 0.9 * at_peak.weight_rms))
    assert shortest == pytest.approx(100 * np.log(1 / (1 - 0.9**2)), rel=0.02)
    for length, enough in ((shortest, True), (shortest - 1, False)):
        assert settles(rms, length, at_peak, 0.1) is enough
        triangle = 0.01 * np.concatenate([np.arange(1, length + 1), np.arange(length - 1, 0, -1)]) / length
        for rates in (np.full(length, 0.01), triangle):
            assert reaches_equilibrium(model, rates, initial, tolerance=0.1) is enough


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("start", [0.1, 1.5, 4.0])
def test_what_lies_beyond_a_run_relaxes_in_its_time(start: float, power: int) -> None:
    """A squared RMS whose power relaxes exactly: the path, what is left of a shorter one, and the closed form agree."""
    time, tolerance = 40.0, 0.1
    gap = start ** (2 * power) - 1
    rms = EQUILIBRIUM * (1 + gap * np.exp(-np.arange(1000) / time)) ** (0.5 / power)
    edge = (1.1 if start > 1 else 0.9) ** (2 * power) - 1
    expected = np.ceil(time * np.log(gap / edge))
    for length in (1000, 20, 2):
        found = steps_to_equilibrium(rms[:length], settled(time), tolerance=tolerance, power=power)
        assert found == expected, length


def test_a_norm_that_is_held_or_there_has_no_steps_to_go() -> None:
    assert steps_to_equilibrium(np.full(9, EQUILIBRIUM), settled(40.0)) == 0
    assert steps_to_equilibrium(np.full(9, 1.5 * EQUILIBRIUM), settled(None)) == 0


def test_a_norm_that_leaves_at_the_last_step_has_not_arrived() -> None:
    """From 1.5 of the equilibrium the square falls from 2.25 to 1.1 squared in time ln(1.25/0.21)."""
    rms = EQUILIBRIUM * np.array([1.0, 1.0, 1.5])
    found = steps_to_equilibrium(rms, settled(40.0), tolerance=0.1)
    assert found == 2 + np.ceil(40 * np.log(1.25 / 0.21))


def test_a_rounding_error_beyond_the_edge_is_no_way_to_go() -> None:
    """Where the logarithm of what is left vanishes or has the other sign."""
    for tolerance in np.linspace(0.01, 0.5, 50):
        for ratio in (np.nextafter(1 + tolerance, 2), np.nextafter(1 - tolerance, 0)):
            found = steps_to_equilibrium(np.full(9, EQUILIBRIUM * ratio), settled(40.0), tolerance=float(tolerance))
            assert found in (0, 8, 9)
