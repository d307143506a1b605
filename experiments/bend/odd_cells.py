"""A cell whose optimum lies far from the law that all others agree on: a mistake in its runs, as it seems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPARE = 2  # cells more than terms, once the odd one is left out
CALMER = 4.0  # the others' scatter with the odd cell over that without it
SMALLEST_MISS = 0.3  # in ln


def odd_cell(columns: Array, log_optimum: Array) -> tuple[int, float] | None:
    """Which cell it is, and how far in ln it lies above a straight law of the others; None if there is none, or two.

    Parameters
    ----------
    columns : (num_cells, num_terms), constant and slopes of the law. log_optimum : (num_cells,).
    """
    num_cells, num_terms = columns.shape
    if num_cells - 1 < num_terms + SPARE:
        return None
    whole, found = _scatter(columns, log_optimum), []
    for i in range(num_cells):
        rest = np.delete(columns, i, axis=0)
        if np.linalg.matrix_rank(rest) < num_terms:
            continue
        kept = np.delete(log_optimum, i)
        law = np.linalg.lstsq(rest, kept, rcond=None)[0]
        miss = float(log_optimum[i] - columns[i] @ law)
        if CALMER * _scatter(rest, kept) < whole and abs(miss) > SMALLEST_MISS:
            found.append((i, miss))
    return found[0] if len(found) == 1 else None


def _scatter(columns: Array, values: Array) -> float:
    """Standard deviation about the straight law, by its degrees of freedom."""
    law = np.linalg.lstsq(columns, values, rcond=None)[0]
    return float(np.sqrt(((values - columns @ law) ** 2).sum() / (len(values) - columns.shape[1])))


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
