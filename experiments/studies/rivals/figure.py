"""The figure of the study: three quantities over the rate in all arms, and the shift that each would give."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.reports.png import png_bytes
from experiments.studies.moved_optimum.figure import COLOURS
from experiments.studies.rivals.answers import log_values
from experiments.studies.rivals.runs import COMPARED

SHOWN = (("mean_angle", "run"), ("preconditioned_sharpness", "half"), ("output_norm", "end"))
REACH = 2.0  # of the shifts that are drawn


def draw(runs: pd.DataFrame, optima: pd.DataFrame, answers: pd.DataFrame) -> bytes:
    """A PNG, of the shortest length that was run."""
    num_steps = int(runs["num_steps"].min())
    own, best = (table[table["num_steps"] == num_steps] for table in (runs, optima))
    figure, panels = plt.subplots(1, 4, figsize=(16, 5), layout="constrained", width_ratios=(3, 3, 3, 5))
    for panel, (quantity, moment) in zip(panels, SHOWN, strict=False):
        _over_rate(panel, own, best, quantity, moment)
    panels[0].legend(fontsize=8, frameon=False, title="stars: optima")
    _shifts(panels[-1], answers[(answers["num_steps"] == num_steps) & (answers["scope"] == "AdamW")])
    return png_bytes(figure, dpi=110)


def _over_rate(panel: Axes, runs: pd.DataFrame, optima: pd.DataFrame, quantity: str, moment: str) -> None:
    table = runs.assign(value=np.exp(log_values(runs, quantity, moment)))
    for arm in COMPARED:
        if arm not in set(table["arm"]):
            continue
        means = table[table["arm"] == arm].groupby("learning_rate")["value"].agg(["mean", "std", "count"])
        error = means["std"] / np.sqrt(means["count"])
        panel.errorbar(means.index, means["mean"], yerr=error, fmt="o-", ms=4, lw=1, color=COLOURS[arm], label=arm)
        here = optima[optima["arm"] == arm]
        best = float(here["learning_rate"].iloc[0])
        value = np.exp(np.interp(np.log(best), np.log(means.index.to_numpy(float)), np.log(means["mean"])))
        panel.plot(best, value, "*", ms=14, color=COLOURS[arm])
    when = {"run": "", "half": ", half way", "end": ", at the end"}[moment]
    panel.set(xscale="log", yscale="log", xlabel="learning rate")
    panel.set_title(f"{quantity.replace('_', ' ')}{when}", fontsize=10)
    for axis, digits in ((panel.xaxis, (1, 2, 4, 7)), (panel.yaxis, (1, 2, 3, 4, 5, 7))):
        axis.set_major_locator(mpl.ticker.LogLocator(subs=digits, numticks=50))
        axis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axis.set_minor_locator(mpl.ticker.NullLocator())
    panel.tick_params(labelsize=8)


def _shifts(panel: Axes, answers: pd.DataFrame) -> None:
    known = answers.dropna(subset=["shift"]).iloc[::-1]
    colours = {"moves with the optimum": "#009E73", "refuted": "#D55E00"}
    for place, row in enumerate(known.to_dict("records")):
        low, high = np.clip([row["shift_low"], row["shift_high"]], -REACH, REACH)
        colour = colours.get(row["verdict"], "0.6")
        panel.plot([low, high], [place, place], color=colour, lw=2)
        if abs(row["shift"]) <= REACH:
            panel.plot(row["shift"], place, "o", color=colour, ms=5)
    if len(known):
        first = known.iloc[0]
        panel.axvspan(first["measured_low"], first["measured_high"], color="0.85", zorder=0)
        panel.axvline(first["measured_shift"], color="0.4", lw=1)
    panel.axvline(0, color="0.7", lw=0.8, ls=":")
    names = [f"{row['quantity']}, {row['moment']}".replace("_", " ") for row in known.to_dict("records")]
    panel.set_yticks(range(len(known)), names, fontsize=8)
    panel.set(xlim=(-REACH, REACH), xlabel="ln of best rate, RMS 14.4 over 1.6, at a fixed value")
    panel.set_title("band: measured; green: moves with it; red: refuted; grey: neither", fontsize=10)
