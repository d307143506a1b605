r"""The rates near the lowest loss of a cell: where any smooth curve is close to a parabola that leans.

**Rule.** On either side of its best rate a cell keeps the rates up to the first whose mean loss is more than

.. math:: W = \max(0.01\ \mathrm{nats},\; 7\,\hat\sigma)

above the lowest, and this one too, as a bound and not a point of the curve: what it lies above W is added to its
error. The first rate left out above closes the grid.

:math:`\hat\sigma`, the noise of one run, is that of the replicates where there are enough of them, else the median
third difference of four neighbours at and below the best rates, where curves have no kink.

W was chosen on sweeps of `experiments.calibration.kinked_sweeps`: at 0.04 nats the kinks are inside, and 0.77 of the
95 % intervals of optima hold; much narrower, noise decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from experiments.bend.evidence.cells import Cell, leave_out

Array = NDArray[np.float64]

NARROWEST = 0.01  # nats
IN_NOISE = 7.0  # standard deviations of one run
SLACK = 1.0  # of what a bound lies above the window
ENOUGH = 5  # degrees of freedom of replicates that tell the noise
FEWEST = 3
REASON = "outside the window about the best rate"


def near_the_best(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, each with the rates about its best one."""
    limit = max(NARROWEST, IN_NOISE * rough_noise(cells))
    return [_within(cell, limit) for cell in cells]


def rough_noise(cells: Sequence[Cell]) -> float:
    """Standard deviation of one run's loss in nats, without a model; infinite where nothing tells it."""
    squares, freedom = sum(cell.squares for cell in cells), sum(cell.freedom for cell in cells)
    if freedom >= ENOUGH:
        return float(np.sqrt(squares / freedom))
    found = [difference for cell in cells for difference in _third_differences(cell)]
    return float(np.median(found) / ndtri(0.75)) if found else np.inf


def _third_differences(cell: Cell) -> list[float]:
    """Absolute, over their standard deviation at unit noise; all at and below the best rate, or the lowest one."""
    found = []
    for first in range(max(int(np.argmin(cell.loss)) - 2, 1)):
        part = slice(first, first + 4)
        x, loss = cell.x[part], cell.loss[part]
        if len(x) == 4:
            apart = x[:, None] - x + np.eye(4)
            weight = 1 / apart.prod(axis=1)
            found.append(float(abs(weight @ loss) / np.sqrt((weight**2 / cell.count[part]).sum())))
    return found


def _within(cell: Cell, limit: float) -> Cell:
    best = int(np.argmin(cell.loss))
    rise = cell.loss - cell.loss[best]
    outside = np.flatnonzero(rise > limit)
    first = max((int(k) for k in outside if k < best), default=0)
    last = min((int(k) for k in outside if k > best), default=len(rise) - 1)
    while last - first + 1 < min(FEWEST, len(rise)):
        above = first == 0 or (last + 1 < len(rise) and rise[last + 1] <= rise[first - 1])
        first, last = (first, last + 1) if above else (first - 1, last)
    kept = leave_out(cell, first, last + 1, REASON)
    return replace(kept, slack=SLACK * np.maximum(rise[first : last + 1] - limit, 0))
