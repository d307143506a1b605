"""Files and what is wrong with them: one line for bad input, strict JSON, files that are replaced whole."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class BadInput(ValueError):
    """Something a user gave cannot be used; the message is one line that says what, where and why."""


def to_json(value: object, *, indent: int | None = None) -> str:
    """Strict JSON: NaN and infinities become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def read_json(path: Path) -> Any:
    """Parse a JSON file; raises `BadInput` for one that is missing, unreadable or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a JSON file ({one_line(error)})") from None


def csv_text(rows: Iterable[Mapping[str, object]], columns: Sequence[str] = ()) -> str:
    """Rows as the text of a CSV file: a column for each key of the first row, unless ``columns`` names them in order.

    Raises ValueError for a row with a key that is no column. Without rows and columns there is no text.
    """
    rows = list(rows)
    names = list(columns or (rows[0] if rows else ()))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=names, lineterminator="\n")
    if names:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old one or the new one. Raises `BadInput`, and tidies up."""
    if not path.name or path.is_dir():
        raise BadInput(f"{path}: not the name of a file")
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None


def one_line(error: BaseException) -> str:
    """What an exception says, on one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:300] + " ..."


def _finite(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
