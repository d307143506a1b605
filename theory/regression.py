r"""Scale-invariant regression with a power-law spectrum: a learning problem whose loss is known in closed form.

.. math::
   y = \sum_{i\ge1} w^*_i x_i + \epsilon, \qquad f(x) = G\sum_{i\le N}\frac{W_i}{\|W\|}\,x_i, \qquad
   x_i \sim N(0, \lambda_i),\quad \lambda_i = i^{-a},\quad \lambda_i w_i^{*2} = i^{-b},\quad \epsilon\sim N(0,\sigma^2)

Legend: N features seen by the model (``num_features``); a ``spectrum_exponent``; b ``target_exponent``; :math:`\sigma`
``label_noise``; B samples per step (``batch_size``), all fresh; :math:`G = (\sum_{i\le N} w_i^{*2})^{1/2}`, so that the
best W points along :math:`w^*` and any norm of W is as good as another.

**Population loss**, exact at every W:

.. math::
   L(W) = \tfrac12\sum_{i\le N}\lambda_i\,\delta_i^2 + L_{min}, \qquad \delta = G\,W/\|W\| - w^*, \qquad
   L_{min} = \tfrac12\Big(\sigma^2 + \sum_{i>N} i^{-b}\Big)

The features that the model does not see act as label noise; their sum is Hurwitz's zeta function, about
:math:`N^{1-b}/(b-1)`.

**Gradient of a batch**, exact in distribution at a cost that does not depend on B. Let :math:`v = \sum\lambda_i
\delta_i^2` and :math:`s^2 = 2L_{min}`. A sample's features are their regression on :math:`\delta\cdot x` plus an
independent rest, so with :math:`z \sim N(0, 1)` per feature, :math:`p = \sum_i\delta_i\sqrt{\lambda_i}z_i` and three
numbers per step, :math:`c_1 \sim \chi^2_B`, :math:`c_2 \sim \chi^2_{B-1}`, :math:`n \sim N(0,1)`,

.. math::
   \frac1B\sum_b r_b x_b = \lambda\delta\,\frac{A - Cp}{v} + C\sqrt\lambda z, \qquad
   A = \frac{v c_1 + \sqrt v\,s\sqrt{c_1}\,n}{B}, \qquad
   C^2 = \frac{v c_1 + 2\sqrt v\,s\sqrt{c_1}\,n + s^2(n^2 + c_2)}{B^2}

(:math:`r_b` the residual of a sample; the sums over a batch of products of two Gaussian numbers are a Wishart matrix,
here by Bartlett's decomposition). The gradient with respect to W is this, made tangent to W, times :math:`G/\|W\|`.

Assumptions: Gaussian features, one pass over the data. Adam's coordinates are the eigenvectors of the spectrum, or with
``basis="mixed"`` equal mixtures of all of them: then W above stands for QW, Q the matrix of `mixture`.
Where it differs from a language model: one matrix of one row, a loss that is bounded, features that are not learned.
Derived here; power-law features as in Bordelon, Atanasov and Pehlevan (arXiv 2402.01092) and Lin et al. (arXiv
2406.08466), the sphere is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from scipy.special import zeta
from sympy.stats import ChiSquared, E, Normal

from theory.checks import InvalidParameter, require_integer, require_number

Array = NDArray[np.float64]

Basis = Literal["eigenvectors", "mixed"]
SMALLEST_MIXED = 256


@dataclass(frozen=True, kw_only=True)
class PowerLawRegression:
    """The problem above.

    Parameters
    ----------
    num_features : N, at least 2. The model's parameters.
    batch_size : B, samples per step, at least 1.
    spectrum_exponent : a, at least 0.
    target_exponent : b, above 1, or the target would have infinite variance. Below a the coefficients grow with the
        rank of their feature, and one step in angle costs more loss in a larger model.
    label_noise : standard deviation, at least 0.
    basis : what the entries of W multiply: "eigenvectors", the features themselves, or "mixed", equal mixtures
        of all of them (`mixture`; num_features must then be 256, 512, 1024, ...).

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    num_features: int
    batch_size: int = 32
    spectrum_exponent: float = 2.0
    target_exponent: float = 1.5
    label_noise: float = 0.1
    basis: Basis = "eigenvectors"

    def __post_init__(self) -> None:
        require_integer("num_features", self.num_features, at_least=2, at_most=2**24)
        require_integer("batch_size", self.batch_size, at_least=1, at_most=2**31)
        require_number("spectrum_exponent", self.spectrum_exponent, at_least=0, at_most=4)
        require_number("target_exponent", self.target_exponent, above=1, at_most=8)
        require_number("label_noise", self.label_noise, at_least=0)
        if self.basis not in get_args(Basis):
            raise InvalidParameter("basis", self.basis, " or ".join(get_args(Basis)))
        n = self.num_features
        if self.basis == "mixed" and (n < SMALLEST_MIXED or n & (n - 1)):
            raise InvalidParameter("num_features", n, f"a power of two of at least {SMALLEST_MIXED} in the mixed basis")

    @cached_property
    def spectrum(self) -> Array:
        """Variances of the features that the model sees, (num_features,)."""
        return np.arange(1.0, self.num_features + 1) ** -self.spectrum_exponent

    @cached_property
    def target(self) -> Array:
        """Coefficients of the target in these features, (num_features,), all positive: signs are a symmetry."""
        rank = np.arange(1.0, self.num_features + 1)
        return rank ** ((self.spectrum_exponent - self.target_exponent) / 2)

    @cached_property
    def gain(self) -> float:
        """G, the norm of the coefficients that the model can represent."""
        return float(np.linalg.norm(self.target))

    @cached_property
    def least_loss(self) -> float:
        """What no W removes: label noise and the features that the model does not see."""
        return (self.label_noise**2 + float(zeta(self.target_exponent, self.num_features + 1))) / 2

    def excess_loss(self, weights: NDArray[np.floating]) -> Array:
        """Population loss above `least_loss` at weights (..., num_features), of any norm but 0; shape (...)."""
        w = np.asarray(weights, dtype=np.float64)
        if self.basis == "mixed":
            w = mixture(w)
        direction = w / np.linalg.norm(w, axis=-1, keepdims=True)
        return ((self.gain * direction - self.target) ** 2 @ self.spectrum) / 2


def mixture(x: Array) -> Array:
    r"""Q x along the last axis (..., n), n = 256, 512, ...: Q orthogonal, symmetric, with entries :math:`\pm1/\sqrt n`.

    Walsh and Hadamard's matrix, with the two hexadecimal digits of a place within 256 exchanged.
    """
    *others, n = x.shape
    y = x.reshape(*others, n // 256, 16, 16).mT.reshape(*others, n)
    half = 1
    while half < n:
        pairs = y.reshape(*others, n // (2 * half), 2, half)
        upper, lower = pairs[..., 0, :], pairs[..., 1, :]
        y = np.stack([upper + lower, upper - lower], axis=-2).reshape(*others, n)
        half *= 2
    return y / np.sqrt(n)


def derive_gradient_covariance() -> dict[str, sp.Expr]:
    r"""``along``, the coefficient of :math:`\lambda\delta\,(\lambda\delta)^\top`; ``across``, of
    :math:`\mathrm{diag}(\lambda)`.

    From the moments of the numbers that stand for a batch. Along :math:`\lambda\delta` the factor
    :math:`A - Cp` over v varies; across it :math:`\sqrt\lambda z` does, less its part along :math:`\delta`.
    """
    v, s, b, rest = sp.symbols("v s B k", positive=True)
    c1, c2, n = ChiSquared("c_1", b), ChiSquared("c_2", rest), Normal("n", 0, 1)
    cross = sp.sqrt(v) * s * sp.sqrt(c1) * n
    a = (v * c1 + cross) / b
    c_squared = (v * c1 + 2 * cross + s**2 * (n**2 + c2)) / b**2
    variance = E(sp.expand(a**2)) - E(sp.expand(a)) ** 2
    across = E(sp.expand(c_squared)).subs(rest, b - 1)
    return {"along": sp.simplify(variance / v**2 - across / v), "across": sp.simplify(across)}


def gradient_covariance(excess_loss: float, least_loss: float, batch_size: int) -> tuple[float, float]:
    """The two coefficients of `derive_gradient_covariance`, before the gradient is made tangent and scaled."""
    return 1 / batch_size, 2 * (excess_loss + least_loss) / batch_size


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
