"""Two processes over gloo: probe and optimizers see whole matrices, however these are spread."""

from __future__ import annotations

import copy
import datetime
import functools
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from gpt.adamh import AdamH
from gpt.muonh import MuonH
from gpt.probe import Probe
from gpt.sphere_moves import Batch
from tests.fresh import import_all_of_torch, run_fresh
from tests.gpt.loops.optimizers import Build, gradients, weights
from theory import InvalidParameter
from theory.trajectory import Trajectory

LR, NUM_STEPS, NUM_STACKS = 0.05, 4, 12
BUILDS: dict[str, Build] = {
    "AdamW": lambda p, **how: torch.optim.AdamW(p, lr=LR, weight_decay=0.1, **how),
    "SGD": lambda p: torch.optim.SGD(p, lr=LR, momentum=0.9),
    "AdamH": lambda p: AdamH(p, lr=LR),
    "MuonH": lambda p: MuonH(p, lr=LR),
}
Wrap = Callable[[nn.Module], nn.Module]


@functools.cache
def mesh_of(*shape: int) -> Any:
    return dist.init_device_mesh("cpu", shape)


def as_rows(run: Trajectory) -> dict[str, Any]:
    return {"matrices": list(run.matrices), **{name: values.tolist() for name, values in run.fields().items()}}


def network() -> nn.Module:
    """Rows that two processes cannot share evenly, and a matrix of which one of them has nothing."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 5, bias=False), nn.Linear(5, 7, bias=False), nn.Linear(7, 1, bias=False)]
    return nn.Sequential(*layers).double()


def train(name: str, module: nn.Module, rows: slice = slice(None)) -> dict[str, Any]:
    """A few steps under the probe; a checkpoint in between for AdamH."""
    optimizer = BUILDS[name](list(module.parameters()))
    probe = Probe(module, optimizer)
    for step in range(NUM_STEPS):
        x = gradients(NUM_STEPS, (8, 6))[step][rows]
        (module(x).tanh().sum(dim=1) + module(x).square().sum(dim=1)).mean().backward()
        probe.before()
        optimizer.step()
        probe.after(step)
        optimizer.zero_grad()
        if step == 1:
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return as_rows(probe.trajectory())


def steps_of_shards(name: str, axis: int | None) -> dict[str, Any]:
    """One matrix, whole or split along an axis, with given gradients."""
    from torch.distributed.tensor import Shard, distribute_tensor

    def spread(t: Tensor) -> Tensor:
        if axis is None:
            return t
        return distribute_tensor(t, mesh_of(2), [Shard(axis)])

    w = nn.Parameter(spread(weights().detach()))
    optimizer = BUILDS[name]([w])
    probe = Probe({"w": w}, optimizer)
    for step, gradient in enumerate(gradients(NUM_STEPS)):
        w.grad = spread(gradient)
        probe.before()
        optimizer.step()
        probe.after(step)
    if axis is not None:
        with pytest.raises(InvalidParameter, match="several processes"):
            Probe({"w": w}, optimizer, per_neuron=True)
    return as_rows(probe.trajectory())


def drawn_stack(number: int) -> tuple[Tensor, int, str]:
    """A stack of up to four matrices of up to seven rows and columns, the axis along which it is split (3: along the
    first and the last, over a mesh of two axes), and the optimizer."""
    rng = np.random.default_rng(number)
    shape = tuple(int(n) for n in (rng.integers(1, 5), *rng.integers(2, 8, 2)))
    return weights(shape).detach(), number % 4, ("AdamH", "MuonH")[number // 4 % 2]


def steps_of_a_stack(number: int, *, alone: bool) -> dict[str, Any]:
    """Steps of a stack, a matrix beside it and a state that is saved and loaded on the way; weights and records."""
    from torch.distributed.tensor import DTensor, Shard, distribute_tensor

    stack, axis, name = drawn_stack(number)

    def spread(t: Tensor) -> Tensor:
        if alone:
            return t
        if axis == 3:
            return distribute_tensor(t, mesh_of(2, 1), [Shard(0), Shard(2)])
        return distribute_tensor(t, mesh_of(2), [Shard(axis)])

    w, single = nn.Parameter(spread(stack)), nn.Parameter(weights((3, 4)).detach())
    groups = [{"params": [w], "dims": (-2, -1)}, {"params": [single]}]
    optimizer = BUILDS[name](groups)
    probe = Probe({"w": w, "single": single}, optimizer)
    for step, gradient in enumerate(gradients(NUM_STEPS, stack.shape)):
        w.grad, single.grad = spread(gradient), gradients(1, (3, 4))[0]
        probe.before()
        optimizer.step()
        probe.after(step)
        if step == 1:
            saved = copy.deepcopy(optimizer.state_dict())
            of_all = stack.flatten(1).norm(dim=1)  # in every process
            torch.testing.assert_close(saved["state"][0]["radius"], of_all, rtol=1e-12, atol=0)
            optimizer.load_state_dict(saved)
    whole = w.detach().full_tensor() if isinstance(w.detach(), DTensor) else w.detach()
    return {**as_rows(probe.trajectory()), "weights": whole.tolist()}


def work(folder: Path, rank: int) -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=60)
    )
    found: dict[str, Any] = {}
    mesh = mesh_of(2)
    for name in BUILDS:
        module = network()
        for layer in module.children():
            fully_shard(layer, mesh=mesh)
        found[f"fsdp {name}"] = train(name, fully_shard(module, mesh=mesh), slice(rank, None, 2))
        found[f"ddp {name}"] = train(name, DistributedDataParallel(network()), slice(rank, None, 2))
        for axis in (0, 1):
            found[f"axis {axis} {name}"] = steps_of_shards(name, axis)
    for number in range(NUM_STACKS):
        found[f"stack {number}"] = steps_of_a_stack(number, alone=False)
    Batch.clean = lambda batch: batch.buffer.zero_()  # type: ignore[method-assign]
    Batch.move = Batch.move_without_waiting  # type: ignore[method-assign]
    found["axis 1 AdamH, as on a GPU"] = steps_of_shards("AdamH", 1)
    for number in range(4):
        found[f"stack {number}, as on a GPU"] = steps_of_a_stack(number, alone=False)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def start_pair(folder: str) -> None:
    """In a fresh process, from which it is safe to fork."""
    import_all_of_torch()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(Path(folder), rank)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        worker.kill()
    assert [worker.exitcode for worker in workers] == [0, 0]


@pytest.mark.long
def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    """FSDP2 with uneven rows, DDP, single matrices split along either axis, and drawn stacks of them along any."""
    run_fresh(start_pair, str(tmp_path))
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert len(first) == 4 * len(BUILDS) + 1 + NUM_STACKS + 4
    for what in first:
        name = what.split(",")[0].split()[-1]
        if what.startswith("stack"):
            alone = steps_of_a_stack(int(name), alone=True)
        else:
            alone = steps_of_shards(name, None) if what.startswith("axis") else train(name, network())
        assert first[what]["matrices"] == second[what]["matrices"] == alone.pop("matrices")
        for field, values in alone.items():
            np.testing.assert_allclose(first[what][field], values, rtol=1e-8, err_msg=f"{what}: {field}")
            np.testing.assert_array_equal(first[what][field], second[what][field])
        assert np.isfinite(alone["update_rms"]).all()
