"""Adam with L2: closed forms, the root for the decay per step, limits, and the recursion that leads there."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import InvalidParameter, NoEquilibrium, adam_l2, second_moment

derive_equilibrium = functools.cache(adam_l2.derive_equilibrium)
derive_limits = functools.cache(adam_l2.derive_limits)
settings_ = (st.floats(1e-4, 1e-2), st.floats(1e-3, 1.0), st.floats(0.0, 0.98), st.floats(1e-3, 1.0))


@pytest.mark.long
@settings(max_examples=30)
@given(*settings_)
def test_equilibrium_equals_its_derivation(rate: float, decay: float, beta1: float, sigma: float) -> None:
    y = float(adam_l2.decay_per_step(rate, decay, beta1, gradient_rms=sigma))
    at = {"eta": rate, "lambda": decay, "beta_1": beta1, "y": y}
    assert number(sp.sqrt(derive_equilibrium()["squared_gradient"]), **at) == pytest.approx(sigma, rel=1e-10)
    rms = adam_l2.equilibrium_rms(rate, decay, beta1, gradient_rms=sigma)
    assert rms == pytest.approx(number(sp.sqrt(derive_equilibrium()["rho"]), **at), rel=1e-10)
    angle = adam_l2.angular_update_equilibrium(rate, decay, beta1, gradient_rms=sigma)
    sine = number(sp.sqrt(1 - derive_equilibrium()["cosine"] ** 2), **at)
    assert np.sin(angle) == pytest.approx(sine, rel=1e-10)
    cosine = adam_l2.cosine_equilibrium(rate, decay, beta1, gradient_rms=sigma)
    assert cosine == pytest.approx(np.sin(angle / 2), rel=1e-10)


def test_the_stated_limits() -> None:
    rate, decay, beta1, sigma = 1e-4, 0.1, 0.9, 0.1
    at = {"eta": rate, "lambda": decay, "beta_1": beta1, "sigma": sigma}
    assert number(derive_limits()["product"], **at) == pytest.approx((rate**4 * decay**2 / (2 * sigma**2)) ** (1 / 3))
    assert number(derive_limits()["rms"], **at) == pytest.approx((rate * sigma / (2 * decay)) ** (1 / 3))
    assert number(derive_limits()["growth"], **at) == pytest.approx(rate**2)
    assert number(derive_limits()["rho_without_momentum"], eta=rate, y=0.2) == pytest.approx(rate**2 / 0.4)
    assert number(derive_limits()["cosine_without_momentum"], y=0.2) == pytest.approx(0.8)
    for name, function, accuracy in (
        ("product", adam_l2.decay_per_step, 1e-3),
        ("rms", adam_l2.equilibrium_rms, 1e-3),
        ("angle", adam_l2.angular_update_equilibrium, 1e-3),
        ("relaxation_steps", adam_l2.relaxation_steps, 1e-3),
    ):
        exact = float(function(rate, decay, beta1, gradient_rms=sigma))
        assert number(derive_limits()[name], **at) == pytest.approx(exact, rel=accuracy), name


@pytest.mark.long
@given(*settings_)
def test_in_terms_of_the_gradient_as_it_is(rate: float, decay: float, beta1: float, sigma: float) -> None:
    """RMS^2 = eta v / 2 lam with v Adam's normaliser, up to a correction that is first order in the decay per step."""
    y = float(adam_l2.decay_per_step(rate, decay, beta1, gradient_rms=sigma))
    rms = float(adam_l2.equilibrium_rms(rate, decay, beta1, gradient_rms=sigma))
    normaliser = np.sqrt((sigma / rms) ** 2 + (decay * rms) ** 2)
    assert rate * decay / normaliser == pytest.approx(y, rel=1e-8)
    assert rms**2 / (rate * normaliser / (2 * decay)) == pytest.approx(1 / (1 + y * beta1 / (1 + beta1)), rel=1e-8)


@pytest.mark.parametrize("scatter", [adam_l2.NO_SCATTER, second_moment.scatter(0.9, 0.9)])
@pytest.mark.parametrize("initial", [0.5, 2.0])
def test_the_recursion_settles_at_the_closed_form(initial: float, scatter: second_moment.Scatter) -> None:
    rate, decay, beta1 = 3e-3, 0.3, 0.9
    matrix = {"gradient_rms": 0.01, "scatter": scatter}
    settled = float(adam_l2.equilibrium_rms(rate, decay, beta1, **matrix))
    rho, p, s = adam_l2.moments(np.full((4000, 1), rate), decay, beta1, 0.99, initial * settled, **matrix)
    assert np.sqrt(rho[-1, 0]) == pytest.approx(settled, rel=1e-9)
    expected = float(adam_l2.cosine_equilibrium(rate, decay, beta1, **matrix))
    assert p[-1, 0] / np.sqrt(rho[-2, 0] * s[-1, 0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.long
@pytest.mark.parametrize(("beta1", "sigma"), [(0.0, 1e-4), (0.5, 1e-4), (0.9, 4e-4), (0.9, 1e-5)])
def test_a_decay_larger_than_the_gradient_has_the_equilibrium_of_the_recursion(beta1: float, sigma: float) -> None:
    """With more than all of W per step, up to where it would be turned around."""
    rate, decay = 0.1, 0.1
    y = float(adam_l2.decay_per_step(rate, decay, beta1, gradient_rms=sigma))
    assert 1 < y < 2 * (1 + beta1) / (1 - beta1)
    settled = float(adam_l2.equilibrium_rms(rate, decay, beta1, gradient_rms=sigma))
    rho, p, s = adam_l2.moments(np.full((9000, 1), rate), decay, beta1, 0.99, 1.3 * settled, gradient_rms=sigma)
    assert np.sqrt(rho[-1, 0]) == pytest.approx(settled, rel=1e-6)
    cosine = float(adam_l2.cosine_equilibrium(rate, decay, beta1, gradient_rms=sigma))
    assert p[-1, 0] / np.sqrt(rho[-2, 0] * s[-1, 0]) == pytest.approx(cosine, rel=1e-6)


def test_a_step_turns_by_two_right_angles_at_most() -> None:
    setting, scatter = (0.1, 0.1, 0.9), second_moment.scatter(0.9, 0.5)
    assert adam_l2.cosine_equilibrium(*setting, gradient_rms=1e-12, scatter=scatter) == 1
    assert adam_l2.angular_update_equilibrium(*setting, gradient_rms=1e-12, scatter=scatter) == np.pi
    assert adam_l2.angular_update_equilibrium(*setting, gradient_rms=1e-12) == pytest.approx(np.pi, abs=0.2)


def test_the_stated_effect_of_a_finite_second_moment() -> None:
    kappa, total, variance = scatter = second_moment.scatter(0.9, 0.95)
    setting, sigma = (1e-5, 0.1, 0.9), 0.1
    for function, factor, percent in (
        (adam_l2.equilibrium_rms, (total / kappa) ** (1 / 3), -0.2),
        (adam_l2.angular_update_equilibrium, (kappa**2 * variance**3 / total**2) ** (1 / 6), -1.3),
    ):
        ratio = function(*setting, gradient_rms=sigma, scatter=scatter) / function(*setting, gradient_rms=sigma)
        assert ratio == pytest.approx(factor, rel=1e-5)
        assert 100 * (ratio - 1) == pytest.approx(percent, abs=0.05)


@pytest.mark.parametrize("scatter", [adam_l2.NO_SCATTER, second_moment.Scatter(response=0.8, total=0.9, variance=1.1)])
def test_a_small_deviation_relaxes_three_times_per_decay(scatter: second_moment.Scatter) -> None:
    """Of what the scatter leaves of it."""
    setting, matrix = (3e-3, 0.1, 0.5), {"gradient_rms": 0.1, "scatter": scatter}
    settled = float(adam_l2.equilibrium_rms(*setting, **matrix))
    stated = float(adam_l2.relaxation_steps(*setting, **matrix))
    steps = int(2 * stated)
    rho, _, _ = adam_l2.moments(np.full((steps, 1), 3e-3), 0.1, 0.5, 0.9, 1.01 * settled, **matrix)
    away = rho[:, 0] / settled**2 - 1
    measured = (steps // 2) / np.log(away[steps // 4] / away[steps // 4 + steps // 2])
    assert measured == pytest.approx(stated, rel=0.01)


def test_bias_corrections_hold_from_the_first_step() -> None:
    """m is g, then the mean of two gradients that weighs the later 1/beta1 as much; v is the mean square of both."""
    _, _, s = adam_l2.moments(np.full((2, 1), 1e-6), 0.0, 0.9, 0.95, 0.5, gradient_rms=3.0)
    assert s[:, 0] == pytest.approx([1, (1 + 0.9**2) / (1 + 0.9) ** 2], rel=1e-5)


def test_rate_times_decay_has_no_bound() -> None:
    """What a step takes off is the decay over Adam's normaliser, which the decay itself enlarges."""
    assert adam_l2.decay_per_step(2.0, 3.0, gradient_rms=1e3) < 0.1


def test_bad_settings_are_refused() -> None:
    with pytest.raises(NoEquilibrium):
        adam_l2.decay_per_step(1e-3, 0.0)
    for bad in ({"gradient_rms": 0.0}, {"gradient_rms": [1.0, 0.0]}, {"beta1": 1.0}, {"beta1": [0.9, 1.0]}):
        with pytest.raises(InvalidParameter, match=next(iter(bad))):
            adam_l2.equilibrium_rms(1e-3, 0.1, **bad)
