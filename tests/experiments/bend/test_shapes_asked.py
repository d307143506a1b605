"""Groups read alike: one shape of the loss for all cells, or a shape for each, where that is asked for."""

from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from experiments.bend.evidence.shapes import Shapes
from experiments.bend.fit import fit_bend
from experiments.bend.mean_angle import AngleOf
from experiments.calibration.kinked_sweeps import Design
from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.cli.tables.fit import as_dict, fit_in_words
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
        found = fit_bend(both, sensitivity=False, shapes=shapes)
        assert "them alike" not in fit_in_words(found)
        told = [any("one shape for all cells, as asked for" in note for note in group.notes) for group in found.groups]
        assert told == [shapes == "shared"] * 2


def test_groups_that_are_not_compared_are_not_told() -> None:
    """A third group of one cell, which has no exponent and no shapes of its own."""
    one_cell = SMOOTH[SMOOTH.set_index(["num_params", "num_tokens"]).index == (2.2e7, 1e9)]
    kinked = [KINKED.assign(optimizer=name) for name in ("adamw", "adamh")]
    words = fit_in_words(fit_bend(pd.concat([*kinked, one_cell.assign(optimizer="sgd")]), sensitivity=False))
    assert "adamh less adamw" in words
    assert "sgd: 1 cell," in words
    assert "them alike" not in words


def test_own_shapes_are_not_offered_where_a_group_cannot_have_them() -> None:
    kinked = KINKED.rename(columns={"num_tokens": "batch_size"})
    kinked["batch_size"] /= 1e8
    both = pd.concat([three_rates(5).assign(optimizer="sgd"), kinked.assign(optimizer="adamw")])
    for shapes in (None, "own"):
        words = fit_in_words(fit_bend(both, sensitivity=False, shapes=shapes))
        assert "(shared: sgd; own: adamw); --shapes shared reads them alike." in words


def test_a_mean_angle_that_is_read_by_other_shapes_is_told() -> None:
    runs = SMOOTH.assign(weight_decay=0.1, initial_rms=0.02, num_steps=SMOOTH["num_tokens"] / 5e5)
    for shapes, told in ((None, True), ("shared", False), ("own", False)):
        found = fit_bend(runs, sensitivity=False, effective=AngleOf(schedule="cosine"), shapes=shapes)  # type: ignore[arg-type]
        assert ("(shared: learning rate; own: mean angle)" in fit_in_words(found)) is told
        (group,) = as_dict(found)["groups"]
        assert (group["shapes"], group["shapes_effective"]) == (shapes or "shared", shapes or "own")


def test_rates_of_cells_that_cannot_be_used_are_not_left_out_by_a_window() -> None:
    lone = pd.DataFrame({"num_params": [1.1e8, 1.2e8], "num_tokens": 1e10, "learning_rate": 0.01, "loss": 3.0})
    (group,) = fit_bend(pd.concat([KINKED, lone])).groups
    number = sum("window" in str(rate["reason"]) for cell in group.cells for rate in cell.left_out)
    assert number > 0
    (note,) = (note for note in group.notes if "with a shape of its own" in note)
    assert f", {number} learning rates farther away" in note
    assert "the second row of the estimators" in note
    (alone,) = fit_bend(KINKED, sensitivity=False).groups
    assert not any("estimators" in note for note in alone.notes)


def test_three_rates_share_their_shape_even_so() -> None:
    (group,) = fit_bend(three_rates(5), sensitivity=False, shapes="own").groups
    assert group.law.shapes == "shared"
    assert any("asked for, but these cells do not determine them" in note for note in group.notes)


def test_other_words_are_refused() -> None:
    with pytest.raises(InvalidParameter, match="shapes = 'round' must be shared or own"):
        fit_bend(SMOOTH, shapes="round")  # type: ignore[arg-type]
