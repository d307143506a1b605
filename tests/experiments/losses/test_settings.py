"""Schedules by name: their rates, what is filled in, and the candidates that flags make."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.losses import features, finished_runs, settings
from experiments.losses.settings import SCHEDULE_NAMES, Setting, candidates, known_as
from theory import SCHEDULES, WSD, Cosine, InvalidParameter


@pytest.mark.parametrize("module", [settings, finished_runs, features])
def test_examples_in_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted
    assert not result.failed


def test_rates_are_those_of_the_theory() -> None:
    cosine = Setting(schedule="cosine", learning_rate=2e-3, num_steps=500, warmup_steps=50, final_fraction=0.1)
    expected = 2e-3 * Cosine(num_steps=500, warmup_steps=50, final_fraction=0.1).multipliers()
    np.testing.assert_array_equal(cosine.learning_rates(), expected)
    wsd = Setting(
        schedule="wsd", learning_rate=1.0, num_steps=500, warmup_steps=50, decay_fraction=0.3, final_fraction=0.2
    )
    expected = WSD(num_steps=500, warmup_steps=50, decay_fraction=0.3, final_fraction=0.2).multipliers()
    np.testing.assert_allclose(wsd.learning_rates(), expected, rtol=1e-12)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(2, 300), st.integers(0, 30))
def test_a_root_decays_as_one_minus_the_root_of_time(fraction: float, end: float, num_steps: int, warmup: int) -> None:
    warmup = min(warmup, num_steps)
    rates = Setting(
        schedule="wsd",
        learning_rate=1.0,
        num_steps=num_steps,
        warmup_steps=warmup,
        decay_fraction=fraction,
        decay_type="sqrt",
        final_fraction=end,
    ).learning_rates()
    length = min(round(fraction * num_steps), num_steps - warmup)
    time = (np.arange(length) + 0.5) / max(length, 1)
    np.testing.assert_allclose(rates[num_steps - length :], 1 - (1 - end) * np.sqrt(time), atol=1e-9)
    np.testing.assert_allclose(rates[warmup : num_steps - length], 1.0)


def test_what_is_left_open_is_filled_in_and_what_does_not_apply_is_none() -> None:
    assert Setting(schedule="wsd", learning_rate=1, num_steps=9).shape == "wsd 0.2"
    held = Setting(schedule="wsd", learning_rate=1, num_steps=9, decay_fraction=0.0, decay_type="sqrt")
    assert held == Setting(schedule="constant", learning_rate=1, num_steps=9, final_fraction=0.5)
    assert (held.decay_type, held.final_fraction) == (None, None)
    for bad in (
        {"schedule": "steps"},
        {"learning_rate": 0.0},
        {"decay_type": "round"},
        {"decay_fraction": 1.5},
        {"final_fraction": -0.1},
        {"warmup_steps": 10},
    ):
        with pytest.raises(InvalidParameter, match=next(iter(bad))):
            Setting(**{"schedule": "wsd", "learning_rate": 1.0, "num_steps": 9, **bad})


def test_candidates_are_all_combinations_and_else_what_is_known() -> None:
    known = [
        Setting(schedule="cosine", learning_rate=1e-3, num_steps=100, warmup_steps=10, final_fraction=0.1),
        Setting(schedule="wsd", learning_rate=2e-3, num_steps=100, warmup_steps=10, decay_fraction=0.1),
        Setting(
            schedule="wsd", learning_rate=2e-3, num_steps=100, warmup_steps=5, decay_fraction=0.4, decay_type="sqrt"
        ),
    ]
    every = candidates(known, num_steps=1000)
    assert len(every) == 2 * 1 + 2 * 2 * 2  # rates times shapes of cosine, then of wsd
    assert {one.num_steps for one in every} == {1000}
    assert {one.warmup_steps for one in every} == {10}
    asked = candidates(
        known, num_steps=50, schedules=["wsd", "linear"], learning_rates=[1e-4], decay_fractions=[0.2, 0.5]
    )
    assert [one.shape for one in asked] == ["wsd 0.2", "wsd 0.5", "linear"]  # straight, since the table has it
    assert asked[0].warmup_steps == 5  # a tenth of a short run
    roots = candidates(known, num_steps=50, schedules=["wsd"], decay_types=["sqrt"], warmup_steps=3)
    assert {(one.shape, one.warmup_steps) for one in roots} == {("wsd 0.1 sqrt", 3), ("wsd 0.4 sqrt", 3)}


def test_names_of_schedules_are_ours_or_usual_ones() -> None:
    assert {name: known_as(name, SCHEDULE_NAMES) for name in SCHEDULES} == {name: name for name in SCHEDULES}
    assert known_as(" COS ", SCHEDULE_NAMES) == "cosine"
    assert known_as("polynomial", SCHEDULE_NAMES) is None
