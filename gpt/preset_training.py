"""What a preset implies beside the shape of the model: arithmetic, compiler, batch.

The sizes of the GPU ladder on a GPU: bfloat16, ``torch.compile``, 512 sequences of 1,024 tokens a step (524,288
tokens), computed in parts that fit 80 GB with room to spare (an estimate; not run on a GPU). Everything else is left
as `TrainConfig` has it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt.config import GPU_SHAPES, Dtype, TrainConfig

BATCH_SIZE = 512
SEQUENCES_AT_ONCE = {"22M": 32, "64M": 32, "85M": 32, "302M": 16, "708M": 8}


@dataclass(frozen=True, kw_only=True)
class PresetTraining:
    """Fields of `TrainConfig` by their names."""

    dtype: Dtype = TrainConfig.dtype
    compile: bool = TrainConfig.compile
    batch_size: int = TrainConfig.batch_size
    accumulation_steps: int = TrainConfig.accumulation_steps


def training_of_preset(name: str, *, on_gpu: bool) -> PresetTraining:
    """What to train a model of ``gpt.config.PRESETS`` with."""
    if name not in GPU_SHAPES or not on_gpu:
        return PresetTraining()
    parts = BATCH_SIZE // SEQUENCES_AT_ONCE[name]
    return PresetTraining(dtype="bfloat16", compile=True, batch_size=BATCH_SIZE, accumulation_steps=parts)
