"""What a file or a folder is, told by its content, and its way into a `RawLog`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from experiments.files import BadInput, read_json
from experiments.logs.sources.events import add_events, looks_like_events
from experiments.logs.sources.names import check_columns, meaning
from experiments.logs.sources.raw_log import Collector, NoLog, RawLog
from experiments.logs.sources.tabular import (
    header_of,
    read_json_lines,
    read_objects,
    read_separated,
    read_trainer_state,
)
from experiments.logs.sources.text_lines import read_text

FILE_LIMIT = 2 * 10**9  # bytes
STATE_FILE = "trainer_state.json"
FIRST_LINES = 20  # of which one has to be whole
READ = (
    "what is read: Hugging Face's trainer_state.json or a checkpoint folder with one, a Weights & Biases history as"
    " CSV or"
    " JSON lines, text logs of nanoGPT, llm.c and modded-nanogpt, TensorBoard event files, a CSV file with step and any"
    " of learning_rate, loss, grad_norm, weight_rms, update_rms, mean_w_u"
)


def read_source(path: Path, columns: Mapping[str, str]) -> RawLog:
    """Raises `BadInput`, one line that lists what is read where the file is something else."""
    check_columns(columns)
    if path.is_dir():
        return _read_folder(path, columns)
    _check_file(path)
    try:
        return _read_file(path, columns)
    except NoLog as error:
        raise BadInput(f"{error}; {READ}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def _read_folder(folder: Path, columns: Mapping[str, str]) -> RawLog:
    states = (
        [folder / STATE_FILE] if (folder / STATE_FILE).is_file() else list(folder.glob(f"checkpoint-*/{STATE_FILE}"))
    )
    if states:
        return read_source(max(states, key=_checkpoint_step), columns)
    events = sorted(path for path in folder.glob("*tfevents*") if path.is_file())
    if events:
        return _read_events(folder, events, columns)
    if (folder / "config.json").is_file() and (folder / "summary.json").is_file():
        raise BadInput(f"{folder}: a run directory: lrbend diagnose and lrbend report read those")
    raise BadInput(f"{folder}: a folder without {STATE_FILE} or event files; {READ}")


def _checkpoint_step(state: Path) -> int:
    found = re.search(r"(\d+)$", state.parent.name)
    return int(found[1]) if found else -1


def _check_file(path: Path) -> None:
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    if not path.is_file():
        raise BadInput(f"{path}: not a file; {READ}")
    size = os.stat(path).st_size
    if size > FILE_LIMIT:
        raise BadInput(f"{path}: {size / 1e9:.3g} GB, more than the {FILE_LIMIT / 1e9:g} GB that are read")
    if not size:
        raise BadInput(f"{path}: empty file; {READ}")


def _read_file(path: Path, columns: Mapping[str, str]) -> RawLog:
    with path.open("rb") as file:
        start = file.read(1 << 20)
    if looks_like_events(start):
        return _read_events(path, [path], columns)
    if b"\0" in start:
        raise BadInput(f"{path}: not text; {READ}")
    beginning = start.decode("utf-8-sig", "replace").lstrip()
    first = next(iter(beginning.splitlines()), "")
    if beginning[:1] in ("{", "["):
        if (found := _read_json(path, beginning, columns)) is not None:
            return found
    elif _is_header(first, columns):
        with path.open(encoding="utf-8", errors="replace") as text:
            return read_separated(text, Collector(str(path), "table of separated values", columns))
    with path.open(encoding="utf-8", errors="replace") as text:
        return read_text(text, Collector(str(path), "text log", columns))


def _is_header(line: str, columns: Mapping[str, str]) -> bool:
    _, names = header_of(line)
    told = [one for name in names if (one := meaning(name, columns)) is not None]
    return len(told) > 1 or any(one.quantity == "step" for one in told)


def _read_json(path: Path, beginning: str, columns: Mapping[str, str]) -> RawLog | None:
    """JSON lines if one of the first lines is an object by itself; else one value, of which a list or a trainer's state
    is read. None for what only begins like JSON."""
    log = Collector(str(path), "JSON lines", columns)
    lines = beginning.splitlines()
    if any("log_history" not in item for line in lines[:FIRST_LINES] if (item := _object(line)) is not None):
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return read_json_lines(file, log)
    if path.suffix != ".json" and len(lines[0].strip()) > 1 and _object(lines[0]) is None:
        return None
    value = read_json(path)
    if isinstance(value, dict) and isinstance(value.get("log_history"), list):
        return read_trainer_state(value, log)
    if isinstance(value, list):
        log.kind = "JSON list"
        return read_objects(value, log)
    raise BadInput(f"{path}: a JSON file without log_history; {READ}")


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
        row = add_events(path.read_bytes(), log, row)
    if not row:
        raise BadInput(f"{where}: event files without a scalar that is known; {READ}")
    return log.finish(row)
