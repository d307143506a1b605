"""AdamC: AdamW at a decay that follows the rate, and the norm that stays while the rate decays."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory import monte_carlo as mc
from tests.theory.symbolic import number
from theory import AdamW, Cosine, adamc, adamw, predict_trajectory
from theory.optimizers import AdamC
from theory.symbolic import positive

derive_equilibrium = functools.cache(adamc.derive_equilibrium)
derive_limits = functools.cache(adamc.derive_limits)


@settings(max_examples=25)
@given(st.floats(1e-4, 0.03), st.floats(0.01, 1.0), st.floats(0.0, 0.98), st.floats(0.01, 1.0))
def test_numbers_equal_the_derivation(peak: float, decay: float, beta1: float, fraction: float) -> None:
    at = {"eta": peak, "lambda": decay, "beta_1": beta1, "f": fraction, "U": np.sqrt((1 - beta1) / (1 + beta1))}
    rms = adamc.equilibrium_rms(fraction * peak, peak, decay, beta1)
    assert rms == pytest.approx(number(derive_equilibrium()["rms"], **at), rel=1e-10)
    angle = adamc.angular_update_equilibrium(fraction * peak, peak, decay, beta1)
    assert np.sin(angle) == pytest.approx(number(derive_equilibrium()["sine"], **at), rel=1e-10)
    assert adamc.relaxation_steps(fraction * peak, peak, decay) == pytest.approx(1 / (2 * peak * decay * fraction**2))


def test_limits() -> None:
    eta, lam, beta1, f = positive("eta lambda beta_1 f")
    assert sp.simplify(derive_limits()["rms"] ** 2 - eta / (2 * lam)) == 0
    q = (1 - beta1) / (1 + beta1)
    assert sp.simplify(derive_limits()["angle"] ** 2 - f**2 * 2 * eta * lam * q) == 0
    assert sp.simplify(derive_limits()["rms_correction"] - (sp.Rational(1, 4) - beta1 / (1 - beta1**2))) == 0
    x = 1e-5
    exact = adamc.equilibrium_rms(x, x, 1.0, 0.9) / np.sqrt(x / 2) - 1
    assert exact == pytest.approx(x * number(derive_limits()["rms_correction"], beta_1=0.9), rel=1e-3)


def test_the_norm_stays_while_the_rate_decays() -> None:
    """AdamW's norm falls with the rate; AdamC's stays within 2 % once started, and its angle falls in proportion."""
    schedule = Cosine(num_steps=20_000)
    setting = {"learning_rate": 1e-2, "weight_decay": 0.3, "beta1": 0.9}
    start = float(adamw.equilibrium_rms(1e-2, 0.3))
    kept = predict_trajectory(AdamC(**setting), schedule, initial_rms=start)
    falls = predict_trajectory(AdamW(**setting), schedule, initial_rms=start)
    assert np.ptp(kept.weight_rms[200:]) < 0.02 * start
    assert falls.weight_rms[-1, 0] < 0.4 * start
    middle = schedule.multipliers()[10_000]
    assert kept.angular_update[10_000, 0] == pytest.approx(middle * kept.angular_update[200, 0], rel=0.03)
    rates = 1e-2 * schedule.multipliers()[[2000, 10_000]]
    np.testing.assert_allclose(kept.weight_rms[[2000, 10_000], 0], adamc.equilibrium_rms(rates, 1e-2, 0.3), rtol=2e-3)


@pytest.mark.long
def test_at_half_the_peak_rate_simulation_finds_the_same_norm_and_half_the_angle() -> None:
    """A decay that has followed the rate down to half: 5 standard errors, each below 0.2 %; two comparisons."""
    peak, decay, fraction = 0.02, 0.5, 0.5
    rate, weight_decay = fraction * peak, fraction * decay
    rng, shape = np.random.default_rng(5), (24_000,)
    start = float(adamc.equilibrium_rms(rate, peak, decay))
    w = start * rng.standard_normal(shape)
    step = mc.decoupled(mc.adam(0.9, 0.9999, shape), rng, rate, rate * weight_decay)
    measured = mc.measure(step, w, burn_in=600, num_steps=4000)
    angle = float(adamc.angular_update_equilibrium(rate, peak, decay))
    for found, expected in ((measured.rms, start), (measured.angle, angle)):
        assert found.error < 2e-3 * expected
        assert found.misses(expected) < 5
        assert abs(found.relative_miss(expected)) < 0.01
