r"""AdamH for PyTorch: Adam on the sphere of each matrix's initial norm.

.. math:: W \leftarrow R\,\mathrm{Norm}(W - \eta R\,\mathrm{Norm}(u)), \qquad \mathrm{Norm}(X) = X/\|X\|_F

with :math:`R = \|W_0\|_F` and Adam's bias-corrected direction :math:`u = \hat m/(\sqrt{\hat v} + \epsilon)`
(Hyperball, arXiv 2606.16899; theory in `theory.adamh`). Meant for the matrices of attention and MLP; embeddings, head,
gains and biases have no reason to keep their norm and belong to Adam.

What the definition leaves open, and is decided here:

- The radius is that of the weights the optimizer was built with, kept in the state. It is not remeasured, so rounding
  cannot carry the norm away.
- A tensor is one matrix with one norm, whatever its shape. Stacked matrices have to be passed one by one.
- A matrix that is zero or not finite has no direction: `ValueError` when the optimizer is built.
- A zero direction (no gradient so far) leaves the matrix where it is.
- Parameters of fewer than 32 bits keep their state in float32 and are updated in float32, then rounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.adam import adam


class AdamH(Optimizer):
    """Adam at fixed norm; the module says exactly what it does.

    Parameters
    ----------
    params : tensors, or groups of them, as for any torch optimizer.
    lr : step as a fraction of the norm.
    betas, eps : as in Adam.

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
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in enumerate(parameters):
            radius = float(torch.linalg.vector_norm(parameter.detach(), dtype=torch.float64))
            if not (math.isfinite(radius) and radius > 0):
                raise ValueError(
                    f"parameter {index} of shape {tuple(parameter.shape)} has norm {radius}:"
                    " AdamH keeps the norm of a matrix, so it must be finite and above 0"
                )
            work = torch.promote_types(parameter.dtype, torch.float32)
            self.state[parameter] = {
                "step": torch.tensor(0.0, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter, dtype=work),
                "exp_avg_sq": torch.zeros_like(parameter, dtype=work),
                "radius": radius,
            }

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if parameters:
                self._step_group(parameters, **{key: group[key] for key in ("lr", "betas", "eps")})
        return loss

    def _step_group(self, parameters: list[Tensor], *, lr: float, betas: tuple[float, float], eps: float) -> None:
        states = [self.state[parameter] for parameter in parameters]
        averages = [state["exp_avg"] for state in states]
        weights = [p.to(average.dtype) for p, average in zip(parameters, averages, strict=True)]
        # -u is what Adam adds to a zero tensor at learning rate 1
        negative_u = [torch.zeros_like(average) for average in averages]
        adam(
            negative_u,
            [p.grad.to(average.dtype) for p, average in zip(parameters, averages, strict=True) if p.grad is not None],
            averages,
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=betas[0],
            beta2=betas[1],
            lr=1.0,
            weight_decay=0.0,
            eps=eps,
            maximize=False,
        )
        radii = [state["radius"] for state in states]
        for w, nu, scale in zip(weights, negative_u, _factors([lr * r for r in radii], negative_u), strict=True):
            w.addcmul_(nu, scale.to(w.dtype))
        for w, scale in zip(weights, _factors(radii, weights), strict=True):
            w.mul_(scale)
        for p, w in zip(parameters, weights, strict=True):
            if w is not p:
                p.copy_(w)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimizer's, but the averages keep their precision where the parameters have less."""
        super().load_state_dict(state_dict)
        saved = state_dict["state"]
        order = [index for group in state_dict["param_groups"] for index in group["params"]]
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        for index, parameter in zip(order, parameters, strict=True):
            for key in ("exp_avg", "exp_avg_sq"):
                self.state[parameter][key] = saved[index][key].to(parameter.device, copy=True)


def _factors(targets: list[float], tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """What to multiply each tensor with to give it its target norm; finite for a zero tensor."""
    # Row by row: a float32 norm of millions of entries in one go is off by 1e-4.
    rows = [torch.linalg.vector_norm(tensor, dim=-1) for tensor in tensors]
    norms = torch.stack([torch.linalg.vector_norm(row, dtype=torch.float64) for row in rows])
    return (torch.tensor(targets, dtype=norms.dtype, device=norms.device) / norms.clamp(min=1e-30)).unbind()
