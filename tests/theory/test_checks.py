"""Counts: NumPy's integers become plain ones, so that equal settings print, compare and save alike."""

from __future__ import annotations

import numpy as np
import pytest

from theory import Constant, InvalidParameter, Linear
from theory.checks import require_delta, require_integer, require_kind, require_magnitude, require_number


@pytest.mark.parametrize("kind", [int, np.int64, np.int16, np.uint64])
def test_a_count_is_returned_as_an_int(kind: type) -> None:
    count = require_integer("dim", kind(7), at_least=2, at_most=7)
    assert (count, type(count)) == (7, int)
    with pytest.raises(InvalidParameter, match="at least 8"):
        require_integer("dim", kind(7), at_least=8)


@pytest.mark.parametrize("value", [True, np.True_, 7.0, np.float64(7), "7", None, np.array([7])])
def test_what_is_no_count(value: object) -> None:
    with pytest.raises(InvalidParameter, match="whole number"):
        require_integer("dim", value, at_least=2)


def test_settings_hold_plain_ints() -> None:
    given = Linear(num_steps=np.int64(10), warmup_steps=np.int32(3))  # type: ignore[arg-type]
    assert repr(given) == repr(Linear(num_steps=10, warmup_steps=3))


def test_kinds() -> None:
    require_kind("schedule", Constant(num_steps=1), Constant | Linear)
    for kind, allowed in ((Constant | Linear, "Constant or Linear"), (Constant, "Constant")):
        with pytest.raises(InvalidParameter, match=f"schedule = 3 must be an object of type {allowed}$"):
            require_kind("schedule", 3, kind)


def test_a_curvature_that_counts_as_straight_has_both_its_bounds() -> None:
    assert (require_delta(1e-6), require_delta(100)) == (1e-6, 100.0)
    for value in (0.99e-6, 100.5):
        with pytest.raises(InvalidParameter, match="delta = "):
            require_delta(value)


def test_a_magnitude_has_both_its_bounds() -> None:
    assert (require_magnitude("rate", 1e-20), require_magnitude("rate", 1e20)) == (1e-20, 1e20)
    for value in (0.99e-20, 1.01e20):
        with pytest.raises(InvalidParameter, match="rate = "):
            require_magnitude("rate", value)


def test_a_count_ends_where_floats_stop_to_hold_all_whole_numbers() -> None:
    assert require_integer("num_steps", 2**53, at_least=1) == float(2**53)
    with pytest.raises(InvalidParameter, match=r"at least 1$"):
        require_integer("num_steps", 2**53 + 1, at_least=1)


def test_a_number_too_large_to_reckon_with_is_infinite() -> None:
    """Either way, and whole numbers that no float holds as well."""
    assert require_number("rate", -0.99e300) == -0.99e300
    for value in (1e300, -1e300, 10**400):
        with pytest.raises(InvalidParameter, match=r"must be a finite number$"):
            require_number("rate", value)
