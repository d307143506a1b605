"""Tokens to train on: two sequences and the rule that cuts them into batches."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from theory.checks import InvalidParameter

ALL_ROWS = slice(None)


class Tokens(Protocol):
    """A long sequence of unsigned integers that can be read at many places at once: an array, a memory map, shards."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: NDArray[np.int64], /) -> NDArray[np.unsignedinteger]: ...


@dataclass(frozen=True, kw_only=True)
class Text:
    """Tokens to train on and to validate with.

    Attributes
    ----------
    train, validation : (num_tokens,) unsigned integers below ``vocab_size``; arrays, memory maps or shards.
    fingerprint : changes when the text changes.
    """

    train: Tokens
    validation: Tokens
    vocab_size: int
    fingerprint: str

    def batch(
        self, step: int, *, seed: int, batch_size: int, context_length: int, rows: slice = ALL_ROWS
    ) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a training step, int64 (batch_size, context_length): a function of its arguments.

        Windows start anywhere, drawn uniformly with replacement. ``rows`` picks some sequences of the batch, so that
        several processes can share it.
        """
        rng = np.random.default_rng([seed, step])
        starts = rng.integers(len(self.train) - context_length, size=batch_size)
        return _windows(self.train, starts[rows], context_length)

    def validation_batch(self, index: int, *, batch_size: int, context_length: int) -> tuple[Tensor, Tensor]:
        """The ``index``-th fixed batch, the same for every run of this shape."""
        rng = np.random.default_rng([index, context_length, 2**32])
        starts = rng.integers(len(self.validation) - context_length, size=batch_size)
        return _windows(self.validation, starts, context_length)

    def require_context(self, context_length: int) -> None:
        """Raise `InvalidParameter` if a window of ``context_length`` tokens and a target does not fit."""
        shortest = min(len(self.train), len(self.validation))
        if shortest <= context_length:
            raise InvalidParameter(
                "context_length", context_length, f"below the {shortest} tokens of the smaller part of the text"
            )


def cache_folder() -> Path:
    """Where texts and what is known of them are kept: ``LRBEND_CACHE``, by default ``~/.cache/lrbend``."""
    return Path(os.environ.get("LRBEND_CACHE") or Path.home() / ".cache" / "lrbend")


def cached_folder(name: str, write: Callable[[Path], None]) -> Path:
    """The folder of that name in the cache, made by ``write`` if it is not there.

    It is written under a temporary name, then renamed: a folder that exists is complete, and any number of processes
    may ask for it at once.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder.parent))
    try:
        write(work)
        try:
            work.rename(folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _windows(tokens: Tokens, starts: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
    windows = torch.from_numpy(tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64))
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
