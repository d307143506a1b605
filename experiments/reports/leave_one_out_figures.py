"""Figures of `experiments.agreement.leave_one_out`, each drawn from one of its tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from experiments.agreement.leave_one_out import LEVEL, NO_MOVEMENT, LeaveOneOut
from experiments.figures.style import GREY, SMALL, blank, colour, log_axis, shortened, styled
from experiments.reports.page import DPI, WIDTH, Figure
from experiments.reports.png import png_bytes
from experiments.runs.simulation import COMPARED

MARKS = {"theory": ("o", colour(0)), "simulation": ("D", colour(1))}
MOST_NAMED = 30  # settings whose names fit beside an axis
FARTHEST = 20.0  # ratio at which an axis of relaxation times ends
NAMES = {"weight_rms": "weight RMS", "angular_update": "angle per step"}


@styled
def leave_one_out_figures(found: LeaveOneOut) -> list[Figure]:
    """Those for which there is something to draw."""
    moving = found.matrices[found.matrices["rms_error"] > NO_MOVEMENT] if len(found.matrices) else found.matrices
    figures = []
    if len(moving):
        figures.append(_error_figure(moving, len(found.matrices) - len(moving)))
    if len(found.calibration) and found.calibration["inside"].notna().any():
        figures.append(_calibration_figure(found.calibration.dropna(subset=["inside"])))
    if len(found.relaxations):
        figures.append(_relaxation_figure(found.relaxations))
    return figures


def _error_figure(matrices: pd.DataFrame, num_exact: int) -> Figure:
    settings = list(dict.fromkeys(matrices["setting"]))
    picture, axes = _panels(settings, matrices["source"])
    for ax, quantity in zip(axes, COMPARED, strict=True):
        own = matrices[matrices["quantity"] == quantity]
        _points(ax, own, "rms_error", settings, alpha=0.5)
        log_axis(ax.xaxis, own["rms_error"].to_numpy(float))
        ax.set_title(NAMES[quantity], loc="left")
        ax.set_xlabel("RMS of ln(measured / predicted)")
    exact = (
        f" {num_exact} errors below {NO_MOVEMENT:g} have no point: a norm that the optimizer keeps, as AdamH does,"
        " is off by rounding alone."
        if num_exact
        else ""
    )
    return Figure(
        name="held-out-errors",
        title="Error of every matrix",
        caption="A point for each block matrix of each run, over all its records. Nothing is fitted." + exact,
        png=png_bytes(picture, DPI),
        table=matrices,
    )


def _calibration_figure(calibration: pd.DataFrame) -> Figure:
    settings = list(dict.fromkeys(calibration["setting"]))
    picture, axes = _panels(settings, calibration["source"])
    for ax, quantity in zip(axes, COMPARED, strict=True):
        _points(ax, calibration[calibration["quantity"] == quantity], "inside", settings, alpha=1.0)
        ax.axvline(LEVEL, color=GREY, linewidth=1)
        ax.set_title(NAMES[quantity], loc="left")
        ax.set(xlim=(-0.03, 1.03), xlabel="share of points inside")
    return Figure(
        name="held-out-inside",
        title="Calibration on held-out settings",
        caption=f"Share of the points of a setting inside the interval made from the others; the line is {LEVEL:.0%}.",
        png=png_bytes(picture, DPI),
        table=calibration,
    )


def _relaxation_figure(relaxations: pd.DataFrame) -> Figure:
    rows = relaxations.sort_values(["setting", "ratio"], kind="stable").reset_index(drop=True)
    settings = list(dict.fromkeys(rows["setting"]))
    picture = blank(WIDTH, 1.2 + 0.5 * min(len(settings), MOST_NAMED))
    ax = picture.subplots()
    bounds = rows[["low", "high"]].to_numpy(float) / rows["predicted"].to_numpy(float)[:, None]
    low, high = np.clip(bounds, 1 / FARTHEST, FARTHEST).T
    for place, (_, part) in enumerate(rows.groupby("setting", sort=False)):
        at = place + (np.linspace(-0.36, 0.36, len(part)) if len(part) > 1 else np.zeros(1))
        ax.hlines(at, low[part.index], high[part.index], color=colour(place % 2), linewidth=0.8)
        ax.plot(np.clip(part["ratio"], 1 / FARTHEST, FARTHEST), at, "o", ms=2, color=colour(place % 2))
    ax.axvline(1, color="black", linewidth=1)
    log_axis(ax.xaxis, np.concatenate([low, high, [1.0]]))
    ax.set_xlabel("fitted / theory")
    _name_settings(ax, settings)
    holds = float(rows["holds_theory"].mean())
    return Figure(
        name="held-out-relaxation",
        title="Relaxation time of the squared norm, by fit",
        caption=f"A bar for each matrix that starts far from equilibrium, 95 %; {holds:.0%} of {len(rows)} hold the"
        " theory's. The interval knows the noise of the steps, not a signal that drifts.",
        png=png_bytes(picture, DPI),
        table=rows,
    )


def _panels(settings: Sequence[str], sources: pd.Series) -> tuple[Picture, Sequence[Axes]]:
    """One above the other, their rows named, and the ``sources`` that have a point."""
    picture = blank(WIDTH, 2 * (0.9 + 0.24 * min(len(settings), MOST_NAMED)))
    axes = list(picture.subplots(2, 1))
    for ax in axes:
        _name_settings(ax, settings)
    drawn = {name: mark for name, mark in MARKS.items() if name in set(sources)}
    handles = [axes[0].plot([], [], mark, color=shade, label=name)[0] for name, (mark, shade) in drawn.items()]
    picture.legend(handles=handles, loc="outside upper right", ncols=2, frameon=False)
    return picture, axes


def _points(ax: Axes, rows: pd.DataFrame, column: str, settings: Sequence[str], *, alpha: float) -> None:
    for shift, (source, (mark, shade)) in zip((-0.15, 0.15), MARKS.items(), strict=True):
        part = rows[rows["source"] == source]
        height = [settings.index(name) + shift for name in part["setting"]]
        ax.plot(part[column], height, mark, ms=3, mew=0, alpha=alpha, color=shade)


def _name_settings(ax: Axes, settings: Sequence[str]) -> None:
    """From above to below; every so many where there are too many."""
    named = settings[:: -(-len(settings) // MOST_NAMED)]
    ax.set_yticks([settings.index(name) for name in named], [shortened(name, 40) for name in named], fontsize=SMALL)
    ax.set_ylim(len(settings) - 0.4, -0.6)
