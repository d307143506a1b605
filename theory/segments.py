"""The pieces that schedules are made of: holds, straight ramps and half cosines, each with its integrals."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
