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
from experiments.joint.regression import regress
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
    for cell in cells:
        own = members[tuple(cell.key.values())]
        place = low_run(np.log(rates[own]), losses[own])
        if place is not None:
            where = "".join(f", {name} {value:.4g}" for name, value in cell.key.items())
            rate, loss = rates[own][place], losses[own][place]
            notes.append(
                f"the run of loss {loss:.5g} at learning rate {rate:.4g}{where} lies far below what all others of its"
                f" cell agree on: look at it, or leave it out (--where loss!={loss:.10g})"
            )
    return notes


def low_run(x: Array, loss: Array) -> int | None:
    """Which run of a cell it is, if any; ``x`` (num_runs,) ln(learning rate), finite ``loss`` in nats."""
    if not len(loss):
        return None
    place = int(np.argmin(loss))
    rest = np.delete(np.stack([x, loss]), place, axis=1)
    if x[place] in rest[0] or len(np.unique(rest[0])) < rest.shape[1]:
        return None  # replicates, which speak for themselves
    near, values = rest[:, rest[1] <= rest[1].min(initial=np.inf) + WINDOW]
    if len(near) < FEWEST_OTHERS or not parabolic(near, values, np.ones(len(near))):
        return None
    middle = float(near.mean())
    fit = regress(np.vander(near - middle, 3), values[:, None])
    expected = float(np.polyval(fit.coefficients[:, 0], x[place] - middle))
    return place if expected - loss[place] > max(IN_NOISE * np.sqrt(fit.spread[0, 0]), LEAST) else None
