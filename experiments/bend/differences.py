"""Do two groups of runs scale differently? Differences of their exponents, with intervals.

Groups are fitted apart, so their estimates are independent: the half widths of the two intervals on either side add in
quadrature about the difference of the estimates, which keeps intervals lopsided that are (Zou and Donner, Statistics
in Medicine 27, 1693, 2008). The level is that of the two intervals. An exponent is that at the middle of its own group:
where laws curve, and the middles lie apart, their distance counts as a difference too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from experiments.bend.fit import GroupFit


@dataclass(frozen=True, kw_only=True)
class Difference:
    """``value`` = exponent of the first of two ``groups`` less that of the second, 95 % interval ``low`` to ``high``;
    ``at``: where each was taken."""

    groups: tuple[str, str]
    axis: str
    value: float
    low: float
    high: float
    at: tuple[float, float]


def exponent_differences(groups: Sequence[GroupFit]) -> list[Difference]:
    """Of every pair of groups, along everything that both have an exponent of."""
    found = []
    for one, other in combinations(groups, 2):
        for axis in one.exponents:
            first, second = _known(one, axis), _known(other, axis)
            if first is None or second is None:
                continue
            value = first.value - second.value
            found.append(
                Difference(
                    groups=(str(one.group), str(other.group)),
                    axis=axis,
                    value=value,
                    low=value - math.hypot(first.below, second.above),
                    high=value + math.hypot(first.above, second.below),
                    at=(first.at, second.at),
                )
            )
    return found


@dataclass(frozen=True)
class _Known:
    """An exponent, how far its interval reaches below and above it, and where it was taken."""

    value: float
    below: float
    above: float
    at: float


def _known(group: GroupFit, axis: str) -> _Known | None:
    item = group.exponents.get(axis)
    if item is None or item.value is None or item.low is None or item.high is None or item.at is None:
        return None
    return _Known(item.value, item.value - item.low, item.high - item.value, item.at)
