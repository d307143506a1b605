"""A conversion from one optimizer to another: learning rates, angles and norms along the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from experiments.figures.style import EndLabel, blank, captioned, colour, dashes, label_ends, styled
from experiments.figures.trajectories import CUT, finish_panel
from theory import Trajectory

Array = NDArray[np.float64]

WIDTH, HEIGHT = 13.0, 3.6
PANELS = {"learning_rate": "learning rate", "angular_update": "", "weight_rms": ""}  # with labels of their own


@dataclass(frozen=True, kw_only=True)
class ConvertedRun:
    """An optimizer by ``name``, the closed form of its run, and its ``learning_rate`` at the same steps."""

    name: str
    trajectory: Trajectory
    learning_rate: Array


@styled
def conversion_figure(runs: Sequence[ConvertedRun], *, title: str, first_step: int, assumed: str) -> Figure:
    """The source, the target, and where there is one the target at the rate of equilibrium, in this order.

    ``first_step`` : from which on the angles of the first two were made equal. ``assumed`` : what the lines are.
    """
    figure = blank(WIDTH, HEIGHT + 0.6)
    cut = False
    for ax, (quantity, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        ends, drawn = [], []
        for place, run in enumerate(runs):
            steps = run.trajectory.steps
            values = run.learning_rate if label else getattr(run.trajectory, quantity)[:, 0]
            seen = np.where(values > 0, values, np.nan)
            marker = "o" if len(steps) == 1 else None
            ax.plot(steps, seen, color=colour(place), linestyle=dashes(place), marker=marker, label=run.name)
            ends.append(EndLabel(run.name, float(values[-1]), colour(place)))
            drawn.append(values)
        cut |= finish_panel(ax, quantity, runs[0].trajectory.steps, np.concatenate(drawn))
        if label:
            ax.set_ylabel(label)
        label_ends(ax, ends, height=0.72 * HEIGHT)
    caption = f"The angles of the first two are the same from step {first_step} on, where the averages have filled."
    if len(runs) > 2:
        caption += f" {runs[2].name}: the rate that turns as far at equilibrium, under the schedule of the source."
    caption += CUT if cut else ""
    captioned(figure, WIDTH, title, f"{caption} {assumed}: nothing is fitted.")
    return figure
