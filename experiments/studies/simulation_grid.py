r"""Simulation against theory on random settings of every optimizer: is the difference noise?

Question    Do the closed forms describe the simulated optimizers, over the domain that they state?
Hypothesis  Where a form is exact, the deviations in Monte Carlo standard errors are standard normal. Elsewhere there is
            a bias, below 0.2 % on average.
Method      Random settings (`draw_setting`), one seed each. Per setting and observable one number: the mean of
            ln(simulated/predicted) over the records of the run, with its jackknife error over replicas. Replicas are
            added until the error is at most 0.05 %.
Decision    Exact forms: Kolmogorov-Smirnov p above 0.001 and no |z| above 4.5. Of 18 such tests one fails in 50 grids.

A finished setting is a row of its optimizer's CSV file among the runs, and is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from experiments.files import csv_text, to_json
from experiments.runs.simulation import natural_scale
from experiments.studies.workplace import Findings, Workplace, read_settings, write_settings
from sim import GradientNoise
from sim.monte_carlo import run
from sim.observables import observables
from theory import OPTIMIZERS, SCHEDULES, Optimizer, Schedule, equilibrium, predict_trajectory, record_steps
from theory.momentum import startup_steps
from theory.optimizers import SGDM, AdamL2, Muon, MuonH
from theory.trajectory import FIELDS

Array = NDArray[np.float64]

SEED = 20261122
TARGET_ERROR = 5e-4
COMPARED = ("weight_rms", "angular_update")
NUM_RECORDS = 40
ROW: dict[str, type[int | float]] = {"num_replicas": int, "dim": int}
ROW |= {f"{field}_{what}": float for field in COMPARED for what in ("bias", "error")}

# Entries of a replica, enough for a small 1/dim; shapes of the matrices for Muon; replicas per batch.
DIM = 4096
SHAPES = ((16, 128), (128, 16), (32, 96))
REPLICAS = 64
MOST_BATCHES = 16

# What the theory itself says of its accuracy; the other forms are exact.
APPROXIMATE = {
    ("adamw", "weight_rms"): "start of the second moment to first order in 1-beta2",
    ("adamw", "angular_update"): "start of the second moment to first order in 1-beta2",
    ("adamc", "weight_rms"): "start of the second moment to first order in 1-beta2",
    ("adamc", "angular_update"): "start of the second moment to first order in 1-beta2",
    ("adamh", "angular_update"): "1/dim, and start of the second moment to first order in 1-beta2",
    ("adam-l2", "weight_rms"): "one second moment for all entries",
    ("adam-l2", "angular_update"): "one second moment for all entries",
    ("muon", "weight_rms"): "large matrices",
    ("muon", "angular_update"): "large matrices",
    ("muonh", "angular_update"): "large matrices",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One point of the grid."""

    optimizer: Optimizer
    schedule: Schedule
    initial_rms: float
    gradient_rms: float
    shape: tuple[int, int] | None
    seed: int


def draw_setting(name: str, index: int) -> Setting:
    """Setting number ``index`` of an optimizer.

    Decay per step 1e-3 to 3e-2 at the peak, beta1 up to 0.95, 1 - beta2 from 1e-3 to 0.05 (Lion: up to 0.99), 300 to
    800 steps with any schedule, initial RMS from a third of the equilibrium to three times it. Adam with L2, as its
    theory asks: decay per step 5e-4 to 5e-3, 1 - beta2 from 0.02, initial RMS within a factor 1.5.
    """
    rng = np.random.default_rng([SEED, list(OPTIMIZERS).index(name), index])

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    cls: Any = OPTIMIZERS[name]
    fields = {field.name for field in dataclasses.fields(cls)}
    rate = log_uniform(1e-3, 5e-2)
    given: dict[str, Any] = {"learning_rate": rate, "beta1": float(rng.uniform(0, 0.95))}
    if "weight_decay" in fields:
        given["weight_decay"] = log_uniform(1e-3, 3e-2) / rate
    if "beta2" in fields:
        given["beta2"] = 1 - log_uniform(1e-3, 5e-2) if "eps" in fields else float(rng.uniform(0.5, 0.99))
    if "eps" in fields:
        given["eps"] = 1e-12
    for flag in ("nesterov", "decoupled"):
        if flag in fields:
            given[flag] = bool(rng.integers(2))
    num_steps = round(log_uniform(300, 800))
    schedule_class: Any = SCHEDULES[str(rng.choice(list(SCHEDULES)))]
    shaped: dict[str, Any] = {"num_steps": num_steps, "warmup_steps": int(rng.integers(num_steps // 5))}
    if "final_fraction" in {field.name for field in dataclasses.fields(schedule_class)}:
        shaped["final_fraction"] = float(rng.uniform(0.1, 1))
    shape = SHAPES[rng.integers(len(SHAPES))] if issubclass(cls, Muon | MuonH) else None
    gradient_rms = log_uniform(1e-3, 1e-1) if issubclass(cls, SGDM | AdamL2) else 1.0
    start = log_uniform(1 / 3, 3)
    if issubclass(cls, AdamL2):
        # The decay per step y is what is drawn, eta^4 lam^2 = 2 y^3 sigma^2; the second moment must be quicker.
        y = log_uniform(5e-4, 5e-3)
        given["weight_decay"] = float(np.sqrt(2 * y**3) * gradient_rms / rate**2)
        given["beta2"] = 1 - log_uniform(2e-2, 5e-2)
        start = log_uniform(2 / 3, 3 / 2)
    optimizer = cls(**given)
    settled = equilibrium(optimizer, initial_rms=1.0, gradient_rms=gradient_rms, shape=shape)
    return Setting(
        optimizer=optimizer,
        schedule=schedule_class(**shaped),
        initial_rms=start * settled.weight_rms,
        gradient_rms=gradient_rms,
        shape=shape,
        seed=index,
    )


def measure(setting: Setting, *, target: float = TARGET_ERROR, most_batches: int = MOST_BATCHES) -> dict[str, Any]:
    """Mean log ratio of simulation to theory, its standard error and z, per observable; and what it took."""
    optimizer, schedule = setting.optimizer, setting.schedule
    adaptive = hasattr(optimizer, "eps")
    dim = DIM if setting.shape is None else setting.shape[0] * setting.shape[1]
    every = max(1, schedule.num_steps // NUM_RECORDS)
    steps = record_steps(schedule.num_steps, every)
    predicted = predict_trajectory(
        optimizer,
        schedule,
        initial_rms=setting.initial_rms,
        record_every=every,
        finite_beta2=adaptive,
        gradient_rms=setting.gradient_rms * np.sqrt(1 - 1 / dim),  # one direction in dim is not tangent
        shape=setting.shape,
    )
    kept = steps >= (startup_steps(optimizer.beta1) if adaptive else 1)
    theory = np.stack([getattr(predicted, field)[kept, 0] for field in COMPARED])
    rows = [FIELDS.index(field) for field in COMPARED]
    noise = GradientNoise(rms=setting.gradient_rms, scale=natural_scale(optimizer))
    batches: list[Array] = []
    while len(batches) < most_batches:
        moments = run(
            optimizer,
            schedule,
            steps,
            initial_rms=setting.initial_rms,
            dim=dim,
            shape=setting.shape,
            replicas=np.arange(len(batches) * REPLICAS, (len(batches) + 1) * REPLICAS, dtype=np.int64),
            noise=noise,
            seed=setting.seed,
            progress=None,
        )[0]
        batches.append(moments[:, kept])
        mean, error = log_ratio(np.concatenate(batches), dim, theory, rows)
        if np.all(error <= target):
            break
    row: dict[str, Any] = {"num_replicas": len(batches) * REPLICAS, "dim": dim}
    for field, m, e in zip(COMPARED, mean, error, strict=True):
        row |= {f"{field}_bias": float(m), f"{field}_error": float(e)}
    return row


def log_ratio(moments: Array, dim: int, theory: Array, rows: list[int]) -> tuple[Array, Array]:
    """Mean over records of ln(simulated/predicted) and its jackknife error, both (len(rows),)."""
    total = moments.sum(axis=0)
    left_out = np.empty((len(moments), len(rows)))
    for r, one in enumerate(moments):
        left_out[r] = np.log(observables(total - one, (len(moments) - 1) * dim)[rows] / theory).mean(axis=1)
    mean = np.log(observables(total, len(moments) * dim)[rows] / theory).mean(axis=1)
    return mean, np.sqrt((len(moments) - 1) * left_out.var(axis=0))


def run_grid(names: Sequence[str], num_settings: int, runs: Path) -> dict[str, list[dict[str, float]]]:
    """The rows of every optimizer; those that the folder ``runs`` holds already are read, not run."""
    results = {}
    for name in names:
        path = runs / f"{name}.csv"
        rows = read_settings(path, ROW)
        for index in tqdm(range(len(rows), num_settings), desc=name, unit="setting", disable=None):
            rows.append(measure(draw_setting(name, index)))
            write_settings(path, rows)
        results[name] = rows[:num_settings]
    return results


def summarise(results: dict[str, list[dict[str, float]]]) -> Iterator[dict[str, Any]]:
    """One row per optimizer and observable; no test where the norm is held by construction."""
    for name, rows in results.items():
        for field in COMPARED:
            bias, error = (np.array([row[f"{field}_{what}"] for row in rows]) for what in ("bias", "error"))
            fixed = bool(np.all(error < 1e-9))
            z = None if fixed else normal_z(in_errors(bias, error), np.array([row["num_replicas"] for row in rows]))
            yield {
                "optimizer": name,
                "observable": field,
                "num_settings": len(rows),
                "standard_error_median_percent": 100 * float(np.median(error)),
                "standard_error_max_percent": 100 * float(error.max()),
                "ks_p": None if z is None else float(stats.kstest(z, "norm").pvalue),
                "max_abs_z": None if z is None else float(np.abs(z).max()),
                "mean_bias_percent": 100 * float(bias.mean()),
                "mean_bias_error_percent": 100 * float(np.sqrt(np.sum(error**2)) / len(error)),
                "max_abs_bias_percent": 100 * float(np.abs(bias).max()),
                "exact": not fixed and (name, field) not in APPROXIMATE,
                "approximation": "held by construction" if fixed else APPROXIMATE.get((name, field), ""),
            }


def in_errors(bias: Array, error: Array) -> Array:
    """Biases in standard errors, infinite where an error is 0, which no simulation leaves where others are not."""
    return np.divide(bias, error, out=np.full_like(bias, np.inf), where=error != 0)


def normal_z(z: Array, num_replicas: Array) -> Array:
    """z in estimated standard errors follows Student's t; the normal z of the same tail probability."""
    tail = stats.t.logsf(np.abs(z), num_replicas - 1)
    return np.sign(z) * -stats.norm.ppf(np.exp(tail))


def passes(row: dict[str, Any]) -> bool:
    """The decision rule of the module for one row of the table."""
    if row["standard_error_max_percent"] > 100 * TARGET_ERROR:
        return False
    if row["exact"]:
        return bool(row["ks_p"] > 1e-3 and row["max_abs_z"] < 4.5)
    return abs(row["mean_bias_percent"]) < 0.2


def run_study(place: Workplace, settings: int = 200, optimizers: Sequence[str] = tuple(OPTIMIZERS)) -> Findings:
    """``agreement.csv``, a row per optimizer and observable, and ``config.json``; passed if every row passes."""
    place.make_folders()
    with place.kernel_threads():
        rows = list(summarise(run_grid(optimizers, settings, place.runs)))
    config = {
        "seed": SEED,
        "num_settings": settings,
        "optimizers": optimizers,
        "dim": DIM,
        "shapes": SHAPES,
        "replicas_per_batch": REPLICAS,
        "target_error": TARGET_ERROR,
        "num_records": NUM_RECORDS,
    }
    place.write("config.json", to_json(config) + "\n")
    shown = [{k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    place.write("agreement.csv", csv_text(shown))
    judged = pd.DataFrame(rows).assign(passed=[passes(row) for row in rows])
    return Findings(answers=judged, passed=bool(judged["passed"].all()))
