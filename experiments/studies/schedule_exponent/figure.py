"""The figure of the study: losses under both schedules, and their optima against length."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.reports.png import png_bytes
from experiments.studies.moved_optimum.figure import MARKERS
from experiments.studies.schedule_exponent.answers import CONSTANT, LENGTHS, LINE

COLOURS = {CONSTANT.name: "#D55E00", LINE.name: "#0072B2"}
NAMES = {CONSTANT.name: "constant", LINE.name: "line to 0"}


def draw(runs: pd.DataFrame, optima: pd.DataFrame, predictions: pd.DataFrame) -> bytes:
    """A PNG of two panels."""
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
    _losses(panels[0], runs)
    _optima(panels[1], optima, predictions)
    return png_bytes(figure, dpi=120)


def _losses(panel: Axes, runs: pd.DataFrame) -> None:
    for arm, colour in COLOURS.items():
        for num_steps in LENGTHS:
            rows = runs[(runs["arm"] == arm) & (runs["num_steps"] == num_steps)]
            if rows.empty:
                continue
            table = rows.groupby("learning_rate")["loss"].agg(["mean", "std", "count"]).astype(float)
            error = table["std"] / np.sqrt(table["count"])
            style: dict[str, Any] = {"color": colour, "marker": MARKERS[num_steps], "ms": 4, "lw": 1}
            panel.errorbar(table.index, table["mean"], yerr=error, label=f"{NAMES[arm]}, {num_steps:,} steps", **style)
    panel.set(xscale="log", xlabel="AdamH's learning rate (peak)", ylabel="validation loss (nats per byte)")
    panel.xaxis.set_major_locator(mpl.ticker.FixedLocator([0.002, 0.005, 0.01, 0.02, 0.05]))
    panel.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    panel.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    panel.set_title("Norm fixed, two schedules (bars: standard error)", fontsize=10)
    if panel.has_data():
        panel.legend(fontsize=7, frameon=False)


def _optima(panel: Axes, optima: pd.DataFrame, predictions: pd.DataFrame) -> None:
    for arm, colour in COLOURS.items():
        said = predictions[predictions["arm"] == arm]
        for account, style in (("law", "-"), ("mean_angle", "--")):
            panel.plot(said["num_steps"], said[account], style, color=colour, lw=1)
        known = optima[(optima["arm"] == arm) & np.isfinite(optima["error"])]
        ends = [known["learning_rate"] - known["low"], known["high"] - known["learning_rate"]]
        panel.errorbar(
            known["num_steps"], known["learning_rate"], yerr=ends, fmt="o", ms=5, color=colour, label=NAMES[arm]
        )
    panel.set(xscale="log", yscale="log", xlabel="steps", ylabel="best learning rate")
    panel.set_xticks(LENGTHS, [f"{steps:,}" for steps in LENGTHS])
    panel.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    panel.yaxis.set_major_locator(mpl.ticker.FixedLocator([0.0025, 0.005, 0.01, 0.02, 0.04]))
    panel.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    panel.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    panel.set_title("Optima, 95 % (solid: law; dashed: mean angle)", fontsize=10)
    panel.legend(fontsize=8, frameon=False)
