"""Checkpoints: whole or not there, only of the config they belong to, and the last but one is kept.

A file is what torch.save writes, behind it a mark and the SHA-256 of all before. Files without these are read as well.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from gpt.checkpoint_contents import Mismatch, describe, expected_state, is_finite, require
from gpt.conditions import Conditions, are_conditions
from gpt.config import TrainConfig
from gpt.durable import flush_folder
from gpt.memory import is_out_of_memory
from theory.checks import InvalidParameter

PARTIAL = ".partial"
MARK = b"LRBENDsha256:"
END_OF_ZIP, END_BYTES = b"PK\5\6", 22  # how a zip file, and so a file by torch alone, ends
READ_AT_ONCE = 2**22  # bytes


def previous(path: Path) -> Path:
    """Where the checkpoint before the one in ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def has_checkpoint(path: Path) -> bool:
    """Whether there is something to load."""
    return path.exists() or previous(path).exists()


def save_checkpoint(
    path: Path, config: TrainConfig, fingerprint: str, state: dict[str, Any], conditions: Sequence[Conditions] = ()
) -> None:
    """Write under a temporary name, then rename: a whole checkpoint is at ``path`` or at `previous`, whatever happens.

    The old one moves to `previous`. Raises OSError, with the path, if it cannot be written; nothing is lost then.
    """
    handle, partial = _open_partial(path)
    try:
        with os.fdopen(handle, "wb") as file:  # open, and so locked, until it has its name
            content = _Hashed(file)
            saved = {"digest": config.checkpoint_digest, "fingerprint": fingerprint, "state": state}
            torch.save({**saved, "conditions": list(conditions)}, content)  # type: ignore[arg-type]
            file.write(MARK + content.digest())
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                os.replace(path, previous(path))
            os.replace(partial, path)
        flush_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch wraps some errors of the file in its own
        raise _write_error(error, path) from error
    finally:
        partial.unlink(missing_ok=True)


def remove_partial_checkpoints(path: Path) -> None:
    """Delete what killed processes left of checkpoints for ``path``; those being written keep their lock and stay."""
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*{PARTIAL}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(partial, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe could be waited for
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                partial.unlink()
            finally:
                os.close(descriptor)


def load_checkpoint(
    path: Path, config: TrainConfig, fingerprint: str, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer]
) -> dict[str, Any]:
    """The state saved under ``path``, on the CPU; if that file is gone or damaged, the one before it, and says so.

    Its ``conditions`` are those under which it was computed, one after the other; none in a file of before.

    Nothing of it is loaded before it is known to be what `gpt.train.train` saves of this model and these optimizers.

    Raises
    ------
    InvalidParameter : not a checkpoint, of another config, of a run on another text, or with other contents.
    """
    files = [file for file in (path, previous(path)) if file.exists()] or [path]
    for place, file in enumerate(files):
        others = files[place + 1 :]
        remedy = f"; delete it to go on from {others[0].name}" if others else " or absent"
        try:
            return _load(file, config, fingerprint, model, optimizers, remedy)
        except _Damaged as error:
            if not others:
                raise InvalidParameter("checkpoint", str(file), f"a readable, whole checkpoint file{remedy}") from error
            print(f"note: {file} is damaged; going on from {others[0].name}", file=sys.stderr, flush=True)
    raise AssertionError


def verify_checkpoint(path: Path) -> None:
    """Raise `InvalidParameter` if the file changed since it was saved, or has no checksum that could tell."""
    try:
        with _open(path) as file:
            if _whole_size(file) is None:
                raise InvalidParameter("checkpoint", str(path), "saved with a checksum, as since 0.1.0")
    except (OSError, _Damaged) as error:
        raise InvalidParameter("checkpoint", str(path), f"as it was saved ({error})") from None


class _Damaged(ValueError):
    """The file is not as it was saved, or was never a checkpoint."""


def _load(
    path: Path,
    config: TrainConfig,
    fingerprint: str,
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    remedy: str,
) -> dict[str, Any]:
    try:
        with _open(path) as file:
            size = os.fstat(file.fileno()).st_size
            _whole_size(file)
            found = describe(file, size)
            if not isinstance(found, dict) or not {"digest", "fingerprint", "state"} <= set(found):
                raise _Damaged("not a checkpoint")
            digest, text, state = found["digest"], found["fingerprint"], found["state"]
            if digest != config.checkpoint_digest:
                allowed = f"of the config {config.checkpoint_digest} (it belongs to {str(digest)[:40]}){remedy}"
                raise InvalidParameter("checkpoint", str(path), allowed)
            if text != fingerprint:
                allowed = f"of a run on the text {fingerprint[:12]} (it saw {str(text)[:12]}){remedy}"
                raise InvalidParameter("checkpoint", str(path), allowed)
            conditions = found.get("conditions", [])
            if not are_conditions(conditions):
                raise Mismatch("conditions: are not those of a run")
            step = state.get("step") if isinstance(state, dict) else None
            if type(step) is not int or not 0 < step <= config.schedule.num_steps:
                raise Mismatch(f"state.step: is not a whole number from 1 to {config.schedule.num_steps}")
            require(state, expected_state(step, config, model, optimizers), "state")
            file.seek(0)
            loaded: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)["state"]
        for part in ("model", "optimizers"):
            if not is_finite(loaded[part]):
                raise Mismatch(f"state.{part}: has entries that are not finite")
        return {**loaded, "conditions": conditions}
    except InvalidParameter:
        raise
    except Mismatch as error:
        raise InvalidParameter("checkpoint", str(path), f"what this run saves: {error}{remedy}") from None
    except Exception as error:  # zipfile, pickle and torch say that a file is broken in many ways
        if is_out_of_memory(error):
            raise
        raise _Damaged(str(error)) from error


def _open(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _Damaged("not a file")
    return os.fdopen(descriptor, "rb")


def _whole_size(file: BinaryIO) -> int | None:
    """Bytes before the checksum at the end of a file; None for one that ends as torch's own do, without a checksum.

    Raises `_Damaged` if the checksum does not fit; leaves the file at its start.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END_BYTES))
    if file.read(4) == END_OF_ZIP:
        file.seek(0)
        return None
    length = size - len(MARK) - hashlib.sha256().digest_size
    if length <= 0:
        raise _Damaged("too short")
    file.seek(0)
    digest, left = hashlib.sha256(), length
    while left and (part := file.read(min(left, READ_AT_ONCE))):
        digest.update(part)
        left -= len(part)
    if file.read() != MARK + digest.digest():
        raise _Damaged("its checksum does not fit")
    file.seek(0)
    return length


class _Hashed:
    """What torch.save writes to, in order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._sum = file, hashlib.sha256()

    def write(self, content: bytes) -> int:
        self._sum.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> bytes:
        return self._sum.digest()


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
