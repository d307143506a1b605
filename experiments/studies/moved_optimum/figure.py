"""The figure of the study: losses from different starts, the shift against length, and all optima on one curve."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.attribution.arm_optima import WIDEST_ERROR
from experiments.reports.png import png_bytes
from experiments.studies.moved_optimum.answers import NORMAL_95, SHIFT, shifts_of

COLOURS = {
    "start 1.6": "#0072B2",
    "start 14.4": "#D55E00",
    "equilibrium": "#009E73",
    "weak decay": "#CC79A7",
    "adamh": "black",
}
MARKERS = {1600: "o", 3200: "s", 6400: "^", 12800: "D"}


def draw(runs: pd.DataFrame, others: pd.DataFrame, optima: pd.DataFrame) -> bytes:
    """A PNG of three panels."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", width_ratios=(4, 3, 4))
    _losses(panels[0], pd.concat([runs, others]), optima)
    _shifts(panels[1], optima)
    _curve(panels[2], optima)
    return png_bytes(figure, dpi=120)


def _losses(panel: Axes, runs: pd.DataFrame, optima: pd.DataFrame) -> None:
    for arm in SHIFT:
        for num_steps in sorted(set(runs.loc[runs["arm"] == arm, "num_steps"])):
            rows = runs[(runs["arm"] == arm) & (runs["num_steps"] == num_steps)]
            table = rows.groupby("learning_rate")["loss"].agg(["mean", "std", "count"])
            error = table["std"] / np.sqrt(table["count"])
            style: dict[str, Any] = {"color": COLOURS[arm], "marker": MARKERS[num_steps], "ms": 4, "lw": 1}
            panel.errorbar(table.index, table["mean"], yerr=error, label=f"RMS {arm[6:]}, {num_steps:,} steps", **style)
            here = optima[(optima["arm"] == arm) & (optima["num_steps"] == num_steps)]
            if len(here) and here["error"].iloc[0] < WIDEST_ERROR:
                low, high = (float(here[end].iloc[0]) for end in ("low", "high"))
                panel.plot([low, high], [table["mean"].min() - 0.02] * 2, color=COLOURS[arm], lw=3, alpha=0.6)
    panel.set(xscale="log", xlabel="learning rate", ylabel="validation loss (nats per byte)")
    panel.set_title("Only the initial norm differs (bars: optima, 95 %)", fontsize=10)
    low, high = panel.get_ylim()
    panel.set_ylim(top=high + 0.2 * (high - low))  # above the curves, for the legend
    panel.legend(fontsize=7, frameon=False, ncols=2, loc="upper right")


def _shifts(panel: Axes, optima: pd.DataFrame) -> None:
    shifts = pd.DataFrame(list(shifts_of(optima)))
    if "value" in shifts:
        known = shifts.dropna(subset=["value"])
        closed, open_ended = (known[(known["error"] < WIDEST_ERROR) == told] for told in (True, False))
        error = NORMAL_95 * closed["error"]
        panel.errorbar(closed["num_steps"], closed["value"], yerr=error, fmt="ko", label="measured, 95 %")
        if len(open_ended):
            label = "measured, no closed interval"
            panel.plot(open_ended["num_steps"], open_ended["value"], "ko", mfc="none", label=label)
    for account, style in (("law", "-"), ("mean_angle", "--")):
        panel.plot(
            shifts["num_steps"], shifts[account], style, color="0.4", label=f"predicted, {account.replace('_', ' ')}"
        )
    panel.axhline(0, color="0.7", lw=0.8)
    panel.margins(x=0.15)
    low, high = panel.get_ylim()
    panel.set_ylim(bottom=low - 0.4 * (high - low))  # below the points, for the legend
    panel.set(xscale="log", xlabel="steps", ylabel="ln of best rate, RMS 14.4 over 1.6")
    panel.set_xticks(sorted(shifts["num_steps"]), [f"{steps:,}" for steps in sorted(shifts["num_steps"])])
    panel.xaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    panel.set_title("How far the optimum moves", fontsize=10)
    panel.legend(fontsize=8, frameon=False, loc="lower left")


def _curve(panel: Axes, optima: pd.DataFrame) -> None:
    known = optima[np.isfinite(optima["error"])]
    for arm, colour in COLOURS.items():
        for num_steps, marker in MARKERS.items():
            here = known[(known["arm"] == arm) & (known["num_steps"] == num_steps)]
            error = [here["learning_rate"] - here["low"], here["high"] - here["learning_rate"]]
            style: dict[str, Any] = {"color": colour, "marker": marker, "ls": "", "ms": 5}
            panel.errorbar(here["law"], here["learning_rate"], yerr=error, **style)
            panel.plot(here["mean_angle"], here["learning_rate"], **style, mfc="none")
        if arm in set(known["arm"]):
            panel.plot([], [], "o", color=colour, label=arm)
    ends = [known[["law", "mean_angle", "learning_rate"]].min().min(), known[["law", "learning_rate"]].max().max()]
    panel.plot(ends, ends, color="0.7", lw=0.8)
    panel.set(xscale="log", yscale="log", xlabel="predicted best learning rate", ylabel="measured")
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_major_locator(mpl.ticker.FixedLocator([0.01, 0.02, 0.04, 0.08, 0.16]))
        axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(mpl.ticker.NullLocator())
    panel.set_title("All optima (filled: law; open: mean angle)", fontsize=10)
    panel.legend(fontsize=8, frameon=False)
