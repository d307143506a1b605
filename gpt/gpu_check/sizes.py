"""How large each part is, as a share of what a GPU is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from gpt.config import Device, ModelConfig

UNIT = 32  # widths are multiples of it


@dataclass(frozen=True)
class Size:
    """Where the check runs, and at which share of its size, above 0 and at most 1."""

    device: torch.device
    scale: float

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def named_device(self) -> Device:
        """As a `TrainConfig` names it."""
        return "cuda" if self.on_gpu else "cpu"

    def of(self, whole: int, *, least: int) -> int:
        """That share of a number, but not below ``least``."""
        return max(least, round(whole * self.scale))

    def steps(self, whole: int) -> int:
        """Steps of a run: all of them down to a tenth, since physics does not shrink; fewer only below."""
        return max(4, round(whole * min(1.0, 10 * self.scale)))

    def model(self, whole: ModelConfig) -> ModelConfig:
        """Width, context and vocabulary scaled; as many layers."""
        width = max(UNIT, UNIT * round(whole.d_model * self.scale / UNIT))
        return replace(
            whole,
            d_model=width,
            num_heads=max(1, width * whole.num_heads // whole.d_model),
            context_length=self.of(whole.context_length, least=UNIT),
            vocab_size=self.of(whole.vocab_size, least=256),
        )
