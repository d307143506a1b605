"""How runs ended, and why gradient norms rise, on curves whose truth is planted."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.logs.history import Series
from experiments.logs.verdicts import ending_of, gradient_norm_of
from theory import RunOutcome

STEPS = np.arange(1, 5001)
FALLING = 2 + 9 / STEPS**0.4


def series(values: NDArray[np.float64]) -> Series:
    return Series(done=np.arange(1, len(values) + 1), values=np.where(np.isfinite(values), values, math.inf))


def noisy(values: NDArray[np.float64], seed: int = 0, size: float = 0.1) -> NDArray[np.float64]:
    return values + size * np.random.default_rng(seed).standard_normal(len(values))


def healthy() -> dict[str, NDArray[np.float64]]:
    spike = FALLING.copy()
    spike[2000:2020] += 4
    return {
        "falling": FALLING,
        "noisy": noisy(FALLING),
        "flat": noisy(np.full(5000, 3.0)),
        "spike that heals": noisy(spike),
        "rewarmed": noisy(FALLING + 0.15 * (STEPS > 3000)),
        "one NaN": np.where(STEPS == 1000, np.nan, FALLING),
        "few": FALLING[:5],
    }


@pytest.mark.parametrize("name", healthy())
def test_runs_that_did_not_diverge(name: str) -> None:
    assert ending_of(series(healthy()[name])).outcome is RunOutcome.COMPLETED


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("start", [300, 2500, 4500])
def test_a_rise_for_good_is_found_where_it_begins(start: int, seed: int) -> None:
    rising = FALLING + np.clip((STEPS - start) / 200, 0, 4)
    ending = ending_of(series(noisy(rising, seed)))
    assert ending.outcome is RunOutcome.DIVERGED
    assert ending.diverged_step == pytest.approx(start, abs=60)


def test_losses_that_are_no_numbers() -> None:
    for last, values in ((np.nan, FALLING), (np.inf, noisy(FALLING)), (0.0, FALLING)):
        ending = ending_of(series(np.where(STEPS > 3000, last, values)))
        assert (ending.outcome, ending.diverged_step) == (RunOutcome.DIVERGED, 3001)
    assert ending_of(series(np.full(20, np.nan))).diverged_step == 1
    assert ending_of(series(np.array([5.5, 1067.0]))).diverged_step == 1


@pytest.mark.filterwarnings("error")
def test_losses_that_are_hardly_numbers() -> None:
    swinging = np.where(np.arange(20) % 2, 1.7e308, -1.7e308)
    assert ending_of(series(swinging)).outcome is RunOutcome.COMPLETED
    assert ending_of(series(np.zeros(20))).outcome is RunOutcome.COMPLETED


def test_why_a_gradient_norm_rises() -> None:
    weights = 0.1 * np.exp(-np.clip((STEPS - 2000) / 3000, 0, 1))
    level = np.ones(5000)
    cases = {
        "one over the weight norm": (0.01 / weights, weights),
        "not the weight norm": (1 + STEPS / 1000, level),
        "does not rise": (noisy(level, size=0.05), weights),
        "unknown": (1 + STEPS / 1000, None),
    }
    for cause, (gradient, norm) in cases.items():
        found = gradient_norm_of(series(noisy(gradient, size=0.01)), None if norm is None else series(norm))
        assert found is not None
        assert found.cause == cause
    both = gradient_norm_of(series(1 / weights**3), series(weights))
    assert both is not None
    assert both.cause == "partly the weight norm"
