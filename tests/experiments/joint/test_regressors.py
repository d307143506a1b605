"""Which terms a set of cells carries."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.joint.regressors import Regressors, moving_together

AXES = ("num_params", "num_tokens")
GRID = [(size, budget) for size in (1e8, 2e8, 4e8) for budget in (2e9, 8e9, 3.2e10)]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"n": [0, 1, 2], "d": [0, 1, 0]}, {}),
        ({"n": [0, 1, 2], "d": [0, 1, 0], "b": [0, -2, 0]}, {"d": ("d", "b"), "b": ("d", "b")}),
        ({"n": [0, 1, 2], "d": [0, 1, 0], "b": [1, 3, 3]}, dict.fromkeys("ndb", ("n", "d", "b"))),
        ({"n": [0, 1], "d": [0, 3]}, dict.fromkeys("nd", ("n", "d"))),  # two cells tell one slope
    ],
)
def test_only_what_is_not_told_apart_moves_together(
    columns: dict[str, list[float]], expected: dict[str, tuple[str, ...]]
) -> None:
    logs = {name: np.array(values, np.float64) - np.mean(values) for name, values in columns.items()}
    assert moving_together(logs) == expected


def test_an_axis_that_goes_with_the_batch_leaves_the_other_its_slope() -> None:
    """The bend along the tied axis is in the law, so that it is not put on the other, and is nobody's."""
    settings = [{"num_params": n, "num_tokens": d, "batch_size": (d / 1e9) ** 0.5} for n, d in GRID]
    found = Regressors.of(settings, AXES, skip_batch=False)
    assert set(found.slopes) == {"num_params"}
    assert set(found.halves) == {"num_params"}
    assert ("num_tokens", "num_tokens") in found.terms
    assert found.lost["num_tokens"] == found.lost["batch_size"] == "num_tokens and batch_size move together"
    straight = Regressors.of(settings, AXES, skip_batch=False, straight=True)
    assert set(straight.slopes) == {"num_params"}
    assert max(map(len, straight.terms)) == 1
