r"""The same curvature by other estimators: how far the answer depends on the way it was asked for.

None of these decides a verdict. The regressions take one optimum per interior cell and the same regressors as the joint
fit, by least squares, with t intervals from the scatter of the cells about the law:

- *grid argmin*: the best learning rate as it stands in the table;
- *parabolas*: a parabola of its own for every cell, weighted by its standard error and the scatter (method of moments);
- *cubics*: a cubic for every cell with five learning rates.

The others are the joint estimator with one thing changed: no rate left out; the other way with shapes
(`experiments.bend.evidence.shapes`); parabolic shape; one curvature for all cells; no scatter of
cells; without the censored cells; leaving out one cell at a time, one linear step from the fit, a range and no
interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from experiments.bend.evidence.cells import Cell, stack
from experiments.bend.evidence.shapes import ShapedFit
from experiments.joint.fit import JointFit, fit_jointly
from experiments.joint.model import Priors, StackedLosses
from experiments.joint.regression import power_columns, regress, regress_each
from experiments.joint.regressors import Regressors

Array = NDArray[np.float64]
Located = tuple[Array, Array]  # optimum in ln(learning rate) and its standard error by cell, NaN where there is none

PARABOLA = Priors(skew=(0.0, 1e-3), growth=(0.0, 1e-3), split=(0.0, 1e-3))
ONE_CURVATURE = Priors(omega=(0.02, 1e-2))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The curvatures by one estimator.

    name : of the estimator. curvature : by axis, (value, low, high) at 95 %, all None where it has none. num_cells :
    those that it used. note : why it failed, or what low and high are if no interval; None otherwise.
    """

    name: str
    curvature: Mapping[str, tuple[float | None, float | None, float | None]]
    num_cells: int
    note: str | None = None


def other_estimates(
    cells: Sequence[Cell], inside: Sequence[bool], data: StackedLosses, model: Regressors, shaped: ShapedFit
) -> tuple[Estimate, ...]:
    """All of them on the cells of one group; the declared one comes first.

    ``inside`` (num_cells,) says whether a cell's optimum lies inside its grid; ``data`` are the cells stacked,
    ``model`` the terms of the law, ``shaped`` the declared fit, and how it chose its shapes.
    """
    joint = shaped.fit
    begin = joint if shaped.reason is None else None  # shapes of their own have more terms than these have
    interior = np.array(inside)
    everything = np.ones(len(cells), bool)
    changed: list[tuple[str, Callable[[], JointFit], NDArray[np.bool_]]] = [
        ("joint, parabolic shape", lambda: _refit(data, model, PARABOLA, begin), everything),
        ("joint, one curvature for all", lambda: _refit(data, model, ONE_CURVATURE, begin), everything),
        ("joint, no scatter of cells", lambda: _refit(data, model, Priors(), begin, tau=0.0), everything),
    ]
    if not interior.all():
        changed.append(("joint, censored cells left out", lambda: _subset(cells, model, interior), interior))
    kinds = ("joint, one shape, walls left out", "joint, a shape for each cell, near its best rate")
    other = kinds[shaped.reason is None]
    return (
        Estimate(name="joint (declared)", curvature=_curvatures(joint, model), num_cells=len(cells)),
        _found("joint, one shape, no rate left out", shaped.whole, model, len(cells)),
        _found(other, shaped.other, model, len(cells)),
        *(_tried(name, fit, model, int(used.sum())) for name, fit, used in changed),
        _regression("separate parabolas, weighted", cells, interior, model, _minima(2), weighted=True),
        _regression("separate cubics", cells, interior, model, _minima(3), weighted=False),
        _regression("grid argmin", cells, interior, model, _best_rates, weighted=False),
        _leave_one_out(joint, model),
    )


def _refit(
    data: StackedLosses, model: Regressors, priors: Priors, begin: JointFit | None, tau: float | None = None
) -> JointFit:
    """Under other priors, begun at a fit of the same terms."""
    rules = replace(priors, law=model.precision)
    return fit_jointly(data, model.columns, model.trend, priors=rules, tau=tau, start=begin)


def _subset(cells: Sequence[Cell], model: Regressors, chosen: NDArray[np.bool_]) -> JointFit:
    columns = model.columns[chosen]
    if len(columns) < columns.shape[1] or np.linalg.matrix_rank(columns) < columns.shape[1]:
        raise np.linalg.LinAlgError
    data, _ = stack([cell for cell, use in zip(cells, chosen, strict=True) if use])
    return fit_jointly(data, columns, model.trend[chosen], priors=Priors(law=model.precision))


def _tried(name: str, fit: Callable[[], JointFit], model: Regressors, num_cells: int) -> Estimate:
    try:
        return Estimate(name=name, curvature=_curvatures(fit(), model), num_cells=num_cells)
    except np.linalg.LinAlgError:
        return _failed(name, model, num_cells)


def _found(name: str, fit: JointFit | None, model: Regressors, num_cells: int) -> Estimate:
    if fit is None:
        return _failed(name, model, num_cells)
    return Estimate(name=name, curvature=_curvatures(fit, model), num_cells=num_cells)


def _failed(name: str, model: Regressors, num_cells: int) -> Estimate:
    nothing = dict.fromkeys(model.halves, (None, None, None))
    return Estimate(name=name, curvature=nothing, num_cells=num_cells, note="too few cells for the law")


def _curvatures(fit: JointFit, model: Regressors) -> dict[str, tuple[float | None, float | None, float | None]]:
    known = fit.known
    return {axis: (known.estimate(which), *known.interval(which, 0.95)) for axis, which in model.halves.items()}


def _best_rates(cells: Sequence[Cell]) -> Located:
    """The best learning rate of each cell, as it stands in the table."""
    return np.array([np.log(cell.best_rate) for cell in cells]), np.zeros(len(cells))


def _minima(degree: int) -> Callable[[Sequence[Cell]], Located]:
    """Minima and standard errors of polynomials through the losses of each cell."""

    def located(cells: Sequence[Cell]) -> Located:
        optimum, error = np.full(len(cells), np.nan), np.full(len(cells), np.nan)
        sizes = np.array([len(cell.x) for cell in cells])
        for size in np.unique(sizes[sizes >= degree + 2]):
            places = np.flatnonzero(sizes == size)
            x, loss, count = (
                np.stack([getattr(cells[place], name) for place in places.tolist()]) for name in ("x", "loss", "count")
            )
            optimum[places], error[places] = _minimum(x, loss, count, degree)
        return optimum, error

    return located


def _minimum(x: Array, loss: Array, count: Array, degree: int) -> Located:
    """Those of cells with as many rates; degree 2 or 3, arrays (num_cells, num_points)."""
    middle = x.mean(axis=1)
    coefficients, cross, spread = regress_each(power_columns(x - middle[:, None], degree), loss, count)
    third, square, slope = np.pad(coefficients, ((0, 0), (3 - degree, 0)))[:, :3].T
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = np.sqrt(square**2 - 3 * third * slope)
        # of the two roots of the derivative that where it rises, by the form that loses no digits
        root = np.where(square > 0, -slope / (square + reach), (reach - square) / (3 * third))
        inside = (reach > 0) & (x[:, 0] <= root + middle) & (root + middle <= x[:, -1])
        # of the root in the coefficients, by the derivative of the slope at it
        powers = np.arange(degree, -1, -1)
        gradient = powers * root[:, None] ** np.maximum(powers - 1, 0) / (2 * reach[:, None])
    error = np.sqrt(np.einsum("np,npq,nq->n", gradient, cross, gradient) * spread)
    return np.where(inside, root + middle, np.nan), error


def _regression(
    name: str,
    cells: Sequence[Cell],
    interior: NDArray[np.bool_],
    model: Regressors,
    locate: Callable[[Sequence[Cell]], Located],
    *,
    weighted: bool,
) -> Estimate:
    inside = np.flatnonzero(interior)
    optimum, error = locate([cells[place] for place in inside.tolist()])
    found = np.isfinite(optimum)
    rows, optimum, error = inside[found], optimum[found], error[found]
    columns, target = model.columns[rows], optimum[:, None]
    try:
        fit = regress(columns, target)
        if weighted:
            # single standard errors with few degrees of freedom are no weights: pooled with the scatter of the cells
            fit = regress(columns, target, 1 / (np.square(error) + fit.spread[0, 0]))
    except np.linalg.LinAlgError:
        return _failed(name, model, len(rows))
    curvature: dict[str, tuple[float | None, float | None, float | None]] = {
        axis: fit.interval(which) for axis, which in model.halves.items()
    }
    return Estimate(name=name, curvature=curvature, num_cells=len(rows))


def _leave_one_out(joint: JointFit, model: Regressors) -> Estimate:
    """Range of the declared estimate over all tables without one cell."""
    name, number = "joint, leaving out one cell (range)", len(joint.left_out)
    if number <= model.columns.shape[1] + 1 or not np.isfinite(joint.left_out).all():
        return _failed(name, model, number)
    curvature: dict[str, tuple[float | None, float | None, float | None]] = {}
    for axis, which in model.halves.items():
        found = joint.left_out[:, which]
        curvature[axis] = (float(np.median(found)), float(found.min()), float(found.max()))
    return Estimate(name=name, curvature=curvature, num_cells=number - 1, note="median and range, no interval")
