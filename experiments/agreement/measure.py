r"""Measured trajectories against the theory: equilibrium, update RMS and relaxation, matrix by matrix.

Rules, stated once and applied to measurement and simulation alike:

- **Equilibrium window**: records at the peak learning rate at which the theory of the matrix's network, started from
  its own initial RMS, is within 1 % of its equilibrium RMS for good.
- **Relaxation time**: least squares on the squared weight RMS from the end of warmup s on, of

  .. math:: \rho_t = a\,e^{-(t-s)/\tau} + b \int_s^t e^{-(t-t')/\tau}\, U_{t'}^2\, dt'

  with a, b and tau free and U the measured update RMS, which drifts while a network learns and takes the
  equilibrium with it. No theory goes in. With U held constant this is the plain exponential approach, given too.
- **Far enough from equilibrium**: a relaxation time is fitted only for a matrix whose squared RMS at the end of
  warmup is at least twice, or at most half, of that in the equilibrium window.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import stdtrit

from theory import AdamH, AdamW, InvalidParameter, Schedule, Trajectory, equilibrium, predict
from theory.momentum import startup_steps, stationary_update_rms
from theory.networks import WHITE_NOISE, Network
from theory.recursion import affine_recursion

SETTLED_WITHIN = 0.01
FAR_FROM_EQUILIBRIUM = 2.0
FLAT = 1e-9  # relative effect of a relaxation time below which rounding decides

COLUMNS = (
    "matrix",
    *(
        f"{prefix}{name}"
        for prefix in ("", "predicted_")
        for name in ("angular_update", "weight_rms", "relaxation_steps")
    ),
    "relaxation_low",
    "relaxation_high",
    "plain_relaxation_steps",
    "update_rms",
    "predicted_weight_rms_from_update",
    "norm_drift",
)

Array = NDArray[np.float64]
ComparedOptimizer = AdamW | AdamH  # those whose runs are read against the theory


def equilibrium_window(
    optimizer: ComparedOptimizer,
    schedule: Schedule,
    steps: NDArray[np.int64],
    *,
    initial_rms: float,
    network: Network = WHITE_NOISE,
) -> NDArray[np.bool_]:
    """Which records count as equilibrium; AdamH, with no norm to relax, from ten momentum memories on."""
    if isinstance(optimizer, AdamW):
        transient = predict(
            optimizer, schedule, initial_rms=initial_rms, tolerance=SETTLED_WITHIN, network=network
        ).transient_steps
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

    def squared_error(log_tau: Array) -> Array:
        """Of the best a and b at each of (num_taus,) candidates."""
        relaxing, driven = _basis(elapsed, drive, np.exp(log_tau))
        relaxing = relaxing / np.linalg.norm(relaxing, axis=0)
        driven = driven - relaxing * (relaxing * driven).sum(axis=0)
        driven = driven / np.linalg.norm(driven, axis=0)
        left = squared_rms[:, None] - relaxing * (squared_rms @ relaxing)
        left = left - driven * (driven * left).sum(axis=0)
        return np.asarray((left**2).sum(axis=0), np.float64)

    grid = np.linspace(np.log(elapsed[1] / 2), np.log(10 * elapsed[-1]), 100)
    best = int(np.argmin(squared_error(grid)))
    if best in (0, len(grid) - 1):
        return None
    bounds = (grid[best - 1], grid[best + 1])
    found = minimize_scalar(lambda value: float(squared_error(np.array([value]))[0]), bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def relaxation_interval(
    steps: ArrayLike,
    squared_rms: Array,
    relaxation_steps: float,
    squared_update_rms: Array | None = None,
    level: float = 0.95,
) -> tuple[float, float]:
    r"""Interval of a relaxation time from `fit_relaxation`, to which the same arrays were given.

    Derived here. What noise adds to the squared RMS is forgotten at the rate of everything else in it, so residuals a
    time :math:`\Delta` apart correlate as :math:`e^{-\Delta/\tau}`; their size follows from what is new in each. With
    this covariance :math:`\Sigma` and the derivatives J of the curve in a, b and :math:`\ln\tau`, the least-squares fit
    has the covariance :math:`(J^TJ)^{-1}J^T\Sigma J(J^TJ)^{-1}`. A signal that changes more slowly than
    :math:`\tau` is not in it. Infinite where the records say nothing of :math:`\tau`.
    """
    elapsed = np.asarray(steps, dtype=np.float64)
    elapsed = elapsed - elapsed[0]
    drive = np.ones_like(elapsed) if squared_update_rms is None else squared_update_rms

    def basis(log_tau: float) -> Array:
        return np.concatenate(_basis(elapsed, drive, np.exp([log_tau])), axis=1)

    at, step = math.log(relaxation_steps), 1e-4
    coefficients = np.linalg.lstsq(basis(at), squared_rms, rcond=None)[0]
    residual = squared_rms - basis(at) @ coefficients
    slope = (basis(at + step) - basis(at - step)) @ coefficients / (2 * step)
    jacobian = np.column_stack([basis(at), slope])
    freedom = len(elapsed) - jacobian.shape[1]
    if freedom < 1 or np.abs(slope).max() < FLAT * np.abs(squared_rms).max():
        return 0.0, math.inf
    kept = np.exp(-np.diff(elapsed) / relaxation_steps)
    # stationary variance, from each residual given the one before
    variance = float(np.sum((residual[1:] - kept * residual[:-1]) ** 2 / (1 - kept**2))) / freedom
    covariance = variance * np.exp(-np.abs(elapsed[:, None] - elapsed) / relaxation_steps)
    pull = np.linalg.pinv(jacobian)[2]
    error = math.sqrt(max(float(pull @ covariance @ pull), 0.0)) * float(stdtrit(freedom, (1 + level) / 2))
    return (relaxation_steps * math.exp(-error), relaxation_steps * math.exp(error)) if error < 50 else (0.0, math.inf)


def _basis(elapsed: Array, drive: Array, relaxation_steps: Array) -> tuple[Array, Array]:
    """What remains of the start, and the response to ``drive``, (num_records, num_taus) each; the latter exact for a
    drive that is constant (at the mean of its ends) between records."""
    kept = np.exp(-np.diff(elapsed)[:, None] / relaxation_steps)
    gained = (1 - kept) * ((drive[:-1] + drive[1:]) / 2)[:, None]
    relaxing = np.exp(-elapsed[:, None] / relaxation_steps)
    return relaxing, affine_recursion(kept, gained, np.zeros(len(relaxation_steps)))


def _white_noise(matrix: str) -> Network:
    return WHITE_NOISE


def measure(
    trajectory: Trajectory,
    optimizer: ComparedOptimizer,
    schedule: Schedule,
    network_of: Callable[[str], Network] = _white_noise,
) -> pd.DataFrame:
    """One row per matrix: what was measured at equilibrium, and what theory says; NaN where undefined.

    Columns: ``matrix``; measured ``angular_update``, ``weight_rms``, ``update_rms``, ``relaxation_steps`` with its
    95 % interval ``relaxation_low, relaxation_high``, and ``plain_relaxation_steps`` (with constant U); ``predicted_*``
    for the same; ``predicted_weight_rms_from_update`` (AdamW: with the measured update RMS put in); ``norm_drift``, the
    largest relative change of the RMS from the first record. ``network_of`` tells a matrix's network by its name.
    """
    fit_range = (trajectory.steps >= schedule.warmup_steps) & (trajectory.steps < schedule.peak_end)
    rows: list[dict[str, Any]] = []
    if not len(trajectory.steps):
        return empty_measurement()
    for j, matrix in enumerate(trajectory.matrices):
        rms = trajectory.weight_rms[:, j]
        initial, network = float(rms[0]), network_of(matrix)
        try:
            settled = equilibrium(optimizer, initial_rms=initial, network=network)
            window = equilibrium_window(optimizer, schedule, trajectory.steps, initial_rms=initial, network=network)
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
                ratio = row["update_rms"] / float(stationary_update_rms(optimizer.beta1))
                row["predicted_weight_rms_from_update"] = equilibrium(
                    optimizer, initial_rms=initial, network=replace(network, direction_ratio=ratio)
                ).weight_rms
                squared = rms[fit_range] ** 2
                if _far_from(squared[0], row["weight_rms"] ** 2):
                    steps, drive = trajectory.steps[fit_range], trajectory.update_rms[fit_range, j] ** 2
                    row["relaxation_steps"] = found = fit_relaxation(steps, squared, drive)
                    if found is not None:
                        low, high = relaxation_interval(steps, squared, found, drive)
                        row |= {"relaxation_low": low, "relaxation_high": high}
                    row["plain_relaxation_steps"] = fit_relaxation(steps, squared)
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def empty_measurement() -> pd.DataFrame:
    """What `measure` gives for no matrices."""
    return pd.DataFrame(columns=COLUMNS)


def _far_from(squared_start: float, squared_settled: float) -> bool:
    return abs(math.log(squared_start / squared_settled)) >= math.log(FAR_FROM_EQUILIBRIUM)


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))
