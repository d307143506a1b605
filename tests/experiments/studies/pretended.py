"""Runs and a GPU that are not there: what a study keeps of a run, without training."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from gpt.config import TrainConfig
from gpt.replay import Recording
from gpt.train import TrainResult
from theory.outcome import RunOutcome
from theory.trajectory import Trajectory, record_steps


def pretended(config: TrainConfig, recording: Recording | None = None, device: str = "cpu") -> TrainResult:
    """In place of a run: the larger the rate the better, and whatever its rows are made of."""
    rate = config.optimizer.learning_rate
    steps = record_steps(config.schedule.num_steps, config.record_every)
    ones = np.ones((len(steps), 1))
    angles = recording.angles[steps] if recording is not None else rate * ones
    return TrainResult(
        outcome=RunOutcome.COMPLETED,
        losses=np.ones(1),
        trajectory=Trajectory(
            steps=steps,
            matrices=("w",),
            weight_rms=(config.block_rms or 1.0) * ones,
            angular_update=angles,
            relative_update=angles,
            update_rms=ones,
            cosine=ones,
        ),
        final_loss=3 - rate + 1e-3 * config.seed + 0.01 * angles.mean(),
        final_loss_se=0.1,
        tokens_per_second=1.0,
        mfu=np.nan,
        num_params=10 * config.model.d_model,
        initial_weight_rms={"w": config.block_rms or 1.0},
        final_weight_rms={"w": 0.5},
        groups=(),
        fingerprint="",
        conditions=({"device": device},),
        diverged_at_step=None,
    )


@dataclass
class Device:
    """A GPU that has memory for so many models, and what was trained on it."""

    memory: int = 10**9
    ensembles: list[list[TrainConfig]] = field(default_factory=list)
    killed_at: int = -1

    def same_shape(self, config: TrainConfig) -> tuple[Hashable, ...]:
        return config.model.d_model, config.schedule.num_steps, config.record_every, config.steering is not None

    def train_ensemble(
        self,
        configs: Sequence[TrainConfig],
        *,
        device: str = "auto",
        recordings: Sequence[Recording | None] | None = None,
    ) -> list[TrainResult]:
        assert len(set(map(self.same_shape, configs))) == 1
        if len(self.ensembles) == self.killed_at:
            raise KeyboardInterrupt
        if len(configs) > self.memory:
            raise torch.cuda.OutOfMemoryError
        self.ensembles.append(list(configs))
        each = recordings or [None] * len(configs)
        return [pretended(config, one, "NVIDIA H200") for config, one in zip(configs, each, strict=True)]

    @property
    def sizes(self) -> list[int]:
        return [len(ensemble) for ensemble in self.ensembles]
