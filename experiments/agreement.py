r"""Measured trajectories against the theory: equilibrium, update RMS and relaxation, matrix by matrix.

Rules, stated once and applied to measurement and simulation alike:

- **Equilibrium window**: records at the peak learning rate after four relaxation times
  (:math:`2\kappa_t \ge 4`: at most 1 % of the start is left in the weight RMS).
- **Relaxation time**: least squares of :math:`\rho_t = \rho_\infty + (\rho_s - \rho_\infty) e^{-(t-s)/\tau}` on the
  squared weight RMS from the end of warmup on, all three constants free. No theory goes in.
- **Far enough from equilibrium**: a relaxation time is fitted only for a matrix whose squared RMS at the end of
  warmup differs from that in the equilibrium window by at least half of the latter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from theory import AdamW, Optimizer, Schedule, Trajectory, adamw, equilibrium

SETTLED_RELAXATIONS = 4.0
FAR_FROM_EQUILIBRIUM = 0.5

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RelaxationFit:
    """Squared RMS relaxing from ``start`` to ``limit`` in ``relaxation_steps``."""

    relaxation_steps: float
    start: float
    limit: float


def equilibrium_window(optimizer: Optimizer, schedule: Schedule, steps: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which records count as equilibrium; AdamH, with no norm to relax, from ten momentum memories on."""
    at_peak = (steps >= schedule.warmup_steps) & (steps < schedule.peak_end)
    if isinstance(optimizer, AdamW):
        forgotten = 2 * schedule.kappa(
            steps, learning_rate=optimizer.learning_rate, weight_decay=optimizer.weight_decay
        )
        return at_peak & (forgotten >= SETTLED_RELAXATIONS)
    return at_peak & (steps >= schedule.warmup_steps + 10 / (1 - optimizer.beta1))


def fit_relaxation(steps: Array, squared_rms: Array) -> RelaxationFit | None:
    """Fit an exponential approach; None where no interior minimum exists (no relaxation to be seen).

    For a given time constant the other two parameters are linear, so the search is one-dimensional.
    """
    elapsed = np.asarray(steps, dtype=np.float64) - steps[0]
    if len(elapsed) < 5:
        return None

    def linear_fit(log_tau: float) -> tuple[float, Array]:
        basis = np.stack([np.ones_like(elapsed), np.exp(-elapsed / np.exp(log_tau))], axis=1)
        coefficients = np.linalg.lstsq(basis, squared_rms, rcond=None)[0]
        return float(np.sum((basis @ coefficients - squared_rms) ** 2)), coefficients

    grid = np.linspace(np.log(elapsed[1] / 2), np.log(10 * elapsed[-1]), 100)
    errors = [linear_fit(value)[0] for value in grid]
    best = int(np.argmin(errors))
    if best in (0, len(grid) - 1):
        return None
    log_tau = minimize_scalar(
        lambda value: linear_fit(value)[0], bounds=(grid[best - 1], grid[best + 1]), method="bounded"
    ).x
    limit, excess = linear_fit(log_tau)[1]
    return RelaxationFit(relaxation_steps=float(np.exp(log_tau)), start=float(limit + excess), limit=float(limit))


def measure(trajectory: Trajectory, optimizer: Optimizer, schedule: Schedule) -> pd.DataFrame:
    """One row per matrix: what was measured at equilibrium, and what theory says; NaN where undefined.

    Columns: ``matrix``; ``angular_update``, ``weight_rms``, ``update_rms``, ``relaxation_steps`` (measured);
    ``predicted_*`` for the same, ``predicted_weight_rms_from_update`` (AdamW: with the measured update RMS put
    in); ``norm_drift`` (largest relative change of the RMS from the first record).
    """
    window = equilibrium_window(optimizer, schedule, trajectory.steps)
    fit_range = (trajectory.steps >= schedule.warmup_steps) & (trajectory.steps < schedule.peak_end)
    rows = []
    for j, matrix in enumerate(trajectory.matrices):
        rms = trajectory.weight_rms[:, j]
        settled = equilibrium(optimizer, initial_rms=float(rms[0]))
        row: dict[str, object] = {
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
                row["relaxation_steps"] = _relaxation_steps(
                    trajectory.steps[fit_range].astype(np.float64), rms[fit_range] ** 2, row["weight_rms"]
                )
        rows.append(row)
    columns = [
        "matrix",
        *(f"{prefix}{name}" for prefix in ("", "predicted_") for name in _QUANTITIES),
        "update_rms",
        "predicted_weight_rms_from_update",
        "norm_drift",
    ]
    return pd.DataFrame(rows).reindex(columns=columns)


_QUANTITIES = ("angular_update", "weight_rms", "relaxation_steps")


def _relaxation_steps(steps: Array, squared_rms: Array, settled_rms: object) -> float:
    assert isinstance(settled_rms, float)
    if abs(squared_rms[0] - settled_rms**2) < FAR_FROM_EQUILIBRIUM * settled_rms**2:
        return float("nan")
    fit = fit_relaxation(steps, squared_rms)
    return float("nan") if fit is None else fit.relaxation_steps


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
