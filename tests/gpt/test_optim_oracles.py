"""Optimizers that train the matrices against other libraries: HeavyBall, torch, and linear algebra."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from gpt.adamh import AdamH
from gpt.muonh import MuonH, polar_factor
from tests.gpt.optimizer_steps import LR, MOMENTUM, gradient, make_parameters


@pytest.mark.parametrize("shape", [(16, 16), (32, 8), (8, 32)])
def test_muon_direction_is_that_of_torch(shape: tuple[int, int]) -> None:
    """Up to torch's factor for tall matrices; both iterate in bfloat16."""
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    optimizer = MuonH([ours], lr=LR, momentum=MOMENTUM, newton_schulz_dtype=torch.bfloat16)
    oracle = torch.optim.Muon([theirs], lr=1.0, momentum=MOMENTUM, weight_decay=0.0)
    for step in range(4):
        before = theirs.detach().clone()
        ours.grad, theirs.grad = gradient(ours.shape, step, ours.dtype), gradient(ours.shape, step, ours.dtype)
        optimizer.step()
        oracle.step()
    u = (before - theirs.detach()) / max(1, shape[0] / shape[1]) ** 0.5
    torch.testing.assert_close(optimizer.direction(ours).float(), u, rtol=0, atol=0.02)


def test_newton_schulz_goes_towards_the_polar_factor() -> None:
    z = torch.randn(24, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, s, right = torch.linalg.svd(z, full_matrices=False)
    assert s.min() / s.norm() > 0.02
    for matrix, polar in ((z, left @ right), (z.T, (left @ right).T)):
        x = polar_factor(matrix)
        assert 0.65 < torch.linalg.svdvals(x).min() < torch.linalg.svdvals(x).max() < 1.25
        assert (x * polar).sum() / (x.norm() * polar.norm()) > 0.98
    assert torch.equal(polar_factor(torch.zeros(3, 5)), torch.zeros(3, 5))
    with pytest.raises(ValueError, match="no polar factor"):
        MuonH([nn.Parameter(torch.ones(3))], lr=0.1)


@contextmanager
def heavyball() -> Iterator[Any]:
    """Without compilation, and without what its import and first step warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from heavyball import utils

        compile_mode, utils.compile_mode = utils.compile_mode, None
        try:
            import heavyball as module

            yield module
        finally:
            utils.compile_mode = compile_mode


def test_adamh_equals_heavyballs_chain() -> None:
    """Its Adam direction followed by its Hyperball step."""
    defaults = {
        "lr": LR,
        "betas": (0.9, 0.95),
        "eps": 1e-12,
        "weight_decay": 0.0,
        "caution": False,
        "warmup_steps": 0,
        "multi_tensor": True,
        "storage_dtype": "float32",
    }
    ours, theirs = make_parameters(torch.float32), make_parameters(torch.float32)
    optimizer = AdamH(ours, lr=LR, betas=(0.9, 0.95), eps=1e-12)
    with heavyball() as module:
        chain = (module.chainable.scale_by_adam, module.chainable.update_by_hyperball)
        oracle = module.chainable.BaseOpt(theirs, defaults, fns=chain)
        for step in range(12):
            for p, q in zip(ours, theirs, strict=True):
                p.grad, q.grad = gradient(p.shape, step, p.dtype), gradient(p.shape, step, p.dtype)
            optimizer.step()
            oracle.step()
            for p, q in zip(ours, theirs, strict=True):
                assert float((p.detach() - q.detach()).norm() / p.detach().norm()) < 1e-5


def test_heavyballs_single_optimizer_has_no_first_moment() -> None:
    """As docs/adamh.md says: its beta1 does nothing."""
    results = []
    with heavyball() as module:
        for beta1 in (0.0, 0.95):
            parameters = make_parameters(torch.float32)
            optimizer = module.HyperBallAdamW(parameters, lr=LR, betas=(beta1, 0.95))
            for step in range(4):
                for p in parameters:
                    p.grad = gradient(p.shape, step, p.dtype)
                optimizer.step()
            results.append(parameters)
    for p, q in zip(*results, strict=True):
        torch.testing.assert_close(p, q)
