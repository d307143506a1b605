"""Logs of names and values: separated values, JSON lines, a JSON list, Hugging Face's ``trainer_state.json``."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping

from experiments.files import BadInput
from experiments.logs.sources.raw_log import Collector, RawLog
from experiments.tables.formats import DEEPEST, SEPARATORS
from experiments.tables.written import LARGEST_WHOLE, number

TRAINER_STATE = "Hugging Face trainer state"
WRAPPERS = ("metrics", "logs", "log", "scalars")  # objects of a record whose names are those of its own
LOOKED_AT = 100  # rows of a column that means nothing
COMMA = re.compile(r"([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)")  # in a number


def header_of(line: str) -> tuple[str, list[str]]:
    """The separator that a header has most often, blanks if it has none, and its names."""
    line = line.strip("\ufeff# \n")
    bare = "".join(line.split('"')[::2])
    separator = max(SEPARATORS, key=bare.count)
    if separator not in bare:
        separator = " "
    return separator, [name.strip() for name in _fields(line, separator)]


def read_separated(lines: Iterable[str], log: Collector) -> RawLog:
    """A header, and a row a line. A line with another number of fields, or a step that is no number, is broken.

    Raises `BadInput` for a name that is read and stands twice in the header.
    """
    lines = iter(lines)
    separator, header = header_of(next(lines))
    places = [(place, name) for place, name in enumerate(header) if name and log.wanted(name)]
    for _, name in places:
        if header.count(name) > 1:
            raise BadInput(f"{log.where}: column {name!r} stands {header.count(name)} times in the header")
    passed = [(place, name) for place, name in enumerate(header) if name and not log.wanted(name)]
    cells: list[list[object]] = [log.values[name] for _, name in places]
    steps = [place for place, name in places if (told := log.meanings[name]) and told.quantity == "step"]
    row, width = 0, len(header)
    for line, text in enumerate(lines, start=2):
        if not text.strip():
            continue
        log.num_lines += 1
        fields = _fields(text, separator)
        if separator == ";" and "," in text:
            fields = [COMMA.sub(r"\1.\2", field) if COMMA.fullmatch(field) else field for field in fields]
        if len(fields) != width or (steps and not any(number(fields[place]) is not None for place in steps)):
            log.reject(line, text)
            continue
        for (place, _), column in zip(places, cells, strict=True):
            column.append(fields[place])
        if row < LOOKED_AT:
            for place, name in passed:
                log.pass_over(name, fields[place])
        row += 1
    for _, name in places:
        log.rows[name] = list(range(row))
    return log.finish(row)


def read_json_lines(lines: Iterable[str], log: Collector) -> RawLog:
    """An object a line; a line that is none is broken, and a first one that is no record has the settings."""
    row = 0
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        log.num_lines += 1
        try:
            item = json.loads(text)
        except (ValueError, RecursionError):
            item = None
        if not isinstance(item, dict):
            log.reject(line, text)
        elif line == 1 and not log.are_of_record(name for name, _ in leaves_of(item)):
            log.state(line, text)
        else:
            _add(log, row, item)
            row += 1
    return log.finish(row)


def read_objects(items: Iterable[object], log: Collector) -> RawLog:
    """A list of objects, one a row."""
    row = 0
    for place, item in enumerate(items, start=1):
        log.num_lines += 1
        if isinstance(item, dict):
            _add(log, row, item)
            row += 1
        else:
            log.reject(place, str(item))
    return log.finish(row)


def read_trainer_state(state: Mapping[str, object], log: Collector) -> RawLog:
    """``log_history``, the length that the run was to have, and the steps it has made."""
    log.kind = TRAINER_STATE
    log.planned_steps, log.steps_done = _count(state.get("max_steps")), _count(state.get("global_step"))
    history = state["log_history"]
    return read_objects(history if isinstance(history, list) else [], log)


def columns_as_rows(value: Mapping[str, object], log: Collector) -> list[dict[str, object]] | None:
    """Rows of an object whose values are columns, as lists or by index; None where it is something else."""
    columns = {
        name: list(column.values()) if isinstance(column, dict) else column
        for name, column in value.items()
        if isinstance(column, dict | list)
    }
    for name in [name for name in columns if not log.wanted(name)]:
        for cell in columns.pop(name)[:LOOKED_AT]:
            log.pass_over(name, cell)
    lengths = {len(column) for column in columns.values()}
    if len(columns) < 2 or len(lengths) != 1:
        return None
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def is_number(text: str) -> bool:
    return number(text) is not None


def leaves_of(item: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Names and values of a record, objects in objects included, by dots."""
    for name, value in item.items():
        if isinstance(value, dict):
            yield from _flat(value, "" if name in WRAPPERS else f"{name}.")
        elif value is not None:
            yield name, value


def _count(value: object) -> int | None:
    """A number of steps; None where there is none."""
    found = number(value)
    return int(found) if found is not None and 1 <= found < LARGEST_WHOLE else None


def _add(log: Collector, row: int, item: Mapping[str, object]) -> None:
    for name, value in leaves_of(item):
        log.add(row, name, value)


def _flat(item: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in item.items():
        if isinstance(value, dict):
            if prefix.count(".") <= DEEPEST:
                yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value


def _fields(line: str, separator: str) -> list[str]:
    """One line at a time, so that an open quote ends with it."""
    line = line.rstrip("\r\n")
    if separator == " ":
        return line.split()
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []
