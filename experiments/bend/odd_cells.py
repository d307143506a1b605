"""A cell whose optimum lies far from the law that all others agree on: a mistake in its runs, as it seems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPARE = 2  # cells more than terms, once the odd one is left out
CALMER = 4.0  # the others' scatter with the odd cell over that without it
SMALLEST_MISS = 0.3  # in ln
LEAST_LEFT = 1e-9  # of a cell's deviation: below, the others do not tell the law


def odd_cell(columns: Array, log_optimum: Array) -> tuple[int, float] | None:
    """Which cell it is, and how far in ln it lies above a straight law of the others; None if there is none, or two.

    Parameters
    ----------
    columns : (num_cells, num_terms), constant and slopes of the law. log_optimum : (num_cells,).
    """
    num_cells, num_terms = columns.shape
    if num_cells - 1 < num_terms + SPARE or np.linalg.matrix_rank(columns) < num_terms:
        return None
    basis = np.linalg.qr(columns)[0]
    residual = log_optimum - basis @ (basis.T @ log_optimum)
    # what a cell leaves of its own deviation: without it, the law misses it by so much more
    left = 1 - (basis**2).sum(axis=1)
    told = left > LEAST_LEFT
    miss = residual / np.where(told, left, 1.0)
    squares = float(residual @ residual)
    whole, others = squares / (num_cells - num_terms), (squares - residual * miss) / (num_cells - 1 - num_terms)
    found = np.flatnonzero(told & (CALMER**2 * others < whole) & (np.abs(miss) > SMALLEST_MISS))
    return (int(found[0]), float(miss[found[0]])) if len(found) == 1 else None


def odd_cell_note(keys: Sequence[Mapping[str, float]], place: int, miss: float) -> str:
    """What it is called among the cells with these ``keys``, and what to do."""
    odd = keys[place]
    varying = [name for name in odd if len({key[name] for key in keys}) > 1]
    alone = [name for name in varying if sum(key[name] == odd[name] for key in keys) == 1]
    leave = f"--where '{alone[0]}!={odd[alone[0]]:.12g}'" if alone else "without its rows"
    where = ", ".join(f"{name} {odd[name]:.4g}" for name in varying)
    return (
        f"the optimum at {where} lies a factor of {np.exp(abs(miss)):.2g} {'above' if miss > 0 else 'below'} the law"
        f" that all others agree on: look at its runs, or leave it out ({leave})"
    )
