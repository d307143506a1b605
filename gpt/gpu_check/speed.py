"""Speed of training, memory, and what the probe costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch

from gpt.config import TrainableOptimizer, TrainConfig, preset
from gpt.estimates import flops_per_token, peak_flops
from gpt.gpu_check.rows import Row
from gpt.gpu_check.sizes import Size
from gpt.preset_training import SEQUENCES_AT_ONCE, training_of_preset
from gpt.timing import TimedModel
from theory import AdamH, AdamW, Constant

PRESETS = ("22M", "64M")
OPTIMIZERS: tuple[TrainableOptimizer, ...] = (AdamW(learning_rate=1e-3, weight_decay=0.1), AdamH(learning_rate=1e-2))
WARMUP_STEPS, NUM_STEPS, ROUNDS = 3, 20, 3
RECORD_EVERY = 10  # as in training, for the share of the probe


def speed_rows(size: Size) -> Iterator[Row]:
    """For each model and optimizer tokens per second and MFU; for each model memory and the share of the probe."""
    for name in PRESETS:
        if size.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        for optimizer in OPTIMIZERS:
            timed = TimedModel(_config(size, name, optimizer))
            plain = _seconds(size, timed.step)
            tokens = timed.config.tokens_per_step / plain
            what = f"{name}, {type(optimizer).__name__}"
            width = timed.config.model.d_model
            small = (
                "" if size.scale == 1 else f"at {size.scale:g} of its size, width {width}: speaks of no model of {name}"
            )
            yield Row(part="speed", what=what, value=tokens, unit="tokens/s", note=small)
            peak = peak_flops(size.device)
            used = None if peak is None else tokens * flops_per_token(timed.config.model) / peak
            note = "" if peak else "no peak FLOP/s is known for this device"
            yield Row(part="speed", what=f"{what}, MFU", value=used, unit="of the bfloat16 peak", note=note)
        cost = (_seconds(size, timed.recorded_step) / plain - 1) / RECORD_EVERY
        what = f"{name}, probe every {RECORD_EVERY} steps"
        yield Row(part="speed", what=what, value=max(0.0, cost), unit="of the training time")
        if size.on_gpu:
            used = torch.cuda.max_memory_allocated() / 1e9
            yield Row(
                part="speed", what=f"{name}, memory at {timed.config.batch_size} sequences", value=used, unit="GB"
            )
        del timed


def _config(size: Size, name: str, optimizer: TrainableOptimizer) -> TrainConfig:
    """As the preset trains, but one part of a batch for a batch."""
    training = training_of_preset(name, on_gpu=size.on_gpu)
    return TrainConfig(
        model=size.model(preset(name, "scale-invariant")),
        optimizer=optimizer,
        non_matrix_learning_rate=1e-2,
        schedule=Constant(num_steps=1),
        batch_size=size.of(SEQUENCES_AT_ONCE[name], least=2),
        dtype=training.dtype,
        compile=training.compile,
        device=size.named_device,
    )


def _seconds(size: Size, step: Callable[[], None]) -> float:
    """Of one step: the fastest of some rounds, each waited for at its end alone, as in training."""
    for _ in range(WARMUP_STEPS):
        step()
    rounds = []
    for _ in range(ROUNDS):
        _wait(size)
        started = time.perf_counter()
        for _ in range(size.steps(NUM_STEPS)):
            step()
        _wait(size)
        rounds.append((time.perf_counter() - started) / size.steps(NUM_STEPS))
    return min(rounds)


def _wait(size: Size) -> None:
    if size.on_gpu:
        torch.cuda.synchronize()
