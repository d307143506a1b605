"""What a run costs, by calculation: tokens, FLOPs, hours on a named GPU. `gpt.timing` measures.

Counted are the matrix products: 2 FLOPs per multiply-add, three times the forward pass for a training step (forward,
and two products backward). With L layers of width d, context T and vocabulary V, per token:

    block matrices    2 * 12 L d^2
    attention         2 * 2 L T d      scores and weighted sum over the whole context, although half of it is masked
    head              2 * V d          the embedding itself is a lookup

This is the convention of PaLM (Chowdhery et al. 2022, appendix B) and nanoGPT, with the head. Norms, GELU, softmax and
the optimizer are left out: they take time, not FLOPs that a peak figure speaks of.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from gpt.config import ModelConfig, TrainConfig
from theory.checks import InvalidParameter, require_number
from theory.optimizers import MuonH

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


def training_bytes(config: TrainConfig) -> int:
    """The least memory that training takes on one device: weights, gradients, moments."""
    model = config.model
    params = num_matrix_params(model) + (model.vocab_size + model.context_length) * model.d_model
    copies = 3 if isinstance(config.optimizer, MuonH) else 4
    return copies * params * (8 if config.dtype == "float64" else 4)


def require_memory(config: TrainConfig, device: torch.device) -> None:
    """Raise `InvalidParameter` for a model that cannot fit into the memory of the device, before any of it is taken."""
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    else:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = training_bytes(config)
    if needed > there:
        model = config.model
        raise InvalidParameter(
            "model",
            f"{model.num_layers} layers of width {model.d_model}",
            f"one that fits: it takes {needed / 1e9:.3g} GB at least, and there are {there / 1e9:.3g} GB",
        )


def peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 peak of a device in FLOP/s, None where none is known (every CPU)."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_FLOPS.items() if part in name), None)
