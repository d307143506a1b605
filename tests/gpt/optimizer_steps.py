"""Constants, parameters and gradients of the tests of optimizers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LR, BETAS, EPS, DECAY, MOMENTUM = 0.03, (0.8, 0.9), 1e-3, 2.0, 0.9
MULTIPLIERS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.1, 0.05)
SHAPES = [(8, 8), (32, 8), (5, 7), (40, 33), (32, 32), (16, 64)]  # the last two fill whole rows of the scratch


def rates() -> list[float]:
    return [LR * multiplier for multiplier in MULTIPLIERS]


def make_parameters(dtype: torch.dtype) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter((torch.randn(shape, generator=generator) * 0.1).to(dtype)) for shape in SHAPES]


def gradient(shape: torch.Size, step: int, dtype: torch.dtype) -> Tensor:
    """A part that lasts, a part that is noise, and scales that differ by entry."""
    lasting, noise = torch.Generator().manual_seed(sum(shape)), torch.Generator().manual_seed(1000 * step + sum(shape))
    scale, signal = torch.rand(shape, generator=lasting) + 0.01, torch.randn(shape, generator=lasting)
    return (scale * (0.3 * signal + torch.randn(shape, generator=noise))).to(dtype)
