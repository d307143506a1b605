r"""Highest learning rates whose losses have left the curve: not diverged, and no longer a matter of one minimum.

Close to the rate at which training diverges, a loss can rise by far more than any smooth curve through the others. All
that such a rate says is that the optimum lies below it; one among seventy, taken for a point of the curve, moves every
optimum of a table.

**Rule.** Suspect are the highest rates of a cell from the first one on, above the best, to which three neighbours curve
upward by more than twice the median over all such triples of the table, and by more than any lower three of the cell;
three rates stay. The joint model is fitted without the suspects, and their losses compared, from below, with what the
others predict, :math:`\hat y`:

.. math:: y - \hat y \;>\; t_\nu(1 - 10^{-3})\,
   \sqrt{\sigma^2/m + g^2 R^2 + \mathrm{Var}(\hat y)}, \qquad g = \max(\gamma, 0.1)

with the misfit per rise :math:`\gamma` no smaller than its prior's scale, since the shape is continued beyond where it
was fitted. The first rate above that is left out with all beyond it, and closes the grid from above, as a diverged one
does; one that is not takes part, by one linear step from the same fit, when the next is judged. One side only: what no
smooth law allows is a jump up at the top. The comparison with the cell's own lower rates is there since the shape that
the cells share is a model: a cell of another shape, smooth, with its steepest part on the left, is far from what the
others predict, and has no wall. A smooth sweep of 16 cells loses a good point at most once in 60 times.

Derived here; the predictive variance is the usual one of a linear mixed model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from experiments.bend.evidence.cells import Cell, leave_out, stack
from experiments.joint.fit import JointFit, fit_jointly
from experiments.joint.mixed_model import cross_products, predict, solve
from experiments.joint.model import Priors, StackedLosses, error_variances, linearise, spreads

Array = NDArray[np.float64]

FALSE_ALARM = 1e-3
FEWEST_LEFT = 3
STEEP = 2.0  # second derivative of a suspect over the median one
REASON = "past a wall"


def without_walls(
    cells: Sequence[Cell], regressors: Array, trend: Array, tau: float | None, rules: Priors
) -> list[Cell]:
    """The cells without the rates that the rule leaves out.

    ``cells`` with three usable rates or more; ``regressors``, ``trend``, ``tau`` and the priors ``rules`` as in
    `fit_jointly`.
    """
    suspects = _suspects(cells)
    kept = [_up_to(cell, suspects.get(place, len(cell.x))) for place, cell in enumerate(cells)]
    if not suspects:
        return kept
    try:
        fit = fit_jointly(stack(kept)[0], regressors, trend, priors=rules, tau=tau)
    except np.linalg.LinAlgError:
        return list(cells)
    limit = float(stdtrit(fit.freedom, 1 - FALSE_ALARM))
    while suspects:
        for place, last in suspects.items():
            kept[place] = _up_to(cells[place], last + 1)
        tried = np.array(list(suspects))
        try:
            excess = dict(zip(suspects, _excess(stack(kept)[0], tried, fit, regressors, trend, rules), strict=True))
        except np.linalg.LinAlgError:
            return list(cells)
        for place, last in suspects.items():
            if excess[place] > limit:
                kept[place] = _up_to(cells[place], last)
        suspects = {
            place: last + 1
            for place, last in suspects.items()
            if excess[place] <= limit and last + 1 < len(cells[place].x)
        }
    return kept


def _suspects(cells: Sequence[Cell]) -> dict[int, int]:
    """By place of the cell, the lowest rate from which on it is suspect."""
    bends = [_bends(cell) for cell in cells]
    typical = float(np.median(np.concatenate(bends))) if any(map(len, bends)) else 0.0
    found = {}
    for place, (cell, bend) in enumerate(zip(cells, bends, strict=True)):
        steeper = bend > np.maximum.accumulate(np.append(STEEP * typical, bend[:-1]))
        beyond = np.flatnonzero(steeper) + 2
        beyond = beyond[beyond >= max(FEWEST_LEFT, int(np.argmin(cell.loss)) + 1)]
        if len(beyond):
            found[place] = int(beyond[0])
    return found


def _bends(cell: Cell) -> Array:
    """(num_points - 2,) second derivatives of the loss by three neighbours."""
    slopes = np.diff(cell.loss) / np.diff(cell.x)
    bends: Array = 2 * np.diff(slopes) / (cell.x[2:] - cell.x[:-2])
    return bends


def _up_to(cell: Cell, number: int) -> Cell:
    """The cell with that many rates."""
    return leave_out(cell, 0, number, REASON, past_wall=True)


def _excess(
    cells: StackedLosses, tried: NDArray[np.int64], fit: JointFit, regressors: Array, trend: Array, rules: Priors
) -> Array:
    """(num_tried,) losses of the highest rates of the cells ``tried`` over their prediction, in standard errors.

    The prediction is one linear step from the fit, without these rates.
    """
    tops = (cells.starts + cells.sizes - 1)[tried]
    design, rise = linearise(cells, fit.state, regressors, trend, rules)
    wider = replace(fit.variances, gamma=max(fit.variances.gamma, rules.gamma))
    own = error_variances(cells, rise, wider)[tops]
    variance = error_variances(cells, rise, fit.variances)
    variance[tops] = np.inf  # no part in the prediction
    products = cross_products(design, variance)
    spread = spreads(cells, fit.variances)
    solution = solve(design, products, spread)
    expected, error = predict(design, variance, spread, solution, tops, tried)
    excess: Array = (design.response[tops] - expected) / np.sqrt(error + own)
    return excess
