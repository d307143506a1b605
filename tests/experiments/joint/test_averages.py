"""Quantiles of mixtures of t distributions: against the distribution function, and the limits they have."""

import numpy as np
import pytest
from scipy.stats import t as student

from experiments.joint.averages import central_interval, mixture_quantile


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
