r"""The law of one group's optima: its cells, the joint fit, and where in it something is not identified.

.. math::
   \ln\eta_* = \beta_0 + \beta_n n + \beta_d d + \tfrac12\beta_{nn} n^2 + \tfrac12\beta_{dd} d^2 + \beta_{nd} n d

with n, d the logarithms of model size and tokens about the middle of the table. Terms that the cells cannot carry are
left out (`experiments.joint.regressors`). Weight decay, if the table has several, is a covariate.

**Batch size.** ``fixed``: there is one, or it is not told. ``covariate``: there is a cell for each batch size, and
ln(batch) is a further regressor, so that the exponents hold at fixed batch. ``co-tuned``: each cell has the batch with
the lowest mean loss, so that the exponents hold with the batch tuned along. Unless asked for, a table with one batch
size is ``fixed``, one with several ``covariate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.bend.evidence.cells import Cell, make_cells, stack, usable_places
from experiments.bend.evidence.shapes import ShapedFit, Shapes, fit_shapes
from experiments.bend.interval import optimum_intervals
from experiments.bend.odd_cells import odd_cell, odd_cell_note
from experiments.bend.optimum import CellOptimum, OptimumStatus, judge_optimum, optimum_alone
from experiments.joint.fit import JointFit
from experiments.joint.model import StackedLosses
from experiments.joint.regressors import LEAST_VALUES, Regressors
from experiments.tables.run_table import RunTable
from experiments.text import counted
from theory import InvalidParameter

AXES = ("num_params", "num_tokens")
Batch = Literal["fixed", "co-tuned", "covariate"]
LARGE_SCATTER = 0.5  # of optima about the law, in ln


@dataclass(frozen=True, kw_only=True)
class ScalingLaw:
    """The law of one group's cells, and what every cell says by itself.

    cells, optima : all of them, in the same order. usable : those with two learning rates, if one has three, less the
    rates that `experiments.bend.evidence.shapes` leaves out; of them speak the following. inside : (num_usable,),
    whether the optimum lies inside its grid. data : their losses, stacked. model : the terms of the law, None without a
    usable cell. joint : the fit, None where the losses do not determine it; so is ``data``. shaped : the same fit, and
    how it chose shapes and rates.
    """

    cells: tuple[Cell, ...]
    optima: tuple[CellOptimum, ...]
    usable: tuple[Cell, ...]
    inside: tuple[bool, ...]
    data: StackedLosses | None
    model: Regressors | None
    joint: JointFit | None
    shaped: ShapedFit | None = None

    @property
    def shapes(self) -> Shapes | None:
        """Whether cells share a shape of the loss; None without a joint fit."""
        return self.shaped.shapes if self.shaped else None

    @property
    def has_both(self) -> bool:
        """Whether the cells determine a fit of either kind of shapes."""
        return self.shaped is not None and self.shaped.other is not None


def group_cells(runs: RunTable, batch: Batch | None) -> tuple[list[Cell], Batch, list[str]]:
    """The cells of one group's runs, how batch size is treated in them, and phrases about it.

    ``batch`` is what was asked for, None to choose. Raises `InvalidParameter` where it cannot be had.
    """
    notes: list[str] = []
    several = "batch_size" in runs.numbers and len(np.unique(runs.numbers["batch_size"])) > 1
    treated: Batch = batch or ("covariate" if several else "fixed")
    if several and treated == "fixed":
        shown = ", ".join(f"{value:g}" for value in np.unique(runs.numbers["batch_size"])[:5])
        raise InvalidParameter("batch", "fixed", f"covariate or co-tuned: the table has several batch sizes ({shown})")
    if treated != "fixed" and not several:
        notes.append(f"batch {treated} was asked for, but the table has no two batch sizes: treated as fixed")
        treated = "fixed"
    cells = make_cells(runs, runs.scales)
    if treated == "co-tuned":
        cells, dropped, at_edge = _best_batch(cells)
        rest = f"{counted(dropped, 'cell')} at other than the best batch size left out"
        notes.append(f"batch co-tuned: {rest if dropped else 'each setting has one batch size, which goes along'}")
        if at_edge:
            notes.append(
                f"the best batch stands at the edge of its grid in {at_edge} of {len(cells)} cells: a better one"
                " may lie beyond, add batch sizes there"
            )
    return cells, treated, notes


def fit_scaling_law(
    cells: Sequence[Cell],
    axes: Sequence[str],
    batch: Batch,
    *,
    compare: bool = False,
    straight: bool = False,
    shapes: Shapes | None = None,
) -> ScalingLaw:
    """Fit the law along ``axes`` to cells from `group_cells`, treated as ``batch`` says there.

    ``compare``: also one shape to every rate. ``straight``: without curvature along the axes, and without their
    product. ``shapes``: as in `experiments.bend.evidence.shapes`. Where the losses do not determine the law, every cell
    stands alone.
    """
    places = usable_places(cells)
    usable = [cells[place] for place in places]
    optima = [judge_optimum(cell, None) for cell in cells]
    model, data, joint, shaped = None, None, None, None
    if usable:
        model = Regressors.of([cell.key for cell in usable], axes, skip_batch=batch != "covariate", straight=straight)
        try:
            law, orders = model.precision, model.orders
            shaped = fit_shapes(
                usable, model.columns, model.trend, law=law, orders=orders, compare=compare, shapes=shapes
            )
            usable, joint = list(shaped.cells), shaped.fit
            data, tilt_freedom = stack(usable)
            intervals = optimum_intervals(usable, data, joint, tilt_freedom, further=shaped.further)
            found = [
                judge_optimum(cell, one, joint.variances.sigma, cells[place])
                for place, cell, one in zip(places, usable, intervals, strict=True)
            ]
        except np.linalg.LinAlgError:
            usable, data, joint, shaped = [cells[place] for place in places], None, None, None
            found = [optimum_alone(cell) if len(cell.x) >= 3 else judge_optimum(cell, None) for cell in usable]
        for place, one in zip(places, found, strict=True):
            optima[place] = one
    return ScalingLaw(
        cells=tuple(cells),
        optima=tuple(optima),
        usable=tuple(usable),
        inside=tuple(optima[place].status is OptimumStatus.INTERIOR for place in places),
        data=data,
        model=model,
        joint=joint,
        shaped=shaped if joint is not None else None,
    )


def scatter_notes(law: ScalingLaw) -> list[str]:
    """A phrase where one optimum lies far off the law of the others, or all of them so far that the table itself is in
    doubt."""
    if law.joint is None or law.model is None:
        return []
    places = np.flatnonzero(law.inside)
    straight = law.model.columns[np.ix_(places, law.model.orders < 2)]
    if (odd := odd_cell(straight, law.joint.optimum[places])) is not None:
        return [odd_cell_note([cell.key for cell in law.usable], places[odd[0]], odd[1])]
    if law.joint.variances.tau <= LARGE_SCATTER:
        return []
    factor = np.exp(law.joint.variances.tau)
    return [f"optima scatter by a factor of {factor:.2g} about the law: mixed units in a column, or another law"]


def ceiling_notes(law: ScalingLaw) -> list[str]:
    """A phrase where training breaks down in some cells while their loss still falls."""
    pairs = zip(law.cells, law.optima, strict=True)
    number = sum(cell.falls_to_ceiling and one.status is OptimumStatus.CENSORED_HIGH for cell, one in pairs)
    if not number:
        return []
    where = f"in {number} of {counted(len(law.cells), 'cell')} training diverged before the loss turned up"
    return [f"{where}, so that only a lower bound of the optimum is known"]


def values_inside(law: ScalingLaw, axis: str, *, pairs: bool = False) -> set[float]:
    """The values of an axis at which an optimum lies inside its grid; with ``pairs`` also those where by the law it
    lies between the two rates of a cell, or no farther outside than half their distance: there the difference of their
    losses, and the curvature that other cells have, tell where."""
    told = zip(
        law.usable, [one or (pairs and _between(law, place)) for place, one in enumerate(law.inside)], strict=True
    )
    return {cell.key[axis] for cell, inside in told if inside and axis in cell.key}


def _between(law: ScalingLaw, place: int) -> bool:
    x = law.usable[place].x
    if law.joint is None or len(x) != 2:
        return False
    return bool(abs(law.joint.optimum[place] - x.mean()) <= x[1] - x[0])


def why_not(axis: str, runs: RunTable, law: ScalingLaw, needed: int = LEAST_VALUES) -> str | None:
    """Why the curvature along an axis is not identified, None if it may be; with ``needed`` 2 the same of its slope, of
    which cells with two rates speak too."""
    if axis not in runs.numbers:
        return f"no column {axis}"
    values = len(np.unique(runs.numbers[axis]))
    if values < needed:
        return f"{values} distinct value{'s' if values > 1 else ''} of {axis}, {needed} are needed"
    if law.model is None:
        return "no cell has three usable learning rates"
    inside = values_inside(law, axis, pairs=needed < LEAST_VALUES)
    if len(inside) < needed:
        plural = "" if len(inside) == 1 else "s"
        return f"an optimum inside its grid at {len(inside)} value{plural} of {axis}, {needed} are needed"
    if axis in law.model.lost:
        return law.model.lost[axis] + _without_batch(axis, law)
    squared = f"{axis} squared"
    if needed >= LEAST_VALUES and squared in law.model.lost:
        return f"{squared}: {law.model.lost[squared]}"
    return None


def _without_batch(axis: str, law: ScalingLaw) -> str:
    """What to do where an axis is lost to a batch size that goes along with the other settings."""
    lost = law.model.lost if law.model is not None else {}
    others = {tuple((name, value) for name, value in cell.key.items() if name != "batch_size") for cell in law.cells}
    if axis == "batch_size" or lost.get("batch_size") != lost[axis] or len(others) < len(law.cells):
        return ""
    return "; --batch co-tuned lets the batch size go along"


def _best_batch(cells: Sequence[Cell]) -> tuple[list[Cell], int, int]:
    """The cells at their best batch size, how many others there were, and in how many the best is at an edge."""
    settings: dict[tuple[tuple[str, float], ...], list[Cell]] = {}
    for cell in cells:
        rest = tuple((name, value) for name, value in cell.key.items() if name != "batch_size")
        settings.setdefault(rest, []).append(cell)
    best, at_edge = [], 0
    for group in settings.values():
        chosen = min(group, key=lambda cell: cell.best_loss if np.isfinite(cell.best_loss) else np.inf)
        sizes = [cell.key["batch_size"] for cell in group]
        at_edge += len(group) > 1 and chosen.key["batch_size"] in (min(sizes), max(sizes))
        best.append(chosen)
    return best, len(cells) - len(best), at_edge
