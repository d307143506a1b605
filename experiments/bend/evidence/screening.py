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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]

IN_NOISE = 12.0  # standard deviations of one run
LEAST = 0.05  # nats
FEWEST_PAIRS = 5  # degrees of freedom that tell the noise of replicates


def odd_runs(cells: Sequence[tuple[Array, Array]]) -> list[NDArray[np.bool_]]:
    """For each cell, given as (ln learning rate, loss) of its runs, which of them are left out."""
    if not cells:
        return []
    sizes = [len(x) for x, _ in cells]
    x, loss = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    cell, odd = np.repeat(np.arange(len(cells)), sizes), np.zeros(len(x), bool)
    rates = _Rates.of(cell, x, loss)
    limit = max(IN_NOISE * _noise(rates), LEAST)
    odd[rates.run] = _odd(rates, limit)
    return np.split(odd, np.cumsum(sizes)[:-1])


@dataclass(frozen=True, kw_only=True)
class _Rates:
    """The finite runs by cell and learning rate.

    run, loss, rate : (num_runs,), each run's place in the table, its loss, and the place of its rate, in order of the
    cells, the rates and the losses. first, size, cell : (num_rates,), place of the first run of each rate, number of
    runs, and place of the cell. middle : (num_rates,), median losses. below, above : (num_rates,), the medians at the
    neighbouring rates of the cell, NaN where there is none.
    """

    run: NDArray[np.int64]
    loss: Array
    rate: NDArray[np.int64]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    cell: NDArray[np.int64]
    middle: Array
    below: Array
    above: Array

    @staticmethod
    def of(cell: NDArray[np.int64], x: Array, loss: Array) -> _Rates:
        fine = np.flatnonzero(np.isfinite(loss))
        run = fine[np.lexsort((loss[fine], x[fine], cell[fine]))]
        new = (np.diff(cell[run], prepend=-1) != 0) | (np.diff(x[run], prepend=np.nan) != 0)
        first = np.flatnonzero(new)
        size = np.diff(np.append(first, len(run)))
        middle = (loss[run[first + (size - 1) // 2]] + loss[run[first + size // 2]]) / 2
        own = cell[run[first]]
        edge = np.flatnonzero(np.diff(own))
        below, above = np.append(np.nan, middle[:-1])[: len(own)], np.append(middle[1:], np.nan)[: len(own)]
        below[edge + 1], above[edge] = np.nan, np.nan
        rate = np.cumsum(new) - 1
        return _Rates(
            run=run,
            loss=loss[run],
            rate=rate,
            first=first,
            size=size,
            cell=own,
            middle=middle,
            below=below,
            above=above,
        )


def _noise(rates: _Rates) -> float:
    """Robust standard deviation of a run; infinite where nothing tells it."""
    size = rates.size[rates.rate]
    several = size > 1
    if (rates.size - 1).sum() >= FEWEST_PAIRS:
        stretched = np.sqrt(size[several] / (size[several] - 1))
        found = np.abs(rates.loss - rates.middle[rates.rate])[several] * stretched
    else:
        found = np.abs(np.diff(rates.middle, 3)) / np.sqrt(20)
        found = found[rates.cell[3:] == rates.cell[:-3]]
    return float(np.median(found) / ndtri(0.75)) if len(found) else np.inf


def _odd(rates: _Rates, limit: float) -> NDArray[np.bool_]:
    size, away = rates.size[rates.rate], np.abs(rates.loss - rates.middle[rates.rate])
    alone = (rates.size == 1) & (rates.loss[rates.first] > np.maximum(rates.below, rates.above) + limit)
    odd = np.where(size > 2, away > limit, (size == 1) & alone[rates.rate])
    beside = np.stack([rates.below, rates.above])
    ends = rates.first[rates.size == 2], rates.first[rates.size == 2] + 1
    apart = rates.loss[ends[1]] - rates.loss[ends[0]] > limit
    for low, high in zip(*(end[apart] for end in ends), strict=True):
        around = beside[:, rates.rate[low]]
        if np.isfinite(around).any():
            expected = np.nanmean(around)
            off = abs(rates.loss[low] - expected) > abs(rates.loss[high] - expected)
            odd[low if off else high] = True
    return odd
