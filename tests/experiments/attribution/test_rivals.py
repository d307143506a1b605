"""Rivals: one that makes the bend is found, bystanders are not blamed, what cannot be told apart is said to be so."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from experiments.attribution.rivals import RivalVerdict, judge_rival
from tests.experiments.planted_optima import make_rival
from theory import InvalidParameter

SWEEPS = 60
PLANTED = {"link": -0.5, "bend_by_link": 0.2, "bend_beside": 0.0}
PART = {"link": -0.5, "bend_by_link": 0.2, "bend_beside": 0.2}
BYSTANDER = {"link": 0.0, "bend_by_link": 0.2, "bend_beside": 0.2}
POWER = {"link": -0.5, "bend_by_link": 0.0, "bend_beside": 0.2}
BLAMED = (RivalVerdict.COULD_EXPLAIN, RivalVerdict.EXPLAINS_PART)


def verdicts(planted: dict[str, float], seed: int, **changes: float) -> Counter[RivalVerdict]:
    rng = np.random.default_rng(seed)
    found: Counter[RivalVerdict] = Counter()
    for _ in range(SWEEPS):
        optima, runs = make_rival(rng, **planted, **changes)  # type: ignore[arg-type]
        found[judge_rival(optima, runs, "rival").axes["num_params"].verdict] += 1
    return found


@pytest.mark.long
def test_a_planted_rival_is_found() -> None:
    """Measured power 0.9; fewer than 45 of 60 at 0.9 come once in 3,000."""
    assert binom.cdf(44, SWEEPS, 0.9) < 5e-4
    assert sum(verdicts(PLANTED, 0)[verdict] for verdict in BLAMED) >= 45


def test_a_rival_that_makes_half_leaves_half() -> None:
    assert verdicts(PART, 1)[RivalVerdict.EXPLAINS_PART] >= 40


@pytest.mark.long
@pytest.mark.parametrize("planted", [BYSTANDER, POWER])
def test_a_harmless_column_is_not_blamed(planted: dict[str, float]) -> None:
    """A bystander bends as the optimum does and moves nothing; a power of scale moves it and does not bend. At a rate
    of 5 % more than 8 of 60 are blamed once in 300."""
    assert binom.sf(8, SWEEPS, 0.05) < 3.5e-3
    found = verdicts(planted, 2)
    assert sum(found[verdict] for verdict in BLAMED) <= 8
    assert found[RivalVerdict.CANNOT_EXPLAIN] >= 20


def test_intervals_cover() -> None:
    """At true coverage of 95 % fewer than 50 of 60 come once in 2,000."""
    assert binom.cdf(49, SWEEPS, 0.95) < 5e-4
    rng, hits = np.random.default_rng(3), Counter[str]()
    for _ in range(SWEEPS):
        optima, runs = make_rival(rng, **PART)  # type: ignore[arg-type]
        rival = judge_rival(optima, runs, "rival")
        axis = rival.axes["num_params"]
        for name, found, truth in (
            ("exponent", rival.exponent, -0.5),
            ("curvature", axis.curvature, -0.4),
            ("explained", axis.explained, 0.2),
            ("left", axis.left, 0.2),
            ("bend", axis.bend, 0.4),
        ):
            assert found is not None
            hits[name] += found[1] <= truth <= found[2]
    assert min(hits.values()) >= 50, hits


def test_a_column_that_is_scale_itself_cannot_be_told_apart() -> None:
    optima, runs = make_rival(np.random.default_rng(4), **PLANTED, wander=0.0, measured_to=0.0)  # type: ignore[arg-type]
    rival = judge_rival(optima, runs, "rival")
    assert rival.axes["num_params"].verdict is RivalVerdict.CANNOT_BE_TOLD_APART
    assert "collinear" in str(rival.axes["num_params"].reason)
    assert rival.exponent is None
    given = judge_rival(optima, runs, "rival", exponent=-0.5)
    assert given.given
    assert given.axes["num_params"].verdict is RivalVerdict.COULD_EXPLAIN
    other_way = judge_rival(optima, runs, "rival", exponent=0.5)
    assert other_way.axes["num_params"].verdict is RivalVerdict.CANNOT_EXPLAIN


def test_a_noisy_column_cannot_be_told_apart() -> None:
    optima, runs = make_rival(np.random.default_rng(5), **PLANTED, measured_to=0.4)  # type: ignore[arg-type]
    rival = judge_rival(optima, runs, "rival")
    assert rival.reliability is not None
    assert rival.reliability < 0.8
    assert "its own noise" in str(rival.axes["num_params"].reason)


def test_a_column_without_curvature_would_need_a_steep_exponent() -> None:
    planted = {"link": 0.0, "bend_by_link": 0.0, "bend_beside": 0.4}
    optima, runs = make_rival(np.random.default_rng(6), **planted, wander=0.02, measured_to=0.0)  # type: ignore[arg-type]
    axis = judge_rival(optima, runs, "rival").axes["num_params"]
    assert axis.verdict is RivalVerdict.CANNOT_EXPLAIN
    assert "beyond 2" in str(axis.reason)


def test_nothing_to_explain_on_an_axis_without_a_bend() -> None:
    optima, runs = make_rival(np.random.default_rng(7), **PLANTED)  # type: ignore[arg-type]
    assert judge_rival(optima, runs, "rival").axes["num_tokens"].verdict is RivalVerdict.NOTHING_TO_EXPLAIN


def test_columns_are_checked() -> None:
    optima, runs = make_rival(np.random.default_rng(10), **PLANTED)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="a column of numbers"):
        judge_rival(optima, runs, "sharpness")
    runs.numbers["rival"][3] = -1.0
    with pytest.raises(InvalidParameter, match="above 0"):
        judge_rival(optima, runs, "rival")
    runs.numbers["rival"][:] = np.nan
    with pytest.raises(InvalidParameter, match="inside the grid"):
        judge_rival(optima, runs, "rival")
