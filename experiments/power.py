r"""What bend a table could have shown: the smallest one that the verdict rule would call by its name 4 times in 5.

With t distributed errors of standard error s, half widths :math:`w_{95}` and :math:`w_{90}` of the intervals and the
equivalence limit :math:`\delta`, a bend is called if the estimate exceeds both :math:`w_{95}` (the 95 % interval
excludes 0) and :math:`\delta - w_{90}` (the 90 % interval is not inside :math:`\pm\delta`). So

.. math:: c_{min} = \max(w_{95},\, \delta - w_{90}) + t_{0.8}\, s

and a truly straight law is called straight with the probability that the estimate stays below :math:`\delta - w_{90}`.
Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import norm
from scipy.stats import t as student

WANTED = 0.8


@dataclass(frozen=True, kw_only=True)
class Power:
    """``smallest_bend``: curvature, either sign, found in 80 % of such tables; ``straight_if_straight``: share of
    tables of a straight law that would be called straight."""

    smallest_bend: float
    straight_if_straight: float


def power(half_95: float, half_90: float, delta: float, freedom: float) -> Power:
    """From the half widths of the two intervals and the degrees of freedom behind them."""
    error = half_95 / norm.ppf(0.975)
    called = max(half_95, delta - half_90)
    room = (delta - half_90) / error
    return Power(
        smallest_bend=called + float(student.ppf(WANTED, freedom)) * error,
        straight_if_straight=float(2 * norm.cdf(room) - 1) if room > 0 else 0.0,
    )
