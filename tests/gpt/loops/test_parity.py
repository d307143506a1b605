"""AdamH against published definitions, restated from their sources in a few lines: the table in docs/adamh.md."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gpt.adamh import AdamH
from tests.gpt.optimizer_steps import gradient

LR, BETAS, EPS, NUM_STEPS = 0.02, (0.9, 0.95), 1e-8, 100
Radius = Callable[[Tensor, Tensor], Tensor]


def start(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return (0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).to(dtype)


def norms(t: Tensor) -> Tensor:
    """Levanter's: of the whole matrix, and of every matrix along the first axis of a tensor with more axes."""
    return torch.linalg.vector_norm(t, dim=None if t.ndim <= 2 else tuple(range(1, t.ndim)), keepdim=True)


def initial(w: Tensor, first: Tensor) -> Tensor:
    return first


def current(w: Tensor, first: Tensor) -> Tensor:
    """As in NVIDIA's MuonHyperball: whatever the norm is before the step."""
    return norms(w)


def restated(shape: tuple[int, ...], dtype: torch.dtype, radius: Radius, *, beta1: float = BETAS[0]) -> Tensor:
    """Arithmetic in float32 at least, weights in ``dtype``."""
    work = torch.promote_types(dtype, torch.float32)
    w = start(shape, dtype)
    m = v = torch.zeros(shape, dtype=work)
    first = norms(w.to(work))
    for step in range(NUM_STEPS):
        g, before = gradient(torch.Size(shape), step, dtype).to(work), w.to(work)
        m, v = beta1 * m + (1 - beta1) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
        u = m / (1 - beta1 ** (step + 1)) / ((v / (1 - BETAS[1] ** (step + 1))).sqrt() + EPS)
        r = radius(before, first)
        moved = before - LR * r * u / norms(u)
        w = (r * moved / norms(moved)).to(dtype)
    return w


def ours(shape: tuple[int, ...], dtype: torch.dtype, dims: tuple[int, ...] | None = None) -> Tensor:
    w = nn.Parameter(start(shape, dtype))
    optimizer = AdamH([w], lr=LR, betas=BETAS, eps=EPS, dims=dims)
    for step in range(NUM_STEPS):
        w.grad = gradient(w.shape, step, dtype)
        optimizer.step()
    return w.detach()


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


@pytest.mark.parametrize(("shape", "dims"), [((24, 16), None), ((3, 24, 16), (-2, -1))])
def test_levanters(shape: tuple[int, ...], dims: tuple[int, ...] | None) -> None:
    """The same on matrices; its tensors of three axes are stacks, which here have to be named."""
    assert distance(restated(shape, torch.float64, initial), ours(shape, torch.float64, dims)) < 1e-12
    assert distance(restated(shape, torch.float32, initial), ours(shape, torch.float32, dims)) < 1e-5
    if dims:
        assert distance(ours(shape, torch.float64), ours(shape, torch.float64, dims)) > 1e-3


def test_the_current_norm_as_radius() -> None:
    """The same in float32 over 100 steps; in bfloat16 the norm wanders by the rounding of all steps."""
    shape = (24, 16)
    assert distance(restated(shape, torch.float32, current), ours(shape, torch.float32)) < 1e-5
    wandered = [
        abs(float(norms(w.double()) / norms(start(shape, torch.bfloat16).double())) - 1)
        for w in (restated(shape, torch.bfloat16, current), ours(shape, torch.bfloat16))
    ]
    assert wandered[0] > 3 * wandered[1]


def test_without_a_first_moment() -> None:
    """As HeavyBall's HyperBallAdamW: another direction, of another length, so another path."""
    assert distance(restated((24, 16), torch.float64, initial, beta1=0.0), ours((24, 16), torch.float64)) > 0.3
