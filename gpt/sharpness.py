r"""Sharpness: the largest eigenvalue of the Hessian of a loss, plain or preconditioned.

.. math:: \lambda_{max}\left(P^{-1/2} H P^{-1/2}\right)

With P = 1 this is what bounds the learning rate of gradient descent, :math:`\eta < 2/\lambda`. With
:math:`P = \mathrm{diag}(\sqrt{\hat v} + \epsilon)`, times :math:`1-\beta_1^t` for the bias correction of the first
moment, it is what bounds Adam's: :math:`\eta < (2 + 2\beta_1)/((1-\beta_1)\lambda)`, 38 over it at
:math:`\beta_1 = 0.9` (Cohen et al., arXiv 2207.14484). With :math:`P = 1/\|W\|^2` of each matrix it is the sharpness
in normalised weight space.

Lanczos: products of the Hessian with a vector, by differentiating the gradient once more, span a Krylov space; the
largest eigenvalue of the Hessian in that space is a lower bound of :math:`\lambda_{max}` and approaches it fast. Every
new vector is orthogonalised against all others, which rounding makes necessary. The residual
:math:`\|Hy - \theta y\|` of the Ritz pair is the error bar: some eigenvalue lies within it of the value.

Cost: ``num_steps`` times about two gradients, and as many copies of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from theory.checks import InvalidParameter, require_integer, require_number


@dataclass(frozen=True, kw_only=True)
class Sharpness:
    """Largest eigenvalue as far as it was found.

    Attributes
    ----------
    value : the Ritz value, never above the largest eigenvalue.
    residual : some eigenvalue lies within this distance.
    converged : whether the residual went below the tolerance.
    num_products : Hessian-vector products used.
    """

    value: float
    residual: float
    converged: bool
    num_products: int


def sharpness(
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    *,
    preconditioner: Sequence[Tensor] | None = None,
    tolerance: float = 1e-3,
    num_steps: int = 50,
    seed: int = 0,
) -> Sharpness:
    """Sharpness of a loss at the present weights; leaves ``grad`` of the parameters alone.

    Parameters
    ----------
    loss : of a fixed batch, a scalar that can be differentiated twice. Attention is computed by PyTorch's mathematical
        kernel while it runs, since the fast ones cannot.
    parameters : that the Hessian is taken in; weights in float64 where small eigenvalues matter. Where types differ,
        vectors have the widest of them, float32 at least.
    preconditioner : P for each parameter, positive and finite, of its shape or broadcasting to it.
    tolerance : stop when the residual is below this fraction of the value.
    num_steps : at most so many products.
    seed : of the start vector.

    Raises
    ------
    InvalidParameter : a value out of range, no parameters, or a preconditioner that does not fit them or is not
        positive and finite.
    """
    require_number("tolerance", tolerance, above=0)
    require_integer("num_steps", num_steps, at_least=1)
    if not parameters:
        raise InvalidParameter("parameters", "[]", "at least one")
    roots = None if preconditioner is None else _inverse_roots(preconditioner, parameters)
    with sdpa_kernel(SDPBackend.MATH):
        gradients = torch.autograd.grad(
            loss(), parameters, create_graph=True, allow_unused=True, materialize_grads=True
        )
    live = [index for index, gradient in enumerate(gradients) if gradient.requires_grad]

    def product(vector: Tensor) -> Tensor:
        parts = [
            part.to(p.dtype) for part, p in zip(_scaled(_split(vector, parameters), roots), parameters, strict=True)
        ]
        images: Sequence[Tensor] = [torch.zeros_like(part) for part in parts]
        if live:
            images = torch.autograd.grad(
                [gradients[index] for index in live],
                parameters,
                [parts[index] for index in live],
                retain_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
        return _flat(_scaled([image.to(vector.dtype) for image in images], roots))

    dim = sum(parameter.numel() for parameter in parameters)
    generator = torch.Generator().manual_seed(seed)
    work = reduce(torch.promote_types, (parameter.dtype for parameter in parameters), torch.float32)
    start = torch.randn(dim, generator=generator, dtype=torch.float64).to(parameters[0].device, work)
    return _lanczos(product, start, tolerance=tolerance, num_steps=min(num_steps, dim))


def adam_preconditioner(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> list[Tensor]:
    """P of Adam, AdamW, AdamC or AdamH after its last step; parameters without a state are refused.

    Raises `InvalidParameter` for a parameter that the optimizer has not stepped yet.
    """
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    result = []
    for index, parameter in enumerate(parameters):
        state = optimizer.state.get(parameter, {})
        if "exp_avg_sq" not in state or not state["step"] > 0:
            raise InvalidParameter("parameters", index, "parameters that this optimizer has stepped, by Adam")
        group, count = group_of[id(parameter)], float(state["step"])
        beta1, beta2 = group["betas"]
        root = (state["exp_avg_sq"] / (1 - beta2**count)).sqrt().add_(group["eps"])
        result.append(root.mul_(1 - beta1**count))
    return result


def _lanczos(product: Callable[[Tensor], Tensor], start: Tensor, *, tolerance: float, num_steps: int) -> Sharpness:
    """Largest eigenvalue of a symmetric operator."""
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        image = product(basis[-1])
        diagonal.append(float(image.dot(basis[-1])))
        for _ in range(2):  # once leaves what rounding made of the first pass
            for vector in basis:
                image = image - vector.dot(image) * vector
        length = float(image.norm())
        count = len(diagonal)
        matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        if beside:
            off = torch.tensor(beside, dtype=torch.float64)
            matrix += torch.diag(off, 1) + torch.diag(off, -1)
        if not torch.isfinite(matrix).all():
            return Sharpness(value=math.nan, residual=math.inf, converged=False, num_products=count)
        values, vectors = torch.linalg.eigh(matrix)
        value, residual = float(values[-1]), length * abs(float(vectors[-1, -1]))
        converged = residual <= tolerance * abs(value)
        if converged or count == num_steps:
            return Sharpness(value=value, residual=residual, converged=converged, num_products=count)
        basis.append(image / length)
        beside.append(length)


def _inverse_roots(preconditioner: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    shapes = [tuple(part.shape) for part in preconditioner]
    if len(shapes) != len(parameters) or not all(map(_broadcasts, shapes, parameters)):
        raise InvalidParameter("preconditioner", shapes, f"one for each of {[tuple(p.shape) for p in parameters]}")
    for part in preconditioner:
        if not bool(((part > 0) & part.isfinite()).all()):
            worst = part.max() if part.isinf().any() else part.min()
            raise InvalidParameter("preconditioner", float(worst), "finite and above 0 everywhere")
    return [part.detach().rsqrt() for part in preconditioner]


def _broadcasts(shape: tuple[int, ...], parameter: Tensor) -> bool:
    """Whether something of this shape becomes that of the parameter by repetition."""
    try:
        return torch.broadcast_shapes(shape, parameter.shape) == parameter.shape
    except RuntimeError:
        return False


def _scaled(parts: Sequence[Tensor], roots: Sequence[Tensor] | None) -> list[Tensor]:
    if roots is None:
        return list(parts)
    return [part * root.to(part.dtype) for part, root in zip(parts, roots, strict=True)]


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.detach().flatten() for part in parts])


def _split(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    sizes = [parameter.numel() for parameter in parameters]
    return [part.view(p.shape) for part, p in zip(vector.split(sizes), parameters, strict=True)]
