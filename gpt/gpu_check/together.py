"""Ensembles on the device: the numbers of each run against the CPU, and what training many at once gains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gpt.config import Dtype, TrainConfig, cpu_model
from gpt.ensemble import train_ensemble
from gpt.gpu_check.parity import LIMITS, NUM_STEPS
from gpt.gpu_check.rows import Row
from gpt.gpu_check.sizes import Size
from gpt.train import train
from theory import AdamC, AdamH, AdamW, Linear

CHECKED: tuple[Dtype, ...] = ("float64", "float32")
WIDTH, MODELS, SPEED_STEPS = 32, 256, 200
MODELS_ON_CPU = 4  # where there is nothing to gain


def ensemble_rows(size: Size) -> Iterator[Row]:
    """Four runs alone on the CPU in float64 and together on the device; then 256 of width 32 against one."""
    base = TrainConfig(
        model=cpu_model(WIDTH, "scale-invariant"),
        optimizer=AdamW(learning_rate=0.01, weight_decay=0.1),
        non_matrix_learning_rate=0.01,
        schedule=Linear(num_steps=size.steps(NUM_STEPS), warmup_steps=2),
        source="zipf",
        device="cpu",
        record_every=5,
        eval_batches=2,
    )
    checked = [
        base,
        replace(base, seed=1, block_rms=1.0),
        replace(base, optimizer=AdamH(learning_rate=0.02)),
        replace(base, optimizer=AdamC(learning_rate=0.02, weight_decay=0.1)),
    ]
    exact = [train(replace(config, dtype="float64")) for config in checked]
    for dtype in CHECKED:
        found = train_ensemble([replace(config, dtype=dtype) for config in checked], device=size.named_device)
        pairs = list(zip(found, exact, strict=True))
        loss = max(float(np.max(np.abs(a.losses / b.losses - 1))) for a, b in pairs)
        yield Row(part="ensemble", what=f"loss of four, {dtype}", value=loss, unit="of itself", limit=LIMITS[dtype])
        turned = [a.trajectory.angular_update / b.trajectory.angular_update for a, b in pairs]
        angle = max(float(np.max(np.abs(ratio - 1))) for ratio in turned)
        yield Row(part="ensemble", what=f"angle of four, {dtype}", value=angle, unit="of itself", limit=LIMITS[dtype])
    number = MODELS if size.on_gpu else MODELS_ON_CPU
    schedule = Linear(num_steps=size.of(SPEED_STEPS, least=4), warmup_steps=2)
    many = [replace(base, schedule=schedule, seed=index % 8, device=size.named_device) for index in range(number)]
    alone = train(many[0]).tokens_per_second
    together = train_ensemble(many, device=size.named_device)[0].tokens_per_second
    yield Row(part="ensemble", what=f"{number} of width {WIDTH}", value=together, unit="tokens/s")
    yield Row(part="ensemble", what="over one alone", value=together / alone, unit="times as many")
