"""The valley: derivations, limits and sums, the normaliser at another setting, and spectra that come back from lags."""

from __future__ import annotations

import functools
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.linalg import solve_discrete_lyapunov
from scipy.stats import gamma as gamma_law

from tests.theory.symbolic import number
from theory import InvalidParameter, momentum, valley
from theory.symbolic import positive
from theory.valley import Valley, direction_ratio, noise_share, stability_limit

MOMENTS = valley.derive_moments()
STILL = {name: sp.cancel(value.subs(sp.Symbol("alpha", positive=True), 1)) for name, value in MOMENTS.items()}
beta1s, fractions = st.floats(0, 0.97), st.floats(1e-3, 0.95)  # of the stability limit
MANY = 4000
derive_lags = functools.cache(valley.derive_lags)
derive_stability_limit = functools.cache(valley.derive_stability_limit)


def single(curvature: float, beta1: float) -> Valley:
    return Valley(beta1=beta1, curvatures=np.array([curvature]), shares=np.ones(1))


def two() -> Valley:
    return Valley(beta1=0.9, curvatures=np.array([0.2, 3.0]), shares=np.array([0.7, 0.3]))


@settings(max_examples=30)
@given(st.floats(0, 0.97), fractions, st.floats(0.9, 1.0))
def test_moments_are_those_of_the_recursion(beta1: float, fraction: float, alpha: float) -> None:
    """The covariance of (y_t, m_{t-1}) as that of a linear system with noise, shrinking or not."""
    curvature = fraction * float(stability_limit(beta1))
    step = np.array([[alpha - curvature * (1 - beta1), -curvature * beta1], [1 - beta1, beta1]])
    kick = np.array([[-curvature * (1 - beta1)], [1 - beta1]])
    covariance = solve_discrete_lyapunov(step, kick @ kick.T)
    whole = covariance[0, 0] + 1
    at = {"a": curvature, "beta_1": beta1, "alpha": alpha}
    expected = {"U2": covariance[1, 1], "noise": 1.0, "ym": covariance[0, 1]}
    for name, value in expected.items():
        assert number(MOMENTS[name], **at) == pytest.approx(value / whole, rel=1e-6, abs=1e-9), name


@pytest.mark.long
@settings(max_examples=30)
@given(beta1s, fractions)
def test_numbers_equal_their_derivation(beta1: float, fraction: float) -> None:
    curvature = fraction * float(stability_limit(beta1))
    at = {"a": curvature, "beta_1": beta1}
    square = number(STILL["U2"], **at)
    assert (momentum.stationary_update_rms(beta1) * direction_ratio(curvature, beta1)) ** 2 == pytest.approx(square)
    assert noise_share(curvature, beta1) == pytest.approx(number(STILL["noise"], **at))
    assert stability_limit(beta1) == pytest.approx(number(derive_stability_limit(), **at))
    assert [list(lags) for lags in derive_lags(4).values()] == [[f"lag {k}" for k in range(i, 5)] for i in (1, 0)]
    gradient, direction = (lags.values() for lags in derive_lags(4).values())
    found = single(curvature, beta1)
    np.testing.assert_allclose(found.gradient_autocorrelation(4), [number(e, **at) for e in gradient], atol=1e-9)
    np.testing.assert_allclose(found.direction_autocovariance(4), [number(e, **at) for e in direction], atol=1e-9)


def test_the_closed_forms_as_they_are_written() -> None:
    a, b = positive("a beta_1")
    assert sp.simplify(STILL["U2"] - (1 - b) / (1 + b + b * a)) == 0
    assert sp.simplify(STILL["noise"] - (1 + b - a * (1 - b) / 2) / (1 + b + b * a)) == 0
    limit = derive_stability_limit()
    assert sp.simplify(limit - 2 * (1 + b) / (1 - b)) == 0
    assert sp.simplify(STILL["noise"].subs(a, limit)) == 0
    assert sp.simplify(STILL["U2"].subs(a, limit) - ((1 - b) / (1 + b)) ** 2) == 0


def test_decay_matters_little_and_vanishes() -> None:
    """Fractions of U^2 of order eta*lam/(1 - beta1), and proportional to it."""
    change = [
        number(MOMENTS["U2"], a=2.0, beta_1=0.9, alpha=1 - x) / number(STILL["U2"], a=2.0, beta_1=0.9) - 1
        for x in (1e-4, 1e-3)
    ]
    assert -0.01 < change[1] < 0
    assert change[1] / change[0] == pytest.approx(10, rel=0.02)
    free = number(sp.limit(MOMENTS["U2"], sp.Symbol("a", positive=True), 0), beta_1=0.9, alpha=0.99)
    assert free == pytest.approx(float(momentum.stationary_update_rms(0.9)) ** 2)


@pytest.mark.long
@settings(max_examples=30)
@given(st.floats(0.3, 0.95), st.floats(0.02, 0.8))
def test_lags_add_up(beta1: float, fraction: float) -> None:
    """The gradient's to -1/2, the direction's to 0, and the gradient's through Adam's average to U^2."""
    found = single(fraction * float(stability_limit(beta1)), beta1)
    lags, of_direction = found.gradient_autocorrelation(MANY), found.direction_autocovariance(MANY)
    assert lags.sum() == pytest.approx(-0.5, abs=1e-9)
    assert of_direction[0] + 2 * of_direction[1:].sum() == pytest.approx(0, abs=1e-9)
    through = 1 + 2 * beta1 ** np.arange(1, MANY + 1) @ lags
    assert found.direction_ratio**2 == pytest.approx(through, rel=1e-9)
    assert of_direction[0] == pytest.approx(through * float(momentum.stationary_update_rms(beta1)) ** 2)


@pytest.mark.parametrize("beta1", [0.5, 0.9])
def test_the_swing_decays_by_the_root_of_beta1_between_its_ends(beta1: float) -> None:
    """Read from the lags: the recursion that continues them has the roots of the docstring."""
    low = (1 - np.sqrt(beta1)) / (1 + np.sqrt(beta1))
    for curvature, swings in ((0.9 * low, False), (1.1 * low, True), (0.97 / low, True)):
        lags = single(curvature, beta1).gradient_autocorrelation(4)
        linear, constant = np.linalg.solve([[lags[1], lags[0]], [lags[2], lags[1]]], [lags[2], lags[3]])
        roots = np.roots([1, -linear, -constant])
        assert linear == pytest.approx(1 + beta1 - curvature * (1 - beta1), rel=1e-6)
        assert np.abs(roots).max() == pytest.approx(np.sqrt(beta1), rel=1e-6) if swings else roots.imag.max() == 0


def test_limits_without_curvature_or_momentum() -> None:
    assert direction_ratio(0.0, 0.9) == 1
    assert direction_ratio(1.5, 0.0) == 1
    assert direction_ratio(0.0, 0.9, shape=0.5) == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(single(0.0, 0.9).gradient_autocorrelation(5), 0)
    edge = float(stability_limit(0.9))
    assert direction_ratio(edge * (1 - 1e-9), 0.9) == pytest.approx(np.sqrt(0.1 / 1.9))


@settings(max_examples=30)
@given(st.floats(0.01, 8), st.floats(0.1, 5), st.floats(0.1, 0.95))
def test_the_gamma_law_in_closed_form(mean: float, shape: float, beta1: float) -> None:
    """By Tricomi's function, in more digits than SciPy's has."""
    z = shape * (1 + beta1) / (beta1 * mean)
    with mpmath.workdps(40):
        expected = float(mpmath.mpf(z) ** shape * mpmath.hyperu(shape, shape, z))
    assert float(direction_ratio(mean, beta1, shape)) ** 2 == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("shape", "expected"), [(1e9, 1 / np.sqrt(1e9 * 0.9 / 1.9)), (1e-9, 1.0)])
def test_the_gamma_law_at_the_ends_of_its_range(shape: float, expected: float) -> None:
    """One curvature, of which one over the root is left; next to none, with some that are infinite."""
    assert float(direction_ratio(1e9, 0.9, shape)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("mean", "shape"), [(0.3, 0.5), (2.0, 3.0)])
def test_the_gamma_law_is_that_of_the_mean_over_curvatures(mean: float, shape: float) -> None:
    density = gamma_law(shape, scale=mean / shape).pdf
    by_quadrature, _ = quad(lambda root: 2 * root * density(root**2) / (1 + 0.9 * root**2 / 1.9), 0, 8)
    assert float(direction_ratio(mean, 0.9, shape)) ** 2 == pytest.approx(by_quadrature, rel=1e-6)


def test_a_wide_gamma_law_is_one_curvature_and_a_step_has_its_own_ratio() -> None:
    assert direction_ratio(1.0, 0.9, shape=1e6) == pytest.approx(float(direction_ratio(1.0, 0.9)), rel=1e-5)
    curvatures = np.array([0.1, 1.0, 2.0])
    np.testing.assert_allclose(
        direction_ratio(curvatures, 0.9, 0.5), [direction_ratio(a, 0.9, 0.5) for a in curvatures], rtol=1e-12
    )


def test_a_gamma_law_in_bins_has_its_mean_and_its_ratio() -> None:
    found = Valley.gamma(1.2, 0.4, 0.9)
    assert found.curvatures @ found.shares == pytest.approx(1.2, rel=1e-5)
    assert found.direction_ratio == pytest.approx(float(direction_ratio(1.2, 0.9, 0.4)), rel=1e-4)
    beyond = Valley.gamma(30.0, 1.0, 0.9)
    assert beyond.curvatures.max() == pytest.approx(0.98 * 38)
    assert beyond.shares[-1] > 0.2


def test_a_spectrum_is_a_mean_of_single_curvatures() -> None:
    parts = [single(0.2, 0.9), single(3.0, 0.9)]
    for read in (
        lambda v: v.gradient_autocorrelation(20),
        lambda v: v.direction_autocovariance(20),
        lambda v: v.direction_ratio**2,
    ):
        np.testing.assert_allclose(read(two()), 0.7 * read(parts[0]) + 0.3 * read(parts[1]))


@settings(max_examples=30)
@given(st.floats(0.05, 20), st.floats(0.1, 0.97))
def test_moved_noise_and_curvature_stay(factor: float, beta1: float) -> None:
    """In units of the noise: each direction's power and eta*h are what they were, the latter times the factor."""
    start, after = two(), two().moved(factor=factor, beta1=beta1)

    def noise_and_curvature(v: Valley) -> tuple[np.ndarray, np.ndarray]:
        power = v.shares * noise_share(v.curvatures, v.beta1)
        return power / power.sum(), v.curvatures / np.sqrt(power.sum())

    before, now = noise_and_curvature(start), noise_and_curvature(after)
    np.testing.assert_allclose(now[0], before[0], rtol=1e-6)
    np.testing.assert_allclose(now[1], factor * before[1], rtol=1e-6)
    assert after.shares.sum() == pytest.approx(1)
    assert after.curvatures.max() < stability_limit(beta1)


def test_moved_there_and_back() -> None:
    there = two().moved(factor=3.0, beta1=0.6)
    back = there.moved(factor=1 / 3.0, beta1=0.9)
    np.testing.assert_allclose(back.curvatures, two().curvatures, rtol=1e-9)
    np.testing.assert_allclose(back.shares, two().shares, rtol=1e-9)
    for factor in (1e6, 1e12):  # Adam's normaliser keeps any rate stable
        far = two().moved(factor=factor)
        assert far.curvatures.max() == pytest.approx(38, rel=1e-3)
        assert far.shares == pytest.approx([0, 1], abs=1e-6)


@pytest.mark.parametrize("sharp", [1e-9, 1e-13, 1e-30])
def test_at_the_limit_the_sharpest_direction_has_what_the_others_leave(sharp: float) -> None:
    """However small its noise: r is that at which it reaches the limit, and the others' share follows from it."""
    start = Valley(beta1=0.9, curvatures=np.array([0.2, 3.0]), shares=np.array([1 - sharp, sharp]))
    found = start.moved(factor=30.0)
    r = 30 * 3.0 / np.sqrt(noise_share(0.2, 0.9)) / stability_limit(0.9)
    other = 1 / (r**2 * noise_share(0.2 * stability_limit(0.9) / 3.0, 0.9))
    assert found.shares == pytest.approx([other, 1 - other], rel=1e-6)
    assert found.curvatures[1] == pytest.approx(stability_limit(0.9), rel=1e-8)


def test_without_a_change_of_setting_nothing_moves() -> None:
    for found in (two().moved(), two().scaled()):
        assert found.beta1 == 0.9
        np.testing.assert_allclose(found.curvatures, two().curvatures, rtol=1e-9)
        np.testing.assert_allclose(found.shares, two().shares, rtol=1e-9)


def test_scaled_keeps_shares_and_stops_before_the_limit() -> None:
    found = two().scaled(factor=2.0, beta1=0.5)
    np.testing.assert_allclose(found.curvatures, [0.4, 0.98 * 6])
    np.testing.assert_array_equal(found.shares, two().shares)
    assert found.beta1 == 0.5
    assert two().scaled(factor=0.0).direction_ratio == 1


def test_spectra_come_back_from_their_lags() -> None:
    lags = two().gradient_autocorrelation(40)
    found = Valley.fitted(lags, 0.9)
    np.testing.assert_allclose(found.gradient_autocorrelation(40), lags, atol=2e-3)
    assert found.direction_ratio == pytest.approx(two().direction_ratio, rel=2e-3)
    capped = Valley.fitted(lags, 0.9, largest=2.0)
    assert capped.curvatures.max() <= 2.0
    mean, shape = Valley.fitted_gamma(Valley.gamma(1.2, 0.4, 0.9).gradient_autocorrelation(40), 0.9)
    assert (mean, shape) == pytest.approx((1.2, 0.4), rel=1e-3)


def test_no_memory_is_no_curvature() -> None:
    found = Valley.fitted(np.zeros(20), 0.9)
    assert (found.curvatures @ found.shares, found.direction_ratio) == (0, 1)


def test_shares_may_be_0_and_sum_to_1_to_the_last_digit() -> None:
    assert Valley(beta1=0.9, curvatures=np.array([0.2, 3.0]), shares=np.array([1.0, 0.0])).direction_ratio < 1
    lags = two().gradient_autocorrelation(40)
    for found in (
        Valley.gamma(1.0, 3.0, 0.9),  # whose first bins hold next to nothing and are left out
        Valley.fitted(lags, 0.9),
        Valley.fitted(lags + 0.5, 0.9, largest=0.5),
        two().moved(factor=1e5),  # so near the limit that rounding shows in them
    ):
        assert np.all(found.shares > 0)
        assert found.shares.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    "call", [lambda b: single(0.1, b), lambda b: two().moved(beta1=b), lambda b: two().scaled(beta1=b)]
)
def test_a_momentum_is_refused_with_its_range(call: Callable[[float], Valley]) -> None:
    with pytest.raises(InvalidParameter, match=r"^beta1 = 2.5 must be a finite number at least 0 and below 1$"):
        call(2.5)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("curvature", lambda: direction_ratio(-0.1, 0.9)),
        ("curvature", lambda: direction_ratio(39.0, 0.9)),
        ("curvature", lambda: direction_ratio(6.0, 0.5)),  # the limit itself
        ("curvature", lambda: direction_ratio(np.inf, 0.9, 0.5)),
        ("curvature", lambda: direction_ratio([1.0, -0.1], 0.9)),
        ("curvature", lambda: direction_ratio([1.0, 39.0], 0.9)),
        ("curvature", lambda: direction_ratio(1e10, 0.9, 0.5)),
        ("shape", lambda: direction_ratio(1.0, 0.9, 1e10)),
        ("shape", lambda: direction_ratio(1.0, 0.9, 1e-10)),
        ("shape", lambda: direction_ratio(1.0, 0.9, 0.0)),
        ("shape", lambda: direction_ratio(1.0, 0.9, [0.5, np.inf])),
        ("beta1", lambda: stability_limit([0.9, 1.0])),
        ("curvatures", lambda: Valley(beta1=0.9, curvatures=np.array([1.0, -1.0]), shares=np.array([0.5, 0.5]))),
        ("curvatures", lambda: Valley(beta1=0.9, curvatures=np.array([1.0, 40.0]), shares=np.array([0.5, 0.5]))),
        ("beta1", lambda: direction_ratio(1.0, 1.0)),
        ("beta1", lambda: stability_limit(-0.1)),
        ("curvatures", lambda: single(38.1, 0.9)),
        ("curvatures", lambda: single(6.0, 0.5)),
        ("curvatures", lambda: single(-1.0, 0.9)),
        ("shares", lambda: Valley(beta1=0.9, curvatures=np.ones(2), shares=np.ones(2))),
        ("shares", lambda: Valley(beta1=0.9, curvatures=np.ones(2), shares=np.array([1.5, -0.5]))),
        ("shares", lambda: Valley(beta1=0.9, curvatures=np.ones(2), shares=np.ones(1))),
        ("factor", lambda: two().moved(factor=0.0)),
        ("factor", lambda: two().scaled(factor=-1.0)),
        ("mean", lambda: Valley.gamma(0.0, 1.0, 0.9)),
        ("shape", lambda: Valley.gamma(1.0, 0.0, 0.9)),
        ("largest", lambda: Valley.fitted([0.1, 0.0], 0.9, largest=38.0)),
        ("largest", lambda: Valley.fitted([0.1, 0.0], 0.9, largest=0.0)),
        ("autocorrelation", lambda: Valley.fitted([0.1], 0.9)),
        ("autocorrelation", lambda: Valley.fitted_gamma([0.1, np.nan], 0.9)),
    ],
)
def test_bad_values_are_refused(name: str, call: object) -> None:
    with pytest.raises(InvalidParameter) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name
