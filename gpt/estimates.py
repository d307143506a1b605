"""What a run costs: tokens, FLOPs, hours.

Counted are the matrix products: 2 FLOPs per multiply-add, three times the forward pass for a training step (forward,
and two products backward). With L layers of width d, context T and vocabulary V, per token:

    block matrices    2 * 12 L d^2
    attention         2 * 2 L T d      scores and weighted sum over the whole context, although half of it is masked
    head              2 * V d          the embedding itself is a lookup

This is the convention of PaLM (Chowdhery et al. 2022, appendix B) and nanoGPT, with the head. Norms, GELU, softmax and
the optimizer are left out: they take time, not FLOPs that a peak figure speaks of.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from gpt.config import ModelConfig, TrainConfig
from theory.checks import InvalidParameter, require_number

# Dense bfloat16 peaks of the makers' data sheets, FLOP/s, by a part of the name that torch gives to the device.
PEAK_FLOPS = {"H100 80GB": 989e12, "H200": 989e12, "H100 PCIe": 756e12, "A100": 312e12}
DEFAULT_GPU, DEFAULT_UTILISATION = "H100 80GB", 0.45


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Cost of one or more runs.

    Attributes
    ----------
    num_runs, num_steps : steps of all runs together.
    num_tokens : tokens trained on.
    flops : of the training steps.
    gpu, utilisation : what ``gpu_hours`` assumes: a GPU by name and the share of its dense bfloat16 peak that is used.
    gpu_hours : on one such GPU, training steps only.
    """

    num_runs: int
    num_steps: int
    num_tokens: int
    flops: float
    gpu: str
    utilisation: float
    gpu_hours: float


def num_matrix_params(model: ModelConfig) -> int:
    """Entries of the block matrices, 12 L d^2."""
    return 12 * model.num_layers * model.d_model**2


def flops_per_token(model: ModelConfig) -> float:
    """FLOPs of a training step per token; the module says what is counted."""
    attention = 2 * model.num_layers * model.context_length * model.d_model
    head = model.vocab_size * model.d_model
    return 3.0 * 2 * (num_matrix_params(model) + attention + head)


def num_tokens(config: TrainConfig) -> int:
    """Tokens that a run trains on."""
    return config.tokens_per_step * config.schedule.num_steps


def estimate(
    configs: Iterable[TrainConfig], *, gpu: str = DEFAULT_GPU, utilisation: float = DEFAULT_UTILISATION
) -> Estimate:
    """Cost of these runs on one GPU.

    Parameters
    ----------
    gpu : a key of ``PEAK_FLOPS``.
    utilisation : share of the peak, above 0 and at most 1. An assumption, not a measurement; small models reach less.

    Raises
    ------
    InvalidParameter : an unknown GPU, or a utilisation outside its range.
    """
    if gpu not in PEAK_FLOPS:
        raise InvalidParameter("gpu", gpu, "one of " + ", ".join(PEAK_FLOPS))
    require_number("utilisation", utilisation, above=0, at_most=1)
    runs = list(configs)
    flops = sum(num_tokens(config) * flops_per_token(config.model) for config in runs)
    return Estimate(
        num_runs=len(runs),
        num_steps=sum(config.schedule.num_steps for config in runs),
        num_tokens=sum(num_tokens(config) for config in runs),
        flops=flops,
        gpu=gpu,
        utilisation=utilisation,
        gpu_hours=flops / (PEAK_FLOPS[gpu] * utilisation) / 3600,
    )


def measured_seconds_per_step(config: TrainConfig, *, num_steps: int = 8) -> float:
    """Seconds that one training step of this config takes on this machine now, without records and evaluation.

    Runs ``num_steps`` steps on random tokens and takes the median after the first two.
    """
    from gpt.distributed import pick_device
    from gpt.model import GPT
    from gpt.optim import build_optimizers
    from gpt.train import autocast

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


def peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 peak of a device in FLOP/s, None where none is known (every CPU)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
