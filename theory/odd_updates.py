r"""Updates that are an odd function of a Gaussian momentum: what the sign and the polar factor make of its memory.

.. math::
   c_{st} = c_0\sum_{j\ge0} w_j\, r_{st}^{2j+1}, \qquad w_j \ge 0, \quad \sum_j w_j = 1

Legend: :math:`r_{st}` correlation of the input of the function at steps s and t; :math:`w_j` squared coefficients
of the function in the polynomials that are orthogonal under the law of the input.

Derivation: two Gaussians with correlation r are one Ornstein-Uhlenbeck step apart, and that step multiplies the
polynomial of degree n by :math:`r^n` (Mehler's formula; for matrices its large-dimension analogue).

The input, for all optimizers here, is an interpolated momentum,

.. math::
   z_t = \beta_1 m_{t-1} + (1-\beta_1) g_t, \qquad m_t = \beta_2 m_{t-1} + (1-\beta_2) g_t, \qquad m_{-1} = 0

so that, with :math:`M_t = \frac{1-\beta_2}{1+\beta_2}(1-\beta_2^{2t})`,

.. math::
   \langle z_t^2\rangle = (1-\beta_1)^2 + \beta_1^2 M_t, \qquad
   \langle z_s z_t\rangle = \beta_2^{t-s-1}\beta_1\left[\beta_1\beta_2 M_s + (1-\beta_1)(1-\beta_2)\right], \; s<t

Plain momentum is :math:`\beta_1 = \beta_2`; Nesterov's is :math:`(\beta^2, \beta)`, up to a factor that an odd
function of this kind does not see. The correlations are geometric in the lag, hence so is each power of them: the
series over j is a sum of modes. Derived here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from theory.driven import Drive
from theory.stationary import Autocovariance, derive_mode_sum, geometric_sum
from theory.symbolic import positive, sp

Array = NDArray[np.float64]

MOST_TERMS = 10_000


def derive_correlation() -> dict[str, sp.Expr]:
    """Stationary ``variance`` of z and its ``correlation at lag 1``, in beta_1, beta_2, from the weights of z."""
    b1, b2 = positive("beta_1 beta_2")
    tail = b1 * (1 - b2)  # weight of g_{t-1-i} in z_t, times beta_2^i
    variance = (1 - b1) ** 2 + tail**2 * geometric_sum(b2**2)
    lagged = (1 - b1) * tail + tail**2 * b2 * geometric_sum(b2**2)
    return {"variance": sp.factor(variance), "correlation at lag 1": sp.factor(lagged / variance)}


def derive_sum(weights: list[sp.Expr], first: sp.Expr) -> sp.Expr:
    r""":math:`S(\alpha)` in units of c_0 from the weights of the series and the correlation at lag 1."""
    b2, a, r = positive("beta_2 a r")
    mode = derive_mode_sum()
    return sum(mode.subs({a: w * first ** (2 * j + 1), r: b2 ** (2 * j + 1)}) for j, w in enumerate(weights))


def first_correlation(beta1: float, beta2: float) -> float:
    """Correlation of z at lag 1 in the stationary state; at lag k it is ``beta2**(k-1)`` times that."""
    remembered = (1 - beta2) / (1 + beta2)
    variance = (1 - beta1) ** 2 + beta1**2 * remembered
    return beta1 * (beta1 * beta2 * remembered + (1 - beta1) * (1 - beta2)) / variance


def starting_correlations(num_steps: int, beta1: float, beta2: float) -> tuple[Array, Array]:
    """From an empty momentum: correlation of z at steps t and t + 1, and the factor from (s, t) to (s, t + 1)."""
    t = np.arange(num_steps + 1, dtype=np.float64)
    remembered = (1 - beta2) / (1 + beta2) * -np.expm1(2 * t * np.log(beta2)) if beta2 > 0 else np.sign(t)
    deviation = np.sqrt((1 - beta1) ** 2 + beta1**2 * remembered)
    lagged = beta1 * (beta1 * beta2 * remembered + (1 - beta1) * (1 - beta2))
    return (lagged[:-1] / (deviation[:-1] * deviation[1:])), beta2 * deviation[:-1] / deviation[1:]


def autocovariance(
    weights: Callable[[int], Array], beta1: float, beta2: float, variance: float = 1.0
) -> Autocovariance:
    """Stationary autocovariance of the update; ``weights(n)`` gives the first n weights of its series."""
    first = first_correlation(beta1, beta2)
    powers = 2 * np.arange(num_terms(first)) + 1
    return Autocovariance(
        variance=variance,
        amplitudes=variance * weights(len(powers)) * first**powers,
        ratios=np.asarray(beta2, dtype=np.float64) ** powers,
    )


def drive(weights: Callable[[int], Array], num_steps: int, beta1: float, beta2: float, variance: float = 1.0) -> Drive:
    """The update from an empty momentum on."""
    correlation, carry = starting_correlations(num_steps, beta1, beta2)
    terms = weights(num_terms(float(correlation.max()), negligible=1e-9))

    def modes() -> Iterator[tuple[Array, Array]]:
        for j, weight in enumerate(terms):
            yield variance * weight * correlation ** (2 * j + 1), carry ** (2 * j + 1)

    return Drive(variance=np.full(num_steps, variance), modes=modes)


def num_terms(correlation: float, negligible: float = 1e-12) -> int:
    """Terms after which the power of the largest correlation is negligible; at least 8, at most 10,000."""
    if correlation < 1e-3:
        return 8
    return int(np.clip(np.ceil(np.log(negligible) / (2 * np.log(correlation))), 8, MOST_TERMS))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
