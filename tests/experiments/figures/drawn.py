"""What a figure holds: its lines and error bars by their labels, as numbers."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from numpy.typing import NDArray

Array = NDArray[np.float64]


def line(ax: Axes, label: str) -> tuple[Array, Array]:
    """The x and y of the one line of that label."""
    (found,) = (item for item in ax.lines if item.get_label() == label)
    x, y = found.get_data()
    return np.asarray(x, float), np.asarray(y, float)


def lines(ax: Axes, label: str) -> list[Array]:
    """The (2, n) of every line of that label."""
    return [np.asarray(item.get_data(), float) for item in ax.lines if item.get_label() == label]


def bars(ax: Axes, label: str) -> tuple[Array, Array]:
    """Of the one set of error bars of that label: its points (n, 2), and the ends of the bars (n, 2, 2)."""
    (found,) = (each for each in ax.containers if isinstance(each, ErrorbarContainer) and each.get_label() == label)
    points = np.asarray(found.lines[0].get_data(), float).T
    return points, np.asarray(found.lines[2][0].get_segments(), float)


def words(figure: Figure) -> str:
    """Everything that is written in it."""
    return "\n".join(text.get_text() for text in figure.findobj(match=lambda item: hasattr(item, "get_text")))
