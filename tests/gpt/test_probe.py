"""The probe measures what it says, on AdamW and AdamH, without touching the run."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt.adamc import AdamC
from gpt.adamh import AdamH
from gpt.muonh import MuonH, polar_factor
from gpt.probe import Probe
from theory import InvalidParameter
from theory.trajectory import FIELDS

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


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.Flatten(), nn.Linear(12, 5), nn.LayerNorm(5)).double()


def watch(module: nn.Module, optimizer: torch.optim.Optimizer, probe: Probe, num_steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for step in range(num_steps):
        x = torch.randn(8, 2, 5, generator=generator, dtype=torch.float64)
        (module(x) * torch.randn(8, 5, generator=generator, dtype=torch.float64)).mean().backward()
        probe.before()
        optimizer.step()
        probe.after(step)
        optimizer.zero_grad()


def test_any_module_thinned() -> None:
    module = network()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    probe = Probe(module, optimizer, every=3)
    watch(module, optimizer, probe, 8)
    assert probe.trajectory().steps.tolist() == [0, 3, 6]
    assert probe.trajectory().matrices == ("0.weight", "2.weight")  # no gains and biases

    head_only = torch.optim.SGD(module[2].parameters(), lr=0.1)
    assert Probe(module, head_only).trajectory().matrices == ("2.weight",)

    restored = Probe(module, optimizer, every=3)
    restored.load_state_dict(copy.deepcopy(probe.state_dict()))
    assert len(restored.trajectory().steps) == 3
    restored.before()  # the ninth pair of calls; the tenth is due
    restored.after(8)
    restored.before()
    restored.after(9)
    assert restored.trajectory().steps.tolist() == [0, 3, 6, 9]


def test_per_neuron_is_per_row() -> None:
    """Each row as if it were a matrix of its own; the matrix's squares are the sums of its rows'."""
    module, other = network(), network()
    optimizers = [OPTIMIZERS["adamw"](list(m.parameters())) for m in (module, other)]
    whole, rows = Probe(module, optimizers[0]), Probe(other, optimizers[1], per_neuron=True)
    watch(module, optimizers[0], whole, 4)
    watch(other, optimizers[1], rows, 4)
    whole_, rows_ = whole.trajectory(), rows.trajectory()
    assert rows_.matrices == tuple([f"0.weight[{i}]" for i in range(4)] + [f"2.weight[{i}]" for i in range(5)])
    for column, part in ((0, slice(0, 4)), (1, slice(4, 9))):
        for field in ("weight_rms", "update_rms"):
            squares = getattr(rows_, field)[:, part] ** 2
            np.testing.assert_allclose(getattr(whole_, field)[:, column], np.sqrt(squares.mean(axis=1)), rtol=1e-12)
        moved = (rows_.weight_rms * rows_.relative_update)[:, part] ** 2
        np.testing.assert_allclose(
            (whole_.weight_rms * whole_.relative_update)[:, column], np.sqrt(moved.mean(axis=1)), rtol=1e-12
        )
    assert rows_.angular_update.std(axis=1).min() > 0


def test_one_row_is_its_own_matrix() -> None:
    w, row = nn.Parameter(torch.randn(3, 4, dtype=torch.float64)), nn.Parameter(torch.zeros(1, 4, dtype=torch.float64))
    with torch.no_grad():
        row.copy_(w[0])
    trajectories = []
    gradient = torch.arange(12.0, dtype=torch.float64).view(3, 4) - 4.5
    for parameter, per_neuron in ((w, True), (row, False)):
        optimizer = OPTIMIZERS["adamw"]([parameter])
        probe = Probe({"w": parameter}, optimizer, per_neuron=per_neuron)
        parameter.grad = gradient[: len(parameter)].clone()
        probe.before()
        optimizer.step()
        probe.after(0)
        trajectories.append(probe.trajectory())
    for field in FIELDS:
        assert getattr(trajectories[0], field)[0, 0] == pytest.approx(getattr(trajectories[1], field)[0, 0], rel=1e-12)


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


def test_refuses_what_it_cannot_watch() -> None:
    w, b = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([w, b], lr=0.1)
    for matrices, keywords in (
        ({"v": nn.Parameter(torch.ones(2, 2))}, {}),
        ({"b": b}, {"per_neuron": True}),
        (nn.LayerNorm(3), {}),
        ({"w": w}, {"every": 0}),
    ):
        with pytest.raises(InvalidParameter):
            Probe(matrices, optimizer, **keywords)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="before"):
        Probe({"w": w}, optimizer).after(0)


def test_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loop, of at most 25 lines, lands on the theory; and so does the same loop wherever the README shows it."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    page, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/probe.md", "README.md"))
    loop, *callbacks, others = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
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
    exec(others, session)
    assert session["noise"].trace > 0
    assert session["plain"].converged
    assert session["adam"].converged
