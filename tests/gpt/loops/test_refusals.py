"""What AdamH and MuonH refuse: at the call, before anything has moved, with the reason."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from gpt.adamh import AdamH
from gpt.muonh import MuonH
from gpt.sphere import SphereOptimizer
from tests.gpt.loops.optimizers import gradients, weights

LR = 0.05
both = pytest.mark.parametrize("cls", [AdamH, MuonH])


@both
def test_weights_that_are_loaded_after_building(cls: type[SphereOptimizer]) -> None:
    """An error at the first step, before anything moves, that names the order."""
    w, other = weights(), weights()
    optimizer = cls([{"params": [other]}, {"params": [w]}], lr=LR)  # type: ignore[call-arg, arg-type]
    w.grad, other.grad = gradients(2)
    with torch.no_grad():
        w.mul_(5)
    before = other.detach().clone()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"parameter 1 .* load or change the weights first, then build"):
            optimizer.step()
    assert torch.equal(other, before)
    with torch.no_grad():
        w.div_(5)
    optimizer.step()
    with torch.no_grad():
        w.mul_(5)  # later it is somebody's doing, and undone
    optimizer.step()
    assert float(w.detach().norm() / weights().detach().norm()) == pytest.approx(1, rel=1e-9)
    with torch.no_grad():
        w.mul_(5)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with pytest.raises(ValueError, match="parameter 1"):
        optimizer.step()


@both
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -1.0}, "lr = -1.0"),
        ({"lr": math.nan}, "lr = nan"),
        ({"lr": torch.tensor(-1.0)}, "lr = "),
        ({"weight_decay": 0.1}, "weight_decay = 0.1 means nothing"),
        ({"maximize": True}, "maximize"),
        ({"learning_rate": 0.1}, "learning_rate is not an option"),
        ({"dims": (0, 1)}, "last axes"),
        ({"dims": (-1,)}, "last axes"),
        ({"params": [nn.Parameter(torch.zeros(4, 4))]}, "norm 0.0"),
        ({"params": [nn.Parameter(torch.full((4, 4), math.inf))]}, "norm inf"),
        ({"params": [nn.Parameter(torch.ones(4))]}, "vector|polar factor"),
        ({"params": [nn.Parameter(torch.ones(()))]}, "vector|polar factor"),
        ({"params": [nn.Parameter(torch.ones(3, 3, dtype=torch.complex64))]}, "real numbers"),
        ({"params": [torch.ones(3, 3, dtype=torch.int64)]}, "real numbers"),
    ],
)
def test_a_group_that_is_refused(cls: type[SphereOptimizer], options: dict[str, Any], said: str) -> None:
    """By the constructor as by add_param_group, which then leaves the optimizer as it was."""
    group = {"params": [nn.Parameter(torch.ones(2, 4, 4))] if "dims" in options else [weights()], **options}
    with pytest.raises(ValueError, match=said):
        cls([dict(group)], lr=LR)  # type: ignore[call-arg, arg-type]
    w = weights()
    optimizer = cls([w], lr=LR)  # type: ignore[call-arg, arg-type]
    with pytest.raises(ValueError, match=said):
        optimizer.add_param_group(dict(group))
    assert len(optimizer.param_groups) == len(optimizer.state) == 1
    w.grad = gradients(1)[0]
    optimizer.step()


@both
def test_what_a_step_refuses(cls: type[SphereOptimizer]) -> None:
    """A rate that a schedule has ruined, a sparse gradient, a module that was converted; nothing has moved then."""
    w = weights(dtype=torch.float32)
    start = w.detach().clone()
    optimizer = cls([w], lr=LR)  # type: ignore[call-arg, arg-type]
    w.grad = gradients(1, dtype=torch.float32)[0]
    for lr in (math.nan, -0.1, math.inf):
        optimizer.param_groups[0]["lr"] = lr
        with pytest.raises(ValueError, match="lr = "):
            optimizer.step()
    optimizer.param_groups[0]["lr"] = LR
    w.grad = w.grad.to_sparse()
    with pytest.raises(ValueError, match="sparse"):
        optimizer.step()
    assert torch.equal(w.detach(), start)
    w.grad = None
    w.data = w.data.double()
    w.grad = gradients(1)[0]
    with pytest.raises(ValueError, match="convert the module first"):
        optimizer.step()


@both
def test_options_that_do_nothing_are_taken(cls: type[SphereOptimizer]) -> None:
    """Groups as nanoGPT makes them, with the notes of schedulers; a decay that is set later is refused."""
    w = weights()
    group = {"params": [w], "weight_decay": 0.0, "initial_lr": 1.0, "name": "matrices"}
    optimizer = cls([group], lr=LR)  # type: ignore[call-arg, arg-type]
    w.grad = gradients(1)[0]
    optimizer.step()
    optimizer.param_groups[0]["weight_decay"] = 0.1
    with pytest.raises(ValueError, match="weight_decay"):
        optimizer.step()


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    w = weights()
    w.grad = gradients(1)[0]
    optimizer, momentum, muon = AdamH([w], lr=LR), torch.optim.SGD([w], lr=9.0, momentum=0.9), MuonH([w], lr=9.0)
    momentum.step()
    for other in (momentum, muon):
        with pytest.raises(ValueError, match="has no exp_avg, exp_avg_sq, step: AdamH needs it"):
            optimizer.load_state_dict(other.state_dict())
    assert optimizer.param_groups[0]["lr"] == LR
    with pytest.raises(ValueError, match=r"different number of parameter groups|doesn't match the size"):
        optimizer.load_state_dict(AdamH([weights(), weights()], lr=9.0).state_dict())
    assert optimizer.param_groups[0]["lr"] == LR
