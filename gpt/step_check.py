r"""Whether what an optimizer says of its step explains the move, from products alone.

With :math:`D = W_{t+1} - W_t` the claim is :math:`D = -dW_t - au`, for one d of a few possible ones. What is left over
splits into a part across :math:`W_t`, which no d can help, and one along it. For a step along a sphere of radius R,
:math:`W_{t+1} = s(W_t - cu)` with :math:`c = \eta R/\|u\|` and :math:`s = R/\|W_t - cu\|`, so a = sc and d = 1 - s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE, CAPTURABLE_TOLERANCE = 2e-5, 2e-4  # of the step; a capturable step corrects its bias in float32
READABLE = 0.1  # most that rounding may be of a move from which a direction is read
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
    """

    rate: float | None = None
    decays: tuple[float, ...] = (0.0,)
    on_sphere: tuple[float, float] | None = None
    known: bool = True
    tolerance: float = TOLERANCE
    proof: bool = False


@dataclass(frozen=True)
class Products:
    """Of W, the move and u, a value for every unit; ``_`` stands for the part of the move across W.

    ww, along, across : (num_units,) float64, <W, W>, <move, W>, <move_, move_>.
    uu, uw, u_across : the same of <u, u>, <u, W>, <u, move_>.
    owner : (num_units,) int64, the matrix of each unit; None if each unit is one.
    """

    ww: Tensor
    along: Tensor
    across: Tensor
    uu: Tensor
    uw: Tensor
    u_across: Tensor
    owner: Tensor | None

    def of_unit(self, values: Sequence[float]) -> Tensor:
        """A value for every matrix as one for every unit."""
        each = torch.tensor(values, dtype=torch.float64).to(self.ww.device)
        return each if self.owner is None else each[self.owner]

    def of_matrix(self, values: Tensor) -> Tensor:
        """The sum over the units of a matrix, for each of them."""
        if self.owner is None:
            return values
        sums = values.new_zeros(int(values.numel())).index_add_(0, self.owner, values)
        return sums[self.owner]


def check_steps(claims: Sequence[Claim], precisions: Sequence[float], p: Products) -> tuple[Tensor, Tensor]:
    """For every unit: whether the claim does not explain the move; and whether rounding hides what is claimed.

    Parameters
    ----------
    claims : for every matrix.
    precisions : distance from 1 to the next number in the type of the weights, for every matrix.
    """
    precision = p.of_unit(precisions)
    rate = p.of_unit([claim.rate or 0.0 for claim in claims])
    shown = p.of_unit([claim.rate is not None or claim.on_sphere is not None for claim in claims]) > 0
    most = max(len(claim.decays) for claim in claims)
    decays = [p.of_unit([claim.decays[min(k, len(claim.decays) - 1)] for claim in claims]) for k in range(most)]
    if any(claim.on_sphere for claim in claims):
        lr, radius = (p.of_unit([(claim.on_sphere or (0.0, 1.0))[k] for claim in claims]) for k in (0, 1))
        ww, uu, uw = (p.of_matrix(t) for t in (p.ww, p.uu, p.uw))
        length = lr * radius / uu.clamp(min=TINY).sqrt()
        stretch = radius / (ww - 2 * length * uw + length.square() * uu).clamp(min=TINY).sqrt()
        on_sphere = p.of_unit([claim.on_sphere is not None for claim in claims]) > 0
        rate = torch.where(on_sphere, stretch * length, rate)
        decays = [torch.where(on_sphere, 1 - stretch, d) for d in decays]
    norm, size = p.ww.sqrt(), rate * p.uu.sqrt()
    square = p.across + 2 * rate * p.u_across + rate.square() * (p.uu - p.uw.square() / p.ww.clamp(min=TINY))
    left_along = torch.stack([(p.along + rate * p.uw + d * p.ww).abs() for d in decays]).amin(dim=0)
    left = torch.maximum(square.clamp(min=0).sqrt(), left_along / norm.clamp(min=TINY))
    tolerance = torch.maximum(p.of_unit([claim.tolerance for claim in claims]), 4 * precision)
    unknown = p.of_unit([not claim.known for claim in claims]) > 0
    unexplained = unknown | (shown & (left > tolerance * size + precision * norm) & (p.uu != 0))

    moved = (p.across + p.along.square() / p.ww.clamp(min=TINY)).sqrt()
    doubtful = p.of_unit([claim.proof and claim.rate is not None for claim in claims]) > 0
    hidden = (doubtful & (size < 10 * precision * norm)) | (~shown & (0.2 * precision * norm > READABLE * moved))
    return unexplained, hidden
