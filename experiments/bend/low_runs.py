r"""A single run far below all others of its cell: an optimum that no other run confirms, and that may be none.

A loss that is too low cannot be told from an optimum by its neighbours alone, so such a run stays in the fit. But where
the other rates of its cell turn at a minimum of their own, and the run lies below their parabola by more than

.. math:: \max(12\,\hat\sigma,\; 0.05\ \mathrm{nats})

with their own scatter about it, it is named.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.bend.evidence.cells import WINDOW, Cell
from experiments.bend.evidence.screening import IN_NOISE, LEAST
from experiments.bend.optimum import parabolic
from experiments.joint.regression import power_columns, regress_each
from experiments.tables.run_table import RunTable

Array = NDArray[np.float64]

FEWEST_OTHERS = 5  # learning rates beside that of the run


def low_run_notes(runs: RunTable, cells: Sequence[Cell]) -> list[str]:
    """A phrase for every such run of the ``cells`` that were made of ``runs``."""
    notes = []
    finite = np.flatnonzero(np.isfinite(runs.numbers["loss"]))
    rates, losses = runs.numbers["learning_rate"][finite], runs.numbers["loss"][finite]
    members: defaultdict[tuple[float, ...], list[int]] = defaultdict(list)
    names = tuple(cells[0].key) if cells else ()
    settings = np.stack([runs.numbers[name][finite] for name in names], axis=1) if names else np.zeros((len(finite), 0))
    for row, setting in enumerate(map(tuple, settings.tolist())):
        members[setting].append(row)
    owns = [members[tuple(cell.key.values())] for cell in cells]
    found = low_runs([(np.log(rates[own]), losses[own]) for own in owns])
    for cell, own, place in zip(cells, owns, found, strict=True):
        if place is not None:
            where = "".join(f", {name} {value:.4g}" for name, value in cell.key.items())
            rate, loss = rates[own][place], losses[own][place]
            notes.append(
                f"the run of loss {loss:.5g} at learning rate {rate:.4g}{where} lies far below what all others of its"
                f" cell agree on: look at it, or leave it out (--where loss!={loss:.10g})"
            )
    return notes


def low_runs(cells: Sequence[tuple[Array, Array]]) -> list[int | None]:
    """Which run of each cell it is, if any, the cells given as (ln learning rate, finite loss) of their runs."""
    others: defaultdict[int, list[tuple[int, int, Array, Array]]] = defaultdict(list)
    found: list[int | None] = [None] * len(cells)
    for which, (x, loss) in enumerate(cells):
        if len(loss) <= FEWEST_OTHERS:
            continue
        place = int(np.argmin(loss))
        ordered = np.sort(x)
        if np.any(ordered[1:] == ordered[:-1]):
            continue  # replicates, which speak for themselves
        values = np.delete(loss, place)
        near = values <= values.min() + WINDOW
        if near.sum() >= FEWEST_OTHERS:
            others[int(near.sum())].append((which, place, np.delete(x, place)[near], values[near]))
    for alike in others.values():
        near, values = np.stack([one[2] for one in alike]), np.stack([one[3] for one in alike])
        at = np.array([cells[which][0][place] for which, place, _, _ in alike])
        loss = np.array([cells[which][1][place] for which, place, _, _ in alike])
        middle = near.mean(axis=1)
        coefficients, _, spread = regress_each(power_columns(near - middle[:, None], 2), values)
        expected = (power_columns(at - middle, 2) * coefficients).sum(axis=1)
        for one in np.flatnonzero(expected - loss > np.maximum(IN_NOISE * np.sqrt(spread), LEAST)):
            which, place, x, own = alike[one]
            found[which] = place if parabolic(x, own, np.ones(len(x))) else None
    return found
