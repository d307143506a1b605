"""How runs ended: those that crashed or are not through are left out, those that diverged count as diverged.

By the words of a column of states, by columns that say yes or no (finished, crashed) or an exit code, and by steps or
tokens: a run that has done less than `ENOUGH` of what it was to do, or of what the others of its cell have done, ended
early. Where a cell has whole sweeps at several lengths, the length
is a setting that was not read, and averaging over it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.tables.keys import Codes, codes, joined
from experiments.tables.numbers import is_empty
from experiments.tables.run_table import Array, Rows
from experiments.tables.written import number
from experiments.text import counted

ENOUGH = 0.98  # of the planned length: less than 0.001 nats from the end of a decaying schedule
SWEEP = 3  # learning rates at one length, from which on it is a sweep of its own

FINISHED = frozenset({"finished", "completed", "complete", "done", "success", "succeeded", "ok"})
DIVERGED = frozenset({"diverged", "divergence", "diverge", "div", "exploded", "overflow", "nan", "inf", "infinity"})
ENDED_EARLY = frozenset(
    (
        *("crashed", "failed", "failure", "error", "killed", "running", "pending", "preempted", "stopped"),
        *("preempting", "interrupted", "cancelled", "canceled", "aborted", "timeout", "oom", "queued", "incomplete"),
        *("suspended", "terminated", "out_of_memory", "node_fail", "timed out", "unfinished", "not finished"),
        *(
            "pruned",
            "died",
            "dead",
            "fail",
            "crash",
            "paused",
            "boot_fail",
            "deadline",
            "requeued",
            "revoked",
            "stalled",
        ),
    )
)
TERMINATED = "terminated"  # how Ray Tune calls a run that is through; of others' words it is one for a run that is not
BOUND = re.compile(r">\s*\d")
SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:%|/\s*(\d+(?:\.\d+)?))")
YES, NO = frozenset({"true", "yes", "y", "1"}), frozenset({"false", "no", "n", "0"})


def apply_states(states: Sequence[Any], loss: Array, rows: Rows, notes: list[str], column: str) -> Array:
    """The losses, NaN where a run's state says that it diverged; unfinished runs with a finite loss are dropped.

    A run that crashed without a finite loss is one that diverged. Unknown words count as finished, and are noted.
    """
    words = np.array([_as_word(state) for state in states])
    if not set(words.tolist()) & FINISHED:
        words[words == TERMINATED] = "finished"
    known = FINISHED | DIVERGED | ENDED_EARLY
    unknown = sorted(set(words.tolist()) - known - {""})
    if not set(words.tolist()) & known:
        return loss  # a column of something else
    rows.drop(np.isin(words, list(ENDED_EARLY)) & np.isfinite(loss), f"{column} of a run that did not finish", states)
    diverged = np.isin(words, list(DIVERGED))
    if (diverged & np.isfinite(loss) & rows.keep).any():
        notes.append(f"{counted(int((diverged & rows.keep).sum()), 'run')} diverged by {column}")
    if unknown:
        notes.append(f"{column} {', '.join(unknown[:3])[:60]}: not a word that is known, counts as finished")
    return np.where(diverged, np.nan, loss)


def lost_by_word(values: Sequence[Any]) -> NDArray[np.bool_]:
    """Which losses are a word for divergence, or a bound from below: diverged, nan (step 1200), > 10."""
    texts = [str(value).strip() if isinstance(value, str) else "" for value in values]
    return np.array([_as_word(text.rstrip(".")) in DIVERGED or bool(BOUND.match(text)) for text in texts], bool)


def drop_flagged(values: Sequence[Any], good: bool | None, loss: Array, rows: Rows, column: str) -> bool:
    """Leave out runs with a finite loss that a column of yes and no, or of exit codes, calls unfinished; returns
    whether it is such a column.

    ``good``: what stands in it where a run is through, None in a column of codes, where 0 does. A column that would
    leave nothing, or has other words, says nothing.
    """
    words = ["" if is_empty(value) or value != value else str(value).strip().lower() for value in values]
    if good is None:
        codes_of = [number(word) if word else 0.0 for word in words]
        if any(code is None for code in codes_of):
            return False
        short = np.array([code != 0 for code in codes_of], bool)
    else:
        words = [word.removesuffix(".0") for word in words]
        if not set(words) - {""} <= YES | NO:
            return False
        short = np.array([word in (NO if good else YES) for word in words], bool)
    short &= np.isfinite(loss)
    if not (rows.keep & ~short).any():
        return False
    rows.drop(short, f"{column} of a run that did not finish", values)
    return True


def share_done(values: Sequence[Any]) -> Array | None:
    """How far runs came where it is told as 77% or 3200/4000, None where some of it is told otherwise."""
    found = [SHARE.fullmatch(str(value).strip()) for value in values if not is_empty(value)]
    if not found or not all(found):
        return None
    shares = []
    for value in values:
        match = None if is_empty(value) else SHARE.fullmatch(str(value).strip())
        done, of = (float(match[1]), float(match[2] or 100)) if match else (np.nan, 1.0)
        shares.append(done / of if of else np.nan)
    return np.array(shares)


def _as_word(state: Any) -> str:
    """A state in lower case; one that goes on after a word for a run that ended badly is that word: failed (oom)."""
    if is_empty(state) or state != state:
        return ""
    text = str(state).strip().lower()
    first = re.match("[a-z]*", text)
    word = first[0] if first else ""
    return word if text not in FINISHED | DIVERGED | ENDED_EARLY and word in DIVERGED | ENDED_EARLY else text


def drop_unfinished(name: str, done: Array, planned: Array, loss: Array, rows: Rows) -> None:
    """Leave out runs that did less than they were to do, both in the same unit; ``name`` of what was done."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = done / planned
    whole = np.nanmax(np.where(rows.keep & (planned > 0), ratio, np.nan), initial=0.0)
    if not abs(whole - 1) < 1 - ENOUGH:
        return  # another unit, or nothing is finished
    short = np.isfinite(ratio) & (ratio < ENOUGH) & np.isfinite(loss)
    rows.drop(short, f"{name} short of what was planned", done.tolist())


def drop_alone(name: str, done: Array, setting: Codes, loss: Array, rows: Rows) -> None:
    """Leave out runs of a length that no other run of their ``setting`` has, if others of it are longer: where lengths
    are told by what has been done, whole sweeps share theirs."""
    kept = np.flatnonzero(rows.keep & np.isfinite(loss))
    if not len(kept):
        return
    length = joined(setting[kept], codes([done[kept]], len(kept)))
    most = np.zeros(int(setting.max()) + 1)
    np.maximum.at(most, setting[kept], done[kept])
    alone = np.bincount(length)[length] == 1
    mask = np.zeros(len(done), bool)
    mask[kept[alone & (done[kept] < most[setting[kept]])]] = True
    rows.drop(mask, f"{name} that no other run of their setting has", done.tolist())


def drop_shorter(name: str, done: Array, cell: Codes, rate: Array, loss: Array, rows: Rows, *, counted: bool) -> None:
    """Leave out runs that did less than others of their cell, if that is how they ended and not what was asked of them.

    ``counted``: whether the column, by its ``name``, tells what was done. Lengths were asked for if a cell has a sweep
    at several of them, or if most of the shorter ones occur again: raises `BadInput`.
    """
    kept = np.flatnonzero(rows.keep & np.isfinite(loss) & np.isfinite(done))
    if not len(kept):
        return
    most = np.zeros(int(cell.max()) + 1)
    np.maximum.at(most, cell[kept], done[kept])
    is_short = done[kept] < ENOUGH * most[cell[kept]]
    if not is_short.any():
        return
    value = codes([done[kept]], len(kept))
    again = np.bincount(value)[value] > 1
    length = joined(cell[kept], value)
    pairs = np.unique(np.stack([length, codes([rate[kept]], len(kept))]), axis=1)
    own = is_short & (np.bincount(pairs[0]) >= SWEEP)[length]
    if own.any() or (not counted and again[is_short].mean() > 0.5):
        first = cell[kept][own if own.any() else is_short & again][0]
        values = np.unique(done[kept][cell[kept] == first])
        shown = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise BadInput(
            f"{name} is {shown} within one cell: runs of other lengths are no replicates; --axis horizon={name} makes"
            f" it a scale, --where {name}=VALUE chooses one"
        )
    mask: NDArray[np.bool_] = np.zeros(len(done), bool)
    mask[kept[is_short]] = True
    rows.drop(mask, f"{name} below that of their cell", done.tolist())
