"""What makes a bend: the parts of the curvature along every scale, with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.attribution.parts import Attribution, AxisAttribution, Contribution
from experiments.figures.colours import GREY
from experiments.figures.style import SMALL, bars, blank, captioned, colour, said, shortened, styled

SUM = ("bend", "angle", "norm", "left")  # the first is the sum of the others
MOST_ARMS = 12


@styled
def parts_figure(found: Attribution, *, title: str) -> Figure:
    """A panel for each scale: the parts that are identified, then the arms by themselves."""
    axes_of = {axis: item for axis, item in found.axes.items() if item.log_range is not None}
    names = list(found.arms)[:MOST_ARMS]
    parts = _worth_a_line(list(axes_of.values()))
    lines = len(parts) + len(names)
    width, height = max(7.0, 4.6 * len(axes_of) + 2.2), 0.24 * lines + 2.0
    figure = blank(width, height)
    panels = figure.subplots(1, max(1, len(axes_of)), squeeze=False, sharey=True)[0]
    if not axes_of:
        said(panels[0], "; ".join(dict.fromkeys(str(p.reason) for i in found.axes.values() for p in i.parts.values())))
    for ax, (axis, item) in zip(panels, axes_of.items(), strict=False):
        rows = [*((name, item.parts[name]) for name in parts), *((f"arm {shortened(n)}", item.arms[n]) for n in names)]
        _panel(ax, rows, found.delta)
        ax.set_xlabel(f"curvature along ln {shortened(axis)} (per squared e-fold)")
        if ax is panels[0]:
            ax.set_yticks(range(lines), [name for name, _ in rows])
            ax.set_ylim(lines - 0.4, -0.6)
        ax.axhline(len(parts) - 0.5, color="#bbbbbb", linewidth=0.7)
    caption = f"{found.num_cells} of {found.num_cells_in_all} cells."
    if axes_of:
        caption += (
            f" Bars: 95 % intervals, joint over arms. Band: a curvature whose 90 % interval lies within {found.delta:g}"
            " is called straight, too small to matter, even where it is told from 0."
            " bend = angle + norm + left, where all are identified. Above the line the bend (blue) and its parts;"
            " below it the arms by themselves."
        )
    every = [part for i in axes_of.values() for part in (*map(i.parts.get, parts), *map(i.arms.get, names)) if part]
    if any(part.low is not None and part.high is not None and part.low <= 0 <= part.high for part in every):
        caption += " Open marks: the interval holds 0."
    if len(found.arms) > len(names):
        caption += f" Shown are {len(names)} of {len(found.arms)} arms."
    captioned(figure, width, title, caption)
    return figure


def _worth_a_line(items: list[AxisAttribution]) -> list[str]:
    """The sum and its parts, identified or not, and every other part that some axis has a value of."""
    if not items:
        return []
    return [name for name in items[0].parts if name in SUM or any(i.parts[name].value is not None for i in items)]


def _panel(ax: Axes, rows: list[tuple[str, Contribution]], delta: float) -> None:
    ax.axvspan(-delta, delta, color="#e8e8e8", linewidth=0)
    ax.axvline(0, color=GREY, linewidth=0.9)
    for place, (name, part) in enumerate(rows):
        shade = colour(0) if name in SUM[:1] else colour(1) if name in SUM else "#444444"
        if part.value is None or part.low is None or part.high is None:
            beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "ha": "right", "va": "center"}
            ax.text(0.98, place, "not identifiable", fontsize=SMALL - 1, color=GREY, **beside)
            continue
        holds_zero = part.low <= 0 <= part.high
        ax.errorbar(
            [part.value],
            [place],
            xerr=bars([part.value], [part.low], [part.high]),
            fmt="o",
            color=shade,
            markerfacecolor="white" if holds_zero else shade,
            capsize=3,
            label=name,
        )
    ends = [end for _, part in rows for end in (part.low, part.high) if end is not None and np.isfinite(end)]
    reach = 1.1 * max([delta, *map(abs, ends)])
    ax.set_xlim(-reach, reach)
    ax.xaxis.set_major_locator(MaxNLocator(5))
