"""The figure of the study: losses of the four corners, parts of the shift and of the losses, AdamH at three norms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from experiments.reports.png import png_bytes
from experiments.studies.classic.answers import EFFECTS
from experiments.studies.classic.runs import EQUILIBRIUM, HELD, LARGE, SMALL

ORANGE, BLUE, GREEN, PURPLE, BLACK = "#D55E00", "#0072B2", "#009E73", "#CC79A7", "black"
LOSS = "validation loss (nats per byte)"
CORNERS = {  # colour by the norm, line by the angles
    LARGE.name: (ORANGE, "-"),
    SMALL.name: (BLUE, "--"),
    "large angles, small norm": (BLUE, "-"),
    "small angles, large norm": (ORANGE, "--"),
}
NORMS = {HELD[0].name: (BLUE, "-"), HELD[1].name: (ORANGE, "-"), HELD[2].name: (PURPLE, "-")}
MEANING = {
    LARGE.name: "large start",
    SMALL.name: "small start",
    "large angles, small norm": "angles of the large start, norms of the small",
    "small angles, large norm": "angles of the small start, norms of the large",
    EQUILIBRIUM.name: "AdamW from equilibrium, at its own rate",
} | {arm.name: f"AdamH at {arm.initial_rms:g}" for arm in HELD}
ARROW = 0.5  # its length, in ln
PART_COLOURS = {"angle": GREEN, "norm": PURPLE, "interaction": "0.6"}


def draw(runs: pd.DataFrame, optima: pd.DataFrame, answers: pd.DataFrame) -> bytes:
    """A PNG of four panels; losses are those of the shortest length that was run."""
    figure, panels = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    num_steps = int(runs["num_steps"].min())
    shortest, best = (table[table["num_steps"] == num_steps] for table in (runs, optima))
    _losses(panels[0, 0], shortest, best, CORNERS)
    panels[0, 0].set_title(f"AdamW, {num_steps:,} steps; colour: whose norms, line: whose angles", fontsize=10)
    _shift(panels[0, 1], answers, optima)
    _loss_parts(panels[1, 0], answers[answers["num_steps"] == num_steps])
    panels[1, 0].set_title(f"What the start changes in the loss, at one rate, {num_steps:,} steps", fontsize=10)
    _losses(panels[1, 1], shortest, best, NORMS | {EQUILIBRIUM.name: (GREEN, ":")})
    panels[1, 1].set_title(f"AdamH with its norm held, {num_steps:,} steps", fontsize=10)
    return png_bytes(figure, dpi=110)


def _losses(panel: Axes, runs: pd.DataFrame, optima: pd.DataFrame, arms: Mapping[str, tuple[str, str]]) -> None:
    for arm, (colour, line) in arms.items():
        rows = runs[runs["arm"] == arm]
        if rows.empty:
            continue
        table = rows.groupby("learning_rate")["loss"].agg(["mean", "std", "count"])
        error = table["std"].fillna(0) / np.sqrt(table["count"])
        panel.errorbar(
            table.index, table["mean"], yerr=error, color=colour, ls=line, marker="o", ms=4, lw=1.2, label=MEANING[arm]
        )
    panel.set(xscale="log", xlabel="learning rate (below: 95 % of the optimum; arrow: beyond)", ylabel=LOSS)
    if panel.has_data():
        _intervals(panel, optima, arms)
        _rates(panel, runs[runs["arm"].isin(arms)]["learning_rate"])
        panel.legend(fontsize=8, frameon=False)


def _intervals(panel: Axes, optima: pd.DataFrame, arms: Mapping[str, tuple[str, str]]) -> None:
    """A strip below the losses: the interval of every optimum, with an arrow where it has no end there."""
    (least, most), (left, right) = panel.get_ylim(), panel.get_xlim()
    apart = 0.045 * (most - least)
    above = (len(arms) + 0.5) * 1.3 * apart  # for the legend
    panel.set(ylim=(least - (len(arms) + 0.5) * apart, most + above), xlim=(left, right))
    for place, (arm, (colour, line)) in enumerate(arms.items()):
        height = least - (place + 0.5) * apart
        for low, high in optima.loc[optima["arm"] == arm, ["low", "high"]].itertuples(index=False):
            known = [left < low < right, left < high < right]
            ends = [
                end if inside else edge for end, inside, edge in zip((low, high), known, (left, right), strict=True)
            ]
            panel.plot(ends, [height] * 2, color=colour, ls=line, lw=2)
            for end, inside, marker in zip(ends, known, "<>", strict=True):
                panel.plot(end, height, "|" if inside else marker, color=colour, ms=7)
    panel.axhline(least, color="0.85", lw=0.8)


def _rates(panel: Axes, rates: pd.Series[float]) -> None:
    first = float(rates.min())
    doublings = int(np.log2(float(rates.max()) / first) + 0.01)
    places = [first * 2.0**n for n in range(0, doublings + 1, 1 + doublings // 7)]
    panel.xaxis.set_major_locator(mpl.ticker.FixedLocator(places))
    panel.xaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%.2g"))
    panel.xaxis.set_minor_locator(mpl.ticker.NullLocator())


def _shift(panel: Axes, answers: pd.DataFrame, optima: pd.DataFrame) -> None:
    """The whole shift and each effect by itself; an arrow where there is a bound alone."""
    places = {f"ln rate, {name}": place for place, name in enumerate(("shift", *EFFECTS))}
    lengths = sorted(set(answers["num_steps"]))
    finished = set(optima.loc[optima["finished"] & (optima["arm"] == SMALL.name), "num_steps"])
    for offset, num_steps in enumerate(lengths):
        here = answers[(answers["num_steps"] == num_steps) & answers["quantity"].isin(places)]
        here = here.assign(x=here["quantity"].map(places) + 0.25 * (offset - (len(lengths) - 1) / 2))
        inside, told = (BLACK, "") if num_steps in finished else ("white", ", grid not finished")
        look: dict[str, Any] = {"fmt": "os"[offset % 2], "color": BLACK, "mfc": inside}
        known = here.dropna(subset=["value"])
        ends = [(known["value"] - known["low"]).fillna(0), (known["high"] - known["value"]).fillna(0)]
        panel.errorbar(known["x"], known["value"], yerr=ends, label=f"{num_steps:,} steps, 95 %{told}", **look)
        bounds = here[here["value"].isna()]
        for end in ("low", "high"):
            rows = bounds.dropna(subset=[end])
            panel.errorbar(rows["x"], rows[end], yerr=ARROW, lolims=end == "low", uplims=end == "high", **look)
        for account, marker in (("law", "_"), ("mean_angle", "x")):
            said = f"angles alone: {account.replace('_', ' ')}" if offset == 0 else None
            panel.plot(here["x"], here[account], marker, color="0.5", ms=9, label=said)
    panel.axhline(0, color="0.7", lw=0.8)
    names = [name.removeprefix("ln rate, ").replace(" under ", "\nunder ").replace(" at ", "\nat ") for name in places]
    panel.set_xticks(list(places.values()), names, fontsize=8)
    panel.set_xlim(-0.5, len(places) - 0.5)
    panel.set(ylabel=f"ln of best rate, {LARGE.name} over {SMALL.name} start")
    panel.set_title("How far the optimum moves, and by what (arrows: bounds)", fontsize=10)
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
    if panel.has_data():
        _rates(panel, answers["learning_rate"].dropna())
        panel.legend(fontsize=8, frameon=False, loc="upper left")
