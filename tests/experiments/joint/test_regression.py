"""Weighted least squares of several responses: against the textbook, and ratios by Fieller."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import linregress
from scipy.stats import t as student

from experiments.joint.regression import cell_weights, power_columns, regress, regress_each, share_interval


def test_one_response_is_a_textbook_line() -> None:
    """Slope, standard error and interval as SciPy has them; with weights, coefficients and covariance as NumPy's."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=12)
    y = 2 - 0.5 * x + 0.1 * rng.normal(size=12)
    design = np.stack([np.ones(12), x], axis=1)
    fit, known = regress(design, y[:, None]), linregress(x, y)
    assert fit.combination(1) == pytest.approx((known.slope, known.stderr), rel=1e-12)
    value, low, high = fit.interval(1, level=0.9)
    assert (low, high) == pytest.approx(known.slope + known.stderr * student.ppf([0.05, 0.95], 10), rel=1e-12)
    assert value == fit.interval(1)[0]
    weights = rng.uniform(0.2, 3.0, size=12)
    weighted = regress(design, y[:, None], weights)
    coefficients, covariance = np.polyfit(x, y, 1, w=np.sqrt(weights), cov=True)
    assert weighted.coefficients[::-1, 0] == pytest.approx(coefficients, rel=1e-12)
    assert weighted.spread[0, 0] * weighted.cross[::-1, ::-1] == pytest.approx(covariance, rel=1e-10)


def test_weights_follow_the_errors_where_there_is_no_scatter() -> None:
    rng = np.random.default_rng(9)
    design = np.stack([np.ones(40), np.linspace(-1, 1, 40)], axis=1)
    errors = np.where(np.arange(40) % 2, 0.01, 0.1)[:, None] * np.ones(3)
    still = design @ rng.normal(size=(2, 3)) + errors * rng.normal(size=(40, 3))
    weights = cell_weights(design, still, errors)
    assert weights.max() / weights.min() > 20
    moved = cell_weights(design, still + rng.normal(size=(40, 3)), errors)
    assert moved.max() / moved.min() < 1.2
    fit = regress(design, still, weights)
    assert fit.freedom == 38
    with pytest.raises(np.linalg.LinAlgError):
        regress(design[:2], still[:2])


def test_many_at_once_are_each() -> None:
    """One that its cells do not determine spoils no other."""
    rng = np.random.default_rng(4)
    x, y, weights = rng.normal(size=(3, 7)), rng.normal(size=(3, 7)), rng.uniform(0.5, 2, (3, 7))
    x[1] = x[1, 0]
    coefficients, cross, spread = regress_each(power_columns(x, 2), y, weights)
    for place in (0, 2):
        one = regress(np.vander(x[place], 3), y[place, :, None], weights[place])
        np.testing.assert_allclose(coefficients[place], one.coefficients[:, 0], rtol=1e-10)
        np.testing.assert_allclose(cross[place], one.cross, rtol=1e-10)
        assert spread[place] == pytest.approx(one.spread[0, 0], rel=1e-10)
    assert np.isnan(coefficients[1]).all()


def test_the_interval_of_a_share_is_fiellers() -> None:
    """By its definition: the shares x for which part - x whole is not told from 0."""
    part, whole, covariance, half = 0.3, 0.5, (0.01, 0.004, 0.02), 2.0
    low, high = share_interval(part, whole, covariance, half) or (np.nan, np.nan)
    for x in (low, high):
        variance = covariance[0] - 2 * x * covariance[1] + x**2 * covariance[2]
        assert abs(part - x * whole) == pytest.approx(half * np.sqrt(variance))
    assert low < part / whole < high
    assert share_interval(part, 0.2, covariance, half) is None
