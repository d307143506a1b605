r"""Where the optimal learning rate is, how it scales, and whether it bends: one verdict per axis.

The curvature of an axis is the second derivative of ln(optimal learning rate) in the logarithm of that axis, in one
model with the slopes, the other curvature and the cross term, `experiments.joint.fit`. Verdict, the first that
applies:

- ``straight``: the 90 % interval lies inside :math:`\pm\delta`; the default 0.07 moves a tenfold extrapolation by 0.2
  in ln;
- ``bends-up``, ``bends-down``: the 95 % interval excludes 0;
- ``not-identifiable``: neither, or the curvature is not defined: an axis that is absent, has fewer than three values,
  has fewer than three values with an optimum inside its grid, or moves together with another one.

Exponents, :math:`d\ln\eta_*/d\ln(\text{axis})`, are those at the middle of the table: the mean of the logarithms over
cells. How batch size is treated: `experiments.bend.scaling_law`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from experiments.bend import alternatives
from experiments.bend.alternatives import Estimate
from experiments.bend.cells import Cell
from experiments.bend.mean_angle import EFFECTIVE_OPTIMIZERS, AngleOf, in_mean_angle
from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.bend.power import Power, power
from experiments.bend.scaling_law import AXES, Batch, Law, group_cells, joint_law, scatter_notes, values_inside, why_not
from experiments.joint.fit import JointFit
from experiments.joint.mixed_model import sums_by_cell
from experiments.joint.model import Cells, Variances
from experiments.joint.regressors import Regressors
from experiments.tables.reading import How, table_from_frame
from experiments.tables.run_table import Exclusion, RunTable
from theory import InvalidParameter
from theory.checks import require_number

if TYPE_CHECKING:
    import pandas as pd

DELTA = 0.07
LOPSIDED = 0.5  # split of the shape: a curvature three times that of the other side
NOISE_ALIKE = 2.0  # ratio of standard deviations that goes without a note


class Verdict(Enum):
    """Which way ln(optimal learning rate) curves."""

    STRAIGHT = "straight"
    BENDS_UP = "bends-up"
    BENDS_DOWN = "bends-down"
    NOT_IDENTIFIABLE = "not-identifiable"


@dataclass(frozen=True, kw_only=True)
class Exponent:
    """d ln(optimum)/d ln(axis) at ``at``; all None where not defined, with a reason."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    at: float | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """Second derivative, its 95 % and 90 % intervals, the verdict, and why if it is not-identifiable."""

    value: float | None
    low: float | None
    high: float | None
    low_90: float | None
    high_90: float | None
    verdict: Verdict
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class GroupFit:
    """What the runs of one group say, one optimizer's if nothing else was asked for.

    group : its name, None if there is one only. optimizer : of its runs, None if the table does not tell. batch : how
    batch size was treated. exponents : by axis and covariate.
    curvature, power : by axis. estimators : the same curvature by other means. variances : of the joint fit, None if
    there is none. shape : of the loss about the optimum, see `experiments.joint.loss_shape`. noise_ratio : residuals in
    the upper over those in the lower half of each axis. notes : in words, what was left out and what to beware of.
    effective : the same fit in mean angle, if asked for.
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
    effective: GroupFit | None = None


@dataclass(frozen=True, kw_only=True)
class BendFit:
    """All groups of a table. ``exclusions``: rows left out while reading, of ``num_rows``; ``notes``, ``warnings``: how
    it was read, and what looks wrong in it."""

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
) -> BendFit:
    """Fit every group of a table of runs.

    Parameters
    ----------
    table : columns ``learning_rate`` and ``loss`` (nats), optional ``num_params, num_tokens, batch_size, weight_decay,
        optimizer, seed``; others mapped by ``columns`` (ours to theirs) or given by ``constants``.
    axes : of the curvature, a subset of num_params, num_tokens, batch_size; those that the user named are added.
    delta : curvature that counts as straight, above 0.
    batch : see `experiments.bend.scaling_law`; None chooses.
    sensitivity : whether other estimators are run too.
    effective : how AdamW's learning rate makes an angle; the fit is then made in mean angle as well.

    Raises `InvalidParameter` and `experiments.files.BadInput`, one line each.
    """
    require_number("delta", delta, above=0)
    for axis in axes:
        if axis not in (*AXES, "batch_size"):
            raise InvalidParameter("axes", axis, f"among {', '.join((*AXES, 'batch_size'))}")
    if batch not in (None, "fixed", "co-tuned", "covariate"):
        raise InvalidParameter("batch", batch, "fixed, co-tuned or covariate")
    runs = table
    if not isinstance(runs, RunTable):
        runs = table_from_frame(runs, How(columns=columns or {}, constants=constants or {}))
    axes = (*axes, *runs.axes)
    groups = []
    for name, chosen in runs.groups():
        group = fit_group(chosen, name, axes, delta, batch, sensitivity)
        if effective is not None:
            group = _with_effective(group, chosen, effective, axes, delta, batch)
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
    group: GroupFit, runs: RunTable, effective: AngleOf, axes: tuple[str, ...], delta: float, batch: Batch | None
) -> GroupFit:
    if (group.optimizer or "adamw").lower() not in EFFECTIVE_OPTIMIZERS:
        return replace(group, notes=(*group.notes, f"no effective learning rate is known for {group.optimizer}"))
    turned = in_mean_angle(runs, effective, adamh=(group.optimizer or "").lower() == "adamh")
    return replace(group, effective=fit_group(turned, group.group, axes, delta, batch, False))


def fit_group(
    runs: RunTable, group: str | None, axes: tuple[str, ...], delta: float, batch: Batch | None, sensitivity: bool
) -> GroupFit:
    """Fit the runs of one group; see `fit_bend`."""
    cells, treated, notes = group_cells(runs, batch)
    law = joint_law(cells, axes, treated)
    usable, model, data, joint = law.usable, law.model, law.data, law.joint
    if usable and joint is None:
        notes.append("the losses do not determine the joint law: every cell stands alone")
    exponents: dict[str, Exponent] = {}
    curvature: dict[str, Curvature] = {}
    powers: dict[str, Power | None] = {}
    for axis in axes:
        exponents[axis], curvature[axis], powers[axis] = _axis(axis, runs, law, delta)
    if model is not None and joint is not None:
        for name in model.covariates:
            exponents[name] = _exponent(name, model, joint)
    others: tuple[Estimate, ...] = ()
    if sensitivity and model is not None and joint is not None and data is not None:
        others = alternatives.compare(usable, law.inside, data, model, joint)
    notes += _counts(cells, law.optima)
    notes += scatter_notes(law)
    ratios = _noise_ratios(usable, data, joint, axes) if data is not None and joint is not None else {}
    notes += [
        f"noise differs by a factor of {ratio:.2g} between the two halves of {axis}: a single noise level is assumed"
        for axis, ratio in ratios.items()
        if not 1 / NOISE_ALIKE < ratio < NOISE_ALIKE
    ]
    if joint is not None and abs(joint.shape[2]) > LOPSIDED:
        side = "above" if joint.shape[2] > 0 else "below"
        notes.append(f"the loss rises like a wall {side} the optimum: intervals of optima are too narrow for that")
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
    )


def _axis(axis: str, runs: RunTable, law: Law, delta: float) -> tuple[Exponent, Curvature, Power | None]:
    model, joint = law.model, law.joint
    reason = why_not(axis, runs, law)
    exponent = Exponent(reason=reason or "not defined")
    inside = values_inside(law, axis)
    if model is not None and joint is not None and axis in model.slopes and len(inside) > 1:
        exponent = _exponent(axis, model, joint)
    if model is None or joint is None or axis not in model.halves:
        return exponent, _unknown(reason or "the cells do not determine it"), None
    which = model.halves[axis]
    low, high = joint.interval(which, 0.95)
    low_90, high_90 = joint.interval(which, 0.90)
    if reason is not None:
        return exponent, _unknown(reason), None
    verdict = decide(low, high, low_90, high_90, delta)
    curvature = Curvature(
        value=joint.estimate(which),
        low=low,
        high=high,
        low_90=low_90,
        high_90=high_90,
        verdict=verdict,
        reason="the interval holds both 0 and more than delta" if verdict is Verdict.NOT_IDENTIFIABLE else None,
    )
    return exponent, curvature, power((high - low) / 2, (high_90 - low_90) / 2, delta, joint.log_error_variance(which))


def decide(low: float, high: float, low_90: float, high_90: float, delta: float) -> Verdict:
    """The rule, in its order; 95 % and 90 % intervals of the curvature."""
    if -delta < low_90 and high_90 < delta:
        return Verdict.STRAIGHT
    if low > 0:
        return Verdict.BENDS_UP
    if high < 0:
        return Verdict.BENDS_DOWN
    return Verdict.NOT_IDENTIFIABLE


def _exponent(axis: str, model: Regressors, joint: JointFit) -> Exponent:
    which = model.slopes[axis]
    low, high = joint.interval(which, 0.95)
    return Exponent(value=joint.estimate(which), low=low, high=high, at=model.centre[axis])


def _unknown(reason: str) -> Curvature:
    return Curvature(
        value=None, low=None, high=None, low_90=None, high_90=None, verdict=Verdict.NOT_IDENTIFIABLE, reason=reason
    )


def _noise_ratios(cells: Sequence[Cell], data: Cells, joint: JointFit, axes: Sequence[str]) -> dict[str, float]:
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


def _counts(cells: Sequence[Cell], optima: Sequence[CellOptimum]) -> list[str]:
    notes = []
    diverged, far = sum(c.num_diverged for c in cells), sum(c.num_out_of_reach for c in cells)
    if diverged:
        notes.append(f"{diverged} runs diverged (no finite loss, or 1 nat above the best of their cell)")
    if far:
        notes.append(f"{far} runs out of reach of the minimum (0.3 nats or a factor of 16 away)")
    past = sum(optimum.num_past_wall for optimum in optima)
    if past:
        notes.append(f"{past} runs past a wall: far above what the lower learning rates of their cells let expect")
    for status in OptimumStatus:
        number = sum(optimum.status is status for optimum in optima)
        if number and status is not OptimumStatus.INTERIOR:
            notes.append(f"{number} of {len(optima)} cells {status.value}")
    return notes
