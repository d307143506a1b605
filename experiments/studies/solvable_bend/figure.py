"""The figure of the study: optima against model size and data, arm by arm, measured and predicted."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.reports.png import png_bytes

AXES = {"num_params": "features N", "num_tokens": "samples D"}


def draw(optima: pd.DataFrame, problem: str) -> bytes:
    """A PNG: a column per arm, optima with 95 % intervals along N above and along D below; dashed is predicted."""
    here = optima[optima["problem"] == problem]
    arms = [arm for arm in dict.fromkeys(here["arm"]) if not arm.endswith(" predicted")]
    figure, grid = plt.subplots(
        2, len(arms), figsize=(2.6 * len(arms) + 1.0, 6.2), sharex="row", squeeze=False, layout="constrained"
    )
    for column, arm in enumerate(arms):
        measured, predicted = here[here["arm"] == arm], here[here["arm"] == f"{arm} predicted"]
        for line, (axis, label) in enumerate(AXES.items()):
            ax = grid[line, column]
            (other,) = (name for name in AXES if name != axis)
            values = sorted(measured[other].unique())
            colours = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(values)))
            for value, colour in zip(values, colours, strict=True):
                _points(ax, measured[measured[other] == value], axis, colour)
                rows = predicted[predicted[other] == value].sort_values(axis)
                ax.plot(rows[axis], rows["learning_rate"], "--", color=colour, lw=1)
            ax.set(xscale="log", yscale="log", xlabel=label)
            ax.set_xticks(sorted(measured[axis].unique()), [_short(v) for v in sorted(measured[axis].unique())])
            ax.minorticks_off()
            ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
            if column == 0:
                ax.set_ylabel("optimal learning rate")
            if line == 0:
                ax.set_title(arm, fontsize=10)
            handles = [plt.Line2D([], [], color=c, marker="o", ms=4) for c in colours]
            if column == len(arms) - 1:
                labels = [_short(v) for v in values]
                ax.legend(handles, labels, title=AXES[other], fontsize=7, title_fontsize=7, loc=(1.03, 0.5))
    return png_bytes(figure, dpi=110)


def _points(ax: plt.Axes, rows: pd.DataFrame, axis: str, colour: object) -> None:
    known = rows.dropna(subset=["learning_rate"]).sort_values(axis).astype({"learning_rate": float})
    rate = known["learning_rate"].to_numpy()
    low, high = (known[name].astype(float).to_numpy() for name in ("low", "high"))
    bars = np.nan_to_num([rate - low, high - rate], nan=0.0)
    ax.errorbar(known[axis], rate, yerr=bars, fmt="o-", ms=3.5, lw=0.8, color=colour, capsize=2, elinewidth=0.8)


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 10_000 else f"{value:g}"
