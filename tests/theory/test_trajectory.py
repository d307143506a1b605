"""The result type: what it refuses, and which records of it are taken."""

import numpy as np
import pytest

from theory import Trajectory, record_steps
from theory.trajectory import FIELDS


def trajectory(steps: list[int], *, known: bool = False) -> Trajectory:
    """Two matrices, and entries that tell field, step and matrix apart."""
    table = 10.0 * np.array(steps)[:, None] + np.arange(2)
    values = {field: 1000.0 * number + table for number, field in enumerate(FIELDS)}
    return Trajectory(
        steps=np.array(steps), matrices=("first", "second"), radial_gradient=-table if known else None, **values
    )


@pytest.mark.parametrize(
    ("num_steps", "record_every", "expected"),
    [
        (1, 1, [0]),
        (4, 1, [0, 1, 2, 3]),
        (10, 3, [0, 3, 6, 9]),
        (11, 3, [0, 3, 6, 9, 10]),
        (12, 3, [0, 3, 6, 9, 11]),
        (5, 100, [0, 4]),
    ],
)
def test_the_last_step_is_recorded_once(num_steps: int, record_every: int, expected: list[int]) -> None:
    steps = record_steps(num_steps, record_every)
    assert steps.tolist() == expected
    assert steps.dtype == np.int64


@pytest.mark.parametrize("known", [False, True])
def test_records_are_taken_by_their_step(known: bool) -> None:
    whole = trajectory([0, 3, 6, 7], known=known)
    for steps in ([0, 3, 6, 7], [3, 7], [0], [7], []):
        part, expected = whole.at(np.array(steps, dtype=np.int64)), trajectory(steps, known=known)
        assert part.matrices == whole.matrices
        assert part.steps.tolist() == steps
        assert list(part.fields()) == list(whole.fields())
        for field, values in part.fields().items():
            np.testing.assert_array_equal(values, expected.fields()[field])


@pytest.mark.parametrize("steps", [[1], [8], [-1], [3, 4], [3, 8], [2, 3], [0, 3, 6, 7, 8]])
def test_a_step_without_a_record_is_refused(steps: list[int]) -> None:
    with pytest.raises(ValueError, match="does not hold"):
        trajectory([0, 3, 6, 7]).at(np.array(steps))


@pytest.mark.parametrize("steps", [[0, 0], [3, 2], [0, 3, 3, 4]])
def test_steps_that_do_not_increase_are_refused(steps: list[int]) -> None:
    with pytest.raises(ValueError, match="must increase"):
        trajectory(steps)


@pytest.mark.parametrize("field", [*FIELDS, "radial_gradient"])
def test_a_field_of_another_shape_is_refused(field: str) -> None:
    whole = trajectory([0, 3], known=True)
    with pytest.raises(ValueError, match=f"{field} has shape"):
        Trajectory(steps=whole.steps, matrices=whole.matrices, **{**whole.fields(), field: np.zeros((2, 3))})
