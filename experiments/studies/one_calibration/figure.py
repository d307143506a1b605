"""The figure of the study: losses over the rate, measured and predicted; where the law misses; optima."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from experiments.figures.style import captioned
from experiments.reports.png import png_bytes
from experiments.studies.moved_optimum.figure import COLOURS, MARKERS
from experiments.studies.one_calibration.answers import NOISES, noise_of
from experiments.studies.one_calibration.predictions import ADAMW

CAPTION = (
    "Width 32; weak decay: 0.02 from a RMS of 0.53, all others 0.1. Points above: means over seeds and their standard"
    " errors. Lines: the law in two clocks, fitted to AdamH alone, at theory's angles; bands: its constants' errors."
    " Limits below are those of 1,600 steps (dashed) and of longer runs (one line). Bars of optima: 95 %, cut at the"
    " frame where an end is open."
)


def draw(cells: pd.DataFrame, optima: pd.DataFrame, predictions: pd.DataFrame) -> bytes:
    """A PNG: above, losses at the first and the last length that was run; below, misses and optima."""
    lengths = sorted(set(cells["num_steps"]))
    figure, ((first, last), (misses, best)) = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    for panel, num_steps in ((first, lengths[0]), (last, lengths[-1])):
        _losses(panel, cells[cells["num_steps"] == num_steps], predictions[predictions["num_steps"] == num_steps])
        panel.set_title(f"AdamW at {num_steps:,} steps", fontsize=10)
    _misses(misses, cells)
    _optima(best, optima[optima["source"] == "moved-optimum"])
    captioned(figure, 10, "What the law of AdamH's runs says of AdamW's losses and best learning rates", CAPTION)
    return png_bytes(figure, dpi=110)


def _losses(panel: Axes, cells: pd.DataFrame, predictions: pd.DataFrame) -> None:
    for arm in ADAMW:
        here, told = cells[cells["arm"] == arm], predictions[predictions["arm"] == arm]
        if here.empty:
            continue
        error = here["seed_sd"] / np.sqrt(here["seeds"])
        panel.errorbar(here["learning_rate"], here["loss"], yerr=error, fmt="o", ms=4, color=COLOURS[arm])
        panel.plot(told["learning_rate"], told["law"], color=COLOURS[arm], lw=1.2, label=arm)
        panel.fill_between(told["learning_rate"], told["low"], told["high"], color=COLOURS[arm], alpha=0.15, lw=0)
    panel.set(xscale="log", xlabel="learning rate", ylabel="validation loss (nats per byte)")
    _plain(panel.xaxis, [0.003, 0.01, 0.03, 0.1, 0.3])
    panel.legend(fontsize=8, frameon=False)


def _misses(panel: Axes, cells: pd.DataFrame) -> None:
    for row in cells.to_dict("records"):
        marker, colour = MARKERS[row["num_steps"]], COLOURS[row["arm"]]
        panel.plot(row["over_best"], row["miss"], marker, color=colour, ms=5, mfc="none")
    lengths = sorted(set(cells["num_steps"]))
    for num_steps, style in zip(lengths, ("--", ":", "-.", "-"), strict=False):
        limit = NOISES * noise_of(int(num_steps))
        for end in (-limit, limit):
            panel.axhline(end, color="0.5", ls=style, lw=0.9)
        panel.plot([], [], MARKERS[int(num_steps)], color="0.3", mfc="none", ls="", label=f"{num_steps:,} steps")
    panel.axhline(0, color="0.8", lw=0.8)
    panel.set(xscale="log", xlabel="rate over the law's best", ylabel="predicted less measured loss")
    _plain(panel.xaxis, [0.25, 0.5, 1, 2, 4])
    panel.set_title("Where the law misses (lines: limits)", fontsize=10)
    low, high = panel.get_ylim()
    panel.set_ylim(bottom=low - 0.2 * (high - low))  # below the points, for the legend
    panel.legend(fontsize=8, frameon=False, loc="lower left")


def _optima(panel: Axes, optima: pd.DataFrame) -> None:
    ends = [optima[["law", "measured"]].min().min() / 1.2, optima[["law", "measured"]].max().max() * 1.2]
    for row in optima.to_dict("records"):
        upper = row["measured_high"] if np.isfinite(row["measured_high"]) else ends[1]
        lower = row["measured_low"] if np.isfinite(row["measured_low"]) else ends[0]
        error = [[row["measured"] - lower], [upper - row["measured"]]]
        panel.errorbar(
            row["law"], row["measured"], yerr=error, fmt=MARKERS[int(row["num_steps"])], ms=5, color=COLOURS[row["arm"]]
        )
    panel.plot(ends, ends, color="0.6", lw=0.8)
    for factor in (0.8, 1.25):
        panel.plot(ends, np.array(ends) * factor, color="0.8", lw=0.8, ls="--")
    panel.set(
        xscale="log", yscale="log", xlabel="predicted best learning rate", ylabel="measured", ylim=ends, xlim=ends
    )
    for axis in (panel.xaxis, panel.yaxis):
        _plain(axis, [0.005, 0.01, 0.02, 0.04, 0.08, 0.16])
    panel.set_title("Optima (dashed: 25 %)", fontsize=10)


def _plain(axis: Axis, ticks: list[float]) -> None:
    axis.set_major_locator(mpl.ticker.FixedLocator(ticks))
    axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    axis.set_minor_locator(mpl.ticker.NullLocator())
