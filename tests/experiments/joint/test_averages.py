"""Quantiles of mixtures of t distributions: against the distribution function, and the limits they have."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm
from scipy.stats import t as student

from experiments.joint.averages import Averages, average_over_tau, central_interval, mixture_quantile, students_t
from experiments.joint.mixed_model import Design
from experiments.joint.model import StackedLosses, Variances
from experiments.joint.regression import regress


@pytest.mark.parametrize("freedom", [1.0, 6.5, 300.0])
def test_a_mixture_of_one_is_students_t(freedom: float) -> None:
    for level in (0.5, 0.95, 0.9999):
        low, high = central_interval(np.array([0.3]), np.array([0.02]), np.ones(1), freedom, level)
        assert (low, high) == pytest.approx(student.interval(level, freedom, loc=0.3, scale=0.02), rel=1e-11)


def test_a_quantile_has_its_probability_below_it() -> None:
    rng = np.random.default_rng(0)
    for number in (2, 40):
        centres, errors = rng.normal(size=number), np.exp(rng.normal(size=number))
        weights = rng.dirichlet(np.ones(number))
        for probability in (1e-6, 0.025, 0.5, 0.95):
            found = mixture_quantile(centres, errors, weights, 7.0, probability)
            below = weights @ student.cdf((found - centres) / errors, 7.0)
            assert below == pytest.approx(probability, rel=1e-12, abs=1e-14)


def test_equal_components_and_a_symmetric_pair() -> None:
    one = mixture_quantile(np.full(3, -1.0), np.full(3, 0.1), np.array([0.2, 0.3, 0.5]), 5.0, 0.9)
    assert one == pytest.approx(student.ppf(0.9, 5.0, loc=-1.0, scale=0.1), rel=1e-12)
    pair = np.array([-1.0, 1.0]), np.full(2, 0.1), np.full(2, 0.5), 5.0
    assert mixture_quantile(*pair, 0.5) == pytest.approx(0.0, abs=1e-9)
    low, high = central_interval(*pair, 0.9)
    assert low == pytest.approx(-high, rel=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 6])
def test_averaged_over_the_noise_a_regression_has_students_t(freedom: int) -> None:
    """A line through one cell's losses: nothing but the noise counts."""
    rng = np.random.default_rng(freedom)
    x = np.arange(freedom + 2.0)
    loss = 3 + 0.2 * x + 0.01 * rng.normal(size=len(x))
    line = regress(np.stack([np.ones(len(x)), x], axis=1), loss[:, None])
    cell = StackedLosses(starts=np.zeros(1, np.int64), x=x, loss=loss, count=np.ones(len(x)), tilt=np.zeros(1))
    design = Design(
        starts=cell.starts,
        random=np.zeros((len(x), 4)),
        fixed=x[:, None],
        response=loss,
        prior_mean=np.zeros(1),
        prior_precision=np.zeros(1),
    )
    variances = Variances(sigma=float(np.sqrt(line.spread[0, 0])), gamma=1e-9, tau=0.0, omega=0.3)
    found = average_over_tau(cell, design, np.zeros(len(x)), variances, 1, float(freedom), 0.0, lambda _: 0.0)
    assert np.isinf(found.freedom)
    value, low, high = line.interval(1)
    half = (high - low) / 2
    assert found.interval(0, 0.95) == pytest.approx((value - half, value + half), abs=0.05 * half)


@pytest.mark.parametrize("tau", [0.0, 0.02, 0.3])
def test_cells_of_equal_errors_have_students_t_of_a_regression_over_them(tau: float) -> None:
    """As many degrees of freedom as cells are more than coefficients, whatever the scatter, and those of the noise;
    what a prior holds has these alone."""
    places, x = np.linspace(-1, 1, 9), np.arange(-2.0, 3)
    regressors = np.stack([np.ones(9), places], axis=1)
    columns = np.kron(regressors, x[:, None])
    cells = StackedLosses(
        starts=5 * np.arange(9),
        x=np.tile(x, 9),
        loss=columns @ [1.0, 0.5] + 0.01 * np.random.default_rng(1).normal(size=45),
        count=np.ones(45),
        tilt=np.zeros(9),
    )
    design = Design(
        starts=cells.starts,
        random=np.concatenate([np.tile(x, 9)[:, None], np.zeros((45, 3))], axis=1),
        fixed=np.concatenate([columns, np.tile(x**2, 9)[:, None]], axis=1),
        response=cells.loss,
        prior_mean=np.zeros(3),
        prior_precision=np.array([0.0, 0.0, 1e12]),
    )
    variances = Variances(sigma=0.05, gamma=1e-9, tau=tau, omega=0.3)
    found = students_t(cells, design, np.zeros(45), variances, 2, 500.0)
    assert found is not None
    errors = np.sqrt(np.diag(np.linalg.inv(regressors.T @ regressors)) * (tau**2 + variances.sigma**2 / (x @ x)))
    for which in (0, 1):
        low, high = found.interval(which, 0.95)
        assert (low + high) / 2 == pytest.approx(found.estimate(which), abs=1e-9)
        assert (high - low) / 2 == pytest.approx(student.ppf(0.975, 1 / (1 / 7 + 1 / 500)) * errors[which], rel=2e-4)
    assert found.freedom_of(found.covariances[:, 2, 2]) == pytest.approx(500)


@pytest.mark.parametrize("scatter", [0.0, 0.7, 5.0])
def test_unsure_of_a_standard_error_as_a_scatter_that_is_never_below_0_makes_it(scatter: float) -> None:
    """A variance of the sum of the squared scatter and a hundred, the first known to one."""
    square = np.array([scatter, scatter + 1e-3])
    one = Averages(
        tau=np.sqrt(square),
        weights=np.array([1.0, 0.0]),
        centres=np.zeros((2, 1)),
        covariances=(100 + square)[:, None, None],
        freedom=np.inf,
        doubt=1.0,
    )

    def moment(power: int) -> float:
        return float(quad(lambda z: max(z, 0) ** power * norm.pdf(z - scatter), 0, scatter + 10)[0])

    expected = (moment(2) - moment(1) ** 2) / (2 * (100 + scatter)) ** 2
    assert one.log_error_variance(0) == pytest.approx(expected, rel=1e-3)
