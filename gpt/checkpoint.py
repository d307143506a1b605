"""Checkpoints: whole or not there, and only of the config they belong to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from gpt.config import TrainConfig
from theory.parameters import InvalidParameter


def save_checkpoint(path: Path, config: TrainConfig, fingerprint: str, state: dict[str, Any]) -> None:
    """Write under a temporary name, then rename: whatever happens, ``path`` is the old checkpoint or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save({"digest": config.digest, "fingerprint": fingerprint, "state": state}, file)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path, config: TrainConfig, fingerprint: str) -> dict[str, Any]:
    """The state saved under ``path``, on the CPU.

    Raises
    ------
    InvalidParameter : not a checkpoint, of another config, or of a run on another text.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        digest, text, state = saved["digest"], saved["fingerprint"], saved["state"]
    except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError, TypeError) as error:
        raise InvalidParameter("checkpoint", str(path), "a readable, whole checkpoint file, or absent") from error
    if digest != config.digest:
        raise InvalidParameter(
            "checkpoint", str(path), f"of the config {config.digest} (it belongs to {digest}), or absent"
        )
    if text != fingerprint:
        raise InvalidParameter(
            "checkpoint", str(path), f"of a run on the text {fingerprint[:12]} (it saw {text[:12]}), or absent"
        )
    loaded: dict[str, Any] = state
    return loaded
