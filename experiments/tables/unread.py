"""What was not read: columns that vary inside a cell, and learning rates that repeat with losses far apart.

Runs that agree in everything that makes a cell are treated as one setting. A column that was not read and takes few
values, several of them inside a cell, is a setting that was averaged over; one whose values hardly repeat is a
measurement or a name, and one that goes with the learning rate is part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.tables.aliases import spelled
from experiments.tables.keys import Codes, count, joined
from experiments.tables.names import telling_word
from experiments.tables.numbers import is_empty
from experiments.tables.run_table import Array
from experiments.tables.written import number, written

APART = 0.05  # nats between replicates that are none: seeds of one setting differ by a tenth of it
UNUSUAL = 10.0  # times the typical difference of two seeds
DIVERGED = 1.0  # nats above the best replicate: another matter
LEAST_USES = 3  # runs per value of a column of settings, on average
SWEEP = 3  # learning rates
TIMES = ("runtime", "_runtime", "train_runtime", "_timestamp", "duration", "walltime", "wall_time")  # measured, not set
SIZE = re.compile(r"(?<![A-Za-z0-9.])\d+(?:\.\d+)?[KMB](?![A-Za-z0-9])", re.IGNORECASE)  # the 160m of pythia-160m
MOST_VALUES, MOST_COLUMNS = 6, 8  # that are shown


@dataclass(frozen=True)
class Varying:
    """A column that differs inside cells; ``apart``: it tells apart runs of one learning rate, or whole sweeps.
    ``values``: shown, the ``first`` of them as it stands in the table; ``numeric``: whether all are numbers."""

    name: str
    values: str
    apart: bool
    first: str
    numeric: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.values})"


def varying_columns(unread: Iterable[tuple[str, Sequence[Any]]], cell: Codes, rate: Codes) -> list[Varying]:
    """Those of the ``unread`` columns, by name, each (num_runs,), that are settings and differ inside a cell."""
    point = joined(cell, rate)
    num_points, size, rates = count(point), len(cell), _number_by(cell, point)
    found = []
    for name, values in unread:
        if "seed" in name.lower() or spelled(name)[-1] in TIMES or LEAST_USES * len(set(values)) > size:
            continue
        distinct = list(dict.fromkeys(str(value).strip() for value in values))
        if len(distinct) < 2:
            continue
        index = {text: place for place, text in enumerate(distinct)}
        own = np.fromiter((index[str(value).strip()] for value in values), np.int64, size)
        part = joined(cell, own)
        parts = _number_by(cell, part)
        repeats = count(joined(point, own)) > num_points
        if not repeats and np.all((parts == 1) | (parts == rates)):
            continue  # one value, or another at every learning rate
        numbers = {text: _number(text) for text in distinct}
        ordered = sorted(distinct, key=lambda text: (numbers.get(text) is None, numbers.get(text) or 0.0, text))
        numeric = None not in numbers.values()
        apart = repeats or _own_sweeps(cell, part, rate)
        found.append(Varying(name, _shown(ordered), apart, "" if is_empty(ordered[0]) else ordered[0], numeric))
    return sorted(found, key=lambda one: not one.numeric)  # names that join several settings come last


def _number_by(cell: Codes, other: Codes) -> Codes:
    """Of every cell, how many different codes it has."""
    return np.bincount(np.unique(np.stack([cell, other]), axis=1)[0])


def _own_sweeps(cell: Codes, part: Codes, rate: Codes) -> bool:
    """Whether some cell falls into parts that are sweeps by themselves."""
    cells, parts, _ = np.unique(np.stack([cell, part, rate]), axis=1)
    _, place, number = np.unique(parts, return_index=True, return_counts=True)
    return bool((np.bincount(cells[place][number >= SWEEP]) > 1).any())


def _number(text: str) -> float | None:
    """Of a value of a setting, 130M and 0,02 included; None where it is none, or not finite."""
    read = (written(text, suffixes=True, commas=mark) for mark in ("thousands", "decimal"))
    plain = next((value for value in read if value is not None), None)
    return plain if plain is not None and np.isfinite(plain) else None


def _shown(distinct: Sequence[str]) -> str:
    plain = {text: number(text) for text in distinct}
    texts = [f"{value:g}" if (value := plain[text]) is not None and np.isfinite(value) else text for text in distinct]
    texts = [text[:20] or "none" for text in dict.fromkeys(texts)]
    return ", ".join(texts[:MOST_VALUES]) + (", ..." if len(texts) > MOST_VALUES else "")


def unread_notes(
    found: Sequence[Varying],
    names: Sequence[tuple[str, Sequence[Any]]],
    loss: Array,
    cell: Codes,
    rate: Codes,
    lines: Sequence[int],
    *,
    seeds: bool,
) -> tuple[list[str], list[str]]:
    """Notes and warnings. ``names``: columns that were not read, as in `varying_columns`. ``cell``, ``rate``
    (num_runs,), the latter in the order of the learning rates; ``lines``: where each run stands in its source;
    ``seeds``: whether the table tells them."""
    point = joined(cell, rate)
    settings, rest = ([one for one in found if one.apart is apart] for apart in (True, False))
    notes = [f"not read, though it differs inside cells: {_list(rest)}"] if rest else []
    warnings = []
    gaps = _Gaps.of(loss, point)
    far = gaps.size > (max(APART, UNUSUAL * float(np.median(gaps.size))) if seeds and len(gaps.size) else APART)
    if far.any():
        most = int(np.argmax(gaps.size))
        low, high = int(gaps.low[most]), int(gaps.high[most])
        what = f"{int(far.sum())} of {len(far)} repeated learning rates have losses more than {APART:g} nats apart"
        where = f"most in lines {lines[low]} and {lines[high]} ({gaps.size[most]:.2g})"
        odd = gaps.odd(most, loss, point, cell)
        why = f"one of the runs failed, as it seems: --where loss!={loss[odd]:.10g} leaves it out"
        if settings:
            why = f"they differ in {_list(settings)}, not read: {_advice(settings[0])}"
        elif (word := telling_word(names, gaps.low, gaps.high, far)) is not None:
            why = f"several series in one, told apart in {word}: {word.advice}"
        elif not seeds:
            why = f"no replicates, or {why}"
        warnings.append(f"{what}, {where}: {why}")
    elif settings:
        warnings.append(f"runs that differ in {_list(settings)} count as one setting: {_advice(settings[0])}")
    return notes, warnings


def _advice(one: Varying) -> str:
    if (size := SIZE.search(one.first)) is not None and not one.numeric:
        return (
            f"its names tell sizes, as it seems ({one.first[:30]}: {size[0]}): put those into a column num_params; or"
            f" --group {quote(one.name)} tells them apart"
        )
    axis = f"--axis {quote(f'{_as_name(one.name)}={one.name}')} or " if one.numeric else ""
    return f"{axis}--where {quote(f'{one.name}={one.first}')} or --group {quote(one.name)} tells them apart"


def _as_name(name: str) -> str:
    text = "".join(c if c.isalnum() else "_" for c in name).strip("_").lower()
    return text if text[:1].isalpha() else f"axis_{text}"


def _list(found: Sequence[Varying]) -> str:
    return ", ".join(map(str, found[:MOST_COLUMNS])) + (", ..." if len(found) > MOST_COLUMNS else "")


@dataclass(frozen=True)
class _Gaps:
    """Of every repeated point: the runs of ``low`` and ``high`` loss, and the difference ``size``."""

    low: Codes
    high: Codes
    size: Array

    @staticmethod
    def of(loss: Array, point: Codes) -> _Gaps:
        """Among finite losses that are no divergence beside the best of their point."""
        least = np.full(int(point.max(initial=0)) + 1, np.inf)
        np.minimum.at(least, point, np.where(np.isfinite(loss), loss, np.inf))
        kept = np.flatnonzero(np.isfinite(loss) & (loss <= least[point] + DIVERGED))
        order = kept[np.lexsort((loss[kept], point[kept]))]
        starts = np.flatnonzero(np.diff(point[order], prepend=-1))
        ends = np.append(starts[1:], len(order)) - 1
        several = ends > starts
        low, high = order[starts[several]], order[ends[several]]
        return _Gaps(low, high, loss[high] - loss[low])

    def odd(self, which: int, loss: Array, point: Codes, cell: Codes) -> int:
        """The run of a gap that belongs there less: farther from the others of its point, else from the points beside
        it in its cell; that of the higher loss if neither tells."""
        low, high = int(self.low[which]), int(self.high[which])
        kept = np.isfinite(loss)
        others = loss[kept & (point == point[low])]
        middle = float(np.median(others))
        if len(others) == 2:
            beside = [loss[kept & (cell == cell[low]) & (point == point[low] + step)] for step in (-1, 1)]
            middle = float(np.mean([np.median(runs) for runs in beside if len(runs)] or [loss[low]]))
        return low if middle - loss[low] > loss[high] - middle else high


def read_beside(labels: Mapping[str, NDArray[np.str_]]) -> list[tuple[str, Sequence[Any]]]:
    """Labels that were read and make no cell: the optimizer, where runs are grouped by something else."""
    return [("optimizer", labels["optimizer"].tolist())] if {"group", "optimizer"} <= set(labels) else []
