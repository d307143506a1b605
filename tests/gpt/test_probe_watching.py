"""What a probe watches and keeps: modules, rows, thinned records, states; and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gpt.probe import Probe
from gpt.step_records import StepRecord
from tests.gpt.loops.optimizers import gradients, run, weights
from theory import InvalidParameter
from theory.trajectory import FIELDS

LR = 0.01


def adamw(parameters: list[nn.Parameter], **how: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=LR, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.2, **how)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_does_not_change_the_run(dtype: torch.dtype) -> None:
    weights = []
    for probed in (False, True):
        w = nn.Parameter(torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=dtype))
        optimizer = adamw([w], fused=True)
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
    optimizer = adamw([w])
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
    trajectory = Probe({"w": w}, adamw([w])).trajectory()
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
    optimizers = [adamw(list(m.parameters())) for m in (module, other)]
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
        optimizer = adamw([parameter])
        probe = Probe({"w": parameter}, optimizer, per_neuron=per_neuron)
        parameter.grad = gradient[: len(parameter)].clone()
        probe.before()
        optimizer.step()
        probe.after(0)
        trajectories.append(probe.trajectory())
    for field in FIELDS:
        assert getattr(trajectories[0], field)[0, 0] == pytest.approx(getattr(trajectories[1], field)[0, 0], rel=1e-12)


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


@pytest.mark.parametrize(
    ("matrices", "said"),
    [
        (lambda m: list(m.parameters()), "a module, or tensors by name"),
        (lambda m: m[0].weight, "a module, or tensors by name"),
        (lambda m: {"w": m[0].weight.to(torch.complex64)}, "trained by this optimizer"),
    ],
)
def test_refuses_what_is_no_set_of_matrices(matrices: Any, said: str) -> None:
    module = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(InvalidParameter, match=said):
        Probe(matrices(module), torch.optim.SGD(module.parameters(), lr=LR))


def test_refuses_complex_matrices() -> None:
    w = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    with pytest.raises(InvalidParameter, match="of real numbers"):
        Probe({"w": w}, torch.optim.SGD([w], lr=LR))


@pytest.mark.parametrize("optimizer", [None, [torch.optim.SGD([weights()], lr=LR)], nn.Linear(3, 4)])
def test_refuses_what_is_no_optimizer(optimizer: Any) -> None:
    with pytest.raises(InvalidParameter, match="of several, each has a probe of its own"):
        Probe(nn.Linear(3, 4), optimizer)


def test_a_parameter_that_the_module_has_replaced() -> None:
    """As a new head does, or .to() under one of torch's settings: the optimizer trains the old one, in vain."""
    module = network()
    optimizer = adamw(list(module.parameters()))
    probe = Probe(module, optimizer)
    watch(module, optimizer, probe, 1)
    module[2].weight = nn.Parameter(module[2].weight.detach().clone())
    with pytest.raises(InvalidParameter, match="was replaced"):
        watch(module, optimizer, probe, 1)
    optimizer.param_groups[0]["params"][2] = module[2].weight  # and now it trains the new one
    optimizer.zero_grad()
    module[2](torch.ones(2, 12, dtype=torch.float64)).sum().backward()
    probe.before()
    optimizer.step()
    probe.after(1)
    assert probe.trajectory().matrices == ("0.weight", "2.weight")
    assert probe.trajectory().angular_update[1, 1] > 0


@pytest.mark.parametrize("per_neuron", [False, True])
def test_records_of_a_state_go_to_their_matrices(per_neuron: bool) -> None:
    """By name, whatever their order; NaN for a matrix that was not watched; refused if there is no place for them."""
    a, b = weights((2, 3)), weights((4, 3))
    optimizer = adamw([a, b])
    probe = Probe({"b": b}, optimizer, per_neuron=per_neuron)
    run(b, optimizer, probe, [gradients(1, (4, 3))[0]])
    both = Probe({"a": a, "b": b}, optimizer, per_neuron=per_neuron)
    both.load_state_dict(copy.deepcopy(probe.state_dict()))
    rms = both.trajectory().weight_rms[0]
    rows = 2 if per_neuron else 1
    assert np.isnan(rms[:rows]).all()
    np.testing.assert_array_equal(rms[rows:], probe.trajectory().weight_rms[0])
    with pytest.raises(InvalidParameter, match="does not watch it"):
        Probe({"a": a}, optimizer, per_neuron=per_neuron).load_state_dict(probe.state_dict())


@pytest.mark.parametrize("kind", ["in place", "by .data", "averaged"])
def test_weights_that_are_moved_after_the_step(kind: str) -> None:
    """By somebody else: a direction that is read from the move would hold that too, and is not given. AdamW's, which is
    not, contradicts the move. Neither is asked for where the probe is told so."""
    for build in (lambda p: torch.optim.SGD(p, lr=LR), adamw):
        for check in (True, False):
            w = weights()
            optimizer = build([w])  # type: ignore[operator]
            probe = Probe({"w": w}, optimizer, check_moves=check)
            w.grad = gradients(1)[0]
            probe.before()
            optimizer.step()
            with torch.no_grad():
                if kind == "in place":
                    w.clamp_(-1, 1)
                elif kind == "by .data":
                    w.data.mul_(0.9)
                else:
                    w.lerp_(weights(), 0.5)
            if check:
                with pytest.warns(UserWarning, match="is not known"):
                    probe.after(0)
            else:
                probe.after(0)
            assert np.isnan(probe.trajectory().update_rms).all() == check
            assert (probe.trajectory().angular_update > 0).all() or kind == "by .data"


@pytest.mark.parametrize("per_neuron", [False, True])
def test_records_that_wait_for_a_device_are_read_later(per_neuron: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the first, with the same numbers; a direction that is not known is told when they are read."""
    found = []
    for waits in (False, True):
        monkeypatch.setattr("gpt.probe.reading_waits", lambda tensor, waits=waits: waits)
        w = weights()
        optimizer = adamw([w])
        probe = Probe({"w": w}, optimizer, per_neuron=per_neuron)
        run(w, optimizer, probe, gradients(3))
        assert [isinstance(record, StepRecord) for record in probe._records] == [False, waits, waits]
        found.append(probe.trajectory())
        assert not any(isinstance(record, StepRecord) for record in probe._records)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(found[0], field), getattr(found[1], field))
    w.grad = gradients(1)[0]
    probe.before()
    optimizer.step()
    w.data.mul_(0.9)
    probe.after(3)
    with pytest.warns(UserWarning, match="is not known"):
        probe.state_dict()
