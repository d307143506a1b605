r"""Gradient noise scale: the batch size at which noise and signal of the gradient are equal.

.. math:: B_{simple} = \frac{\mathrm{tr}\,\Sigma}{|G|^2}

Legend: G the gradient of the expected loss, :math:`\Sigma` the covariance of the gradient of one example.

Estimate (McCandlish et al., arXiv 1812.06162, appendix A.1). The gradient of a batch of B examples has
:math:`E|G_B|^2 = |G|^2 + \mathrm{tr}\,\Sigma/B`. Two batch sizes, small b and large B, give two equations:

.. math::
   |\mathcal G|^2 = \frac{B|G_B|^2 - b|G_b|^2}{B - b}, \qquad
   \mathcal S = \frac{|G_b|^2 - |G_B|^2}{1/b - 1/B}

both unbiased; their ratio is not, but its bias falls with the number of batches. Here the large batch is the union of
the K small ones, so everything follows from their Gram matrix :math:`\langle g_i, g_j\rangle`: :math:`|\mathcal G|^2`
is the mean off the diagonal.

Standard errors (derived here): jackknife over the K small batches, of both parts and of the ratio. Leaving out one
batch only strikes out a row and a column of the Gram matrix. Where :math:`|\mathcal G|^2` is not several standard
errors above zero the ratio has no useful error bar: take more batches, or read :math:`1/B_{simple}`, which has.

The gradients must not be clipped, and the batches must be independent. A batch of sequences counts as many examples
as it has sequences: tokens of one sequence are not independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from theory.checks import InvalidParameter, require_number

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class NoiseScale:
    r"""An estimate from ``num_batches`` batches of ``batch_size`` examples.

    Attributes
    ----------
    noise_scale, noise_scale_se : :math:`B_{simple}` in examples; infinite if the squared gradient came out below 0.
    inverse, inverse_se : :math:`1/B_{simple}`.
    squared_gradient, squared_gradient_se : :math:`|G|^2`.
    trace, trace_se : :math:`\mathrm{tr}\,\Sigma`.
    """

    noise_scale: float
    noise_scale_se: float
    inverse: float
    inverse_se: float
    squared_gradient: float
    squared_gradient_se: float
    trace: float
    trace_se: float
    batch_size: float
    num_batches: int


def measure_noise_scale(
    loss: Callable[[T], Tensor], batches: Iterable[T], parameters: Sequence[Tensor], *, batch_size: float
) -> NoiseScale:
    """Noise scale of a model at its present weights; leaves ``grad`` of the parameters alone.

    Keeps the gradients of all batches: ``num_batches`` times the memory of the parameters.

    Parameters
    ----------
    loss : mean loss of a batch, a scalar.
    batches : independent draws, at least 3.
    parameters : whose gradient is meant, all of them or one group.
    batch_size : examples in a batch, above 0.

    Raises
    ------
    InvalidParameter : too few batches, or a batch size out of range.
    """
    gradients = [
        torch.autograd.grad(loss(batch), parameters, allow_unused=True, materialize_grads=True) for batch in batches
    ]
    if len(gradients) < 3:
        raise InvalidParameter("batches", len(gradients), "at least 3, for an error bar")
    gram = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for parts in zip(*gradients, strict=True):
        rows = torch.stack([part.flatten() for part in parts]).double()
        gram += (rows @ rows.T).cpu()
    return noise_scale_from_gram(gram, batch_size=batch_size)


def noise_scale_from_gram(gram: Tensor, *, batch_size: float) -> NoiseScale:
    """The same from the inner products of the gradients of the batches, (num_batches, num_batches)."""
    require_number("batch_size", batch_size, above=0)
    num_batches = len(gram)
    gram = gram.double()
    sums, diagonal = gram.sum(dim=1), gram.diagonal()
    off_diagonal = sums.sum() - diagonal.sum()

    def parts(off: Tensor, on: Tensor, count: int) -> Tensor:
        """Squared gradient, trace, and 1/noise scale, along the first axis."""
        squared = off / (count * (count - 1))
        trace = batch_size * (on / count - squared)
        return torch.stack([squared, trace, squared / trace])

    whole = parts(off_diagonal, diagonal.sum(), num_batches)
    left_out = parts(off_diagonal - 2 * (sums - diagonal), diagonal.sum() - diagonal, num_batches - 1)
    deviations = left_out - left_out.mean(dim=1, keepdim=True)
    errors = (deviations.square().sum(dim=1) * (num_batches - 1) / num_batches).sqrt()
    squared, trace, inverse = whole.tolist()
    squared_se, trace_se, inverse_se = errors.tolist()
    positive = inverse > 0
    return NoiseScale(
        noise_scale=1 / inverse if positive else math.inf,
        noise_scale_se=inverse_se / inverse**2 if positive else math.inf,
        inverse=inverse,
        inverse_se=inverse_se,
        squared_gradient=squared,
        squared_gradient_se=squared_se,
        trace=trace,
        trace_se=trace_se,
        batch_size=batch_size,
        num_batches=num_batches,
    )
