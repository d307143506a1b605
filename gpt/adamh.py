r"""AdamH for PyTorch: Adam on the sphere of each matrix's initial norm.

.. math:: W \leftarrow R\,\mathrm{Norm}(W - \eta R\,\mathrm{Norm}(u)), \qquad \mathrm{Norm}(X) = X/\|X\|_F

with :math:`R = \|W_0\|_F` and Adam's bias-corrected direction :math:`u = \hat m/(\sqrt{\hat v} + \epsilon)`
(Hyperball, arXiv 2606.16899; theory in `theory.adamh`). What the definition leaves open is decided, with reasons, in
``docs/adamh.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gpt.directions import adam_direction
from gpt.sharding import Dims
from gpt.sphere import SphereOptimizer
from gpt.sphere_moves import Batch, zeros_for


class AdamH(SphereOptimizer):
    """Adam at fixed norm.

    Parameters
    ----------
    params : tensors, or groups of them, as for any torch optimizer.
    lr : step as a fraction of the norm.
    betas, eps : as in Adam.
    foreach, dims : see `gpt.sphere.SphereOptimizer`; so for what is refused with ValueError.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float | Tensor,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        foreach: bool | None = None,
        dims: Dims = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "foreach": foreach, "dims": dims})

    def initial_state(self, parameter: Tensor, dims: Dims) -> dict[str, Tensor]:
        return {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": zeros_for(parameter, dims),
            "exp_avg_sq": zeros_for(parameter, dims),
        }

    def write_directions(self, batch: Batch, group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in batch.parameters]
        torch._foreach_add_([state["step"] for state in states], 1)
        steps = [state["step"] for state, places in zip(states, batch.places, strict=True) for _ in places]
        if not batch.slots:  # of a stack that other processes hold
            return
        torch._fused_adamw_(  # the kernel of torch.optim.AdamW; at rate 1 and decay 1 it replaces its target by -u
            batch.slots,
            batch.gradients(),
            batch.matrices([state["exp_avg"] for state in states]),
            batch.matrices([state["exp_avg_sq"] for state in states]),
            [],
            steps,
            lr=1.0,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=1.0,
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def direction(self, parameter: Tensor) -> Tensor:
        return adam_direction(self.state[parameter], self._group(parameter))
