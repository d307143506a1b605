"""What takes long to make is kept in a folder, and believed only as far as its checksum goes.

Each user has a cache alone: what others could write there would be trained on. An entry is made under a lock, under a
temporary name, brought to disk and renamed; the size and the SHA-256 of every file of it are compared whenever it is
used, and an entry that differs is made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from gpt.durable import flush_file, flush_folder

CHECKSUMS = "checksums.json"
OLD = 3600.0  # seconds after which nobody writes an unfinished entry any more


def cache_folder() -> Path:
    """The folder, which is there: ``LRBEND_CACHE``, by default ``~/.cache/lrbend``.

    Where that belongs to somebody else, or others may write there, a folder in it that is this user's alone; where it
    cannot be written, one among the temporary files, which is said. Raises OSError if neither can be had.
    """
    wanted = os.environ.get("LRBEND_CACHE")
    try:
        folder = Path(wanted) if wanted else Path.home() / ".cache" / "lrbend"
        return _own(folder)
    except (OSError, RuntimeError) as error:  # Path.home() of a user who has none
        reason = getattr(error, "strerror", None) or str(error)
        place = Path(tempfile.gettempdir()) / f"lrbend-cache-{os.getuid()}"
        place.mkdir(mode=0o700, exist_ok=True)
        if not _is_ours(place):
            raise PermissionError(1, "belongs to somebody else", str(place)) from error
        _say(f"note: {wanted or '~/.cache/lrbend'} cannot hold a cache ({reason}); it is in {place}")
        return place


def cached_folder(name: str, write: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache, made by ``write`` if it is not there, or not as it was made.

    A folder that is returned is complete, and any number of processes may ask for it at once. Raises OSError if it
    cannot be written, with nothing left behind.
    """
    folder = cache_folder() / name
    if is_whole(folder):
        return folder
    with _lock(folder):
        if is_whole(folder):
            return folder
        for leftover in folder.parent.glob(f"{name}.*.partial"):
            with contextlib.suppress(OSError):
                if time.time() - leftover.stat().st_mtime > OLD:
                    shutil.rmtree(leftover, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".partial", dir=folder.parent))
        try:
            write(work)
            (work / CHECKSUMS).write_text(_checksums(work))
            for file in work.iterdir():
                flush_file(file)
            flush_folder(work)
            if is_whole(folder):  # of another process that the lock did not keep away
                return folder
            if os.path.lexists(folder):
                _say(f"note: {folder} is damaged, or of before it was checked; it is made again")
                damaged = folder.with_name(f"{name}.{secrets.token_hex(4)}.partial")
                os.rename(folder, damaged)
                shutil.rmtree(damaged, ignore_errors=True) if damaged.is_dir() else damaged.unlink()
            try:
                os.rename(work, folder)
            except OSError:
                if not is_whole(folder):
                    raise
            flush_folder(folder.parent)
        except OSError as error:
            if error.filename is None:  # of a disk that is full; NumPy's has no number either
                raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def read_note(key: str) -> dict[str, object] | None:
    """What `write_note` kept under a key; None if there is nothing, or not as it was written."""
    try:
        note = _note(key)
        if not note.is_file():  # a pipe would be waited for
            return None
        content = json.loads(note.read_text())
        found = content["found"]
        if content["digest"] != _digest(key, found) or not isinstance(found, dict):
            return None
        return found
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_note(key: str, found: dict[str, object]) -> None:
    """Keep something small, if the cache can be written."""
    with contextlib.suppress(OSError):
        note = _note(key)
        note.parent.mkdir(exist_ok=True)
        partial = note.with_name(f"{note.name}.{secrets.token_hex(8)}")
        try:
            partial.write_text(json.dumps({"found": found, "digest": _digest(key, found)}))
            os.replace(partial, note)
        finally:
            partial.unlink(missing_ok=True)


def _note(key: str) -> Path:
    return cache_folder() / "files" / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.json"


def _digest(key: str, found: object) -> str:
    return hashlib.sha256(json.dumps([key, found], sort_keys=True).encode()).hexdigest()


def _own(folder: Path) -> Path:
    """The folder if it is this user's alone, or one inside it that is; both are made if they are missing."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_ours(folder):
        folder = folder / f"user-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if not _is_ours(folder):
            raise PermissionError(1, "somebody else can write there", str(folder))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(13, os.strerror(13), str(folder))
    return folder


def _is_ours(folder: Path) -> bool:
    status = os.stat(folder, follow_symlinks=not folder.name.endswith(f"-{os.getuid()}"))
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.getuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def is_whole(folder: Path) -> bool:
    """Whether every file has the checksum that was kept; looked at once in a process while nothing changes.

    A folder that holds anything but files is not: a pipe among them would be waited for.
    """
    try:
        if not all(file.is_file() for file in folder.iterdir()):
            return False
        files = tuple(
            (file.name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
            for file in sorted(folder.iterdir())
            for s in [file.stat()]
        )
        return _has_checksums(folder, files)
    except OSError:
        return False


@cache
def _has_checksums(folder: Path, files: tuple[tuple[object, ...], ...]) -> bool:
    kept = folder / CHECKSUMS
    return kept.is_file() and kept.read_bytes() == _checksums(folder).encode()


def _checksums(folder: Path) -> str:
    lines = {}
    for file in sorted(folder.iterdir()):
        if file.name != CHECKSUMS:
            with file.open("rb") as content:
                lines[file.name] = [file.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest()]
    return json.dumps(lines, indent=1) + "\n"


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time, where the file system can; each would make the same."""
    file = folder.with_name(f"{folder.name}.lock")
    if file in _HELD:
        yield
        return
    descriptor = _locked(file)
    while descriptor is None:
        descriptor = _locked(file)
    _HELD.add(file)
    try:
        yield
    finally:
        _HELD.discard(file)
        file.unlink(missing_ok=True)
        os.close(descriptor)


_HELD: set[Path] = set()


def _locked(file: Path) -> int | None:
    """The open, locked file, after a wait that is told; None if it was removed meanwhile."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"note: another process makes {file.with_suffix('')}; waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            return descriptor
        if os.path.samestat(os.fstat(descriptor), os.stat(file)):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


@cache
def _say(line: str) -> None:
    """On stderr, once in a process."""
    print(line, file=sys.stderr, flush=True)
