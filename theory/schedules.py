r"""Learning-rate schedules as multipliers of the peak, with their integrals in closed form.

A schedule is a piecewise function :math:`s(x)` of continuous time :math:`x \in [0, T]`, made of three kinds of
segment: hold, straight ramp, half cosine. Step t (0-based) uses the midpoint :math:`s(t + 1/2)`. The midpoint
rule is exact on holds, ramps and whole half cosines with integer breakpoints, so the *sum* over the steps of a
run equals the *integral*: nothing is lost between the discrete run and the continuous theory.

    Constant  warmup, then 1
    Linear    warmup, then straight to ``final_fraction``
    Cosine    warmup, then half a cosine to ``final_fraction``
    WSD       warmup, 1, then straight to ``final_fraction`` over the last ``decay_fraction`` of the run
              (Hu et al., arXiv 2404.06395)
    CosineRestarts   warmup, then several half cosines of equal length, each from 1 to ``final_fraction``
    Tabulated        any multipliers, step by step: each is held for its step, so that sums are integrals here too

Where a function takes a schedule it takes an array of multipliers as well, one a step, 1 at the peak (`as_schedule`).

Eight steps of a cosine with a warmup of two, and their sum, the integral:

>>> from theory import WSD, Cosine
>>> schedule = Cosine(num_steps=8, warmup_steps=2)
>>> schedule.multipliers().round(3).tolist()
[0.25, 0.75, 0.983, 0.854, 0.629, 0.371, 0.146, 0.017]
>>> print(f"{schedule.multipliers().sum():.6f} {schedule.integral(8):.6f}")
4.000000 4.000000

The closed forms know any time, not only the steps:

>>> schedule = WSD(num_steps=1000, warmup_steps=100)
>>> schedule.value([50, 500, 900, 1000]).tolist()
[0.5, 1.0, 0.5, 0.0]
>>> float(schedule.time_at_integral(450))  # the time at which the rates add up to 450 steps at the peak
500.0
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.checks import InvalidParameter, require_integer, require_integer_field, require_number
from theory.segments import Piecewise, Segment


@dataclass(frozen=True, kw_only=True)
class _WarmedUp(Piecewise):
    """A schedule that begins with ``warmup_steps`` of a straight rise from 0 to the peak, at most ``num_steps``."""

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_integer_field(self, "warmup_steps", at_least=0)
        if self.warmup_steps > self.num_steps:
            raise InvalidParameter("warmup_steps", self.warmup_steps, f"at most num_steps = {self.num_steps}")

    def segments(self) -> list[Segment]:
        warmup = Segment("ramp", self.warmup_steps, 0.0, 1.0)
        return [segment for segment in (warmup, *self._body()) if segment.length]

    def _body(self) -> Iterator[Segment]:
        raise TypeError("use one of Constant, Linear, Cosine, WSD, CosineRestarts")


@dataclass(frozen=True, kw_only=True)
class Constant(_WarmedUp):
    """Warmup, then the peak to the end."""

    name: ClassVar[str] = "constant"

    def _body(self) -> Iterator[Segment]:
        yield Segment("ramp", self.num_steps - self.warmup_steps, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class _Decaying(_WarmedUp):
    """A schedule that ends at ``final_fraction`` of its peak, in [0, 1]."""

    final_fraction: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("final_fraction", self.final_fraction, at_least=0, at_most=1)


@dataclass(frozen=True, kw_only=True)
class Linear(_Decaying):
    """Warmup, then a straight line down to ``final_fraction`` of the peak."""

    name: ClassVar[str] = "linear"

    def _body(self) -> Iterator[Segment]:
        yield Segment("ramp", self.num_steps - self.warmup_steps, 1.0, self.final_fraction)


@dataclass(frozen=True, kw_only=True)
class Cosine(_Decaying):
    """Warmup, then half a cosine down to ``final_fraction`` of the peak."""

    name: ClassVar[str] = "cosine"

    def _body(self) -> Iterator[Segment]:
        yield Segment("half cosine", self.num_steps - self.warmup_steps, 1.0, self.final_fraction)


@dataclass(frozen=True, kw_only=True)
class WSD(_Decaying):
    """Warmup, hold, then a straight line down over the last ``decay_fraction`` of the run, in [0, 1]."""

    name: ClassVar[str] = "wsd"

    decay_fraction: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("decay_fraction", self.decay_fraction, at_least=0, at_most=1)

    def _body(self) -> Iterator[Segment]:
        decay = min(round(self.decay_fraction * self.num_steps), self.num_steps - self.warmup_steps)
        yield Segment("ramp", self.num_steps - self.warmup_steps - decay, 1.0, 1.0)
        yield Segment("ramp", decay, 1.0, self.final_fraction)


@dataclass(frozen=True, kw_only=True)
class CosineRestarts(_Decaying):
    """Warmup, then ``num_cycles`` half cosines of equal length (up to a step), each from the peak to
    ``final_fraction`` of it (Loshchilov and Hutter, arXiv 1608.03983); at least one step a cycle."""

    name: ClassVar[str] = "cosine-restarts"

    num_cycles: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        most = max(1, self.num_steps - self.warmup_steps)
        require_integer_field(self, "num_cycles", at_least=1, at_most=most)

    def _body(self) -> Iterator[Segment]:
        length = self.num_steps - self.warmup_steps
        ends = [round(length * cycle / self.num_cycles) for cycle in range(self.num_cycles + 1)]
        for start, end in pairwise(ends):
            yield Segment("half cosine", end - start, 1.0, self.final_fraction)


@dataclass(frozen=True, kw_only=True)
class Tabulated(Piecewise):
    """Multipliers at some steps, straight lines between them, and the nearest of them before and behind.

    Parameters
    ----------
    steps : 0-based, increasing, at least one.
    values : the multiplier at each of these steps, in [0, 1]; at least one above 0.

    Examples
    --------
    A log that was written every fourth step:

    >>> from theory import Tabulated
    >>> Tabulated(num_steps=9, steps=(0, 4, 8), values=(0.0, 1.0, 0.5)).multipliers().tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0, 0.875, 0.75, 0.625, 0.5]
    """

    name: ClassVar[str] = "tabulated"

    steps: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = tuple(require_integer("steps", step, at_least=0) for step in self.steps)
        values = tuple(require_number("values", _plain(value), at_least=0, at_most=1) for value in self.values)
        if not steps or len(steps) != len(values):
            raise InvalidParameter("steps", len(steps), f"as many as values, {len(values)}, and at least one")
        late = next((b for a, b in pairwise(steps) if b <= a), None)
        if late is not None:
            raise InvalidParameter("steps", late, "larger than the one before it")
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "values", values)
        if not self._multipliers.max() > 0:
            raise InvalidParameter("values", 0.0, "above 0 at one step of the run at least")

    @cached_property
    def _multipliers(self) -> NDArray[np.float64]:
        return np.interp(np.arange(self.num_steps), self.steps, self.values)

    @property
    def warmup_steps(self) -> int:
        """Steps before the multipliers first stop to rise."""
        stopped = np.flatnonzero(np.diff(self._multipliers) <= 0)
        return int(stopped[0]) if len(stopped) else self.num_steps - 1

    def segments(self) -> list[Segment]:
        m = self._multipliers
        starts = np.flatnonzero(np.diff(m, prepend=np.nan) != 0)
        lengths = np.diff(starts, append=self.num_steps)
        return [Segment("ramp", int(n), float(m[i]), float(m[i])) for i, n in zip(starts, lengths, strict=True)]

    @property
    def peak_end(self) -> int:
        falls = np.flatnonzero(np.diff(self._multipliers) < 0)
        return int(falls[0]) + 1 if len(falls) else self.num_steps

    def multipliers(self) -> NDArray[np.float64]:
        return self._multipliers.copy()

    def value(self, x: ArrayLike) -> NDArray[np.float64]:
        return self._multipliers[np.minimum(self._times(x).astype(np.int64), self.num_steps - 1)]

    def integral(self, x: ArrayLike) -> NDArray[np.float64]:
        return self._summed(x, self._multipliers)

    def integral_of_square(self, x: ArrayLike) -> NDArray[np.float64]:
        return self._summed(x, self._multipliers**2)

    def _summed(self, x: ArrayLike, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = np.concatenate([[0.0], np.cumsum(rates)])
        return np.asarray(np.interp(self._times(x), np.arange(self.num_steps + 1), sums))


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


Schedule = Constant | Linear | Cosine | WSD | CosineRestarts | Tabulated
ScheduleLike = Schedule | ArrayLike
SCHEDULES: dict[str, type[Constant] | type[Linear] | type[Cosine] | type[WSD]] = {
    cls.name: cls for cls in (Constant, Linear, Cosine, WSD)
}
"""Those of one descent."""
ALL_SCHEDULES: dict[str, type[Schedule]] = {**SCHEDULES, **{cls.name: cls for cls in (CosineRestarts, Tabulated)}}


PIECES = 200  # of a schedule that is integrated piece by piece
LOST = 1e-3  # of the sum of squares, when steps are taken together


def coarsened(schedule: Schedule) -> Schedule:
    """A schedule of many holds in `PIECES` of the same sum or fewer, shorter where it changes and towards its end.

    Any other is left as it is. Raises `InvalidParameter` where that would take more than `LOST` off the sum of squares,
    as where the rate changes to and fro at every step.
    """
    if not isinstance(schedule, Tabulated) or len(schedule.segments()) <= PIECES:
        return schedule
    m, num_steps = schedule.multipliers(), schedule.num_steps
    changed = np.abs(np.diff(m, prepend=m[0]))
    late = 1 / np.arange(num_steps, 0, -1.0)  # d ln of the time left
    place = sum(np.cumsum(part) / part.sum() for part in (changed, late)) / 2
    starts = np.flatnonzero(np.diff(np.floor(place * PIECES), prepend=np.nan))  # the last step alone has several parts
    lengths = np.diff(starts, append=num_steps)
    held = np.repeat(np.add.reduceat(m, starts) / lengths, lengths)
    lost = 1 - float(np.sum(held**2) / np.sum(m**2))
    if lost > LOST:
        allowed = f"of at most {PIECES} pieces, or without swings from step to step: smooth or thin the multipliers"
        raise InvalidParameter("schedule", f"of {len(schedule.segments())} pieces", allowed)
    return Tabulated(num_steps=num_steps, steps=tuple(range(num_steps)), values=tuple(held.tolist()))


LOWEST_PEAK = 0.9  # of multipliers given as an array: those of a short schedule, half a step off its peak, pass


def as_schedule(schedule: ScheduleLike) -> Schedule:
    """The schedule itself, or the `Tabulated` of multipliers (num_steps,) in [0, 1] whose highest is 1.

    The peak learning rate is the optimizer's own, so that an array of rates is to be divided by its highest; one whose
    highest value is above 1 or below 0.9 is taken for rates and refused. Raises `InvalidParameter`.

    >>> from theory.schedules import as_schedule
    >>> as_schedule([0.5, 1.0, 0.5]).integral(3)
    array(2.)
    """
    if isinstance(schedule, Schedule):
        return schedule
    kinds = ", ".join(cls.__name__ for cls in ALL_SCHEDULES.values())
    allowed = f"a {kinds}, or multipliers of the peak in [0, 1], one a step"
    try:
        values = np.asarray(schedule, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidParameter("schedule", schedule, allowed) from None
    if values.ndim != 1 or not len(values):
        raise InvalidParameter("schedule", f"of shape {values.shape}", allowed)
    highest = float(values.max())
    if highest > 1 or 0 < highest < LOWEST_PEAK:
        rule = f"1 at its peak ({LOWEST_PEAK:g} to 1 is taken): rates are to be divided by their peak, {highest:g}"
        raise InvalidParameter("schedule", highest, f"{rule}, which is the optimizer's learning_rate")
    return Tabulated(num_steps=len(values), steps=tuple(range(len(values))), values=tuple(values.tolist()))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
