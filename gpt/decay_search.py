r"""The weight decay of an optimizer that nobody knows, read from one of its steps.

Conventions differ in the share d of the weights that a step takes: :math:`\Delta W = -dW - \eta u`. One d of a few
possible ones fits if what is left is a direction that can be recognised:

- all entries of u have one size (sign descent, Lion), or
- u is a sum of the gradient and of tensors that the optimizer keeps (momentum, Nesterov's), each times a number.

Where neither holds, or rounding hides the difference, there is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gpt.sharding import local

FITS = 1e-5  # of the move, what may be left unexplained


def search_decay(
    before: Tensor,
    move: Tensor,
    decays: Sequence[float],
    seen: Sequence[Tensor],
    *,
    precision: float,
) -> float | None:
    """The one of ``decays`` that fits; None if none does. Waits for a GPU.

    Parameters
    ----------
    before, move : :math:`W_t` and :math:`W_{t+1} - W_t`, float64.
    seen : gradient and state of the optimizer after the step, in the shape of the weights.
    precision : distance from 1 to the next number in the type of the weights.
    """
    w, step = before.flatten(), move.flatten()
    rounding = precision * float(w.norm())
    size = float(step.norm())
    if not size > 100 * rounding:
        return None
    slack = FITS * size + rounding
    for d in decays:
        if _leaves_a_sign(step + d * w, slack):
            return d
    rest = _share_of_weights(w, step, [local(t).flatten().double() for t in seen], slack)
    if rest is None:
        return None
    nearest = min(decays, key=lambda d: abs(d - rest))
    return nearest if abs(nearest - rest) * float(w.norm()) <= 10 * slack else None


def _leaves_a_sign(update: Tensor, slack: float) -> bool:
    """Whether all entries that are not zero have one size, and most are not zero."""
    sizes = update.abs()
    large = sizes > sizes.max() / 2
    spread = torch.where(large, sizes - sizes[large].mean(), sizes) if large.any() else sizes
    return bool(2 * large.sum() > len(sizes)) and float(spread.norm()) <= slack


def _share_of_weights(w: Tensor, step: Tensor, seen: list[Tensor], slack: float) -> float | None:
    """d of the step as a sum of the weights and what was seen, by least squares; None if that leaves too much."""
    directions = [t / t.norm() for t in seen if t.norm() > 0 and abs(t @ w) < 0.999 * t.norm() * w.norm()]
    if not directions or len(w) < 4 * (1 + len(directions)):
        return None
    basis = torch.stack([w / w.norm(), *directions], dim=1)
    inverse = torch.linalg.pinv(basis.T @ basis, rtol=1e-9, hermitian=True)
    shares = inverse @ (basis.T @ step)
    shares += inverse @ (basis.T @ (step - basis @ shares))  # once more, for the digits that squaring loses
    left = float((step - basis @ shares).norm())
    return float(-shares[0] / w.norm()) if left <= slack else None
