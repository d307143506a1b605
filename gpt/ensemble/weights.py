"""The parameters of M models in one tensor: a row a model, the block matrices first."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gpt.config import TrainConfig
from gpt.model import GPT
from gpt.optim import MATRICES, OTHERS, parameter_groups
from gpt.train import rescale_initial_weights


class Stack:
    """The weights of M models of one shape, each drawn by its own config, and a place for their gradients.

    Attributes
    ----------
    values, gradients : (M, P), P parameters a model; the first ``num_entries`` are those of block matrices.
    parameters : by name, views of ``values`` of shape (M, ...).
    matrices : names of the block matrices, n of them, in the order of `gpt.model.block_matrices`.
    block : number of entries, a divisor of those of each matrix.
    owners : (num_entries / block, n) float64, one where a matrix owns a block of entries, else zero.
    sizes : (n,) float64, entries of each matrix.
    """

    def __init__(self, configs: Sequence[TrainConfig], device: torch.device) -> None:
        model = configs[0].model
        dtype = torch.float64 if configs[0].dtype == "float64" else torch.float32
        network = GPT(model)
        groups = parameter_groups(network)
        self.matrices = tuple(groups[MATRICES])
        shapes = {name: p.shape for group in (MATRICES, OTHERS) for name, p in groups[group].items()}
        counts = [shape.numel() for shape in shapes.values()]
        self.num_entries = sum(counts[: len(self.matrices)])
        values = torch.empty(len(configs), sum(counts), dtype=dtype)
        for row, config in zip(values, configs, strict=True):
            network = GPT(config.model).to(dtype)
            network.initialise(config.seed)
            rescale_initial_weights(network, config)
            own = dict(network.named_parameters())
            torch.cat([own[name].detach().flatten() for name in shapes], out=row)
        self.values = values.to(device)
        self.gradients = torch.zeros_like(self.values)
        self.parameters: dict[str, Tensor] = {}
        self._places: list[Tensor] = []  # in ``gradients``, of each parameter
        ends = torch.tensor(counts).cumsum(0).tolist()
        for (name, shape), count, end in zip(shapes.items(), counts, ends, strict=True):
            part = slice(end - count, end)
            self.parameters[name] = self.values[:, part].view(len(configs), *shape).detach().requires_grad_()
            self._places.append(self.gradients[:, part].view(len(configs), *shape))
        self.block = model.d_model**2
        sizes = torch.tensor(counts[: len(self.matrices)], dtype=torch.float64, device=device)
        blocks = (sizes / self.block).long()
        self.owners = torch.eye(len(blocks), dtype=torch.float64, device=device).repeat_interleave(blocks, dim=0)
        self.sizes = sizes

    def differentiate(self, loss: Tensor) -> None:
        """Write the gradient of a sum over models into ``gradients``."""
        found = torch.autograd.grad(loss, list(self.parameters.values()))
        with torch.no_grad():
            torch._foreach_copy_(self._places, found)

    def in_blocks(self, entries: Tensor) -> Tensor:
        """(M, num_entries) as (M, num_entries / block, block)."""
        return entries.view(len(entries), -1, self.block)

    def summed(self, entries: Tensor) -> Tensor:
        """Sums over the entries of each matrix: (M, num_entries / block, block) to (M, n), float64."""
        return entries.sum(dim=-1).double() @ self.owners

    def spread(self, of_matrices: Tensor) -> Tensor:
        """A number for each matrix, (M, n), to be multiplied with its blocks: (M, num_entries / block, 1)."""
        return (of_matrices.double() @ self.owners.T).unsqueeze(-1)

    def rms(self) -> Tensor:
        """Of the entries of each block matrix; (M, n) float64."""
        entries = self.in_blocks(self.values[:, : self.num_entries]).double()
        return (self.summed(entries * entries) / self.sizes).sqrt()
