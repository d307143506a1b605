"""A log as it was read: rows with a step, and series of what some rows hold. Nothing is put in order yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.logs.sources.names import ANY, BOUNDS, OF_MATRICES, Meaning, asked_for, looks_like_norm, meaning
from experiments.logs.sources.stated import LinesOfLists, is_source, stated_in
from experiments.tables.numbers import possible
from experiments.tables.written import number
from experiments.text import listed

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MOST_NAMES = 20_000
RECORDED = frozenset(("step", "loss", "validation_loss", "gradient_norm"))
OURS = {  # what lrbend read writes of a run beside what it read
    *("angular_update", "angular_update_predicted", "adamh_learning_rate"),
    *("weight_rms_measured_direction", "weight_rms_predicted"),
}
MOST_STATED = 10  # values of a setting
MOST_UNREAD = 1000  # names that mean nothing, whose numbers are looked at


class NoLog(BadInput):
    """A source that holds nothing of a training run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RawLog:
    """What a source holds, in its order.

    kind : of source, in words. steps : (num_rows,) as logged, NaN where a row has none. series : by quantity and matrix
    ("" for all), the rows that hold it, rising, and its values; what was logged but is not finite is inf. num_entries :
    of the matrices, where told. num_lines, num_broken, broken : lines read, those that could not be, and the first of
    them. planned_steps, steps_done : length that the run was to have, and steps that it had made by the end of the
    source, where it tells them. unread_norms : names that may be norms of weights, and were not read. stated : settings
    that it says in words, by our names: every value, with the line that says it first.
    """

    where: str
    kind: str
    steps: Array
    series: Mapping[tuple[str, str], tuple[Rows, Array]]
    num_entries: Mapping[str, float]
    num_lines: int
    num_broken: int = 0
    broken: str = ""
    planned_steps: int | None = None
    steps_done: int | None = None
    notes: tuple[str, ...] = ()
    unread_norms: tuple[str, ...] = ()
    stated: Mapping[str, Mapping[float, int]] = field(default_factory=dict)


@dataclass
class Collector:
    """Takes values by the names of a source, row by row or column by column, and makes a `RawLog` of them.

    columns : ours to theirs, as asked for. steps_per_record : between losses that have no step.
    """

    where: str
    kind: str
    columns: Mapping[str, str]
    steps_per_record: int | None = None
    num_lines: int = 0
    num_broken: int = 0
    broken: str = ""
    planned_steps: int | None = None
    steps_done: int | None = None
    notes: list[str] = field(default_factory=list)
    meanings: dict[str, Meaning | None] = field(default_factory=dict)
    rows: dict[str, list[int]] = field(default_factory=dict)
    values: dict[str, list[object]] = field(default_factory=dict)
    unread: dict[str, float] = field(default_factory=dict)  # the first number of each
    varying: dict[str, None] = field(default_factory=dict)  # those of them that had another
    stated: dict[str, dict[float, int]] = field(default_factory=dict)
    has_source: bool = False  # of the program that wrote it
    _lists: LinesOfLists = field(default_factory=LinesOfLists)

    def wanted(self, theirs: str) -> bool:
        """Whether a name means something; asked once, remembered."""
        try:
            return self.meanings[theirs] is not None
        except KeyError:
            if len(self.meanings) >= MOST_NAMES:
                raise BadInput(f"{self.where}: more than {MOST_NAMES} names of columns") from None
            self.meanings[theirs] = found = meaning(theirs, self.columns)
            if found is not None:
                self.rows[theirs], self.values[theirs] = [], []
            return found is not None

    def quantity(self, theirs: str) -> str | None:
        """What a name means, under our name."""
        told = self.meanings[theirs] if self.wanted(theirs) else None
        return None if told is None else told.quantity

    def are_of_record(self, names: Iterable[str]) -> bool:
        """Whether one of the names counts or measures steps, as none of a program's arguments does."""
        return not RECORDED.isdisjoint(self.quantity(name) for name in names)

    def add(self, row: int, theirs: str, value: object) -> None:
        if self.wanted(theirs):
            self.rows[theirs].append(row)
            self.values[theirs].append(value)
        else:
            self.pass_over(theirs, value)

    def pass_over(self, theirs: str, value: object) -> None:
        """Remember a name that means nothing if its numbers vary."""
        if theirs in self.varying or theirs in OURS or len(self.unread) >= MOST_UNREAD:
            return
        if (found := number(value)) is None:
            return
        if self.unread.setdefault(theirs, found) != found and not theirs.lower().endswith(BOUNDS):
            self.varying[theirs] = None

    def state(self, line: int, text: str) -> None:
        """Take what a line that is no record says of the settings; nothing counts that stands beside a program."""
        self.has_source = self.has_source or is_source(text)
        for name, value in stated_in(self._lists.joined(text)):
            values = self.stated.setdefault(name, {})
            if len(values) < MOST_STATED:
                values.setdefault(value, line)

    def reject(self, line: int, text: str) -> None:
        """Count a line that cannot be read."""
        self.num_broken += 1
        self.broken = self.broken or f"line {line}: {text.strip()[:40]!r}"

    def finish(self, num_rows: int) -> RawLog:
        """Decide which name counts for what. Raises `BadInput` where two could and differ, or no step is there."""
        for ours, theirs in self.columns.items():
            told = theirs in self.rows
            if ANY in theirs:
                told = any(one is not None and one[::2] == (ours, -1) for one in self.meanings.values())
            if not told:
                raise BadInput(f"{self.where}: --column {ours}={theirs}: no such name in it")
        chosen = self._chosen()
        if not {quantity for quantity, _ in chosen} - {"step", "epoch", "matrix", "num_entries"}:
            raise NoLog(f"{self.where}: no rate, loss or norm of a training run in it")
        steps = self._steps(chosen, num_rows)
        chosen.pop(("step", ""), None)
        labels = chosen.pop(("matrix", ""), None)
        sizes = chosen.pop(("num_entries", ""), None)
        series = {key: self._series(theirs) for key, theirs in chosen.items()}
        num_entries: dict[str, float] = {}
        if labels is not None:
            label = np.full(num_rows, "", dtype=object)
            label[np.array(self.rows[labels], np.int64)] = [str(value) for value in self.values[labels]]
            series = _by_label(series, label)
            if sizes is not None:
                rows, values = self._series(sizes)
                num_entries = {str(name): float(n) for name, n in zip(label[rows], values, strict=True)}
        elif sizes is not None:
            num_entries = {"": float(self._series(sizes)[1][-1])}
        unread_norms = [name for name in self.varying if looks_like_norm(name)]
        self.notes += self._of_unread(unread_norms, weights=any(name.startswith("weight_") for name, _ in series))
        return RawLog(
            where=self.where,
            kind=self.kind,
            steps=steps,
            series={key: pair for key, pair in series.items() if len(pair[0])},
            num_entries={name: n for name, n in num_entries.items() if math.isfinite(n) and n >= 1},
            num_lines=self.num_lines,
            num_broken=self.num_broken,
            broken=self.broken,
            planned_steps=self.planned_steps,
            steps_done=self.steps_done,
            notes=tuple(self.notes),
            unread_norms=tuple(unread_norms),
            stated={} if self.has_source else self.stated,
        )

    def _of_unread(self, norms: Sequence[str], *, weights: bool) -> list[str]:
        """Names that vary and were not read: norms of nobody knows what; where no weights are told, others as well."""
        notes = []
        if norms:
            theirs = asked_for(norms)
            ways = [f"--column 'weight_norm={theirs}' takes them as Frobenius norms", "weight_rms=... as RMS"]
            if "rms" in theirs.lower():
                ways = [f"--column 'weight_rms={theirs}' takes them as RMS"]
            notes.append(f"not read, since it is not told whether of weights: {listed(norms)}; {', '.join(ways)}")
        others = [name for name in self.varying if name not in norms and not name.startswith("_")]
        if others and not weights:
            notes.append(f"not read, though it varies: {listed(others)}; --column OURS=THEIRS maps a name")
        return notes

    def _steps(self, chosen: Mapping[tuple[str, str], str], num_rows: int) -> Array:
        """Of every row, NaN where it has none; counted by losses where none has."""
        steps = np.full(num_rows, np.nan)
        if ("step", "") in chosen:
            rows, values = self._series(chosen["step", ""])
            steps[rows] = np.where(np.isfinite(values), values, np.nan)
            return steps
        counted = chosen.get(("loss", "")) or chosen.get(("learning_rate", ""))
        if counted is None or self.steps_per_record is None:
            runs = "" if ("learning_rate", "") not in chosen else " (a table with a run a row is what lrbend fit reads)"
            raise BadInput(
                f"{self.where}: no step in it: map one with --column step=NAME, or tell with --steps-per-record how"
                f" many steps lie between records{runs}; it has {self._shown()}"
            )
        rows, _ = self._series(counted)
        if not len(rows):
            return steps
        count = np.searchsorted(rows, np.arange(num_rows), side="right")
        self.notes.append(f"its records have no step: {self.steps_per_record} steps for each, as told")
        return np.where(count > 0, float(self.steps_per_record) * count, np.nan)

    def _chosen(self) -> dict[tuple[str, str], str]:
        """By quantity and matrix, the name that counts; what was taken for what is noted."""
        found: dict[tuple[str, str], list[tuple[int, str]]] = {}
        for theirs, told in self.meanings.items():
            if told is not None and self._holds(theirs, told):
                found.setdefault((told.quantity, told.matrix), []).append((told.rank, theirs))
        chosen: dict[tuple[str, str], str] = {}
        for key, names in found.items():
            best = min(rank for rank, _ in names)
            same = [theirs for rank, theirs in names if rank == best]
            unequal = [theirs for theirs in same[1:] if not self._equal(same[0], theirs)]
            if unequal and key[0] == "learning_rate":
                self.notes.append(f"learning_rate is read from {same[0]}, not from {' or '.join(unequal[:3])}")
            elif unequal:
                shown = " or ".join([same[0], *unequal[:3]])
                raise BadInput(f"{self.where}: {key[0]} could be {shown}: choose with --column {key[0]}=NAME")
            elif not key[1] and same[0] != key[0]:
                self.notes.append(f"{key[0]} is read from {same[0]}")
            chosen[key] = same[0]
        return chosen

    def _holds(self, theirs: str, told: Meaning) -> bool:
        """Whether a name that could be a quantity has numbers, at least one."""
        if told.quantity == "matrix":
            return any(isinstance(value, str) and number(value) is None for value in self.values[theirs][:100])
        return any(number(value) is not None for value in self.values[theirs])

    def _equal(self, one: str, other: str) -> bool:
        return self.rows[one] == self.rows[other] and self.values[one] == self.values[other]

    def _series(self, theirs: str) -> tuple[Rows, Array]:
        """Rows and numbers; a row without a number is left out."""
        rows, values = np.array(self.rows[theirs], np.int64), self.values[theirs]
        try:
            numbers = np.array(values, dtype=np.float64)
            if None in values:
                raise ValueError
            kept = np.ones(len(rows), bool)
        except (TypeError, ValueError, OverflowError):
            plain = [number(value) for value in values]
            kept = np.array([one is not None for one in plain], bool)
            numbers = np.array([np.nan if one is None else one for one in plain])
        sized = possible(numbers[kept])
        return rows[kept], np.where(np.isfinite(sized), sized, np.inf)

    def _shown(self) -> str:
        text = ", ".join(self.meanings)
        return text if len(text) <= 200 else text[:200] + " ..."


def _by_label(
    series: Mapping[tuple[str, str], tuple[Rows, Array]], label: NDArray[np.object_]
) -> dict[tuple[str, str], tuple[Rows, Array]]:
    """A row a matrix: what belongs to matrices is split by their names."""
    names: Sequence[str] = list(dict.fromkeys(label.tolist()))
    place = {name: at for at, name in enumerate(names)}
    places = np.array([place[name] for name in label], np.int64)
    split: dict[tuple[str, str], tuple[Rows, Array]] = {}
    for (quantity, matrix), (rows, values) in series.items():
        if quantity not in OF_MATRICES or matrix:
            split[quantity, matrix] = rows, values
            continue
        for name in names:
            mine = places[rows] == place[name]
            split[quantity, name] = rows[mine], values[mine]
    return split
