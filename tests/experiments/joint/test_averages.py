"""Quantiles of mixtures of t distributions: against the distribution function, and the limits they have."""

import numpy as np
import pytest
from scipy.stats import t as student

from experiments.joint.averages import average_over_tau, central_interval, mixture_quantile
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
