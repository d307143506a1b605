"""Figures of runs, each drawn from a table: norm and rotation beside theory and simulation, and the losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.agreement.matrix_networks import kind_of
from experiments.figures.style import LABELS, blank, colour, dashes, is_wide, log_axis, shortened, styled
from experiments.reports.page import DPI, WIDTH, Figure
from experiments.reports.png import png_bytes
from experiments.text import counted

PANELS = ("weight_rms", "angular_update")
THEORY: dict[str, Any] = {"color": "black", "linewidth": 1.8}
SIMULATION: dict[str, Any] = {"color": "#777777", "linewidth": 1.4, "linestyle": "--"}
MEASURED: dict[str, Any] = {"linewidth": 0.9, "alpha": 0.8}
LOWEST = 0.01  # share of the values that may lie below the picture: the first steps of a warmup hardly turn
MOST_NAMED = 12  # settings in a legend


@styled
def trajectory_figure(table: pd.DataFrame, *, title: str, num_runs: int, num_steps: int) -> Figure:
    """Weight RMS above and angular update below: medians and range over the block matrices of every run of a setting,
    under theory and simulation; by kind of matrix where the theory is.

    ``table`` is that of `experiments.agreement.trajectories.trajectory_table`.
    """
    source = table.index.get_level_values("source")
    measured, theory, simulated = (table[source == name] for name in ("measured", "theory", "simulation"))
    by_kind = bool(theory["series"].str.startswith("theory of").any())
    kinds = measured["matrix"].map(kind_of) if by_kind else pd.Series("block matrices", measured.index, dtype=str)
    names = list(dict.fromkeys(kinds))
    picture = blank(WIDTH, 5.6)
    for ax, quantity in zip(picture.subplots(2, 1, sharex=True), PANELS, strict=True):
        for place, name in enumerate(names):
            _measured(ax, measured[kinds == name], quantity, colour(place))
        for series, line in theory.groupby("series", sort=False):
            kind = str(series).removeprefix("theory of ").rpartition(", from")[0]
            shade = {"color": colour(names.index(kind)), "dashes": (6, 1.5)} if kind in names else {}
            ax.plot(line["step"], line[quantity], **THEORY | shade)
        for _, line in simulated.groupby("matrix", sort=False):
            ax.plot(line["step"], line[quantity], **SIMULATION)
        _scale(ax, table[quantity].to_numpy(float))
        ax.set(ylabel=LABELS[quantity], xlim=(0, max(num_steps, 1)))
    ax.set_xlabel(LABELS["step"])
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    handles = [Line2D([], [], color=colour(place), label=name) for place, name in enumerate(names)]
    handles.append(Line2D([], [], **THEORY | ({"dashes": (6, 1.5)} if by_kind else {}), label="theory"))
    if len(simulated):
        handles.append(Line2D([], [], **SIMULATION, label="simulated noise"))
    picture.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    return Figure(
        name=f"trajectory-{_slug(title)}",
        title=title,
        caption=f"Medians over matrices of {counted(num_runs, 'run')}, and the band of all of them. {_spread(measured)}"
        " Nothing is fitted.",
        png=png_bytes(picture, DPI),
        table=table,
    )


def _measured(ax: Axes, rows: pd.DataFrame, quantity: str, shade: str) -> None:
    by_step = rows.groupby("step")[quantity]
    low, high = by_step.min(), by_step.max()
    ax.fill_between(low.index, low, high, color=shade, alpha=0.15, linewidth=0)
    for _, run in rows.groupby(level="place"):
        line = run.groupby("step")[quantity].median()
        ax.plot(line.index, line, color=shade, marker="o" if len(line) == 1 else None, **MEASURED)


def _scale(ax: Axes, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    known = values[np.isfinite(values) & (values > 0)]
    if len(known) and is_wide(known):
        bottom = float(np.quantile(known, LOWEST))
        log_axis(ax.yaxis, [bottom, known.max()])
        ax.set_ylim(bottom / 1.3, known.max() * 1.3)
    elif len(known):
        ax.set_ylim(0, 1.08 * known.max())


def _spread(measured: pd.DataFrame) -> str:
    """How far the medians over matrices, averaged over the second half of the run, lie apart between the seeds."""
    late = measured[measured["step"] >= measured["step"].max() / 2]
    medians = late.groupby(["series", "step"])[list(PANELS)].median().groupby("series").mean()
    if len(medians) < 2:
        return "One seed: how seeds differ is not known."
    apart = (medians.max() - medians.min()) / medians.mean()
    return (
        f"{len(medians)} seeds: over the second half they differ by {apart['weight_rms']:.1%} in RMS and"
        f" {apart['angular_update']:.1%} in angle, largest less smallest."
    )


@styled
def loss_figure(table: pd.DataFrame, window: int = 20) -> Figure:
    """Training loss of every setting: mean over its runs of a running mean over ``window`` steps, and their range.

    ``table`` is that of `experiments.reports.run_tables.losses_table`, with at least one run.
    """
    smooth = table.assign(
        loss=table.groupby(level="place")["loss"].transform(lambda loss: loss.rolling(window, min_periods=1).mean())
    )
    groups = smooth.groupby(["setting", "architecture"], sort=False)
    shown = min(len(groups), MOST_NAMED)
    picture = blank(WIDTH, 3.4 + 0.17 * shown)
    ax = picture.subplots()
    apart = [0.0]
    for place, ((setting, architecture), rows) in enumerate(groups):
        by_step = rows.groupby("step")["loss"]
        mean, low, high = by_step.mean(), by_step.min(), by_step.max()
        style: dict[str, Any] = {"color": colour(place), "linestyle": dashes(place // 7 + place % 2), "linewidth": 1}
        name = shortened(f"{setting}, {architecture}", 60) if place < shown else None
        ax.plot(mean.index, mean, marker="o" if len(mean) == 1 else None, label=name, **style)
        ax.fill_between(mean.index, low, high, color=colour(place), alpha=0.15, linewidth=0)
        apart.append(float(high.iloc[-1] - low.iloc[-1]))
    ax.set(xlabel=LABELS["step"], ylabel="training loss (nats per token)")
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    picture.legend(loc="outside lower center", frameon=False)
    caption = f"Running mean over {window} steps, mean over the seeds of a setting; band: lowest to highest seed."
    if max(apart) > 0:
        caption += f" At the end seeds of a setting differ by up to {max(apart):.2g}."
    if shown < len(groups):
        caption += f" {shown} of {len(groups)} settings are named."
    return Figure(
        name="loss",
        title="Training loss",
        caption=caption,
        png=png_bytes(picture, DPI),
        table=table[["run", "step", "loss"]],
    )


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text.lower()).replace("--", "-")
