"""Groups read alike: one shape of the loss for all cells, or a shape for each, where that is asked for."""

from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from experiments.bend.evidence.shapes import Shapes
from experiments.bend.fit import fit_bend
from experiments.calibration.kinked_sweeps import Design
from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.cli.tables.fit import fit_in_words
from tests.experiments.bend.test_few_rates import three_rates
from theory import InvalidParameter

SMOOTH = pd.read_csv(Path(__file__).parents[3] / "docs" / "samples" / "sweep.csv")
KINKED = make_sweep(Scenario(name="kinked", noise=0.002, kinked=Design()), 1).table
ALIKE = "joint, one shape, walls left out"
APART = "joint, a shape for each cell, near its best rate"


@pytest.mark.parametrize(
    ("table", "chosen", "other", "name"), [(SMOOTH, "shared", "own", APART), (KINKED, "own", "shared", ALIKE)]
)
def test_what_was_not_chosen_is_the_estimator_of_that_name(
    table: pd.DataFrame, chosen: Shapes, other: Shapes, name: str
) -> None:
    (by_rule,) = fit_bend(table).groups
    (same,), (asked,) = (fit_bend(table, sensitivity=False, shapes=one).groups for one in (chosen, other))
    assert (by_rule.law.shapes, same.law.shapes, asked.law.shapes) == (chosen, chosen, other)
    told = {one.name: one.curvature for one in by_rule.estimators}
    for axis, curvature in asked.curvature.items():
        assert (curvature.value, curvature.low, curvature.high) == pytest.approx(told[name][axis], abs=1e-9)
        assert same.curvature[axis].value == pytest.approx(by_rule.curvature[axis].value, abs=1e-9)
        assert abs(curvature.value - by_rule.curvature[axis].value) > 1e-4
    assert any("a shape for each cell, as asked for" in note for group in (same, asked) for note in group.notes)
    assert not any("differ in shape" in note for group in (same, asked) for note in group.notes)


def test_groups_that_are_read_by_other_shapes_are_told() -> None:
    both = pd.concat([SMOOTH.assign(optimizer="adamw"), KINKED.assign(optimizer="adamh")])
    words = fit_in_words(fit_bend(both, sensitivity=False))
    assert "(shared: adamw; own: adamh); --shapes shared and --shapes own read them alike" in words
    for shapes in get_args(Shapes):
        assert "read them alike" not in fit_in_words(fit_bend(both, sensitivity=False, shapes=shapes))


def test_three_rates_share_their_shape_even_so() -> None:
    (group,) = fit_bend(three_rates(5), sensitivity=False, shapes="own").groups
    assert group.law.shapes == "shared"
    assert any("asked for, but these cells do not determine them" in note for note in group.notes)


def test_other_words_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="shapes = 'round' must be shared or own"):
        fit_bend(SMOOTH, shapes="round")  # type: ignore[arg-type]
