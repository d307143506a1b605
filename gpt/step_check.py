r"""Whether what an optimizer says of its step explains the move, from products alone.

With :math:`D = W_{t+1} - W_t` the claim is :math:`D = -dW_t - au`, for one d of a few possible ones. What is left over
splits into a part across :math:`W_t`, which no d can help, and one along it. For a step along a sphere of radius R,
:math:`W_{t+1} = s(W_t - cu)` with :math:`c = \eta R/\|u\|` and :math:`s = R/\|W_t - cu\|`, so a = sc and d = 1 - s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TOLERANCE, CAPTURABLE_TOLERANCE = 2e-5, 2e-4  # of the step; a capturable step corrects its bias in float32
READABLE = 0.1  # most that rounding may be of a move from which a direction is read
HELD = 3.0  # precisions, to which the norm of a matrix on a sphere is held: 1.3 at most in 80,000 steps of 32 by 128
TINY = 1e-300


@dataclass(frozen=True)
class Claim:
    """What is claimed of the step of one matrix.

    rate : a, the length of the step along -u; None if u was read from the move, or nothing is claimed.
    decays : values of d that are possible.
    on_sphere : (learning rate, radius) of a step along a sphere.
    known : False if the optimizer is one whose direction nobody can tell.
    tolerance : share of the step that the arithmetic of the optimizer may be off by.
    proof : the class of the optimizer is not known to do what its state says: the move has to show it.
    from_move : u was read from the move, and is none if anything else moved the weights as well.
    """

    rate: float | None = None
    decays: tuple[float, ...] = (0.0,)
    on_sphere: tuple[float, float] | None = None
    known: bool = True
    tolerance: float = TOLERANCE
    proof: bool = False
    from_move: bool = False


@dataclass(frozen=True)
class Products:
    """Of W, the move and u, a value for every unit; ``_`` stands for the part of the move across W.

    ww, along, across : (num_units,), <W, W>, <move, W>, <move_, move_>.
    uu, uw, u_across : the same of <u, u>, <u, W>, <u, move_>.
    owner : (num_units,) int64, the matrix of each unit; None if each unit is one.
    """

    ww: Array
    along: Array
    across: Array
    uu: Array
    uw: Array
    u_across: Array
    owner: NDArray[np.int64] | None

    def of_unit(self, values: Sequence[float]) -> Array:
        """A value for every matrix as one for every unit."""
        each = np.array(values, dtype=np.float64)
        return each if self.owner is None else each[self.owner]

    def of_matrix(self, values: Array) -> Array:
        """The sum over the units of a matrix, for each of them."""
        if self.owner is None:
            return values
        sums = np.bincount(self.owner, weights=values).astype(np.float64)
        return sums[self.owner]


def check_steps(
    claims: Sequence[Claim], precisions: Sequence[float], p: Products
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For every unit: whether the claim does not explain the move; and whether rounding hides what is claimed.

    Parameters
    ----------
    claims : for every matrix.
    precisions : distance from 1 to the next number in the type of the weights, for every matrix.
    """
    precision = p.of_unit(precisions)
    rate = p.of_unit([claim.rate or 0.0 for claim in claims])
    shown = p.of_unit([claim.rate is not None or claim.on_sphere is not None for claim in claims]) > 0
    slack = np.ones(len(rate))
    most = max(len(claim.decays) for claim in claims)
    decays = [p.of_unit([claim.decays[min(k, len(claim.decays) - 1)] for claim in claims]) for k in range(most)]
    if any(claim.on_sphere for claim in claims):
        lr, radius = (p.of_unit([(claim.on_sphere or (0.0, 1.0))[k] for claim in claims]) for k in (0, 1))
        ww, uu, uw = (p.of_matrix(t) for t in (p.ww, p.uu, p.uw))
        length = lr * radius / np.sqrt(np.maximum(uu, TINY))
        stretch = radius / np.sqrt(np.maximum(ww - 2 * length * uw + length**2 * uu, TINY))
        on_sphere = p.of_unit([claim.on_sphere is not None for claim in claims]) > 0
        rate = np.where(on_sphere, stretch * length, rate)
        decays = [np.where(on_sphere, 1 - stretch, d) for d in decays]
        slack = np.where(on_sphere, HELD, slack)
    square_w = np.maximum(p.ww, TINY)
    norm, size = np.sqrt(p.ww), rate * np.sqrt(p.uu)
    square = p.across + 2 * rate * p.u_across + rate**2 * (p.uu - p.uw**2 / square_w)
    left_along = np.min([np.abs(p.along + rate * p.uw + d * p.ww) for d in decays], axis=0)
    left = np.maximum(np.sqrt(np.maximum(square, 0)), left_along / np.maximum(norm, TINY))
    tolerance = np.maximum(p.of_unit([claim.tolerance for claim in claims]), 4 * precision)
    unknown = p.of_unit([not claim.known for claim in claims]) > 0
    unexplained = unknown | (shown & (left > tolerance * size + slack * precision * norm) & (p.uu != 0))

    moved = np.sqrt(p.across + p.along**2 / square_w)
    doubtful = p.of_unit([claim.proof and claim.rate is not None for claim in claims]) > 0
    hidden = (doubtful & (size < 10 * precision * norm)) | (~shown & (0.2 * precision * norm > READABLE * moved))
    return unexplained, hidden
