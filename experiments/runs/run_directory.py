"""A run directory is the unit of record: everything about one run, complete or not there at all.

A run is produced under a hidden temporary name beside its final one and renamed when every file is written, so
that a directory under a final name is a finished run whatever happened to the process. Two processes that want
the same run take turns by a lock on the temporary directory; the second finds it done.

What the files say is in `experiments.runs.run_files`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from experiments.files import BadInput
from experiments.runs.configs import config_hash

SUMMARY_FILE = "summary.json"  # it is there in every finished run
CHECKPOINT_FILE = "checkpoint.pt"


def run_path(study: Path, label: str, config: object) -> Path:
    """Where the finished run of this config lies: ``<study>/<label>-<config hash>``."""
    return study / f"{label}-{config_hash(config)}"


def is_finished(path: Path) -> bool:
    return (path / SUMMARY_FILE).is_file()


@contextlib.contextmanager
def claim(final: Path) -> Iterator[Path | None]:
    """Yield the locked temporary directory in which to produce the run ``final``; None if it is finished.

    Blocks while another process produces the same run. Raises `BadInput` if ``final`` is something else than a
    finished run, or cannot be written.
    """
    partial = partial_path(final)
    descriptor = None
    try:
        while descriptor is None and not is_finished(final):
            if final.exists() and not is_finished(final):
                raise BadInput(f"{final}: in the way of a run, but not a finished one (no {SUMMARY_FILE}); move it")
            try:
                partial.mkdir(parents=True, exist_ok=True)
                descriptor = _lock(partial)
            except OSError as error:
                raise BadInput(f"{final.parent}: cannot hold runs ({error.strerror})") from None
        if is_finished(final) and partial.is_dir():
            with contextlib.suppress(OSError):  # what we made just after another process had given its own away
                partial.rmdir()
        yield None if is_finished(final) else partial
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_claimed(final: Path) -> bool:
    """Whether a process produces this run right now. It may end the moment after."""
    try:
        descriptor = os.open(partial_path(final), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(partial: Path) -> int | None:
    """An open, locked directory; None if it was renamed or removed before we had it."""
    try:
        descriptor = os.open(partial, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(descriptor), os.stat(partial)):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def partial_path(final: Path) -> Path:
    """Where the run ``final`` lies while it is produced."""
    return final.parent / f".{final.name}.partial"


def checkpoint_time(final: Path) -> int:
    """When an unfinished run last came further, in nanoseconds; 0 without a checkpoint."""
    try:
        return (partial_path(final) / CHECKPOINT_FILE).stat().st_mtime_ns
    except OSError:
        return 0


def publish(partial: Path, final: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into ``partial``, flush all that lies there to disk, give it its final name."""
    for name, content in files.items():
        (partial / name).write_bytes(content)
    for path in partial.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    os.replace(partial, final)


def find_runs(directory: Path) -> list[Path]:
    """Finished runs below a directory, sorted; raises `BadInput` if it cannot be read."""
    if not directory.is_dir():
        raise BadInput(f"{directory}: not a directory")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise BadInput(f"{directory}: cannot be read (permission denied)")
    candidates = [directory, *sorted(path.parent for path in directory.rglob(SUMMARY_FILE))]
    return sorted({path for path in candidates if is_finished(path) and not _is_hidden(path, directory)})


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
