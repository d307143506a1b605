"""Optima against a scale of the table, with the law through them, its interval and its tangent; a run to be made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from experiments.bend.fit import GroupFit
from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.figures.colours import GREY
from experiments.figures.style import (
    EndLabel,
    axis_label,
    bars,
    blank,
    captioned,
    colour,
    dashes,
    label_ends,
    log_axis,
    positive,
    short,
    shortened,
    styled,
    told,
)
from experiments.recommend.recommendation import Recommendation
from experiments.text import short_name

Array = NDArray[np.float64]
Setting = Mapping[str, float]

POINTS = 41  # of a drawn law
MOST_AXES, MOST_GROUPS = 4, 7
MOST_FILLED = 3
WIDEST_BAND = 100.0  # factor above the curve and below it that the picture has room for
SIDE_BY_SIDE = " Points of groups stand side by side."
HEIGHT = 3.4


def law_axes(group: GroupFit) -> list[str]:
    """The scales along which a group's law has a slope."""
    return [] if group.law.model is None or group.law.joint is None else list(group.law.model.slopes)


@dataclass(frozen=True)
class _Law:
    """How a law is read: ``row`` of its terms at a setting, the ``mean`` of such a row, ln of the optimum, and its
    ``interval``, low and high."""

    row: Callable[[Setting], Array]
    mean: Callable[[Array], float]
    interval: Callable[[Array], tuple[float, float]]


@dataclass(frozen=True)
class Place:
    """Which of several groups is drawn: its ``index`` among ``number`` of them. Points of groups stand side by side,
    and from `MOST_FILLED` groups on bands are told by their edges alone."""

    index: int
    number: int

    @property
    def colour(self) -> str:
        return colour(self.index)

    def beside(self, x: ArrayLike, ends: tuple[float, float]) -> Array:
        """``x`` moved to the place of the group on a logarithmic axis that spans ``ends``."""
        step = np.log(max(ends[1] / ends[0], 1.5)) / 90
        moved: Array = np.asarray(x, np.float64) * np.exp(step * (self.index - (self.number - 1) / 2))
        return moved


def draw_group_law(ax: Axes, group: GroupFit, axis: str, place: Place) -> list[Array]:
    """Optima and law of a group along an axis; returns what has to fit on the vertical axis, the curve first."""
    model, joint = group.law.model, group.law.joint
    assert model is not None
    assert joint is not None

    known = joint.known
    law = _Law(
        row=model.row,
        mean=lambda row: float(known.weights @ (known.centres @ row)),
        interval=lambda row: known.along(row, 0.95)[1:],
    )
    values = [cell.key[axis] for cell in group.law.usable]
    ends = min(values), max(values)
    drawn = _draw_law(ax, law, model.centre, axis, ends, place)
    if axis in model.halves:
        tangent = np.zeros(len(model.terms))
        heights = []
        for value in ends:
            tangent[[0, model.slopes[axis]]] = 1.0, np.log(value / model.centre[axis])
            heights.append(np.exp(law.mean(tangent)))
        ax.plot(ends, heights, color=GREY, linewidth=1, linestyle=":", label="tangent at the middle")
        drawn.append(np.array(heights))
    drawn += _optima(ax, group.cells, law, model.centre, axis, ends, place)
    return drawn


def finish_law(ax: Axes, axis: str, drawn: Sequence[Array], labels: Sequence[EndLabel], *, height: float) -> None:
    """Logarithmic scales with round numbers, and the names of the curves."""
    for each, limit, values in (
        (ax.xaxis, ax.set_xlim, ax.dataLim.intervalx),
        (ax.yaxis, ax.set_ylim, np.concatenate([np.ravel(part) for part in drawn])),
    ):
        known = positive(values)
        log_axis(each, known)
        if len(known):
            room = max(1.08, (known.max() / known.min()) ** 0.05)
            limit(known.min() / room, known.max() * room)
    label_ends(ax, labels, height=height)


def end_label(text: str, drawn: Sequence[Array], place: Place) -> EndLabel:
    """The name of the curve that was drawn first."""
    return EndLabel(text, float(drawn[0][-1, 0]), place.colour)


@styled
def recommendation_figure(found: Sequence[Recommendation]) -> Figure:
    """The law of every group along each scale, others at the target's, with the run to be made and its interval."""
    answered = [item for item in found if item.answer is not None and item.pilot is not None][:MOST_GROUPS]
    axes_of = list(dict.fromkeys(axis for item in answered for axis in _slopes(item)))[:MOST_AXES]
    width = max(6.5, 4.8 * len(axes_of) + 0.8) + 3.0 * len(axes_of) * (len(answered) > 1)
    figure = blank(width, HEIGHT + 1.1)
    panels = figure.subplots(1, max(1, len(axes_of)), squeeze=False)[0]
    if not axes_of:
        _point_only(panels[0], answered)
    level = f"{100 * found[0].confidence:.3g} %"
    for column, (ax, axis) in enumerate(zip(panels, axes_of, strict=False)):
        drawn_here, labels = [], []
        for index, item in enumerate(answered):
            if axis in _slopes(item):
                place = Place(index, len(answered))
                drawn = _draw_recommendation(ax, item, axis, place)
                drawn_here += drawn
                if len(answered) > 1:
                    labels.append(end_label(f"{shortened(item.group)}: {_rate(item)}", drawn, place))
        finish_law(ax, axis, drawn_here, labels, height=0.75 * HEIGHT)
        ax.set(xlabel=axis_label(axis), ylabel="optimal learning rate" if column == 0 else "")
    lines = [str(line) for item in answered if item.pilot is not None for line in item.pilot.lines]
    marks = {
        "target": f"Diamond: the run to be made, with the {level} interval of its optimum.",
        "law": "Thin lines: the same along the law.",
        "optima": "Points: optima of cells moved along the law to the target's other scales, with 95 % intervals.",
        "at ": "Triangles: bounds of optima outside their grids.",
    }
    caption = (
        told(figure, marks)
        + "".join(f" In the table {line}." for line in dict.fromkeys(lines))
        + SIDE_BY_SIDE * (len(answered) > 1)
        + _more(len(found), len(answered), "groups")
    )
    captioned(figure, width, _recommended(answered, level), caption)
    return figure


def _recommended(answered: Sequence[Recommendation], level: str) -> str:
    target = ", ".join(f"{short_name(name)} {short(value)}" for name, value in answered[0].target.items())
    where = f"Optimal learning rate{' at ' + target if target else ''}"
    if len(answered) > 1:
        return f"{where}, {len(answered)} groups with {level} intervals"
    return f"{where}: {_rate(answered[0])}, {level} interval"


def _rate(item: Recommendation) -> str:
    found = item.answer
    return "" if found is None else f"{short(found.value)} ({short(found.low)} to {short(found.high)})"


def _slopes(item: Recommendation) -> list[str]:
    return [] if item.pilot is None else list(item.pilot.coefficients.model.slopes)


def _point_only(ax: Axes, answered: Sequence[Recommendation]) -> None:
    """A table that has one value of every scale."""
    for index, item in enumerate(answered):
        if item.answer is not None:
            found = item.answer
            reach = bars([found.value], [found.low], [found.high])
            ax.errorbar([index], [found.value], yerr=reach, fmt="D", color=colour(index), capsize=3, label="target")
    ax.set_xticks(range(len(answered)), [shortened(item.group or "all runs") for item in answered])
    ax.set(xlim=(-0.6, len(answered) - 0.4), ylabel="optimal learning rate")


def _draw_recommendation(ax: Axes, item: Recommendation, axis: str, place: Place) -> list[Array]:
    pilot, answer = item.pilot, item.answer
    assert pilot is not None
    assert answer is not None
    coefficients = pilot.coefficients

    def interval(row: Array) -> tuple[float, float]:
        found = coefficients.predict(row, item.confidence, scatter=True)
        return found.low, found.high

    law = _Law(
        row=coefficients.row,
        mean=lambda row: float(coefficients.weights @ (coefficients.centres @ row)),
        interval=interval,
    )
    base = {name: item.target[name] for name in coefficients.model.centre}
    values = [*(cell.key[axis] for cell in pilot.law.usable), base[axis]]
    ends = min(values), max(values)
    drawn = _draw_law(ax, law, base, axis, ends, place)
    drawn += _optima(ax, pilot.law.optima, law, base, axis, ends, place)
    ax.errorbar(
        place.beside([base[axis]], ends),
        [answer.value],
        yerr=bars([answer.value], [answer.low], [answer.high]),
        fmt="D",
        markersize=7,
        color=place.colour,
        markeredgecolor="black",
        capsize=4,
        zorder=4,
        label="target",
    )
    return [*drawn, np.array([answer.low, answer.value, answer.high])]


def _draw_law(ax: Axes, law: _Law, base: Setting, axis: str, ends: tuple[float, float], place: Place) -> list[Array]:
    """The law along an axis, all else at ``base``, with its interval; the one array is (POINTS, 3).

    A band that is very wide leaves the picture, so that the points can be seen.
    """
    grid = np.geomspace(*ends, POINTS)
    rows = [law.row({**base, axis: float(value)}) for value in grid]
    found = np.exp(np.clip([(law.mean(row), *law.interval(row)) for row in rows], -300, 300))
    if place.number < MOST_FILLED:
        ax.fill_between(grid, found[:, 1], found[:, 2], color=place.colour, alpha=0.13, linewidth=0)
    ax.plot(grid, found[:, 1:], color=place.colour, linestyle=dashes(place.index), linewidth=0.6, label="_interval")
    ax.plot(grid, found[:, 0], color=place.colour, linestyle=dashes(place.index), label="law")
    return [np.clip(found, found[:, 0].min() / WIDEST_BAND, found[:, 0].max() * WIDEST_BAND)]


def _optima(
    ax: Axes,
    cells: Iterable[CellOptimum],
    law: _Law,
    base: Setting,
    axis: str,
    ends: tuple[float, float],
    place: Place,
) -> list[Array]:
    """Cells moved along the law to where the other scales are those of ``base``; bounds as triangles."""
    rows: dict[str, list[tuple[float, float, float, float]]] = {"o": [], "^": [], "v": []}
    for cell in cells:
        if axis not in cell.key or any(cell.key.get(name, 0) <= 0 for name in base):
            continue
        value = cell.key[axis]
        factor = float(np.exp(law.mean(law.row({**base, axis: value}) - law.row(cell.key))))
        low, high = (np.nan if end is None else end * factor for end in (cell.low, cell.high))
        if cell.status is OptimumStatus.INTERIOR and cell.learning_rate is not None:
            rows["o"].append((value, cell.learning_rate * factor, low, high))
        elif cell.status is OptimumStatus.CENSORED_HIGH and np.isfinite(low):
            rows["^"].append((value, low, low, low))
        elif cell.status is OptimumStatus.CENSORED_LOW and np.isfinite(high):
            rows["v"].append((value, high, high, high))
    drawn = []
    for marker, found in rows.items():
        if found:
            x, y, low, high = np.array(found).T
            ax.errorbar(
                place.beside(x, ends),
                y,
                yerr=bars(y, low, high) if marker == "o" else None,
                fmt=marker,
                color=place.colour,
                markerfacecolor=place.colour if marker == "o" else "white",
                elinewidth=0.9,
                capsize=2,
                label={"o": "optima", "^": "at least", "v": "at most"}[marker],
            )
            drawn += [y]
            drawn += [np.clip(end, y.min() / 10, y.max() * 10) for end in (low, high)]  # a far end leaves the picture
    return drawn


def _more(number: int, shown: int, noun: str) -> str:
    return f" Shown are {shown} of {number} {noun}." if shown < number else ""
