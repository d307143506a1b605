"""Figures of `experiments.agreement.leave_one_out`, each drawn from one of its tables."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from experiments.agreement.leave_one_out import LEVEL, NO_MOVEMENT, LeaveOneOut
from experiments.reports.page import DPI, Figure
from experiments.reports.png import png_bytes
from experiments.runs.simulation import COMPARED

COLOURS = {"theory": "black", "simulation": "#00b7e0"}
MOST_NAMED = 30  # settings whose names fit beside an axis


def leave_one_out_figures(found: LeaveOneOut) -> list[Figure]:
    """Those for which there is something to draw."""
    moving = found.matrices[found.matrices["rms_error"] > NO_MOVEMENT] if len(found.matrices) else found.matrices
    figures = []
    if len(moving):
        figures.append(_error_figure(moving))
    if len(found.calibration) and found.calibration["inside"].notna().any():
        figures.append(_calibration_figure(found.calibration.dropna(subset=["inside"])))
    if len(found.relaxations):
        figures.append(_relaxation_figure(found.relaxations))
    return figures


def _error_figure(matrices: pd.DataFrame) -> Figure:
    settings = list(dict.fromkeys(matrices["setting"]))
    figure, axes = plt.subplots(1, 2, figsize=(11, _height(settings)), constrained_layout=True, sharey=True)
    for axis, quantity in zip(axes, COMPARED, strict=True):
        for shift, (source, colour) in zip((-0.15, 0.15), COLOURS.items(), strict=True):
            rows = matrices[(matrices["quantity"] == quantity) & (matrices["source"] == source)]
            height = [settings.index(name) + shift for name in rows["setting"]]
            axis.plot(rows["rms_error"], height, "o", ms=3, alpha=0.4, color=colour, label=source)
        axis.set(xscale="log", xlabel=f"error of {quantity.replace('_', ' ')}: RMS of ln(measured/predicted)")
    _name_settings(axes[0], settings)
    axes[0].legend(fontsize=7)
    return Figure(
        name="held-out-errors",
        title="Error of every matrix",
        caption="A point for each block matrix of each run, over all its records. Nothing is fitted.",
        png=png_bytes(figure, DPI),
        table=matrices,
    )


def _calibration_figure(calibration: pd.DataFrame) -> Figure:
    settings = list(dict.fromkeys(calibration["setting"]))
    figure, axes = plt.subplots(1, 2, figsize=(11, _height(settings)), constrained_layout=True, sharey=True)
    for axis, quantity in zip(axes, COMPARED, strict=True):
        for source, colour in COLOURS.items():
            rows = calibration[(calibration["quantity"] == quantity) & (calibration["source"] == source)]
            axis.plot(
                rows["inside"], [settings.index(name) for name in rows["setting"]], "o", color=colour, label=source
            )
        axis.axvline(LEVEL, color="grey", linewidth=1)
        axis.set(xlim=(-0.03, 1.03), xlabel=f"share of points inside, {quantity.replace('_', ' ')}")
    _name_settings(axes[0], settings)
    axes[0].legend(fontsize=7)
    return Figure(
        name="held-out-inside",
        title="Calibration on held-out settings",
        caption=f"Share of the points of a setting inside the interval made from the others; the line is {LEVEL:.0%}.",
        png=png_bytes(figure, DPI),
        table=calibration,
    )


def _relaxation_figure(relaxations: pd.DataFrame) -> Figure:
    rows = relaxations.sort_values(["setting", "ratio"], kind="stable").reset_index(drop=True)
    figure, axis = plt.subplots(figsize=(11, 3.8), constrained_layout=True)
    place = np.arange(len(rows))
    for index, (setting, part) in enumerate(rows.groupby("setting", sort=False)):
        ratio = part["ratio"].to_numpy(float)
        limits = np.clip(part[["low", "high"]].to_numpy(float).T / part["predicted"].to_numpy(float), 0.05, 20)
        at, shown = place[part.index], np.clip(ratio, 0.05, 20)
        axis.vlines(at, *limits, color=f"C{index % 10}", linewidth=1)
        axis.plot(at, shown, "o", ms=3, color=f"C{index % 10}", label=str(setting))
    axis.axhline(1, color="black", linewidth=1)
    axis.set(yscale="log", ylabel="fitted / theory", xticks=[])
    axis.set_title("relaxation time of the squared norm", fontsize=10)
    axis.legend(fontsize=7, ncols=2)
    holds = float(rows["holds_theory"].mean())
    return Figure(
        name="held-out-relaxation",
        title="Relaxation time by fit",
        caption=f"A bar for each matrix that starts far from equilibrium, 95 %; {holds:.0%} of {len(rows)} hold the"
        " theory's. The interval knows the noise of the steps, not a signal that drifts.",
        png=png_bytes(figure, DPI),
        table=rows,
    )


def _height(settings: list[str]) -> float:
    return 1.2 + 0.3 * min(len(settings), MOST_NAMED)


def _name_settings(axis: plt.Axes, settings: list[str]) -> None:
    named = settings[:: -(-len(settings) // MOST_NAMED)]
    axis.set_yticks([settings.index(name) for name in named], named, fontsize=7)
    axis.invert_yaxis()
