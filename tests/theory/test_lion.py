"""Lion and SignSGDM: the series is the arcsine, and the start of the momentum is followed exactly."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import Lion, driven, lion, odd_updates, stationary

derive_correlation = functools.cache(odd_updates.derive_correlation)
derive_sum = functools.cache(lion.derive_sum)
betas = st.floats(0.0, 0.99)


@given(betas, betas)
def test_correlation_equals_its_derivation(beta1: float, beta2: float) -> None:
    derived = number(derive_correlation()["correlation at lag 1"], beta_1=beta1, beta_2=beta2)
    assert odd_updates.first_correlation(beta1, beta2) == pytest.approx(derived, rel=1e-10, abs=1e-300)


@given(st.floats(0.01, 0.99))
def test_two_special_momenta(beta: float) -> None:
    """Equal betas are the plain momentum; (beta^2, beta) is Nesterov's."""
    assert odd_updates.first_correlation(beta, beta) == pytest.approx(beta, rel=1e-10)
    taps = np.append((1 + beta), beta ** np.arange(2, 4000))
    nesterov = (taps[1:] @ taps[:-1]) / (taps @ taps)
    assert odd_updates.first_correlation(beta**2, beta) == pytest.approx(nesterov, rel=1e-10)


def test_betas_that_are_not_given_are_those_of_the_optimizer() -> None:
    given = Lion(learning_rate=1e-4, weight_decay=0.1)
    lags = np.arange(1, 5)
    np.testing.assert_array_equal(
        lion.autocovariance().at(lags), lion.autocovariance(given.beta1, given.beta2).at(lags)
    )
    np.testing.assert_array_equal(lion.drive(9).variance, lion.drive(9, given.beta1, given.beta2).variance)
    entries = [
        [entry for entry, _ in drive.modes()] for drive in (lion.drive(9), lion.drive(9, given.beta1, given.beta2))
    ]
    np.testing.assert_array_equal(*entries)


def test_weights_equal_the_series_of_the_arcsine_and_sum_to_one() -> None:
    np.testing.assert_allclose(lion.weights(6), [float(w) for w in lion.derive_weights(6)], rtol=1e-12)
    tail = 2 / np.sqrt(np.pi) ** 3 / np.sqrt(1e6)  # of terms that fall like j^(-3/2)
    assert lion.weights(1_000_000).sum() + tail == pytest.approx(1, abs=1e-6)


@given(betas, st.floats(0.0, 0.98), st.floats(0.9, 1.0))
def test_the_series_is_the_arcsine(beta1: float, beta2: float, shrink: float) -> None:
    k = np.arange(1, 3000)
    sheppard = 2 / np.pi * np.arcsin(odd_updates.first_correlation(beta1, beta2) * beta2 ** (k - 1))
    update = lion.autocovariance(beta1, beta2)
    np.testing.assert_allclose(update.at(k[:100]), sheppard[:100], rtol=1e-10, atol=1e-12)
    assert update.weighted_sum(shrink) == pytest.approx(np.sum(shrink ** (k - 1) * sheppard), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("correlation", "terms"), [(0.0, 8), (0.03, 8), (0.9, 132), (0.99, 1375), (1 - 1e-9, 10_000)])
def test_terms_are_taken_until_their_power_is_negligible(correlation: float, terms: int) -> None:
    assert odd_updates.num_terms(correlation) == terms
    if 8 < terms < 10_000:
        assert correlation ** (2 * terms) < 1e-12 < correlation ** (2 * (terms - 1))
        assert odd_updates.num_terms(correlation, negligible=1e-6) == pytest.approx(terms / 2, abs=1)


def three_terms(num_terms: int) -> np.ndarray:
    """The series cut after its third term."""
    return np.where(np.arange(num_terms) < 3, lion.weights(num_terms), 0.0)


@settings(max_examples=20)
@given(st.floats(0.05, 0.9), st.floats(0.05, 0.9), st.floats(1e-4, 0.1))
def test_the_sum_equals_its_derivation_term_by_term(beta1: float, beta2: float, product: float) -> None:
    terms = odd_updates.autocovariance(three_terms, beta1, beta2)
    derived = number(derive_sum(3), beta_1=beta1, beta_2=beta2, alpha=1 - product)
    assert terms.weighted_sum(1 - product) == pytest.approx(derived, rel=1e-10)


@pytest.mark.long
def test_limits() -> None:
    limits = stationary.derive_limits(sp.Integer(1), lion.derive_sum(4))
    at = {"beta_1": 0.4, "beta_2": 0.6, "x": 1e-9, "eta": 1e-3}
    update = lion.autocovariance(0.4, 0.6)
    # four terms of the series are good to 1e-5 here
    assert stationary.equilibrium_rms(update, 1e-3, 1e-6) ** 2 == pytest.approx(number(limits["rho"], **at), rel=1e-5)
    angle = stationary.angular_update_equilibrium(update, 1e-3, 1e-6)
    assert angle == pytest.approx(number(limits["angle"], **at), rel=1e-5)
    assert number(limits["growth"], **at) == pytest.approx(1e-6 * update.total, rel=1e-5)
    white = sp.limit(derive_sum(3), sp.Symbol("beta_1", positive=True), 0)
    assert white == 0
    assert lion.autocovariance(0.0, 0.9).total == 1.0


def test_the_linearised_form_is_the_published_one_and_too_small() -> None:
    """RMS sqrt(eta/(pi lam))/s: the exact one is 4 % below it at eta*lam = 1e-3 and 28 % at 1e-2."""
    linear = number(lion.derive_linearised_total(), beta_1=0.9, beta_2=0.99)
    assert linear < lion.autocovariance(0.9, 0.99).total < 1.03 * linear
    spread = np.sqrt(0.1**2 + 0.9**2 * 0.01 / 1.99)
    assert linear == pytest.approx(1 + 2 / np.pi * (1 / spread**2 - 1), rel=1e-12)  # but at lag 0, where a sign is 1
    for product, miss in ((1e-3, 0.04), (1e-2, 0.28)):
        customary = np.sqrt(product / np.pi) / spread  # at weight decay 1, so eta = product; RMS in units of 1
        exact = stationary.equilibrium_rms(lion.autocovariance(0.9, 0.99), product, 1.0)
        assert exact / customary - 1 == pytest.approx(-miss, abs=0.01)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.95), (0.8, 0.8), (0.0, 0.5), (0.5, 0.0)])
def test_the_start_of_the_momentum(beta1: float, beta2: float) -> None:
    """p against a double sum over the covariances of the momentum from an empty start, lag by lag."""
    num_steps, rng = 40, np.random.default_rng(0)
    rates = rng.uniform(0.01, 0.1, num_steps)
    shrinkage = 0.3 * rates
    filters = np.zeros((num_steps, num_steps))  # z_t in terms of the gradients
    for t in range(num_steps):
        filters[t, :t] = beta1 * (1 - beta2) * beta2 ** np.arange(t - 1, -1, -1.0)
        filters[t, t] = 1 - beta1
    covariance = filters @ filters.T
    deviation = np.sqrt(np.diag(covariance))
    signs = 2 / np.pi * np.arcsin(np.clip(covariance / np.outer(deviation, deviation), -1, 1))
    rho, p = driven.moments(rates, shrinkage, lion.drive(num_steps, beta1, beta2), 0.1)
    for t in range(num_steps):
        left = np.array([-rates[s] * np.prod(1 - shrinkage[s + 1 : t]) for s in range(t)])
        assert p[t] == pytest.approx(left @ signs[:t, t] if t else 0.0, rel=1e-7, abs=1e-12)
        decayed = 0.01 * np.prod(1 - shrinkage[:t]) ** 2
        assert rho[t] == pytest.approx(decayed + left @ signs[:t, :t] @ left, rel=1e-7)
