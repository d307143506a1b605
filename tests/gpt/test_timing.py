"""Hours here: one timing per kind of run."""

from __future__ import annotations

import dataclasses

import pytest

import theory
from gpt import timing
from gpt.config import TrainConfig, preset

CONFIG = TrainConfig(
    model=preset("cpu-64", "gpt2"),
    optimizer=theory.AdamW(learning_rate=1e-2, weight_decay=0.3),
    non_matrix_learning_rate=3e-3,
    schedule=theory.Constant(num_steps=10),
    device="cpu",
)


def test_hours_here_are_timed_once_per_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[TrainConfig] = []

    def stopwatch(config: TrainConfig) -> float:
        timed.append(config)
        return 36.0

    monkeypatch.setattr(timing, "measured_seconds_per_step", stopwatch)
    twin = dataclasses.replace(CONFIG, seed=1, optimizer=theory.AdamW(learning_rate=1e-3, weight_decay=0.1))
    other = dataclasses.replace(CONFIG, model=preset("cpu-32", "gpt2"))
    assert timing.measured_hours([CONFIG, twin, other], num_workers=2) == pytest.approx(3 * 10 * 36 / 3600 / 2)
    assert timed == [CONFIG, other]


def test_a_step_takes_time() -> None:
    assert 0 < timing.measured_seconds_per_step(dataclasses.replace(CONFIG, batch_size=2), num_steps=2) < 10
