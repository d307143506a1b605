"""A small text and a tiny model, for tests that train in processes of their own."""

from __future__ import annotations

import numpy as np

import theory
from gpt.config import ModelConfig, TrainConfig
from gpt.text import Text

CONFIG = TrainConfig(
    model=ModelConfig(architecture="scale-invariant", vocab_size=32, context_length=16, num_layers=1, d_model=16),
    optimizer=theory.AdamW(learning_rate=1e-2, weight_decay=0.3),
    non_matrix_learning_rate=3e-3,
    schedule=theory.Cosine(num_steps=25, warmup_steps=5),
    batch_size=8,
    record_every=10,
    eval_batches=3,
    device="cpu",
)


def make_text(seed: int = 0) -> Text:
    """A walk on 32 tokens that mostly steps up by one: half a bit of surprise, much to learn."""
    rng = np.random.default_rng(seed)
    tokens = (np.cumsum(rng.choice([1, 5], p=[0.9, 0.1], size=20_000)) % 32).astype(np.uint8)
    return Text(train=tokens[:16_000], validation=tokens[16_000:], vocab_size=32, fingerprint=f"walk {seed}")
