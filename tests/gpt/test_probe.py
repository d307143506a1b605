"""The probe measures what it says, on AdamW and AdamH, without touching the run."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt.adamh import AdamH
from gpt.probe import Probe

LR, BETAS, EPS, DECAY = 0.01, (0.9, 0.95), 1e-3, 0.2
MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, MakeOptimizer] = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, fused=True),
    "adamh": lambda p: AdamH(p, lr=LR, betas=BETAS, eps=EPS),
}


class Reference:
    """The same quantities the slow way, with the direction from its own averages."""

    def __init__(self, w: Tensor) -> None:
        self.m, self.v, self.count = torch.zeros_like(w), torch.zeros_like(w), 0

    def direction(self, gradient: Tensor) -> Tensor:
        self.count += 1
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * gradient
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * gradient**2
        return self.m / (1 - BETAS[0] ** self.count) / ((self.v / (1 - BETAS[1] ** self.count)).sqrt() + EPS)

    @staticmethod
    def measure(w: Tensor, after: Tensor, u: Tensor) -> dict[str, float]:
        cosine_of_move = float((w * after).sum() / (w.norm() * after.norm()))
        return {
            "weight_rms": float(w.square().mean().sqrt()),
            "angular_update": math.acos(cosine_of_move),
            "relative_update": float((after - w).norm() / w.norm()),
            "update_rms": float(u.square().mean().sqrt()),
            "cosine": float((u * w).sum() / (u.norm() * w.norm())),
        }


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_measures_every_quantity(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = {
        "a": nn.Parameter(torch.randn(4, 6, generator=generator, dtype=torch.float64) * 0.1),
        "b": nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64)),
    }
    optimizer = OPTIMIZERS[name](list(matrices.values()))
    probe = Probe(matrices, optimizer)
    references = {key: Reference(w.detach()) for key, w in matrices.items()}
    expected = []
    for step in range(12):
        rows = []
        for key, w in matrices.items():
            w.grad = torch.randn(w.shape, generator=generator, dtype=torch.float64) * 0.01 + 0.01 * w.detach()
            rows.append((references[key], w.detach().clone(), references[key].direction(w.grad.clone())))
        recorded = step % 5 == 0
        if recorded:
            probe.before()
        optimizer.step()
        if recorded:
            probe.after(step)
            moved = zip(rows, matrices.values(), strict=True)
            expected.append([reference.measure(w, after.detach(), u) for (reference, w, u), after in moved])
    trajectory = probe.trajectory()
    assert trajectory.steps.tolist() == [0, 5, 10]
    assert trajectory.matrices == ("a", "b")
    for field in expected[0][0]:
        values = [[row[field] for row in record] for record in expected]
        np.testing.assert_allclose(getattr(trajectory, field), values, rtol=1e-6, err_msg=field)


@pytest.mark.parametrize("angle", [1e-9, 1e-6, 1e-3, 0.5, 3.0])
@pytest.mark.parametrize("stretch", [0.5, 1.0, 2.0])
def test_angles_keep_their_digits(angle: float, stretch: float) -> None:
    """Turn a matrix by a known angle, and stretch it: an arc cosine would return 0 below 1e-8."""
    w = nn.Parameter(torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64))
    optimizer = AdamH([w], lr=0.1)
    probe = Probe({"w": w}, optimizer)
    w.grad = torch.zeros_like(w)
    probe.before()
    optimizer.step()
    with torch.no_grad():
        w.copy_(stretch * torch.tensor([[math.cos(angle), math.sin(angle)], [0.0, 0.0]], dtype=torch.float64))
    probe.after(0)
    assert probe.trajectory().angular_update[0, 0] == pytest.approx(angle, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_does_not_change_the_run(dtype: torch.dtype) -> None:
    weights = []
    for probed in (False, True):
        w = nn.Parameter(torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=dtype))
        optimizer = OPTIMIZERS["adamw fused"]([w])
        probe = Probe({"w": w}, optimizer)
        generator = torch.Generator().manual_seed(1)
        for step in range(10):
            w.grad = torch.randn(w.shape, generator=generator, dtype=dtype)
            if probed:
                probe.before()
            optimizer.step()
            if probed:
                probe.after(step)
        weights.append(w.detach().clone())
    assert torch.equal(*weights)


def test_keeps_its_record_in_a_state_dict() -> None:
    w = nn.Parameter(torch.ones(2, 3))
    optimizer = OPTIMIZERS["adamw"]([w])
    probe, restored = Probe({"w": w}, optimizer), Probe({"w": w}, optimizer)

    def step_under(watcher: Probe, step: int) -> None:
        w.grad = torch.full_like(w, 1.0 + step)
        watcher.before()
        optimizer.step()
        watcher.after(step)

    step_under(probe, 3)
    restored.load_state_dict(copy.deepcopy(probe.state_dict()))
    step_under(restored, 7)
    first, both = probe.trajectory(), restored.trajectory()
    assert both.steps.tolist() == [3, 7]
    assert both.weight_rms[0] == first.weight_rms[0]
    assert both.weight_rms[1] != both.weight_rms[0]


def test_empty_probe_gives_an_empty_trajectory() -> None:
    w = nn.Parameter(torch.ones(2, 3))
    trajectory = Probe({"w": w}, OPTIMIZERS["adamw"]([w])).trajectory()
    assert trajectory.weight_rms.shape == (0, 1)
