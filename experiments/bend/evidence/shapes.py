r"""One shape of the loss for all cells, or a shape for each: which of the two a table's losses allow.

- ``shared``: all rates but those past a wall (`experiments.bend.evidence.walls`), one shape. Efficient where it holds.
- ``own``: the rates near the best of each cell (`experiments.bend.evidence.windows`), a skew of its own for each, of
  standard deviation 1.5 about one that follows the scales, 0 +- 0.5 per unit of ln, and a shared split held closer to
  0. Where curves differ from cell to cell, a kink here and none there, the first puts the difference into the law, and
  calls a good rate a wall.

**What more cells do not average away.** A kink within the window moves the minimum of what is fitted down, one near its
upper end up, one beyond it not at all. So where kinks go with the budget optima seem to bend, and all cells of a budget
agree on it. What a term of third order adds to the minimum of a parabola goes with the squared width of the window, and
so does this bias: -.0035 to -.0055 of it, as a curvature along tokens, on sweeps of four batch sizes at noises of
.0015, .003 and .006 nats and factors of 1.19, 1.41 and 2, whatever the spacing. Errors of that size are added to those
of the coefficients (`WIDE`), or, if they are larger, as at a factor of 2, errors in proportion to the squared spacing
(`COARSE`), and one in proportion to the spacing to each optimum (`COARSE_OPTIMUM`), both of a size found on kinked
sweeps.

**Choice.** Shapes are shared where most cells have three rates, and elsewhere unless

1. the two laws differ beyond the error of the second, that of the windows with it, :math:`\Delta^\top C_2^{-1}\Delta`
   above the 98 % point of :math:`\chi^2` with as many degrees of freedom as coefficients (Hausman 1978, without the
   smaller covariance, so that it errs to sharing), or
2. the misfit in proportion to the rise, :math:`\gamma`, is above 0.05, and the restricted deviance would grow by more
   than 5 without it: at high noise a :math:`\gamma` of 0.1 comes by chance, or
3. the restricted deviance falls by more than 3 if every cell has a skew of its own
   (`experiments.joint.fit.lean_evidence`): where optima scatter, kinks hide in the scatter from the first two, or
4. it falls by more than 4 if the skew follows the scales (`experiments.joint.fit.skew_trend_evidence`), of nine cells
   or more: kinks that go with the budget, and leave cells of one budget alike, or
5. the fitted split is above 0.5: the shape stretches to a wall, and optima move along, or
6. a shared optimum lies farther from the best rate of its cell than the neighbour, and noise does not explain it, or
   past the first rate that was left out as past a wall, or
7. of 15 % of the cells, two at least, and 30 % of those that have a wall, the rate right above the best one is taken
   for it: nothing is left there for the shared shape to be seen wrong by. Walls that are real, and grids that fall as
   they will about the optimum, make fewer.

By all reasons 23 of 700 made sweeps whose cells share a smooth shape are taken for shapes of their own, most of them of
nine cells, and 638 of 700 with kinks: 84 % of nine cells, 94 % of seventeen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from experiments.bend.evidence.cells import Cell, stack
from experiments.bend.evidence.walls import without_walls
from experiments.bend.evidence.windows import near_the_best, rough_noise
from experiments.joint.averages import Averages
from experiments.joint.fit import JointFit, fit_jointly, lean_evidence, misfit_evidence, skew_trend_evidence
from experiments.joint.model import Priors

Array = NDArray[np.float64]
Shapes = Literal["shared", "own"]

OWN = Priors(lean=1.5, skew_trend=0.5, skew=(1.0, 0.7), split=(0.0, 0.2))
FEWEST_CELLS = 3  # below, there are no differences of shape to speak of
FEWEST_RATES = 4  # of most cells: through three any shape goes, and a lean of its own passes for another optimum
BY_CHANCE = 0.02  # level at which the two laws differ
LARGEST_MISFIT = 0.05  # per rise
LARGEST_SPLIT = 0.5  # a curvature three times that of the other side
MISFIT_EVIDENCE = 5.0  # of restricted deviance
LEAN_EVIDENCE = 3.0
TREND_EVIDENCE = 4.0
ENOUGH_FOR_TRENDS = 9  # cells: of few without noise, small differences of shape would pass for a trend
NEXT_TO_WALLS = 0.15, 0.3  # share of the cells, and of those with a wall
WIDE = (0.0, 0.002, 0.005)  # error of level, slopes and second derivatives over the squared width of the windows, in ln
COARSE = (0.0, 0.04, 0.1)  # the same over the squared spacing of the grids
COARSE_OPTIMUM = 0.12  # of one cell's optimum over the spacing
UNEXPLAINED = 4.0  # standard deviations of the difference of two losses
AS_ASKED = "as asked for"


@dataclass(frozen=True, kw_only=True)
class ShapedFit:
    """The cells as they were fitted, the fit, whether each has a shape of its own, and why, None if not; ``other``:
    the fit of the other kind, None where it does not exist; ``whole``: that of one shape to every rate; ``further``:
    standard deviation in ln that the grid adds to an optimum."""

    cells: tuple[Cell, ...]
    fit: JointFit
    reason: str | None
    other: JointFit | None
    whole: JointFit | None
    further: float = 0.0

    @property
    def shapes(self) -> Shapes:
        return "shared" if self.reason is None else "own"


def fit_shapes(
    cells: Sequence[Cell],
    regressors: Array,
    trend: Array,
    *,
    law: Array | None = None,
    orders: NDArray[np.int64] | None = None,
    tau: float | None = None,
    compare: bool = False,
    shapes: Shapes | None = None,
) -> ShapedFit:
    """Fit a table's cells by the rule above, or with the ``shapes`` that were asked for, where cells can have them.

    ``regressors``, ``trend``, ``tau`` as in `fit_jointly`, ``law`` as in `Priors`; ``orders`` (num_regressors,): of the
    derivatives that the coefficients are, 0 to 2, needed from three cells on; ``compare``: whether ``whole`` is wanted.
    Raises ``numpy.linalg.LinAlgError`` where the regressors are not identified.
    """
    rules, apart = Priors(law=law), replace(OWN, law=law)
    shared = without_walls(cells, regressors, trend, tau, rules)
    one = fit_jointly(stack(shared)[0], regressors, trend, priors=rules, tau=tau)
    if len(cells) < FEWEST_CELLS:
        return ShapedFit(cells=tuple(shared), fit=one, reason=None, other=None, whole=None)
    whole = None
    if compare:
        uncut = all(len(cell.x) == len(kept.x) for cell, kept in zip(cells, shared, strict=True))
        whole = one if uncut else fit_jointly(stack(cells)[0], regressors, trend, priors=rules, tau=tau, start=one)
    if np.median([len(cell.x) for cell in cells]) < FEWEST_RATES:
        return ShapedFit(cells=tuple(shared), fit=one, reason=None, other=None, whole=whole)
    near = near_the_best(cells)
    try:
        each = fit_jointly(stack(near)[0], regressors, trend, priors=apart, tau=tau)
    except np.linalg.LinAlgError:
        return ShapedFit(cells=tuple(shared), fit=one, reason=None, other=None, whole=whole)
    order = np.zeros(regressors.shape[1], int) if orders is None else orders
    width, spacing = float(np.median([cell.x[-1] - cell.x[0] for cell in near])), _spacing(near)
    each = _widened(each, np.maximum(np.take(WIDE, order) * width**2, np.take(COARSE, order) * spacing**2))
    asked = {"shared": None, "own": AS_ASKED}
    reason = asked[shapes] if shapes else _why_apart(cells, shared, one, each, regressors, trend, rules, tau)
    if reason is None:
        return ShapedFit(cells=tuple(shared), fit=one, reason=None, other=each, whole=whole)
    own, further = tuple(near), COARSE_OPTIMUM * spacing
    return ShapedFit(cells=own, fit=each, reason=reason, other=one, whole=whole, further=further)


def _why_apart(
    cells: Sequence[Cell],
    shared: Sequence[Cell],
    one: JointFit,
    each: JointFit,
    regressors: Array,
    trend: Array,
    rules: Priors,
    tau: float | None,
) -> str | None:
    """The first reason for shapes of their own that holds, None without one. ``one``: the fit of one shape to the
    ``shared`` cells; ``each``: that of shapes of their own."""
    reason = _laws_differ(one, each)
    if reason is None and one.variances.gamma > LARGEST_MISFIT:
        evidence = misfit_evidence(stack(shared)[0], one, regressors, trend, rules, tau)
        misses = f"one shape misses losses by {100 * one.variances.gamma:.2g} % of their rise"
        reason = misses if evidence > MISFIT_EVIDENCE else None
    if reason is None and lean_evidence(stack(shared)[0], one, regressors, trend, rules, tau) > LEAN_EVIDENCE:
        reason = "a skew of each cell's own explains the losses better than a shared one"
    if reason is None and len(cells) >= ENOUGH_FOR_TRENDS:
        evidence = skew_trend_evidence(stack(shared)[0], one, regressors, trend, rules, tau)
        follows = "a skew that goes with the scales explains the losses better than a shared one"
        reason = follows if evidence > TREND_EVIDENCE else None
    if reason is None and abs(one.shape[2]) > LARGEST_SPLIT:
        reason = f"one shape would rise like a wall {'above' if one.shape[2] > 0 else 'below'} the optimum"
    return reason or (
        _optima_beyond_neighbours(shared, one) or _optima_past_walls(shared, one) or _best_next_to_walls(shared)
    )


def _spacing(cells: Sequence[Cell]) -> float:
    """Median distance of neighbouring rates in ln."""
    return float(np.median(np.concatenate([np.diff(cell.x) for cell in cells])))


def _widened(fit: JointFit, errors: Array) -> JointFit:
    """The fit with independent errors (num_regressors,) added to those of its coefficients."""
    p = len(errors)

    def widened(averages: Averages) -> Averages:
        covariances = averages.covariances.copy()
        covariances[:, :p, :p] += np.diag(errors**2)
        return replace(averages, covariances=covariances)

    known, averages = widened(fit.known), widened(fit.averages)
    return replace(fit, covariance=fit.covariance + np.diag(errors**2), known=known, averages=averages)


def _laws_differ(one: JointFit, each: JointFit) -> str | None:
    apart = one.coefficients - each.coefficients
    distance = float(apart @ np.linalg.solve(each.covariance, apart))
    differ = distance > chdtri(len(apart), BY_CHANCE)
    return "the law by one shape differs from that near the best rates" if differ else None


def _optima_beyond_neighbours(cells: Sequence[Cell], one: JointFit) -> str | None:
    noise = max(rough_noise(cells), one.variances.sigma)
    off = sum(not beside_the_best(cell, float(best), noise) for cell, best in zip(cells, one.optimum, strict=True))
    return f"one shape puts {off} optima beyond the neighbours of the best rates" if off else None


def _optima_past_walls(cells: Sequence[Cell], one: JointFit) -> str | None:
    off = sum(cell.num_past_wall > 0 and best > cell.closed_at for cell, best in zip(cells, one.optimum, strict=True))
    return f"one shape puts {off} optima past walls" if off else None


def _best_next_to_walls(cells: Sequence[Cell]) -> str | None:
    walled = [cell for cell in cells if cell.num_past_wall > 0]
    number = sum(int(np.argmin(cell.loss)) == len(cell.loss) - 1 for cell in walled)
    if number < max(2, NEXT_TO_WALLS[0] * len(cells), NEXT_TO_WALLS[1] * len(walled)):
        return None
    return f"the rates right above the best ones of {number} of {len(cells)} cells would be walls"


def beside_the_best(cell: Cell, optimum: float, noise: float) -> bool:
    """Whether an optimum, ln, is as near to the best rate as its neighbours, or noise explains that it is not."""
    best = int(np.argmin(cell.loss))
    if cell.x[max(best - 1, 0)] <= optimum <= cell.x[min(best + 1, len(cell.x) - 1)]:
        return True
    if best in (0, len(cell.x) - 1):
        return True
    nearest = int(np.argmin(np.abs(cell.x - optimum)))
    error = noise * np.sqrt(1 / cell.count[nearest] + 1 / cell.count[best])
    return bool(cell.loss[nearest] - cell.loss[best] <= UNEXPLAINED * error)
