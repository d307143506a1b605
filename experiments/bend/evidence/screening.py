r"""Single runs that cannot belong to their cell: a loss typed wrong, a run cut short, a spike that did not recover.

**Rule.** Where a learning rate has several runs, those farther than

.. math:: \max(12\,\hat\sigma,\; 0.05\ \mathrm{nats})

from what the rest of the cell says are left out: from the median of the others at the rate, if three or more are there,
else from the mean loss of the neighbouring rates, and there only the one of the two that is farther off.
:math:`\hat\sigma` is the median absolute deviation of the runs of the whole table from the median of their rate, or
comes from third differences along the grids. Where a rate has one run, it is left out if it lies above both neighbours
by as much; at the ends of a grid never: there a rise is what a grid looks for. Without replicates a loss far too *low*
cannot be told from an optimum.

One such run among forty makes the noise of a table, and with it every cell flat.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

IN_NOISE = 12.0  # standard deviations of one run
LEAST = 0.05  # nats
FEWEST_PAIRS = 5  # degrees of freedom that tell the noise of replicates


def odd_runs(cells: Sequence[tuple[Array, Array]]) -> list[NDArray[np.bool_]]:
    """For each cell, given as (ln learning rate, loss) of its runs, which of them are left out."""
    limit = max(IN_NOISE * _noise([_finite(x, loss) for x, loss in cells]), LEAST)
    found = []
    for x, loss in cells:
        odd = np.zeros(len(x), bool)
        odd[np.isfinite(loss)] = _odd(*_finite(x, loss), limit)
        found.append(odd)
    return found


def _finite(x: Array, loss: Array) -> tuple[Array, Array]:
    fine = np.isfinite(loss)
    return x[fine], loss[fine]


def _noise(cells: Sequence[tuple[Array, Array]]) -> float:
    """Robust standard deviation of a run; infinite where nothing tells it."""
    deviations: list[Array] = []
    thirds: list[Array] = []
    freedom = 0
    for x, loss in cells:
        rates = np.unique(x)
        thirds.append(np.abs(np.diff([np.median(loss[x == rate]) for rate in rates], 3)) / np.sqrt(20))
        for rate in rates:
            runs = loss[x == rate]
            if len(runs) > 1:
                deviations.append(np.abs(runs - np.median(runs)) * np.sqrt(len(runs) / (len(runs) - 1)))
                freedom += len(runs) - 1
    found = np.concatenate(deviations if freedom >= FEWEST_PAIRS else thirds or [np.zeros(0)])
    return float(np.median(found) / ndtri(0.75)) if len(found) else np.inf


def _odd(x: Array, loss: Array, limit: float) -> NDArray[np.bool_]:
    rates = np.unique(x)
    runs = [np.flatnonzero(x == rate) for rate in rates]
    middle = np.array([np.median(loss[own]) for own in runs])
    odd = np.zeros(len(x), bool)
    for place, own in enumerate(runs):
        beside = [middle[k] for k in (place - 1, place + 1) if 0 <= k < len(rates)]
        if len(own) > 2:
            odd[own] = np.abs(loss[own] - middle[place]) > limit
        elif len(own) == 2 and np.ptp(loss[own]) > limit and beside:
            off = np.abs(loss[own] - np.mean(beside))
            odd[own[np.argmax(off)]] = True
        elif len(own) == 1 and len(beside) == 2:
            odd[own] = loss[own] > max(beside) + limit
    return odd
