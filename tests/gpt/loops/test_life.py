"""AdamH and MuonH as torch optimizers: whatever way parameters and their state come, go and return."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gpt.adamh import AdamH
from gpt.muonh import MuonH
from gpt.sphere import SphereOptimizer
from gpt.sphere_moves import Batch
from tests.gpt.loops.optimizers import gradients, weights

LR, BETAS, EPS = 0.05, (0.8, 0.9), 1e-6
both = pytest.mark.parametrize("cls", [AdamH, MuonH])


class Reference:
    """AdamH on one matrix."""

    def __init__(self, w: Tensor) -> None:
        self.radius, self.m, self.v, self.count = w.norm(), torch.zeros_like(w), torch.zeros_like(w), 0

    def step(self, w: Tensor, g: Tensor) -> Tensor:
        self.count += 1
        self.m = BETAS[0] * self.m + (1 - BETAS[0]) * g
        self.v = BETAS[1] * self.v + (1 - BETAS[1]) * g * g
        u = self.m / (1 - BETAS[0] ** self.count) / ((self.v / (1 - BETAS[1] ** self.count)).sqrt() + EPS)
        moved = w - LR * self.radius * u / u.norm()
        return self.radius * moved / moved.norm()


class Life:
    """An optimizer with matrices that come and go, and a reference for each."""

    def __init__(self, rate: float | Tensor) -> None:
        self.rate, self.generator, self.ticks = rate, torch.Generator().manual_seed(0), 0
        self.present: list[nn.Parameter] = [self.new()]
        self.absent: list[nn.Parameter] = []
        self.optimizer = self.build([{"params": list(self.present)}])
        self.references = {p: Reference(p.detach()) for p in self.present}

    def random(self) -> Tensor:
        return torch.randn(3, 4, generator=self.generator, dtype=torch.float64)

    def new(self) -> nn.Parameter:
        return nn.Parameter(self.random())

    def build(self, groups: list[dict[str, Any]]) -> AdamH:
        return AdamH(groups, lr=self.rate, betas=BETAS, eps=EPS)

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(group["params"])} for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Every third time a matrix has no gradient."""
        self.ticks += 1
        for index, p in enumerate(self.present):
            p.grad = self.random() if (index + self.ticks) % 3 else None
        expected = {p: p.detach().clone() for p in (*self.present, *self.absent)}
        for p in self.present:
            if p.grad is not None:
                expected[p] = self.references[p].step(expected[p], p.grad.clone())
        self.optimizer.step()
        for p, w in expected.items():
            torch.testing.assert_close(p.detach(), w, rtol=1e-9, atol=1e-12)

    def add_group(self) -> None:
        self.present.append(self.new())
        self.optimizer.add_param_group({"params": [self.present[-1]]})
        self.references[self.present[-1]] = Reference(self.present[-1].detach())

    def append_by_hand(self) -> None:
        self.present.append(self.new())
        self.optimizer.param_groups[0]["params"].append(self.present[-1])
        self.references[self.present[-1]] = Reference(self.present[-1].detach())

    def leave(self) -> None:
        if len(self.present) > 1:
            leaving = self.present.pop()
            self.absent.append(leaving)
            for group in self.optimizer.param_groups:
                group["params"][:] = [p for p in group["params"] if p is not leaving]

    def return_with_its_state(self) -> None:
        if self.absent:
            self.present.append(self.absent.pop())
            self.optimizer.param_groups[-1]["params"].append(self.present[-1])

    def return_as_a_group(self) -> None:
        """A group that is added begins anew."""
        if self.absent:
            self.present.append(self.absent.pop())
            self.optimizer.add_param_group({"params": [self.present[-1]]})
            self.references[self.present[-1]] = Reference(self.present[-1].detach())

    def lose_state(self) -> None:
        self.optimizer.state.pop(self.present[-1], None)
        self.references[self.present[-1]] = Reference(self.present[-1].detach())

    def forget_the_absent(self) -> None:
        """Torch saves no state of a parameter that is in no group."""
        for p in self.absent:
            self.optimizer.state.pop(p, None)
        self.absent.clear()

    def save_and_load(self) -> None:
        """Weights first, then the optimizer, then its state."""
        self.forget_the_absent()
        self.touch()
        file = io.BytesIO()
        torch.save(self.optimizer.state_dict(), file)
        file.seek(0)
        copies = {p: nn.Parameter(p.detach().clone()) for p in self.present}
        other = self.build([{"params": [copies[p] for p in group["params"]]} for group in self.groups()])
        other.load_state_dict(torch.load(file, weights_only=True))
        self.optimizer = other
        self.references = {copies[p]: self.references[p] for p in self.present}
        self.present = [copies[p] for p in self.present]

    def copy_whole(self) -> None:
        self.forget_the_absent()
        self.touch()
        references = [self.references[p] for p in self.present]
        self.optimizer, self.present = pickle.loads(pickle.dumps((self.optimizer, self.present)))
        self.references = dict(zip(self.present, references, strict=True))

    def load_adamw(self) -> None:
        """Its averages; radii, options and whoever it never stepped stay as they are built."""
        self.forget_the_absent()
        self.touch()
        twins = {p: nn.Parameter(p.detach().clone()) for p in self.present}
        other = torch.optim.AdamW([{"params": [twins[p] for p in group["params"]]} for group in self.groups()], lr=9.0)
        twins[self.present[0]].grad = self.random()
        other.step()
        with pytest.warns(UserWarning, match="another optimizer's"):
            self.optimizer.load_state_dict(copy.deepcopy(other.state_dict()))
        for p in self.present:
            state, reference = other.state.get(twins[p], {}), self.references[p]
            radius, self.references[p] = reference.radius, Reference(p.detach())
            self.references[p].radius = radius
            if state:
                self.references[p].m, self.references[p].v = state["exp_avg"].clone(), state["exp_avg_sq"].clone()
                self.references[p].count = 1

    def touch(self) -> None:
        """Steps, so that whoever was appended by hand is known to the optimizer."""
        self.step()
        self.step()


ACTIONS = [name for name in vars(Life) if not name.startswith("_") and name not in ("random", "new", "build", "groups")]


@given(actions=st.lists(st.sampled_from(ACTIONS), max_size=8), tensor=st.booleans())
def test_every_way_in_and_out(actions: list[str], tensor: bool) -> None:
    life = Life(torch.tensor(LR, dtype=torch.float64) if tensor else LR)
    for action in actions:
        getattr(life, action)()
        life.step()


def test_the_property_test_goes_every_way() -> None:
    assert len(ACTIONS) == 12
    for action in ACTIONS:
        life = Life(LR)
        for each in ("add_group", "append_by_hand", "step", "leave", action, "step", "step"):
            getattr(life, each)()


@pytest.fixture(params=["CPU", "GPU"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "GPU":
        monkeypatch.setattr(Batch, "clean", lambda batch: batch.buffer.zero_())
        monkeypatch.setattr(Batch, "move", Batch.move_without_waiting)


@pytest.mark.usefixtures("arithmetic")
@both
@pytest.mark.parametrize("layout", ["experts first", "experts last"])
def test_stacked_experts_are_matrices_of_their_own(cls: type[SphereOptimizer], layout: str) -> None:
    """A stack moves as its matrices would one by one, through a checkpoint too, whatever its strides."""
    stack = nn.Parameter(weights((3, 5, 4)).detach())
    if layout == "experts last":
        stack = nn.Parameter(stack.detach().permute(1, 2, 0).contiguous().permute(2, 0, 1))
    single = [nn.Parameter(part.clone()) for part in stack.detach()]
    other = nn.Parameter(weights((6, 4)).detach())
    groups = [{"params": [stack], "dims": (1, 2)}, {"params": [other]}]
    optimizer, reference = cls(groups, lr=LR), cls(single, lr=LR)  # type: ignore[call-arg, arg-type]
    for step, gradient in enumerate(gradients(6, (3, 5, 4))):
        stack.grad, other.grad = gradient * torch.tensor([1.0, 0.1, 0.0])[:, None, None], gradients(1, (6, 4))[0]
        for p, g in zip(single, stack.grad, strict=True):
            p.grad = g.clone()
        optimizer.step()
        reference.step()
        for p, part in zip(single, stack.detach(), strict=True):
            torch.testing.assert_close(part, p.detach(), rtol=1e-9, atol=1e-12)
        if step == 2:
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            optimizer = cls([{**g} for g in groups], lr=9.0)  # type: ignore[call-arg, arg-type]
            optimizer.load_state_dict(torch.load(file, weights_only=True))
    u = optimizer.direction(stack)
    torch.testing.assert_close(u[0], reference.direction(single[0]), rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"norm 0\.0"):
        cls(
            [
                {
                    "params": [nn.Parameter(torch.eye(4).expand(2, 4, 4) * torch.tensor([1.0, 0.0])[:, None, None])],
                    "dims": (-2, -1),
                }
            ],
            lr=LR,
        )  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(("dtype", "half"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_norms_of_half_precision_stay_within_half_a_unit(dtype: torch.dtype, half: float) -> None:
    """The bound of docs/adamh.md, which equal entries come near to; of random ones the error is far smaller."""
    equal = nn.Parameter(torch.full((16, 16), 1.0, dtype=dtype))
    random = nn.Parameter(weights((16, 16)).detach().to(dtype))
    optimizer = AdamH([equal, random], lr=0.1)
    starts = [p.detach().double().norm() for p in (equal, random)]
    errors: list[list[float]] = []
    for gradient in gradients(30, (16, 16), dtype):
        equal.grad, random.grad = gradient.sign(), gradient.clone()
        optimizer.step()
        found = [p.detach().double().norm() for p in (equal, random)]
        errors.append([abs(float(a / b) - 1) for a, b in zip(found, starts, strict=True)])
    worst = [max(column) for column in zip(*errors, strict=True)]
    assert half / 10 < worst[0] <= half
    assert worst[1] < 2 * half / 16


def test_a_rate_that_is_a_tensor() -> None:
    found = []
    for lr in (LR, torch.tensor(LR, dtype=torch.float64)):
        w = weights()
        optimizer = AdamH([w], lr=lr)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for gradient in gradients(3):
                w.grad = gradient
                optimizer.step()
        found.append(w.detach())
    assert torch.equal(*found)
