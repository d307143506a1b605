"""Bringing files and their names to disk, so that what is there is there after a crash of the machine as well."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def flush_file(path: Path) -> None:
    """The content of a file. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """The names in a folder, where the file system can."""
    with contextlib.suppress(OSError):
        flush_file(folder)
