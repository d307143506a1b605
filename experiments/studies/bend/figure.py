"""The figures of the study: optima of all arms along parameters and along tokens, and what the starts differ in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from experiments.bend.scaling_law import AXES
from experiments.figures.colours import GREY
from experiments.figures.style import SMALL, bars, blank, captioned, colour, styled
from experiments.joint.regression import regress
from experiments.reports.png import png_bytes
from experiments.studies.bend.answers import LR, NORMAL_95, PAIRS
from experiments.studies.solvable_bend.answers import TERMS, design_of, log_ratios

Array = NDArray[np.float64]

SIZE, DATA = AXES
LABELS = {SIZE: "parameters N", DATA: "tokens D"}
NAMES = {"adamh": "AdamH"}
APART = 0.03  # in ln, of marks that would cover each other
DRAWN = (PAIRS[2], PAIRS[0], PAIRS[1])  # the pair with the largest transient first


@styled
def draw(optima: pd.DataFrame, answers: pd.DataFrame) -> bytes:
    """A PNG: a column per arm, optima with 95 % intervals along N above and along D below, all on one scale."""
    arms = list(dict.fromkeys(optima["arm"]))
    width = 12.0
    figure = blank(width, 6.4)
    grid = figure.subplots(2, len(arms), sharex="row", sharey=True, squeeze=False)
    for (line, axis), (column, arm) in ((one, two) for one in enumerate(AXES) for two in enumerate(arms)):
        ax, own = grid[line, column], optima[optima["arm"] == arm]
        (other,) = (name for name in AXES if name != axis)
        values = sorted(optima[other].unique())
        for place, (value, shade) in enumerate(zip(values, _shades(values), strict=True)):
            here = own[own[other] == value].sort_values(axis)
            _marks(ax, here, axis, shade, place - (len(values) - 1) / 2)
            style: dict[str, Any] = {"color": shade if axis == SIZE else "black", "linewidth": 1}
            ax.plot(here[axis], here["law"], linestyle=(0, (4, 2)), **style)
        _ticks(ax, axis, optima)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
        found = answers[(answers["who"] == arm) & (answers["rate"] == LR) & (answers["axis"] == axis)]
        ax.set_title("\n".join([*([NAMES.get(arm, f"AdamW, {arm}")] if line == 0 else []), *_words(found)]), loc="left")
        if column == 0:
            ax.set_ylabel("optimal learning rate")
        if column == len(arms) - 1:
            _legend(ax, values, LABELS[other])
    captioned(
        figure,
        width,
        "Best learning rates of four arms that a network cannot tell apart but by its angles",
        "Marks: measured, with 95 % intervals; one without its bar has an open end, one that is missing is flat or"
        " was not run. Dashed: the law of AdamH's runs at"
        " width 32, which knows no number of parameters. Exponent and curvature with 95 % intervals, of all cells of an"
        " arm together.",
    )
    return png_bytes(figure, dpi=110)


@styled
def draw_differences(optima: pd.DataFrame, answers: pd.DataFrame) -> bytes:
    """A PNG: ln(best rate of one start / of another) along D, a panel per pair, with the curve of the study's fit."""
    inside = optima[optima["status"] == "interior"]
    sizes = sorted(optima[SIZE].unique())
    width = 12.0
    figure = blank(width, 4.6)
    panels = figure.subplots(1, len(DRAWN), sharey=True)
    for ax, (one, other, _) in zip(panels, DRAWN, strict=True):
        upper, lower = (inside[inside["arm"] == arm] for arm in (one, other))
        cells, weights = log_ratios(upper, lower, LR, "num_runs")
        error = NORMAL_95 * np.hypot(cells["error"], cells["error_other"])
        known = np.isfinite(cells[["low", "high", "low_other", "high_other"]]).all(axis=1)
        for place, (size, shade) in enumerate(zip(sizes, _shades(sizes), strict=True)):
            here = cells[SIZE] == size
            at = cells[DATA][here] * np.exp(APART * (place - (len(sizes) - 1) / 2))
            lengths = np.where(known, error, 0.0)[here]
            ax.errorbar(at, cells["log_ratio"][here], yerr=lengths, fmt="o", color=shade, elinewidth=0.9)
        ax.axhline(0, color=GREY, linewidth=1.2)
        if (curve := curve_of(cells, weights)) is not None:
            at, value, half = curve
            ax.fill_between(at, value - half, value + half, color="black", alpha=0.14, linewidth=0)
            ax.plot(at, value, color="black", linewidth=2.2)
        lines = (optima[optima["arm"] == arm].drop_duplicates(DATA).set_index(DATA) for arm in (one, other))
        upper, lower = (line.sort_index() for line in lines)
        for account, style in (("law", (0, (5, 2))), ("mean_angle", (0, (1, 1.5)))):
            ratio = np.log(upper[account].to_numpy(float) / lower[account].to_numpy(float))
            ax.plot(upper.index, ratio, color=colour(1), linestyle=style, linewidth=1.6)
        found = answers[(answers["who"] == f"{one} over {other}") & (answers["rate"] == LR) & (answers["axis"] == DATA)]
        ax.set_title("\n".join([f"{one} over {other}", *_words(found)]), loc="left")
        _ticks(ax, DATA, optima)
    panels[0].set_ylabel("ln of the ratio of best learning rates")
    handles = [
        Line2D([], [], color="black", linewidth=2.2, label="measured, fit of all cells"),
        Line2D([], [], color=colour(1), linestyle=(0, (5, 2)), label="the law of AdamH's runs"),
        Line2D([], [], color=colour(1), linestyle=(0, (1, 1.5)), label="one mean angle for all"),
        Line2D([], [], color=GREY, linewidth=1.2, label="no transient"),
    ]
    panels[1].legend(handles=handles, fontsize=SMALL, frameon=False, loc="lower left")
    _legend(panels[-1], sizes, LABELS[SIZE])
    captioned(
        figure,
        width,
        "The start alone changes how AdamW's best learning rate goes with the length of training",
        "GPTs that differ in the norm of their block matrices alone, which no output sees. Marks: cells, with 95 %"
        " intervals as of independent arms; one without its bar has an open end, one that is missing is flat or was"
        " not run. Black: the registered least squares"
        " over all cells at the middle of N, with its 95 % band. Without a transient all starts would lie on the grey"
        " line.",
    )
    return png_bytes(figure, dpi=110)


def _marks(ax: Axes, rows: pd.DataFrame, axis: str, shade: Any, place: float) -> None:
    known = rows.dropna(subset=["learning_rate"]).astype({LR: float, "low": float, "high": float})
    closed = known[["low", "high"]].notna().all(axis=1)
    ends = (known[end].where(closed, known[LR]) for end in ("low", "high"))
    at = known[axis] * np.exp(APART * place)
    ax.errorbar(at, known[LR], yerr=bars(known[LR], *ends), fmt="o-", color=shade, linewidth=1, elinewidth=0.8)


def curve_of(cells: pd.DataFrame, weights: Array | None) -> tuple[Array, Array, Array] | None:
    """The fit of ln(one/other), `log_ratios`, along D at the middle of N: tokens, value and half its 95 % interval;
    None where too few cells are known."""
    if len(cells) < len(TERMS) + 2 or np.linalg.matrix_rank(design_of(cells)) < len(TERMS):
        return None
    fit = regress(design_of(cells), cells[["log_ratio"]].to_numpy(float), weights)
    log_data = np.log(cells[DATA].to_numpy(float))
    d = np.linspace(log_data.min(), log_data.max(), 60) - log_data.mean()
    zero = np.zeros_like(d)
    design = np.stack([np.ones_like(d), zero, d, zero, d**2 / 2, zero], axis=1)
    errors = np.sqrt(np.einsum("ij,jk,ik->i", design, fit.cross, design) * fit.spread[0, 0])
    return np.exp(d + log_data.mean()), design @ fit.coefficients[:, 0], fit.half_width(0.95) * errors


def _words(found: pd.DataFrame) -> list[str]:
    lines = []
    for row in found.to_dict("records"):
        value, low, high = (row[name] if row[name] is not None else np.nan for name in ("value", "low", "high"))
        if np.isfinite([value, low, high]).all():
            lines.append(f"{row['quantity']} {value:+.2f} [{low:+.2f}, {high:+.2f}]")
    return lines


def _ticks(ax: Axes, axis: str, optima: pd.DataFrame) -> None:
    values = sorted(optima[axis].unique())
    ax.set(xscale="log", xlabel=LABELS[axis])
    ax.set_xticks(values, [_short(value) for value in values])
    ax.xaxis.set_minor_locator(NullLocator())


def _legend(ax: Axes, values: Sequence[float], title: str) -> None:
    handles = [
        Line2D([], [], color=shade, marker="o", label=_short(value))
        for value, shade in zip(values, _shades(values), strict=True)
    ]
    ax.legend(handles=handles, title=title, fontsize=SMALL, title_fontsize=SMALL, frameon=False, loc=(1.03, 0.2))


def _shades(values: Sequence[float]) -> Any:
    return colormaps["viridis"](np.linspace(0, 0.82, len(values)))


def _short(value: float) -> str:
    """512000 as 0.5M, 25248 as 25k."""
    if value >= 5e5:
        return f"{value / 1e6:.1g}M"
    return f"{value / 1e3:.1f}k" if value < 1e4 else f"{value / 1e3:.0f}k"
