"""Files and what is wrong with them: one line for bad input, strict JSON, files that are replaced whole.

A path that a user gave is read through `open_regular`, whatever is in the file, and written through `write_whole`.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import fcntl
import glob
import io
import json
import math
import os
import secrets
import stat
from collections.abc import Iterable, Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

LARGEST_FILE = 10**9  # bytes that are read of a table
LARGEST_JSON = 10**8  # of a config, a study, what lies beside a run


class BadInput(ValueError):
    """Something a user gave cannot be used; the message is one line that says what, where and why."""


def to_json(value: object, *, indent: int | None = None) -> str:
    """Strict JSON: NaN and infinities become null."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def open_regular(path: Path, *, largest: int = LARGEST_FILE) -> BufferedReader:
    """Open a file for reading. Raises `BadInput`, at once, for what is no file, cannot be read, or is too large.

    A pipe, a device or a socket under the name of a file could be waited for forever, and has no size.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        if getattr(error, "errno", None) == errno.ENXIO:  # a socket
            reason = "not a file"
        raise BadInput(f"{path}: cannot be read ({reason})") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{path}: not a file")
        if status.st_size > largest:
            raise BadInput(f"{path}: {status.st_size / 1e9:.3g} GB, more than the {largest / 1e9:g} GB that are read")
        return BufferedReader(os.fdopen(descriptor, "rb", buffering=0))
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, *, largest: int = LARGEST_FILE) -> bytes:
    """All that is in a file; raises `BadInput` as `open_regular` does."""
    with open_regular(path, largest=largest) as file:
        try:
            return file.read()
        except OSError as error:
            raise BadInput(f"{path}: cannot be read ({error.strerror})") from None


def read_json(path: Path) -> Any:
    """Parse a JSON file; raises `BadInput` for one that is missing, unreadable, not JSON, or has a key twice."""
    try:
        return json.loads(read_bytes(path, largest=LARGEST_JSON).decode("utf-8"), object_pairs_hook=_each_key_once)
    except BadInput:
        raise
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a JSON file ({one_line(error)})") from None


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def csv_text(rows: Iterable[Mapping[str, object]], columns: Sequence[str] = ()) -> str:
    """Rows as the text of a CSV file: a column for each key of the first row, unless ``columns`` names them in order.

    Text that a spreadsheet would compute gets an apostrophe (`inert`), half a letter becomes a question mark. Raises
    ValueError for a row with a key that is no column. Without rows and columns there is no text.
    """
    rows = list(rows)
    names = list(columns or (rows[0] if rows else ()))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=names, lineterminator="\n")
    if names:
        writer.writerow({name: inert(name) for name in names})
    writer.writerows({name: inert(value) for name, value in row.items()} for row in rows)
    return buffer.getvalue().encode(errors="replace").decode()


def inert(value: Any) -> Any:
    """The value of a cell such that no spreadsheet takes it for a formula; numbers, also as text, stay as they are.

    >>> inert("=1+1"), inert("-1e-3"), inert("lion"), inert(-2)
    ("'=1+1", '-1e-3', 'lion', -2)
    """
    if not isinstance(value, str):
        return value
    value = value.replace("\r", "\n")  # which `csv` puts into quotes
    if not value.startswith(("=", "+", "-", "@", "\t", "\n")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader sees the old one or the new one, now and after a crash of the machine.

    Any number of processes may write one file at once. A link is followed, to the file that it names; what is there
    keeps its permissions. A character device (/dev/null) or a pipe is written to and stays what it is.

    Raises `BadInput`, with the old file as it was, if it cannot be written or is something else.
    """
    if not path.name:
        raise BadInput(f"{path}: not the name of a file")
    try:
        target = Path(os.path.realpath(path))
        status = _status(path)
        if status is not None and (stat.S_ISCHR(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
            _write_through(path, content)
            return
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise BadInput(f"{path}: not the name of a file")
        if status is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        _replace(target, content, None if status is None else stat.S_IMODE(status.st_mode))
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        reason = getattr(error, "strerror", None) or one_line(error)
        raise BadInput(f"{path}: cannot be written ({reason})") from None


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _write_through(path: Path, content: bytes) -> None:
    """Into a device or a pipe that somebody reads."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)  # without a reader a pipe is refused
    os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _replace(target: Path, content: bytes, mode: int | None) -> None:
    """By a new file beside it, under a name that nobody else has."""
    remove_leftovers(target)
    tried: list[Path] = []
    try:
        descriptor = _new_file_beside(target, tried)
        with os.fdopen(descriptor, "wb") as file:  # open, and so locked, until it has its name
            file.write(content)
            if mode is not None:
                os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
            os.replace(tried[-1], target)
    except BaseException:
        for temporary in tried:
            with contextlib.suppress(OSError):
                temporary.unlink()
        raise
    flush_folder(target.parent)


def _new_file_beside(target: Path, tried: list[Path]) -> int:
    """Descriptor of a new file that has its lock. Its name is the last of ``tried``, which gets every name before there
    is such a file: an interrupt may come in between."""
    while True:
        temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.partial")
        tried.append(temporary)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if temporary.exists():  # before it was locked, it may have been taken for a dead one
            return descriptor
        os.close(descriptor)


def remove_leftovers(target: Path) -> None:
    """Delete what killed processes left of new files for ``target``; those being written keep their lock and stay."""
    for leftover in target.parent.glob(f".{glob.escape(target.name[:100])}.{'[0-9a-f]' * 16}.partial"):
        with contextlib.suppress(OSError):
            descriptor = os.open(leftover, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
            finally:
                os.close(descriptor)


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
