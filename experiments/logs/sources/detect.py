"""What a file or a folder is, told by its content, and its way into a `RawLog`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import islice, takewhile
from pathlib import Path

from experiments.files import BadInput, read_json
from experiments.logs.sources.events import add_events, looks_like_events
from experiments.logs.sources.names import check_columns, meaning
from experiments.logs.sources.opening import check_size, chunks_of, is_text, lines_of, text_of
from experiments.logs.sources.raw_log import Collector, NoLog, RawLog
from experiments.logs.sources.tabular import (
    columns_as_rows,
    header_of,
    is_number,
    read_json_lines,
    read_objects,
    read_separated,
    read_trainer_state,
)
from experiments.logs.sources.text_lines import is_record, read_text

STATE_FILE = "trainer_state.json"
FIRST_LINES = 20  # of which one has to be whole
READ = (
    "what is read: Hugging Face's trainer_state.json or a checkpoint folder with one, a Weights & Biases history as"
    " CSV or JSON lines, text logs of nanoGPT, llm.c, modded-nanogpt and many others, TensorBoard event files, a CSV"
    " file with step and any of learning_rate, loss, grad_norm, weight_rms, update_rms, mean_w_u; also packed by gzip"
)


def read_source(path: Path, columns: Mapping[str, str], steps_per_record: int | None = None) -> RawLog:
    """What is in a log, told by its content.

    steps_per_record : between the losses of a log that does not number its steps. Raises `BadInput`, one line that
    lists what is read where the file is something else.
    """
    check_columns(columns)
    if path.is_dir():
        return _read_folder(path, columns, steps_per_record)
    _check_file(path)
    try:
        return _read_file(path, columns, steps_per_record)
    except NoLog as error:
        raise BadInput(f"{error}; {READ}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def _read_folder(folder: Path, columns: Mapping[str, str], steps_per_record: int | None) -> RawLog:
    states = (
        [folder / STATE_FILE] if (folder / STATE_FILE).is_file() else list(folder.glob(f"checkpoint-*/{STATE_FILE}"))
    )
    if states:
        return read_source(max(states, key=_checkpoint_step), columns, steps_per_record)
    events = sorted(path for path in folder.glob("*tfevents*") if path.is_file())
    if events:
        return _read_events(folder, events, columns)
    if (folder / "config.json").is_file() and (folder / "summary.json").is_file():
        raise BadInput(f"{folder}: a run directory: lrbend diagnose and lrbend report read those")
    if any(folder.glob("*/summary.json")):
        raise BadInput(f"{folder}: a folder of run directories: lrbend report and lrbend diagnose read those")
    raise BadInput(f"{folder}: a folder without {STATE_FILE} or event files; {READ}")


def _checkpoint_step(state: Path) -> int:
    found = re.search(r"(\d+)$", state.parent.name)
    return int(found[1]) if found else -1


def _check_file(path: Path) -> None:
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    if not path.is_file():
        raise BadInput(f"{path}: not a file; {READ}")
    check_size(path)
    if not path.stat().st_size:
        raise BadInput(f"{path}: empty file; {READ}")


def _read_file(path: Path, columns: Mapping[str, str], steps_per_record: int | None) -> RawLog:
    start = next(chunks_of(path), b"")
    if looks_like_events(start):
        return _read_events(path, [path], columns)
    if not is_text(start):
        raise BadInput(f"{path}: not text; {READ}")
    log = Collector(str(path), "text log", columns, steps_per_record)
    beginning = text_of(start).lstrip()
    if beginning[:1] in ("{", "["):
        if (found := _read_json(path, beginning, log)) is not None:
            return found
    elif (place := _header_place(beginning, columns)) is not None:
        log.kind = "table of separated values"
        for line, text in enumerate(takewhile(_is_above, lines_of(path)), start=1):
            log.state(line, text)
        lines = (line for line in lines_of(path) if line.strip())
        return read_separated(islice(lines, place, None), log)
    return read_text(lines_of(path), log)


def _header_place(beginning: str, columns: Mapping[str, str]) -> int | None:
    """The place among lines that are not blank of a header of a table: the first that is no comment, or a comment."""
    lines = (line for line in beginning.splitlines() if line.strip())
    for place, line in enumerate(islice(lines, FIRST_LINES)):
        if _is_header(line, columns):
            return place
        if not line.lstrip().startswith("#"):
            return None
    return None


def _is_above(line: str) -> bool:
    """A comment or a blank line, as stand above a header."""
    return not line.strip() or line.lstrip("\ufeff ").startswith("#")


def _is_header(line: str, columns: Mapping[str, str]) -> bool:
    _, names = header_of(line)
    told = [one for name in names if (one := meaning(name, columns)) is not None]
    enough = len(told) > 1 or any(one.quantity == "step" for one in told)
    return enough and not any(is_number(name) for name in names) and not is_record(line, columns)


def _read_json(path: Path, beginning: str, log: Collector) -> RawLog | None:
    """JSON lines if one of the first lines is an object by itself; else one value: a list of rows, an object of columns
    or a trainer's state. None for what only begins like JSON."""
    lines = beginning.splitlines()
    objects = [item for line in lines[:FIRST_LINES] if (item := _object(line))]
    others = [line for line in lines[1:FIRST_LINES] if line.strip()]
    if len(objects) == 1 and _object(lines[0]) and others and not any(map(_begins_object, others)):
        return None  # settings above a text log
    alone = ".json" in path.suffixes and len(lines) == 1  # a file of one object is no log of one record
    if not alone and any("log_history" not in item for item in objects):
        log.kind = "JSON lines"
        return read_json_lines(lines_of(path), log)
    if ".json" not in path.suffixes and len(lines[0].strip()) > 1 and _object(lines[0]) is None:
        return None
    try:
        value = _value(path)
    except BadInput:
        if ".json" in path.suffixes:
            raise
        return None
    if isinstance(value, dict) and isinstance(value.get("log_history"), list):
        return read_trainer_state(value, log)
    if isinstance(value, dict) and (rows := columns_as_rows(value, log)) is not None:
        log.kind = "JSON object of columns"
        return read_objects(rows, log)
    if isinstance(value, list):
        log.kind = "JSON list"
        return read_objects(value, log)
    raise BadInput(f"{path}: a JSON file without log_history; {READ}")


def _begins_object(line: str) -> bool:
    return line.lstrip().startswith('{"')


def _value(path: Path) -> object:
    """Of a file that may be packed, or in UTF-16."""
    start = next(chunks_of(path), b"")
    with path.open("rb") as file:
        plain = file.read(len(start)) == start and text_of(start).encode() == start
    if plain:
        return read_json(path)
    try:
        return json.loads("\n".join(lines_of(path)))
    except (ValueError, RecursionError):
        raise BadInput(f"{path}: not a JSON file; {READ}") from None


def _object(line: str) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value else None


def _read_events(where: Path, files: list[Path], columns: Mapping[str, str]) -> RawLog:
    log = Collector(str(where), "TensorBoard events", columns)
    row = 0
    for path in files:
        _check_file(path)
        row = add_events(b"".join(chunks_of(path)), log, row)
    if not row:
        raise BadInput(f"{where}: event files without a scalar that is known; {READ}")
    return log.finish(row)
