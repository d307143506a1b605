"""Every optimizer that trains the matrices against its definition, from one table."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpt.adamc import AdamC
from gpt.adamh import AdamH
from gpt.muonh import QUINTIC, MuonH
from gpt.sphere_moves import Batch
from tests.gpt.optimizer_steps import (
    BETAS,
    DECAY,
    EPS,
    LR,
    MOMENTUM,
    MULTIPLIERS,
    SHAPES,
    gradient,
    make_parameters,
    rates,
)

RESTORED_AT = 5

Build = Callable[..., torch.optim.Optimizer]
Reference = Callable[[Tensor, list[Tensor]], Tensor]


def adam_directions(gradients: list[Tensor]) -> Iterator[Tensor]:
    m = v = torch.zeros_like(gradients[0])
    for t, g in enumerate(gradients, start=1):
        m = BETAS[0] * m + (1 - BETAS[0]) * g
        v = BETAS[1] * v + (1 - BETAS[1]) * g * g
        yield m / (1 - BETAS[0] ** t) / ((v / (1 - BETAS[1] ** t)).sqrt() + EPS)


def muon_directions(gradients: list[Tensor]) -> Iterator[Tensor]:
    """With Nesterov; the polynomial of Newton-Schulz acts on the singular values."""
    m = torch.zeros_like(gradients[0])
    for g in gradients:
        m = MOMENTUM * m + (1 - MOMENTUM) * g
        left, s, right = torch.linalg.svd(MOMENTUM * m + (1 - MOMENTUM) * g, full_matrices=False)
        s = s / s.norm()
        for _ in range(5):
            s = QUINTIC[0] * s + QUINTIC[1] * s**3 + QUINTIC[2] * s**5
        yield left * s @ right


def decayed_reference(decays: list[float]) -> Reference:
    def reference(w: Tensor, gradients: list[Tensor]) -> Tensor:
        for u, rate, decay in zip(adam_directions(gradients), rates(), decays, strict=True):
            w = (1 - rate * decay) * w - rate * u
        return w

    return reference


def sphere_reference(directions: Callable[[list[Tensor]], Iterator[Tensor]]) -> Reference:
    def reference(w: Tensor, gradients: list[Tensor]) -> Tensor:
        radius = w.norm()
        for u, rate in zip(directions(gradients), rates(), strict=True):
            moved = w - rate * radius * u / u.norm()
            w = radius * moved / moved.norm()
        return w

    return reference


@dataclass(frozen=True)
class Case:
    """An optimizer, its definition in float64, and how far rounding may take it, relative to the norm.

    In bfloat16 the weights are rounded to 8 bits at every step, and torch's AdamW keeps its averages in 8 bits too.
    """

    name: str
    build: Build
    reference: Reference
    tolerance: dict[torch.dtype, float]


CASES = (
    Case(
        "AdamW",
        lambda p, **how: torch.optim.AdamW(p, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, **how),
        decayed_reference([DECAY] * len(MULTIPLIERS)),
        {torch.float32: 2e-6, torch.bfloat16: 0.03},
    ),
    Case(
        "AdamC",
        lambda p, **how: AdamC(p, lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY, **how),
        decayed_reference([DECAY * multiplier for multiplier in MULTIPLIERS]),
        {torch.float32: 2e-6, torch.bfloat16: 0.03},
    ),
    Case(
        "AdamH",
        lambda p, **how: AdamH(p, lr=LR, betas=BETAS, eps=EPS, **how),
        sphere_reference(adam_directions),
        {torch.float32: 2e-6, torch.bfloat16: 0.01},
    ),
    Case(
        "MuonH",
        lambda p, **how: MuonH(p, lr=LR, momentum=MOMENTUM, **how),
        sphere_reference(muon_directions),
        {torch.float32: 2e-5, torch.bfloat16: 0.01},
    ),
)
MODES: dict[str, dict[str, Any]] = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "default": {}}
DTYPES = (torch.float32, torch.bfloat16)


@pytest.fixture(params=["CPU", "GPU"])
def arithmetic(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sphere optimizers compute on either device, here on a CPU."""
    if request.param == "GPU":
        monkeypatch.setattr(Batch, "clean", lambda batch: batch.buffer.zero_())
        monkeypatch.setattr(Batch, "move", Batch.move_without_waiting)


def train(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        for group in optimizer.param_groups:
            group["lr"] = rates()[step]
        for p in parameters:
            p.grad = gradient(p.shape, step, p.dtype)
        optimizer.step()


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("restored", [False, True], ids=["whole", "restored"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_its_definition(case: Case, dtype: torch.dtype, mode: str, restored: bool) -> None:
    parameters = make_parameters(dtype)
    starts = [p.detach().double() for p in parameters]
    optimizer = case.build(parameters, **MODES[mode])
    train(parameters, optimizer, range(RESTORED_AT))
    copies = [nn.Parameter(p.detach().clone()) for p in parameters]
    saved = through_a_file(optimizer.state_dict())
    train(parameters, optimizer, range(RESTORED_AT, len(MULTIPLIERS)))
    if restored:
        other = case.build(copies, **MODES[mode])
        used = [p.detach().clone() for p in copies]
        train(copies, other, range(1))  # a state to be overwritten
        with torch.no_grad():
            for p, q in zip(copies, used, strict=True):
                p.copy_(q)
        other.load_state_dict(saved)
        train(copies, other, range(RESTORED_AT, len(MULTIPLIERS)))
        for p, q in zip(parameters, copies, strict=True):
            assert torch.equal(p, q)
        parameters = copies
    for start, p in zip(starts, parameters, strict=True):
        gradients = [gradient(p.shape, step, dtype).double() for step in range(len(MULTIPLIERS))]
        expected = case.reference(start, gradients)
        assert (p.detach().double() - expected).norm() / expected.norm() < case.tolerance[dtype]
        assert (expected - start).norm() / expected.norm() > 0.05


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "bfloat16"])
@pytest.mark.parametrize("build", [case.build for case in CASES[2:]], ids=["AdamH", "MuonH"])
def test_matrices_do_not_see_their_neighbours(build: Build, dtype: torch.dtype) -> None:
    """Together, one by one, or with one neighbour left out now and then: the same bits."""
    results = []
    for mode, absent in itertools.product(MODES, (None, 0)):
        parameters = make_parameters(dtype)
        optimizer = build(parameters, **MODES[mode])
        for step in range(6):
            for group in optimizer.param_groups:
                group["lr"] = rates()[step]
            for index, p in enumerate(parameters):
                p.grad = None if index == absent and step % 2 else gradient(p.shape, step, dtype)
            optimizer.step()
        results.append([p.detach() for p in parameters[1:]])
    for other in results[1:]:
        assert all(torch.equal(p, q) for p, q in zip(results[0], other, strict=True))


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("build", [case.build for case in CASES[2:]], ids=["AdamH", "MuonH"])
@pytest.mark.parametrize("mode", MODES)
def test_a_gradient_that_is_not_a_number_stays_with_its_matrix(build: Build, mode: str) -> None:
    """Also once its weights and state are put back."""
    parameters, healthy = make_parameters(torch.float32), make_parameters(torch.float32)
    optimizer, reference = build(parameters, **MODES[mode]), build(healthy, **MODES[mode])
    start, state = parameters[4].detach().clone(), through_a_file(optimizer.state_dict())["state"][4]
    for step in range(4):
        for p, q in zip(parameters, healthy, strict=True):
            p.grad, q.grad = gradient(p.shape, step, p.dtype), gradient(p.shape, step, p.dtype)
        if step == 1:
            parameters[4].grad = torch.full(SHAPES[4], torch.nan)
        optimizer.step()
        reference.step()
        if step == 1:
            assert parameters[4].isnan().all()
            with torch.no_grad():
                parameters[4].copy_(start)
            for key, value in state.items():
                if isinstance(value, Tensor):
                    optimizer.state[parameters[4]][key].copy_(value)
    assert parameters[4].isfinite().all()
    assert all(torch.equal(parameters[k], healthy[k]) for k in range(len(SHAPES)) if k != 4)


@pytest.mark.usefixtures("arithmetic")
@pytest.mark.parametrize("build", [case.build for case in CASES], ids=[case.name for case in CASES])
def test_strides_do_not_matter(build: Build) -> None:
    """Of the weights, and of gradients laid out otherwise."""

    def by_columns(t: Tensor) -> Tensor:
        return t.T.contiguous().T

    results = []
    for store, lay_out in ((torch.clone, torch.clone), (by_columns, by_columns), (by_columns, torch.clone)):
        parameters = [nn.Parameter(store(p.detach())) for p in make_parameters(torch.float32)]
        optimizer = build(parameters)
        for step in range(5):
            for p in parameters:
                p.grad = lay_out(gradient(p.shape, step, p.dtype))
            optimizer.step()
        results.append([p.detach() for p in parameters])
    for other in results[1:]:
        for p, q in zip(results[0], other, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def test_loading_into_another_type_keeps_the_precision_of_the_arithmetic() -> None:
    """bfloat16 weights have float32 averages, float64 weights float64 ones, wherever the state comes from."""
    saved = make_parameters(torch.bfloat16)
    optimizer = AdamH(saved, lr=LR)
    train(saved, optimizer, range(3))
    for dtype, work in ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2):
        parameters = [nn.Parameter(p.detach().to(dtype)) for p in saved]
        other = AdamH(parameters, lr=LR)
        other.load_state_dict(through_a_file(optimizer.state_dict()))
        for p, q in zip(saved, parameters, strict=True):
            ours, theirs = optimizer.state[p], other.state[q]
            assert theirs["radius"] == ours["radius"]
            for key in ("exp_avg", "exp_avg_sq"):
                assert theirs[key].dtype == work
                assert torch.equal(theirs[key].double(), ours[key].double())
        train(parameters, other, range(3, 6))
        assert {p.dtype for p in parameters} == {dtype}


def test_peak_of_adamc_is_the_rate_it_is_built_with() -> None:
    p = nn.Parameter(torch.ones(2, 2))
    optimizer = AdamC([{"params": [p]}], lr=0.1, weight_decay=0.5)
    for lr, decay in ((0.1, 0.5), (0.02, 0.1), (0.0, 0.0)):
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.zeros_like(p)
        before = p.detach().clone()
        optimizer.step()
        torch.testing.assert_close(p.detach(), (1 - lr * decay) * before)
    with pytest.raises(ValueError, match="must be above 0"):
        AdamC([p], lr=0.0)
