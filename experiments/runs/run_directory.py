"""A run directory is the unit of record: everything about one run, complete or not there at all.

A run is produced under a hidden temporary name beside its final one and renamed when every file is written, so
that a directory under a final name is a finished run whatever happened to the process. Two processes that want
the same run take turns by a lock in the temporary directory; the second finds it done.

``checksums.json`` of a finished run has the size and the SHA-256 of every other file. Runs of before it was written are
read as they are.

What the files say is in `experiments.runs.run_files`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from experiments.files import BadInput, flush_folder, open_regular, read_bytes, read_json, to_json, write_whole
from experiments.locks import Lock, is_locked, locked
from experiments.runs.configs import config_hash

SUMMARY_FILE = "summary.json"  # it is there in every finished run
CHECKPOINT_FILE = "checkpoint.pt"
CHECKSUMS_FILE = "checksums.json"
LOCK_FILE = "lock"
REPORT = ("report.html", "report")  # what `lrbend report` puts beside the files of a single run
PROGRESS_FILE = "progress"
LARGEST_CHECKPOINT = 10**13  # bytes


def run_path(study: Path, label: str, config: object) -> Path:
    """Where the finished run of this config lies: ``<study>/<label>-<config hash>``."""
    return study / f"{label}-{config_hash(config)}"


def is_finished(path: Path) -> bool:
    return (path / SUMMARY_FILE).is_file()


@contextlib.contextmanager
def claim(final: Path) -> Iterator[Path | None]:
    """Yield the locked temporary directory in which to produce the run ``final``; None if it is finished.

    Waits while another process produces the same run, and says so. Raises `BadInput` if ``final`` is something else
    than a finished run, or cannot be written.
    """
    partial = partial_path(final)
    with contextlib.ExitStack() as stack:
        lock: Lock | None = None
        while lock is None and not is_finished(final):
            if final.exists() and not is_finished(final):
                raise BadInput(f"{final}: in the way of a run, but not a finished one (no {SUMMARY_FILE}); move it")
            try:
                partial.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # it was given its name, or removed, by another process
                    lock = stack.enter_context(locked(partial / LOCK_FILE, on_wait=lambda: _say_waiting(final)))
            except OSError as error:
                raise BadInput(f"{final.parent}: cannot hold runs ({error.strerror})") from None
        if is_finished(final):
            if lock is not None:
                _remove_empty(partial)
            yield None
            return
        assert lock is not None
        _HELD[partial] = lock
        try:
            yield partial
        finally:
            del _HELD[partial]


def is_claimed(final: Path) -> bool:
    """Whether a process produces this run right now. It may end the moment after."""
    return is_locked(partial_path(final) / LOCK_FILE)


_HELD: dict[Path, Lock] = {}  # the locks of this process, by the directory that they are for


def _say_waiting(final: Path) -> None:
    print(f"note: another process makes {final}; waiting for it", file=sys.stderr, flush=True)


def _remove_empty(partial: Path) -> None:
    """What we made just after another process had given its own away."""
    with contextlib.suppress(OSError):
        if [path.name for path in partial.iterdir()] == [LOCK_FILE]:
            (partial / LOCK_FILE).unlink()
            partial.rmdir()


def partial_path(final: Path) -> Path:
    """Where the run ``final`` lies while it is produced."""
    return final.parent / f".{final.name}.partial"


def checkpoint_time(final: Path) -> int:
    """When an unfinished run last came further, in nanoseconds; 0 without a checkpoint."""
    try:
        return (partial_path(final) / CHECKPOINT_FILE).stat().st_mtime_ns
    except OSError:
        return 0


def publish(partial: Path, final: Path, files: Mapping[str, bytes], *, further: Iterable[str] = ()) -> None:
    """Write the files into ``partial``, check and flush all that lies there, give it its final name.

    further : names of files that were written before and have to be there. All else goes: killed processes left it.

    Raises `BadInput`, and nothing gets a name, if the directory is no longer the one that was claimed, or a file is
    missing or not what was written.
    """
    try:
        for path in partial.iterdir():
            if path.name not in {*files, *further, LOCK_FILE} and (path.is_symlink() or not path.is_dir()):
                path.unlink(missing_ok=True)
        for name, content in files.items():
            (partial / name).unlink(missing_ok=True)  # a link or a pipe under this name
            with (partial / name).open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        there = _checksums(partial, [*files, *further])
        for name, content in files.items():
            if there[name]["sha256"] != hashlib.sha256(content).hexdigest():
                raise BadInput(f"{partial / name}: is not what was written")
        write_whole(partial / CHECKSUMS_FILE, _checksums_text(there).encode())
        if not _HELD[partial].is_held():
            raise BadInput(
                f"{partial}: was removed, or taken by another process, while the run was made; make it again"
            )
        os.replace(partial, final)
    except FileNotFoundError as error:
        raise BadInput(f"{error.filename}: was removed while the run was made; make it again") from None
    flush_folder(final.parent)
    (final / LOCK_FILE).unlink(missing_ok=True)


def add_file(path: Path, name: str, content: bytes) -> None:
    """A further file of a finished run, replaced if it is there, and its checksum. Raises `BadInput`."""
    write_whole(path / name, content)
    known = read_checksums(path)
    if known is not None:
        known |= _checksums(path, [name])
        write_whole(path / CHECKSUMS_FILE, _checksums_text(known).encode())


def read_checksums(path: Path) -> dict[str, dict[str, Any]] | None:
    """``bytes`` and ``sha256`` of each file of a finished run; None for a run of before they were kept.

    Raises `BadInput` for a file that is damaged, or not to the letter what `publish` writes.
    """
    file = path / CHECKSUMS_FILE
    if not os.path.lexists(file):
        return None
    known = read_json(file)
    valid = isinstance(known, dict) and all(
        isinstance(entry, dict)
        and set(entry) == {"bytes", "sha256"}
        and isinstance(entry["bytes"], int)
        and isinstance(entry["sha256"], str)
        for entry in known.values()
    )
    if not valid or _checksums_text(known) != read_bytes(file).decode(errors="replace"):
        raise BadInput(f"{file}: damaged")
    return known


def read_checked(path: Path, name: str, known: Mapping[str, Mapping[str, Any]] | None) -> bytes:
    """A file of a finished run; raises `BadInput` if it is missing, or not the one whose checksum was kept."""
    content = read_bytes(path / name)
    if known is not None:
        if name not in known:
            raise BadInput(f"{path / name}: is no part of this run (not in {CHECKSUMS_FILE})")
        if known[name]["sha256"] != hashlib.sha256(content).hexdigest():
            raise BadInput(f"{path / name}: changed since the run was finished ({CHECKSUMS_FILE})")
    return content


def changed_files(path: Path, known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What is wrong with the files of a finished run, a line each: changed, missing, or put there by somebody."""
    faults = []
    for name, entry in known.items():
        try:
            found = _checksum(path / name)
        except BadInput as error:
            faults.append(str(error))
            continue
        if found != entry:
            faults.append(f"{path / name}: changed since the run was finished")
    others = {file.name for file in path.iterdir()} - set(known) - {CHECKSUMS_FILE, LOCK_FILE, *REPORT}
    return faults + [f"{path / name}: is no part of this run" for name in sorted(others)]


def _checksums(path: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {name: _checksum(path / name) for name in names}


def _checksum(file: Path) -> dict[str, Any]:
    with open_regular(file, largest=LARGEST_CHECKPOINT) as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return {"bytes": os.fstat(content.fileno()).st_size, "sha256": digest}


def _checksums_text(known: Mapping[str, Mapping[str, Any]]) -> str:
    return to_json({name: dict(known[name]) for name in sorted(known)}, indent=1) + "\n"


def find_runs(directory: Path) -> list[Path]:
    """Finished runs below a directory, sorted; raises `BadInput` if it cannot be read."""
    if not directory.is_dir():
        raise BadInput(f"{directory}: not a directory")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise BadInput(f"{directory}: cannot be read (permission denied)")
    found = [path for path, names in _walk(directory) if SUMMARY_FILE in names and not _is_hidden(path, directory)]
    return sorted(path for path in found if is_finished(path))


def find_checkpoints(directory: Path) -> list[Path]:
    """Of unfinished runs below a directory, sorted, the ones before the last included."""
    partial = [(path, names) for path, names in _walk(directory) if fnmatch(path.name, ".*.partial")]
    return sorted(path / name for path, names in partial for name in names if fnmatch(name, "checkpoint*.pt"))


def _walk(directory: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders at any depth, and the files in them. Of one that another process renames meanwhile nothing is told."""
    for path, _, names in os.walk(directory):
        yield Path(path), names


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
