"""Figures of runs, each drawn from a table: norm and rotation beside theory and simulation, and the losses."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.reports.page import DPI, Figure
from experiments.reports.png import png_bytes

PANELS = {"weight_rms": "weight RMS", "angular_update": "angular update (rad)"}
THEORY: dict[str, Any] = {"color": "black", "linewidth": 2}
SIMULATION: dict[str, Any] = {"color": "#00b7e0", "linewidth": 1.5, "linestyle": "--"}
MEASURED: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.6}


def trajectory_figure(table: pd.DataFrame, *, title: str, num_runs: int, num_steps: int) -> Figure:
    """Weight RMS and angular update of every matrix of the runs of a setting, under theory and simulation.

    ``table`` is that of `experiments.agreement.trajectories.trajectory_table`.
    """
    measured, theory, simulated = (_lines(table, source) for source in ("measured", "theory", "simulation"))
    kinds = list(dict.fromkeys(_kind(matrix) for matrix, _ in measured))
    colours = {kind: _colour(index) for index, kind in enumerate(kinds)}
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), constrained_layout=True)
    for axis, (quantity, label) in zip(axes, PANELS.items(), strict=True):
        for matrix, line in measured:
            axis.plot(line["step"], line[quantity], color=colours[_kind(matrix)], **MEASURED)
        for _, line in theory:
            axis.plot(line["step"], line[quantity], **THEORY)
        for _, line in simulated:
            axis.plot(line["step"], line[quantity], **SIMULATION)
        axis.set(xlabel="step", ylabel=label, xlim=(0, num_steps))
        if quantity == "angular_update" and any(np.ptp(np.log(line[quantity])) > 1 for _, line in theory):
            axis.set_yscale("log")  # angles may start far from where they settle
    handles = [plt.Line2D([], [], **THEORY, label="theory")]
    if simulated:
        handles.append(plt.Line2D([], [], **SIMULATION, label="simulation"))
    handles += [plt.Line2D([], [], color=colour, label=kind) for kind, colour in colours.items()]
    axes[0].legend(handles=handles, fontsize=7, ncols=2)
    return Figure(
        name=f"trajectory-{_slug(title)}",
        title=title,
        caption=f"Thin lines: each block matrix of {num_runs} run(s). Nothing is fitted.",
        png=png_bytes(figure, DPI),
        table=table,
    )


def loss_figure(table: pd.DataFrame, window: int = 20) -> Figure:
    """Training loss of every run, a running mean over ``window`` steps.

    ``table`` is that of `experiments.reports.run_tables.losses_table`, with at least one run.
    """
    figure, axis = plt.subplots(figsize=(11, 3.8), constrained_layout=True)
    colours = {name: _colour(index) for index, name in enumerate(dict.fromkeys(table["setting"]))}
    seen: set[str] = set()
    for _, run in table.groupby(level="place"):
        setting, architecture = run["setting"].iloc[0], run["architecture"].iloc[0]
        label = f"{setting}, {architecture}"
        axis.plot(
            run["step"],
            run["loss"].rolling(window, min_periods=1).mean(),
            color=colours[setting],
            linewidth=0.8,
            linestyle="-" if architecture == "scale-invariant" else ":",
            label=None if label in seen else label,
        )
        seen.add(label)
    axis.set(xlabel="step", ylabel="training loss (nats per token)")
    axis.legend(fontsize=7)
    return Figure(
        name="loss",
        title="Training loss",
        caption=f"Running mean over {window} steps.",
        png=png_bytes(figure, DPI),
        table=table[["run", "step", "loss"]],
    )


def _lines(table: pd.DataFrame, source: str) -> list[tuple[str, pd.DataFrame]]:
    """Every matrix of every trajectory of a source, with its records."""
    rows = table[table.index.get_level_values("source") == source]
    trajectories = [part for _, part in rows.groupby(level="place")]
    return [(str(matrix), line) for part in trajectories for matrix, line in part.groupby("matrix", sort=False)]


def _kind(matrix: str) -> str:
    """``blocks.0.attention.query.weight`` -> ``query``."""
    parts = [part for part in matrix.split(".") if part != "weight"]
    return parts[-1]


def _colour(index: int) -> str:
    """Ten distinct colours, then the same again."""
    return f"C{index % 10}"


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text.lower()).replace("--", "-")
