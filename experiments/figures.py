"""Figures of a report: each a PNG and the table it was drawn from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import pandas as pd

from experiments.comparison import matching_simulation, setting_name
from experiments.run_directory import Run
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


def trajectory_figure(group: Sequence[Run], runs: Sequence[Run]) -> Figure:
    """Weight RMS and angular update of every matrix of one setting's runs, under theory and simulation.

    ``group`` are the training runs of one setting; the simulation is looked up in ``runs``.
    """
    config = group[0].config
    assert isinstance(config, TrainConfig)
    title = f"{setting_name(config.optimizer)}, {config.model.architecture}"
    parts = [_long_table(run.trajectory, f"measured, seed {run.config.seed}") for run in group]
    initial = float(np.median(np.concatenate([run.trajectory.weight_rms[0] for run in group])))
    theory = predict_trajectory(config.optimizer, config.schedule, initial_rms=initial)
    parts.append(_long_table(theory.at(group[0].trajectory.steps), "theory"))
    simulation = matching_simulation(runs, group[0])
    if simulation is not None:
        parts.append(_long_table(simulation.trajectory, "simulation"))

    figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), constrained_layout=True)
    colours = dict(zip(_kinds(group[0].trajectory), plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
    for axis, (field, label) in zip(axes, PANELS.items(), strict=True):
        for run in group:
            values = getattr(run.trajectory, field)
            for j, matrix in enumerate(run.trajectory.matrices):
                axis.plot(run.trajectory.steps, values[:, j], color=colours[_kind(matrix)], linewidth=0.6, alpha=0.6)
        axis.plot(theory.steps, getattr(theory, field)[:, 0], **THEORY)
        if simulation is not None:
            axis.plot(simulation.trajectory.steps, getattr(simulation.trajectory, field)[:, 0], **SIMULATION)
        axis.set(xlabel="step", ylabel=label)
        _scale(axis, field, theory)
    handles = [plt.Line2D([], [], **THEORY, label="theory")]
    if simulation is not None:
        handles.append(plt.Line2D([], [], **SIMULATION, label="simulation"))
    handles += [plt.Line2D([], [], color=colour, label=kind) for kind, colour in colours.items()]
    axes[0].legend(handles=handles, fontsize=7, ncols=2)
    return Figure(
        name=f"trajectory-{_slug(title)}",
        title=title,
        caption=f"Thin lines: each block matrix of {len(group)} run(s). Nothing is fitted.",
        png=_png(figure),
        table=pd.concat(parts, ignore_index=True),
    )


def loss_figure(runs: Sequence[Run], window: int = 20) -> Figure:
    """Training loss of every run, a running mean over ``window`` steps."""
    figure, axis = plt.subplots(figsize=(11, 3.8), constrained_layout=True)
    settings = list(dict.fromkeys(setting_name(run.config.optimizer) for run in runs))
    colours = dict(zip(settings, plt.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]
    seen: set[str] = set()
    parts = []
    for run in runs:
        assert isinstance(run.config, TrainConfig)
        name, architecture = setting_name(run.config.optimizer), run.config.model.architecture
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
        png=_png(figure),
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


def _scale(axis: plt.Axes, field: str, theory: Trajectory) -> None:
    """Angles start far above where they settle: a logarithmic axis shows both."""
    axis.set_xlim(0, theory.steps[-1])
    if field == "angular_update" and np.ptp(np.log(theory.angular_update[1:])) > 1:
        axis.set_yscale("log")


def _kind(matrix: str) -> str:
    """``blocks.0.attention.query.weight`` -> ``query``."""
    parts = [part for part in matrix.split(".") if part != "weight"]
    return parts[-1]


def _kinds(trajectory: Trajectory) -> list[str]:
    return list(dict.fromkeys(_kind(matrix) for matrix in trajectory.matrices))


def _png(figure: plt.Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()


def _slug(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in text.lower()).replace("--", "-")
