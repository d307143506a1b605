"""The figure of the study: losses of the four corners, parts of the shift and of the losses, AdamH at three norms."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.reports.png import png_bytes
from experiments.studies.classic.answers import TOLD
from experiments.studies.classic.runs import EQUILIBRIUM, HELD, LARGE, SMALL

ORANGE, BLUE, GREEN, PURPLE, BLACK = "#D55E00", "#0072B2", "#009E73", "#CC79A7", "black"
CORNERS = {  # colour by the norm, line by the angles
    LARGE.name: (ORANGE, "-"),
    SMALL.name: (BLUE, "--"),
    "large angles, small norm": (BLUE, "-"),
    "small angles, large norm": (ORANGE, "--"),
}
NORMS = {HELD[0].name: (BLUE, "-"), HELD[1].name: (ORANGE, "-"), HELD[2].name: (PURPLE, "-")}
PART_COLOURS = {"angle": GREEN, "norm": PURPLE, "interaction": "0.6"}


def draw(runs: pd.DataFrame, optima: pd.DataFrame, answers: pd.DataFrame) -> bytes:
    """A PNG of four panels; losses are those of the shortest length that was run."""
    figure, panels = plt.subplots(2, 2, figsize=(11, 8), layout="constrained")
    num_steps = int(runs["num_steps"].min())
    shortest, best = (table[table["num_steps"] == num_steps] for table in (runs, optima))
    _losses(panels[0, 0], shortest, best, CORNERS)
    panels[0, 0].set_title(f"AdamW, {num_steps:,} steps: angles (dashed: small) and norms (blue: small)", fontsize=10)
    _shift(panels[0, 1], answers)
    _loss_parts(panels[1, 0], answers[answers["num_steps"] == num_steps])
    _losses(panels[1, 1], shortest, best, NORMS | {EQUILIBRIUM.name: (GREEN, ":")})
    panels[1, 1].set_title("AdamH with its norm held (dotted: AdamW from equilibrium)", fontsize=10)
    return png_bytes(figure, dpi=110)


def _losses(panel: Axes, runs: pd.DataFrame, optima: pd.DataFrame, arms: Mapping[str, tuple[str, str]]) -> None:
    for arm, (colour, line) in arms.items():
        rows = runs[runs["arm"] == arm]
        if rows.empty:
            continue
        table = rows.groupby("learning_rate")["loss"].agg(["mean", "std", "count"])
        error = table["std"].fillna(0) / np.sqrt(table["count"])
        panel.errorbar(
            table.index, table["mean"], yerr=error, color=colour, ls=line, marker="o", ms=4, lw=1.2, label=arm
        )
        here = optima[(optima["arm"] == arm) & np.isfinite(optima["error"])]
        for cell in here.to_dict("records"):
            panel.plot(
                [cell["low"], cell["high"]], [table["mean"].min() - 0.012] * 2, color=colour, ls=line, lw=3, alpha=0.5
            )
    panel.set(xscale="log", xlabel="learning rate (bars: optimum, 95 %)", ylabel="validation loss (nats per byte)")
    panel.xaxis.set_major_locator(mpl.ticker.FixedLocator([0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08]))
    panel.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    panel.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    if panel.has_data():
        panel.legend(fontsize=8, frameon=False)


def _shift(panel: Axes, answers: pd.DataFrame) -> None:
    places = {f"ln rate, {'shift' if part == 'both' else part}": place for place, part in enumerate(TOLD)}
    lengths = sorted(set(answers["num_steps"]))
    for offset, num_steps in enumerate(lengths):
        here = answers[(answers["num_steps"] == num_steps) & answers["quantity"].isin(places)]
        x = here["quantity"].map(places).to_numpy(float) + 0.25 * (offset - (len(lengths) - 1) / 2)
        error = (here["high"] - here["value"]).fillna(0)
        panel.errorbar(
            x, here["value"], yerr=error, fmt="os"[offset % 2], color=BLACK, label=f"{num_steps:,} steps, 95 %"
        )
        for account, marker in (("law", "_"), ("mean_angle", "x")):
            label = f"angles alone: {account.replace('_', ' ')}" if offset == 0 else None
            panel.plot(x, here[account], marker, color="0.5", ms=9, label=label)
    panel.axhline(0, color="0.7", lw=0.8)
    panel.set_xticks(list(places.values()), [name.removeprefix("ln rate, ") for name in places])
    panel.set(ylabel=f"ln of best rate, {LARGE.name} over {SMALL.name} start")
    panel.set_title("How far the optimum moves, and by what", fontsize=10)
    panel.legend(fontsize=8, frameon=False)


def _loss_parts(panel: Axes, answers: pd.DataFrame) -> None:
    for part, colour in PART_COLOURS.items():
        here = answers[answers["quantity"] == f"loss, {part}"]
        if here.empty:
            continue
        error = (here["high"] - here["value"]).fillna(0)
        panel.errorbar(
            here["learning_rate"], here["value"], yerr=error, color=colour, marker="o", ms=4, lw=1.2, label=part
        )
    panel.axhline(0, color="0.7", lw=0.8)
    panel.set(xscale="log", xlabel="learning rate", ylabel=f"nats, {LARGE.name} less {SMALL.name} start (95 %)")
    panel.xaxis.set_major_locator(mpl.ticker.FixedLocator([0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04]))
    panel.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
    panel.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    panel.set_title("What the start changes in the loss, at the same rate", fontsize=10)
    if panel.has_data():
        panel.legend(fontsize=8, frameon=False)
