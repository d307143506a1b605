r"""Measured trajectories against the theory: equilibrium, update RMS and relaxation, matrix by matrix.

Rules, stated once and applied to measurement and simulation alike:

- **Equilibrium window**: records at the peak learning rate at which the theory, started from the matrix's own
  initial RMS, is within 1 % of its equilibrium RMS for good.
- **Relaxation time**: least squares on the squared weight RMS from the end of warmup s on, of

  .. math:: \rho_t = a\,e^{-(t-s)/\tau} + b \int_s^t e^{-(t-t')/\tau}\, U_{t'}^2\, dt'

  with a, b and tau free and U the measured update RMS, which drifts while a network learns and takes the
  equilibrium with it. No theory goes in. With U held constant this is the plain exponential approach, given too.
- **Far enough from equilibrium**: a relaxation time is fitted only for a matrix whose squared RMS at the end of
  warmup is at least twice, or at most half, of that in the equilibrium window.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from theory import AdamH, AdamW, InvalidParameter, Schedule, Trajectory, adamw, equilibrium, predict
from theory.momentum import startup_steps
from theory.recursion import affine_recursion

SETTLED_WITHIN = 0.01
FAR_FROM_EQUILIBRIUM = 2.0

COLUMNS = (
    "matrix",
    *(
        f"{prefix}{name}"
        for prefix in ("", "predicted_")
        for name in ("angular_update", "weight_rms", "relaxation_steps")
    ),
    "plain_relaxation_steps",
    "update_rms",
    "predicted_weight_rms_from_update",
    "norm_drift",
)

Array = NDArray[np.float64]
ComparedOptimizer = AdamW | AdamH  # those whose runs are read against the theory


def equilibrium_window(
    optimizer: ComparedOptimizer, schedule: Schedule, steps: NDArray[np.int64], *, initial_rms: float
) -> NDArray[np.bool_]:
    """Which records count as equilibrium; AdamH, with no norm to relax, from ten momentum memories on."""
    if isinstance(optimizer, AdamW):
        transient = predict(optimizer, schedule, initial_rms=initial_rms, tolerance=SETTLED_WITHIN).transient_steps
        settled = schedule.num_steps if transient is None else transient
    else:
        settled = startup_steps(optimizer.beta1)
    return (steps >= max(settled, schedule.warmup_steps)) & (steps < schedule.peak_end)


def fit_relaxation(steps: ArrayLike, squared_rms: Array, squared_update_rms: Array | None = None) -> float | None:
    """Relaxation time in steps; None where no interior minimum exists (no relaxation to be seen).

    ``squared_update_rms`` drives the norm, by default a constant. For a given time constant the other two
    parameters are linear, so the search is one-dimensional.
    """
    elapsed = np.asarray(steps, dtype=np.float64)
    elapsed = elapsed - elapsed[0]
    drive = np.ones_like(elapsed) if squared_update_rms is None else squared_update_rms
    if len(elapsed) < 5:
        return None

    def squared_error(log_tau: float) -> float:
        basis = np.stack([np.exp(-elapsed / np.exp(log_tau)), _driven(elapsed, drive, np.exp(log_tau))], axis=1)
        coefficients = np.linalg.lstsq(basis, squared_rms, rcond=None)[0]
        return float(np.sum((basis @ coefficients - squared_rms) ** 2))

    grid = np.linspace(np.log(elapsed[1] / 2), np.log(10 * elapsed[-1]), 100)
    best = int(np.argmin([squared_error(value) for value in grid]))
    if best in (0, len(grid) - 1):
        return None
    bounds = (grid[best - 1], grid[best + 1])
    return float(np.exp(minimize_scalar(squared_error, bounds=bounds, method="bounded").x))


def _driven(elapsed: Array, drive: Array, relaxation_steps: float) -> Array:
    """Response to ``drive``, exact for a drive that is constant (at the mean of its ends) between records."""
    kept = np.exp(-np.diff(elapsed) / relaxation_steps)
    gained = (1 - kept) * (drive[:-1] + drive[1:]) / 2
    return affine_recursion(kept, gained, np.zeros(()))


def measure(trajectory: Trajectory, optimizer: ComparedOptimizer, schedule: Schedule) -> pd.DataFrame:
    """One row per matrix: what was measured at equilibrium, and what theory says; NaN where undefined.

    Columns: ``matrix``; measured ``angular_update``, ``weight_rms``, ``update_rms``, ``relaxation_steps`` and
    ``plain_relaxation_steps`` (with constant U); ``predicted_*`` for the same; ``predicted_weight_rms_from_update``
    (AdamW: with the measured update RMS put in); ``norm_drift``, the largest relative change of the RMS from the
    first record.
    """
    fit_range = (trajectory.steps >= schedule.warmup_steps) & (trajectory.steps < schedule.peak_end)
    rows: list[dict[str, Any]] = []
    if not len(trajectory.steps):
        return empty_measurement()
    for j, matrix in enumerate(trajectory.matrices):
        rms = trajectory.weight_rms[:, j]
        initial = float(rms[0])
        try:
            settled = equilibrium(optimizer, initial_rms=initial)
            window = equilibrium_window(optimizer, schedule, trajectory.steps, initial_rms=initial)
        except InvalidParameter:  # no weight decay, or weights that vanished: nothing settles
            rows.append({"matrix": matrix, "norm_drift": float(np.max(np.abs(rms / max(initial, 1e-300) - 1)))})
            continue
        row: dict[str, Any] = {
            "matrix": matrix,
            "norm_drift": float(np.max(np.abs(rms / rms[0] - 1))),
            "predicted_angular_update": settled.angular_update,
            "predicted_weight_rms": settled.weight_rms,
            "predicted_relaxation_steps": settled.relaxation_steps,
        }
        if window.any():
            row |= {
                "angular_update": float(np.mean(trajectory.angular_update[window, j])),
                "weight_rms": _root_mean_square(rms[window]),
                "update_rms": _root_mean_square(trajectory.update_rms[window, j]),
            }
            if isinstance(optimizer, AdamW):
                row["predicted_weight_rms_from_update"] = float(
                    adamw.equilibrium_rms(
                        optimizer.learning_rate,
                        optimizer.weight_decay,
                        optimizer.beta1,
                        update_rms=_root_mean_square(trajectory.update_rms[window, j]),
                    )
                )
                squared = rms[fit_range] ** 2
                if _far_from(squared[0], row["weight_rms"] ** 2):
                    drive = trajectory.update_rms[fit_range, j] ** 2
                    row["relaxation_steps"] = fit_relaxation(trajectory.steps[fit_range], squared, drive)
                    row["plain_relaxation_steps"] = fit_relaxation(trajectory.steps[fit_range], squared)
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def empty_measurement() -> pd.DataFrame:
    """What `measure` gives for no matrices."""
    return pd.DataFrame(columns=COLUMNS)


def _far_from(squared_start: float, squared_settled: float) -> bool:
    return abs(math.log(squared_start / squared_settled)) >= math.log(FAR_FROM_EQUILIBRIUM)


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
