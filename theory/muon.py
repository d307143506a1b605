r"""Muon and MuonH: the polar factor of a momentum, off and on the sphere.

.. math::
   W_{t+1} = (1-\eta_t\lambda)W_t - \eta_t\sqrt{\max(1, d_{out}/d_{in})}\;\mathrm{polar}(z_t), \qquad
   \mathrm{polar}(U\Sigma V^\top) = UV^\top

Legend: W has :math:`d_{out}` rows and :math:`d_{in}` columns; z is the momentum :math:`m_t = \beta m_{t-1} +
(1-\beta)g_t`, or with Nesterov :math:`\beta m_t + (1-\beta)g_t`; :math:`r_1` its correlation at lag 1
(`theory.odd_updates`); :math:`y \le 1` the short side over the long side, :math:`h = \sqrt y`. MuonH replaces decay
by the projection of `theory.adamh`, and the scale drops out.

**Result**: everything in `theory.stationary`, with :math:`c_0 = 1/d_{in}`, whatever the shape, and

.. math::
   S(\alpha) = c_0\sum_{j\ge0} w_j\frac{r_1^{2j+1}}{1-\alpha\beta^{2j+1}}, \qquad
   \sqrt{w_j} = h^j\,\frac{(1/2)_j}{j!}\; {}_2F_1\!\left(-\tfrac12,\, j+\tfrac12;\, j+2;\, h^2\right)

For square matrices :math:`w_j = \frac4{\pi^2}\left(\frac1{2j+1}+\frac1{2j+3}\right)^2`; the first is 0.72, and goes
to 1 for long matrices, whose polar factor is the matrix itself up to scale.

Derivation, for large dimensions. Let the entries of z have variance one over the long side. Then the squared
singular values are :math:`1+y+2h\cos\phi`, and weighted with themselves (the odd functions of z start at degree 1)
they have the law :math:`\frac2\pi\sin^2\phi\,d\phi` of a semicircle (Marchenko and Pastur). The
orthogonal polynomials are z times Chebyshev's :math:`U_j(\cos\phi)`; they are the Wick products of alternating z and
its transpose, which an Ornstein-Uhlenbeck step multiplies by :math:`r^{2j+1}`. The polar factor is z over its
singular values, so its coefficients are

.. math::
   A_j = \frac2\pi\int_0^\pi \frac{\sin((j+1)\phi)\,\sin\phi}{\sqrt{1+y+2h\cos\phi}}\,d\phi

the expansion of a generating function of Legendre polynomials in Chebyshev's, whence the hypergeometric form.

**Scales** in front of the polar factor: :math:`\sqrt{\max(1, d_{out}/d_{in})}` by Jordan and by default in
`torch.optim.Muon`; :math:`0.2\sqrt{\max(d_{out}, d_{in})}` in Moonlight (arXiv 2502.16982), torch's
"match_rms_adamw": then :math:`c_0 = 0.04`. The scale, like the RMS that an approximate polar factor has, multiplies
norms and drops out of equilibrium angles.

**Limits**: as in `theory.stationary`, with :math:`D = c_0 + 2S(1)`; without momentum :math:`S = 0`. AdamW's formula
with :math:`U^2 = c_0(1-\beta)/(1+\beta)` in place of :math:`c_0` keeps all the memory that the polar factor forgets.

Where it fails: finite dimensions (RMS low and angle high by about 0.16/d for square matrices of side d, 1 % at
d = 16; a quarter of that at 4:1), gradients of low rank, and approximate polar factors: five Newton-Schulz steps leave
singular values between 0.7 and 1.2, so scale the RMS by that of the update as measured. Muon: Jordan et al. (2024);
MuonH: arXiv 2606.16899. Derived here.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from theory import odd_updates
from theory.checks import InvalidParameter, require_integer
from theory.driven import Drive
from theory.stationary import Autocovariance
from theory.symbolic import positive, sp

Array = NDArray[np.float64]
Scale = Literal["keller-jordan", "moonlight", "torch"]
SCALES: tuple[Scale, ...] = get_args(Scale)


def derive_weights(num_terms: int) -> list[sp.Expr]:
    """Exact weights of square matrices, from the integral over the singular values."""
    phi = sp.Symbol("phi", real=True)
    slope = sp.sin(phi / 2)  # sin(phi) over the singular value 2 cos(phi/2), at y = 1
    return [(sp.integrate(sp.sin((j + 1) * phi) * slope, (phi, 0, sp.pi)) * 2 / sp.pi) ** 2 for j in range(num_terms)]


def derive_coefficient(j: int, order: int) -> sp.Expr:
    r""":math:`A_j` of any shape as a polynomial in h, up to ``h**order``.

    With :math:`\zeta = e^{i\phi}` the root is that of :math:`(1+h\zeta)(1+h/\zeta)`, a product of two binomial series,
    and the integral picks its powers :math:`\zeta^j` and :math:`\zeta^{j+2}`.
    """
    h, zeta = positive("h zeta")
    binomial = [sp.binomial(sp.Rational(-1, 2), m) * h**m for m in range(order + 1)]
    outward = sp.Poly(binomial[::-1], zeta)
    inward = sp.Poly(binomial, zeta)  # times zeta**order, to be a polynomial
    picked = (outward * inward).coeff_monomial
    result = sp.expand(picked(zeta ** (order + j)) - picked(zeta ** (order + j + 2)))
    return sum(result.coeff(h, k) * h**k for k in range(order + 1))


def derive_sum(num_terms: int) -> sp.Expr:
    r"""The first terms of :math:`S(\alpha)/c_0` for square matrices and plain momentum beta_2, in alpha and beta_2."""
    (beta,) = positive("beta_2")
    return odd_updates.derive_sum(derive_weights(num_terms), beta)


def weights(num_terms: int, aspect: float = 1.0) -> Array:
    r""":math:`w_j`, (num_terms,), which sum to 1; ``aspect`` is the short side over the long side, in (0, 1]."""
    from scipy.special import gammaln

    if not 0 < aspect <= 1:
        raise InvalidParameter("aspect", aspect, "above 0 and at most 1")
    j = np.arange(num_terms, dtype=np.float64)
    leading = np.exp(gammaln(j + 0.5) - gammaln(0.5) - gammaln(j + 1) + j / 2 * np.log(aspect))
    return (leading * _mean_root(j, aspect)) ** 2


def _mean_root(j: Array, y: float) -> Array:
    r""":math:`{}_2F_1(-\frac12, j+\frac12; j+2; y) = \langle\sqrt{1-yt}\rangle` over t from Beta(j + 1/2, 3/2).

    Trapezoidal rule in :math:`v = \ln\frac{t}{1-t}`, which converges exponentially for every j and y.
    """
    v = np.arange(-85, 35, 0.25)
    density = np.exp(-(j[:, None] + 0.5) * np.logaddexp(0, -v) - 1.5 * np.logaddexp(0, v))
    root = np.sqrt((1 - y + np.exp(-v)) / (1 + np.exp(-v)))
    return (density @ root) / density.sum(axis=1)


def autocovariance(
    shape: tuple[int, int], beta1: float = 0.95, *, nesterov: bool = True, factor: float | None = None
) -> Autocovariance:
    """Of one entry of the polar factor of a matrix (d_out, d_in), stationary, times ``factor``; None for Jordan's."""
    inner, series = beta1**2 if nesterov else beta1, partial(weights, aspect=_aspect(shape))
    return odd_updates.autocovariance(series, inner, beta1, variance=_variance(shape, factor))


def drive(
    shape: tuple[int, int], num_steps: int, beta1: float = 0.95, *, nesterov: bool = True, factor: float | None = None
) -> Drive:
    """The same from an empty momentum on."""
    inner, series = beta1**2 if nesterov else beta1, partial(weights, aspect=_aspect(shape))
    return odd_updates.drive(series, num_steps, inner, beta1, variance=_variance(shape, factor))


def update_scale(shape: tuple[int, int], scale: Scale = "keller-jordan") -> float:
    r"""What the polar factor of a matrix (d_out, d_in) is multiplied with: one of the published `SCALES`."""
    rows, columns = shape
    return 0.2 * math.sqrt(max(rows, columns)) if scale == "moonlight" else math.sqrt(max(1.0, rows / columns))


def newton_schulz_rms(shape: tuple[int, int], num_iterations: int = 5) -> float:
    r"""RMS of the polar factor by Newton and Schulz over that of the exact one, for a Gaussian matrix.

    Jordan's iteration :math:`\sigma \leftarrow a\sigma + b\sigma^3 + c\sigma^5` with (3.4445, -4.7750, 2.0315) from
    :math:`\sigma_i/\|z\|_F`, under the law of Marchenko and Pastur, in exact arithmetic. A momentum of gradients with
    few large singular values has more small ones, which the iteration leaves below 1: measure those.

    >>> print(f"{newton_schulz_rms((768, 768)):.3f} {newton_schulz_rms((3072, 768)):.3f}")
    0.925 0.952
    """
    y = _aspect(shape)
    phi = (np.arange(4000) + 0.5) * np.pi / 4000
    squares = 1 + y + 2 * math.sqrt(y) * np.cos(phi)  # of singular values, in units of the long side
    density = np.sin(phi) ** 2 / squares
    if min(shape) == 1:
        squares = np.ones_like(squares)  # a vector has one singular value
    sigma = np.minimum(np.sqrt(squares / min(shape)), 1.0)  # of a matrix of norm 1
    for _ in range(require_integer("num_iterations", num_iterations, at_least=0)):
        sigma = 3.4445 * sigma - 4.7750 * sigma**3 + 2.0315 * sigma**5
    return float(np.sqrt(np.sum(density * sigma**2) / np.sum(density)))


def _variance(shape: tuple[int, int], factor: float | None) -> float:
    return 1 / shape[1] if factor is None else factor**2 / max(shape)


def _aspect(shape: tuple[int, int]) -> float:
    for side in shape:
        require_integer("shape", side, at_least=1)
    return min(shape) / max(shape)


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
