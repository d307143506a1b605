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
from gpt.sphere import Batch, SphereOptimizer


class AdamH(SphereOptimizer):
    """Adam at fixed norm.

    Parameters
    ----------
    params : tensors, or groups of them, as for any torch optimizer.
    lr : step as a fraction of the norm.
    betas, eps : as in Adam.
    foreach : see `gpt.sphere.SphereOptimizer`.

    Raises
    ------
    ValueError : a tensor whose norm is zero or not finite.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "foreach": foreach})

    def initial_state(self, parameter: Tensor) -> dict[str, Tensor]:
        work = torch.promote_types(parameter.dtype, torch.float32)
        return {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, dtype=work),
            "exp_avg_sq": torch.zeros_like(parameter, dtype=work),
        }

    def write_directions(self, batch: Batch, group: dict[str, Any]) -> None:
        states = [self.state[parameter] for parameter in batch.parameters]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(  # the kernel of torch.optim.AdamW; at rate 1 and decay 1 it replaces its target by -u
            batch.slots,
            batch.gradients(),
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
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
        (group,) = (group for group in self.param_groups if any(p is parameter for p in group["params"]))
        return adam_direction(self.state[parameter], group)
