"""The style of all pictures: colours, axes, labels, captions, and their bytes.

Lines differ in their dashes as well as in colour, so that a print without colour can be read. Text is never taken for a
formula: a group may be called ``a_$b$``.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from experiments.figures.colours import COLOURS, GREY

Array = NDArray[np.float64]
Params = ParamSpec("Params")
Drawn = TypeVar("Drawn")

DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (6, 2, 1.5, 2)), (0, (10, 2, 1.5, 2, 1.5, 2)))
DPI = 150
SMALL = 8  # points, of captions and labels
WIDE = 10.0  # decades apart or not: ratio from which an axis is logarithmic
SUBDIVISIONS = ((8, (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)), (30, (1.0, 2.0, 5.0)), (300, (1.0, 3.0)))  # of a decade, by span
LONGEST = 28  # characters of a label
LABELS = {
    "step": "step",
    "weight_rms": "weight RMS",
    "angular_update": "angle per step (rad)",
    "learning_rate": "learning rate",
    "loss": "loss (nats)",
    "num_params": "model size N (parameters)",
    "num_tokens": "data D (tokens)",
    "batch_size": "batch size (as in the table)",
    "weight_decay": "weight decay (per unit of learning rate)",
    "independent_weight_decay": "learning rate x decay (per step)",
}
STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "svg.hashsalt": "lrbend",
    "pdf.fonttype": 42,
}


def styled(draw: Callable[Params, Drawn]) -> Callable[Params, Drawn]:
    """What a function draws is drawn in this style, whatever the settings of the process are."""

    @wraps(draw)
    def inside(*args: Params.args, **kwargs: Params.kwargs) -> Drawn:
        with rc_context(STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return inside


def blank(width: float, height: float) -> Figure:
    """An empty figure, inches."""
    return Figure(figsize=(width, height), layout="constrained")


def picture_bytes(figure: Figure, kind: str) -> bytes:
    """The file of a figure; ``kind`` is png, svg or pdf. The same figure gives the same bytes."""
    dates: dict[str, dict[str, Any]] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    buffer = io.BytesIO()
    with rc_context(STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in letters that the font lacks
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=dates.get(kind))
    return buffer.getvalue()


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def dashes(index: int) -> Any:
    return DASHES[index % len(DASHES)]


def axis_label(name: str) -> str:
    """A column with its unit; one that a user named has that of the table."""
    return LABELS.get(name, f"{shortened(name)} (as in the table)")


def shortened(name: object, longest: int = LONGEST) -> str:
    """A name on one line, without what cannot be printed, its middle left out where it is long."""
    text = " ".join("".join(sign if sign.isprintable() else " " for sign in str(name)).split())
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[-half:]}"


def short(value: float) -> str:
    """A number on an axis: 0.003, 1e-5, 2e8."""
    text = f"{value:.3g}"
    head, sign, power = text.partition("e")
    return f"{head}e{int(power)}" if sign else head


def captioned(figure: Figure | SubFigure, width: float, title: str, caption: str) -> None:
    """Title above and caption below, broken to the ``width`` of the figure in inches."""
    figure.suptitle(textwrap.fill(title, int(width * 11)), x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.supxlabel(textwrap.fill(caption, int(width * 15)), x=0.01, ha="left", fontsize=SMALL, color="#333333")


def marks_of(figure: Figure | SubFigure) -> set[str]:
    """The labels of all that is drawn in a figure, curves and marks without a point left out."""
    found = set()
    for ax in figure.axes:
        lines = [line for line in ax.lines if len(np.atleast_1d(line.get_xdata()))]
        every: tuple[Any, ...] = (*lines, *ax.patches, *ax.collections, *ax.containers)
        found |= {str(each.get_label()) for each in every}
    return found


def told(figure: Figure | SubFigure, phrases: Mapping[str, str]) -> str:
    """A caption of what is there: the phrases whose key begins a label of the figure, in their order."""
    marks = marks_of(figure)
    return " ".join(text for key, text in phrases.items() if any(mark.startswith(key) for mark in marks))


def is_wide(values: ArrayLike) -> bool:
    """Whether positive values span more than a decade."""
    known = positive(values)
    return len(known) > 0 and bool(known.max() > WIDE * known.min())


def positive(values: ArrayLike) -> Array:
    flat = np.asarray(values, np.float64).ravel()
    return flat[np.isfinite(flat) & (flat > 0)]


class _Numbered(LogLocator):
    """Where fewer than two of its numbers are seen, since the axis shows a part of what it was made for: others."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        ticks = np.asarray(super().tick_values(vmin, vmax))
        low, high = sorted((vmin, vmax))
        if np.sum((ticks >= low) & (ticks <= high)) >= 2 or not 0 < low < high:
            return ticks
        return MaxNLocator(4).tick_values(low, high)


def log_axis(axis: Axis, values: ArrayLike, *, most: int = 6) -> None:
    """A logarithmic axis with few round numbers on it, whether ``values`` span a twentieth of a decade or ten."""
    known = positive(values)
    axis._set_axes_scale("log")  # type: ignore[attr-defined]
    ratio = known.max() / known.min() if len(known) else 1.0
    if ratio < 3:
        axis.set_major_locator(MaxNLocator(max(2, most - 2)))
    else:
        subs = next((parts for span, parts in SUBDIVISIONS if ratio < span), (1.0,))
        axis.set_major_locator(_Numbered(subs=subs, numticks=most))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


@dataclass(frozen=True)
class EndLabel:
    """A name for a line that ends at height ``y``, in its colour."""

    text: str
    y: float
    colour: str


def label_ends(ax: Axes, labels: Sequence[EndLabel], *, height: float) -> int:
    """Name lines at the right edge, moved apart so that none covers another; returns how many are named.

    ``height`` is that of the axes, inches, about. The limits and the scale of the axes are final; a line that
    ends outside them is not named. Where not all names fit, those that are there are spread evenly.
    """
    low, high = sorted(ax.get_ylim())
    known = sorted((label for label in labels if low <= label.y <= high), key=lambda label: label.y)
    gap = 1.25 * SMALL / 72 / height
    most = max(1, int(1 / gap) + 1)
    if len(known) > most:
        known = [known[place] for place in np.unique(np.linspace(0, len(known) - 1, most).round().astype(int))]
    to_axes, x_end = ax.transData + ax.transAxes.inverted(), ax.get_xlim()[1]
    at = np.array([to_axes.transform((x_end, label.y))[1] for label in known])
    for label, wanted, place in zip(known, at, _apart(at, gap), strict=True):
        line: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False, "linewidth": 0.6, "color": label.colour}
        ax.plot([1.0, 1.025], [wanted, place], scalex=False, scaley=False, label="_leader", **line)
        ax.text(
            1.032,
            place,
            label.text,
            transform=ax.transAxes,
            va="center",
            ha="left",
            fontsize=SMALL,
            color=label.colour,
        )
    return len(known)


def _apart(at: Array, gap: float) -> Array:
    """Ascending heights at least ``gap`` apart, as near to ``at`` as they can be, inside 0 to 1 as far as they fit."""
    if not len(at):
        return at
    steps = gap * np.arange(len(at))
    wanted: Array = isotonic_regression(at - steps).x
    return np.clip(wanted, 0.0, max(0.0, 1.0 - steps[-1])) + steps


def bars(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> Array:
    """(2, n) lengths of error bars; none where an end is open."""
    middle, ends = np.asarray(value, np.float64), (np.asarray(low, np.float64), np.asarray(high, np.float64))
    lengths = np.stack([middle - ends[0], ends[1] - middle])
    return np.where(np.isfinite(lengths), np.maximum(lengths, 0.0), 0.0)


def said(ax: Axes, text: str) -> None:
    """In place of a picture: why there is none."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, textwrap.fill(text, 44), transform=ax.transAxes, ha="center", va="center", color=GREY)
