"""Tokens per second of an ensemble of small models over those of one of them trained alone, in one process.

    python benchmarks/ensemble.py [--json] [--device auto] [--num-steps 200] [--seconds 60]

The same configs, both by this project: `gpt.ensemble.train_ensemble` against `gpt.train.train`. Setting up is not
counted in either. Sizes are tried in order until the seconds are over; on a CPU only small ensembles are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import torch  # noqa: E402

from gpt.config import TrainConfig, cpu_model  # noqa: E402
from gpt.distributed import pick_device  # noqa: E402
from gpt.ensemble import train_ensemble  # noqa: E402
from gpt.train import train  # noqa: E402
from theory import AdamH, AdamW, Linear  # noqa: E402

ON_GPU = ((32, 1), (32, 256), (64, 256), (8, 256), (16, 256), (32, 64), (128, 64))
ON_CPU = ((32, 1), (32, 8))


def configs_of(width: int, number: int, num_steps: int) -> list[TrainConfig]:
    """Half AdamW, half AdamH, eight seeds."""
    base = TrainConfig(
        model=cpu_model(width, "scale-invariant"),
        optimizer=AdamW(learning_rate=0.01, weight_decay=0.1),
        non_matrix_learning_rate=0.01,
        schedule=Linear(num_steps=num_steps, warmup_steps=num_steps // 20),
        source=str(ROOT / "README.md"),
        record_every=20,
        eval_batches=4,
    )
    optimizers = (base.optimizer, AdamH(learning_rate=0.01))
    return [replace(base, seed=index % 8, optimizer=optimizers[index // 8 % 2]) for index in range(number)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--num-steps", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    began = time.perf_counter()
    device = pick_device(options.device)
    alone: dict[int, float] = {}
    rows = []
    for width, number in ON_GPU if device.type == "cuda" else ON_CPU:
        if time.perf_counter() - began > options.seconds:
            break
        configs = configs_of(width, number, options.num_steps)
        if width not in alone:
            single = train(replace(configs[0], device=options.device))
            alone[width] = single.tokens_per_second
        begun = time.perf_counter()
        speed = train_ensemble(configs, device=options.device)[0].tokens_per_second
        row = {"width": width, "models": number, "tokens_per_second": round(speed), "alone": round(alone[width])}
        row |= {"ratio": round(speed / alone[width], 2), "seconds": round(time.perf_counter() - begun, 2)}
        row |= {"milliseconds_per_step": round(1e3 * configs[0].tokens_per_step * number / speed, 3)}
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    result = {"device": name, "torch": torch.__version__, "num_steps": options.num_steps, "sizes": rows}
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
