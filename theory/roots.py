"""Roots to the last bit, of one equation or of many side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

PRECISION = float(np.finfo(np.float64).eps)
SMALLEST = -700.0  # ln of the smallest y that is looked at


def root_between(
    function: Callable[..., Array], low: ArrayLike, high: ArrayLike, *parameters: ArrayLike, absolute: float = 0.0
) -> Array:
    """Where ``function(x, *parameters)``, taken entry by entry, changes its sign between ``low`` and ``high``.

    Ends and parameters broadcast. The function is called with rows of numbers: the entries not solved yet. NaN where
    it has the same sign at both ends. ``absolute`` : precision beyond which a root near 0 is not wanted.
    """
    from scipy.optimize import elementwise  # 0.2 s that most users of `theory` need not wait for

    ends, args = tuple(np.asarray(end, np.float64) for end in (low, high)), tuple(map(np.asarray, parameters))
    tolerances = {"xatol": absolute, "xrtol": 2 * PRECISION, "fatol": 0.0, "frtol": 0.0}
    return np.asarray(elementwise.find_root(function, ends, args=args, tolerances=tolerances).x)


def solve_rising(function: Callable[..., Array], target: ArrayLike, *parameters: ArrayLike) -> Array:
    """The y in (0, 1) at which ``function(y, *parameters)`` rises through the target, in ln y; 1 where it stays below.

    ``target``, above 0, and the parameters broadcast.
    """

    def excess(log_y: Array, wanted: Array, *others: Array) -> Array:
        with np.errstate(divide="ignore", over="ignore"):
            share = wanted / (function(np.exp(log_y), *others) + wanted)  # finite where the function is not
        return np.where(log_y < 0, 1 - 2 * share, 1.0)

    return np.exp(root_between(excess, SMALLEST, 0.0, target, *parameters, absolute=PRECISION / 4))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
