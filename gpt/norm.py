r"""RMSNorm without a floor: :math:`y = g\,x / \sqrt{\langle x^2\rangle}`.

A matrix in front of the norm is exactly scale-invariant only if nothing but :math:`\langle x^2\rangle` stands under
the root. ``eps`` = 1e-12 is there for zero rows alone.

The backward pass is written out,

.. math:: \bar x = r\,\bar y g - x\,\frac{r^3}{n}\langle \bar y g, x\rangle, \qquad
          \bar g = \sum_{rows} r\,\bar y x, \qquad r = 1/\sqrt{\langle x^2\rangle},

because on a CPU the norms are a third of a small model, and autograd through their parts takes twice as long.
It can be differentiated again (Hessian-vector products).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

EPS = 1e-12


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        inverse = inverse_rms(x)
        ctx.save_for_backward(x, gain, inverse)
        return (x * inverse).mul_(gain)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (dy,) = grads
        x, gain, r = ctx.saved_tensors
        if torch.is_grad_enabled():  # only when asked for a second derivative: r must know where it came from
            r = inverse_rms(x)
        product = dy * x
        radial = (product @ gain).unsqueeze(-1) * r.pow(3) / -x.shape[-1]
        dx = torch.addcmul(dy * gain * r, x, radial)
        return dx, r.flatten() @ product.flatten(0, -2)


def inverse_rms(x: Tensor) -> Tensor:
    """One over the root mean square along the last axis, which stays with length 1."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return (norm * norm / x.shape[-1] + EPS).rsqrt()


class RMSNorm(nn.Module):
    """RMSNorm over the last axis with a gain of that length, in float32 or wider also under autocast."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, self.gain.dtype))
        if x.is_cuda:
            return nn.functional.rms_norm(x, x.shape[-1:], self.gain, EPS)
        y: Tensor = _RMSNorm.apply(x, self.gain)
        return y
