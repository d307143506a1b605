r"""Optimizers that keep each matrix on the sphere of its initial norm, whatever gives the direction.

.. math:: W \leftarrow R\,\mathrm{Norm}(W - \eta R\,\mathrm{Norm}(u)), \qquad \mathrm{Norm}(X) = X/\|X\|_F

with :math:`R = \|W_0\|_F` (Hyperball, arXiv 2606.16899). `SphereOptimizer` does this for any direction u;
`gpt.adamh.AdamH` and `gpt.muonh.MuonH` say which.

Arithmetic. On a CPU the new norm is known before the step is taken,

.. math:: \|W - cu\|^2 = \|W\|^2 - 2c\langle W,u\rangle + c^2\|u\|^2, \qquad c = \eta R/\|u\|,

so each matrix is written once. In one float32 sum over millions of entries :math:`\|W\|^2` would be off by 1e-4; sums
of ``ROW`` entries, added in float64, leave 1e-7, and since the norm is measured again at every step, this does not add
up. The two other sums need less: partial sums of ``PANEL`` entries give the angle to 2e-6 of itself.

On a GPU these three numbers would have to be waited for. There the directions of several matrices stand in one flat
buffer, each padded with zeros to whole rows of ``ROW`` entries. The norms of all of them are then three calls: rows in
the type of the buffer, their squares, and sums of these in float64. They are taken of u, and of the matrix that moved.
"""

from __future__ import annotations

import math
import operator
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

ROW, PANEL = 1024, 2**19
SMALL = 2**16  # entries, few enough for one sum

# Entries that move together. On a CPU few enough for their scratch to stay in cache; on a GPU enough to keep it busy.
CPU_BATCH, GPU_BATCH = 2**19, 2**26


class SphereOptimizer(Optimizer):
    """Moves matrices along directions that a subclass writes, at fixed norm.

    The state of every parameter has its ``radius``, a float. The other entries are tensors, made by `initial_state` in
    the type of the arithmetic: that of the parameter, float32 at least.

    Parameters
    ----------
    params : tensors, or groups of them, as for any torch optimizer.
    defaults : options of the groups, with ``lr``, the step as a fraction of the norm, and ``foreach``: True moves all
        matrices together, False one by one, None as many at a time as suits the device. The numbers are the same.

    Raises
    ------
    ValueError : a tensor whose norm is zero or not finite.
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]) -> None:
        super().__init__(params, defaults)
        for group in self.param_groups:
            for name, (lowest, below) in RANGES.items():
                values = group.get(name, lowest)
                for value in values if isinstance(values, tuple | list) else (values,):
                    if not lowest <= value < below:
                        raise ValueError(f"{name} = {values} must be at least {lowest:g} and below {below:g}")
        self._plans: dict[int, list[Batch]] = {}
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(parameters):
            radius = float(torch.linalg.vector_norm(parameter.detach(), dtype=torch.float64))
            if not (math.isfinite(radius) and radius > 0):
                raise ValueError(
                    f"parameter {index} of shape {tuple(parameter.shape)} has norm {radius}:"
                    f" {type(self).__name__} keeps the norm of a matrix, so it must be finite and above 0"
                )
            self.state[parameter] = {**self.initial_state(parameter), "radius": radius}

    @abstractmethod
    def initial_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """What the direction of one matrix remembers, before the first step."""

    @abstractmethod
    def write_directions(self, batch: Batch, group: dict[str, Any]) -> None:
        """Write :math:`-u` of each matrix of the batch into its slot, whatever stands there."""

    @abstractmethod
    def direction(self, parameter: Tensor) -> Tensor:
        """u of the last step; NaN where it cannot be told any more."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for index, group in enumerate(self.param_groups):
            for batch in self._batches(index, group):
                batch.clean()
                self.write_directions(batch, group)
                batch.move(group["lr"])
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimizer's, but the state keeps the precision of the arithmetic where the parameters have less."""
        super().load_state_dict(state_dict)
        saved = state_dict["state"]
        order = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(order, parameters, strict=True):
            for key, made in self.initial_state(parameter).items():
                self.state[parameter][key] = made.copy_(saved[index][key])

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restored state comes without scratch."""
        super().__setstate__(state)
        self._plans = {}

    def _batches(self, index: int, group: dict[str, Any]) -> list[Batch]:
        """The plan of the group; made anew only when other parameters have a gradient than last time."""
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        known = self._plans.get(index, [])
        planned = [parameter for batch in known for parameter in batch.parameters]
        if len(planned) != len(moving) or not all(map(operator.is_, planned, moving)):
            radii = [self.state[parameter]["radius"] for parameter in moving]
            self._plans[index] = known = list(_plan(moving, radii, group["foreach"]))
        return known


RANGES = {  # of the numbers that a group may hold
    "lr": (0.0, math.inf),
    "betas": (0.0, 1.0),
    "momentum": (0.0, 1.0),
    "eps": (0.0, math.inf),
    "newton_schulz_steps": (1, math.inf),
}


@dataclass(frozen=True)
class Batch:
    """Matrices that move together.

    Attributes
    ----------
    parameters : the matrices.
    slots : for each a tensor of its shape and strides, in the type of the arithmetic: views of ``buffer``.
    buffer : (num_rows, ROW), shared with other batches.
    rows : (num_matrices,) int64, rows of each matrix.
    radii : (num_matrices,) float64.
    """

    parameters: list[Tensor]
    slots: list[Tensor]
    buffer: Tensor
    rows: Tensor
    radii: Tensor

    def gradients(self) -> list[Tensor]:
        """The gradients in the type and with the strides of the slots."""
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return [
            g if g.dtype == slot.dtype and g.stride() == slot.stride() else torch.empty_like(slot).copy_(g)
            for g, slot in zip(gradients, self.slots, strict=True)
        ]

    def clean(self) -> None:
        """Zeros between the slots, which other batches may have used, where norms are taken of whole rows."""
        if not self.buffer.is_cpu:
            self.buffer.zero_()

    def move(self, lr: float) -> None:
        """Take the step, given :math:`-u` in the slots, and use them up."""
        if self.buffer.is_cpu:
            for w, slot, radius in zip(self.parameters, self.slots, self.radii.tolist(), strict=True):
                _move(w, slot, lr, radius)
        else:
            self.move_without_waiting(lr)

    def move_without_waiting(self, lr: float) -> None:
        """The same without a number that Python has to know."""
        for w, slot, factor in zip(self.parameters, self.slots, self._factors(lr * self.radii).unbind(), strict=True):
            torch.addcmul(w, slot, factor, out=slot)
        for w, slot, factor in zip(self.parameters, self.slots, self._factors(self.radii).unbind(), strict=True):
            torch.mul(slot, factor, out=w)

    def _factors(self, targets: Tensor) -> Tensor:
        """What to multiply each slot with to give it its target norm, (num_matrices,); finite for a zero slot."""
        squares = torch.linalg.vector_norm(self.buffer, dim=-1).double().square_()
        norms = torch.segment_reduce(squares, "sum", lengths=self.rows, unsafe=True).sqrt_()
        return (targets / norms.clamp_(min=1e-30)).to(self.buffer.dtype)


def _move(w: Tensor, slot: Tensor, lr: float, radius: float) -> None:
    """The step of one matrix on a CPU, given :math:`-u` in its slot."""
    direct = w.dtype == slot.dtype and w.stride() == slot.stride()
    new = w if direct else torch.empty_like(slot).copy_(w)
    ww, wu, uu = _products(new, slot)
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
        new.mul_(radius / max(float(torch.linalg.vector_norm(new, dtype=torch.float64)), 1e-30))
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


def _plan(parameters: list[Tensor], radii: list[float], foreach: bool | None) -> Iterator[Batch]:
    """Split the matrices, in their order, into batches; those of one type on one device share their buffer."""
    sizes = [-(-parameter.numel() // ROW) for parameter in parameters]
    kinds = [(parameter.device, torch.promote_types(parameter.dtype, torch.float32)) for parameter in parameters]
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
    for a, b in spans:
        buffer = buffers[kinds[a]][: sum(sizes[a:b])]
        # as its moments would be: dense in the order of the parameter, where it is dense
        strides = [torch.empty_like(parameter, device="meta").stride() for parameter in parameters[a:b]]
        yield Batch(
            parameters=parameters[a:b],
            slots=[
                torch.as_strided(part, parameter.shape, stride, part.storage_offset())
                for part, parameter, stride in zip(buffer.split(sizes[a:b]), parameters[a:b], strides, strict=True)
            ],
            buffer=buffer,
            rows=torch.tensor(sizes[a:b], device=buffer.device),
            radii=torch.tensor(radii[a:b], dtype=torch.float64, device=buffer.device),
        )
