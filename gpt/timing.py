"""How long runs take on this machine, by timing a few steps of each kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch

from gpt.config import TrainConfig
from gpt.distributed import pick_device
from gpt.model import GPT, block_matrices
from gpt.optim import MATRICES, build_optimizers
from gpt.probe import Probe
from gpt.train import autocast


class TimedModel:
    """A model with its optimizers, and one training step of it on random tokens, without data and evaluation."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self._device = config, pick_device(config.device)
        model = GPT(config.model).to(torch.float64 if config.dtype == "float64" else torch.float32)
        model.initialise(config.seed)
        model.to(self._device)
        self._model: Callable[..., torch.Tensor] = torch.compile(model) if config.compile else model
        self._optimizers = build_optimizers(model, config)
        self._probe = Probe(block_matrices(model), self._optimizers[MATRICES])
        shape = (config.batch_size // config.accumulation_steps, config.model.context_length)
        self._tokens = torch.randint(config.model.vocab_size, shape, device=self._device)
        self._recorded = 0

    def step(self) -> None:
        """A step, for whose end a GPU is not waited."""
        self._backward()
        self._update()

    def recorded_step(self) -> None:
        """A step that the probe records."""
        self._backward()
        self._probe.before()
        self._update(record=True)

    def _backward(self) -> None:
        parts = self.config.accumulation_steps
        for _ in range(parts):
            with autocast(self.config, self._device):
                loss = self._model(self._tokens, self._tokens).mean() / parts
            loss.backward()

    def _update(self, *, record: bool = False) -> None:
        for optimizer in self._optimizers.values():
            optimizer.step()
        if record:
            self._probe.after(self._recorded)
            self._recorded += 1
        for optimizer in self._optimizers.values():
            optimizer.zero_grad(set_to_none=True)


def measured_seconds_per_step(config: TrainConfig, *, num_steps: int = 8) -> float:
    """Seconds that one training step of this config takes on this machine now, without records and evaluation.

    Runs ``num_steps`` steps on random tokens and takes the median after the first two.
    """
    timed, times = TimedModel(config), []
    for _ in range(num_steps + 2):
        started = time.perf_counter()
        timed.step()
        if torch.cuda.is_initialized():
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
        kind = (model, type(config.optimizer), parts, config.dtype, config.device, config.compile)
        if kind not in seconds_of:
            seconds_of[kind] = measured_seconds_per_step(config)
        total += seconds_of[kind] * config.schedule.num_steps
    return total / num_workers / 3600
