"""How long runs take on this machine, by timing a few steps of each kind."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import torch

from gpt.config import TrainConfig
from gpt.distributed import pick_device
from gpt.model import GPT
from gpt.optim import build_optimizers
from gpt.train import autocast


def measured_seconds_per_step(config: TrainConfig, *, num_steps: int = 8) -> float:
    """Seconds that one training step of this config takes on this machine now, without records and evaluation.

    Runs ``num_steps`` steps on random tokens and takes the median after the first two.
    """
    device = pick_device(config.device)
    model = GPT(config.model).to(torch.float64 if config.dtype == "float64" else torch.float32)
    model.initialise(config.seed)
    model.to(device)
    optimizers = build_optimizers(model, config)
    shape = (config.batch_size // config.accumulation_steps, config.model.context_length)
    tokens = torch.randint(config.model.vocab_size, shape, device=device)
    times = []
    for _ in range(num_steps + 2):
        started = time.perf_counter()
        for _ in range(config.accumulation_steps):
            with autocast(config, device):
                loss = model(tokens, tokens).mean() / config.accumulation_steps
            loss.backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return sorted(times[2:])[num_steps // 2]


def measured_hours(configs: Iterable[TrainConfig], *, num_workers: int = 1) -> float:
    """Hours that these runs take on this machine, ``num_workers`` at a time; each kind of run is timed once.

    Configs that differ only in what does not change the speed (rates, seeds, lengths) are one kind.
    """
    seconds_of: dict[object, float] = {}
    total = 0.0
    for config in configs:
        model = replace(config.model, init_rms=1.0, residual_init_rms=1.0, embedding_init_rms=1.0)
        parts = (config.batch_size, config.accumulation_steps)
        kind = (model, type(config.optimizer), parts, config.dtype, config.device)
        if kind not in seconds_of:
            seconds_of[kind] = measured_seconds_per_step(config)
        total += seconds_of[kind] * config.schedule.num_steps
    return total / num_workers / 3600
