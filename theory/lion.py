r"""Lion and SignSGDM: the sign of a momentum.

.. math::
   W_{t+1} = (1-\eta_t\lambda)W_t - \eta_t\,\mathrm{sign}(z_t), \qquad z_t = \beta_1 m_{t-1} + (1-\beta_1)g_t, \qquad
   m_t = \beta_2 m_{t-1} + (1-\beta_2)g_t

Legend: as in `theory.stationary`; :math:`r_1` correlation of z at lag 1 (`theory.odd_updates`). SignSGDM is
:math:`\beta_1 = \beta_2`: the sign of the momentum itself.

**Result**: everything in `theory.stationary`, with

.. math::
   c_0 = 1, \qquad c_k = \frac2\pi\arcsin(r_1\beta_2^{k-1}), \qquad
   S(\alpha) = \sum_{j\ge0} w_j\frac{r_1^{2j+1}}{1-\alpha\beta_2^{2j+1}}, \qquad
   w_j = \frac2\pi\,\frac{\binom{2j}{j}}{4^j(2j+1)}

Derivation: two Gaussians with correlation r have equal signs with probability :math:`\frac12 + \frac1\pi\arcsin r`
(Sheppard). The power series of the arcsine has positive coefficients and sums up lag by lag.

**Limits**: without momentum the update is white, :math:`\rho = \eta^2/(1-\alpha^2)` and
:math:`\theta = \arccos\alpha`. For :math:`\eta\lambda\to0`: :math:`\rho = \eta D/2\lambda`,
:math:`\theta = \sqrt{2\eta\lambda/D}`. The customary linearisation :math:`\arcsin r \approx r`
underestimates D, most where the momentum is long: see `derive_linearised_total`.

Where it fails: gradients that are not Gaussian (the arcsine changes, the signs stay), zeros in the gradient (a
sign of 0 takes no step), entries of different scale are no matter. Lion: Chen et al., arXiv 2302.06675; SignSGDM:
Bernstein et al., arXiv 1802.04434. Derived here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from theory import odd_updates
from theory.driven import Drive
from theory.stationary import Autocovariance
from theory.symbolic import positive, sp

Array = NDArray[np.float64]


def derive_weights(num_terms: int) -> list[sp.Expr]:
    """Coefficients of the odd powers in (2/pi) asin(r), from its Taylor series."""
    r = sp.Symbol("r")
    series = sp.series(2 / sp.pi * sp.asin(r), r, 0, 2 * num_terms).removeO()
    return [series.coeff(r, 2 * j + 1) for j in range(num_terms)]


def weights(num_terms: int) -> Array:
    r""":math:`w_j`, (num_terms,); they sum to 1."""
    from scipy.special import gammaln

    j = np.arange(num_terms, dtype=np.float64)
    return 2 / np.pi * np.exp(gammaln(2 * j + 1) - 2 * gammaln(j + 1) - j * np.log(4)) / (2 * j + 1)


def derive_sum(num_terms: int) -> sp.Expr:
    r"""The first terms of :math:`S(\alpha)`, in alpha, beta_1 and beta_2."""
    first = odd_updates.derive_correlation()["correlation at lag 1"]
    return odd_updates.derive_sum(derive_weights(num_terms), first)


def derive_linearised_total() -> sp.Expr:
    r"""D with the arcsine replaced by :math:`\frac2\pi r` at every lag but 0, in beta_1 and beta_2."""
    (alpha,) = positive("alpha")
    return sp.factor(1 + 2 * derive_sum(1).subs(alpha, 1))


def autocovariance(beta1: float = 0.9, beta2: float = 0.99) -> Autocovariance:
    """Of one entry of the sign, stationary; betas in [0, 1)."""
    return odd_updates.autocovariance(weights, beta1, beta2)


def drive(num_steps: int, beta1: float = 0.9, beta2: float = 0.99) -> Drive:
    """The sign from an empty momentum on."""
    return odd_updates.drive(weights, num_steps, beta1, beta2)


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
