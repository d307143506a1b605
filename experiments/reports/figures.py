"""Figures of a report: each a PNG and the table it was drawn from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from experiments.agreement.comparison import matching_simulation, setting_name
from experiments.runs.run_files import Run
from gpt.config import TrainConfig
from theory import Trajectory, predict_trajectory

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = {"weight_rms": "weight RMS", "angular_update": "angular update (rad)"}
THEORY: dict[str, Any] = {"color": "black", "linewidth": 2}
SIMULATION: dict[str, Any] = {"color": "#00b7e0", "linewidth": 1.5, "linestyle": "--"}


@dataclass(frozen=True)
class Figure:
    """``name`` is a file stem, ``table`` the numbers behind the picture, one row per point."""

    name: str
    title: str
    caption: str
    png: bytes
    table: pd.DataFrame


def trajectory_figure(title: str, group: Sequence[Run], runs: Sequence[Run]) -> Figure:
    """Weight RMS and angular update of every matrix of one group of runs, under theory and simulation.

    One theory line for each initial RMS that occurs, matrices within 20 % of each other counting as one; the
    simulation is looked up in ``runs``.
    """
    config = group[0].config
    assert isinstance(config, TrainConfig)
    recorded = [run for run in group if len(run.trajectory.steps)]
    parts = [_long_table(run.trajectory, f"measured, seed {run.config.seed}") for run in recorded]
    theories = [
        predict_trajectory(config.optimizer, config.schedule, initial_rms=initial, record_every=config.record_every)
        for initial in _initial_scales(recorded)
    ]
    parts += [_long_table(each, f"theory from {each.weight_rms[0, 0]:.3g}") for each in theories]
    simulation = matching_simulation(runs, group[0])
    if simulation is not None:
        parts.append(_long_table(simulation.trajectory, "simulation"))

    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), constrained_layout=True)
    kinds = list(dict.fromkeys(_kind(matrix) for run in recorded for matrix in run.trajectory.matrices))
    colours = {kind: _colour(index) for index, kind in enumerate(kinds)}
    for axis, (field, label) in zip(axes, PANELS.items(), strict=True):
        for run in recorded:
            values = getattr(run.trajectory, field)
            for j, matrix in enumerate(run.trajectory.matrices):
                axis.plot(run.trajectory.steps, values[:, j], color=colours[_kind(matrix)], linewidth=0.6, alpha=0.6)
        for theory in theories:
            axis.plot(theory.steps, getattr(theory, field)[:, 0], **THEORY)
        if simulation is not None:
            axis.plot(simulation.trajectory.steps, getattr(simulation.trajectory, field)[:, 0], **SIMULATION)
        axis.set(xlabel="step", ylabel=label, xlim=(0, config.schedule.num_steps))
        if field == "angular_update" and any(np.ptp(np.log(t.angular_update[:, 0])) > 1 for t in theories):
            axis.set_yscale("log")  # angles may start far from where they settle
    handles = [plt.Line2D([], [], **THEORY, label="theory")]
    if simulation is not None:
        handles.append(plt.Line2D([], [], **SIMULATION, label="simulation"))
    handles += [plt.Line2D([], [], color=colour, label=kind) for kind, colour in colours.items()]
    axes[0].legend(handles=handles, fontsize=7, ncols=2)
    return Figure(
        name=f"trajectory-{_slug(title)}",
        title=title,
        caption=f"Thin lines: each block matrix of {len(group)} run(s). Nothing is fitted.",
        png=as_png(figure),
        table=pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["series", "matrix", "step"]),
    )


def loss_figure(runs: Sequence[Run], window: int = 20) -> Figure:
    """Training loss of every run, a running mean over ``window`` steps."""
    figure, axis = plt.subplots(figsize=(11, 3.8), constrained_layout=True)
    settings = list(dict.fromkeys(setting_name(run.config) for run in runs if isinstance(run.config, TrainConfig)))
    colours = {name: _colour(index) for index, name in enumerate(settings)}
    seen: set[str] = set()
    parts = []
    for run in runs:
        assert isinstance(run.config, TrainConfig)
        name, architecture = setting_name(run.config), run.config.model.architecture
        smoothed = pd.Series(run.losses).rolling(window, min_periods=1).mean()
        label = f"{name}, {architecture}"
        axis.plot(
            smoothed,
            color=colours[name],
            linewidth=0.8,
            linestyle="-" if architecture == "scale-invariant" else ":",
            label=None if label in seen else label,
        )
        seen.add(label)
        parts.append(pd.DataFrame({"run": run.path.name, "step": np.arange(len(run.losses)), "loss": run.losses}))
    axis.set(xlabel="step", ylabel="training loss (nats per token)")
    axis.legend(fontsize=7)
    return Figure(
        name="loss",
        title="Training loss",
        caption=f"Running mean over {window} steps.",
        png=as_png(figure),
        table=pd.concat(parts, ignore_index=True),
    )


def _long_table(trajectory: Trajectory, series: str) -> pd.DataFrame:
    records, matrices = trajectory.weight_rms.shape
    return pd.DataFrame(
        {
            "series": series,
            "matrix": np.tile(trajectory.matrices, records),
            "step": np.repeat(trajectory.steps, matrices),
            **{field: getattr(trajectory, field).ravel() for field in PANELS},
        }
    )


def _kind(matrix: str) -> str:
    """``blocks.0.attention.query.weight`` -> ``query``."""
    parts = [part for part in matrix.split(".") if part != "weight"]
    return parts[-1]


def _initial_scales(runs: Sequence[Run]) -> list[float]:
    """Medians of the initial RMS over clusters of matrices, split where two neighbours differ by more than 20 %."""
    values = np.sort(np.concatenate([run.trajectory.weight_rms[0] for run in runs])) if runs else np.empty(0)
    values = values[values > 0]
    clusters = np.split(values, np.flatnonzero(np.diff(np.log(values)) > np.log(1.2)) + 1)
    return [float(np.median(cluster)) for cluster in clusters if len(cluster)]


def _colour(index: int) -> str:
    """Ten distinct colours, then the same again."""
    return f"C{index % 10}"


def as_png(figure: plt.Figure) -> bytes:
    """Drawn and closed."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text.lower()).replace("--", "-")
