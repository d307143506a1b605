"""Checked parameters: one error type, one way to say what was wrong."""

from __future__ import annotations

import math
from types import UnionType
from typing import Any, get_args

import numpy as np


class InvalidParameter(ValueError):
    """A parameter outside its allowed range.

    Attributes
    ----------
    name : the parameter, in the project's spelling (``learning_rate``).
    value : what was given.
    allowed : the allowed range, in words that fit behind "must be".
    """

    def __init__(self, name: str, value: object, allowed: str) -> None:
        super().__init__(f"{name} = {value!r} must be {allowed}")
        self.name = name
        self.value = value
        self.allowed = allowed

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.value, self.allowed)


class NoEquilibrium(InvalidParameter):
    """Raised where an equilibrium is asked for and none exists (zero weight decay)."""


def require_kind(name: str, value: object, kind: type | UnionType) -> None:
    """Raise `InvalidParameter` unless ``value`` is an object of that class, or of one of the classes of a union."""
    if not isinstance(value, kind):
        spelled = " or ".join(cls.__name__ for cls in get_args(kind) or (kind,))
        raise InvalidParameter(name, value, f"an object of type {spelled}")


def require_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    below: float | None = None,
    at_most: float | None = None,
) -> float:
    """Return ``value`` as a finite float inside the range, or raise `InvalidParameter`; 1e300 or more is infinite."""
    bounds = []
    if above is not None:
        bounds.append(f"above {above:g}")
    if at_least is not None:
        bounds.append(f"at least {at_least:g}")
    if below is not None:
        bounds.append(f"below {below:g}")
    if at_most is not None:
        bounds.append(f"at most {at_most:g}")
    allowed = " ".join(["a finite number", " and ".join(bounds)]).strip()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidParameter(name, value, allowed)
    number = float(value) if abs(value) < 1e300 else math.inf
    inside = (
        math.isfinite(number)
        and (above is None or number > above)
        and (at_least is None or number >= at_least)
        and (below is None or number < below)
        and (at_most is None or number <= at_most)
    )
    if not inside:
        raise InvalidParameter(name, value, allowed)
    return number


def require_delta(value: object) -> float:
    """A curvature that counts as straight: from 1e-6, where every table is too small to tell, to 100."""
    return require_number("delta", value, at_least=1e-6, at_most=100)


def require_magnitude(name: str, value: object) -> float:
    """A positive number whose fourth powers, and their ratios, floating-point numbers hold: from 1e-20 to 1e20."""
    return require_number(name, value, at_least=1e-20, at_most=1e20)


def require_integer(name: str, value: object, *, at_least: int, at_most: int = 2**53) -> int:
    """Return ``value``, NumPy's integers included, as an int in [at_least, at_most], or raise `InvalidParameter`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not at_least <= value <= at_most:
        allowed = f"a whole number of at least {at_least}"
        if at_most < 2**53:
            allowed += f" and at most {at_most}"
        raise InvalidParameter(name, value, allowed)
    return int(value)


def require_integer_field(record: object, name: str, *, at_least: int, at_most: int = 2**53) -> None:
    """The same for a field of a frozen dataclass, which then holds the int."""
    object.__setattr__(record, name, require_integer(name, getattr(record, name), at_least=at_least, at_most=at_most))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
