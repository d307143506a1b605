"""The probe measures what it says, on AdamW and AdamH, without touching the run."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from experiments.logs.norms import force_budget
from gpt.adamc import AdamC
from gpt.adamh import AdamH
from gpt.muonh import MuonH, polar_factor
from gpt.probe import Probe
from theory.measured import measured_moments

ROOT = Path(__file__).resolve().parents[2]

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
        self.m, self.v, self.scaled, self.count = torch.zeros_like(w), torch.zeros_like(w), torch.zeros_like(w), 0

    def direction(self, gradient: Tensor) -> Tensor:
        self.count += 1
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * gradient
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * gradient**2
        denominator = (self.v / (1 - BETAS[1] ** self.count)).sqrt() + EPS
        self.scaled = gradient / denominator
        return self.m / (1 - BETAS[0] ** self.count) / denominator

    @staticmethod
    def measure(w: Tensor, after: Tensor, u: Tensor, scaled: Tensor) -> dict[str, float]:
        cosine_of_move = float((w * after).sum() / (w.norm() * after.norm()))
        return {
            "weight_rms": float(w.square().mean().sqrt()),
            "angular_update": math.acos(cosine_of_move),
            "relative_update": float((after - w).norm() / w.norm()),
            "update_rms": float(u.square().mean().sqrt()),
            "cosine": float((u * w).sum() / (u.norm() * w.norm())),
            "radial_gradient": float((scaled * w).mean()),
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
            expected.append([ref.measure(w, after.detach(), u, ref.scaled) for (ref, w, u), after in moved])
    trajectory = probe.trajectory()
    assert trajectory.steps.tolist() == [0, 5, 10]
    assert trajectory.matrices == ("a", "b")
    for field in expected[0][0]:
        values = [[row[field] for row in record] for record in expected]
        np.testing.assert_allclose(getattr(trajectory, field), values, rtol=1e-6, err_msg=field)


def test_the_radial_gradient_is_not_known_without_the_gradient() -> None:
    """Set to None or overwritten with zeros; nor without Adam. A matrix that never had a gradient has none."""
    w = nn.Parameter(torch.ones(2, 3))
    for optimizer in (OPTIMIZERS["adamw"]([w]), torch.optim.SGD([w], lr=LR)):
        probe = Probe({"w": w}, optimizer)
        for step, set_to_none in enumerate((True, False)):
            w.grad = torch.ones(2, 3)
            probe.before()
            optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
            probe.after(step)
        found = probe.trajectory().radial_gradient
        assert found is not None
        assert np.isnan(found).all()


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


def sgd_direction(gradients: list[Tensor], w: Tensor) -> Tensor:
    m = torch.zeros_like(gradients[0])
    for g in gradients:
        m = 0.9 * m + g
    return m


class DecoupledSign(torch.optim.Optimizer):
    """Somebody else's optimizer: the sign of the gradient, with decoupled decay, and no state."""

    def __init__(self, params: list[nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": 0.3})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(p.grad.sign(), alpha=group["lr"])


def muon_direction(gradients: list[Tensor], w: Tensor) -> Tensor:
    m = torch.zeros_like(gradients[0])
    for g in gradients:
        m = 0.95 * m + 0.05 * g
    return polar_factor(0.95 * m + 0.05 * gradients[-1])


def adamc_direction(gradients: list[Tensor], w: Tensor) -> Tensor:
    reference = Reference(gradients[0])
    return [reference.direction(g) for g in gradients][-1]


@pytest.mark.parametrize(
    ("build", "direction"),
    [
        (lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9), sgd_direction),
        (lambda p: DecoupledSign(p, lr=LR), lambda gradients, w: gradients[-1].sign()),
        (lambda p: MuonH(p, lr=LR), muon_direction),
        (lambda p: AdamC(p, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY), adamc_direction),
        (lambda p: torch.optim.SGD(p, lr=LR, weight_decay=0.5), lambda gradients, w: gradients[-1] + 0.5 * w),
    ],
    ids=["sgd", "somebody's", "muonh", "adamc", "coupled"],
)
def test_direction_of_any_optimizer(build: MakeOptimizer, direction: Callable[[list[Tensor], Tensor], Tensor]) -> None:
    generator = torch.Generator().manual_seed(0)
    w = nn.Parameter(torch.randn(6, 4, generator=generator, dtype=torch.float64))
    gradients = [torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    optimizer = build([w])
    probe = Probe({"w": w}, optimizer)
    for step, gradient in enumerate(gradients):
        w.grad = gradient.clone()
        before = w.detach().clone()
        probe.before()
        optimizer.step()
        probe.after(step)
    u, trajectory = direction(gradients, before), probe.trajectory()
    assert trajectory.update_rms[2, 0] == pytest.approx(float(u.square().mean().sqrt()), rel=1e-6)
    cosine = float((u * before).sum() / (u.norm() * before.norm()))
    assert trajectory.cosine[2, 0] == pytest.approx(cosine, rel=1e-6)


def test_direction_that_cannot_be_told_is_nan() -> None:
    """MuonH with Nesterov once the gradient is gone; Adam on a parameter that never had one. Norm and angle stay."""
    w = nn.Parameter(torch.ones(3, 4))
    for optimizer, gradient in ((MuonH([w], lr=LR), torch.ones(3, 4)), (torch.optim.Adam([w], lr=LR), None)):
        probe = Probe({"w": w}, optimizer)
        w.grad = gradient
        probe.before()
        optimizer.step()
        optimizer.zero_grad()
        probe.after(0)
        trajectory = probe.trajectory()
        assert np.isnan(trajectory.update_rms).all()
        assert np.isnan(trajectory.cosine).all()
        assert np.isfinite(trajectory.angular_update).all()


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loop, of at most 25 lines, lands on the theory; and so does the same loop wherever the README shows it."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    page, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/probe.md", "README.md"))
    loop, resuming, _, *callbacks, others = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(callbacks) == 2  # run by tests/gpt/loops/test_adapters.py
    assert len(loop.strip().splitlines()) <= 25
    assert all(shown == loop for shown in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "Probe(" in shown)
    session: dict[str, Any] = {}
    exec(loop, session)
    measured, theory = session["run"], session["theory"]
    assert measured.steps.tolist() == list(range(0, 600, 10))
    late = slice(20, 60)
    assert np.median(measured.angular_update[late] / theory.angular_update[late]) == pytest.approx(1, abs=0.1)
    assert np.median(measured.weight_rms[late] / theory.weight_rms[late]) == pytest.approx(1, abs=0.1)
    exec(resuming, session)
    exec(others, session)
    assert session["noise"].trace > 0
    assert session["plain"].converged
    assert session["adam"].converged


def test_the_force_budget_of_the_page_closes(capsys: pytest.CaptureFixture[str]) -> None:
    """Its shares are those of the direction's measured cosine, and say that the loss drives the last layer alone."""
    page = (ROOT / "docs" / "probe.md").read_text(encoding="utf-8")
    (example,) = (part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "force_budget" in part)
    assert len(example.strip().splitlines()) <= 25
    torch.manual_seed(0)
    session: dict[str, Any] = {}
    exec(example, session)
    run, eta, shrinkage = session["run"], session["eta"], session["shrinkage"]
    assert capsys.readouterr().out.count("signal=") == len(run.matrices) == 2
    for place in (0, 1):
        u, r, start = run.update_rms[:, place], run.radial_gradient[:, place], run.weight_rms[0, place]
        rho, p = measured_moments(eta, shrinkage, 0.9, u, r, start)
        _, momentum = measured_moments(eta, shrinkage, 0.9, u, 0 * r, start)
        budget = force_budget(u**2, p, momentum, eta, shrinkage, np.sqrt(rho), 0.9)
        np.testing.assert_allclose(np.sqrt(rho[:-1]), run.weight_rms[:, place], rtol=0.05)
        assert budget is not None
        assert budget.noise + budget.momentum + budget.signal == pytest.approx(1)
        outward = np.sum(eta**2 * u**2) / budget.noise
        assert outward * (1 + budget.decay) == pytest.approx(rho[-1] - rho[0])
        measured = run.cosine[:, place] * run.weight_rms[:, place] * u
        direct = np.sum(-2 * (1 - shrinkage) * eta * (measured - momentum)) / outward
        assert budget.signal == pytest.approx(direct, abs=0.07)
        assert abs(budget.signal) < 0.1 if place == 0 else 0.6 < budget.signal < 0.73


@pytest.mark.parametrize("lr", [1e-6, 1e-4])
def test_a_small_step_along_a_sphere_is_explained_within_its_rounding(lr: float) -> None:
    """Float32 holds a norm to a few of its precisions, which is more than the step may be off by."""
    generator = torch.Generator().manual_seed(0)
    matrices = {str(k): nn.Parameter(torch.randn(32, 128, generator=generator) / 2) for k in range(60)}
    optimizer = AdamH(list(matrices.values()), lr=lr)
    probe = Probe(matrices, optimizer)
    for step in range(25):
        for w in matrices.values():
            w.grad = torch.randn(w.shape, generator=generator)
        probe.before()
        optimizer.step()
        probe.after(step)
    trajectory = probe.trajectory()
    assert trajectory.update_rms.shape == (25, 60)
    assert not np.isnan(trajectory.update_rms).any()
