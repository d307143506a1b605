"""Parameters that are spread over processes (``torch.distributed.tensor``, FSDP2): the part here, sums over all parts.

A sum over the entries of a sharded matrix is the sum of the parts' sums over the dimensions of the mesh along which it
is split; along the others every process has the same. Plain tensors are their own whole. A stack of matrices may be
split between its matrices as well as within them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

Dims = tuple[int, ...] | None  # axes of a matrix in a stack, the last ones; None if the tensor is one


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


def matrix_groups(tensor: Tensor, dims: Dims) -> tuple[Any, ...]:
    """The process groups among which the entries of one matrix are split, whose axes in a stack are ``dims``."""
    if dims is None or not hasattr(tensor, "device_mesh"):
        return shard_groups(tensor)
    first = tensor.ndim - len(dims)
    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    return tuple(mesh.get_group(i) for i, place in enumerate(placements) if place.is_shard() and place.dim >= first)


def matrices_here(tensor: Tensor, dims: Dims) -> Tensor:
    """Which matrices of a stack this process holds, whole or in part: (num,) int64, in the order of its part."""
    first = 0 if dims is None else tensor.ndim - len(dims)
    numbers = torch.arange(math.prod(tensor.shape[:first])).view(tensor.shape[:first])
    if not hasattr(tensor, "device_mesh"):
        return numbers.reshape(-1)

    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    sizes, offsets = compute_local_shape_and_global_offset(tensor.shape, mesh, placements)
    here = tuple(slice(a, a + n) for a, n in zip(offsets[:first], sizes[:first], strict=True))
    return numbers[here].reshape(-1)


def of_all_matrices(values: Tensor, tensor: Tensor, dims: Dims) -> Tensor:
    """A number for every matrix of a stack, in every process, from those of `matrices_here`."""
    if dims is None or not hasattr(tensor, "device_mesh"):
        return values
    whole = values.new_zeros(math.prod(tensor.shape[: tensor.ndim - len(dims)]))
    whole[matrices_here(tensor, dims)] = values
    split = set(matrix_groups(tensor, dims))
    return sum_over_shards(whole, tuple(group for group in shard_groups(tensor) if group not in split))


def sum_over_shards(sums: Tensor, groups: tuple[Any, ...]) -> Tensor:
    """The sums over all entries from those over the parts; in place."""
    for group in groups:
        torch.distributed.all_reduce(sums, group=group)
    return sums


def nan_if_zero(tensor: Tensor) -> Tensor:
    """1, or NaN if no entry of the whole tensor differs from zero; float64, without waiting for a GPU."""
    there = sum_over_shards(local(tensor).any().double(), shard_groups(tensor))
    return torch.where(there > 0, 1.0, torch.nan)


def whole_of(part: Tensor, like: Tensor, dims: Dims = None) -> Tensor:
    """The matrix of which each process holds the part that it holds of ``like``, gathered in every process.

    If ``like`` is a stack, one of its matrices.
    """
    from torch.distributed.tensor import DTensor

    placements, shape = _of_matrix(like, dims)
    stride = like.stride() if dims is None else torch.empty(shape, device="meta").stride()
    mesh = like.device_mesh  # type: ignore[attr-defined]
    return DTensor.from_local(part, mesh, placements, run_check=False, shape=shape, stride=stride).full_tensor()


def split_as(full: Tensor, like: Tensor, dims: Dims = None) -> Tensor:
    """Of a matrix that every process has the part that it holds of ``like``, or of a matrix of that stack."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh = like.device_mesh  # type: ignore[attr-defined]
    spread = DTensor.from_local(full, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return local(spread.redistribute(mesh, _of_matrix(like, dims)[0]))


def _of_matrix(like: Tensor, dims: Dims) -> tuple[list[Any], torch.Size]:
    """Placements and shape of a matrix of a stack; along the other axes of the stack each process has its own."""
    from torch.distributed.tensor import Replicate, Shard

    placements = list(like.placements)  # type: ignore[attr-defined]
    if dims is None:
        return placements, like.shape
    first = like.ndim - len(dims)
    own = [Shard(place.dim - first) if place.is_shard() and place.dim >= first else Replicate() for place in placements]
    return own, like.shape[first:]
