"""The direction of every optimizer is that of its own move, in every form of the optimizer, or it is not given."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt.adamc import AdamC
from gpt.adamh import AdamH
from gpt.directions import DECAYS
from gpt.muonh import MuonH
from gpt.probe import Probe
from tests.gpt.loops.optimizers import (
    Build,
    Cubic,
    HalfAdam,
    IndependentAdam,
    Lion,
    Momentum,
    Wrapped,
    gradients,
    run,
    weights,
)
from theory import InvalidParameter

optim = torch.optim
LR, DECAY = 0.02, 0.3
RATES = [LR, LR, 0.5 * LR, 0.25 * LR, LR]


def built(cls: type, **fixed: Any) -> Build:
    return lambda p, **how: cls(p, lr=LR, weight_decay=DECAY, **fixed, **how)


# The share of the weights that a step decays by, for each optimizer, at a learning rate.
PYTORCH: Callable[[float], float] = lambda lr: lr * DECAY  # noqa: E731
COUPLED: Callable[[float], float] = lambda lr: 0.0  # noqa: E731
KNOWN: dict[str, tuple[Build, Callable[[float], float]]] = {
    "SGD": (built(optim.SGD, momentum=0.9, nesterov=True), COUPLED),
    "Adam": (built(optim.Adam), COUPLED),
    "AdamW": (built(optim.AdamW), PYTORCH),
    "AMSGrad": (built(optim.AdamW, amsgrad=True, maximize=True), PYTORCH),
    "NAdam": (built(optim.NAdam, decoupled_weight_decay=True), PYTORCH),
    "RAdam": (built(optim.RAdam), COUPLED),
    "Adamax": (built(optim.Adamax), COUPLED),
    "Adagrad": (built(optim.Adagrad), COUPLED),
    "Adadelta": (built(optim.Adadelta), COUPLED),
    "RMSprop": (built(optim.RMSprop, centered=True), COUPLED),
    "Adafactor": (built(optim.Adafactor), PYTORCH),
    "AdamC": (built(AdamC), lambda lr: lr * DECAY * lr / LR),
    "Lion": (built(Lion, convention="pytorch"), PYTORCH),
    "Lion, relative": (built(Lion, convention="relative"), lambda lr: DECAY * lr / LR),
    "Nesterov, relative": (built(Momentum, convention="relative"), lambda lr: DECAY * lr / LR),
    "Nesterov, independent": (built(Momentum, convention="independent"), lambda lr: DECAY),
    "Adam, independent": (lambda p, **how: IndependentAdam(p, lr=LR, weight_decay=0.001, **how), lambda lr: 0.001),
}
FORMS: dict[str, dict[str, bool]] = {
    "plain": {},
    "single": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "wrapped": {},
}


def takes(build: Build, how: dict[str, bool]) -> bool:
    cls = type(build([weights()]))
    return how.keys() <= inspect.signature(cls).parameters.keys()


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "form"),
    [(name, form) for name, form in itertools.product(KNOWN, FORMS) if takes(KNOWN[name][0], FORMS[form])],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_direction_is_that_of_the_move(name: str, form: str, dtype: torch.dtype) -> None:
    """The learning rate moves before the step and again before the probe looks. In float32 move and direction may
    differ by the rounding of the weights, half a unit in the last place of each before and after."""
    build, decay = KNOWN[name]
    w, twin = weights(dtype=dtype), weights(dtype=dtype)
    optimizer, bare = build([w], **FORMS[form]), build([twin], **FORMS[form])
    stepped: Any = Wrapped(optimizer) if form == "wrapped" else optimizer
    probe = Probe({"w": w}, stepped)
    expected, slack = [], []
    for step, (gradient, lr) in enumerate(zip(gradients(len(RATES), dtype=dtype), RATES, strict=True)):
        twin.grad, w.grad = gradient.clone(), gradient.clone()
        before = twin.detach().double().clone()
        bare.param_groups[0]["lr"] = lr
        bare.step()
        u = -(twin.detach().double() - (1 - decay(lr)) * before) / lr
        expected.append([u.square().mean().sqrt(), (u * before).sum() / (u.norm() * before.norm())])
        slack.append(float(torch.finfo(dtype).eps * before.norm() / (lr * u.norm())))
        probe.before()
        stepped.param_groups[0]["lr"] = lr
        stepped.step()
        stepped.param_groups[0]["lr"] = 7.0
        probe.after(step)
    found = probe.trajectory()
    assert torch.equal(w, twin)
    both = np.stack([found.update_rms[:, 0], found.cosine[:, 0]], axis=1)
    floor = np.array([0.0, 1.0 if dtype == torch.float32 else 0.0])  # rounding knows nothing of a small cosine
    off = np.abs(both - np.array(expected)) / np.maximum(np.abs(np.array(expected)), floor)
    assert (off.max(axis=1) <= 1e-5 + np.array(slack)).all()


def steps_along_the_sphere(w: Tensor, u: Tensor, lr: float, radius: Tensor) -> Tensor:
    moved = w - lr * radius * u / u.norm()
    return radius * moved / moved.norm()


@pytest.mark.parametrize("build", [lambda p: AdamH(p, lr=LR), lambda p: MuonH(p, lr=LR)], ids=["AdamH", "MuonH"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_direction_on_a_sphere_makes_the_move(build: Build, wrapped: bool) -> None:
    w = weights()
    optimizer = build([w])
    stepped: Any = Wrapped(optimizer) if wrapped else optimizer
    probe = Probe({"w": w}, stepped)
    seen = run(w, stepped, probe, gradients(3))
    u, found = optimizer.direction(w), probe.trajectory()  # type: ignore[attr-defined]
    torch.testing.assert_close(steps_along_the_sphere(seen[2], u, LR, seen[0].norm()), seen[3], rtol=1e-7, atol=1e-9)
    assert found.update_rms[2, 0] == pytest.approx(float(u.square().mean().sqrt()), rel=1e-9)
    assert found.cosine[2, 0] == pytest.approx(float((u * seen[2]).sum() / (u.norm() * seen[2].norm())), rel=1e-9)


class Clipped(optim.AdamW):
    """Keeps weights in a box after the step."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        super().step()
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.clamp_(-0.5, 0.5)


class Pushed(AdamH):
    """Its weights are changed in the step, off the sphere's move."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        super().step()
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.add_(0.01)


UNKNOWN: dict[str, Build] = {
    "half of Adam": lambda p: HalfAdam(p, lr=LR, weight_decay=DECAY),
    "clipped": lambda p: Clipped(p, lr=LR),
    "pushed": lambda p: Pushed(p, lr=LR),
    "odd decay": built(Lion, convention="odd"),
    "odd direction": built(Cubic, convention="pytorch"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_not_given(name: str) -> None:
    w = weights()
    optimizer = UNKNOWN[name]([w])
    probe = Probe({"w": w}, optimizer)
    with pytest.warns(UserWarning, match="is not known") as caught:
        run(w, optimizer, probe, gradients(4))  # type: ignore[arg-type]
    assert len(caught) == 1
    found = probe.trajectory()
    assert np.isnan(found.update_rms).all()
    assert np.isnan(found.cosine).all()
    assert (found.angular_update > 0).all()
    assert np.isfinite(found.weight_rms).all()


@pytest.mark.parametrize("convention", ["pytorch", "independent", "relative"])
def test_a_convention_that_is_told(convention: str) -> None:
    w = weights()
    optimizer = Cubic([w], lr=LR, weight_decay=DECAY, convention=convention)
    probe = Probe({"w": w}, optimizer, decay=convention)  # type: ignore[arg-type]
    given = gradients(3)
    run(w, optimizer, probe, given)  # type: ignore[arg-type]
    expected = [float((g**3).square().mean().sqrt()) for g in given]
    np.testing.assert_allclose(probe.trajectory().update_rms[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("told", DECAYS)
def test_a_convention_that_adam_contradicts(told: Any) -> None:
    w = weights()
    optimizer = optim.AdamW([w], lr=LR, weight_decay=DECAY)
    optimizer.param_groups[0]["initial_lr"] = 2 * LR
    probe = Probe({"w": w}, optimizer, decay=told)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(w, optimizer, probe, gradients(2))  # type: ignore[arg-type]
    right = told == "pytorch"
    assert bool(caught) is not right
    assert np.isfinite(probe.trajectory().update_rms).all() == right


def test_conventions_that_cannot_be() -> None:
    w = weights()
    optimizer = optim.AdamW([w], lr=LR)
    with pytest.raises(InvalidParameter, match="decay"):
        Probe({"w": w}, optimizer, decay="sometimes")  # type: ignore[arg-type]
    probe = Probe({"w": w}, optimizer, decay="relative")
    with pytest.raises(InvalidParameter, match="peak_lr"):
        run(w, optimizer, probe, gradients(1))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_is_no_reason_to_doubt_adam(dtype: torch.dtype) -> None:
    """At a rate at which bfloat16 loses most of the step, and with beta2 near 1."""
    w = weights((64, 64), dtype)
    optimizer = optim.AdamW([w], lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1)
    probe = Probe({"w": w}, optimizer)
    run(w, optimizer, probe, gradients(6, (64, 64), dtype))  # type: ignore[arg-type]
    found = probe.trajectory().update_rms[:, 0]
    assert found[0] == pytest.approx(1, rel=0.01)
    assert np.isfinite(found).all()


def test_a_direction_that_rounding_made_up_is_not_given() -> None:
    """Read from a move of bfloat16 weights."""
    for lr, there in ((0.5, True), (1e-4, False)):
        w = weights((64, 64), torch.bfloat16)
        optimizer = optim.SGD([w], lr=lr)
        probe = Probe({"w": w}, optimizer)
        run(w, optimizer, probe, gradients(2, (64, 64), torch.bfloat16))  # type: ignore[arg-type]
        assert np.isfinite(probe.trajectory().update_rms).all() == there


def test_a_rate_of_zero_has_no_direction_to_check() -> None:
    """As at the start of a warmup: Adam's is known all the same, others' are not, and nobody is blamed."""
    for build, first in ((KNOWN["AdamW"][0], True), (KNOWN["Lion"][0], False), (KNOWN["Adam, independent"][0], False)):
        w = weights()
        optimizer = build([w])
        probe = Probe({"w": w}, optimizer)
        optimizer.param_groups[0]["lr"] = 0.0
        run(w, optimizer, probe, gradients(1))  # type: ignore[arg-type]
        optimizer.param_groups[0]["lr"] = LR
        run(w, optimizer, probe, gradients(1), first=1)  # type: ignore[arg-type]
        assert np.isfinite(probe.trajectory().update_rms[:, 0]).tolist() == [first, True]


def test_master_weights() -> None:
    """The optimizer trains float32 copies of bfloat16 weights: they are what can be watched."""
    w = weights((16, 16), torch.bfloat16)
    master = nn.Parameter(w.detach().float())
    optimizer = optim.AdamW([master], lr=1e-3, weight_decay=0.1)
    with pytest.raises(InvalidParameter, match="trained by this optimizer"):
        Probe({"w": w}, optimizer)
    probe = Probe({"w": master}, optimizer)
    run(master, optimizer, probe, gradients(3, (16, 16), torch.float32))  # type: ignore[arg-type]
    assert np.isfinite(probe.trajectory().update_rms).all()
