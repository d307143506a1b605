"""The grid of an adaptive cell, against losses that are made up: it finds the optimum, ends, and repeats itself."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest

from experiments.bend.optimum import OptimumStatus
from experiments.sweeps.adaptive import Grid, Point, Status, grow
from experiments.sweeps.study import Adaptive

OPTIMUM = 3e-2
ASKED = Adaptive(interval=0.4, max_runs=40, lowest=1e-5, highest=10.0)
SEEDS = (0, 1)


def parabola(rate: float, seed: int) -> float:
    """0.02 nats above the least loss at twice or half the optimal rate; noise of 0.002."""
    noise = np.random.default_rng([seed, round(rate * 1e9)]).normal()
    return float(2 + 0.5 * 0.08 * math.log(rate / OPTIMUM) ** 2 + 0.002 * noise)


def play(
    adaptive: Adaptive, rates: tuple[float, ...], loss: Callable[[float, int], float] = parabola
) -> tuple[Grid, dict[Point, float]]:
    """Produce what is asked for until nothing is."""
    losses: dict[Point, float] = {}
    while (found := grow(adaptive, rates, SEEDS, losses)).status is Status.RUNNING:
        assert found.missing
        assert not set(found.missing) & set(losses)
        losses |= {point: loss(*point) for point in found.missing}
        assert len(losses) <= adaptive.max_runs
    assert set(found.points) == set(losses), "runs were made that nobody asked for"
    return found, losses


@pytest.mark.parametrize("lowest", [1e-3, 0.02, 0.5], ids=["far below", "around", "far above"])
def test_it_finds_the_optimum_from_anywhere(lowest: float) -> None:
    found, losses = play(ASKED, (lowest, 2 * lowest, 4 * lowest))
    assert found.status is Status.REACHED
    assert found.width <= 0.4
    assert found.optimum is not None
    assert found.optimum.learning_rate == pytest.approx(OPTIMUM, rel=0.25)
    rates = sorted({rate for rate, _ in losses})
    assert rates[0] < OPTIMUM < rates[-1]


def test_the_order_in_which_runs_finish_makes_no_difference() -> None:
    """Runs come one at a time and in random order, and the sweep forgets everything in between."""
    _, at_once = play(ASKED, (0.001, 0.002, 0.004))
    rng, losses = random.Random(0), dict[Point, float]()
    while (found := grow(ASKED, (0.001, 0.002, 0.004), SEEDS, losses)).status is Status.RUNNING:
        point = rng.choice(found.missing)
        losses[point] = parabola(*point)
    assert losses == at_once


def test_runs_that_nobody_asked_for_change_nothing() -> None:
    found, losses = play(ASKED, (0.01, 0.02, 0.04))
    again = grow(ASKED, (0.01, 0.02, 0.04), SEEDS, {**losses, (0.0123, 0): 0.1, (0.01, 77): 0.1})
    assert again == found


def test_divergence_closes_the_grid_from_above() -> None:
    found, losses = play(ASKED, (0.5, 1.0, 2.0), lambda r, s: math.nan if r > 0.1 else parabola(r, s))
    assert found.status is Status.REACHED
    assert max(rate for rate, _ in losses) == 2.0
    found, losses = play(ASKED, (0.5, 1.0, 2.0), lambda r, s: math.inf)
    assert found.status in (Status.DIVERGED, Status.BUDGET)


@pytest.mark.parametrize("lost", [math.nan, 9.0], ids=["not finite", "far above"])
def test_it_ends_where_the_loss_falls_until_training_breaks_down(lost: float) -> None:
    breaks_down = 0.3 * OPTIMUM
    found, losses = play(ASKED, (0.001, 0.002, 0.004), lambda r, s: lost if r > breaks_down else parabola(r, s))
    assert found.status is Status.CEILING
    assert found.optimum is not None
    assert (found.optimum.status, found.optimum.learning_rate) == (OptimumStatus.CENSORED_HIGH, None)
    rates = {rate for rate, _ in losses}
    last, first = max(r for r in rates if r <= breaks_down), min(r for r in rates if r > breaks_down)
    assert first / last < 1.2
    assert len(losses) == 2 * len(rates), "further seeds do not tell where the optimum is"


def test_an_optimum_right_below_the_ceiling_is_found() -> None:
    found, _ = play(ASKED, (0.005, 0.01, 0.02), lambda r, s: math.nan if r > 1.4 * OPTIMUM else parabola(r, s))
    assert found.status is Status.REACHED
    assert found.optimum is not None
    assert found.optimum.learning_rate == pytest.approx(OPTIMUM, rel=0.25)


def test_it_stops_at_the_bounds_and_when_the_budget_is_spent() -> None:
    bounded = Adaptive(interval=0.3, max_runs=100, lowest=1e-3, highest=0.01)
    found, losses = play(bounded, (0.0025, 0.005, 0.01))
    assert found.status is Status.BOUNDS
    assert max(rate for rate, _ in losses) == 0.01
    found, losses = play(Adaptive(interval=1e-6, max_runs=21), (0.01, 0.02, 0.04))
    assert found.status is Status.BUDGET
    assert 16 <= len(losses) <= 21


def test_more_seeds_are_asked_for_where_noise_and_not_the_grid_is_the_limit() -> None:
    def noisy(rate: float, seed: int) -> float:
        tilt = 0.02 * np.random.default_rng(seed).normal() * math.log(rate / OPTIMUM)
        return parabola(rate, seed) + float(tilt)

    _, losses = play(Adaptive(interval=0.1, max_runs=60), (0.01, 0.02, 0.04), noisy)
    assert len({seed for _, seed in losses}) > len(SEEDS)
