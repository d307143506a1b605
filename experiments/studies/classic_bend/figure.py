"""The figure of the study: optima, what the arms differ in, and mean angles at the optima, along parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from experiments.figures.colours import GREY
from experiments.figures.style import SMALL as SMALL_PRINT
from experiments.figures.style import bars, blank, captioned, colour, styled
from experiments.reports.png import png_bytes
from experiments.studies.classic_bend.answers import ANGLE, NORMAL_95, PAIRS, RATE, SIZE, in_angle, ratios_of
from experiments.studies.classic_bend.runs import ADAMH, ARMS, EQUILIBRIUM, LARGE, LENGTHS, OWN, SMALL

MEANING = {
    SMALL.name: "AdamW, small start (0.02)",
    EQUILIBRIUM.name: "AdamW, equilibrium",
    LARGE.name: "AdamW, large start (0.18)",
    ADAMH.name: "AdamH at 0.18",
}
COLOURS = {arm.name: colour(place) for place, arm in enumerate(ARMS)}
LINES = dict(zip(LENGTHS, ("-", (0, (4, 2))), strict=True))
LEAST_WIDTHS = 3  # of a length that is drawn
APART = 0.05  # in ln, of marks that would cover each other


@styled
def draw(optima: pd.DataFrame, answers: pd.DataFrame) -> bytes:
    """A PNG of three panels over parameters; the longer runs dashed."""
    width = 13.0
    widths = optima.groupby("num_steps")[OWN].nunique()
    optima = optima[optima["num_steps"].map(widths) >= LEAST_WIDTHS]
    figure = blank(width, 5.2)
    panels = figure.subplots(1, 3)
    for panel, cells, label in (
        (panels[0], optima, "optimal learning rate"),
        (panels[2], in_angle(optima), "mean angle at the optimum (rad per step)"),
    ):
        _optima(panel, cells)
        panel.set(yscale="log", ylabel=label)
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_locator(NullLocator())
    _ratios(panels[1], optima)
    arms, pairs = [arm.name for arm in ARMS], [f"{one} over {other}" for one, other, rate in PAIRS if rate == RATE]
    for panel, names, rate in ((panels[0], arms, RATE), (panels[1], pairs, RATE), (panels[2], arms, ANGLE)):
        panel.set_title("\n".join(_words(answers, names, rate)), loc="left", fontsize=SMALL_PRINT)
    panels[0].legend(fontsize=SMALL_PRINT, frameon=False, loc="best")
    for panel in panels:
        _ticks(panel, sorted(optima[SIZE].unique()))
    captioned(
        figure,
        width,
        "Classic GPT-2: how best learning rates go with the number of parameters",
        "Bars: 1.96 errors of ln(optimum); a mark without one has an open end, one that is missing is not inside its"
        f" grid or was not run. Above: exponent and curvature along N, {LENGTHS[0]:,} steps, 95 %."
        + (f" Dashed: {LENGTHS[1]:,} steps." if LENGTHS[1] in set(optima["num_steps"]) else ""),
    )
    return png_bytes(figure, dpi=110)


def _optima(panel: Axes, cells: pd.DataFrame) -> None:
    for place, (arm, shade) in enumerate(COLOURS.items()):
        for num_steps, line in LINES.items():
            here = cells[(cells["arm"] == arm) & (cells["num_steps"] == num_steps)].dropna(subset=["error"])
            here = here.sort_values(SIZE)
            rate, error = here["learning_rate"].to_numpy(float), here["error"].to_numpy(float)
            half = np.where(error < 1, NORMAL_95 * error, 0.0)  # an open end has an error far above
            label = MEANING[arm] if num_steps == LENGTHS[0] else None
            at = here[SIZE] * np.exp(APART * (place - 1.5))
            ends = bars(rate, rate * np.exp(-half), rate * np.exp(half))
            panel.errorbar(at, rate, yerr=ends, fmt="o", color=shade, linestyle=line, label=label, linewidth=1.2)


def _ratios(panel: Axes, optima: pd.DataFrame) -> None:
    panel.axhline(0, color=GREY, linewidth=1.2)
    for place, (one, other, rate) in enumerate(PAIRS):
        for num_steps, line in LINES.items():
            if rate != RATE:
                continue
            cells = ratios_of(optima[optima["num_steps"] == num_steps], one, other)
            error = cells["error"].to_numpy(float)
            at = cells[SIZE] * np.exp(APART * (place - 1))
            half, value = np.where(error < 1, NORMAL_95 * error, 0.0), np.log(cells["learning_rate"].to_numpy(float))
            label = f"{one} over {other}" if num_steps == LENGTHS[0] else None
            panel.errorbar(at, value, yerr=half, fmt="o", color=colour(place + len(ARMS)), linestyle=line, label=label)
    panel.set_ylabel("ln of the ratio of best learning rates")
    panel.legend(fontsize=SMALL_PRINT, frameon=False, loc="best")


def _words(answers: pd.DataFrame, names: list[str], rate: str) -> list[str]:
    own = answers[(answers["rate"] == rate) & (answers["num_steps"] == LENGTHS[0])]
    lines = []
    for name in names:
        found = own[own["who"] == name].set_index("quantity")
        if "curvature" in found.index:
            value, low, high = (float(found[end].loc["curvature"]) for end in ("value", "low", "high"))
            bend = f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
            lines.append(f"{name}: {found['value'].loc['exponent']:+.2f}, bend {bend}")
    return lines


def _ticks(panel: Axes, sizes: list[int]) -> None:
    panel.set(xscale="log", xlabel="parameters N")
    panel.set_xticks(sizes, [f"{size / 1e3:.0f}k" for size in sizes])
    panel.xaxis.set_minor_locator(NullLocator())
