"""How runs ended: those that crashed or are not through are left out, those that diverged count as diverged.

By the words of a column of states, and by steps or tokens: a run that has done less than `ENOUGH` of what it was to do,
or of what the others of its cell have done, ended early. Where a cell has whole sweeps at several lengths, the length
is a setting that was not read, and averaging over it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.tables.keys import Codes, codes, joined
from experiments.tables.numbers import is_empty
from experiments.tables.run_table import Array, Rows

ENOUGH = 0.98  # of the planned length: less than 0.001 nats from the end of a decaying schedule
SWEEP = 3  # learning rates at one length, from which on it is a sweep of its own

FINISHED = frozenset({"finished", "completed", "complete", "done", "success", "succeeded", "ok"})
DIVERGED = frozenset({"diverged", "divergence", "exploded", "nan", "inf"})
ENDED_EARLY = frozenset(
    (
        *("crashed", "failed", "failure", "error", "killed", "running", "pending", "preempted", "stopped"),
        *("preempting", "interrupted", "cancelled", "canceled", "aborted", "timeout", "oom", "queued", "incomplete"),
    )
)


def apply_states(states: Sequence[Any], loss: Array, rows: Rows, notes: list[str], column: str) -> Array:
    """The losses, NaN where a run's state says that it diverged; unfinished runs with a finite loss are dropped.

    A run that crashed without a finite loss is one that diverged. Unknown words count as finished, and are noted.
    """
    words = np.array(["" if is_empty(word) or word != word else str(word).strip().lower() for word in states])
    known = FINISHED | DIVERGED | ENDED_EARLY
    unknown = sorted(set(words.tolist()) - known - {""})
    if not set(words.tolist()) & known:
        return loss  # a column of something else
    rows.drop(np.isin(words, list(ENDED_EARLY)) & np.isfinite(loss), f"{column} of a run that did not finish", states)
    diverged = np.isin(words, list(DIVERGED))
    if (diverged & np.isfinite(loss) & rows.keep).any():
        notes.append(f"{int((diverged & rows.keep).sum())} runs count as diverged by {column}")
    if unknown:
        notes.append(f"{column} {', '.join(unknown[:3])[:60]}: not a word that is known, counts as finished")
    return np.where(diverged, np.nan, loss)


def drop_unfinished(name: str, done: Array, planned: Array, loss: Array, rows: Rows) -> None:
    """Leave out runs that did less than they were to do, both in the same unit; ``name`` of what was done."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = done / planned
    whole = np.nanmax(np.where(rows.keep & (planned > 0), ratio, np.nan), initial=0.0)
    if not abs(whole - 1) < 1 - ENOUGH:
        return  # another unit, or nothing is finished
    short = np.isfinite(ratio) & (ratio < ENOUGH) & np.isfinite(loss)
    rows.drop(short, f"{name} short of what was planned", done.tolist())


def drop_shorter(name: str, done: Array, cell: Codes, rate: Array, loss: Array, rows: Rows, *, remedy: str) -> None:
    """Leave out runs that did less than others of their cell; raises `BadInput` where those are sweeps of their own."""
    kept = np.flatnonzero(rows.keep & np.isfinite(loss) & np.isfinite(done))
    if not len(kept):
        return
    most = np.zeros(int(cell.max()) + 1)
    np.maximum.at(most, cell[kept], done[kept])
    share = done[kept] / most[cell[kept]]
    short = kept[share < ENOUGH]
    if not len(short):
        return
    length = joined(cell[kept], codes([np.round(np.log(done[kept]) / (1 - ENOUGH))], len(kept)))
    pairs = np.unique(np.stack([length, codes([rate[kept]], len(kept))]), axis=1)
    several = np.bincount(pairs[0]) >= SWEEP  # learning rates at this length of this cell
    own = np.unique(cell[kept][several[length]][share[several[length]] < ENOUGH])
    if len(own) and 2 * len(own) >= len(np.unique(cell[short])):
        values = np.unique(done[kept][cell[kept] == own[0]])
        shown = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise BadInput(
            f"{name} is {shown} within one cell, each with learning rates of its own: runs of other lengths are no"
            f" replicates; {remedy}"
        )
    mask: NDArray[np.bool_] = np.zeros(len(done), bool)
    mask[short] = True
    rows.drop(mask, f"{name} below that of their cell", done.tolist())
