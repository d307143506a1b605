"""Final losses of runs that were not made, lowest first, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.figures.style import LABELS, SMALL, bars, blank, captioned, colour, shortened, styled

MOST_SHOWN, MOST_GROUPS = 20, 6
WIDTH = 9.0


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run by its ``name``: predicted ``loss`` with ``low`` and ``high``, nats; ``outside``: whether it lies beyond
    what the table holds."""

    name: str
    loss: float
    low: float
    high: float
    outside: bool = False


@styled
def ranking_figure(groups: Sequence[tuple[str, Sequence[Entry]]], *, confidence: float, title: str) -> Figure:
    """A panel for each group, by its name and its entries in the order in which they are shown."""
    shown = [(name, list(entries)[:MOST_SHOWN]) for name, entries in groups][:MOST_GROUPS]
    heights = [0.24 * len(entries) + 0.7 for _, entries in shown]
    figure = blank(WIDTH, sum(heights) + 0.9)
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=heights)[:, 0]
    for index, (ax, (name, entries)) in enumerate(zip(panels, shown, strict=True)):
        _panel(ax, entries, colour(index))
        ax.set_title(shortened(name, 60), loc="left", fontsize=9)
    panels[-1].set_xlabel(f"predicted final {LABELS['loss']}")
    caption = f"Bars: {100 * confidence:.3g} % prediction intervals."
    if any(one.outside for _, entries in shown for one in entries):
        caption += " Open: beyond the table in at least one quantity."
    fewer = [
        f"{shortened(name) + ': ' if name else ''}the first {MOST_SHOWN} of {len(entries)}"
        for name, entries in groups[:MOST_GROUPS]
        if len(entries) > MOST_SHOWN
    ]
    if fewer:
        caption += f" Shown: {'; '.join(fewer)}."
    if len(groups) > len(shown):
        caption += f" {len(shown)} of {len(groups)} groups."
    captioned(figure, WIDTH, title, caption)
    return figure


def _panel(ax: Axes, entries: Sequence[Entry], shade: str) -> None:
    for place, one in enumerate(entries):
        ax.errorbar(
            [one.loss],
            [place],
            xerr=bars([one.loss], [one.low], [one.high]),
            fmt="o",
            color=shade,
            markerfacecolor="white" if one.outside else shade,
            capsize=3,
            label=one.name,
        )
        ax.text(1.01, place, f"{one.loss:.4f}", transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL)
    ax.set_yticks(range(len(entries)), [shortened(one.name, 60) for one in entries], fontsize=SMALL)
    ax.set_ylim(len(entries) - 0.4, -0.6)
    ends = np.array([[one.low, one.high] for one in entries], float)
    ends = ends[np.isfinite(ends)]
    if len(ends) and np.ptp(ends) > 0:
        ax.set_xlim(ends.min() - 0.03 * np.ptp(ends), ends.max() + 0.03 * np.ptp(ends))
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.xaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    ax.grid(axis="y", color="#eeeeee", linewidth=0.7)
    ax.set_axisbelow(True)
