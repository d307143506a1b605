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


def whole(tensor: Tensor) -> Tensor:
    """All entries, gathered in every process."""
    full: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def part_of(full: Tensor, like: Tensor) -> Tensor:
    """The entries of a whole tensor that this process holds of ``like``."""
    if not hasattr(like, "device_mesh"):
        return full
    from torch.distributed.tensor import DTensor, Replicate

    mesh = like.device_mesh  # type: ignore[attr-defined]
    spread = DTensor.from_local(full, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return local(spread.redistribute(mesh, like.placements))  # type: ignore[attr-defined]
