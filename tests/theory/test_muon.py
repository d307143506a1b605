"""Muon: the weights of the polar factor's series, and the correlation of polar factors it stands for."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import hyp2f1

from tests.theory import monte_carlo as mc
from tests.theory.symbolic import number
from theory import InvalidParameter, Muon, equilibrium, muon, stationary

derive_sum = functools.cache(muon.derive_sum)


def test_square_weights_equal_their_derivation_and_the_stated_form() -> None:
    j = np.arange(6)
    np.testing.assert_allclose(muon.weights(6), [float(w) for w in muon.derive_weights(6)], rtol=1e-10)
    np.testing.assert_allclose(muon.weights(6), 4 / np.pi**2 * (1 / (2 * j + 1) + 1 / (2 * j + 3)) ** 2, rtol=1e-10)


@pytest.mark.parametrize("j", [0, 1, 4])
@pytest.mark.parametrize("aspect", [0.01, 0.1, 0.25])
def test_weights_of_any_shape_equal_their_derivation(j: int, aspect: float) -> None:
    derived = number(muon.derive_coefficient(j, j + 40), h=np.sqrt(aspect)) ** 2
    assert muon.weights(j + 1, aspect)[j] == pytest.approx(derived, rel=1e-10)


def test_a_coefficient_ends_at_its_order() -> None:
    """By hand: of 1 - h/2 + 3h^2/8 times the same, the middle less the second beside it."""
    h = sp.Symbol("h", positive=True)
    assert [sp.expand(muon.derive_coefficient(0, order) - (1 - h**2 / 8)) for order in (2, 3)] == [0, 0]
    assert muon.derive_coefficient(0, 1) == 1


@pytest.mark.long
@given(st.floats(0.001, 1.0))
def test_weights_equal_the_hypergeometric_form_and_sum_to_one(aspect: float) -> None:
    j = np.arange(60)
    poch = np.cumprod(np.append(1.0, (j[1:] - 0.5) / j[1:]))
    np.testing.assert_allclose(
        muon.weights(60, aspect), aspect**j * (poch * hyp2f1(-0.5, j + 0.5, j + 2.0, aspect)) ** 2, rtol=1e-9
    )
    assert muon.weights(4000, aspect).sum() == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("shape", [(96, 96), (128, 32), (32, 128)])
def test_correlation_of_polar_factors_of_correlated_matrices(shape: tuple[int, int]) -> None:
    """40 pairs: within 4 standard errors, plus 0.5 % for the finite size."""
    rng, r = np.random.default_rng(2), 0.8
    products = []
    for _ in range(40):
        x, y = rng.standard_normal((2, *shape))
        products.append(np.mean(mc.polar(x) * mc.polar(r * x + np.sqrt(1 - r**2) * y)))
    measured = mc.estimate(np.array(products))
    update = muon.autocovariance(shape, r, nesterov=False)
    expected = float(update.at(1))
    assert abs(measured.mean - expected) < 4 * measured.error + 5e-3 * expected
    assert measured.error < 3e-3 * expected
    assert update.variance == 1 / shape[1]
    assert np.mean(mc.polar(rng.standard_normal(shape)) ** 2) == pytest.approx(update.variance, rel=1e-9)


@given(st.floats(0.05, 0.9), st.floats(1e-4, 0.1))
def test_the_sum_equals_its_derivation_term_by_term(beta: float, product: float) -> None:
    derived = number(derive_sum(3), beta_2=beta, alpha=1 - product)
    powers = np.array([1, 3, 5])
    summed = np.sum(muon.weights(3) * beta**powers / (1 - (1 - product) * beta**powers))
    assert summed == pytest.approx(derived, rel=1e-10)
    full = muon.autocovariance((8, 8), beta, nesterov=False).weighted_sum(1 - product)
    assert summed / 8 < full < 1.5 * summed / 8


def test_limits() -> None:
    limits = stationary.derive_limits(sp.Integer(1), muon.derive_sum(6))
    update = muon.autocovariance((1, 1), 0.4, nesterov=False)
    at = {"beta_2": 0.4, "x": 1e-9, "eta": 1e-3}
    assert stationary.equilibrium_rms(update, 1e-3, 1e-6) ** 2 == pytest.approx(number(limits["rho"], **at), rel=1e-5)
    angle = stationary.angular_update_equilibrium(update, 1e-3, 1e-6)
    assert angle == pytest.approx(number(limits["angle"], **at), rel=1e-5)
    assert sp.limit(muon.derive_sum(2), sp.Symbol("beta_2", positive=True), 0) == 0


def test_the_customary_form_is_off_and_long_matrices_obey_it() -> None:
    """With AdamW's total, the norm of square matrices is 12 to 18 % low; very long ones forget nothing."""
    beta = 0.95
    kept = (1 + beta) / (1 - beta)
    square = muon.autocovariance((64, 64), beta, nesterov=False)
    assert 0.8 < np.sqrt(square.total / (square.variance * kept)) < 0.9
    long = muon.autocovariance((64, 64_000), beta, nesterov=False)
    assert np.sqrt(long.total / (long.variance * kept)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(0, 4), (4, -1), (True, 2), (2.0, 2)])
def test_bad_shapes_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(InvalidParameter, match="shape"):
        muon.autocovariance(shape)
    with pytest.raises(InvalidParameter, match="aspect"):
        muon.weights(3, 1.5)


def test_the_scales_are_those_of_torch() -> None:
    from torch.optim._muon import _adjust_lr

    for shape in ((8, 32), (32, 8), (16, 16)):
        for scale, name in (("keller-jordan", "original"), ("torch", None), ("moonlight", "match_rms_adamw")):
            assert muon.update_scale(shape, scale) == pytest.approx(_adjust_lr(1.0, name, shape), rel=1e-12)
    moonlight = Muon(learning_rate=0.01, weight_decay=0.1, scale="moonlight")
    assert muon.autocovariance((24, 96), factor=moonlight.factor((24, 96))).variance == pytest.approx(0.04, rel=1e-12)


@pytest.mark.parametrize("shape", [(256, 256), (64, 256), (256, 32)])
def test_newton_schulz_on_a_gaussian_matrix(shape: tuple[int, int]) -> None:
    z = np.random.default_rng(0).normal(size=shape)
    x = (z if shape[0] <= shape[1] else z.T) / np.linalg.norm(z)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    assert muon.newton_schulz_rms(shape) == pytest.approx(np.linalg.norm(x) / min(shape) ** 0.5, rel=0.02)


@pytest.mark.parametrize("shape", [(8, 8), (5, 20), (48, 12)])
def test_the_first_iteration_has_the_moments_of_marchenko_and_pastur(shape: tuple[int, int]) -> None:
    """Of squared singular values, in units of the long side: the polynomials of Narayana in the aspect."""
    side, y = min(shape), min(shape) / max(shape)
    moments = [1, 1 + y, 1 + 3 * y + y**2, 1 + 6 * y + 6 * y**2 + y**3, 1 + 10 * y + 20 * y**2 + 10 * y**3 + y**4]
    a, b, c = 3.4445, -4.7750, 2.0315
    terms = np.array([a**2, 2 * a * b, b**2 + 2 * a * c, 2 * b * c, c**2]) / side ** np.arange(1, 6)
    assert muon.newton_schulz_rms(shape, 0) == pytest.approx(side**-0.5, rel=1e-12)
    assert muon.newton_schulz_rms(shape, 1) == pytest.approx((terms @ moments) ** 0.5, rel=1e-12)


def test_a_factor_scales_the_norm_and_not_the_angle() -> None:
    plain, other = (
        equilibrium(Muon(learning_rate=0.01, weight_decay=0.1, update_ratio=ratio), initial_rms=1.0, shape=(8, 16))
        for ratio in (1.0, 0.8)
    )
    assert other.weight_rms == pytest.approx(0.8 * plain.weight_rms, rel=1e-12)
    assert other.angular_update == pytest.approx(plain.angular_update, rel=1e-12)


def test_newton_schulz_of_the_narrowest_matrices() -> None:
    """A vector of norm 1 has the singular value 1, from which the iteration goes; no singular value is above 1."""
    sigma = 1.0
    for iterations in range(6):
        for shape in ((4, 1), (1, 4), (1, 1)):
            assert muon.newton_schulz_rms(shape, iterations) == pytest.approx(abs(sigma), rel=1e-12)
        sigma = 3.4445 * sigma - 4.7750 * sigma**3 + 2.0315 * sigma**5
    assert 0.6 < muon.newton_schulz_rms((2, 2)) < 1.3
    cut = 3 / 4 - 1 / np.pi  # the mean of 2 cos^2, at most 1, under the density sin^2 of the half angle
    assert muon.newton_schulz_rms((2, 2), 0) == pytest.approx(cut**0.5, rel=1e-6)
