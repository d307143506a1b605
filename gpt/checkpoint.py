"""Checkpoints: whole or not there, only of the config they belong to, and the last but one is kept."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import tempfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from gpt.config import TrainConfig
from theory.checks import InvalidParameter

PARTIAL = ".partial"


def previous(path: Path) -> Path:
    """Where the checkpoint before the one in ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def has_checkpoint(path: Path) -> bool:
    """Whether there is something to load."""
    return path.exists() or previous(path).exists()


def save_checkpoint(path: Path, config: TrainConfig, fingerprint: str, state: dict[str, Any]) -> None:
    """Write under a temporary name, then rename: a whole checkpoint is at ``path`` or at `previous`, whatever happens.

    The old one moves to `previous`. Raises OSError, with the path, if it cannot be written; nothing is lost then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = _open_partial(path)
    try:
        with os.fdopen(handle, "wb") as file:  # open, and so locked, until it has its name
            torch.save({"digest": config.checkpoint_digest, "fingerprint": fingerprint, "state": state}, file)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                os.replace(path, previous(path))
            os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch wraps some errors of the file in its own
        raise _write_error(error, path) from error
    finally:
        partial.unlink(missing_ok=True)


def remove_partial_checkpoints(path: Path) -> None:
    """Delete what killed processes left of checkpoints for ``path``; those being written keep their lock and stay."""
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*{PARTIAL}"):
        with contextlib.suppress(OSError), partial.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            partial.unlink()


def load_checkpoint(path: Path, config: TrainConfig, fingerprint: str) -> dict[str, Any]:
    """The state saved under ``path``, on the CPU; if that file is gone, the one before it.

    Raises
    ------
    InvalidParameter : not a checkpoint, of another config, or of a run on another text.
    """
    if not path.exists():
        path = previous(path)
    remedy = f"; delete it to go on from {previous(path).name}" if previous(path).exists() else " or absent"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        digest, text, state = saved["digest"], saved["fingerprint"], saved["state"]
    except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError, TypeError, ValueError) as error:
        raise InvalidParameter("checkpoint", str(path), f"a readable, whole checkpoint file{remedy}") from error
    if digest != config.checkpoint_digest:
        raise InvalidParameter(
            "checkpoint", str(path), f"of the config {config.checkpoint_digest} (it belongs to {digest}){remedy}"
        )
    if text != fingerprint:
        raise InvalidParameter(
            "checkpoint", str(path), f"of a run on the text {fingerprint[:12]} (it saw {text[:12]}){remedy}"
        )
    loaded: dict[str, Any] = state
    return loaded


def _open_partial(path: Path) -> tuple[int, Path]:
    """A new file beside ``path``, locked where the file system can, for `remove_partial_checkpoints` to leave alone."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=PARTIAL, dir=path.parent)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):  # before it was locked, it may have been taken for a dead one
            return handle, Path(name)
        os.close(handle)


def _write_error(error: BaseException, path: Path) -> OSError:
    """The OSError behind a failure to write, with the file it is about."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    code = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EIO
    return OSError(code, os.strerror(code), str(path))
