"""The finite second moment: quadrature against other quadrature, first order, and Monte Carlo for two gradient laws."""

from __future__ import annotations

import functools
from typing import NamedTuple

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from tests.theory import monte_carlo as mc
from tests.theory.symbolic import number
from theory import InvalidParameter, adamw, momentum, second_moment, stationary
from theory.second_moment import GAUSSIAN, Gaussian, StudentT

derive_first_order = functools.cache(second_moment.derive_first_order)


@settings(max_examples=30)
@given(st.floats(0, 0.98), st.floats(0.5, 0.9999), st.integers(0, 50), st.floats(1, 9))
def test_first_order_equals_its_derivation(beta1: float, beta2: float, lag: int, kurtosis: float) -> None:
    at = {"beta_1": beta1, "beta_2": beta2, "b": 1 - beta2, "w": beta2**lag, "kappa": kurtosis}
    derived = number(derive_first_order(), **at)
    assert second_moment.first_order(beta1, beta2, lag, kurtosis) == pytest.approx(derived, rel=1e-10)


@pytest.mark.parametrize("lag", [0, 3, 40])
def test_the_exact_form_tends_to_first_order(lag: int) -> None:
    """What first order leaves out falls like the square of 1 - beta2."""
    small = np.array([0.008, 0.004, 0.002, 0.001])
    factor = stationary_variance(0.9) * 0.9**lag
    errors = [
        abs(
            float(second_moment.autocovariance(0.9, 1 - b).at(lag)) / factor
            - second_moment.first_order(0.9, 1 - b, lag)
        )
        for b in small
    ]
    assert 1.7 < np.polyfit(np.log(small), np.log(errors), 1)[0] < 2.3


def test_beta2_to_one_is_the_plain_momentum() -> None:
    almost = second_moment.autocovariance(0.9, 1 - 1e-9)
    plain = momentum.autocovariance(0.9)
    np.testing.assert_allclose(almost.at(np.arange(50)), plain.at(np.arange(50)), rtol=2e-7)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.95), (0.0, 0.9), (0.95, 0.99)])
def test_both_ends_of_f_by_adaptive_quadrature(beta1: float, beta2: float) -> None:
    """Lag 0, and the amplitude at long lags, where the two second moments have become independent."""
    b = 1 - beta2
    shifts = beta2 ** np.arange(int(40 / b))
    taps = (1 - beta1) ** 2 * beta1 ** (2.0 * np.arange(len(shifts)))

    def f(z: float) -> float:
        return float(np.exp(-0.5 * np.log1p(2 * z * shifts).sum()))

    def g(z: float) -> float:
        return float(np.sum(taps / (1 + 2 * z * shifts)))

    def integral(function: object, power: float) -> float:
        """Over ln z, with the weight z**power."""
        return quad(lambda u: np.exp((power + 1) * u) * function(np.exp(u)), -60, 5, epsabs=0, epsrel=1e-9, limit=400)[
            0
        ]

    update = second_moment.autocovariance(beta1, beta2)
    assert update.variance == pytest.approx(integral(lambda z: f(z) * g(z), 0.0) / b, rel=3e-7)
    far = integral(lambda z: f(z) * g(z), -0.5) * integral(f, -0.5) / (np.pi * b)
    polynomial = second_moment._polynomial(beta1, beta2, GAUSSIAN)
    assert polynomial[0] == pytest.approx(far, rel=3e-7)


@pytest.mark.parametrize(("law", "accuracy"), [(Gaussian(), 1e-7), (StudentT(dof=5), 1e-5)], ids=str)
def test_halving_the_steps_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, law: Gaussian | StudentT, accuracy: float
) -> None:
    coarse = second_moment._polynomial(0.9, 0.95, law)
    monkeypatch.setattr(second_moment, "GRID_STEP", 0.025)
    monkeypatch.setattr(second_moment, "NODE_STEP", 0.25)
    monkeypatch.setattr(second_moment, "DEGREE", 20)
    fine = second_moment._polynomial(0.9, 0.95, law)
    for w in (0.0, 0.3, 1.0):
        assert np.polyval(coarse[::-1], w) == pytest.approx(np.polyval(fine[::-1], w), rel=accuracy)


@pytest.mark.parametrize("dof", [2.05, 3.0, 5.0])
def test_transforms_of_student_t_are_tricomi_functions(dof: float) -> None:
    r""":math:`\varphi(z) = \Gamma(a+1/2)/\Gamma(a)\,U(1/2, 1-a, (\nu-2)z)`, :math:`a = \nu/2`, and psi is -dphi/dz."""
    z = np.array([1e-30, 1e-20, 1e-8, 1e-3, 0.1, 4.0, 1e3, 1e10])
    a, expected = mpmath.mpf(dof) / 2, []
    with mpmath.workdps(60):
        for x in z:
            u, slope = (mpmath.hyperu(n + 0.5, n + 1 - a, (dof - 2) * x) for n in (0, 1))
            phi, psi = (mpmath.gamma(a + 0.5) / mpmath.gamma(a) * each for each in (u, (a - 1) * slope))
            expected.append((float(mpmath.log(phi)), float(psi / phi)))
    np.testing.assert_allclose(np.transpose(StudentT(dof=dof).transforms(z)), expected, rtol=1e-12)


def test_many_degrees_of_freedom_are_a_gaussian() -> None:
    heavy = second_moment.autocovariance(0.9, 0.95, StudentT(dof=1e7))
    assert heavy.variance == pytest.approx(second_moment.autocovariance(0.9, 0.95).variance, rel=1e-5)


class Ratios(NamedTuple):
    rms: mc.Estimate
    angle: mc.Estimate


def simulated_ratios(beta1: float, beta2: float, product: float, law: Gaussian | StudentT) -> Ratios:
    """RMS and angle of Adam over those of momentum alone, which has an exact closed form, under the same gradients."""
    rng, dim, num_steps = np.random.default_rng(5), 4000, 6000
    learning_rate = 0.02
    burn_in = int(max(6 / (1 - beta2), 5 / product))
    directions = [mc.adam(beta1, beta2, (dim,), second=second) for second in (True, False)]
    start = adamw.equilibrium_rms(learning_rate, product / learning_rate, beta1) * rng.standard_normal(dim)
    weights = [start, start]
    sums = np.empty((num_steps, 2, 3))
    for t in range(burn_in + num_steps):
        g = rng.standard_normal(dim) if isinstance(law, Gaussian) else rng.standard_t(law.dof, dim)
        g = g if isinstance(law, Gaussian) else g * np.sqrt(1 - 2 / law.dof)
        for i, (w, direction) in enumerate(zip(weights, directions, strict=True)):
            after = (1 - product) * w - learning_rate * direction(g)
            if t >= burn_in:
                sums[t - burn_in, i] = w @ w, w @ after, after @ after
            weights[i] = after
    ww, wn, nn = np.moveaxis(sums.reshape(mc.BLOCKS, -1, 2, 3).mean(axis=1), 2, 0)
    rms, angle = np.sqrt(ww), np.arccos(wn / np.sqrt(ww * nn))
    return Ratios(mc.estimate(rms[:, 0] / rms[:, 1]), mc.estimate(angle[:, 0] / angle[:, 1]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("beta2", "law"),
    [
        (0.9, Gaussian()),
        (0.95, Gaussian()),
        (0.99, Gaussian()),
        (0.999, Gaussian()),
        (0.9, StudentT(dof=5)),
        (0.95, StudentT(dof=5)),
    ],
    ids=str,
)
def test_rms_and_angle_against_monte_carlo(beta2: float, law: Gaussian | StudentT) -> None:
    """At eta*lam = 0.01, errors below 0.06 %: within 0.3 %, and the correction is seen at many standard errors.

    12 comparisons at 5 standard errors of 20 blocks: a false alarm in one of 1,000 draws.
    """
    measured = simulated_ratios(0.9, beta2, 0.01, law)
    update = second_moment.autocovariance(0.9, beta2, law)
    plain = momentum.autocovariance(0.9)
    for estimate, function in (
        (measured.rms, stationary.equilibrium_rms),
        (measured.angle, stationary.angular_update_equilibrium),
    ):
        expected = float(function(update, 0.02, 0.5) / function(plain, 0.02, 0.5))
        assert estimate.error < (6e-4 if isinstance(law, Gaussian) else 8e-4)
        assert estimate.misses(expected) < 5, (estimate, expected)
    if beta2 <= 0.95:
        assert measured.rms.misses(1.0) > 10


def test_the_start_is_followed_too() -> None:
    """Mean square of the direction over 0-9, 10-39 and 40-119 steps; without the correction the last is 2.9 % off."""
    beta1, beta2, dim = 0.9, 0.95, 60_000
    rng, direction = np.random.default_rng(1), mc.adam(beta1, beta2, (dim,))
    squares = np.array([np.mean(direction(rng.standard_normal(dim)) ** 2) for _ in range(120)])
    corrected = second_moment.drive(120, beta1, beta2).variance
    plain = momentum.drive(120, beta1, beta2).variance
    assert corrected[0] == pytest.approx(1.0, abs=5e-3)
    for part in (slice(0, 10), slice(10, 40), slice(40, 120)):
        # 19 steps of memory in m
        error = np.sqrt(2 / (dim * max(1, (part.stop - part.start) / 19)))
        assert abs(squares[part].mean() / corrected[part].mean() - 1) < 4 * error + 2e-3
    assert squares[40:].mean() / plain[40:].mean() < 0.98


def test_the_start_goes_over_into_the_stationary_state() -> None:
    drive, settled = second_moment.drive(2000, 0.9, 0.95), second_moment.autocovariance(0.9, 0.95)
    assert drive.variance[-1] == pytest.approx(settled.variance, rel=1e-9)
    for (entry, carry), amplitude, ratio in zip(drive.modes(), settled.amplitudes, settled.ratios, strict=True):
        assert entry[-1] == pytest.approx(amplitude, rel=1e-9, abs=1e-14)
        assert carry[-1] == pytest.approx(ratio, rel=1e-9)


def test_the_start_is_there_to_first_order() -> None:
    r"""Relative to momentum alone it lacks :math:`2(e_\infty - e_t)` of the stationary correction, at every lag;
    :math:`e = \sum a_i^2b_i/\sum a_i^2 - \sum b_i^2`, with the weights of the two bias-corrected averages."""
    beta1, beta2 = 0.8, 0.95
    steps, t = [0, 1, 5, 60, 4000], np.arange(4001)
    drive, settled = second_moment.drive(4001, beta1, beta2), second_moment.autocovariance(beta1, beta2)
    excess = []
    for step in steps:
        a, b = (beta ** t[: step + 1] / np.sum(beta ** t[: step + 1]) for beta in (beta1, beta2))
        excess.append(np.sum(a**2 * b) / np.sum(a**2) - np.sum(b**2))
    lacking = 2 * (excess[-1] - np.array(excess))
    plain, q = momentum.drive(4001, beta1, beta2), stationary_variance(beta1)
    ((plain_entry, plain_carry),) = plain.modes()
    np.testing.assert_allclose((drive.variance / plain.variance)[steps] - settled.variance / q, lacking, atol=1e-12)
    entries, carries = (np.array(each) for each in zip(*drive.modes(), strict=True))
    at_one = float(settled.at(1)) / (q * beta1)
    np.testing.assert_allclose(entries.sum(axis=0)[steps] / plain_entry[steps] - at_one, lacking, atol=1e-12)
    later = settled.amplitudes[1:] / (q * beta1)  # what is lacking goes with the slowest mode
    np.testing.assert_allclose(entries[1:] / plain_entry, np.tile(later, (4001, 1)).T, rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(carries, np.outer(beta2 ** np.arange(len(carries)), plain_carry), rtol=1e-12)
    assert abs(lacking[0]) > 0.01
    memoryless = second_moment.drive(20, 0.0, beta2)
    assert list(memoryless.modes()) == []
    np.testing.assert_allclose(memoryless.variance[-1], second_moment.autocovariance(0.0, beta2).variance, rtol=0.05)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.95), (0.0, 0.8)])
def test_the_response_is_the_overlap_with_the_gradients(beta1: float, beta2: float) -> None:
    r"""By Stein's identity, for Gaussian gradients, :math:`\sum_i a_i\langle g_i^2/\sqrt v\rangle`."""
    lags = np.arange(int(40 / (1 - beta2)))
    a, b = (1 - beta1) * beta1 ** (1.0 * lags), (1 - beta2) * beta2**lags

    def integrand(u: float) -> float:
        x = np.exp(u)
        return float(np.sqrt(x / np.pi) * np.sum(a / (1 + 2 * x * b)) * np.exp(-0.5 * np.log1p(2 * x * b).sum()))

    expected = quad(integrand, -60, 60, points=[-20, 0, 10], epsabs=0, epsrel=1e-10, limit=400)[0]
    found = second_moment.scatter(beta1, beta2)
    update = second_moment.autocovariance(beta1, beta2)
    assert found.response == pytest.approx(expected, rel=1e-7)
    assert found.total == update.total
    assert found.variance == pytest.approx(update.variance / stationary_variance(beta1), rel=1e-14)


def test_the_response_tends_to_first_order() -> None:
    r""":math:`1 + 3(\kappa-1)b/16 - b(1-\beta_1)/(1-\beta_1\beta_2)`, from the expansion of v about its mean."""
    small = np.array([0.008, 0.004, 0.002, 0.001])
    first = 1 + 0.375 * small - 0.1 * small / (1 - 0.9 * (1 - small))
    errors = [abs(second_moment.scatter(0.9, 1 - b).response - value) for b, value in zip(small, first, strict=True)]
    assert 1.7 < np.polyfit(np.log(small), np.log(errors), 1)[0] < 2.3


def test_bad_laws_and_betas_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="dof"):
        StudentT(dof=2.0)
    with pytest.raises(InvalidParameter, match="beta2"):
        second_moment.autocovariance(0.9, 0.05)
    with pytest.raises(InvalidParameter, match="beta1"):
        second_moment.autocovariance(1.0, 0.95)


def stationary_variance(beta1: float) -> float:
    return float(momentum.stationary_update_rms(beta1)) ** 2
