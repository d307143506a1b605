"""How a text becomes batches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import theory
from gpt.batches import batches
from gpt.config import ModelConfig, TrainConfig
from gpt.distributed import Processes
from gpt.text import Text
from theory import InvalidParameter

TEXT = Text(
    train=np.arange(1000, dtype=np.uint8),
    validation=np.arange(100, dtype=np.uint8),
    vocab_size=256,
    fingerprint="counting",
)


def test_batch_is_a_function_of_seed_and_step() -> None:
    def batch(step: int, seed: int) -> torch.Tensor:
        return TEXT.batch(step, seed=seed, batch_size=4, context_length=8)[0]

    assert torch.equal(batch(7, 1), batch(7, 1))
    assert not torch.equal(batch(7, 1), batch(8, 1))
    assert not torch.equal(batch(7, 1), batch(7, 2))
    assert not torch.equal(batch(1, 2), batch(2, 1))


def test_targets_are_the_next_tokens() -> None:
    inputs, targets = TEXT.batch(0, seed=0, batch_size=64, context_length=8)
    assert inputs.shape == targets.shape == (64, 8)
    assert inputs.dtype == targets.dtype == torch.int64
    assert torch.equal((inputs + 1) % 256, targets)


def test_every_window_can_be_drawn_and_none_leaves_the_text() -> None:
    tiny = dataclasses.replace(TEXT, train=np.arange(11, dtype=np.uint8), validation=np.arange(10, dtype=np.uint8))
    starts = {int(row[0]) for step in range(30) for row in tiny.batch(step, seed=0, batch_size=8, context_length=8)[0]}
    assert starts == {0, 1, 2}
    tiny.require_context(9)


def test_validation_batches_are_fixed_and_differ() -> None:
    first, again, other = (TEXT.validation_batch(i, batch_size=4, context_length=8)[0] for i in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_too_little_text_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="below the 100 tokens"):
        TEXT.require_context(100)


def test_processes_divide_a_batch_among_them() -> None:
    shape = {"seed": 0, "batch_size": 6, "context_length": 8}
    whole = TEXT.batch(3, **shape)
    for half in (0, 1):
        shares = [TEXT.batch(3, **shape, rows=slice(rank, None, 2))[half] for rank in (0, 1)]
        assert torch.equal(torch.stack(shares, dim=1).flatten(0, 1), whole[half])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("start", [0, 4, 5])
def test_batches_made_ahead_are_the_same(parts: int, start: int) -> None:
    config = TrainConfig(
        model=ModelConfig(architecture="gpt2", context_length=8),
        optimizer=theory.AdamW(learning_rate=1e-2, weight_decay=0.1),
        non_matrix_learning_rate=1e-2,
        schedule=theory.Constant(num_steps=5),
        batch_size=6,
        accumulation_steps=parts,
    )
    alone = Processes(0, 1, torch.device("cpu"))
    plain = list(batches(TEXT, config, alone, start))
    ahead = list(batches(TEXT, config, alone, start, ahead=True))
    assert [step for step, _ in plain] == [step for step, _ in ahead] == list(range(start, 5))
    for (step, some), (_, others) in zip(plain, ahead, strict=True):
        assert len(some) == len(others) == parts
        whole = TEXT.batch(step, seed=0, batch_size=6, context_length=8)
        for half in (0, 1):
            assert torch.equal(torch.cat([part[half] for part in some]), whole[half])
            assert torch.equal(torch.cat([part[half] for part in others]), whole[half])
