"""AdamH: fixed norm, Adam's direction, and HeavyBall's chain as an oracle."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from gpt.adamh import AdamH

SHAPES = [(8, 8), (32, 8), (8, 32)]


def make_parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter((torch.randn(shape, generator=generator) * 0.1).to(dtype)) for shape in SHAPES]


def give_gradients(parameters: list[nn.Parameter], step: int) -> None:
    """Gradients with a part that lasts, a part that is noise, and scales that differ by entry."""
    for index, p in enumerate(parameters):
        lasting = torch.Generator().manual_seed(index)
        noise = torch.Generator().manual_seed(1000 * step + index)
        scale = torch.rand(p.shape, generator=lasting) + 0.01
        signal = torch.randn(p.shape, generator=lasting)
        p.grad = (scale * (0.3 * signal + torch.randn(p.shape, generator=noise))).to(p.dtype)


def train(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        give_gradients(parameters, step)
        optimizer.step()


def reference_steps(w: Tensor, gradients: list[Tensor], *, lr: float, betas: tuple[float, float], eps: float) -> Tensor:
    """The definition, line by line, in float64."""
    w = w.double()
    radius, m, v = w.norm(), torch.zeros_like(w), torch.zeros_like(w)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.double()
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        u = m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)).sqrt() + eps)
        moved = w - lr * radius * u / u.norm()
        w = radius * moved / moved.norm()
    return w


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-13), (torch.bfloat16, 0.03)]
)
@pytest.mark.parametrize("eps", [1e-8, 0.1])
def test_equals_its_definition(dtype: torch.dtype, tolerance: float, eps: float) -> None:
    parameters = make_parameters(dtype)
    starts = [p.detach().clone() for p in parameters]
    optimizer = AdamH(parameters, lr=0.03, betas=(0.8, 0.9), eps=eps)
    gradients: list[list[Tensor]] = [[] for _ in parameters]
    for step in range(20):
        give_gradients(parameters, step)
        for record, p in zip(gradients, parameters, strict=True):
            assert p.grad is not None
            record.append(p.grad.clone())
        optimizer.step()
    for start, record, p in zip(starts, gradients, parameters, strict=True):
        expected = reference_steps(start, record, lr=0.03, betas=(0.8, 0.9), eps=eps)
        error = (p.detach().double() - expected).norm() / expected.norm()
        assert error < tolerance
        assert (expected - start.double()).norm() / expected.norm() > 0.3


def test_norm_drifts_less_than_a_millionth_in_10000_steps() -> None:
    parameters = make_parameters()
    starts = [p.detach().double().norm() for p in parameters]
    optimizer = AdamH(parameters, lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(10_000):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=generator)
        optimizer.step()
    for p, start in zip(parameters, starts, strict=True):
        assert abs(p.detach().double().norm() / start - 1) < 1e-6


def test_norm_of_a_large_matrix_is_exact() -> None:
    """Four million entries: a float32 sum in one go would be off by 1e-4."""
    p = nn.Parameter(torch.randn(1024, 4096, generator=torch.Generator().manual_seed(0)))
    start = p.detach().double().norm()
    optimizer = AdamH([p], lr=0.01)
    p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    assert abs(p.detach().double().norm() / start - 1) < 1e-6


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_restored_state_continues_bit_for_bit(dtype: torch.dtype) -> None:
    parameters = make_parameters(dtype)
    optimizer = AdamH(parameters, lr=0.05)
    train(parameters, optimizer, range(7))
    saved = copy.deepcopy(optimizer.state_dict())
    copies = [nn.Parameter(p.detach().clone()) for p in parameters]
    train(parameters, optimizer, range(7, 15))

    restored = AdamH(copies, lr=1.0)
    restored.load_state_dict(saved)
    train(copies, restored, range(7, 15))
    for p, q in zip(parameters, copies, strict=True):
        assert torch.equal(p, q)
    assert restored.state[copies[0]]["radius"] == optimizer.state[parameters[0]]["radius"]


def test_averages_of_bfloat16_weights_keep_float32() -> None:
    parameters = make_parameters(torch.bfloat16)
    optimizer = AdamH(parameters, lr=0.05)
    train(parameters, optimizer, range(3))
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert {optimizer.state[p][key].dtype for p in parameters for key in ("exp_avg", "exp_avg_sq")} == {torch.float32}
    assert {p.dtype for p in parameters} == {torch.bfloat16}


def test_closure_is_called_with_gradients() -> None:
    p = nn.Parameter(torch.ones(2, 2))
    optimizer = AdamH([p], lr=0.1)

    def closure() -> float:
        loss = (p * torch.tensor([[1.0, 2.0], [-1.0, 0.5]])).sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == pytest.approx(2.5)
    assert not torch.equal(p.detach(), torch.ones(2, 2))


@contextmanager
def heavyball_chain() -> Iterator[Callable[[list[nn.Parameter], float], torch.optim.Optimizer]]:
    """HeavyBall's Adam direction followed by its Hyperball step, without compilation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import and first step warn about themselves
        from heavyball import chainable, utils

        compile_mode, utils.compile_mode = utils.compile_mode, None

        def make(parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
            defaults = {
                "lr": lr,
                "betas": (0.9, 0.95),
                "eps": 1e-12,
                "weight_decay": 0.0,
                "caution": False,
                "warmup_steps": 0,
                "multi_tensor": True,
                "storage_dtype": "float32",
            }
            fns = (chainable.scale_by_adam, chainable.update_by_hyperball)
            optimizer: torch.optim.Optimizer = chainable.BaseOpt(parameters, defaults, fns=fns)
            return optimizer

        try:
            yield make
        finally:
            utils.compile_mode = compile_mode


def test_equals_heavyball() -> None:
    ours, theirs = make_parameters(), make_parameters()
    optimizer = AdamH(ours, lr=0.03, betas=(0.9, 0.95), eps=1e-12)
    with heavyball_chain() as make:
        oracle = make(theirs, 0.03)
        for step in range(20):
            train(ours, optimizer, range(step, step + 1))
            train(theirs, oracle, range(step, step + 1))
            for p, q in zip(ours, theirs, strict=True):
                assert float((p.detach() - q.detach()).norm() / p.detach().norm()) < 1e-5
