"""Somebody else's run: weight RMS, angle per step and learning rate from its log, beside what theory says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from experiments.figures.colours import GREY
from experiments.figures.style import LABELS, EndLabel, blank, captioned, colour, dashes, label_ends, said, styled
from experiments.figures.trajectories import CUT, finish_panel

Array = NDArray[np.float64]
Line = tuple[str, str, dict[str, Any]]  # the key of a series, its name in words, how it is drawn

MEASURED, THEORY = colour(0), "#000000"
PANELS: tuple[tuple[str, tuple[Line, ...]], ...] = (
    (
        "weight_rms",
        (
            ("weight_rms", "logged", {"color": MEASURED}),
            ("weight_rms_measured_direction", "theory, logged direction", {"color": colour(1), "linestyle": dashes(2)}),
            ("weight_rms_predicted", "theory", {"color": THEORY, "linestyle": dashes(1)}),
        ),
    ),
    (
        "angular_update",
        (
            ("angular_update", "logged", {"color": MEASURED}),
            ("angular_update_predicted", "theory", {"color": THEORY, "linestyle": dashes(1)}),
        ),
    ),
    ("learning_rate", (("learning_rate", "logged", {"color": GREY}),)),
)
WIDTH, HEIGHT = 10.0, 3.3


@styled
def reading_figure(
    series: Mapping[str, Sequence[float | None]], *, title: str, settled: int | None, angles_from: str, missing: str
) -> Figure:
    """Three panels over the steps; ``series`` : `experiments.logs.answer.Reading.series`, all matrices together.

    settled : the step at which equilibrium was reached, None for never. angles_from : what tells the angles. missing :
    what to say where no norm or angle is known.
    """
    figure = blank(WIDTH, 2 * HEIGHT)
    grid = figure.add_gridspec(2, 2)
    panels = (figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, :]))
    measured, cut, drawn = any(_known(series, "weight_rms")), False, set[str]()
    for ax, (quantity, lines) in zip(panels, PANELS, strict=True):
        shown = [_angle(line, angles_from, measured) if line[0] == "angular_update" else line for line in lines]
        names, below = _panel(ax, quantity, series, shown, missing)
        drawn, cut = drawn | (names if quantity != "learning_rate" else set()), cut | below
    norm = panels[0]
    caption = []
    if "logged" in drawn:
        caption.append("Solid: the log, all matrices together" + (f"; its angle: {angles_from}." if measured else "."))
    if "theory" in drawn:
        caption.append("Dashed: theory" + ("." if measured else "; no norm is logged."))
    if "theory, logged direction" in drawn:
        caption.append("Dash-dotted: theory with the logged direction.")
    if settled is not None and norm.axison:
        norm.axvline(settled, color=GREY, linewidth=0.9, linestyle=":", label="equilibrium")
        caption.append(f"Dotted: step {settled}, where equilibrium is reached.")
    text = " ".join([*caption, "One run: no error bars."]) + (CUT if cut else "")
    captioned(figure, WIDTH, f"A run from its log: {title}", text)
    return figure


def _panel(
    ax: Axes, quantity: str, series: Mapping[str, Sequence[float | None]], lines: Sequence[Line], missing: str
) -> tuple[set[str], bool]:
    """Draws what is known of a quantity; the names of the curves, and whether something lies below the picture."""
    steps, drawn, ends = np.array(series["step"], np.float64), [], []
    for key, name, how in lines:
        known = _known(series, key)
        if not any(known):
            continue
        values = np.array([np.nan if value is None else value for value in series[key]], np.float64)
        seen = values if quantity == "learning_rate" else np.where(values > 0, values, np.nan)
        ax.plot(steps, seen, marker="o" if sum(known) == 1 else None, label=name, **how)
        drawn.append(values)
        ends.append(EndLabel(name, float(values[known][-1]), how["color"]))
    if not drawn:
        said(ax, missing)
        return set(), False
    names = {end.text for end in ends}
    if quantity == "learning_rate":
        peak = float(np.nanmax(drawn[0], initial=0.0))
        ax.set(ylim=(0, 1.12 * peak or 1.0), xlabel=LABELS["step"], ylabel=LABELS["learning_rate"])
        _whole_run(ax, steps)
        return names, False
    below = finish_panel(ax, quantity, steps.astype(np.int64), np.concatenate(drawn))
    _whole_run(ax, steps)
    label_ends(ax, ends, height=0.7 * HEIGHT)
    return names, below


def _whole_run(ax: Axes, steps: Array) -> None:
    """One axis of steps for all panels, up to the number of steps: the last one begins one before."""
    ax.set_xlim(0, float(steps[-1]) + 1)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _known(series: Mapping[str, Sequence[float | None]], key: str) -> list[bool]:
    return [value is not None for value in series.get(key, ())]


def _angle(line: Line, angles_from: str, measured: bool) -> Line:
    """Nobody logs angles: they are what norm and direction make of them, and theory's where no norm is logged."""
    if measured:
        return line[0], "logged" if angles_from.endswith("logged direction") else "from the logged norm", line[2]
    return line[0], "theory", {"color": THEORY, "linestyle": dashes(1)}
