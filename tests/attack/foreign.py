"""What other programs and earlier studies leave: logs of training runs, rate files, the finished runs of studies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.runs.configs import config_hash
from experiments.studies import direction, valley
from gpt.config import TrainConfig
from tests.experiments.logs.made_logs import (
    event_file,
    white_noise_rows,
    write_csv,
    write_json_lines,
    write_trainer_state,
)
from theory import AdamW, Constant

DOCS = Path(__file__).parents[2] / "docs"
MATRICES = ("blocks.0.query", "blocks.0.mlp_in")
STEPS = range(10, 210, 10)
TEXTS = {
    "nanogpt.txt": "iter {step}: loss {loss:.4f}, time 135.22ms, mfu 40.10%",
    "llmc.log": "s:{step} trl:{loss:.5f} lr:{rate:.6g} norm:2.50",
    "modded.txt": "step:{step}/200 train_loss:{loss:.4f} train_time:17000ms step_avg:85.0ms",
}


def make_logs() -> None:
    """``logs``, one of every kind that is read, and two rate files."""
    folder = Path("logs")
    (folder / "events").mkdir(parents=True)
    rows: list[dict[str, Any]] = [
        {"step": step, "loss": 8 / step**0.5, "learning_rate": 1e-3 * (1 - step / 400), "grad_norm": 1 + 10 / step}
        for step in STEPS
    ]
    for name, form in TEXTS.items():
        told = [form.format(step=row["step"], loss=row["loss"], rate=row["learning_rate"]) for row in rows]
        (folder / name).write_text("import torch\n\n" + "\n".join(told) + "\npeak memory 5\n")
    write_trainer_state(folder / "checkpoint-200" / "trainer_state.json", rows, max_steps=400)
    history = [{"_step": row["step"], "train/loss": row["loss"], "train/learning_rate": 1e-3} for row in rows]
    write_csv(folder / "history.csv", history)
    write_json_lines(folder / "history.jsonl", [{**row, "weight_norm": 20.0 + row["_step"] / 100} for row in history])
    (folder / "list.json").write_text(json.dumps(history))
    scalars = [(row["step"], f"train/{name}", row[name]) for row in rows for name in ("loss", "learning_rate")]
    (folder / "events" / "events.out.tfevents.1.host").write_bytes(event_file(scalars))
    noise = white_noise_rows(
        AdamW(learning_rate=1e-2, weight_decay=1), Constant(num_steps=400), initial_rms=0.02, every=10
    )
    write_csv(folder / "norms.csv", noise)
    write_json_lines(folder / "matrices.jsonl", [{**row, "matrix": name} for row in noise for name in MATRICES])
    write_csv(Path("lr.csv"), [{"step": step, "learning_rate": 1e-3 * (1 - step / 400)} for step in range(0, 400, 20)])
    write_csv(Path("multipliers.csv"), [{"multiplier": 1 - step / 400} for step in range(300)])


def make_studies() -> None:
    """Finished runs of studies, in made-up numbers, and tables that some of them take instead."""
    rng = np.random.default_rng(0)
    Path("grid").mkdir()
    for name in ("adamw", "lion"):
        drawn = [{f"{field}_{what}": 1e-4 for field in ("weight_rms", "angular_update") for what in ("bias", "error")}]
        write_csv(Path("grid") / f"{name}.csv", [{"num_replicas": 64, "dim": 4096, **row} for row in 2 * drawn])
    names = direction.SHOWN + tuple(f"lag_{lag}" for lag in range(1, direction.LAGS + 1))
    for study in (direction, valley):
        folder = Path(study.__name__.rpartition(".")[2])
        folder.mkdir()
        for config in study.configs():
            rows = [
                {**_setting(config), "matrix": matrix, **dict(zip(names, rng.normal(0, 0.1, len(names)), strict=True))}
                for matrix in MATRICES
            ]
            pd.DataFrame(rows).to_csv(folder / f"{config_hash(config)}.csv", index=False)
    Path("studies").mkdir()
    for name in ("same-angle", "schedule-exponent", "moved-optimum"):
        shutil.copytree(DOCS / name, f"studies/{name}", ignore=shutil.ignore_patterns("*.png"))
    shutil.copy(DOCS / "angle-law" / "runs.csv", "studies/angle.csv")
    shutil.copy(DOCS / "replay" / "replay.csv", "studies/replay.csv")
    Path("inverse").mkdir()
    errors = {"rms_error": -8e-5, "rms_step": 1176, "white_rms_error": 0.004, "white_rms_step": 156, "rms_noise": 4e-5}
    errors |= {name.replace("rms", "angle"): value for name, value in errors.items()}
    times = {"transient": 0.0, "theory_transient": 0.0, "white_transient": 0.0, "transient_noise": float("nan")}
    write_csv(Path("inverse") / "settings.csv", 2 * [{"num_replicas": 16, **errors, **times}])


def _setting(config: TrainConfig) -> dict[str, float]:
    optimizer = config.optimizer
    assert isinstance(optimizer, AdamW)
    return {
        "learning_rate": optimizer.learning_rate,
        "weight_decay": optimizer.weight_decay,
        "beta1": optimizer.beta1,
        "batch_size": config.batch_size,
        "d_model": config.model.d_model,
        "seed": config.seed,
        "gradient_rms": 0.1,
        "probed": 0.9,
    }
