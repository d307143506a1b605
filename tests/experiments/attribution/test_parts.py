"""Attribution: the parts add up, planted ones are recovered at the stated rate, missing arms are said to be missing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from experiments.attribution.parts import PARTS, STRAIGHT_LAW, Arm, attribute
from experiments.bend.optimum import OptimumStatus
from tests.experiments.planted_optima import ARMS, SPAN, make_optima
from theory import InvalidParameter
from theory.bend import Direction

PLANTED = {"adamw": 0.20, "replay": 0.18, "equilibrium": 0.03, "adamh": 0.02}
BY_CORNER = {arm.corner: PLANTED[name] for name, arm in ARMS.items()}
TRUTH = {part: sum(w * BY_CORNER[corner] for corner, w in corners.items()) for part, corners in PARTS.items()}


def test_parts_without_noise() -> None:
    rng = np.random.default_rng(0)
    found = attribute(make_optima(rng, PLANTED, shared=0, own=1e-6), ARMS)
    parts = found.axes["num_params"].parts
    for name, truth in TRUTH.items():
        assert parts[name].value == pytest.approx(truth, abs=1e-5)
    assert TRUTH["angle"] == pytest.approx(0.165)
    assert TRUTH["norm"] == pytest.approx(0.015)
    assert parts["angle"].value + parts["norm"].value + parts["left"].value == pytest.approx(parts["bend"].value)
    assert parts["bend"].deviation[0] == pytest.approx(0.2 * SPAN**2 / 2, abs=1e-4)
    assert parts["angle"].share[0] == pytest.approx(0.165 / 0.2, abs=1e-4)
    assert parts["angle"].verdict is Direction.UP
    assert parts["norm"].verdict is Direction.STRAIGHT
    assert found.axes["num_tokens"].parts["bend"].value == pytest.approx(0, abs=1e-5)
    assert found.freedom == 16 - 6


@pytest.mark.long
@pytest.mark.parametrize(("size", "growth"), [(4, 0.0), (4, 1.0), (3, 1.0)])
def test_intervals_cover(size: int, growth: float) -> None:
    """120 tables each. At true coverage of 95 % fewer than 105 of 120 come once in 3,000; at 80 % more come once in
    45."""
    assert binom.cdf(104, 120, 0.95) < 1 / 3000
    assert binom.sf(104, 120, 0.80) < 1 / 45
    rng = np.random.default_rng(1)
    names = ("bend", "angle", "norm", "left", "norm, angles own")
    hits, shares = dict.fromkeys(names, 0), 0
    for _ in range(120):
        parts = attribute(make_optima(rng, PLANTED, size=size, growth=growth), ARMS).axes["num_params"].parts
        for name in names:
            hits[name] += parts[name].low <= TRUTH[name] <= parts[name].high
        share = parts["angle"].share
        shares += share[1] is None or share[1] <= TRUTH["angle"] / 0.2 <= share[2]
    assert min(*hits.values(), shares) >= 105, (hits, shares)


def test_what_arms_share_cancels() -> None:
    """Errors common to the arms of a cell widen the bend's interval and leave those of the differences as they are."""
    loud, quiet = (
        attribute(make_optima(np.random.default_rng(2), PLANTED, shared=shared, growth=0), ARMS)
        .axes["num_params"]
        .parts
        for shared in (0.5, 0.0)
    )
    assert loud["bend"].high - loud["bend"].low > 4 * (quiet["bend"].high - quiet["bend"].low)
    assert loud["angle"].high - loud["angle"].low < 1.5 * (quiet["angle"].high - quiet["angle"].low)


def test_two_arms_identify_only_their_difference() -> None:
    rng = np.random.default_rng(3)
    two = {name: ARMS[name] for name in ("adamw", "adamh")}
    parts = attribute(make_optima(rng, PLANTED, own=0.01, shared=0.01), two).axes["num_params"].parts
    known = {name for name, part in parts.items() if part.value is not None}
    assert known == {"bend", "left", "both"}
    assert parts["both"].value == pytest.approx(0.18, abs=0.05)
    for name in ("angle", "norm", "interaction"):
        assert parts[name].verdict is Direction.NOT_IDENTIFIABLE
        assert "no arm with" in str(parts[name].reason)


def test_three_arms_identify_simple_effects() -> None:
    three = {name: arm for name, arm in ARMS.items() if name != "equilibrium"}
    parts = attribute(make_optima(np.random.default_rng(4), PLANTED), three).axes["num_params"].parts
    known = {name for name, part in parts.items() if part.value is not None}
    assert known == {"bend", "left", "both", "angle, norm fixed", "norm, angles own"}
    total = parts["angle, norm fixed"].value + parts["norm, angles own"].value
    assert total == pytest.approx(parts["both"].value)


def test_a_problem_that_bends_by_itself() -> None:
    """AdamH bends by -0.05 in angle and AdamW, which follows the angle with the power 1.2, by 1.2 times that: nothing
    is left of `both` once the steepness is known, although the 2 x 2 shows 0.04."""
    own = {"adamw": 1.2 * -0.05, "adamh": 2 * -0.05}
    optima = make_optima(np.random.default_rng(5), own, shared=0, own=1e-5)
    two = {name: ARMS[name] for name in own}
    parts = attribute(optima, two, steepness={"adamw": 1.2}).axes["num_params"].parts
    assert parts["both"].value == pytest.approx(0.04, abs=1e-3)
    assert parts[STRAIGHT_LAW].value == pytest.approx(0.0, abs=1e-3)
    unknown = attribute(optima, two).axes["num_params"].parts[STRAIGHT_LAW]
    assert unknown.value is None


def test_cells_that_are_not_inside_everywhere_are_left_out_and_counted() -> None:
    optima = make_optima(np.random.default_rng(6), PLANTED)
    cells = list(optima["replay"])
    cells[3] = replace(cells[3], status=OptimumStatus.CENSORED_HIGH, learning_rate=None, high=None)
    found = attribute({**optima, "replay": tuple(cells)}, ARMS)
    assert (found.num_cells, found.num_cells_in_all) == (15, 16)
    assert "1 of 16 cells left out" in found.notes[0]
    few = {name: tuple(cells[place] for place in (0, 1, 2, 5, 8, 10, 15)) for name, cells in optima.items()}
    parts = attribute(few, ARMS).axes["num_params"].parts
    assert all(part.verdict is Direction.NOT_IDENTIFIABLE and part.value is None for part in parts.values())
    assert "7 cells" in str(parts["bend"].reason)


def test_arms_are_checked() -> None:
    optima = make_optima(np.random.default_rng(8), PLANTED)
    with pytest.raises(InvalidParameter, match="another corner"):
        attribute(optima, {"adamw": ARMS["adamw"], "replay": ARMS["adamw"]})
    with pytest.raises(InvalidParameter, match="adamc"):
        attribute(optima, {"adamc": ARMS["adamw"]})
    with pytest.raises(InvalidParameter, match="steady"):
        Arm(angle="sideways", norm="own")  # type: ignore[arg-type]
