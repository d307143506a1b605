"""AdamH: the norm to the last digit, the angle, what is refused, and the page that specifies it."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from gpt.adamh import AdamH

SHAPES = [(8, 8), (32, 8), (8, 32)]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "adamh.md"


def make_parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter((torch.randn(shape, generator=generator) * 0.1).to(dtype)) for shape in SHAPES]


@pytest.mark.long
def test_norm_drifts_less_than_a_millionth_in_10000_steps() -> None:
    p = make_parameters()[0]  # the smallest, in which rounding averages out least
    start = p.detach().double().norm()
    optimizer = AdamH([p], lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10_000):
        p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    assert abs(p.detach().double().norm() / start - 1) < 1e-6


def test_norm_of_a_large_matrix_is_exact() -> None:
    """Four million entries: a float32 sum in one go would be off by 1e-4."""
    p = nn.Parameter(torch.randn(1024, 4096, generator=torch.Generator().manual_seed(0)))
    start = p.detach().double().norm()
    optimizer = AdamH([p], lr=0.01)
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    assert abs(p.detach().double().norm() / start - 1) < 1e-6


@pytest.mark.parametrize("shape", [(257, 255), (300, 500), (1100, 1000)])  # one sum, rows and a rest, several panels
@pytest.mark.parametrize("by_columns", [False, True])
def test_a_step_of_a_large_matrix(shape: tuple[int, int], by_columns: bool) -> None:
    """Norm and angle to 2e-6, whatever way it is summed up; every entry where float64 puts it."""
    generator = torch.Generator().manual_seed(0)
    start, g = (torch.randn(shape, generator=generator).add_(0.1) for _ in range(2))
    p = nn.Parameter(start.T.contiguous().T if by_columns else start.clone())
    optimizer = AdamH([p], lr=0.05, eps=0.0)
    p.grad = g
    optimizer.step()
    w = start.double()
    expected = w / w.norm() - 0.05 * g.sign() / math.sqrt(g.numel())  # Adam's first step is a sign
    expected *= w.norm() / expected.norm()
    moved = p.detach().double()
    assert abs(moved.norm() / w.norm() - 1) < 3e-7
    assert ((moved - w).norm() / (expected - w).norm()).item() == pytest.approx(1, abs=2e-6)
    torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-6)


def test_a_step_that_nearly_cancels_the_matrix_keeps_its_norm() -> None:
    """Adam's first direction is the sign of the gradient, here parallel to W, and the step 0.9999 of it."""
    signs = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).sign()
    p = nn.Parameter(0.1 * signs)
    optimizer = AdamH([p], lr=0.9999)
    p.grad = signs.clone()
    optimizer.step()
    torch.testing.assert_close(p.detach(), 0.1 * signs, rtol=1e-6, atol=0)


def test_orthogonal_direction_turns_by_the_arc_tangent() -> None:
    """One step from a one-hot weight with a gradient everywhere else."""
    p = nn.Parameter(torch.tensor([[3.0, 0.0], [0.0, 0.0]], dtype=torch.float64))
    optimizer = AdamH([p], lr=0.2)
    p.grad = torch.tensor([[0.0, 1.0], [-2.0, 5.0]], dtype=torch.float64)
    optimizer.step()
    assert math.acos(float(p.detach()[0, 0] / 3)) == pytest.approx(math.atan(0.2), rel=1e-7)
    assert p.detach()[0, 1] == pytest.approx(-float(p.detach()[1, 0]))  # Adam's first step is a sign


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_a_matrix_without_direction_is_refused(bad: float) -> None:
    good, zero = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.full((3, 5), bad))
    with pytest.raises(ValueError, match=r"parameter 1 of shape \(3, 5\) has norm"):
        AdamH([good, zero], lr=0.1)


def test_zero_gradient_leaves_the_matrix() -> None:
    parameters = make_parameters()
    starts = [p.detach().clone() for p in parameters]
    optimizer = AdamH(parameters, lr=0.1)
    for p in parameters[:2]:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    for p, start in zip(parameters, starts, strict=True):
        torch.testing.assert_close(p.detach(), start, rtol=1e-6, atol=0)


def test_closure_is_called_with_gradients() -> None:
    p = nn.Parameter(torch.ones(2, 2))
    optimizer = AdamH([p], lr=0.1)

    def closure() -> float:
        loss = (p * torch.tensor([[1.0, 2.0], [-1.0, 0.5]])).sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == pytest.approx(2.5)
    assert not torch.equal(p.detach(), torch.ones(2, 2))


def test_the_page_holds() -> None:
    """Every example on it, in order, as one session."""
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 8
    torch.manual_seed(0)
    session: dict[str, object] = {}
    for example in examples:
        exec(example, session)
