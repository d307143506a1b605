"""Figures of an attribution, each drawn from a table of `experiments.attribution.tables`."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from experiments.bend.scaling_law import AXES
from experiments.figures.style import log_axis
from experiments.reports.page import DPI, Figure
from experiments.reports.png import png_bytes

MAIN = ("bend", "angle", "norm", "left")
MOST_PANELS = 5


def parts_figure(parts: pd.DataFrame) -> Figure:
    """What makes the bend, axis by axis, from the table of parts."""
    known = parts[parts["part"].isin(MAIN)].astype(dict.fromkeys(("curvature", "low", "high"), float))
    axes_of = list(dict.fromkeys(known["axis"]))
    figure, grid = plt.subplots(1, len(axes_of), figsize=(4.5 * len(axes_of), 2.6), squeeze=False, layout="constrained")
    for axis, ax in zip(axes_of, grid[0], strict=True):
        rows = known[known["axis"] == axis].set_index("part").loc[list(MAIN)]
        place = np.arange(len(MAIN))
        errors = (
            rows["curvature"].to_numpy() - rows["low"].to_numpy(),
            rows["high"].to_numpy() - rows["curvature"].to_numpy(),
        )
        ax.errorbar(rows["curvature"], place, xerr=errors, fmt="o", capsize=3, color="black")
        for position, value in zip(place, rows["curvature"], strict=True):
            if not np.isfinite(value):
                ax.text(0.5, position, "not identifiable", transform=ax.get_yaxis_transform(), ha="center", fontsize=8)
        ax.axvline(0, color="grey", linewidth=1)
        ax.set_yticks(place, MAIN)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set(xlabel=f"curvature along {axis}", ylim=(len(MAIN) - 0.5, -0.5))
    return Figure(
        name="parts-figure",
        title="Bend = angle + norm + left",
        caption="95 % intervals, joint over arms.",
        png=png_bytes(figure, DPI),
        table=known,
        wide=len(axes_of) > 1,
    )


def optima_figure(table: pd.DataFrame) -> Figure | None:
    """Optima of every arm along each axis, a line for each value of the other; None without an axis to draw along."""
    axes_of = [axis for axis in AXES if axis in table.columns and table[axis].nunique() > 1]
    if not axes_of:
        return None
    names = list(dict.fromkeys(table["arm"]))[:MOST_PANELS]
    size = (2.8 * len(names) + 0.6, 2.6 * len(axes_of))
    figure, grid = plt.subplots(
        len(axes_of), len(names), figsize=size, squeeze=False, sharex="row", layout="constrained"
    )
    for line, axis in enumerate(axes_of):
        (other,) = (name for name in AXES if name != axis)
        for column, name in enumerate(names):
            ax, arm = grid[line, column], table[table["arm"] == name]
            groups = arm.groupby(other) if other in arm.columns else [("", arm)]
            for place, (_, part) in enumerate(groups):
                part = part.sort_values(axis)
                rate = part["learning_rate"].to_numpy(float)
                bars = np.nan_to_num(
                    np.abs([rate - part["low"].to_numpy(float), part["high"].to_numpy(float) - rate]), posinf=0.0
                )
                ax.errorbar(part[axis], rate, yerr=bars, fmt="o-", ms=3, lw=0.8, capsize=2, color=f"C{place % 10}")
            ax.set(xlabel=axis)
            if line == 0:
                ax.set_title(name, parse_math=False)  # a name may have dollars
            for each, values in ((ax.xaxis, table[axis]), (ax.yaxis, arm["learning_rate"])):
                log_axis(each, values.astype(float))
    return Figure(
        name="optima",
        title="Optimal learning rate, arm by arm",
        caption="95 % intervals; lines join cells that differ in the axis alone. Rates as in the table.",
        png=png_bytes(figure, DPI),
        table=table,
        wide=len(names) > 1,
    )
