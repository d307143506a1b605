"""Parameters that are spread over processes (``torch.distributed.tensor``, FSDP2): the part here, sums over all parts.

A sum over the entries of a sharded matrix is the sum of the parts' sums over the dimensions of the mesh along which it
is split; along the others every process has the same. Plain tensors are their own whole.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def local(tensor: Tensor) -> Tensor:
    """The part that this process holds: its own memory, not a copy."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part


def shard_groups(tensor: Tensor) -> tuple[Any, ...]:
    """The process groups among which the entries are split; empty for a whole tensor."""
    if not hasattr(tensor, "device_mesh"):
        return ()
    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    return tuple(mesh.get_group(i) for i, placement in enumerate(placements) if not placement.is_replicate())


def sum_over_shards(sums: Tensor, groups: tuple[Any, ...]) -> Tensor:
    """The sums over all entries from those over the parts; in place."""
    for group in groups:
        torch.distributed.all_reduce(sums, group=group)
    return sums


def nan_if_zero(tensor: Tensor) -> Tensor:
    """1, or NaN if no entry of the whole tensor differs from zero; float64, without waiting for a GPU."""
    there = sum_over_shards(local(tensor).any().double(), shard_groups(tensor))
    return torch.where(there > 0, 1.0, torch.nan)


def whole_of(part: Tensor, like: Tensor) -> Tensor:
    """The tensor of which each process holds the part that it holds of ``like``, gathered in every process."""
    from torch.distributed.tensor import DTensor

    mesh, placements = like.device_mesh, like.placements  # type: ignore[attr-defined]
    spread = DTensor.from_local(part, mesh, placements, run_check=False, shape=like.shape, stride=like.stride())
    return spread.full_tensor()


def split_as(full: Tensor, like: Tensor) -> Tensor:
    """Of a tensor that every process has the part that it holds of ``like``."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh = like.device_mesh  # type: ignore[attr-defined]
    spread = DTensor.from_local(full, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return local(spread.redistribute(mesh, like.placements))  # type: ignore[attr-defined]
