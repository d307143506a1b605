"""The synthetic source: its law checked against what it writes, and a model that approaches its entropy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import theory
from gpt import zipf
from gpt.config import TrainConfig, preset
from gpt.train import train

NUM_TOKENS = 2**20


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    return zipf.zipf_tokens(NUM_TOKENS)


def test_every_law_is_a_law() -> None:
    law = zipf.source_law()
    for rows in (law.probabilities[None], law.previous, law.second, law.pair):
        np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-12)
        assert rows.min() >= 0
    for kernel in (law.previous, law.second, law.pair):
        np.testing.assert_allclose(law.probabilities @ kernel, law.probabilities, rtol=1e-12)
    ranked = np.sort(law.probabilities)[::-1]
    np.testing.assert_allclose(ranked * np.arange(1, 257), ranked[0], rtol=1e-12)


def test_pair_law_is_stationary() -> None:
    """The law of (i, k) carried one step on by the transition of the chain is the law of (k, j) again."""
    law = zipf.source_law()
    pairs = law.probabilities[:, None] * law.pair
    everything = np.arange(256)
    carried = sum(pairs[i][:, None] * law.next_token(np.array([i]), everything) for i in range(256))
    np.testing.assert_allclose(carried, pairs, atol=1e-15)


def test_text_is_a_function_of_the_seed(tokens: np.ndarray) -> None:
    assert np.array_equal(zipf.zipf_tokens(1000), zipf.zipf_tokens(1000))
    assert not np.array_equal(zipf.zipf_tokens(1000), zipf.zipf_tokens(1000, seed=1))


def test_marginals_are_zipf(tokens: np.ndarray) -> None:
    """Counts of blocks of 4,096 tokens; 256 z-scores, none beyond 5 (false alarm below 2e-4)."""
    blocks = tokens.reshape(-1, 4096)
    counts = np.stack([np.bincount(block, minlength=256) for block in blocks]) / 4096
    errors = counts.std(axis=0, ddof=1) / np.sqrt(len(blocks))
    z = (counts.mean(axis=0) - zipf.source_law().probabilities) / errors
    assert np.abs(z).max() < 5


def test_text_follows_the_law(tokens: np.ndarray) -> None:
    """Its loss under the source's own law is the entropy, at the first target and at the others (|z| < 4: 1e-4)."""
    windows = tokens[: NUM_TOKENS // 64 * 64].reshape(-1, 64).astype(np.int64)
    losses = zipf.source_loss(windows)
    first, rate = zipf.entropies()
    for values, expected in ((losses[:, 0], first), (losses[:, 1:].mean(axis=1), rate)):
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert error < 0.02
        assert abs(values.mean() - expected) < 4 * error
    assert zipf.loss_floor(63) == pytest.approx((first + 62 * rate) / 63)
    assert rate < first < -np.log(zipf.source_law().probabilities) @ zipf.source_law().probabilities


def test_cached_text_is_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LRBEND_CACHE", str(tmp_path))
    text = zipf.zipf_text(5000, 1000)
    again = zipf.zipf_text(5000, 1000)
    whole = zipf.zipf_tokens(6000)
    for loaded in (text, again):
        assert np.array_equal(loaded.train[np.arange(5000)], whole[:5000])
        assert np.array_equal(loaded.validation[np.arange(1000)], whole[5000:])
    assert text.fingerprint == again.fingerprint
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.long
def test_a_model_approaches_the_entropy_from_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """The excess over the source's own loss on the same windows: falling, and never below 0 by 3 standard errors."""
    text = zipf.zipf_text(2**20, 2**17)
    monkeypatch.setattr("gpt.train.load_text", lambda source: text)
    excesses = []
    shape = {"batch_size": 16, "context_length": 64}
    batches = [text.validation_batch(index, **shape) for index in range(20)]
    windows = np.concatenate([np.c_[tokens.numpy(), targets.numpy()[:, -1:]] for tokens, targets in batches])
    own = zipf.source_loss(windows).mean()
    for num_steps in (20, 60, 180):
        config = TrainConfig(
            model=preset("cpu-32", "scale-invariant"),
            optimizer=theory.AdamW(learning_rate=2e-2, weight_decay=0.1),
            non_matrix_learning_rate=3e-2,
            schedule=theory.Linear(num_steps=num_steps, warmup_steps=10),
            source="zipf",
            device="cpu",
        )
        config = dataclasses.replace(config, record_every=100, eval_batches=20)
        result = train(config)
        assert own == pytest.approx(zipf.loss_floor(64), abs=4 * result.final_loss_se)
        excesses.append(result.final_loss - own)
        assert result.final_loss > zipf.loss_floor(64) - 3 * result.final_loss_se
    assert excesses[0] > excesses[1] > excesses[2] > 0
    assert excesses[2] < 0.9
