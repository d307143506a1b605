"""The regression on the sphere: its loss, its symmetries, and batches drawn without drawing samples."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

from theory import InvalidParameter
from theory.regression import PowerLawRegression, derive_gradient_covariance, gradient_covariance, mixture


def test_three_numbers_per_batch_give_the_covariance_of_its_gradient() -> None:
    """That of a sum of r x over Gaussian samples, by Isserlis' theorem: (lam delta delta lam + 2 L Lam)/B."""
    along, across = derive_gradient_covariance().values()
    v, s, b = sp.symbols("v s B", positive=True)
    assert sp.simplify(along - 1 / b) == 0
    assert sp.simplify(across - (v + s**2) / b) == 0
    excess, least, size = 0.3, 0.7, 12
    numbers = {v: 2 * excess, s: np.sqrt(2 * least), b: size}
    expected = [float(expression.subs(numbers)) for expression in (along, across)]
    assert gradient_covariance(excess, least, size) == pytest.approx(expected, rel=1e-12)


def test_gradient_covariance_against_samples() -> None:
    """Every entry within 5 of its standard errors over 200,000 batches; a false alarm once in 10^5 runs."""
    problem = PowerLawRegression(num_features=4, batch_size=3, label_noise=0.5)
    rng = np.random.default_rng(0)
    w = rng.standard_normal(4)
    delta = problem.gain * w / np.linalg.norm(w) - problem.target
    x = rng.standard_normal((200_000, 3, 4)) * np.sqrt(problem.spectrum)
    noise = rng.standard_normal((200_000, 3)) * np.sqrt(2 * problem.least_loss)
    g = ((x @ delta - noise)[:, :, None] * x).mean(axis=1)
    g = g - problem.spectrum * delta
    products = g[:, :, None] * g[:, None, :]
    along, across = gradient_covariance(float(problem.excess_loss(w)), problem.least_loss, 3)
    signal = problem.spectrum * delta
    expected = along * np.outer(signal, signal) + across * np.diag(problem.spectrum)
    error = products.std(axis=0) / np.sqrt(len(products))
    assert np.all(np.abs(products.mean(axis=0) - expected) < 5 * error)


def test_loss_is_half_the_mean_squared_error_on_samples() -> None:
    """Features beyond the model are drawn too, 500 of them; what is left of the tail is added in closed form."""
    problem = PowerLawRegression(num_features=5, spectrum_exponent=1.5, target_exponent=2.5, label_noise=0.3)
    wide = PowerLawRegression(num_features=500, spectrum_exponent=1.5, target_exponent=2.5, label_noise=0.3)
    rng = np.random.default_rng(1)
    w = rng.standard_normal(5)
    x = rng.standard_normal((20_000, 500)) * np.sqrt(wide.spectrum)
    y = x @ wide.target + 0.3 * rng.standard_normal(20_000)
    errors = 0.5 * (x[:, :5] @ (problem.gain * w / np.linalg.norm(w)) - y) ** 2
    rest = wide.least_loss - 0.3**2 / 2
    loss = problem.least_loss + problem.excess_loss(w)
    assert abs(errors.mean() + rest - loss) < 5 * errors.std() / np.sqrt(len(errors))


@settings(max_examples=50, deadline=None)
@given(
    num_features=st.integers(2, 300),
    spectrum=st.floats(0, 3),
    target=st.floats(1.1, 4),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 1000),
)
def test_only_the_direction_matters_and_the_target_is_the_best(
    num_features: int, spectrum: float, target: float, scale: float, seed: int
) -> None:
    problem = PowerLawRegression(num_features=num_features, spectrum_exponent=spectrum, target_exponent=target)
    w = np.random.default_rng(seed).standard_normal(num_features)
    loss = problem.excess_loss(w)
    assert problem.excess_loss(scale * w) == pytest.approx(float(loss), rel=1e-9)
    assert problem.excess_loss(scale * problem.target) == pytest.approx(0, abs=1e-12 * problem.gain**2)
    assert loss > 0


def test_a_feature_more_is_a_feature_less_in_the_tail() -> None:
    small, large = (PowerLawRegression(num_features=n, target_exponent=1.3) for n in (10, 11))
    assert 2 * (small.least_loss - large.least_loss) == pytest.approx(11**-1.3, rel=1e-9)
    assert np.allclose(large.spectrum * large.target**2, np.arange(1, 12) ** -1.3)


def test_the_problem_that_is_not_told_more_by_hand() -> None:
    problem = PowerLawRegression(num_features=2)
    assert problem.batch_size == 32
    np.testing.assert_allclose(problem.spectrum, [1, 1 / 4], rtol=1e-15)
    np.testing.assert_allclose(problem.target, [1, 2**0.25], rtol=1e-15)
    unseen = 2.6123753486854883 - 1 - 2**-1.5  # of zeta(3/2)
    assert problem.least_loss == pytest.approx((0.1**2 + unseen) / 2, rel=1e-12)
    assert problem.excess_loss([1.0, 0.0]) == pytest.approx(((problem.gain - 1) ** 2 + 2**0.5 / 4) / 2, rel=1e-12)


@pytest.mark.parametrize("n", [256, 1024])
def test_mixture_is_orthogonal_symmetric_and_even(n: int) -> None:
    q = mixture(np.eye(n))
    assert np.allclose(np.abs(q), n**-0.5)
    assert np.allclose(q, q.T)
    assert np.allclose(q @ q, np.eye(n))
    place = np.arange(n)
    exchanged = place & ~255 | (place & 15) << 4 | (place >> 4) & 15  # hexadecimal digits of the place within 256
    np.testing.assert_allclose(q, hadamard(n)[:, exchanged] / np.sqrt(n), rtol=1e-14)
    table = np.random.default_rng(0).standard_normal((2, 3, n))
    np.testing.assert_allclose(mixture(table), table @ q, rtol=0, atol=1e-13)


def test_the_mixed_basis_has_the_same_losses_turned() -> None:
    plain, mixed = (PowerLawRegression(num_features=256, basis=basis) for basis in ("eigenvectors", "mixed"))
    w = np.random.default_rng(2).standard_normal((3, 256))
    assert mixed.excess_loss(mixture(w)) == pytest.approx(plain.excess_loss(w))
    assert mixed.excess_loss(w) != pytest.approx(plain.excess_loss(w))


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_features": 1},
        {"num_features": 2.5},
        {"batch_size": 0},
        {"target_exponent": 1.0},
        {"spectrum_exponent": -0.1},
        {"label_noise": float("nan")},
        {"basis": "sines"},
        {"num_features": 300, "basis": "mixed"},
        {"num_features": 128, "basis": "mixed"},
    ],
    ids=str,
)
def test_a_wrong_value_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter, match=next(iter(wrong))):
        PowerLawRegression(**({"num_features": 8} | wrong))  # type: ignore[arg-type]
