"""The device against the CPU: training by every arithmetic, and AdamH against its definition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from gpt.adamh import AdamH
from gpt.config import Dtype, ModelConfig, TrainConfig
from gpt.gpu_check.rows import Row
from gpt.gpu_check.sizes import Size
from gpt.train import train
from theory import AdamW, Constant

NUM_STEPS, ADAMH_STEPS = 20, 20
# Largest relative difference of a loss over the steps. Rounding alone makes 1e-15, 1e-6 and 3e-3 in one step of these
# models; twenty steps of training enlarge it by less than a hundred.
LIMITS: dict[Dtype, float] = {"float64": 1e-9, "float32": 1e-4, "bfloat16": 2e-2}
ANGLE_LIMIT = 1e-6  # of float64
ADAMH_LIMIT, RADIUS_LIMIT = 1e-4, 1e-5
BETAS, EPS, RATE = (0.9, 0.95), 1e-8, 0.01


def path_rows(size: Size) -> Iterator[Row]:
    """The same small run on the CPU in float64 and on the device in every arithmetic, compiled as well on a GPU."""
    config = TrainConfig(
        model=ModelConfig(architecture="scale-invariant", d_model=64, num_heads=2, init_rms=0.125),
        optimizer=AdamW(learning_rate=3e-3, weight_decay=0.1),
        non_matrix_learning_rate=3e-3,
        schedule=Constant(num_steps=size.steps(NUM_STEPS)),
        source="zipf",
        dtype="float64",
        device="cpu",
        record_every=5,
        eval_batches=1,
    )
    reference = train(config)
    for dtype, limit in LIMITS.items():
        for compiled in (False, True) if size.on_gpu and dtype == "bfloat16" else (False,):
            run = train(replace(config, dtype=dtype, device=size.named_device, compile=compiled))
            name = f"{dtype}{', compiled' if compiled else ''}"
            difference = float(np.max(np.abs(run.losses / reference.losses - 1)))
            yield Row(part="paths", what=f"loss, {name}", value=difference, unit="of itself", limit=limit)
            if dtype == "float64":
                angles = run.trajectory.angular_update / reference.trajectory.angular_update
                difference = float(np.max(np.abs(angles - 1)))
                yield Row(part="paths", what=f"angle, {name}", value=difference, unit="of itself", limit=ANGLE_LIMIT)


@torch.no_grad()
def adamh_rows(size: Size) -> Iterator[Row]:
    """Twenty steps on random gradients in float32 on the device, and as the definition says in float64 on the CPU."""
    width = size.of(768, least=16)
    generator = torch.Generator().manual_seed(0)
    shapes = [(width, width), (4 * width, width), (width, 4 * width)] * 2
    started = [torch.randn(shape, generator=generator) * 0.02 for shape in shapes]
    ours = [w.clone().to(size.device).requires_grad_() for w in started]
    optimizer = AdamH(ours, lr=RATE, betas=BETAS, eps=EPS)
    exact = [w.double() for w in started]
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in exact]
    for step in range(1, ADAMH_STEPS + 1):
        for w, parameter, (m, v), start in zip(exact, ours, moments, started, strict=True):
            gradient = torch.randn(w.shape, generator=generator)
            parameter.grad = gradient.to(size.device)
            m.lerp_(gradient.double(), 1 - BETAS[0])
            v.lerp_(gradient.double().square(), 1 - BETAS[1])
            direction = (m / (1 - BETAS[0] ** step)) / ((v / (1 - BETAS[1] ** step)).sqrt() + EPS)
            radius = start.double().norm()
            w -= RATE * radius * direction / direction.norm()
            w *= radius / w.norm()
        optimizer.step()
    found = [w.detach().cpu().double() for w in ours]
    pairs = list(zip(found, exact, strict=True))
    difference = max(float((a - b).abs().max() / b.square().mean().sqrt()) for a, b in pairs)
    drift = max(abs(float(a.norm() / w.double().norm()) - 1) for a, w in zip(found, started, strict=True))
    yield Row(part="adamh", what="largest error of a weight", value=difference, unit="of their RMS", limit=ADAMH_LIMIT)
    yield Row(part="adamh", what="change of a norm", value=drift, unit="of itself", limit=RADIUS_LIMIT)
