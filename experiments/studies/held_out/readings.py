"""What is read from a matrix, measured or predicted alike; the package has the rules."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.agreement.matrix_networks import DRIVEN
from experiments.agreement.measure import FAR_FROM_EQUILIBRIUM, fit_relaxation
from experiments.studies.held_out.runs import label, network_of
from gpt.config import TrainConfig
from theory import AdamW, Trajectory, networks, predict_trajectory
from theory.momentum import stationary_update_rms

Array = NDArray[np.float64]
Matrix = dict[str, Array]  # columns of one matrix: step, weight_rms, angular_update, update_rms

MATRIX_COLUMNS = ("step", "weight_rms", "angular_update", "update_rms")
FIRST_STEP = 100
WITHIN = 0.1
START_AWAY = 0.25
QUANTITIES = (
    "angle",
    "rms",
    "first_passage",
    "time",
    "relaxation",
    "relaxation_constant_drive",
    "direction_ratio",
    "growth",
)
SOURCES = ("predicted", "white_noise")
SETTING = ("architecture", "setting", "kind", "judged")


def read(config: TrainConfig, matrix: Matrix, *, own: float | None = None) -> dict[str, float]:
    """`QUANTITIES` of one matrix; NaN where there is none. With ``own``, the measured equilibrium, only what it decides
    about is left out: whether the start is far enough away."""
    assert isinstance(config.optimizer, AdamW)
    optimizer, schedule = config.optimizer, config.schedule
    steps, rms = matrix["step"], matrix["weight_rms"]
    late, noise = steps >= 0.75 * schedule.num_steps, float(stationary_update_rms(optimizer.beta1))
    found = {
        "angle": float(np.mean(matrix["angular_update"][late])),
        "rms": _root_mean_square(rms[late]),
        "direction_ratio": _root_mean_square(matrix["update_rms"][late]) / noise,
        "growth": _growth(config, steps[late], rms[late] ** 2),
    }
    peak = (steps >= schedule.warmup_steps) & (steps < schedule.peak_end)
    if peak.sum() < 10:
        return found
    settled = settled_rms(config, matrix)
    if abs(rms[0] / (settled if own is None else own) - 1) >= START_AWAY:
        away = np.abs(rms / settled - 1)
        found["first_passage"] = _first_below(steps, away, WITHIN)
        found["time"] = _first_below(steps, away / away[0], WITHIN)
    squared = rms[peak] ** 2
    if abs(np.log(squared[0] / (settled if own is None else own) ** 2)) >= np.log(FAR_FROM_EQUILIBRIUM):
        drive = matrix["update_rms"][peak] ** 2
        found["relaxation"] = fit_relaxation(steps[peak], squared, drive) or np.nan
        found["relaxation_constant_drive"] = fit_relaxation(steps[peak], squared) or np.nan
    return found


def settled_rms(config: TrainConfig, matrix: Matrix) -> float:
    """RMS over the last quarter of the steps at the peak rate; NaN where there are none."""
    first, end = config.schedule.warmup_steps, config.schedule.peak_end
    last = (matrix["step"] >= first + 0.75 * (end - first)) & (matrix["step"] < end)
    return _root_mean_square(matrix["weight_rms"][last]) if last.any() else np.nan


def readings_of(config: TrainConfig, rows: pd.DataFrame) -> pd.DataFrame:
    """A row per matrix of a run: `SETTING`, seed, matrix, and each of `QUANTITIES` measured and by `SOURCES`, and the
    trajectory errors by source. Empty if the run did not come to its end."""
    if rows.empty or rows["step"].max() < config.schedule.num_steps - 1:
        return pd.DataFrame()
    found = []
    for (name, kind), records in rows.groupby(["matrix", "kind"], sort=False):
        matrix = {column: records[column].to_numpy(float) for column in MATRIX_COLUMNS}
        measured, own = read(config, matrix), settled_rms(config, matrix)
        row: dict[str, object] = _setting(config, str(kind)) | {"seed": config.seed, "matrix": name}
        row |= {q: measured.get(q, np.nan) for q in QUANTITIES}
        for source in SOURCES:
            other = predicted_matrix(config, str(kind), source)
            values = read(config, other, own=own)
            counted = matrix["step"] >= FIRST_STEP
            errors = np.log(matrix["weight_rms"] / other["weight_rms"])[counted]
            row |= {f"{q}_{source}": values.get(q, np.nan) for q in QUANTITIES}
            row[f"trajectory_error_{source}"] = _root_mean_square(errors)
        found.append(row)
    return pd.DataFrame(found)


def predictions_of(configs: Iterable[TrainConfig], kinds: Iterable[str]) -> pd.DataFrame:
    """What the study says before its runs: a row per setting and kind of matrix."""
    chosen = list(kinds)
    found = []
    for config in configs:
        for kind in chosen:
            row: dict[str, object] = _setting(config, kind) | {"initial_rms": config.block_rms}
            for source in SOURCES:
                values = read(config, predicted_matrix(config, kind, source))
                row |= {f"{q}_{source}": values.get(q, np.nan) for q in QUANTITIES}
            found.append(row)
    return pd.DataFrame(found).drop_duplicates(ignore_index=True)


def predicted_matrix(config: TrainConfig, kind: str, source: str) -> Matrix:
    """The records of a matrix that starts from the config's RMS."""
    run = _predicted(config, kind, source)
    columns = {name: getattr(run, name)[:, 0] for name in MATRIX_COLUMNS[1:]}
    return {"step": run.steps.astype(float), **columns}


@lru_cache(maxsize=256)
def _predicted(config: TrainConfig, kind: str, source: str) -> Trajectory:
    assert config.block_rms is not None
    white = source == "white_noise"
    return predict_trajectory(
        config.optimizer,
        config.schedule,
        initial_rms=config.block_rms,
        record_every=config.record_every,
        network=networks.WHITE_NOISE if white else network_of(config.model.architecture, kind),
    )


def _setting(config: TrainConfig, kind: str) -> dict[str, object]:
    architecture = config.model.architecture
    judged = architecture == "scale-invariant" or kind != DRIVEN
    return dict(zip(SETTING, (architecture, label(config), kind, judged), strict=True))


def _first_below(steps: Array, away: Array, limit: float) -> float:
    """First step at which ``away`` is no more than ``limit``, between records by a straight line; NaN if never."""
    inside = np.flatnonzero(away <= limit)
    if not len(inside):
        return np.nan
    k = int(inside[0])
    if k == 0:
        return float(steps[0])
    share = (away[k - 1] - limit) / (away[k - 1] - away[k])
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1]))


def _growth(config: TrainConfig, steps: Array, rho: Array) -> float:
    r"""G between the first and the last of these records, :math:`(\Delta\rho + \sum2\eta\lambda\rho)/\sum\eta^2`."""
    assert isinstance(config.optimizer, AdamW)
    inside = np.arange(int(steps[0]), int(steps[-1]))
    rates = (config.optimizer.learning_rate * config.schedule.multipliers())[inside]
    decayed = np.sum(2 * config.optimizer.weight_decay * rates * np.interp(inside, steps, rho))
    return float((rho[-1] - rho[0] + decayed) / np.sum(rates**2))


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
