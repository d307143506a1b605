"""Eleven runs of small GPT-2s, and what they say about growth at each relative step."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from experiments.agreement.matrix_networks import FEED_FORWARD, kind_of
from gpt.config import TrainConfig, preset
from gpt.train import train
from theory import AdamW, Constant, Cosine, Schedule, Trajectory
from theory.momentum import stationary_update_rms

Array = NDArray[np.float64]

RECORD_EVERY = 10
CONSTANT = Constant(num_steps=2000)
COSINE = Cosine(num_steps=3000, warmup_steps=200, final_fraction=0.1)
DECAY = 0.1
WINDOWS = (20, 200, 500, 1000, 1500, 2000, 2500, 3000)


def config(width: int, rate: float, beta2: float, schedule: Schedule, initial_rms: float) -> TrainConfig:
    return TrainConfig(
        model=preset(f"cpu-{width}", "gpt2"),
        optimizer=AdamW(learning_rate=rate, weight_decay=DECAY, beta2=beta2),
        non_matrix_learning_rate=min(rate, 1e-2),
        schedule=schedule,
        device="cpu",
        record_every=RECORD_EVERY,
        block_rms=initial_rms,
        eval_batches=5,
    )


def configs() -> list[TrainConfig]:
    """The runs; the law is fitted to those at beta2 = 0.95."""
    return [
        *(config(32, rate, 0.999, COSINE, 0.02) for rate in (1e-3, 3e-3, 3e-4, 1e-2)),
        config(64, 1e-3, 0.999, COSINE, 0.02),
        *(config(32, rate, 0.95, CONSTANT, 0.02) for rate in (1e-3, 3e-3, 1e-2, 3e-2)),
        config(32, 1e-2, 0.95, CONSTANT, 0.5),
        config(32, 3e-3, 0.95, COSINE, 0.02),
    ]


def label(config: TrainConfig) -> str:
    optimizer, schedule = config.optimizer, config.schedule
    assert isinstance(optimizer, AdamW)
    return (
        f"width {config.model.d_model}, {type(schedule).__name__.lower()}, rate {optimizer.learning_rate:g}, "
        f"beta2 {optimizer.beta2:g}, from {config.block_rms:g}"
    )


def rows_of(config: TrainConfig) -> pd.DataFrame:
    """A row per record and matrix of one run: run, matrix, kind, num_entries, step, weight_rms, direction_ratio."""
    torch.set_num_threads(1)
    return rows_of_trajectory(config, train(config).trajectory)


def rows_of_trajectory(config: TrainConfig, found: Trajectory) -> pd.DataFrame:
    assert isinstance(config.optimizer, AdamW)
    noise = float(stationary_update_rms(config.optimizer.beta1))
    tables = []
    for place, matrix in enumerate(found.matrices):
        kind = kind_of(matrix)
        columns = {
            "run": label(config),
            "matrix": matrix,
            "kind": kind,
            "num_entries": config.model.d_model**2 * (4 if kind == FEED_FORWARD else 1),
            "step": found.steps,
            "weight_rms": found.weight_rms[:, place],
            "direction_ratio": found.update_rms[:, place] / noise,
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def by_kind(rows: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over the matrices of a kind, every fifth record, and the range of their RMS."""
    kept = rows[rows["step"] % (5 * RECORD_EVERY) == 0]
    keys = ["run", "kind", "step"]
    logs = kept[keys].assign(**{name: np.log(kept[name]) for name in ("weight_rms", "direction_ratio")})
    means = logs.groupby(keys, sort=False).mean().transform(np.exp)
    rms = kept.groupby(keys, sort=False)["weight_rms"]
    return means.assign(lowest_rms=rms.min(), highest_rms=rms.max()).reset_index()


def growth_windows(config: TrainConfig, rows: pd.DataFrame) -> pd.DataFrame:
    r"""G of each matrix between two steps, :math:`(\Delta\rho + \sum 2\eta\lambda\rho)/\sum\eta^2`, medians by kind.

    ``relative_step`` z, ``growth`` G and its range over matrices, ``direction_ratio``, ``force`` = G over the square of
    that, ``signal`` = (G - 1) z sqrt(num_entries), the same for all sizes where a radial gradient does it whose entries
    are a fixed share of the noise.
    """
    assert isinstance(config.optimizer, AdamW)
    rates = config.optimizer.learning_rate * config.schedule.multipliers()
    found = []
    for (kind, _), matrix in rows.groupby(["kind", "matrix"], sort=False):
        steps, rho = matrix["step"].to_numpy(), matrix["weight_rms"].to_numpy() ** 2
        for first, last in pairwise(WINDOWS):
            if last > len(rates):
                continue
            inside = np.arange(first, min(last, steps[-1]))
            eta, norm = rates[inside], np.interp(inside, steps, rho)
            ends = np.interp([inside[0], inside[-1] + 1], steps, rho)
            energy = np.sum(eta**2)
            growth = (ends[1] - ends[0] + np.sum(2 * eta * config.optimizer.weight_decay * norm)) / energy
            squares = np.interp(inside, steps, matrix["direction_ratio"].to_numpy() ** 2)
            ratio = np.sum(squares * eta**2) / energy
            z = eta.mean() / np.sqrt(norm.mean())
            row = {"kind": kind, "first": first, "last": last, "relative_step": z, "weight_rms": np.sqrt(norm.mean())}
            row |= {"growth": growth, "direction_ratio": np.sqrt(ratio), "force": growth / ratio}
            found.append({**row, "signal": (growth - 1) * z * np.sqrt(matrix["num_entries"].iloc[0])})
    grouped = pd.DataFrame(found).groupby(["kind", "first", "last"], sort=False)
    medians = grouped.median()
    medians["lowest_growth"], medians["highest_growth"] = grouped["growth"].min(), grouped["growth"].max()
    return medians.reset_index().assign(run=label(config))
