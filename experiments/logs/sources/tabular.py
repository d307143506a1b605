"""Logs of names and values: separated values, JSON lines, a JSON list, Hugging Face's ``trainer_state.json``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping

from experiments.logs.sources.raw_log import Collector, RawLog, to_float
from experiments.tables.formats import DEEPEST, SEPARATORS

TRAINER_STATE = "Hugging Face trainer state"


def header_of(line: str) -> tuple[str, list[str]]:
    """The separator that a header has most often, and its names."""
    bare = "".join(line.split('"')[::2])
    separator = max(SEPARATORS, key=bare.count)
    return separator, [name.strip() for name in _fields(line, separator)]


def read_separated(file: io.TextIOBase, log: Collector) -> RawLog:
    """A header, and a row a line. A line with another number of fields, or a step that is no number, is broken."""
    separator, header = header_of(file.readline().lstrip("\ufeff"))
    places = [(place, name) for place, name in enumerate(header) if name and log.wanted(name)]
    cells: list[list[object]] = [log.values[name] for _, name in places]
    steps = [place for place, name in places if (told := log.meanings[name]) and told.quantity == "step"]
    row, width = 0, len(header)
    for line, text in enumerate(file, start=2):
        if not text.strip():
            continue
        log.num_lines += 1
        fields = _fields(text, separator)
        if len(fields) != width or not any(to_float(fields[place]) is not None for place in steps):
            log.reject(line, text)
            continue
        for (place, _), column in zip(places, cells, strict=True):
            column.append(fields[place])
        row += 1
    for _, name in places:
        log.rows[name] = list(range(row))
    return log.finish(row)


def read_json_lines(lines: Iterable[str], log: Collector) -> RawLog:
    """An object a line; a line that is none is broken."""
    row = 0
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        log.num_lines += 1
        try:
            item = json.loads(text)
        except (ValueError, RecursionError):
            item = None
        if isinstance(item, dict):
            _add(log, row, item)
            row += 1
        else:
            log.reject(line, text)
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
    """``log_history``, and the length that the run was to have."""
    log.kind = TRAINER_STATE
    planned = to_float(state.get("max_steps"))
    if planned is not None and planned >= 1:
        log.planned_steps = int(planned)
    history = state["log_history"]
    return read_objects(history if isinstance(history, list) else [], log)


def _add(log: Collector, row: int, item: Mapping[str, object]) -> None:
    for name, value in item.items():
        if isinstance(value, dict):
            for inner, leaf in _flat(value, f"{name}."):
                log.add(row, inner, leaf)
        elif value is not None:
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
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []
