"""What was off where a target was missed: the size of the direction, or the force. Written after the runs; it judges
nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.studies.held_out.readings import MATRIX_COLUMNS, Matrix, read, settled_rms
from experiments.studies.held_out.runs import label, network_of
from gpt.config import TrainConfig
from theory import AdamW
from theory.momentum import update_variance
from theory.radial import NOISE, Law, moments

ACCOUNTS = ("measured_direction", "measured_direction_without_force")


def causes_of(config: TrainConfig, rows: pd.DataFrame) -> pd.DataFrame:
    """A row per matrix of a run that came to its end: architecture, setting, kind, matrix; over the last quarter the
    relative step, the measured force G/D^2 and the law's (1 for scale-invariant weights); errors of late RMS
    and time, measured / predicted - 1, and trajectory errors, of two accounts: the theory with the measured
    size of the direction at every step, and the same without force, which is white noise of that size."""
    assert isinstance(config.optimizer, AdamW)
    if rows.empty or rows["step"].max() < config.schedule.num_steps - 1:
        return pd.DataFrame()
    optimizer, architecture = config.optimizer, config.model.architecture
    found = []
    for (name, kind), records in rows.groupby(["matrix", "kind"], sort=False):
        matrix = {column: records[column].to_numpy(float) for column in MATRIX_COLUMNS}
        law = NOISE if architecture == "scale-invariant" else network_of(architecture, str(kind)).law
        measured, own = read(config, matrix), settled_rms(config, matrix)
        late = matrix["step"] >= 0.75 * config.schedule.num_steps
        rates = optimizer.learning_rate * np.interp(
            matrix["step"], np.arange(config.schedule.num_steps), config.schedule.multipliers()
        )
        z = float(np.mean(rates[late] / matrix["weight_rms"][late]))
        row = {"architecture": architecture, "setting": label(config), "kind": kind, "matrix": name}
        row |= {"relative_step": z, "weight_rms": measured["rms"], "direction_ratio": measured["direction_ratio"]}
        row |= {"force": measured["growth"] / measured["direction_ratio"] ** 2, "force_of_law": float(law.force(z))}
        for account, force in zip(ACCOUNTS, (law, NOISE), strict=True):
            told = account_of(config, matrix, force)
            values = read(config, told, own=own)
            for quantity in ("rms", "time"):
                error = measured.get(quantity, np.nan) / values.get(quantity, np.nan) - 1
                row[f"{quantity}_error_{account}"] = error
            counted = matrix["step"] >= 100
            errors = np.log(matrix["weight_rms"] / told["weight_rms"])[counted]
            row[f"trajectory_error_{account}"] = float(np.sqrt(np.mean(errors**2)))
        found.append(row)
    return pd.DataFrame(found)


def account_of(config: TrainConfig, matrix: Matrix, law: Law) -> Matrix:
    """The RMS that follows from the measured size of the direction and a law of force; angles are left out."""
    assert isinstance(config.optimizer, AdamW)
    optimizer = config.optimizer
    rates = optimizer.learning_rate * config.schedule.multipliers()
    steps = np.arange(len(rates))
    noise = np.sqrt(update_variance(steps, optimizer.beta1))  # as it is so long after the start
    size = np.interp(steps, matrix["step"], matrix["update_rms"] / noise[matrix["step"].astype(int)])
    start = float(matrix["weight_rms"][0])
    run = moments(
        rates,
        optimizer.weight_decay * rates,
        optimizer.beta1,
        optimizer.beta2,
        start,
        direction_ratio=np.maximum(size, 1e-9),
        gradient_scale=np.ones(len(rates)),
        law=law,
    )
    kept = matrix["step"].astype(int)
    return matrix | {"weight_rms": np.sqrt(run.rho[kept])}


def by_setting(causes: pd.DataFrame) -> pd.DataFrame:
    """Medians over matrices and seeds, by kind; root mean squares of trajectory errors."""
    keys = ["architecture", "setting", "kind"]
    grouped = causes.assign(kind=causes["kind"].where(causes["architecture"] == "gpt2", "all")).groupby(
        keys, sort=False
    )
    medians = grouped.median(numeric_only=True)
    for account in ACCOUNTS:
        name = f"trajectory_error_{account}"
        medians[name] = grouped[name].agg(lambda e: float(np.sqrt(np.mean(e**2))))
    return medians.reset_index()
