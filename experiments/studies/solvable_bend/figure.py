"""Figures of the study: optima against model size and data, arm by arm, measured and predicted; and one size of them
in learning rate and in angle."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.figures.style import EndLabel, bars, blank, captioned, colour, label_ends, log_axis, styled
from experiments.reports.png import png_bytes

AXES = {"num_params": "features N", "num_tokens": "samples D"}
CARRIED = {
    "adamh": "AdamH",
    "large start": "AdamW from RMS 0.5",
    "equilibrium start": "AdamW, no transient",
    "reference": "AdamW from RMS 0.1",
    "small start": "AdamW from RMS 0.02",
}
CARRIED_SIZE = 1024
SPAN = 6.0  # of both axes of `draw_carried`, up and down from the middle


def draw(optima: pd.DataFrame) -> bytes:
    """A PNG: a column per arm, optima with 95 % intervals along N above and along D below; dashed is predicted."""
    arms = [arm for arm in dict.fromkeys(optima["arm"]) if not arm.endswith(" predicted")]
    figure, grid = plt.subplots(
        2, len(arms), figsize=(2.6 * len(arms) + 1.0, 6.2), sharex="row", squeeze=False, layout="constrained"
    )
    for column, arm in enumerate(arms):
        measured, predicted = optima[optima["arm"] == arm], optima[optima["arm"] == f"{arm} predicted"]
        for line, (axis, label) in enumerate(AXES.items()):
            ax = grid[line, column]
            (other,) = (name for name in AXES if name != axis)
            values = sorted(measured[other].unique())
            colours = mpl.colormaps["viridis"](np.linspace(0, 0.82, len(values)))
            for value, shade in zip(values, colours, strict=True):
                _points(ax, measured[measured[other] == value], axis, shade)
                rows = predicted[predicted[other] == value].sort_values(axis)
                ax.plot(rows[axis], rows["learning_rate"], "--", color=shade, lw=1)
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
                ax.legend(
                    handles,
                    [_short(v) for v in values],
                    title=AXES[other],
                    fontsize=7,
                    title_fontsize=7,
                    loc=(1.03, 0.5),
                )
    return png_bytes(figure, dpi=110)


@styled
def draw_carried(optima: pd.DataFrame, problem: str) -> bytes:
    """A PNG: optima of the arms `CARRIED` against data at the size `CARRIED_SIZE`, or the smallest if it is not there,
    in learning rate and in mean angle per step."""
    here = optima[(optima["problem"] == problem) & optima["learning_rate"].notna()]
    size = CARRIED_SIZE if CARRIED_SIZE in set(here["num_params"]) else here["num_params"].min()
    here = here[here["num_params"] == size].sort_values("num_tokens")
    width = 10.0
    picture = blank(width, 4.0)
    panels = picture.subplots(1, 2)
    for ax, column, label in zip(
        panels,
        ("learning_rate", "mean_angle"),
        ("optimal learning rate", "mean angle per step at the optimum (rad)"),
        strict=True,
    ):
        ends = []
        for place, (arm, name) in enumerate(CARRIED.items()):
            rows = here[here["arm"] == arm].astype({column: float})
            if rows.empty:
                continue
            factor = rows[column] / rows["learning_rate"]
            lengths = bars(rows[column], rows["low"] * factor, rows["high"] * factor) if ax is panels[0] else None
            ax.errorbar(rows["num_tokens"], rows[column], yerr=lengths, fmt="o-", capsize=2, color=colour(place))
            ends.append(EndLabel(name, float(rows[column].iloc[-1]), colour(place)))
            foretold = here[here["arm"] == f"{arm} predicted"]
            if ax is panels[0]:
                ax.plot(foretold["num_tokens"], foretold["learning_rate"], "--", color="black", linewidth=1)
        log_axis(ax.xaxis, here["num_tokens"])
        ax.set_xticks(sorted(here["num_tokens"].unique()), [_short(v) for v in sorted(here["num_tokens"].unique())])
        low, high = here[column].min(), here[column].max()
        limits = np.sqrt(low * high) / SPAN, np.sqrt(low * high) * SPAN
        log_axis(ax.yaxis, limits)
        ax.set_ylim(*limits)
        ax.set(xlabel=AXES["num_tokens"], ylabel=label)
        label_ends(ax, ends, height=2.6)
    captioned(
        picture,
        width,
        f"What bends, and what carries it: the solvable model at {size:g} features",
        "Left: optima with 95 % intervals; dashed: AdamH made to turn by the angles that theory predicts for AdamW,"
        " nothing fitted. Right: the same optima by the mean angle per step. Both axes span the same factor.",
    )
    return png_bytes(picture, dpi=110)


def _points(ax: plt.Axes, rows: pd.DataFrame, axis: str, shade: object) -> None:
    known = rows.dropna(subset=["learning_rate"]).sort_values(axis).astype({"learning_rate": float})
    rate = known["learning_rate"].to_numpy()
    low, high = (known[name].astype(float).to_numpy() for name in ("low", "high"))
    bars = np.nan_to_num([rate - low, high - rate], nan=0.0)
    ax.errorbar(known[axis], rate, yerr=bars, fmt="o-", ms=3.5, lw=0.8, color=shade, capsize=2, elinewidth=0.8)


def _short(value: float) -> str:
    return f"{value / 1000:.3g}k" if value >= 10_000 else f"{value:g}"
