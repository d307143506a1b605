"""The law in two clocks: closed forms, what is worth when, and the search for its optimum."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.theory.symbolic import number
from theory import InvalidParameter
from theory.final_loss import FinalLossLaw, best_learning_rate, lagged
from theory.two_clocks import TwoClockLaw, derive_constant_angle, derive_lag

LAW = TwoClockLaw(
    start=2.5, gain=1.2, half_clock=150.0, angle_scale=0.5, noise=0.4, lag=600.0, early_angle=2.0, early_clock=80.0
)
PROMPT = replace(LAW, lag=0.0)
CONSTANT_ANGLE = derive_constant_angle()


@pytest.mark.parametrize("angle", [3e-6, 3e-3, 3e-2])
def test_a_constant_angle_over_a_slow_arrival_has_the_closed_forms(angle: float) -> None:
    """Two runs that differ by the noise alone give both parts; the first order holds for small angles.

    5,000 steps stand for continuous time to 3 %, in the noise to 10 %: its last step alone makes a tenth.
    """
    steps, late = 5000, replace(PROMPT, half_clock=1e6)
    angles, multipliers = np.full(steps, angle), np.ones(steps)
    ready = (steps / 1e6) ** 1.5 / (1 + (steps / 1e6) ** 1.5)
    at = {"theta": angle, "S": steps * angle, "B": LAW.angle_scale, "C": LAW.noise}
    quiet, loud = (replace(late, noise=noise).loss(angles, multipliers) for noise in (1e-12, LAW.noise))
    if angle < 1e-4:
        assert LAW.start - quiet == pytest.approx(LAW.gain * ready * number(CONSTANT_ANGLE["learned"], **at), rel=0.03)
    assert loud - quiet == pytest.approx(ready**2 * number(CONSTANT_ANGLE["noise"], **at), rel=0.1)


def test_the_closed_forms_are_those_that_are_written_down() -> None:
    at = {"theta": 0.02, "S": 0.3, "B": 0.7, "C": 0.4}
    assert number(CONSTANT_ANGLE["learned"], **at) == pytest.approx(0.3 / (5 * 0.7), rel=1e-12)
    assert number(CONSTANT_ANGLE["noise"], **at) == pytest.approx(4 * 0.4 * 0.02 * 0.3**0.25, rel=1e-12)
    for relaxation in (0.1, 3.0):
        followed = lagged(np.array(2.0), np.array(relaxation))
        assert number(derive_lag(), tau=2.0, D=relaxation) == pytest.approx(float(followed), rel=1e-12)


def test_a_run_of_two_steps_by_hand() -> None:
    law = replace(LAW, half_clock=1.0, lag=2.0, early_clock=1.5)
    first, second = 0.3, 0.2
    early = first * np.exp(-1 / 1.5), first * np.exp(-1 / 1.5) + second * np.exp(-1.5 / 1.5)  # at rates of 1 and 1/2
    ready = []
    for clock, spent in zip((1.0, 1.5), early, strict=True):
        relaxation = law.lag * spent / (spent + law.early_angle)
        x = clock - relaxation * (1 - np.exp(-clock / relaxation))
        ready.append(x**1.5 / (1 + x**1.5))
    ahead = first / 2 + second, second / 2
    learned = [1 - (1 + s / law.angle_scale) ** -0.5 for s in ahead]
    noise = first**2 / ahead[0] ** 0.75 + second**2 / ahead[1] ** 0.75
    gained = ready[0] * learned[0] + (ready[1] - ready[0]) * learned[1]
    expected = law.start - law.gain * gained + law.noise * ready[1] ** 2 * noise
    assert law.loss([first, second], [1.0, 0.5]) == pytest.approx(expected, rel=1e-12)


def test_arrival_and_lag_by_quadrature() -> None:
    """A falling rate and an angle of another shape, integrals by hand: 0.1 % of the gain."""
    steps, lag = 4000, derive_lag()
    x = (np.arange(steps) + 0.5) / steps

    def angle(t: float) -> float:
        return 0.01 * (1 - t / steps) ** 2

    def clock(t: float) -> float:
        return t - t**2 / (2 * steps)

    def ready(t: float) -> float:
        early = quad(lambda u: angle(u) * np.exp(-clock(u) / LAW.early_clock), 0, t)[0]
        arrived = number(lag, tau=clock(t), D=LAW.lag * early / (early + LAW.early_angle)) if t else 0.0
        return arrived**1.5 / (LAW.half_clock**1.5 + arrived**1.5)

    grid = np.linspace(0, steps, 401)
    share = np.array([ready(t) for t in grid])
    to_come = np.array([0.01 * steps / 3 * (1 - t / steps) ** 3 for t in (grid[1:] + grid[:-1]) / 2])
    learned = np.sum(np.diff(share) * (1 - (1 + to_come / LAW.angle_scale) ** -0.5))
    noise = quad(lambda t: angle(t) ** 2 / (0.01 * steps / 3 * (1 - t / steps) ** 3) ** 0.75, 0, steps)[0]
    by_hand = LAW.start - LAW.gain * learned + LAW.noise * share[-1] ** 2 * noise
    found = LAW.loss(0.01 * (1 - x) ** 2, 1 - x)
    assert found == pytest.approx(by_hand, abs=1e-3 * LAW.gain)
    assert abs(PROMPT.loss(0.01 * (1 - x) ** 2, 1 - x) - by_hand) > 0.01  # the lag is not nothing here


@settings(max_examples=30)
@given(st.lists(st.floats(0, 0.05), min_size=20, max_size=20), st.integers(0, 18), st.integers(1, 19))
def test_without_lag_and_noise_a_later_angle_is_worth_no_less(angles: list[float], i: int, later: int) -> None:
    quiet, j = replace(PROMPT, noise=1e-12, half_clock=10.0), max(later, i + 1)
    moved = np.array(angles)
    moved[j], moved[i] = moved[i] + moved[j], 0.0
    assert quiet.loss(moved, np.ones(20)) <= quiet.loss(np.array(angles), np.ones(20)) + 1e-12


def test_early_angles_cost_more_where_they_make_a_lag() -> None:
    """The same hundred steps of angle, at the start and in the middle; without lag early ones only leave noise."""
    base, extra = np.full(1600, 5e-3), np.zeros((1600, 2))
    extra[:100, 0], extra[750:850, 1] = 0.02, 0.02
    early, middle = LAW.loss(base[:, None] + extra, np.ones(1600))
    assert early > LAW.loss(base, np.ones(1600)) + 0.012
    assert early > middle
    prompt, _ = PROMPT.loss(base[:, None] + extra, np.ones(1600))
    assert prompt == pytest.approx(float(PROMPT.loss(base, np.ones(1600))), abs=6e-3)


def test_no_angles_leave_the_start_and_coordinates_come_back() -> None:
    assert LAW.loss(np.zeros((50, 3)), np.ones(50)).tolist() == [LAW.start] * 3
    again = TwoClockLaw.from_coordinates(LAW.coordinates())
    assert again.coordinates() == pytest.approx(LAW.coordinates(), rel=1e-12)
    with pytest.raises(ValueError, match="longer"):
        TwoClockLaw.from_coordinates(np.append(LAW.coordinates(), 0.0))


def test_the_best_rate_is_the_least_of_a_fine_scan() -> None:
    shape = np.linspace(1, 0, 1600, endpoint=False)

    def scan(rates: np.ndarray) -> np.ndarray:
        return LAW.loss(shape[:, None] * rates, shape)

    rates, fine = np.geomspace(1e-3, 0.1, 31), np.geomspace(1e-3, 0.1, 1001)
    best, least = best_learning_rate(LAW, rates, shape[:, None] * rates, shape)
    assert best == pytest.approx(fine[scan(fine).argmin()], rel=0.01)
    assert least == pytest.approx(scan(fine).min(), abs=1e-4)
    with pytest.raises(InvalidParameter, match="learning_rates"):
        best_learning_rate(LAW, rates[-5:], shape[:, None] * rates[-5:], shape)


@dataclass(frozen=True)
class Parabola(FinalLossLaw):
    """In ln of the first angle, with its bottom of 2 at an angle of 0.01."""

    def _loss(self, angles: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
        return 2 + 3 * (np.log(angles[0]) - np.log(0.01)) ** 2


@pytest.mark.parametrize("rates", [[0.8, 1.1, 1.4], [0.9, 1.1, 1.4, 1.7], [0.4, 0.7, 1.1, 1.4]])
def test_the_best_rate_of_a_parabola_is_exact_wherever_it_lies(rates: list[float]) -> None:
    """Also with the least loss next to an end; at an end there is none."""
    angles = 0.01 * np.array([rates])
    assert best_learning_rate(Parabola(), rates, angles, [1.0]) == pytest.approx((1.0, 2.0), rel=1e-9)
    for end in (slice(None, 2), slice(-2, None)):
        with pytest.raises(InvalidParameter, match="learning_rates"):
            best_learning_rate(Parabola(), rates[end], angles[:, end], [1.0])


def test_what_has_just_begun_to_follow_the_clock_goes_like_its_square() -> None:
    """Next to nothing, and never below it; without a relaxation it is the clock itself."""
    clock = np.array([0.0, 1e-7, 1e-5, 1e-3])
    np.testing.assert_allclose(lagged(clock, np.array(2.0)), clock**2 / 4, rtol=1e-3, atol=1e-15)
    np.testing.assert_allclose(lagged(clock, np.array(0.0)), clock, rtol=1e-2, atol=1e-9)


def test_the_parabola_goes_through_the_least_loss_and_its_two_neighbours() -> None:
    r"""Of losses a, 0, b at -h, 0, h it has its bottom, :math:`-(a-b)^2/8(a+b)`, at :math:`h(a-b)/2(a+b)`."""

    @dataclass(frozen=True)
    class Table(FinalLossLaw):
        def _loss(self, angles: np.ndarray, multipliers: np.ndarray) -> np.ndarray:
            return np.array([9.0, 0.1, 0.0, 0.3, 7.0, 8.0])

    rates = np.exp(0.2 * np.arange(-2.0, 4.0))
    best, least = best_learning_rate(Table(), rates, np.ones((1, 6)), [1.0])
    assert np.log(best) == pytest.approx(-0.2 * 0.2 / 0.8, rel=1e-9)
    assert least == pytest.approx(-(0.2**2) / 3.2, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: replace(LAW, half_clock=0.0), "half_clock"),
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
