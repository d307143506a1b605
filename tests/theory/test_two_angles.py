"""The law in two angles: kernels, noise and optimum by their closed forms, a run by quadrature, what is worth when."""

import functools
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.theory.symbolic import number
from theory import Constant, InvalidParameter, Linear, two_angles
from theory.final_loss import best_learning_rate
from theory.two_angles import (
    LEARNING,
    TwoAngleLaw,
    noise_of,
    other_angles,
)

LAW = TwoAngleLaw(
    start=2.5,
    gain=1.25,
    angle_scale=0.5,
    blur=3.3,
    other_blur=0.6,
    growth_steps=50.0,
    half_angle=16.0,
    lag=28.0,
    early_angle=1.6,
)
PROMPT = replace(LAW, lag=0.0, half_angle=1e-3)  # everything has arrived before the first angle
QUIET = {"blur": 1e-12, "other_blur": 1e-12}
derive_kernels, derive_noise, derive_optimum = (
    functools.cache(derive)
    for derive in (two_angles.derive_kernels, two_angles.derive_noise, two_angles.derive_optimum)
)


def falling(num_steps: int) -> np.ndarray:
    """A line to 0 without a warmup: 1 at the first step, 1/T at the last."""
    return np.arange(num_steps, 0, -1) / num_steps


@pytest.mark.parametrize("num_steps", [1, 7, 1600])
def test_noise_has_the_closed_forms_of_a_constant_angle_and_of_a_line(num_steps: int) -> None:
    angle = 0.013
    flat, sloped = np.full(num_steps, angle), angle * falling(num_steps)
    assert noise_of(flat) == pytest.approx(number(derive_noise()["constant"], theta=angle, T=num_steps), rel=1e-12)
    assert noise_of(sloped) == pytest.approx(number(derive_noise()["line"], theta=angle, T=num_steps), rel=1e-12)
    assert noise_of(np.zeros((num_steps, 2))).tolist() == [0.0, 0.0]


def test_what_blurs_is_what_was_learned_to_the_power_of_the_noise() -> None:
    """Two runs that differ in the blur alone; the share that is learned is that of the kernel at once."""
    angles, clock = np.full(400, 0.01), np.ones(400)
    quiet, loud = (LAW.start - law.loss(angles, clock) for law in (replace(PROMPT, **QUIET), PROMPT))
    kernel = number(derive_kernels()["learning"], S=0.01 * 399.5, B=LAW.angle_scale, a=LEARNING)
    assert quiet == pytest.approx(LAW.gain * (1 - kernel), rel=1e-6)
    noise = LAW.blur * noise_of(angles) + LAW.other_blur * noise_of(other_angles(clock, LAW.growth_steps))
    scatter = number(derive_kernels()["blur"], sigma=np.sqrt(2 * noise))
    assert loud == pytest.approx(quiet * scatter, rel=1e-9)
    assert number(derive_kernels()["noise"], S=0.4) == pytest.approx(2.5)


def test_the_other_angle_goes_like_the_root_of_the_steps() -> None:
    for steps in (100, 4000):
        turned = other_angles(np.ones(steps), 50.0).sum()
        assert turned == pytest.approx(number(two_angles.derive_other_angle(), T=steps, tau_0=50.0), rel=0.01)
    halved = other_angles(np.full(400, 0.5), 50.0).sum()  # half the rate over four times the steps
    assert halved == pytest.approx(other_angles(np.ones(400), 200.0).sum(), rel=1e-12)


def test_arrival_and_lag_by_quadrature() -> None:
    """A falling rate and an angle of another shape, integrals by hand: 0.3 % of the gain."""
    steps, law = 4000, replace(LAW, **QUIET)
    x = (np.arange(steps) + 0.5) / steps

    def other(t: float) -> float:
        return (1 - t / steps) / np.sqrt(law.growth_steps + steps / 3 * (1 - (1 - t / steps) ** 3))

    grid = np.linspace(0, steps, 801)
    turned = np.concatenate([[0.0], np.cumsum([quad(other, a, b)[0] for a, b in pairwise(grid)])])
    angle = 0.01 * (1 - grid / steps) ** 2
    unready = angle / (1 + (turned / law.half_angle) ** 2.5) ** 3
    early = np.concatenate([[0.0], np.cumsum((unready[1:] + unready[:-1]) / 2 * np.diff(grid))])
    relaxation = law.lag * (1 - np.exp(-early / law.early_angle)) + 1e-12
    arrived = (turned - relaxation * (1 - np.exp(-turned / relaxation))) ** 2.5
    share = arrived / (law.half_angle**2.5 + arrived)
    ahead = 0.01 * steps / 3 * (1 - (grid[1:] + grid[:-1]) / 2 / steps) ** 3
    by_hand = law.start - law.gain * np.sum(np.diff(share) * (1 - (1 + ahead / law.angle_scale) ** (-1 / 3)))
    found = law.loss(0.01 * (1 - x) ** 2, 1 - x)
    assert found == pytest.approx(by_hand, abs=3e-3 * law.gain)
    assert abs(replace(law, lag=0.0).loss(0.01 * (1 - x) ** 2, 1 - x) - by_hand) > 0.03  # the lag is not nothing here


def test_three_steps_by_hand() -> None:
    """The module's formulas, written out: exponents of 1/3, 5/2 and 3."""
    angles, phi = [0.3, 0.5, 0.2], [0.9, 0.6, 0.4]
    multipliers, squares = [], 2.0  # growth_steps, and what the rates add to it
    for each in phi:
        multipliers.append(each * np.sqrt(squares / (1 - each**2)))
        squares += multipliers[-1] ** 2
    law = replace(LAW, growth_steps=2.0, half_angle=1.2, lag=1.7, early_angle=0.4)
    psi, early, before, learned = 0.0, 0.0, 0.0, 0.0
    for t in range(3):
        psi += phi[t]
        early += angles[t] / (1 + (psi / 1.2) ** 2.5) ** 3
        slow = 1.7 * (1 - np.exp(-early / 0.4))
        x = psi - slow * (1 - np.exp(-psi / slow))
        there = x**2.5 / (1.2**2.5 + x**2.5)
        ahead = angles[t] / 2 + sum(angles[t + 1 :])
        learned += (there - before) * (1 - (1 + ahead / law.angle_scale) ** (-1 / 3))
        before = there
    ahead_of = [[each / 2 + sum(row[t + 1 :]) for t, each in enumerate(row)] for row in (angles, phi)]
    block, other = (
        sum(each**2 / left for each, left in zip(row, ahead, strict=True))
        for row, ahead in zip((angles, phi), ahead_of, strict=True)
    )
    by_hand = law.start - law.gain * np.exp(-law.blur * block - law.other_blur * other) * learned
    np.testing.assert_allclose(other_angles(np.array(multipliers), 2.0), phi, rtol=1e-14)
    assert law.loss(np.array(angles), np.array(multipliers)) == pytest.approx(by_hand, rel=1e-12)
    assert law.start - by_hand > 1e-3


def test_the_best_angle_is_where_what_is_learned_by_a_little_more_is_worth_its_noise() -> None:
    a, radians, noise = 0.4, 0.7 * 300 / 0.05, 3.0 * 2.5  # kappa T / B, per radian of the angle; n C
    at = {"T": 300, "B": 0.05, "C": 2.5, "kappa": 0.7, "n": 3.0, "a": a}
    by_hand = (a * radians**-a / noise) ** (1 / (1 + a))
    assert number(derive_optimum()["angle"], **at) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("num_steps", [1600, 3200])
def test_the_best_constant_angle_over_that_of_a_line_is_the_closed_form_of_many_radians(num_steps: int) -> None:
    """Little noise, many radians, everything there: within 3 % in ln, -1.33 at 1,600 steps; T^(-1/4) along it."""
    law = replace(PROMPT, angle_scale=1e-4, blur=1.0, other_blur=1e-12)
    rates, best = np.geomspace(1e-4, 0.1, 61), {}
    for name, kappa, shape in (("flat", 1.0, np.ones(num_steps)), ("line", 0.5, falling(num_steps))):
        best[name] = best_learning_rate(law, rates, shape[:, None] * rates, np.ones(num_steps))[0]
        noise = number(derive_noise()["constant" if kappa == 1 else "line"], theta=1.0, T=num_steps)
        at = {"T": num_steps, "B": law.angle_scale, "C": law.blur, "kappa": kappa, "n": noise, "a": LEARNING}
        assert best[name] == pytest.approx(number(derive_optimum()["angle"], **at), rel=0.08)
    flat = number(derive_noise()["constant"], theta=1.0, T=num_steps)
    ratio = number(derive_optimum()["ratio"], kappa_1=1.0, n_1=flat, kappa_2=0.5, n_2=2.0, a=LEARNING)
    assert np.log(ratio) == pytest.approx({1600: -1.33, 3200: -1.38}[num_steps], abs=0.01)
    assert np.log(best["flat"] / best["line"]) == pytest.approx(np.log(ratio), rel=0.03)


@settings(max_examples=15)
@given(st.lists(st.floats(0, 0.05), min_size=20, max_size=20), st.integers(0, 18), st.integers(1, 19))
def test_without_lag_and_noise_a_later_angle_is_worth_no_less(angles: list[float], i: int, later: int) -> None:
    quiet, j = replace(LAW, lag=0.0, half_angle=2.0, **QUIET), max(later, i + 1)
    moved = np.array(angles)
    moved[j], moved[i] = moved[i] + moved[j], 0.0
    assert quiet.loss(moved, np.ones(20)) <= quiet.loss(np.array(angles), np.ones(20)) + 1e-9


def test_early_angles_cost_more_than_later_ones_and_no_more_than_all_of_the_lag() -> None:
    base, extra = np.full(1600, 5e-3), np.zeros((1600, 3))
    extra[:100, 0], extra[750:850, 1], extra[:100, 2] = 0.02, 0.02, 0.4
    early, middle, flood = LAW.loss(base[:, None] + extra, np.ones(1600))
    assert early > LAW.loss(base, np.ones(1600)) + 0.01
    assert early > middle
    assert flood < LAW.start


def test_a_constant_rate_of_the_others_costs_at_the_end_what_a_line_anneals_away() -> None:
    angles = 0.01 * Linear(num_steps=1600, warmup_steps=80).multipliers()
    flat = Constant(num_steps=1600, warmup_steps=80).multipliers()
    noise = [noise_of(other_angles(x, LAW.growth_steps)) for x in (flat, angles / 0.01)]
    assert noise[0] > 2 * noise[1]


def test_no_angles_leave_the_start_and_no_loss_is_above_it() -> None:
    assert LAW.loss(np.zeros((50, 3)), np.ones(50)).tolist() == [LAW.start] * 3
    wild = LAW.loss(np.full((50, 1), 3.0), np.ones(50))
    assert LAW.start - 1e-3 < wild[0] <= LAW.start
    again = TwoAngleLaw.from_coordinates(LAW.coordinates())
    assert again.coordinates() == pytest.approx(LAW.coordinates(), rel=1e-12)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: replace(LAW, growth_steps=0.0), "growth_steps"),
        (lambda: replace(LAW, lag=-1.0), "lag"),
        (lambda: LAW.loss(np.ones(3), np.ones(4)), "multipliers"),
        (lambda: LAW.loss(-np.ones(3), np.ones(3)), "angles"),
        (lambda: LAW.loss(np.ones(3), [1.0, np.nan, 1.0]), "multipliers"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name
