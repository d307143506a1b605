r"""Matrices on spheres move: one by one on a CPU, many in one buffer on a GPU.

On a CPU the new norm is known before the step is taken,

.. math:: \|W - cu\|^2 = \|W\|^2 - 2c\langle W,u\rangle + c^2\|u\|^2, \qquad c = \eta R/\|u\|,

so each matrix is written once. In one float32 sum over millions of entries :math:`\|W\|^2` would be off by 1e-4; sums
of ``ROW`` entries, added in float64, leave 1e-7, and since the norm is measured again at every step, this does not add
up. The two other sums need less: partial sums of ``PANEL`` entries give the angle to 2e-6 of itself.

On a GPU these three numbers would have to be waited for. There the directions of several matrices stand in one flat
buffer, each padded with zeros to whole rows of ``ROW`` entries. The norms of all of them are then three calls: rows in
the type of the buffer, their squares, and sums of these in float64. They are taken of u, and of the matrix that moved.

Of a matrix that is spread over processes the part that is here moves, with sums over all parts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpt.sharding import Dims, local, matrices_here, matrix_groups, sum_over_shards

ROW, PANEL = 1024, 2**19
SMALL = 2**16  # entries, few enough for one sum

# Entries that move together. On a CPU few enough for their scratch to stay in cache; on a GPU enough to keep it busy.
CPU_BATCH, GPU_BATCH = 2**19, 2**26

Radius = float | Tensor


@dataclass(frozen=True)
class Batch:
    """Matrices that move together.

    Attributes
    ----------
    parameters : tensors, each a matrix or a stack of matrices.
    places : for each parameter where in it its matrices are: ``((),)``, the whole, unless it is a stack.
    slots : for each matrix a tensor of its shape, in the type of the arithmetic: views of ``buffer``.
    buffer : (num_rows, ROW), shared with other batches.
    rows : (num_matrices,) int64, rows of each matrix.
    radii : (num_matrices,) float64.
    groups : of processes, among which each matrix is split.
    """

    parameters: list[Tensor]
    places: list[list[tuple[int, ...]]]
    slots: list[Tensor]
    buffer: Tensor
    rows: Tensor
    radii: Tensor
    groups: tuple[Any, ...]

    def matrices(self, tensors: list[Tensor]) -> list[Tensor]:
        """Of a tensor for each parameter the parts that belong to its matrices, as far as they are here: views."""
        parts = (local(tensor) for tensor in tensors)
        return [part[at] if at else part for part, places in zip(parts, self.places, strict=True) for at in places]

    def gradients(self) -> list[Tensor]:
        """The gradients in the type and with the strides of the slots."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return [
            g if g.dtype == slot.dtype and g.stride() == slot.stride() else torch.empty_like(slot).copy_(g)
            for g, slot in zip(self.matrices(gradients), self.slots, strict=True)
        ]

    def clean(self) -> None:
        """Zeros between the slots, which other batches may have used, where norms are taken of whole rows."""
        if not self.buffer.is_cpu:
            self.buffer.zero_()

    def move(self, lr: float | Tensor) -> None:
        """Take the step, given :math:`-u` in the slots, and use them up."""
        if not self.slots:  # of a stack that other processes hold
            return
        if self.buffer.is_cpu:
            for w, slot, radius in zip(self.matrices(self.parameters), self.slots, self.radii.tolist(), strict=True):
                _move(w, slot, float(lr), radius, self.groups)
        else:
            self.move_without_waiting(lr)

    def move_without_waiting(self, lr: float | Tensor) -> None:
        """The same without a number that Python has to know."""
        matrices = self.matrices(self.parameters)
        for w, slot, factor in zip(matrices, self.slots, self._factors(lr * self.radii).unbind(), strict=True):
            torch.addcmul(w, slot, factor, out=slot)
        for w, slot, factor in zip(matrices, self.slots, self._factors(self.radii).unbind(), strict=True):
            torch.mul(slot, factor, out=w)

    def _factors(self, targets: Tensor) -> Tensor:
        """What to multiply each slot with to give it its target norm, (num_matrices,); finite for a zero slot."""
        squares = torch.linalg.vector_norm(self.buffer, dim=-1).double().square_()
        sums = torch.segment_reduce(squares, "sum", lengths=self.rows, unsafe=True)
        norms = sum_over_shards(sums, self.groups).sqrt_()
        return (targets / norms.clamp_(min=1e-30)).to(self.buffer.dtype)


def _move(w: Tensor, slot: Tensor, lr: float, radius: float, groups: tuple[Any, ...]) -> None:
    """The step of one matrix on a CPU, given :math:`-u` in its slot."""
    direct = w.dtype == slot.dtype and w.stride() == slot.stride()
    new = w if direct else torch.empty_like(slot).copy_(w)
    ww, wu, uu = _products(new, slot)
    if groups:
        ww, wu, uu = sum_over_shards(torch.tensor([ww, wu, uu], dtype=torch.float64), groups).tolist()
    along = lr * radius / math.sqrt(uu) if uu else 0.0
    square = ww + along * (2 * wu + along * uu)
    if square > ww / 100 and 1e-30 < along < 1e30:
        keep = radius / math.sqrt(square)
        add = keep * along
        # the kernel of torch.optim.SGD: p - lr (g + decay p), in one pass
        torch._fused_sgd_(
            [new],
            [slot],
            [],
            lr=-add,
            weight_decay=(keep - 1) / add,
            momentum=0.0,
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=False,
        )
    else:  # W and u nearly cancel, or there is no step at all
        new.add_(slot, alpha=along)
        new.mul_(radius / max(norm(new, groups), 1e-30))
    if not direct:
        w.copy_(new)
    if not math.isfinite(uu):  # NaN would survive being overwritten by Adam
        slot.zero_()


def _products(w: Tensor, u: Tensor) -> tuple[float, float, float]:
    r""":math:`\|W\|^2, \langle W,u\rangle, \|u\|^2` of two dense tensors of the same strides."""
    size = w.numel()
    w, u = w.as_strided((size,), (1,)), u.as_strided((size,), (1,))
    if size <= SMALL:
        return torch.dot(w, w).item(), torch.dot(w, u).item(), torch.dot(u, u).item()
    whole = size - size % ROW
    rows = torch.linalg.vector_norm(w[:whole].view(-1, ROW), dim=-1).double()
    ww, wu, uu = torch.dot(rows, rows).item() + torch.dot(w[whole:], w[whole:]).item(), 0.0, 0.0
    for a, b in zip(w.split(PANEL), u.split(PANEL), strict=True):
        wu += torch.dot(a, b).item()
        uu += torch.dot(b, b).item()
    return ww, wu, uu


def norm(part: Tensor, groups: tuple[Any, ...]) -> float:
    """Frobenius norm of a matrix from its part that is here, in float64."""
    value = torch.linalg.vector_norm(part, dtype=torch.float64)
    return float(sum_over_shards(value.square(), groups).sqrt() if groups else value)


def places(parameter: Tensor, dims: Dims) -> list[tuple[int, ...]]:
    """Where in the part that is here the matrices of a stack are: one index each."""
    leading = local(parameter).shape[: parameter.ndim - len(dims)] if dims is not None else ()
    return list(itertools.product(*map(range, leading)))


def zeros_for(parameter: Tensor, dims: Dims) -> Tensor:
    """An average of gradients before the first, in the type of the arithmetic, laid out as `plan` lays out slots."""
    work = torch.promote_types(parameter.dtype, torch.float32)
    order = torch.preserve_format if dims is None else torch.contiguous_format
    return torch.zeros_like(parameter, dtype=work, memory_format=order)


def plan(parameters: list[Tensor], radii: list[Radius], foreach: bool | None, dims: Dims) -> Iterator[Batch]:
    """Split the matrices, in their order, into batches; those of one type on one device share their buffer.

    A stack stays in one batch. radii : of each parameter, of all its matrices.
    """
    everywhere = [places(parameter, dims) for parameter in parameters]
    rows = [
        len(at) * [-(-local(parameter).numel() // max(len(at), 1) // ROW)]
        for at, parameter in zip(everywhere, parameters, strict=True)
    ]
    sizes = [sum(each) for each in rows]
    kinds = [
        (parameter.device, torch.promote_types(parameter.dtype, torch.float32), matrix_groups(parameter, dims))
        for parameter in parameters
    ]
    spans: list[tuple[int, int]] = []
    for index, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        suits = CPU_BATCH if kind[0].type == "cpu" else GPU_BATCH
        limit = suits if foreach is None else math.inf if foreach else 0
        start = spans[-1][0] if spans else 0
        fits = spans and kinds[start] == kind and ROW * (sum(sizes[start:index]) + size) <= limit
        if fits:
            spans[-1] = (start, index + 1)
        else:
            spans.append((index, index + 1))
    longest = {kind: max(sum(sizes[a:b]) for a, b in spans if kinds[a] == kind) for kind in kinds}
    buffers = {kind: torch.zeros(n, ROW, device=kind[0], dtype=kind[1]) for kind, n in longest.items()}
    of_matrices = [
        torch.as_tensor(radius, dtype=torch.float64).reshape(-1)[matrices_here(parameter, dims).to("cpu")]
        for radius, parameter in zip(radii, parameters, strict=True)
    ]
    for a, b in spans:
        own_rows = list(itertools.chain(*rows[a:b]))
        buffer = buffers[kinds[a]][: sum(sizes[a:b])]
        parts = [
            local(w)[at] if at else local(w)
            for w, all_at in zip(parameters[a:b], everywhere[a:b], strict=True)
            for at in all_at
        ]
        # as its moments would be: dense in the order of the parameter, where it is dense; in a stack, row by row
        order = torch.preserve_format if dims is None else torch.contiguous_format
        strides = [torch.empty_like(part, device="meta", memory_format=order).stride() for part in parts]
        yield Batch(
            parameters=parameters[a:b],
            places=everywhere[a:b],
            slots=[
                torch.as_strided(slot, part.shape, stride, slot.storage_offset())
                for slot, part, stride in zip(buffer.split(own_rows), parts, strides, strict=True)
            ],
            buffer=buffer,
            rows=torch.tensor(own_rows, device=buffer.device),
            radii=torch.cat(of_matrices[a:b]).to(buffer.device),
            groups=kinds[a][2],
        )
