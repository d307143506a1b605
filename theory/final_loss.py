"""What the laws of a final loss share, `theory.two_angles` and `theory.two_clocks`: checks, a lag, the best rate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import astuple, fields
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.checks import InvalidParameter, require_number

Array = NDArray[np.float64]

TINY = np.finfo(np.float64).tiny
SHORTEST = 1e-9  # of a relaxation that is none


class FinalLossLaw(ABC):
    """A frozen dataclass of constants above 0, those called ``lag`` at least 0. Raises `InvalidParameter`."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            bound = {"at_least": 0.0} if field.name == "lag" else {"above": 0.0}
            require_number(field.name, getattr(self, field.name), **bound)

    @abstractmethod
    def _loss(self, angles: Array, multipliers: Array) -> Array:
        """`loss` of checked arguments; ``multipliers`` broadcasts against ``angles``."""

    def loss(self, angles: ArrayLike, multipliers: ArrayLike) -> Array:
        """Final loss in nats.

        Parameters
        ----------
        angles : (num_steps, ...) radians per step, at least 0.
        multipliers : (num_steps,) rate of the other parameters over its peak, at least 0.
        """
        theta, rate = np.asarray(angles, np.float64), np.asarray(multipliers, np.float64)
        if rate.ndim != 1 or theta.shape[:1] != rate.shape:
            raise InvalidParameter("multipliers", rate.shape, "a row as long as the angles")
        for name, values in (("angles", theta), ("multipliers", rate)):
            if not np.all(np.isfinite(values) & (values >= 0)):
                raise InvalidParameter(name, "an array with other values", "finite and at least 0")
        return self._loss(theta, rate.reshape(-1, *(1,) * (theta.ndim - 1)))

    def coordinates(self) -> Array:
        """Logarithms of the constants, for an optimiser; a lag of 0 has none."""
        return np.log(np.array(astuple(self)))  # type: ignore[call-overload]

    @classmethod
    def from_coordinates(cls, coordinates: Array) -> Self:
        """Inverse of `coordinates`."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type]
        return cls(**dict(zip(names, np.exp(coordinates).tolist(), strict=True)))


def to_come(angles: Array) -> Array:
    """Angle still to come at each step, half of its own included; shapes (num_steps, ...)."""
    return np.cumsum(angles[::-1], axis=0)[::-1] - angles / 2


def lagged(clock: Array, relaxation: Array) -> Array:
    """What follows a clock from 0 with a relaxation time, ``clock - D (1 - exp(-clock/D))``, at least 0.

    It is `theory.two_clocks.derive_lag`, at the relaxation of each step.
    """
    time = np.maximum(relaxation, SHORTEST)
    return np.maximum(clock + time * np.expm1(-clock / time), 0.0)


def best_learning_rate(
    law: FinalLossLaw, learning_rates: ArrayLike, angles: ArrayLike, multipliers: ArrayLike
) -> tuple[float, float]:
    """Learning rate of the least loss, and that loss: the bottom of a parabola in its logarithm.

    Parameters
    ----------
    learning_rates : (n,) increasing, a factor of 1.2 apart or less for an optimum good to 1 %.
    angles : (num_steps, n) what each turns; multipliers : (num_steps,), as in `FinalLossLaw.loss`.

    Raises `InvalidParameter` if the least loss is that of an end.
    """
    x, losses = np.log(np.asarray(learning_rates, np.float64)), law.loss(angles, multipliers)
    i = int(losses.argmin())
    if i in (0, len(x) - 1):
        raise InvalidParameter("learning_rates", float(np.exp(x[i])), "on both sides of the least loss, not its end")
    near = slice(i - 1, i + 2)
    quadratic, linear, least = np.polyfit(x[near] - x[i], losses[near], 2)
    return float(np.exp(x[i] - linear / (2 * quadratic))), float(least - linear**2 / (4 * quadratic))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
