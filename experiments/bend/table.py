"""A table of runs, read and cleaned by stated rules: what cannot be used is counted, never silently dropped.

A row is left out, with a count and the first example, if it has another number of fields than the header, text or
nothing in a numeric column, a learning rate not above 0, a scale not finite and above 0, or if an earlier row equals
it in every column that is read. A loss that is NaN or infinite stays: the run diverged. The table as a whole is
refused, with one line, where a needed column is missing, nothing is left, or a scale spans more than a factor of a
million, which is mixed units.
"""

from __future__ import annotations

import csv
import math
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

REQUIRED = ("learning_rate", "loss")
SCALES = ("num_params", "num_tokens", "batch_size")
NUMBERS = (*REQUIRED, *SCALES, "weight_decay", "num_steps", "initial_rms")
LABELS = ("optimizer", "seed")
COLUMNS = (*NUMBERS, *LABELS)

FILE_LIMIT = 10**9  # bytes
WIDEST_SCALE = 1e6  # ratio of the largest to the smallest


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """``count`` rows left out for one ``reason``; ``example``: the first of them."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, kw_only=True)
class RunTable:
    """Clean runs.

    numbers : (num_runs,) arrays by name, a subset of `NUMBERS` and what was asked for beside them; always
    ``learning_rate`` and ``loss``, the latter NaN or infinite where the run diverged. labels : (num_runs,) text by
    name, a subset of `LABELS`. num_rows : rows that the source had.
    """

    numbers: Mapping[str, Array]
    labels: Mapping[str, NDArray[np.str_]]
    num_rows: int
    exclusions: tuple[Exclusion, ...]

    def __len__(self) -> int:
        return len(self.numbers["loss"])

    def select(self, chosen: NDArray[Any]) -> RunTable:
        """The runs at an index or where a mask is true."""
        return replace(
            self,
            numbers={name: values[chosen] for name, values in self.numbers.items()},
            labels={name: values[chosen] for name, values in self.labels.items()},
        )


def read_table(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, float | str] | None = None,
    others: Sequence[str] = (),
) -> RunTable:
    """Read a CSV file in UTF-8, comma separated, with a header.

    ``columns`` maps our names (`COLUMNS`) to those of the file; ``constants`` gives a column its one value; ``others``
    are further columns of numbers, kept under their own names, NaN where there is none. Raises `BadInput`, one line.
    Files above `FILE_LIMIT` are refused before they are opened.
    """
    given, fixed = dict(columns or {}), dict(constants or {})
    _check_names(given, fixed)
    _check_file(path)
    collected: dict[str, list[str]] = {}
    lines: list[int] = []
    ragged = _Count()
    num_rows = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)  # else an open quote swallows the rest
            header = [name.strip() for name in next(reader, [])]
            places = _places(path, header, given, fixed, others)
            collected = {name: [] for name in places}
            for row in reader:
                if not row:
                    continue
                num_rows += 1
                if len(row) != len(header):
                    ragged.add(f"line {reader.line_num} has {len(row)}")
                    continue
                lines.append(reader.line_num)
                for name, place in places.items():
                    collected[name].append(row[place])
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 (byte {error.start})") from None
    except csv.Error as error:
        raise BadInput(f"{path}: not a CSV file ({error}, after line {max(lines, default=1)})") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    found = ragged.exclusion(f"another number of fields than the header's {len(header)}")
    return _clean(str(path), collected, fixed, lines, num_rows, found, others)


def table_from_frame(
    frame: pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, float | str] | None = None,
    others: Sequence[str] = (),
) -> RunTable:
    """The same from a data frame; a missing loss counts as diverged there, since pandas cannot tell the two apart."""
    given, fixed = dict(columns or {}), dict(constants or {})
    _check_names(given, fixed)
    places = _places(Path("table"), [str(name) for name in frame.columns], given, fixed, others)
    collected = {name: frame.iloc[:, place].tolist() for name, place in places.items()}
    return _clean("table", collected, fixed, list(range(len(frame))), len(frame), (), others)


class _Count:
    def __init__(self) -> None:
        self.count, self.example = 0, ""

    def add(self, example: str) -> None:
        self.count += 1
        self.example = self.example or example

    def exclusion(self, reason: str) -> tuple[Exclusion, ...]:
        return (Exclusion(reason=reason, count=self.count, example=self.example),) if self.count else ()


@dataclass
class _Rows:
    """Which rows are still in, and why the others are not."""

    keep: NDArray[np.bool_]
    lines: Sequence[int]
    exclusions: list[Exclusion] = field(default_factory=list)

    def drop(self, bad: NDArray[np.bool_], reason: str, shown: Sequence[Any]) -> None:
        bad = bad & self.keep
        if bad.any():
            first = int(np.argmax(bad))
            example = f"{str(shown[first])[:40]!r} in line {self.lines[first]}"
            self.exclusions.append(Exclusion(reason=reason, count=int(bad.sum()), example=example))
            self.keep &= ~bad


def _clean(
    where: str,
    collected: Mapping[str, Sequence[Any]],
    constants: Mapping[str, float | str],
    lines: Sequence[int],
    num_rows: int,
    exclusions: tuple[Exclusion, ...],
    others: Sequence[str] = (),
) -> RunTable:
    size = len(lines)
    if not num_rows:
        raise BadInput(f"{where}: no rows below the header")
    rows = _Rows(np.ones(size, bool), lines, list(exclusions))
    numbers: dict[str, Array] = {}
    for name in (name for name in NUMBERS if name in collected):
        values, text, empty = _to_numbers(collected[name])
        rows.drop(empty, f"no {name}", collected[name])
        rows.drop(text, f"text in {name}", collected[name])
        if name == "weight_decay":
            rows.drop(~(np.isfinite(values) & (values >= 0)), "weight_decay negative or not finite", collected[name])
        elif name != "loss":
            rows.drop(~(np.isfinite(values) & (values > 0)), f"{name} not finite and above 0", collected[name])
        numbers[name] = values
    for name in others:
        numbers[name], text, _ = _to_numbers(collected[name])
        rows.drop(text, f"text in {name}", collected[name])
    labels = {name: np.array([str(v).strip() for v in collected[name]], str) for name in LABELS if name in collected}
    repeated = _repeated(rows.keep, [*numbers.values(), *labels.values()])
    rows.drop(repeated, "the same as an earlier row", collected["learning_rate"])
    if not rows.keep.any():
        reasons = "; ".join(f"{e.count} with {e.reason} ({e.example})" for e in rows.exclusions)
        raise BadInput(f"{where}: none of {num_rows} rows can be used: {reasons}")
    kept = int(rows.keep.sum())
    for name, value in constants.items():
        if name in NUMBERS:
            numbers[name] = np.full(size, float(value))
        else:
            labels[name] = np.full(size, str(value))
    table = RunTable(numbers=numbers, labels=labels, num_rows=num_rows, exclusions=tuple(rows.exclusions))
    table = table.select(rows.keep)
    assert len(table) == kept
    for name in SCALES:
        values = table.numbers.get(name, np.ones(1))
        if values.max() > WIDEST_SCALE * values.min():
            raise BadInput(
                f"{where}: {name} runs from {values.min():g} to {values.max():g}, more than a factor of"
                f" {WIDEST_SCALE:g}: mixed units?"
            )
    return table


def _to_numbers(values: Sequence[Any]) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Numbers, which are text, which are empty."""
    none = np.zeros(len(values), bool)
    try:
        return np.array([float(value) for value in values]), none, none
    except (TypeError, ValueError):
        pass
    numbers, text, empty = np.full(len(values), np.nan), none.copy(), none.copy()
    for place, value in enumerate(values):
        if value is None or str(value).strip() == "":
            empty[place] = True
            continue
        try:
            numbers[place] = float(value)
        except (TypeError, ValueError):
            text[place] = True
    return numbers, text, empty


def _repeated(keep: NDArray[np.bool_], columns: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """Which kept rows equal an earlier kept one; two NaN are equal."""
    index = np.flatnonzero(keep)
    codes = np.stack([np.unique(column[index], return_inverse=True)[1] for column in columns], axis=1)
    result = np.zeros(len(keep), bool)
    if len(index):
        result[index] = True
        result[index[np.unique(codes, axis=0, return_index=True)[1]]] = False
    return result


def _check_names(columns: Mapping[str, str], constants: Mapping[str, float | str]) -> None:
    for flag, names in (("--column", columns), ("--constant", constants)):
        for name in names:
            if name not in COLUMNS:
                raise BadInput(f"{flag} {name}: must be one of {', '.join(COLUMNS)}")
    for name, value in constants.items():
        if name in columns:
            raise BadInput(f"--constant {name}: it is mapped to a column as well")
        if name in (*REQUIRED, "seed"):
            raise BadInput(f"--constant {name}: it has to be a column")
        if name in NUMBERS and not _allowed(name, value):
            raise BadInput(f"--constant {name}={value}: must be a finite number above 0")


def _allowed(name: str, value: float | str) -> bool:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    return math.isfinite(number) and (number > 0 or (number == 0 and name == "weight_decay"))


def _places(
    path: Path,
    header: Sequence[str],
    columns: Mapping[str, str],
    constants: Mapping[str, float | str],
    others: Sequence[str] = (),
) -> dict[str, int]:
    """Where in the header each of our columns stands."""
    if not any(header):
        raise BadInput(f"{path}: empty file: a header with learning_rate and loss is needed")
    shown = ", ".join(header)[:200]
    places = {}
    for name in COLUMNS:
        wanted = columns.get(name, name)
        if header.count(wanted) > 1:
            raise BadInput(f"{path}: column {wanted!r} stands {header.count(wanted)} times in the header")
        if wanted in header and name not in constants:
            places[name] = header.index(wanted)
        elif wanted in header and name in constants:
            raise BadInput(f"--constant {name}: {path} has a column of that name")
        elif name in columns:
            raise BadInput(f"--column {name}={wanted}: {path} has no such column; it has {shown}")
        elif name in REQUIRED:
            advice = f"map one with --column {name}=NAME"
            if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
                advice = "columns must be separated by commas"
            raise BadInput(f"{path}: no column {name}; it has {shown}; {advice}")
    for name in others:
        if name in COLUMNS or header.count(name) != 1:
            raise BadInput(f"{path}: {name!r} is not one further column of it; it has {shown}")
        places[name] = header.index(name)
    return places


def _check_file(path: Path) -> None:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not stat.S_ISREG(status.st_mode):
        raise BadInput(f"{path}: not a file")
    if status.st_size > FILE_LIMIT:
        raise BadInput(f"{path}: {status.st_size / 1e9:.3g} GB, more than the {FILE_LIMIT / 1e9:g} GB that are read")


def describe_exclusions(exclusions: Sequence[Exclusion]) -> Iterator[str]:
    """One phrase for each reason."""
    for item in exclusions:
        yield f"{item.count} with {item.reason} (first: {item.example})"
