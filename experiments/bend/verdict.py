r"""What is said of an axis: its exponent, its curvature, and the verdict whether it bends.

**Rule.** Let c be the curvature of :math:`\ln\eta_*` along an axis, with a 90 % and a 95 % interval. The first that
applies:

- ``straight``: the 90 % interval lies inside :math:`\pm\delta`. Both one-sided tests, of c against :math:`-\delta` and
  against :math:`\delta`, then reject at 5 % (two one-sided tests, Schuirmann 1987). The default :math:`\delta`,
  `theory.bend.DELTA`, moves a tenfold extrapolation by :math:`\frac12\delta\ln^2 10 = 0.2` in :math:`\ln\eta_*`;
- ``bends-up``, ``bends-down``: the 95 % interval excludes 0;
- ``not-identifiable``: neither.

The order matters where both apply: a bend that is told from 0 and is too small to matter is straight.
"""

from __future__ import annotations

from dataclasses import dataclass

from theory.bend import Direction

UNDECIDED = "the interval holds both 0 and more than delta"


@dataclass(frozen=True, kw_only=True)
class Exponent:
    r"""An exponent :math:`d\ln\eta_*/d\ln(\text{axis})`, or why there is none.

    value : of the exponent; low, high : its 95 % interval. at : the value of the axis where it is taken, the middle of
    the table. reason : why it is not defined; then everything else is None.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    at: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Curvature:
    r"""A curvature :math:`d^2\ln\eta_*/d\ln(\text{axis})^2` and its verdict.

    value : of the curvature; low, high : its 95 % interval; low_90, high_90 : its 90 % interval; all None where it is
    not defined. verdict : by the rule above. reason : why it is not-identifiable, None otherwise.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    low_90: float | None = None
    high_90: float | None = None
    verdict: Direction = Direction.NOT_IDENTIFIABLE
    reason: str | None = None


def decide(low: float, high: float, low_90: float, high_90: float, delta: float) -> Direction:
    """The rule above. ``low, high`` and ``low_90, high_90`` are the two intervals, ``delta`` above 0.

    >>> decide(0.005, 0.06, 0.01, 0.055, delta=0.07).value
    'straight'
    >>> decide(0.005, 0.09, 0.01, 0.08, delta=0.07).value
    'bends-up'
    """
    if -delta < low_90 and high_90 < delta:
        return Direction.STRAIGHT
    if low > 0:
        return Direction.UP
    if high < 0:
        return Direction.DOWN
    return Direction.NOT_IDENTIFIABLE


def verdict_in_words(verdict: Direction, delta: float) -> str:
    """As people read it: ``straight`` has its limit beside it, since it may be told from 0 all the same.

    >>> verdict_in_words(Direction.STRAIGHT, 0.07), verdict_in_words(Direction.UP, 0.07)
    ('straight within 0.07', 'bends-up')
    """
    return f"{verdict.value} within {delta:g}" if verdict is Direction.STRAIGHT else verdict.value


def rule_in_words(delta: float) -> str:
    """What the verdicts mean, in a sentence."""
    return (
        f"Verdicts: {verdict_in_words(Direction.STRAIGHT, delta)}: the 90 % interval lies inside +-{delta:g} (--delta),"
        " a bend too small to matter, be it told from 0 or not; bends-up, bends-down: the 95 % interval leaves out 0;"
        " not-identifiable: neither."
    )


def curvature_of(
    value: float, interval: tuple[float, float], interval_90: tuple[float, float], delta: float
) -> Curvature:
    """A curvature with the verdict on its 95 % and its 90 % interval."""
    verdict = decide(*interval, *interval_90, delta)
    return Curvature(
        value=value,
        low=interval[0],
        high=interval[1],
        low_90=interval_90[0],
        high_90=interval_90[1],
        verdict=verdict,
        reason=UNDECIDED if verdict is Direction.NOT_IDENTIFIABLE else None,
    )
