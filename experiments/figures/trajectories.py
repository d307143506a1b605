"""Weight RMS and angle per step over a run: closed forms of several settings, and a simulation against its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from experiments.figures.colours import GREY
from experiments.figures.style import (
    LABELS,
    SMALL,
    EndLabel,
    blank,
    captioned,
    colour,
    dashes,
    is_wide,
    label_ends,
    log_axis,
    positive,
    styled,
    told,
)
from theory import Trajectory

Array = NDArray[np.float64]

QUANTITIES = ("weight_rms", "angular_update")
MOST_IN_LEGEND = 6  # settings that are named in a legend; more are named where they end
MOST_MARKED = 12  # settings whose equilibria and transients do not hide each other
DEEPEST = 1e4  # ratio that an axis of angles spans at most: under a schedule that ends at zero they go on falling
CUT = " What is less than a 10,000th of the largest lies below the picture."
WIDTH, HEIGHT = 10.0, 3.6
AWAY = 6.0  # points between a mark and its name
THEORY, SIMULATION = "#000000", colour(0)


@dataclass(frozen=True, kw_only=True)
class PredictedRun:
    """A setting by its ``name``, with its trajectory of one matrix; equilibrium and end of the transient, None where
    there is none. passes_equilibrium : that end is a crossing, by `theory.settling.passes_equilibrium`."""

    name: str
    trajectory: Trajectory
    equilibrium_rms: float | None
    angular_update_equilibrium: float | None
    transient_steps: int | None
    passes_equilibrium: bool = False


@styled
def prediction_figure(runs: Sequence[PredictedRun], *, title: str, tolerance: float) -> Figure:
    """Every setting's curve, its equilibrium, and where its transient ends; ``title`` : what they have in common."""
    figure = blank(WIDTH, HEIGHT + 0.6)
    panels = figure.subplots(1, 2)
    marked = len(runs) <= MOST_MARKED
    num_named, cut = len(runs), False
    for ax, quantity in zip(panels, QUANTITIES, strict=True):
        ends, drawn = [], []
        for place, run in enumerate(runs):
            steps, values = run.trajectory.steps, getattr(run.trajectory, quantity)[:, 0]
            settled = _settled(run, quantity)
            ax.plot(
                steps,
                np.where(values > 0, values, np.nan),
                color=colour(place),
                linestyle=dashes(place),
                marker="o" if len(steps) == 1 else None,
                clip_on=len(steps) > 1,
                label=run.name,
            )
            drawn += [values, [settled] if marked and settled is not None else []]
            if marked and settled is not None:
                ax.axhline(settled, color=colour(place), linewidth=0.9, linestyle=":", label=f"equilibrium {run.name}")
                _mark_transient(ax, run, values, colour(place))
            ends.append(EndLabel(run.name, float(values[-1]), colour(place)))
            if len(runs) == 1 and settled is not None:
                ends = [EndLabel("equilibrium", settled, GREY)]
        below = finish_panel(ax, quantity, runs[0].trajectory.steps, np.concatenate([np.ravel(part) for part in drawn]))
        cut |= below
        if below:  # a point that is not clipped would take room where it lies
            for line in ax.lines:
                line.set_clip_on(True)
        if marked and len(runs) == 1:
            _name_transient(ax, runs[0], quantity)
        if 1 < len(runs) <= MOST_IN_LEGEND:
            continue
        named = label_ends(ax, ends, height=0.72 * HEIGHT)
        if quantity == QUANTITIES[0] and len(runs) > 1:
            num_named = named
    if 1 < len(runs) <= MOST_IN_LEGEND:
        names = [run.name for run in runs]
        handles = [each for each in panels[1].lines if each.get_label() in names]
        panels[1].legend(handles, names, loc="best", fontsize=SMALL, framealpha=0.7)
    marks = {
        "equilibrium": "Dotted: equilibrium at the peak rate.",
        "transient ends": f"Circle: the transient ends, within {100 * tolerance:.3g} % of it.",
        "first within": (
            f"Diamond: first within {100 * tolerance:.3g} % of the peak rate's equilibrium, which the norm passes as"
            " the rate falls."
        ),
    }
    caption = told(figure, marks)
    if all(run.equilibrium_rms is None for run in runs):
        caption = "Without decay there is no equilibrium."
    if not marked:
        caption = f"Equilibria and ends of transients are not marked for more than {MOST_MARKED} settings."
    if num_named < len(runs):
        caption += f" {num_named} of {len(runs)} curves are named."
    caption += CUT if cut else ""
    number = "" if len(runs) == 1 else f" of {len(runs)} settings"
    caption = f"{caption} Closed form: nothing is fitted, no error bars.".strip()
    captioned(figure, WIDTH, f"Closed form{number}: {title}", caption)
    return figure


@styled
def simulation_figure(
    simulated: Trajectory,
    error: Trajectory,
    theory: Trajectory | None,
    compared: NDArray[np.bool_] | None = None,
    *,
    title: str,
    why_not: str | None = None,
) -> Figure:
    """A simulation of one matrix with its standard errors beside the closed form, and their relative difference.

    ``theory`` is at the same steps, None without one, for the reason ``why_not``. ``compared`` (num_records,): the
    records that were compared; those that were not are grey in the difference.
    """
    rows, cut = 1 if theory is None else 2, False
    figure = blank(WIDTH, HEIGHT * (0.8 * rows + 0.35))
    grid = figure.subplots(rows, 2, squeeze=False, sharex="col")
    for column, quantity in enumerate(QUANTITIES):
        ax, steps = grid[0, column], simulated.steps
        values, spread = (getattr(each, quantity)[:, 0] for each in (simulated, error))
        seen, ends = np.where(values > 0, values, np.nan), []
        ax.fill_between(steps, seen - 2 * spread, seen + 2 * spread, color=SIMULATION, alpha=0.3, linewidth=0)
        ax.plot(steps, seen, color=SIMULATION, marker="o" if len(steps) == 1 else None, label="simulation")
        drawn = [values]
        if theory is not None:
            expected = getattr(theory, quantity)[:, 0]
            line = np.where(expected > 0, expected, np.nan)
            ax.plot(steps, line, color=THEORY, linestyle=dashes(1), linewidth=1.1, label="closed form")
            ends.append(EndLabel("closed form", float(expected[-1]), THEORY))
            drawn.append(expected)
            chosen = np.ones(len(steps), bool) if compared is None else compared
            _difference(grid[1, column], steps, values, spread, expected, chosen)
            grid[1, column].set_ylabel(f"difference in {'RMS' if column == 0 else 'angle'} (%)")
        ends.append(EndLabel("simulation", float(values[-1]), SIMULATION))
        cut |= finish_panel(ax, quantity, steps, np.concatenate(drawn))
        label_ends(ax, ends, height=0.6 * HEIGHT)
        ax.set_xlabel(LABELS["step"] if theory is None else "")
    caption = "Band: two Monte Carlo standard errors either side of the simulation."
    if theory is None:
        caption += f" No closed form: {why_not}." if why_not else ""
    elif compared is not None and not compared.all():
        caption += " Grey: records that are not compared (start of the momentum, updates below float32)."
    caption += CUT if cut else ""
    captioned(figure, WIDTH, f"Simulation of noise: {title}", caption)
    return figure


def _settled(run: PredictedRun, quantity: str) -> float | None:
    return run.equilibrium_rms if quantity == "weight_rms" else run.angular_update_equilibrium


def _mark_transient(ax: Axes, run: PredictedRun, values: Array, shade: str) -> None:
    step = run.transient_steps
    if step is None:
        return
    steps = run.trajectory.steps
    height = float(np.interp(step, steps, values))
    marker, meaning = ("D", "first within") if run.passes_equilibrium else ("o", "transient ends")
    ax.plot([step], [height], marker, color=shade, markerfacecolor="white", label=f"{meaning} {run.name}")


def _name_transient(ax: Axes, run: PredictedRun, quantity: str) -> None:
    """The step where a transient ends, beside it where nothing is drawn; scale and limits of the axes are final."""
    step, settled = run.transient_steps, _settled(run, quantity)
    if step is None or settled is None:
        return
    steps, values = run.trajectory.steps, getattr(run.trajectory, quantity)[:, 0]
    height = float(np.interp(step, steps, values))
    points = (ax.transData + ax.transAxes.inverted()).transform
    size = np.array([0.35 * WIDTH, 0.72 * HEIGHT]) * 72  # of the axes, points, about
    seen = values > 0
    lines = [Path(size * points(np.column_stack([steps[seen], values[seen]])))]
    lines.append(Path(size * points([(0, settled), (steps[-1] + 1, settled)])))
    at, text = size * points((step, height)), f"step {step}"
    wide = 0.58 * SMALL * len(text)
    rises = (run.trajectory.weight_rms[0, 0] < (run.equilibrium_rms or 0)) == (quantity == "weight_rms")
    places, hits = [], []
    for far, below, left in product((1, 2.5, 4), (rises, not rises), (False, True)):
        corner = np.array([-AWAY - wide if left else AWAY, -far * AWAY - SMALL if below else far * AWAY])
        low, high = at + corner, at + corner + (wide, SMALL)
        outside, box = bool(np.any(low < 0) or np.any(high > size)), Bbox([low, high]).padded(2)
        places.append((float(corner[0]), float(corner[1])))
        hits.append(outside + sum(line.intersects_bbox(box, filled=False) for line in lines))
    best = places[int(np.argmin(hits))]
    ax.annotate(text, (step, height), xytext=best, textcoords="offset points", va="bottom", fontsize=SMALL)


def _difference(
    ax: Axes, steps: NDArray[np.int64], values: Array, spread: Array, expected: Array, compared: NDArray[np.bool_]
) -> None:
    with np.errstate(divide="ignore", invalid="ignore"):
        relative, error = 100 * (values / expected - 1), 100 * spread / expected
    seen = np.where(compared & np.isfinite(relative), relative, np.nan)
    kept, width = seen[np.isfinite(seen)], error[np.isfinite(seen)]
    largest = float(np.max(np.abs(kept) + 2 * width)) if len(kept) else 1.0
    reach = 1.15 * largest if largest > 0 else 1.0
    ax.axhline(0, color=THEORY, linewidth=1.1, linestyle=dashes(1))
    if not compared.all():
        beside = np.where(~compared & np.isfinite(relative), relative, np.nan)
        ax.plot(steps, beside, color="#b0b0b0", linewidth=1, marker=".", label="not compared")
    ax.fill_between(steps, seen - 2 * error, seen + 2 * error, color=SIMULATION, alpha=0.3, linewidth=0)
    ax.plot(steps, seen, color=SIMULATION, linewidth=1, marker="o" if len(kept) == 1 else None, label="difference")
    ax.set(ylim=(-reach, reach), xlabel=LABELS["step"])


def finish_panel(ax: Axes, quantity: str, steps: NDArray[np.int64], values: Array) -> bool:
    """Scales, limits and labels of a run; whether something lies below the picture."""
    known = positive(values)
    if is_wide(values):
        bottom = max(known.min(), known.max() / DEEPEST)
        log_axis(ax.yaxis, [bottom, known.max()])
        ax.set_ylim(bottom / 1.3, known.max() * 1.3)
    else:
        ax.set_ylim(0, 1.12 * float(known.max(initial=0.0)) or 1.0)
    ax.set_xlim(0, int(steps[-1]) + 1)  # the run ends behind its last step: a tick there is in the picture
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set(xlabel=LABELS["step"], ylabel=LABELS[quantity])
    return is_wide(values) and bool(known.min() < known.max() / DEEPEST)
