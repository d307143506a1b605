"""The smallest bend that a table could have shown: found as often as promised."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.stats import norm

from experiments.bend.power import power
from experiments.bend.verdict import decide
from experiments.joint.regressors import Regressors
from theory.bend import Direction

DELTA = 0.07


def called_up(estimate: np.ndarray, error: np.ndarray) -> np.ndarray:
    """`decide` for many tables at once, with normal intervals; it is asked itself about some of them."""
    up = (estimate > 1.96 * error) & ~(np.abs(estimate) < DELTA - 1.645 * error)
    for c, t, found in list(zip(estimate, error, up, strict=True))[::200]:
        rule = decide(c - 1.96 * t, c + 1.96 * t, c - 1.645 * t, c + 1.645 * t, DELTA)
        assert (rule is Direction.UP) == found
    return up


@pytest.mark.parametrize("error", [0.03, 0.019, 0.01])
@pytest.mark.parametrize("freedom", [20.0, 1e6])
def test_power_names_a_bend_that_is_found(error: float, freedom: float) -> None:
    """With normal errors the rule calls the named bend in 85 %, also where it was named by a table that knows its noise
    from ``freedom`` residuals, as the one that looks for it does. By simulation of 200,000 pairs of tables; 0.02 for
    second order in widths, which where both conditions of the rule bind, at 0.019, make the name a little cautious. The
    name is smooth in the width: 60 of them are looked up, and what lies between."""

    def named(s: float) -> float:
        return power(1.96 * s, 1.645 * s, DELTA, 1 / (2 * freedom)).smallest_bend

    rng = np.random.default_rng(0)
    first, second = error * np.sqrt(rng.chisquare(freedom, (2, 200_000)) / freedom)
    known = np.linspace(first.min(), first.max(), 60)
    names = CubicSpline(known, [named(s) for s in known])
    for s in first[:10]:
        assert names(s) == pytest.approx(named(s), abs=2e-3 * error)
    found = called_up(names(first) + error * rng.normal(size=len(first)), second)
    assert 0.83 < found.mean() < (0.89 if error == 0.019 else 0.87)


@pytest.mark.parametrize("error", [0.05, 0.01])
def test_power_with_known_widths_is_the_normal_quantile(error: float) -> None:
    """In the limit of widths that are known, 85 % of the estimates are above the larger of the two limits."""
    limit = max(1.96 * error, DELTA - 1.645 * error)
    found = power(1.96 * error, 1.645 * error, DELTA, 0.0)
    assert found.smallest_bend == pytest.approx(limit + norm.ppf(0.85) * error, rel=1e-4)
    straight = max(2 * norm.cdf((DELTA - 1.645 * error) / error) - 1, 0)
    assert found.straight_if_straight == pytest.approx(straight, abs=1e-4)


@pytest.mark.parametrize(("error", "unsure"), [(0.1, 0.0), (0.03, 0.01), (0.01, 0.1), (0.3, 1.0)])
def test_with_so_much_narrower_intervals_a_straight_law_is_called_straight(error: float, unsure: float) -> None:
    k = power(1.96 * error, 1.645 * error, DELTA, unsure).narrower
    assert power(1.96 * error / k, 1.645 * error / k, DELTA, unsure).straight_if_straight == pytest.approx(
        0.85, abs=1e-6
    )
    if not unsure:
        assert k == pytest.approx((1.645 + norm.ppf(0.925)) * error / DELTA, rel=1e-3)


def test_as_many_cells_over_a_wider_range_have_narrower_intervals() -> None:
    """By `narrower` in the error of the second derivative, in a regression of optima with errors all alike."""

    def error(factor: float) -> float:
        settings = [
            {"num_params": 1e8 * factor**a, "num_tokens": 1e10 * 64**b} for a in (-1, 0.3, 1) for b in (0, 0.5, 1)
        ]
        model = Regressors.of(settings, ("num_params", "num_tokens"), skip_batch=True)
        at = model.halves["num_params"]
        return float(np.linalg.inv(model.columns.T @ model.columns)[at, at] ** 0.5)

    narrower = power(0.196, 0.1645, DELTA, 0.0).narrower
    assert error(8) / error(8**narrower**0.5) == pytest.approx(narrower, rel=1e-9)
