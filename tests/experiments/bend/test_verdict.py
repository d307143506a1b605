"""The rule of the verdict, and the order of its clauses."""

from experiments.bend.verdict import decide
from theory.bend import Direction


def test_the_rule_and_its_order() -> None:
    assert decide(-0.02, 0.02, -0.015, 0.015, 0.07) is Direction.STRAIGHT
    assert decide(0.005, 0.06, 0.01, 0.055, 0.07) is Direction.STRAIGHT  # although the 95 % interval excludes 0
    assert decide(0.005, 0.09, 0.01, 0.08, 0.07) is Direction.UP
    assert decide(-0.3, -0.1, -0.29, -0.11, 0.07) is Direction.DOWN
    assert decide(-0.01, 0.2, 0.01, 0.18, 0.07) is Direction.NOT_IDENTIFIABLE
