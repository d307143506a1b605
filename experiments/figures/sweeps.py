"""What ``fit`` makes of a table: the law of the optima along every scale, and the losses behind it, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from experiments.bend.evidence.cells import Cell, usable_places
from experiments.bend.fit import GroupFit
from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.bend.verdict import verdict_in_words
from experiments.figures.colours import GREY
from experiments.figures.laws import (
    HEIGHT,
    MOST_AXES,
    MOST_GROUPS,
    SIDE_BY_SIDE,
    Place,
    draw_group_law,
    end_label,
    finish_law,
    law_axes,
)
from experiments.figures.style import (
    LABELS,
    SMALL,
    axis_label,
    blank,
    captioned,
    colour,
    log_axis,
    said,
    short,
    shortened,
    styled,
    told,
)
from experiments.joint.curves import fitted_losses, standard_errors
from experiments.text import short_name
from theory.bend import DELTA

Array = NDArray[np.float64]

MOST_CELLS, COLUMNS = 12, 4
CELL_HEIGHT = 2.2
MARK = 3.5  # points, the width of a mark: a bar that is shorter is hidden by it
LEAST_ROOM = 1e-6  # nats above and below the losses of a cell
WIDTH = 11.0
CURVE = 61  # points of a fitted curve
LAW_MARKS = {
    "optima": "Points: optima of cells, moved along the law to the middle of the other scales, with 95 % intervals.",
    "at ": "Triangles: bounds of optima outside their grids.",
    "law": "Curve and thin lines: the law and its 95 % interval.",
    "tangent": "Dotted: the straight law, tangent at the middle.",
}
CELL_MARKS = {
    "losses": "Points: losses.",
    "means": "They are means over seeds.",
    "weighed": "Bars: one standard error as the fit weighs them; far from the best they count as bounds.",
    "fitted": "Curve: the fit.",
    "left out": "Open: rates that were left out.",
    "diverges": "Dotted red: from here on runs diverge.",
    "optimum": "Vertical line: optimum.",
    "interval": "Shaded: 95 % interval of the optimum where the line does not cover it.",
}
SEEN = 0.03  # of the width of a panel: narrower than that the line of the optimum covers its interval
BEYOND = 0.35  # in ln: how far a curve is drawn past the rates that were tried


@styled
def sweep_figure(groups: Sequence[GroupFit], *, title: str, delta: float = DELTA) -> Figure:
    """Above, optima against each scale, a colour for each group; below, losses and fitted curves of the cells.

    delta : that of the verdicts.
    """
    shown = list(groups)[:MOST_GROUPS]
    axes_of = list(dict.fromkeys(axis for group in shown for axis in law_axes(group)))[:MOST_AXES]
    every = [(index, place) for index, group in enumerate(shown) for place in range(len(group.cells))]
    chosen = every
    if len(every) > MOST_CELLS:
        chosen = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, MOST_CELLS).round().astype(int))]
    columns = min(COLUMNS, max(1, len(chosen)))
    rows, width = max(1, -(-len(chosen) // columns)), WIDTH if axes_of else max(6.0, 2.8 * columns)
    heights = [HEIGHT + 0.9] * bool(axes_of) + [CELL_HEIGHT * rows + 1.0]
    figure = blank(width, sum(heights))
    parts = np.atleast_1d(np.asarray(figure.subfigures(len(heights), 1, height_ratios=heights), object))
    if axes_of:
        _laws(parts[0], shown, len(groups), axes_of, title, delta)
    _cells(parts[-1], shown, chosen, len(every), width)
    return figure


def _laws(
    figure: SubFigure, groups: Sequence[GroupFit], number: int, axes_of: Sequence[str], title: str, delta: float
) -> None:
    panels = figure.subplots(1, len(axes_of), squeeze=False)[0]
    for column, (ax, axis) in enumerate(zip(panels, axes_of, strict=True)):
        everything, labels = [], []
        for index, group in enumerate(groups):
            if axis in law_axes(group):
                place = Place(index, len(groups))
                drawn = draw_group_law(ax, group, axis, place)
                everything += drawn
                labels += [end_label(shortened(group.group), drawn, place)] if len(groups) > 1 else []
        finish_law(ax, axis, everything, labels, height=0.75 * HEIGHT)
        ax.set(xlabel=axis_label(axis), ylabel="optimal learning rate" if column == 0 else "")
        if len(groups) == 1 and axis in groups[0].curvature:
            ax.set_title(_verdict(groups[0], axis, delta), loc="left", fontsize=SMALL)
    caption = told(figure, LAW_MARKS)
    caption += SIDE_BY_SIDE * (len(groups) > 1)
    if len(groups) < number:
        caption += f" Shown are {len(groups)} of {number} groups."
    captioned(figure, WIDTH, title, caption)


def _verdict(group: GroupFit, axis: str, delta: float) -> str:
    bend = group.curvature[axis]
    if bend.value is None:
        return f"curvature: {bend.verdict.value}"
    verdict = verdict_in_words(bend.verdict, delta)
    return f"curvature {bend.value:+.3f} per squared e-fold, 95 % [{bend.low:+.3f}, {bend.high:+.3f}]: {verdict}"


def _cells(
    figure: SubFigure, groups: Sequence[GroupFit], chosen: Sequence[tuple[int, int]], number: int, width: float
) -> None:
    columns = min(COLUMNS, max(1, len(chosen)))
    grid = figure.subplots(max(1, -(-len(chosen) // columns)), columns, squeeze=False)
    for ax in grid.ravel()[max(1, len(chosen)) :]:
        ax.set_axis_off()
    if not chosen:
        said(grid[0, 0], "no cell")
    fitted = [_fitted_cells(group) for group in groups]
    for ax, (index, place) in zip(grid.ravel(), chosen, strict=False):
        group = groups[index]
        name = shortened(group.group, 18) if group.group is not None and len(groups) > 1 else ""
        _cell(ax, group.law.cells[place], group.cells[place], fitted[index].get(place), colour(index))
        key = " ".join(f"{short_name(k)[:9]}={short(v)}" for k, v in group.cells[place].key.items())
        ax.set_title("\n".join(part for part in (name, shortened(key, 34)) if part), loc="left", fontsize=SMALL)
    for line in grid:
        line[0].set_ylabel(LABELS["loss"], fontsize=SMALL)
    for ax in grid.ravel()[: len(chosen)][-columns:]:  # the lowest of each column
        ax.set_xlabel(LABELS["learning_rate"], fontsize=SMALL)
    caption = told(figure, CELL_MARKS)
    few = "" if len(chosen) == number else f" Shown are {len(chosen)} of {number} cells, spread evenly over the table."
    captioned(
        figure, WIDTH, f"Losses of {'the cells' if not few else f'{len(chosen)} of {number} cells'}", caption + few
    )


@dataclass(frozen=True)
class _Fitted:
    """Of one cell: what was fitted of it, the standard errors of its losses, and the fitted curve."""

    cell: Cell
    errors: Array
    x: Array
    loss: Array


def _fitted_cells(group: GroupFit) -> dict[int, _Fitted]:
    """By the place of a cell in the group."""
    law = group.law
    if law.joint is None or law.data is None or law.model is None:
        return {}
    terms = law.model.columns, law.model.trend
    x = np.stack([np.linspace(c.x[0] - BEYOND, c.x[-1] + BEYOND, CURVE) for c in law.usable])
    losses = fitted_losses(law.data, law.joint, *terms, x)
    errors = np.split(standard_errors(law.data, law.joint, *terms), law.data.starts[1:])
    rows = zip(usable_places(law.cells), law.usable, errors, x, losses, strict=True)
    return {place: _Fitted(*row) for place, *row in rows}


def _cell(ax: Axes, cell: Cell, optimum: CellOptimum, fitted: _Fitted | None, shade: str) -> None:
    if not len(cell.x):
        said(ax, "no finite loss")
        return
    used = fitted.cell if fitted else cell
    left_out = ~np.isin(cell.x, used.x)
    rates = np.exp(cell.x)
    ends = [rates.min() / 1.4, rates.max() * 1.4]
    if np.isfinite(cell.ceiling):
        ends[1] = max(ends[1], float(np.exp(cell.ceiling)) * 1.2)
        ax.axvline(float(np.exp(cell.ceiling)), color="#b00020", linewidth=1, linestyle=":", label="diverges")
    if optimum.status not in (OptimumStatus.FLAT, OptimumStatus.TOO_FEW_POINTS):
        low, high = optimum.low or ends[0], optimum.high or ends[1]
        if np.log(high / low) > SEEN * np.log(ends[1] / ends[0]):
            ax.axvspan(max(low, ends[0]), min(high, ends[1]), color=shade, alpha=0.15, linewidth=0, label="interval")
    if optimum.learning_rate is not None:
        ax.axvline(optimum.learning_rate, color=shade, linewidth=1, label="optimum")
    errors = fitted.errors if fitted else None
    points, _, bars = ax.errorbar(
        np.exp(used.x), used.loss, yerr=errors, fmt="o", markersize=MARK, color="black", label="losses"
    )
    if np.any(used.count > 1):
        points.set_label("means")
    beside: dict[str, Any] = {"markersize": MARK, "color": GREY, "markerfacecolor": "none"}
    ax.plot(rates[left_out], cell.loss[left_out], "o", label="left out", **beside)
    if fitted:
        ax.plot(np.exp(fitted.x), fitted.loss, color=shade, linewidth=1.3, label="fitted")
    losses = cell.loss
    room = max(0.12 * float(np.ptp(losses)), 1e-4 * abs(float(losses.mean())), LEAST_ROOM)
    ax.set_ylim(losses.min() - room, losses.max() + room)
    if errors is not None and errors.max() > MARK / 72 / CELL_HEIGHT * (float(np.ptp(losses)) + 2 * room):
        bars[0].set_label("weighed")
    ax.set_xlim(*ends)
    log_axis(ax.xaxis, ends, most=4)
    ax.tick_params(labelsize=SMALL - 1)
    ax.yaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    ax.locator_params(axis="y", nbins=4)
    if optimum.status is not OptimumStatus.INTERIOR:
        ax.text(0.97, 0.95, optimum.status.value, transform=ax.transAxes, ha="right", va="top", fontsize=SMALL - 1)
