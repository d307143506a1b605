r"""MuonH for PyTorch: Muon's direction on the sphere of each matrix's initial norm.

.. math:: W \leftarrow R\,\mathrm{Norm}(W - \eta R\,\mathrm{Norm}(\mathrm{polar}(z)))

with :math:`m_t = \beta m_{t-1} + (1-\beta)g_t` and z that momentum, or with Nesterov :math:`\beta m_t + (1-\beta)g_t`
(Hyperball, arXiv 2606.16899; theory in `theory.muon`). Radius, zero matrices, types and checkpoints are those of
`gpt.sphere`.

The polar factor :math:`UV^\top` of :math:`z = U\Sigma V^\top` comes from Newton-Schulz: an odd polynomial, applied to z
over its norm, acts on the singular values alone and drives them towards one. The quintic of Jordan et al. (2024)
reaches 0.7 to 1.2 in five steps from singular values above about 1e-2 of the norm; smaller ones stay smaller.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from gpt.sharding import Dims, local, matrix_groups, nan_if_zero, split_as, whole_of
from gpt.sphere import SphereOptimizer
from gpt.sphere_moves import Batch, places, zeros_for

QUINTIC = (3.4445, -4.7750, 2.0315)


class MuonH(SphereOptimizer):
    """Muon at fixed norm.

    Parameters
    ----------
    params : matrices, or groups of them, as for any torch optimizer.
    lr : step as a fraction of the norm.
    momentum : beta.
    nesterov : average the momentum with the gradient once more.
    newton_schulz_steps : iterations behind each polar factor.
    newton_schulz_dtype : type of their arithmetic; None for bfloat16 on a GPU and the type of the momentum elsewhere.
    foreach, dims : see `gpt.sphere.SphereOptimizer`; so for what is refused with ValueError. A matrix has two axes.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        *,
        lr: float | Tensor,
        momentum: float = 0.95,
        nesterov: bool = True,
        newton_schulz_steps: int = 5,
        newton_schulz_dtype: torch.dtype | None = None,
        foreach: bool | None = None,
        dims: Dims = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "newton_schulz_steps": newton_schulz_steps,
            "newton_schulz_dtype": newton_schulz_dtype,
            "foreach": foreach,
            "dims": dims,
        }
        super().__init__(params, defaults)

    def initial_state(self, parameter: Tensor, dims: Dims) -> dict[str, Tensor]:
        if (parameter.ndim if dims is None else len(dims)) != 2:
            raise ValueError(f"a tensor of shape {tuple(parameter.shape)} has no polar factor: MuonH trains matrices")
        return {"momentum_buffer": zeros_for(parameter, dims)}

    def write_directions(self, batch: Batch, group: dict[str, Any]) -> None:
        averages = batch.matrices([self.state[parameter]["momentum_buffer"] for parameter in batch.parameters])
        owners = [p for p, places in zip(batch.parameters, batch.places, strict=True) for _ in places]
        for owner, gradient, average, slot in zip(owners, batch.gradients(), averages, batch.slots, strict=True):
            average.lerp_(gradient, 1 - group["momentum"])
            slot.copy_(_direction(gradient, average, group, owner)).neg_()

    def direction(self, parameter: Tensor) -> Tensor:
        """u of the last step, from the momentum and the gradient; NaN if Nesterov needs one that is gone."""
        group = self._group(parameter)
        average = local(self.state[parameter]["momentum_buffer"])
        gradient = average if not group["nesterov"] else parameter.grad
        if gradient is None:
            return torch.full_like(average, torch.nan)
        known = nan_if_zero(gradient)
        gradient = local(gradient).to(average.dtype)
        u = torch.empty_like(average)
        for at in places(parameter, group["dims"]):
            u[at] = _direction(gradient[at], average[at], group, parameter)
        return u.mul_(known)


def _direction(gradient: Tensor, average: Tensor, group: dict[str, Any], owner: Tensor) -> Tensor:
    """Polar factor of what the group makes of the gradient and the momentum that already includes it.

    If ``owner`` is spread over processes, these are parts, and each process computes the whole.
    """
    z = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
    dtype = group["newton_schulz_dtype"] or (torch.bfloat16 if z.is_cuda else z.dtype)
    if not matrix_groups(owner, group["dims"]):
        return polar_factor(z.to(dtype), group["newton_schulz_steps"])
    whole = whole_of(z, owner, group["dims"])
    return split_as(polar_factor(whole.to(dtype), group["newton_schulz_steps"]), owner, group["dims"])


def polar_factor(z: Tensor, num_steps: int = 5) -> Tensor:
    """Approximate polar factor of a matrix by Newton-Schulz, in its own type; zero stays zero."""
    a, b, c = QUINTIC
    x = z.T if z.shape[0] > z.shape[1] else z
    x = x / torch.linalg.matrix_norm(x).clamp(min=torch.finfo(x.dtype).tiny)
    for _ in range(num_steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if z.shape[0] > z.shape[1] else x
