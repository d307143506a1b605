"""The settings, which are not to be changed any more, and what is kept of a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from experiments.agreement.matrix_networks import FEED_FORWARD, kind_of, small_gpt2
from gpt.config import Architecture, TrainConfig, preset
from gpt.train import train
from theory import SCHEDULES, AdamW, equilibrium, networks

RECORD_EVERY = 10
WARMUP = 20
COLUMNS = ("matrix", "kind", "step", "weight_rms", "angular_update", "update_rms")


class Setting(NamedTuple):
    """One setting; ``start`` is the initial RMS over the predicted equilibrium, that of the MLP for gpt2."""

    d_model: int
    learning_rate: float
    weight_decay: float
    beta1: float
    beta2: float
    schedule: Literal["constant", "cosine", "wsd"]
    num_steps: int
    start: float
    batch_size: int
    num_seeds: int = 1


SETTINGS: dict[Architecture, tuple[Setting, ...]] = {
    "scale-invariant": (
        Setting(16, 0.01, 0.5, 0.9, 0.95, "constant", 800, 0.3, 16, num_seeds=2),
        Setting(16, 0.02, 0.15, 0.8, 0.95, "constant", 1000, 3, 16),
        Setting(16, 0.005, 0.8, 0.95, 0.99, "constant", 1000, 0.5, 8),
        Setting(16, 0.03, 0.2, 0.98, 0.99, "constant", 900, 2, 16),
        Setting(16, 0.01, 0.3, 0.9, 0.999, "constant", 1500, 3, 16),
        Setting(16, 0.04, 0.1, 0.9, 0.95, "constant", 900, 0.7, 32),
        Setting(48, 0.01, 0.4, 0.9, 0.9, "constant", 800, 0.3, 8),
        Setting(48, 0.02, 0.1, 0.9, 0.99, "constant", 1200, 0.4, 8),
        Setting(48, 0.015, 0.3, 0.8, 0.99, "wsd", 900, 2, 8),
        Setting(48, 0.008, 0.5, 0.95, 0.95, "cosine", 900, 1, 16),
        Setting(64, 0.01, 0.6, 0.9, 0.999, "constant", 1000, 0.3, 8),
        Setting(64, 0.02, 0.2, 0.95, 0.9, "constant", 800, 3, 8, num_seeds=2),
        Setting(64, 0.006, 0.5, 0.9, 0.95, "cosine", 900, 0.5, 8),
        Setting(64, 0.012, 0.4, 0.98, 0.999, "wsd", 900, 0.6, 4),
        Setting(48, 0.025, 0.4, 0.9, 0.95, "constant", 700, 1.6, 4),
    ),
    "gpt2": (
        Setting(16, 0.01, 0.3, 0.9, 0.95, "constant", 900, 0.3, 16, num_seeds=2),
        Setting(16, 0.02, 0.2, 0.8, 0.95, "constant", 900, 3, 16),
        Setting(16, 0.005, 0.5, 0.95, 0.99, "constant", 1000, 0.5, 8),
        Setting(16, 0.006, 0.4, 0.9, 0.999, "cosine", 1200, 0.3, 16),
        Setting(16, 0.012, 0.25, 0.9, 0.95, "constant", 1200, 0.4, 32),
        Setting(48, 0.01, 0.4, 0.9, 0.9, "constant", 800, 0.3, 8),
        Setting(48, 0.003, 1.0, 0.9, 0.99, "constant", 900, 0.3, 8),
        Setting(48, 0.015, 0.2, 0.8, 0.99, "wsd", 900, 2, 8),
        Setting(48, 0.02, 0.3, 0.9, 0.95, "constant", 700, 0.6, 8),
        Setting(48, 0.008, 0.3, 0.95, 0.95, "cosine", 900, 1, 8),
        Setting(64, 0.005, 0.6, 0.9, 0.95, "constant", 800, 0.3, 8, num_seeds=2),
        Setting(64, 0.01, 0.25, 0.9, 0.999, "wsd", 900, 0.5, 8),
        Setting(64, 0.004, 0.5, 0.98, 0.99, "constant", 900, 2, 8),
        Setting(64, 0.03, 0.15, 0.9, 0.95, "constant", 700, 3, 4),
    ),
}


def network_of(architecture: Architecture, kind: str = FEED_FORWARD) -> networks.Network:
    """What predicts the matrices of that kind."""
    if architecture == "scale-invariant":
        return networks.SCALE_INVARIANT
    return small_gpt2(kind)


def configs(architecture: Architecture, settings: Iterable[Setting] | None = None) -> list[TrainConfig]:
    """The runs, setting by setting; those of the study by default."""
    return [
        config_of(architecture, setting, seed)
        for setting in (SETTINGS[architecture] if settings is None else settings)
        for seed in range(setting.num_seeds)
    ]


def config_of(architecture: Architecture, setting: Setting, seed: int) -> TrainConfig:
    """One run of a setting."""
    optimizer = AdamW(
        learning_rate=setting.learning_rate,
        weight_decay=setting.weight_decay,
        beta1=setting.beta1,
        beta2=setting.beta2,
    )
    settled = equilibrium(optimizer, initial_rms=1.0, network=network_of(architecture)).weight_rms
    return TrainConfig(
        model=preset(f"cpu-{setting.d_model}", architecture),
        optimizer=optimizer,
        non_matrix_learning_rate=1e-2 if architecture == "scale-invariant" else min(1e-2, setting.learning_rate),
        schedule=SCHEDULES[setting.schedule](num_steps=setting.num_steps, warmup_steps=WARMUP),
        batch_size=setting.batch_size,
        seed=20 + seed,
        device="cpu",
        record_every=RECORD_EVERY,
        block_rms=float(f"{setting.start * settled:.3g}"),
        eval_batches=2,
    )


def label(config: TrainConfig) -> str:
    """What tells one setting from the others of its architecture."""
    optimizer, schedule = config.optimizer, config.schedule
    assert isinstance(optimizer, AdamW)
    return (
        f"width {config.model.d_model}, rate {optimizer.learning_rate:g}, decay {optimizer.weight_decay:g}, "
        f"betas {optimizer.beta1:g} {optimizer.beta2:g}, {schedule.name}, from {config.block_rms:g}, "
        f"batch {config.batch_size}"
    )


def rows_of(config: TrainConfig) -> pd.DataFrame:
    """A row per matrix and record of one run: `COLUMNS`."""
    torch.set_num_threads(1)
    found = train(config).trajectory
    columns = {name: getattr(found, name).T.ravel() for name in COLUMNS[3:]}
    matrices = np.repeat(found.matrices, len(found.steps))
    kinds = [kind_of(matrix) for matrix in matrices]
    return pd.DataFrame(
        {"matrix": matrices, "kind": kinds, "step": np.tile(found.steps, len(found.matrices)), **columns}
    )
