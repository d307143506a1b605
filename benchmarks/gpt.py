"""Speed of a training step, of AdamH and of the probe, each against what it would replace, on one core.

    python benchmarks/gpt.py [--json] [--seconds 120]

GPT-2 at d_model 128 (2 layers, 16 sequences of 64 bytes: 1,024 tokens a step). Two variants that are compared take
turns, step by step, in the same process on the same batches; a figure is the median over the turns of the ratio of
their times, with its quartiles. Times are processor time of this process, so that a shared machine disturbs less.

- tokens per second: our model and optimizers against a module in the shape of nanoGPT, written here in plain PyTorch,
  with ``torch.optim.AdamW(fused=True)`` on everything. Same sizes, same starting weights, no data loading in either.
- AdamH: a whole training step, and the optimizer's step alone (with gradients that stay), against fused AdamW on the
  same matrices; alone also at d_model 768.
- probe: the time in its two calls, over that of the rest of ten training steps of which one is recorded.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A script's own folder comes first on the path, and there this file itself is called gpt.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from gpt.config import ModelConfig, TrainConfig, preset  # noqa: E402
from gpt.model import GPT, block_matrices  # noqa: E402
from gpt.optim import MATRICES, build_optimizers, matrix_optimizer, set_learning_rates  # noqa: E402
from gpt.probe import Probe  # noqa: E402
from theory import AdamH, AdamW, Constant  # noqa: E402

ADAMW, ADAMH = AdamW(learning_rate=1e-3, weight_decay=0.1), AdamH(learning_rate=1e-2)
BATCH_SIZE, RECORD_EVERY = 16, 10
Step = Callable[[], object]


class PlainBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.d_model
        self.num_heads = config.num_heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, time_, width = x.shape
        q, k, v = (
            part.view(batch, time_, self.num_heads, width // self.num_heads).transpose(1, 2)
            for part in self.c_attn(self.ln_1(x)).split(width, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(y.transpose(1, 2).contiguous().view(batch, time_, width))
        return x + self.proj(F.gelu(self.fc(self.ln_2(x))))


class PlainGPT(nn.Module):
    """GPT-2 as nanoGPT shapes it: one matrix for query, key and value, head tied to the embedding, mean loss."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.d_model)
        self.wpe = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList([PlainBlock(config) for _ in range(config.num_layers)])
        self.ln_f = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.head.weight = self.wte.weight
        for name, p in self.named_parameters():
            if p.ndim == 2:
                residual = "proj" in name
                nn.init.normal_(p, std=0.02 / (2 * config.num_layers) ** 0.5 if residual else 0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.ln_f(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def plain_training(model_config: ModelConfig) -> Step:
    """One training step of the plain module."""
    torch.manual_seed(0)
    model = PlainGPT(model_config)
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": ADAMW.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=ADAMW.learning_rate, betas=(0.9, 0.95), fused=True)
    draw = batches(model_config)

    def step() -> None:
        for group in optimizer.param_groups:
            group["lr"] = ADAMW.learning_rate
        loss = model(*draw())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def our_training(model_config: ModelConfig, optimizer: AdamW | AdamH, probe_times: list[float] | None = None) -> Step:
    """One training step of ours, the body of the loop in `gpt.train`.

    With ``probe_times`` every tenth step is recorded, and the seconds that each step spends in the probe are appended.
    """
    config = TrainConfig(
        model=model_config,
        optimizer=optimizer,
        non_matrix_learning_rate=1e-3,
        schedule=Constant(num_steps=1000),
        batch_size=BATCH_SIZE,
    )
    model = GPT(model_config)
    model.initialise(0)
    optimizers = build_optimizers(model, config)
    probe = Probe(block_matrices(model), optimizers[MATRICES], every=RECORD_EVERY)
    losses = torch.zeros(1000, dtype=torch.float64)
    draw = batches(model_config)
    done = 0

    def step() -> None:
        nonlocal done
        loss = model(*draw()).mean()
        loss.backward()
        losses[done % len(losses)] = loss.detach()
        set_learning_rates(optimizers, 1.0)
        if probe_times is not None:
            probe_times.append(timed(probe.before, 1))
        for each in optimizers.values():
            each.step()
        if probe_times is not None:
            probe_times[-1] += timed(lambda: probe.after(done), 1)
        for each in optimizers.values():
            each.zero_grad(set_to_none=True)
        done += 1

    return step


def batches(config: ModelConfig) -> Callable[[], tuple[Tensor, Tensor]]:
    """Endless batches of a Markov-like text, the same for everybody."""
    generator = torch.Generator().manual_seed(1)
    jumps = torch.randint(3, (8, BATCH_SIZE, config.context_length + 1), generator=generator)
    tokens = jumps.cumsum(dim=2) % config.vocab_size
    drawn = 0

    def draw() -> tuple[Tensor, Tensor]:
        nonlocal drawn
        batch = tokens[drawn % len(tokens)]
        drawn += 1
        return batch[:, :-1], batch[:, 1:].contiguous()

    return draw


def matrix_step(model_config: ModelConfig, optimizer: AdamW | AdamH) -> Step:
    """The optimizer's step alone on the block matrices of a model."""
    model = GPT(model_config)
    model.initialise(0)
    matrices = list(block_matrices(model).values())
    generator = torch.Generator().manual_seed(2)
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape, generator=generator)
    return matrix_optimizer(optimizer, matrices).step


def take_turns(first: Step, second: Step, seconds: float) -> np.ndarray:
    """Times of one step of each, (num_turns, 2); who begins changes from turn to turn."""
    turns: list[tuple[float, float]] = []
    for variant in (first, second):
        timed(variant, 3)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends or len(turns) < 8:
        if len(turns) % 2:
            turns.append((timed(first, 1), timed(second, 1)))
        else:
            turns.append((timed(second, 1), timed(first, 1))[::-1])
    return np.array(turns)


def probe_turns(model_config: ModelConfig, seconds: float) -> np.ndarray:
    """Time in the probe and in everything else during ten steps, (num_turns, 2)."""
    probe_times: list[float] = []
    step = our_training(model_config, ADAMW, probe_times)
    timed(step, RECORD_EVERY)
    turns = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends or len(turns) < 3:
        probe_times.clear()
        whole = timed(step, RECORD_EVERY)
        turns.append((sum(probe_times), whole - sum(probe_times)))
    return np.array(turns)


def timed(step: Step, repeat: int) -> float:
    began = time.process_time_ns()
    for _ in range(repeat):
        step()
    return (time.process_time_ns() - began) * 1e-9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long to keep taking turns, in all")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    small = preset("cpu-128", "gpt2")
    large = dataclasses.replace(small, d_model=768, num_heads=12, num_layers=1)

    comparisons = {
        "ratio_tokens_per_second": (plain_training(small), our_training(small, ADAMW), 0.4),
        "adamh_training_step_ratio": (our_training(small, ADAMH), our_training(small, ADAMW), 0.3),
        "adamh_optimizer_step_ratio": (matrix_step(small, ADAMH), matrix_step(small, ADAMW), 0.1),
        "adamh_optimizer_step_ratio_768": (matrix_step(large, ADAMH), matrix_step(large, ADAMW), 0.1),
    }
    times = {
        name: take_turns(first, second, share * arguments.seconds)
        for name, (first, second, share) in comparisons.items()
    }
    times["probe_overhead"] = probe_turns(small, 0.1 * arguments.seconds)
    quartiles = {
        name: np.quantile(pairs[:, 0] / pairs[:, 1], [0.25, 0.5, 0.75]).tolist() for name, pairs in times.items()
    }
    for name, (low, median, high) in quartiles.items():
        first, second = 1e3 * np.median(times[name], axis=0)
        print(
            f"{name:32s} {median:6.3f}  quartiles {low:.3f} to {high:.3f}, {len(times[name])} turns,"
            f" {first:.2f} ms over {second:.2f} ms"
        )
    result = {**{name: median for name, (_, median, _) in quartiles.items()}, "quartiles": quartiles}
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
