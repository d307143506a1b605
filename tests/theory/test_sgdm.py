"""SGD with momentum on a scale-invariant matrix: closed forms, their limits, and the recursion that leads there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import InvalidParameter, NoEquilibrium, adamw, sgdm
from theory.symbolic import positive

EXACT = {decoupled: sgdm.derive_equilibrium(decoupled=decoupled) for decoupled in (False, True)}
both = pytest.mark.parametrize("decoupled", [False, True])
rates, decays, momenta = st.floats(1e-4, 0.3), st.floats(1e-4, 1.0), st.floats(0.0, 0.98)


@both
@settings(max_examples=20)
@given(rates, decays, momenta, st.floats(0.01, 10))
def test_equilibrium_equals_the_solved_moments(
    decoupled: bool, rate: float, decay: float, beta1: float, sigma: float
) -> None:
    at = {"eta": rate, "lambda": decay, "a": beta1, "sigma": sigma}
    exact = EXACT[decoupled]
    rms = sgdm.equilibrium_rms(rate, decay, beta1, decoupled=decoupled, gradient_rms=sigma)
    assert rms == pytest.approx(number(exact["rms"], **at), rel=1e-10)
    angle = sgdm.angular_update_equilibrium(rate, decay, beta1, decoupled=decoupled)
    assert np.sin(angle) == pytest.approx(number(sp.sqrt(1 - exact["cosine"] ** 2), **at), rel=1e-10)


@pytest.mark.long
@both
@settings(max_examples=20)
@given(rates, decays, momenta)
def test_cosine_closes_the_triangle(decoupled: bool, rate: float, decay: float, beta1: float) -> None:
    """W, m and the step: cos(W, m) from the moments equals the stated form."""
    found = sgdm.derive_moments(decoupled=decoupled)
    at = {"eta": rate, "lambda": decay, "a": beta1, "v": 1.0}
    rho, p, s = (number(found[name], **at) for name in ("rho", "p", "s"))
    cosine = sgdm.cosine_equilibrium(rate, decay, beta1, decoupled=decoupled)
    assert cosine == pytest.approx(p / np.sqrt(rho * s), rel=1e-10, abs=1e-300)


@pytest.mark.long
@both
def test_limits_equal_the_familiar_ones(decoupled: bool) -> None:
    limits = sgdm.derive_limits(decoupled=decoupled)
    eta, lam, a, sigma = 1e-3, 0.1, 0.9, 1.7
    at = {"eta": eta, "lambda": lam, "a": a, "sigma": sigma}
    power = 2 if decoupled else 1
    rms = (eta * sigma**2 / (2 * lam * (1 - a) ** power)) ** 0.25
    angle = np.sqrt(2 * eta * lam * (1 - a if decoupled else 1) / (1 + a))
    relaxation = (1 if decoupled else 1 - a) / (4 * eta * lam)
    assert number(limits["rms"], **at) == pytest.approx(rms)
    assert number(limits["angle"], **at) == pytest.approx(angle)
    assert number(limits["relaxation_steps"], **at) == pytest.approx(relaxation)
    assert sgdm.relaxation_steps(eta, lam, a, decoupled=decoupled) == pytest.approx(relaxation)
    growth = 2 * (eta * sigma / (1 - a)) ** 2
    assert number(sp.simplify(limits["growth"]), **at) == pytest.approx(growth)
    assert number(limits["cosine_without_momentum"], **at) == pytest.approx(1 - eta * lam)
    without = sgdm.equilibrium_rms(eta, lam, 0.0, decoupled=decoupled, gradient_rms=sigma)
    assert number(limits["rms_without_momentum"], **at) == pytest.approx(float(without))


@both
def test_the_slow_drift_vanishes_at_the_leading_equilibrium(decoupled: bool) -> None:
    """Two ways to one norm: the exact moments as eta*lam tends to 0, and where the drift stands still."""
    v, sigma, rho = positive("v sigma rho")
    drift = sgdm.derive_slow_drift(decoupled=decoupled).subs(v, sigma**2 / rho)
    settled = sgdm.derive_limits(decoupled=decoupled)["rms"] ** 2
    assert sp.simplify(drift.subs(rho, settled)) == 0


@given(rates, decays)
def test_without_momentum_it_does_not_matter_where_the_decay_goes(rate: float, decay: float) -> None:
    one, other = (sgdm.equilibrium_rms(rate, decay, 0.0, decoupled=decoupled) for decoupled in (False, True))
    assert one == pytest.approx(other, rel=1e-12)


@given(rates, decays, momenta)
def test_decoupled_turns_like_adamw(rate: float, decay: float, beta1: float) -> None:
    assert sgdm.angular_update_equilibrium(rate, decay, beta1, decoupled=True) == pytest.approx(
        adamw.angular_update_equilibrium(rate, decay, beta1), rel=1e-12
    )


@both
@pytest.mark.parametrize("initial", [0.3, 3.0])
def test_the_recursion_settles_at_the_closed_form(decoupled: bool, initial: float) -> None:
    table = np.full((3000, 1), 0.05)
    settled = float(sgdm.equilibrium_rms(0.05, 0.2, 0.8, decoupled=decoupled, gradient_rms=0.1))
    rho, p, s = sgdm.moments(table, 0.2, 0.8, settled * initial, decoupled=decoupled, gradient_rms=0.1)
    assert np.sqrt(rho[-1, 0]) == pytest.approx(settled, rel=1e-9)
    cosine = p[-1, 0] / np.sqrt(rho[-2, 0] * s[-1, 0])
    expected = float(sgdm.cosine_equilibrium(0.05, 0.2, 0.8, decoupled=decoupled))
    assert cosine == pytest.approx(expected, rel=1e-9)


def by_components(
    rates: np.ndarray, decay: float, beta1: float, initial_rms: float, sigma: float, *, decoupled: bool
) -> tuple[np.ndarray, ...]:
    """W and m as sums over what they consist of, the first weights and each gradient; ``rates`` (num_steps,)."""
    num_steps = len(rates)
    w, m, variances = np.zeros(num_steps + 1), np.zeros(num_steps + 1), np.zeros(num_steps + 1)
    w[0], variances[0] = 1.0, initial_rms**2
    rho, p, s = [initial_rms**2], [], []
    for t, rate in enumerate(rates):
        variances[t + 1] = sigma**2 / rho[-1]
        m *= beta1
        m[t + 1] = 1.0
        if not decoupled:
            m += decay * w
        p.append(w * m @ variances)
        s.append(m**2 @ variances)
        w = (1 - rate * decay if decoupled else 1) * w - rate * m
        rho.append(w**2 @ variances)
    return np.array(rho), np.array(p), np.array(s)


@both
def test_the_recursion_starts_as_the_sum_of_all_gradients(decoupled: bool) -> None:
    """From an empty momentum on, under any rates, with a setting per column."""
    table = np.random.default_rng(0).uniform(0.0, 0.3, (12, 2))
    initial, setting = np.array([0.3, 2.0]), {"decoupled": decoupled}
    found = sgdm.moments(table, 0.7, 0.8, initial, gradient_rms=0.4, **setting)
    for column in range(2):
        expected = by_components(table[:, column], 0.7, 0.8, initial[column], 0.4, **setting)
        for name, one, other in zip(("rho", "p", "s"), found, expected, strict=True):
            np.testing.assert_allclose(one[:, column], other, rtol=1e-12, err_msg=name)


@both
def test_a_small_deviation_relaxes_as_stated(decoupled: bool) -> None:
    """At eta*lam = 1e-4 the measured rate of decay is within 1 %: twice that of AdamW, or more when coupled."""
    rate, decay, beta1 = 1e-3, 0.1, 0.5
    settled = float(sgdm.equilibrium_rms(rate, decay, beta1, decoupled=decoupled))
    rho, _, _ = sgdm.moments(np.full((4000, 1), rate), decay, beta1, 1.01 * settled, decoupled=decoupled)
    away = rho[:, 0] / settled**2 - 1
    measured = 2000 / np.log(away[500] / away[2500])
    assert measured == pytest.approx(float(sgdm.relaxation_steps(rate, decay, beta1, decoupled=decoupled)), rel=0.01)


def test_without_decay_the_fourth_power_grows_linearly() -> None:
    rate, beta1 = 1e-3, 0.5
    rho, _, _ = sgdm.moments(np.full((20_000, 1), rate), 0.0, beta1, 1.0)
    growth = (rho[-1, 0] ** 2 - rho[10_000, 0] ** 2) / 10_000
    assert growth == pytest.approx(2 * (rate / (1 - beta1)) ** 2, rel=1e-3)


@pytest.mark.parametrize(
    "form",
    [sgdm.equilibrium_rms, sgdm.angular_update_equilibrium, sgdm.cosine_equilibrium, sgdm.relaxation_steps],
    ids=lambda form: form.__name__,
)
def test_bad_settings_are_refused(form: Callable[..., object]) -> None:
    with pytest.raises(NoEquilibrium, match="weight_decay = "):
        form(0.1, 0.0)
    with pytest.raises(InvalidParameter, match="learning_rate = "):
        form(0.0, 0.1)
    form(0.1, 0.1, [0.0, 0.5])
    for beyond in (-0.1, 1.0):
        with pytest.raises(InvalidParameter, match="beta1 = "):
            form(0.1, 0.1, [0.5, beyond])
