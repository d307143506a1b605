r"""What bend a table could have shown: the smallest one that the verdict rule would call by its name in 85 % of such.

With half widths :math:`w_{95}` and :math:`w_{90}` of the intervals and the equivalence limit :math:`\delta`, a bend c
is called if the estimate, of standard error :math:`s = w_{95}/z_{0.975}`, exceeds both :math:`w_{95}` (the 95 %
interval excludes 0) and :math:`\delta - w_{90}` (the 90 % interval is not inside :math:`\pm\delta`).

The widths of this table are estimates too, as those of the next one will be: their logarithms have the variance
:math:`u = 1/2\nu`, with :math:`\nu` degrees of freedom. Where the first condition is the harder one, what is named here
and what must be exceeded there go like these widths, so that

.. math:: (c - w_{95})^2 = z_{0.85}^2\,\bigl(s^2 + u\,(c^2 + w_{95}^2)\bigr),

and where the second is, :math:`c = \delta - w_{90} + z_{0.85}\,s`, in which the widths nearly cancel. A truly
straight law is called straight with the probability that the estimate stays below :math:`\delta - w_{90}`. Derived
here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import norm

WANTED = 0.85


@dataclass(frozen=True, kw_only=True)
class Power:
    """``smallest_bend``: curvature, either sign, found in 85 % of such tables, infinite if the widths are too uncertain
    to name one; ``straight_if_straight``: share of tables of a straight law that would be called straight."""

    smallest_bend: float
    straight_if_straight: float


def power(half_95: float, half_90: float, delta: float, freedom: float) -> Power:
    """From the half widths of the two intervals and the degrees of freedom behind them."""
    error, wanted = half_95 / norm.ppf(0.975), norm.ppf(WANTED)
    unsure = wanted**2 / (2 * freedom)
    # (1 - unsure) c^2 - 2 half_95 c + rest = 0, the larger root
    rest = half_95**2 * (1 - unsure) - (wanted * error) ** 2
    excludes_0 = (half_95 + math.sqrt(half_95**2 - (1 - unsure) * rest)) / (1 - unsure) if unsure < 1 else math.inf
    room = (delta - half_90) / error
    return Power(
        smallest_bend=float(max(excludes_0, delta - half_90 + wanted * error)),
        straight_if_straight=float(2 * norm.cdf(room) - 1) if room > 0 else 0.0,
    )
