"""A record belongs to a step that was made, whatever loop the probe is in."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gpt.adamh import AdamH
from gpt.muonh import MuonH
from gpt.probe import Probe
from tests.gpt.loops.optimizers import Build, Wrapped, gradients, run, weights
from theory import InvalidParameter
from theory.trajectory import FIELDS, Trajectory

optim = torch.optim
LR = 0.02
BUILDS: dict[str, Build] = {
    "SGD": lambda p: optim.SGD(p, lr=LR, momentum=0.9, weight_decay=0.1),
    "SGD fused": lambda p: optim.SGD(p, lr=LR, fused=True),
    "AdamW": lambda p: optim.AdamW(p, lr=LR),
    "AdamW fused": lambda p: optim.AdamW(p, lr=LR, fused=True),
    "AdamH": lambda p: AdamH(p, lr=LR),
    "MuonH": lambda p: MuonH(p, lr=LR),
}
each_optimizer = pytest.mark.parametrize("name", BUILDS)


def assert_made(run: Trajectory, made: list[bool]) -> None:
    """Records of steps that were not made have no direction, and neither angle nor length."""
    there = np.array(made)
    assert np.isfinite(run.update_rms[there]).all()
    assert (run.angular_update[there] > 0).all()
    for values in (run.update_rms, run.cosine, run.radial_gradient):
        assert np.isnan(values[~there]).all()
    assert not run.angular_update[~there].any()
    assert not run.relative_update[~there].any()
    assert np.isfinite(run.weight_rms).all()


@each_optimizer
def test_a_scaler_skips_steps(name: str) -> None:
    """In a fused optimizer the step is called, and only its kernel knows that nothing is done."""
    w = weights(dtype=torch.float32)
    optimizer = BUILDS[name]([w])
    probe, scaler = Probe({"w": w}, optimizer), torch.amp.GradScaler("cpu", init_scale=8.0)
    skipped = (0, 3, 4)
    for step, gradient in enumerate(gradients(7, dtype=torch.float32)):
        scaler.scale((w * gradient).sum()).backward()
        assert w.grad is not None
        if step in skipped:
            w.grad[0, 0] = torch.inf
        before = w.detach().clone()
        probe.before()
        scaler.step(optimizer)
        probe.after(step)
        scaler.update()
        optimizer.zero_grad()
        assert torch.equal(before, w) == (step in skipped)
    assert_made(probe.trajectory(), [step not in skipped for step in range(7)])
    assert probe.trajectory(made_only=True).steps.tolist() == [1, 2, 5, 6]


@each_optimizer
def test_gradients_accumulate(name: str) -> None:
    """A wrapper that steps at every fourth call gives the records of a loop that calls it then only."""
    found = []
    for stepped_only in (False, True):
        w = weights()
        wrapper = Wrapped(BUILDS[name]([w]))
        probe = Probe({"w": w}, wrapper)  # type: ignore[arg-type]
        for micro, gradient in enumerate(gradients(16)):
            wrapper.sync = micro % 4 == 3
            w.grad = gradient.clone() if w.grad is None else w.grad + gradient
            if wrapper.sync or not stepped_only:
                probe.before()
                wrapper.step()
                probe.after(micro)
            if wrapper.sync:
                w.grad = None
        found.append(probe.trajectory(made_only=True))
        if not stepped_only:
            assert_made(probe.trajectory(), [micro % 4 == 3 for micro in range(16)])
    for field in ("steps", *FIELDS):
        np.testing.assert_array_equal(getattr(found[0], field), getattr(found[1], field))


def test_a_thinned_probe_waits_for_a_step() -> None:
    """Every tenth pair would never meet the steps 3, 7, 11 ...: the next that is made is recorded."""
    w = weights()
    wrapper = Wrapped(BUILDS["AdamW"]([w]))
    probe = Probe({"w": w}, wrapper, every=10)  # type: ignore[arg-type]
    half = None
    for micro, gradient in enumerate(gradients(30)):
        wrapper.sync = micro % 4 == 3
        run(w, wrapper, probe, [gradient], first=micro)
        if micro == 10:
            half = probe.state_dict()
    assert probe.trajectory(made_only=True).steps.tolist() == [3, 11, 23]
    assert half is not None
    resumed = Probe({"w": w}, wrapper, every=10)  # type: ignore[arg-type]
    resumed.load_state_dict(half)
    wrapper.sync = True
    run(w, wrapper, resumed, gradients(1), first=11)  # type: ignore[arg-type]
    assert resumed.trajectory(made_only=True).steps.tolist() == [3, 11]


@each_optimizer
def test_a_matrix_without_a_gradient_makes_no_step(name: str) -> None:
    still, moving, frozen = weights(), weights(), weights()
    frozen.requires_grad = False
    optimizer = BUILDS[name]([still, moving, frozen])
    probe = Probe({"still": still, "moving": moving, "frozen": frozen}, optimizer)
    for step, gradient in enumerate(gradients(4)):
        moving.grad = gradient.clone()
        still.grad = gradient.clone() if step % 2 else None
        probe.before()
        optimizer.step()
        probe.after(step)
    found = probe.trajectory()
    assert np.isfinite(found.update_rms).tolist() == [[bool(step % 2), True, False] for step in range(4)]
    assert (found.angular_update > 0).tolist() == [[bool(step % 2), True, False] for step in range(4)]
    assert len(probe.trajectory(made_only=True).steps) == 4


@each_optimizer
def test_two_steps_at_once_have_no_direction(name: str) -> None:
    w = weights()
    optimizer = BUILDS[name]([w])
    probe = Probe({"w": w}, optimizer)
    w.grad = gradients(1)[0]
    probe.before()
    optimizer.step()
    optimizer.step()
    probe.after(0)
    found = probe.trajectory(made_only=True)
    assert np.isnan(found.update_rms).all()
    assert (found.angular_update > 0).all()


@each_optimizer
@pytest.mark.parametrize("inside", [False, True])
def test_a_closure_that_makes_the_gradients(name: str, inside: bool) -> None:
    """As in Lightning, where the first call may also come from inside the step."""
    w = weights()
    optimizer = BUILDS[name]([w])
    probe = Probe({"w": w}, optimizer)
    for step, gradient in enumerate(gradients(3)):

        def closure(gradient: Tensor = gradient) -> Tensor:
            optimizer.zero_grad()
            loss = (w * gradient).sum()
            loss.backward()
            if inside:
                probe.before()
            return loss

        if not inside:
            probe.before()
        optimizer.step(closure)  # type: ignore[arg-type]
        probe.after(step)
    assert_made(probe.trajectory(), 3 * [True])


class Thrifty(optim.SGD):
    """Gives back the memory of the gradients in its step."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        super().step()
        self.zero_grad()


def test_an_optimizer_that_drops_the_gradients() -> None:
    moving, still = weights(), weights()
    optimizer = Thrifty([moving, still], lr=LR)
    probe = Probe({"moving": moving, "still": still}, optimizer)
    given = gradients(3)
    for step, gradient in enumerate(given):
        moving.grad = gradient.clone()
        probe.before()
        optimizer.step()
        probe.after(step)
    expected = [float(g.square().mean().sqrt()) for g in given]
    np.testing.assert_allclose(probe.trajectory().update_rms[:, 0], expected, rtol=1e-6)
    assert np.isnan(probe.trajectory().update_rms[:, 1]).all()


def test_a_rate_that_is_a_tensor_and_moves_in_place() -> None:
    w, lr = weights(), torch.tensor(LR)
    optimizer = optim.AdamW([w], lr=lr, weight_decay=0.3)
    probe = Probe({"w": w}, optimizer)
    for step, gradient in enumerate(gradients(3)):
        w.grad = gradient
        probe.before()
        optimizer.step()
        optimizer.param_groups[0]["lr"].mul_(0.5)
        probe.after(step)
    assert_made(probe.trajectory(), 3 * [True])


def test_a_schedule_that_moves_before_the_probe_looks() -> None:
    w = weights()
    optimizer = optim.SGD([w], lr=LR)
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
    probe = Probe({"w": w}, optimizer)
    given = gradients(4)
    for step, gradient in enumerate(given):
        w.grad = gradient.clone()
        probe.before()
        optimizer.step()
        schedule.step()
        probe.after(step)
    expected = [float(g.square().mean().sqrt()) for g in given]
    np.testing.assert_allclose(probe.trajectory().update_rms[:, 0], expected, rtol=1e-5)


def test_steps_that_do_not_increase_are_refused_at_the_call() -> None:
    """A counter that begins again in each epoch."""
    w = weights()
    optimizer = optim.SGD([w], lr=LR)
    probe = Probe({"w": w}, optimizer)
    run(w, optimizer, probe, gradients(3))  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="count on over epochs"):
        run(w, optimizer, probe, gradients(1))  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match="step"):
        probe.after(True)
    assert probe.trajectory().steps.tolist() == [0, 1, 2]
    run(w, optimizer, probe, gradients(1), first=3)  # type: ignore[arg-type]
    assert probe.trajectory().steps.tolist() == [0, 1, 2, 3]


def test_parameters_without_data_are_refused_at_the_call() -> None:
    with torch.device("meta"):
        module = nn.Linear(4, 4)
    with pytest.raises(InvalidParameter, match="meta"):
        Probe(module, optim.SGD(module.parameters(), lr=LR))
    with pytest.raises(ValueError, match="meta"):
        AdamH([module.weight], lr=LR)


def test_parameters_that_join_later_are_watched() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).double()
    optimizer = optim.AdamW(module[1].parameters(), lr=LR)
    probe = Probe(module, optimizer)

    def step(number: int) -> None:
        module(torch.ones(2, 4, dtype=torch.float64)).square().sum().backward()
        probe.before()
        optimizer.step()
        probe.after(number)

    step(0)
    saved = probe.state_dict()
    optimizer.add_param_group({"params": module[0].parameters(), "lr": 1e-3})
    step(1)
    found = probe.trajectory()
    assert found.matrices == ("1.weight", "0.weight")
    assert np.isfinite(found.update_rms).tolist() == [[True, False], [True, True]]
    other = Probe({"0.weight": module[0].weight, "1.weight": module[1].weight}, optimizer)
    other.load_state_dict(saved)
    assert other.trajectory().weight_rms.shape == (1, 2)
    optimizer.param_groups.pop(0)  # and the first leaves
    step(2)
    assert np.isfinite(probe.trajectory().update_rms[2]).tolist() == [False, True]


def test_names_are_those_of_the_module_inside() -> None:
    module = nn.Sequential(nn.Linear(4, 4))
    optimizer = optim.AdamW(module.parameters(), lr=LR)
    for shown in (torch.compile(module, backend="eager"), nn.DataParallel(module)):
        assert Probe(shown, optimizer).trajectory().matrices == ("0.weight",)  # type: ignore[arg-type]


def test_channels_last() -> None:
    """Strides do not change what is measured."""
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        w = nn.Parameter(weights((4, 3, 3, 3)).detach().to(memory_format=layout))
        optimizer = AdamH([w], lr=LR)
        probe = Probe({"w": w}, optimizer)
        for step, gradient in enumerate(gradients(3, (4, 3, 3, 3))):
            w.grad = gradient.to(memory_format=layout)
            probe.before()
            optimizer.step()
            probe.after(step)
        assert w.is_contiguous(memory_format=layout)
        found.append(probe.trajectory())
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found[0], field), getattr(found[1], field), rtol=1e-9)


def test_a_zero_matrix_has_a_direction_but_no_angle() -> None:
    """As the second factor of LoRA at its start."""
    w = nn.Parameter(torch.zeros(4, 4, dtype=torch.float64))
    optimizer = optim.AdamW([w], lr=LR)
    probe = Probe({"w": w}, optimizer)
    run(w, optimizer, probe, gradients(2, (4, 4)))  # type: ignore[arg-type]
    found = probe.trajectory()
    assert found.update_rms[0, 0] == pytest.approx(1, rel=1e-4)
    assert not np.isfinite(found.relative_update[0, 0])
    assert np.isfinite(found.cosine[1, 0])


def test_an_error_in_a_step_is_not_a_step() -> None:
    w = weights()
    optimizer = optim.SGD([w], lr=LR)
    probe = Probe({"w": w}, optimizer)

    def fails() -> float:
        raise RuntimeError("out of memory")

    probe.before()
    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(fails)
    probe.after(0)
    run(w, optimizer, probe, gradients(2), first=1)  # type: ignore[arg-type]
    assert_made(probe.trajectory(), [False, True, True])


def test_a_probe_that_is_gone_leaves_no_hooks() -> None:
    w = weights()
    optimizer = optim.SGD([w], lr=LR)
    probe = Probe({"w": w}, optimizer)
    assert optimizer._optimizer_step_post_hooks
    del probe
    gc.collect()
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_step_pre_hooks
