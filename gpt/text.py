"""Tokens to train on: two sequences and the rule that cuts them into batches."""

from __future__ import annotations

from dataclasses import dataclass
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


def _windows(tokens: Tokens, starts: NDArray[np.int64], length: int) -> tuple[Tensor, Tensor]:
    windows = torch.from_numpy(tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64))
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
