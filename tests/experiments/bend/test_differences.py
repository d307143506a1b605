"""Differences of exponents between groups: planted ones are found, intervals cover, lopsided ones stay so."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, norm

from experiments.bend.differences import exponent_differences
from experiments.bend.fit import Exponent, GroupFit, fit_bend
from experiments.calibration.made_sweeps import Scenario, make_sweep


@pytest.fixture(scope="module")
def groups() -> tuple[GroupFit, ...]:
    """Two groups; the second's optima fall with depth 0.2 faster than those of the first, along num_params 0."""
    table = make_sweep(Scenario(name="two", noise=0.002), 3).table.rename(columns={"num_tokens": "tokens"})
    faster = table.assign(learning_rate=table.learning_rate * (table.tokens / 1e10) ** -0.2)
    return fit_bend(
        pd.concat([table.assign(optimizer="one"), faster.assign(optimizer="two")]), sensitivity=False
    ).groups


def test_a_planted_difference_is_found(groups: tuple[GroupFit, ...]) -> None:
    found = {item.axis: item for item in exponent_differences(groups)}
    assert set(found) == {"num_params", "num_tokens"}
    item = found["num_tokens"]
    assert item.groups == ("one", "two")
    assert item.value == pytest.approx(0.2, abs=1e-3)
    assert 0 < item.low < 0.2 < item.high
    assert found["num_params"].low < 0 < found["num_params"].high
    assert item.at == pytest.approx((groups[0].exponents["num_tokens"].at, groups[1].exponents["num_tokens"].at))


def test_intervals_cover_and_are_no_wider_than_they_need_be(groups: tuple[GroupFit, ...]) -> None:
    """4,000 pairs of normal estimates with errors of 1 and 3: at 95 %, fewer than 3,745 or more than 3,855 hold the
    truth once in 10,000."""
    rng, covered, number = np.random.default_rng(0), 0, 4000
    assert binom.cdf(3745, number, 0.95) + binom.sf(3855, number, 0.95) < 1e-4
    half = norm.ppf(0.975) * np.array([1.0, 3.0])
    for values in rng.normal([0.5, 0.2], [1.0, 3.0], (number, 2)):
        pair = [
            replace(group, exponents={"depth": Exponent(value=value, low=value - h, high=value + h, at=1.0)})
            for group, value, h in zip(groups, values, half, strict=True)
        ]
        (item,) = exponent_differences(pair)
        covered += item.low <= 0.3 <= item.high
    assert 3745 < covered < 3855


def test_lopsided_intervals_stay_lopsided(groups: tuple[GroupFit, ...]) -> None:
    one = replace(groups[0], exponents={"depth": Exponent(value=0.0, low=-3.0, high=1.0, at=1.0)})
    two = replace(groups[1], exponents={"depth": Exponent(value=0.0, low=-0.0, high=4.0, at=1.0)})
    (item,) = exponent_differences([one, two])
    assert (item.low, item.high) == pytest.approx((-5.0, 1.0))


def test_what_one_group_does_not_know_has_no_difference(groups: tuple[GroupFit, ...]) -> None:
    unknown = replace(groups[1], exponents={"num_params": Exponent(reason="one value")})
    assert exponent_differences([groups[0], unknown]) == []
    assert exponent_differences(groups[:1]) == []
    three = [*groups, replace(groups[0], group="three")]
    pairs = {item.groups for item in exponent_differences(three)}
    assert pairs == {("one", "two"), ("one", "three"), ("two", "three")}
