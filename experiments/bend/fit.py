r"""A table of runs to what it says of every group: optima, exponents, and whether the law bends.

The curvature of an axis is the second derivative of :math:`\ln\eta_*` in the logarithm of that axis, in one model with
the slopes, the other curvature and the cross term (`experiments.joint.fit`). The verdict on it is that of
`experiments.bend.verdict`. Where the curvature is not defined it is ``not-identifiable`` too, with the reason: an axis
that is absent, has fewer than three values, has fewer than three values with an optimum inside its grid, or moves
together with another one.

Exponents, :math:`d\ln\eta_*/d\ln(\text{axis})`, are those at the middle of the table: the mean of the logarithms over
cells. How batch size is treated: `experiments.bend.scaling_law`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from experiments.bend.alternatives import Estimate, other_estimates
from experiments.bend.evidence.cells import Cell, usable_places
from experiments.bend.evidence.shapes import AS_ASKED, Shapes
from experiments.bend.exponents import BatchExponents, batch_notes, by_batch, exponent_of, together_notes
from experiments.bend.low_runs import low_run_notes
from experiments.bend.mean_angle import EFFECTIVE_OPTIMIZERS, AngleOf, in_mean_angle
from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.bend.power import Power, power
from experiments.bend.scaling_law import (
    AXES,
    Batch,
    ScalingLaw,
    ceiling_notes,
    fit_scaling_law,
    group_cells,
    scatter_notes,
    why_not,
)
from experiments.bend.verdict import Curvature, Exponent, curvature_of
from experiments.joint.fit import JointFit
from experiments.joint.mixed_model import sums_by_cell
from experiments.joint.model import StackedLosses, Variances
from experiments.tables.reading import How, table_from_frame
from experiments.tables.run_table import Exclusion, RunTable
from experiments.text import counted
from theory import InvalidParameter
from theory.bend import DELTA
from theory.checks import require_delta

if TYPE_CHECKING:
    import pandas as pd

NOISE_ALIKE = 2.0  # ratio of standard deviations that goes without a note


@dataclass(frozen=True, kw_only=True)
class GroupFit:
    """What the runs of one group say; a group is one optimizer unless something else was asked for.

    group : its name, None if there is one only. optimizer : that of its runs, None if the table does not tell. batch :
    how batch size was treated. cells : the optimum of every cell. exponents : by axis and covariate. curvature : by
    axis. power : by axis, None where there is no curvature. estimators : the same curvature by other means, the
    declared one first. variances : those of the joint fit, None if there is none. shape : of the loss about the
    optimum, by the names of `experiments.joint.loss_shape`. noise_ratio : by axis, the residuals in its upper half over
    those in its lower. notes : phrases, what was left out and what to beware of. effective : the same fit in mean
    angle, if it was asked for. exponents_by_batch : of the axes at each batch size, where the law has their products
    with it.
    """

    group: str | None
    optimizer: str | None
    batch: Batch
    cells: tuple[CellOptimum, ...]
    exponents: Mapping[str, Exponent]
    curvature: Mapping[str, Curvature]
    power: Mapping[str, Power | None]
    estimators: tuple[Estimate, ...]
    variances: Variances | None
    shape: Mapping[str, float] | None
    noise_ratio: Mapping[str, float]
    notes: tuple[str, ...]
    law: ScalingLaw
    effective: GroupFit | None = None
    exponents_by_batch: tuple[BatchExponents, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BendFit:
    """What a table says. groups : every group of it. delta : that of the verdicts. num_rows : rows of the source.
    exclusions : rows left out while it was read. notes, warnings : how it was read, and what looks wrong in it."""

    groups: tuple[GroupFit, ...]
    delta: float
    num_rows: int
    exclusions: tuple[Exclusion, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def fit_bend(
    table: pd.DataFrame | RunTable,
    *,
    axes: Sequence[str] = AXES,
    delta: float = DELTA,
    batch: Batch | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, float | str] | None = None,
    sensitivity: bool = True,
    effective: AngleOf | None = None,
    straight: bool = False,
    shapes: Shapes | None = None,
) -> BendFit:
    """Fit every group of a table of runs.

    Parameters
    ----------
    table : of runs, one a row. It has columns ``learning_rate`` and ``loss`` (nats, NaN where a run diverged), and any
        of ``num_params, num_tokens, batch_size, weight_decay, optimizer, seed``.
    axes : along which a curvature is asked for, a subset of num_params, num_tokens, batch_size. Those that a `RunTable`
        names itself are added.
    delta : curvature that counts as straight, above 0.
    batch : how batch size is treated, see `experiments.bend.scaling_law`; None chooses.
    columns, constants : our names to those of the table, and our names to the one value of a column that it lacks.
    sensitivity : whether other estimators are run too.
    effective : how AdamW's learning rate makes an angle; the fit is then made in mean angle as well.
    straight : whether no curvature is fitted and the law is taken to be straight.
    shapes : one shape of the loss for all cells of a group, or a shape for each; None lets the losses of each group
        choose (`experiments.bend.evidence.shapes`). Groups that are to be compared are better read alike.

    Raises `InvalidParameter` and `experiments.files.BadInput`, one line each.

    Nine cells of five learning rates, whose optimum bends up along num_params with a curvature of 0.2:

    >>> rows = []
    >>> for n in np.log([0.1, 1, 10]):
    ...     for d in np.log([0.1, 1, 10]):
    ...         best = 0.003 * np.exp(-0.3 * n + 0.2 * n**2 / 2 - 0.1 * d)
    ...         for rate in best * 2.0 ** np.arange(-2, 3):
    ...             loss = 3 - 0.1 * n - 0.1 * d + 0.05 * np.log(rate / best) ** 2
    ...             rows.append({"num_params": 1e8 * np.exp(n), "num_tokens": 1e10 * np.exp(d),
    ...                          "learning_rate": rate, "loss": loss})
    >>> import pandas as pd
    >>> (group,) = fit_bend(pd.DataFrame(rows), sensitivity=False).groups
    >>> for axis, bend in group.curvature.items():
    ...     print(axis, f"{group.exponents[axis].value:.2f}", f"{abs(bend.value):.2f}", bend.verdict.value)
    num_params -0.30 0.20 bends-up
    num_tokens -0.10 0.00 straight
    """
    require_delta(delta)
    for axis in axes:
        if axis not in (*AXES, "batch_size"):
            raise InvalidParameter("axes", axis, f"among {', '.join((*AXES, 'batch_size'))}")
    if batch not in (None, "fixed", "co-tuned", "covariate"):
        raise InvalidParameter("batch", batch, "fixed, co-tuned or covariate")
    if shapes not in (None, "shared", "own"):
        raise InvalidParameter("shapes", shapes, "shared or own")
    runs = table
    if not isinstance(runs, RunTable):
        runs = table_from_frame(runs, How(columns=columns or {}, constants=constants or {}))
    axes = (*axes, *runs.axes)
    groups = []
    for name, chosen in runs.groups():
        group = fit_group(chosen, name, axes, delta, batch, sensitivity, straight, shapes)
        if effective is not None:
            group = _with_effective(group, chosen, effective, axes, delta, batch, straight, shapes)
        groups.append(group)
    return BendFit(
        groups=tuple(groups),
        delta=delta,
        num_rows=runs.num_rows,
        exclusions=runs.exclusions,
        notes=runs.notes,
        warnings=runs.warnings,
    )


def _with_effective(
    group: GroupFit,
    runs: RunTable,
    effective: AngleOf,
    axes: tuple[str, ...],
    delta: float,
    batch: Batch | None,
    straight: bool,
    shapes: Shapes | None,
) -> GroupFit:
    if (group.optimizer or "adamw").lower() not in EFFECTIVE_OPTIMIZERS:
        return replace(group, notes=(*group.notes, f"no effective learning rate is known for {group.optimizer}"))
    turned = in_mean_angle(runs, effective, adamh=(group.optimizer or "").lower() == "adamh")
    return replace(group, effective=fit_group(turned, group.group, axes, delta, batch, False, straight, shapes))


def fit_group(
    runs: RunTable,
    group: str | None,
    axes: tuple[str, ...],
    delta: float,
    batch: Batch | None,
    sensitivity: bool,
    straight: bool = False,
    shapes: Shapes | None = None,
) -> GroupFit:
    """Fit the runs of one group; see `fit_bend`."""
    cells, treated, notes = group_cells(runs, batch)
    law = fit_scaling_law(cells, axes, treated, compare=sensitivity, straight=straight, shapes=shapes)
    usable, model, data, joint = law.usable, law.model, law.data, law.joint
    if straight:
        notes.append("assumed: the law is straight, as asked for; exponents and optima hold under that assumption")
    if shapes == "shared" and law.has_both:
        notes.append(f"one shape for all cells, {AS_ASKED}")
    if shapes == "own" and law.shapes == "shared":
        notes.append(
            "shapes of their own were asked for, but these cells do not determine them (three cells, most of them with"
            " four learning rates, are needed): one shape for all"
        )
    if usable and joint is None:
        notes.append("the losses do not determine the joint law: every cell stands alone")
    exponents: dict[str, Exponent] = {}
    curvature: dict[str, Curvature] = {}
    powers: dict[str, Power | None] = {}
    for axis in axes:
        exponents[axis], curvature[axis], powers[axis] = _axis(axis, runs, law, delta)
    if model is not None and joint is not None:
        for covariate in model.covariates:
            exponents[covariate] = exponent_of(covariate, model, joint)
        notes += together_notes(model, joint)
    at_batch: tuple[BatchExponents, ...] = ()
    if model is not None and joint is not None and "batch_size" in model.covariates:
        at_batch = tuple(by_batch(usable, model, joint, axes))
        notes += batch_notes(usable, model, joint, axes)
    others: tuple[Estimate, ...] = ()
    if sensitivity and model is not None and data is not None and law.shaped is not None:
        others = other_estimates(usable, law.inside, data, model, law.shaped)
    notes += _counts(law, len(runs), told=bool(others and others[0].curvature))
    notes += ceiling_notes(law)
    notes += scatter_notes(law)
    notes += low_run_notes(runs, cells)
    ratios = _noise_ratios(usable, data, joint, axes) if data is not None and joint is not None else {}
    notes += [
        f"noise differs by a factor of {ratio:.2g} between the two halves of {axis}: a single noise level is assumed"
        for axis, ratio in ratios.items()
        if not 1 / NOISE_ALIKE < ratio < NOISE_ALIKE
    ]
    return GroupFit(
        group=group,
        optimizer=runs.optimizer,
        batch=treated,
        cells=law.optima,
        exponents=exponents,
        curvature=curvature,
        power=powers,
        estimators=others,
        variances=joint.variances if joint else None,
        shape=dict(zip(("skew", "growth", "split"), map(float, joint.shape), strict=True)) if joint else None,
        noise_ratio=ratios,
        notes=tuple(notes),
        law=law,
        exponents_by_batch=at_batch,
    )


def _axis(axis: str, runs: RunTable, law: ScalingLaw, delta: float) -> tuple[Exponent, Curvature, Power | None]:
    """What the law says along one axis."""
    model, joint = law.model, law.joint
    reason = why_not(axis, runs, law)
    no_slope = why_not(axis, runs, law, needed=2)
    exponent = Exponent(reason=no_slope or "the cells do not determine it")
    if model is not None and joint is not None and axis in model.slopes and no_slope is None:
        exponent = exponent_of(axis, model, joint)
    if model is None or joint is None or axis not in model.halves:
        return exponent, Curvature(reason=reason or "the cells do not determine it"), None
    if reason is not None:
        return exponent, Curvature(reason=reason), None
    which, known = model.halves[axis], joint.known
    interval, interval_90 = known.interval(which, 0.95), known.interval(which, 0.90)
    curvature = curvature_of(known.estimate(which), interval, interval_90, delta)
    half, half_90 = ((high - low) / 2 for low, high in (interval, interval_90))
    return exponent, curvature, power(half, half_90, delta, known.log_error_variance(which))


def _noise_ratios(cells: Sequence[Cell], data: StackedLosses, joint: JointFit, axes: Sequence[str]) -> dict[str, float]:
    """Root mean square residual of the cells above the middle of an axis over that of the cells below."""
    squares = sums_by_cell(joint.residuals**2, data.starts)
    ratios = {}
    for axis in axes:
        values = np.log([cell.key.get(axis, 1.0) for cell in cells])
        middle = (values.min() + values.max()) / 2
        parts = [
            squares[side].sum() / data.sizes[side].sum() for side in (values > middle, values < middle) if side.any()
        ]
        if len(parts) == 2 and parts[1] > 0:
            ratios[axis] = float(np.sqrt(parts[0] / parts[1]))
    return ratios


def _counts(law: ScalingLaw, num_runs: int, told: bool) -> list[str]:
    """How many of a group's runs are in its fit, and why the others are not; ``told``: whether other estimators are."""
    cells, optima = law.cells, law.optima
    notes = []
    fitted = int(sum(cell.count.sum() for cell in law.usable))
    if law.joint is not None and fitted < num_runs:
        notes.append(f"{fitted} of {counted(num_runs, 'run')} in the fit")
    if law.shaped is not None and law.shaped.reason is not None:
        places = usable_places(cells)
        near = sum(len(cells[place].x) for place in places) - sum(len(cell.x) for cell in law.usable)
        whole = "; with none left out: the second row of the estimators" if told else ""
        asked = law.shaped.reason == AS_ASKED
        apart = f"a shape for each cell, {AS_ASKED}" if asked else f"cells differ in shape ({law.shaped.reason})"
        notes.append(
            f"{apart}: each fitted near its best rate with a shape of its own"
            + f", {counted(near, 'learning rate')} farther away left out (left_out names them{whole})" * bool(near)
        )
    for cell in cells:
        where = ", ".join(f"{name} {value:.4g}" for name, value in cell.key.items())
        notes += [
            f"left out as no part of its cell: the run of loss {loss:.5g} at learning rate {rate:.4g}"
            + (f", {where}" if where else "")
            for rate, loss in cell.odd
        ]
    diverged, far = sum(c.num_diverged for c in cells), sum(c.num_out_of_reach for c in cells)
    if diverged:
        notes.append(f"{counted(diverged, 'run')} lost: diverged (no finite loss), or 1 nat above the best of the cell")
    if far:
        notes.append(
            f"{counted(far, 'run')} left out: more than 0.3 nats or a factor of 16 in rate from the best of the cell"
        )
    past = sum(optimum.num_past_wall for optimum in optima)
    if past:
        notes.append(f"{counted(past, 'run')} past a wall: far above what lower learning rates of the cell let expect")
    for status in OptimumStatus:
        number = sum(optimum.status is status for optimum in optima)
        if number and status is not OptimumStatus.INTERIOR:
            notes.append(f"{number} of {counted(len(optima), 'cell')} {status.value}")
    return notes
