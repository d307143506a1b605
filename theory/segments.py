"""The pieces that schedules are made of, holds, straight ramps and half cosines, and a function of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.checks import InvalidParameter, require_integer_field
from theory.roots import root_between


class Segment(NamedTuple):
    """A piece of a schedule: from ``first`` to ``last`` over ``length`` steps (not 0)."""

    shape: Literal["ramp", "half cosine"]
    length: int
    first: float
    last: float

    def value(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """s(x) for x in [0, length], in steps from the start of the segment."""
        z = x / self.length
        if self.shape == "ramp":
            return self.first + (self.last - self.first) * z
        return self.last + (self.first - self.last) * (0.5 + 0.5 * np.cos(np.pi * z))

    def integral(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        r""":math:`\int_0^x s`."""
        z = x / self.length
        if self.shape == "ramp":
            return x * (self.first + 0.5 * (self.last - self.first) * z)
        mean, amplitude = (self.first + self.last) / 2, (self.first - self.last) / 2
        return self.length * (mean * z + amplitude * np.sin(np.pi * z) / np.pi)

    def integral_of_square(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        r""":math:`\int_0^x s^2`."""
        z = x / self.length
        if self.shape == "ramp":
            rise = self.last - self.first
            return x * (self.first**2 + self.first * rise * z + rise**2 * z**2 / 3)
        mean, amplitude = (self.first + self.last) / 2, (self.first - self.last) / 2
        return self.length * (
            (mean**2 + amplitude**2 / 2) * z
            + 2 * mean * amplitude * np.sin(np.pi * z) / np.pi
            + amplitude**2 * np.sin(2 * np.pi * z) / (4 * np.pi)
        )

    def time_at_integral(self, amount: NDArray[np.float64]) -> NDArray[np.float64]:
        """x in [0, length] at which `integral` is ``amount``, between 0 and that of the whole segment."""
        if self.shape == "ramp":
            slope = (self.last - self.first) / self.length
            root = np.sqrt(np.maximum(self.first**2 + 2 * slope * amount, 0.0))
            with np.errstate(invalid="ignore"):
                return np.where(amount > 0, np.minimum(2 * amount / (self.first + root), self.length), 0.0)
        # Kepler's equation
        whole = self.integral(np.array(float(self.length)))
        return root_between(
            lambda x, wanted: self.integral(x) - wanted, 0.0, float(self.length), np.minimum(amount, whole)
        )


@dataclass(frozen=True, kw_only=True)
class Piecewise:
    """A function of time in pieces, and its sums over steps; what the schedules of `theory.schedules` share.

    Parameters
    ----------
    num_steps : length T of the run, at least 1.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    name: ClassVar[str]

    num_steps: int

    def __post_init__(self) -> None:
        require_integer_field(self, "num_steps", at_least=1)

    def segments(self) -> list[Segment]:
        """The pieces in order, none of zero length; their lengths add up to ``num_steps``."""
        raise TypeError("use one of Constant, Linear, Cosine, WSD, CosineRestarts, Tabulated")

    @property
    def peak_end(self) -> int:
        """Number of steps before the decay begins: ``num_steps`` if it never does."""
        end = 0
        for segment in self.segments():
            if segment.last < segment.first:
                break
            end += segment.length
        return end

    def multipliers(self) -> NDArray[np.float64]:
        """Learning rate at every step over the peak, shape (num_steps,), in [0, 1]."""
        return np.concatenate(
            [segment.value(np.arange(segment.length, dtype=np.float64) + 0.5) for segment in self.segments()]
        )

    def value(self, x: ArrayLike) -> NDArray[np.float64]:
        """s(x) at continuous times x in [0, num_steps]."""
        x = self._times(x)
        result, start = np.full_like(x, np.nan), 0
        for segment in self.segments():
            inside = (x >= start) & (x <= start + segment.length)
            result[inside] = segment.value(x[inside] - start)
            start += segment.length
        return result

    def integral(self, x: ArrayLike) -> NDArray[np.float64]:
        r""":math:`\int_0^x s`, so that :math:`\kappa(x) = \lambda\eta\int_0^x s`."""
        return self._accumulate(x, Segment.integral)

    def integral_of_square(self, x: ArrayLike) -> NDArray[np.float64]:
        r""":math:`\int_0^x s^2`: without weight decay :math:`\rho(x) = \rho_0 + \eta^2\int_0^x s^2`."""
        return self._accumulate(x, Segment.integral_of_square)

    def kappa(self, x: ArrayLike, *, learning_rate: float, weight_decay: float) -> NDArray[np.float64]:
        r"""Accumulated decay :math:`\kappa(x) = \lambda\int_0^x\eta`; the norm forgets as :math:`e^{-2\kappa}`."""
        return learning_rate * weight_decay * self.integral(x)

    def time_at_integral(self, amount: ArrayLike) -> NDArray[np.float64]:
        r"""x at which :math:`\int_0^x s` reaches ``amount``, the inverse of `integral`; inf if the run ends before."""
        amount = np.asarray(amount, dtype=np.float64)
        if not np.all(amount >= 0):
            raise InvalidParameter("amount", amount, "at least 0")
        result, start, before = np.full_like(amount, np.inf), 0, 0.0
        for segment in self.segments():
            whole = float(segment.integral(np.array(float(segment.length))))
            inside = np.isinf(result) & (amount <= before + whole)
            result = np.where(inside, start + segment.time_at_integral(np.clip(amount - before, 0, whole)), result)
            start, before = start + segment.length, before + whole
        return result

    def _times(self, x: ArrayLike) -> NDArray[np.float64]:
        times = np.asarray(x, dtype=np.float64)
        if np.any((times < 0) | (times > self.num_steps)):
            raise InvalidParameter("x", x, f"between 0 and num_steps = {self.num_steps}")
        return times

    def _accumulate(
        self, x: ArrayLike, primitive: Callable[[Segment, NDArray[np.float64]], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        x = self._times(x)
        result, start = np.zeros_like(x), 0
        for segment in self.segments():
            result = result + primitive(segment, np.clip(x - start, 0, segment.length))
            start += segment.length
        return result


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
