r"""What bend a table could have shown: the smallest one that the verdict rule would call by its name in 85 % of such.

With half widths :math:`w_{95}` and :math:`w_{90}` of the intervals and the equivalence limit :math:`\delta`, a bend c
is called if the estimate exceeds both :math:`w_{95}` (the 95 % interval excludes 0) and :math:`\delta - w_{90}` (the
90 % interval is not inside :math:`\pm\delta`).

The widths of this table are estimates, and those of the next one will be others: with u the variance of their
logarithms, the true error is :math:`\sigma = s\,e^{\sqrt u\,a}` and the next widths are
:math:`w\,e^{\sqrt u\,(a+b)}`, where :math:`s = w_{95}/z_{0.975}` and a, b are standard normal. Then c solves

.. math:: \Big\langle \Phi\Big(\frac{c - \max(w_{95}e^{\sqrt u(a+b)},\; \delta - w_{90}e^{\sqrt u(a+b)})}
   {s\,e^{\sqrt u\,a}}\Big)\Big\rangle_{a,b} = 0.85.

A truly straight law is called straight with the probability that the estimate stays below :math:`\delta - w_{90}` on
both sides, averaged likewise. Tables that name a small bend are more often those whose widths came out small; the
average over tables is what is promised. Derived here.

**What is missing.** The same probability with all widths and errors divided by k says how much narrower the intervals
would have to be. The error of a second derivative goes with the inverse square of the range of the axis in ln: as many
cells over :math:`\sqrt k` times the range have it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

WANTED = 0.85
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(21)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True, kw_only=True)
class Power:
    """What a table could have shown. smallest_bend : the curvature, of either sign, that is called by its name in 85 %
    of such tables. straight_if_straight : the share of the tables of a straight law that would be called straight.
    narrower : how many times narrower the intervals must be for that share to be 85 %; at most 1 where it is."""

    smallest_bend: float
    straight_if_straight: float
    narrower: float


def power(half_95: float, half_90: float, delta: float, unsure: float) -> Power:
    """The power of a table.

    half_95, half_90 : half widths of the two intervals of its curvature, above 0. delta : the equivalence limit, above
    0. unsure : the variance u of the logarithm of those widths, at least 0.

    >>> found = power(half_95=0.0392, half_90=0.0329, delta=0.07, unsure=0.0)  # standard error 0.02, exactly known
    >>> round(found.smallest_bend, 4), round(found.straight_if_straight, 2)
    (0.0599, 0.94)
    """
    spread = math.sqrt(unsure)
    error = half_95 / ndtri(0.975) * np.exp(spread * NODES[:, None])
    wider = np.exp(spread * (NODES[:, None] + NODES))
    room = delta - half_90 * wider
    limit = np.maximum(half_95 * wider, room)

    def missed(bend: float) -> float:
        return WANTED - float(WEIGHTS @ ndtr((bend - limit) / error) @ WEIGHTS)

    def straight(narrower: float) -> float:
        within = 2 * ndtr((narrower * delta - half_90 * wider) / error) - 1
        return float(WEIGHTS @ np.maximum(within, 0) @ WEIGHTS)

    enough = float((half_90 * wider + 10 * error).max()) / delta
    return Power(
        smallest_bend=float(brentq(missed, 0, float((limit + 10 * error).max()), rtol=1e-9)),
        straight_if_straight=straight(1.0),
        narrower=float(brentq(lambda narrower: straight(narrower) - WANTED, 0, enough, rtol=1e-9)),
    )
