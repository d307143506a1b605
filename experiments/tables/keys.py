"""Rows by what they have in common: codes of columns, values that are one but for rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

ROUNDING = 0.01  # relative difference of two values of one scale below which they are one


def codes(columns: Sequence[NDArray[Any]], size: int) -> Codes:
    """(size,) the same number for rows that are equal in all columns; two NaN are equal."""
    result = np.zeros(size, np.int64)
    for column in columns:
        values, own = np.unique(column, return_inverse=True)
        # kept small, so that the product does not overflow
        result = np.unique(result * len(values) + own.ravel(), return_inverse=True)[1].ravel()
    return result


def count(keys: Codes) -> int:
    """How many different ones there are."""
    return len(np.unique(keys))


def joined(one: Codes, other: Codes) -> Codes:
    """Codes of pairs."""
    return np.unique(one * (int(other.max(initial=0)) + 1) + other, return_inverse=True)[1].ravel()


def merge_close(values: Array, within: float = ROUNDING) -> tuple[Array, list[Array]]:
    """Values above 0 that lie within a ratio of ``1 + within`` of one another become the most frequent of them.

    Also returns the sets that were merged, each in ascending order.
    """
    distinct, place, number = np.unique(values, return_inverse=True, return_counts=True)
    if len(distinct) < 2 or not distinct[0] > 0 or np.all(distinct[1:] > (1 + within) * distinct[:-1]):
        return values, []
    target, merged, start = distinct.copy(), [], 0
    for end in range(1, len(distinct) + 1):
        if end < len(distinct) and distinct[end] <= (1 + within) * distinct[start]:
            continue
        if end - start > 1:
            target[start:end] = distinct[start + int(np.argmax(number[start:end]))]
            merged.append(distinct[start:end])
        start = end
    return target[place.ravel()], merged
