r"""Scale-invariant matrices driven by gradient noise, with the optimizer's arithmetic in full.

A replica is a vector W of ``dim`` entries that starts Gaussian at a given RMS. Each step draws
:math:`g \sim N(0, 1)` per entry, removes its part along W, as a scale-invariant loss would, and takes one step of
AdamW (moments from zero, bias correction, eps, decoupled decay; float32) or of AdamH.

All replicas count as the blocks of one large matrix: their second moments are added up before anything
nonlinear (a root, an angle) is taken, so that a finite ``dim`` leaves no bias of the root. Only AdamH, which
normalises every replica by itself, keeps one of order 1/dim. The Monte Carlo standard error is the jackknife's, one
replica left out at a time.

What is idealised in `theory` and not here: beta2 < 1, eps, a gradient tangent to this W and not to its
expectation, rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sim import kernels, random_numbers
from sim.threads import threads
from theory import AdamH, AdamW, InvalidParameter, Schedule, Trajectory, record_steps
from theory.parameters import require_integer, require_number
from theory.trajectory import FIELDS

Array = NDArray[np.float64]

# Coordinate-steps between two calls of `progress`: a fraction of a second on one core.
CHUNK = 2**27

# Gradient entries of exactly 0 with eps = 0 would give 0/0; this is far below any gradient drawn here.
SMALLEST_EPS = 1e-30


class SimulationOutcome(Enum):
    """How a simulation ended."""

    COMPLETED = "completed"
    DIVERGED = "diverged"


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A Monte Carlo run.

    Attributes
    ----------
    trajectory : one matrix, "simulated", made of all replicas; after a divergence only the records before it.
    standard_error : Monte Carlo standard errors of the same shape.
    outcome : whether the weights of every replica stayed finite and above zero.
    diverged_at_step : the step t whose :math:`W_{t+1}` did not, in the first replica to go; else None.
    final_rms : weight RMS after the last step; None after a divergence.
    final_rms_standard_error : its Monte Carlo standard error.
    coordinate_steps_per_second : measured; coordinates times the steps taken, over the time in the kernel.
    """

    trajectory: Trajectory
    standard_error: Trajectory
    outcome: SimulationOutcome
    diverged_at_step: int | None
    final_rms: float | None
    final_rms_standard_error: float | None
    coordinate_steps_per_second: float


def simulate(
    optimizer: AdamW | AdamH,
    schedule: Schedule,
    *,
    initial_rms: float,
    dim: int = 1024,
    num_replicas: int = 64,
    seed: int = 0,
    record_every: int = 1,
    num_threads: int | None = None,
    gradient_scale: Literal["constant", "inverse-norm"] = "constant",
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Run ``num_replicas`` noise-driven vectors through a schedule.

    The result depends on neither ``num_threads`` nor ``progress``; one replica's numbers depend neither on the
    number of replicas nor, coordinate by coordinate, on ``dim``.

    Parameters
    ----------
    initial_rms : weight RMS of every replica at the start, from 1e-12 to 1e12.
    dim : coordinates of a replica, at least 2. Blocks of 256 are the unit of cost.
    num_replicas : at least 2.
    seed : from 0 to 2**32 - 1.
    record_every : thinning; the last step is always recorded.
    num_threads : at most Numba's; all of them by default.
    gradient_scale : "inverse-norm" multiplies gradients by the initial norm over the present one, which is how
        the gradient of a scale-invariant loss depends on it.
    progress : called from time to time with the number of steps done.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """
    require_number("initial_rms", initial_rms, at_least=1e-12, at_most=1e12)
    require_integer("dim", dim, at_least=2, at_most=2**31)
    require_integer("num_replicas", num_replicas, at_least=2, at_most=2**32 - 1)
    require_integer("seed", seed, at_least=0, at_most=2**32 - 1)
    require_integer("record_every", record_every, at_least=1)
    if gradient_scale not in ("constant", "inverse-norm"):
        raise InvalidParameter("gradient_scale", gradient_scale, "constant or inverse-norm")

    steps = record_steps(schedule.num_steps, record_every)
    with threads(num_threads):
        moments, squared_norm, diverged, seconds = run(
            optimizer,
            schedule,
            steps,
            initial_rms=initial_rms,
            dim=dim,
            replicas=np.arange(num_replicas, dtype=np.int64),
            seed=seed,
            inverse_norm=gradient_scale == "inverse-norm",
            progress=progress,
        )
    # The sums of a record may overflow one step before those of the weights.
    overflowed = steps[~np.isfinite(moments).all(axis=(0, 2))]
    ended = int(min([schedule.num_steps, *diverged[diverged >= 0], *overflowed[:1]]))
    taken = np.where(diverged < 0, schedule.num_steps, diverged + 1)
    completed = ended == schedule.num_steps
    pooled, errors = pooled_with_error(moments[:, steps < ended], dim, observables)
    final_rms = final_error = None
    if completed:
        final, error = pooled_with_error(squared_norm[:, None, None], dim, root_mean_square)
        final_rms, final_error = float(final[0, 0]), float(error[0, 0])
    return Simulation(
        trajectory=_trajectory(steps[steps < ended], pooled),
        standard_error=_trajectory(steps[steps < ended], errors),
        outcome=SimulationOutcome.COMPLETED if completed else SimulationOutcome.DIVERGED,
        diverged_at_step=None if completed else ended,
        final_rms=final_rms,
        final_rms_standard_error=final_error,
        coordinate_steps_per_second=dim * int(taken.sum()) / seconds,
    )


def run(
    optimizer: AdamW | AdamH,
    schedule: Schedule,
    steps: NDArray[np.int64],
    *,
    initial_rms: float,
    dim: int,
    replicas: NDArray[np.int64],
    seed: int,
    inverse_norm: bool,
    progress: Callable[[int], None] | None,
) -> tuple[Array, Array, NDArray[np.int64], float]:
    """Moments (num_replicas, num_records, NUM_MOMENTS), final squared norms, steps of divergence, seconds."""
    num_replicas = len(replicas)
    w = initial_weights(dim, replicas, seed, initial_rms)
    m, v = np.zeros_like(w), np.zeros_like(w)
    norm = np.sqrt(np.square(w, dtype=np.float64).sum(axis=(1, 2)))
    moments = np.zeros((num_replicas, len(steps), kernels.NUM_MOMENTS))
    squared_norm, diverged = norm**2, np.full(num_replicas, -1, dtype=np.int64)
    rates = optimizer.learning_rate * schedule.multipliers()
    gains = np.array([1 - optimizer.beta1, 1 - optimizer.beta2, max(optimizer.eps, SMALLEST_EPS)])

    def advance(start: int, stop: int) -> None:
        span = np.arange(start, stop)
        slots = np.searchsorted(steps, span)
        slots[steps[np.minimum(slots, len(steps) - 1)] != span] = -1
        kernels.advance(
            w,
            m,
            v,
            dim,
            seed,
            replicas,
            start,
            step_constants(optimizer, rates[start:stop], start),
            gains,
            norm,
            isinstance(optimizer, AdamH),
            inverse_norm,
            slots,
            moments,
            squared_norm,
            diverged,
        )

    advance(0, 0)  # compiles, or loads what an earlier process compiled
    seconds, chunk = 0.0, max(1, CHUNK // w.size)
    for start in range(0, schedule.num_steps, chunk):
        stop = min(start + chunk, schedule.num_steps)
        began = time.perf_counter()
        advance(start, stop)
        seconds += time.perf_counter() - began
        if progress is not None:
            progress(stop)
    return moments, squared_norm, diverged, seconds


def initial_weights(dim: int, replicas: NDArray[np.int64], seed: int, rms: float) -> NDArray[np.float32]:
    """Gaussian weights, every replica scaled to the RMS; (num_replicas, num_blocks, BLOCK), padded with zeros."""
    w = np.empty((len(replicas), -(-dim // random_numbers.BLOCK), random_numbers.BLOCK), dtype=np.float32)
    random_numbers.normal(w, dim, seed, replicas, 0)
    squares = np.square(w, dtype=np.float64).sum(axis=(1, 2), keepdims=True)
    return (w * (rms * np.sqrt(dim / squares))).astype(np.float32)


def step_constants(optimizer: AdamW | AdamH, rates: Array, start: int) -> Array:
    """The table that `kernels.advance` reads, for the steps from ``start`` on at the given learning rates."""
    taken = np.arange(start, start + len(rates)) + 1.0
    table = np.empty((len(rates), kernels.NUM_CONSTANTS))
    table[:, kernels.LEARNING_RATE] = rates
    table[:, kernels.SHRINK] = rates * optimizer.weight_decay if isinstance(optimizer, AdamW) else 0.0
    table[:, kernels.UNBIAS_FIRST] = 1 / (1 - optimizer.beta1**taken)
    table[:, kernels.UNBIAS_SECOND] = 1 / np.sqrt(1 - optimizer.beta2**taken)
    return table


# From moments to observables


def observables(moments: Array, num_entries: int) -> Array:
    r"""The fields of a `Trajectory` from sums (..., NUM_MOMENTS) over ``num_entries`` entries; (5, ...).

    The angle from :math:`\|W\|\|W'\|\sin\theta = \sqrt{\|D\|^2\|W'\|^2 - \langle W', D\rangle^2}`, D the
    displacement, which keeps the digits of a small angle. The cosine of an update that underflows is NaN.
    """
    ww, wu, uu, nn, nd, dd = np.moveaxis(moments, -1, 0)
    norms = np.sqrt(ww * uu)
    by_field = {
        "weight_rms": np.sqrt(ww / num_entries),
        "angular_update": np.arctan2(np.sqrt(np.maximum(nn * dd - nd**2, 0)), nn - nd),
        "relative_update": np.sqrt(dd / ww),
        "update_rms": np.sqrt(uu / num_entries),
        "cosine": np.divide(wu, norms, out=np.full_like(wu, np.nan), where=norms > 0),
    }
    return np.stack([by_field[field] for field in FIELDS])


def root_mean_square(squares: Array, num_entries: int) -> Array:
    """Root mean square from sums of squares (..., 1); (1, ...)."""
    return np.moveaxis(np.sqrt(squares / num_entries), -1, 0)


def pooled_with_error(sums: Array, dim: int, function: Callable[[Array, int], Array]) -> tuple[Array, Array]:
    """``function`` of the sums over all replicas, and its jackknife standard error; both (fields, num_records).

    ``sums`` is (num_replicas, num_records, k); ``function`` takes sums (..., k) and the number of entries in them.
    """
    num_replicas, total = len(sums), sums.sum(axis=0)
    pooled = function(total, num_replicas * dim)
    error = np.empty_like(pooled)
    for some in np.array_split(np.arange(sums.shape[1]), sums.shape[1] // 1024 + 1):  # bounds the memory
        without_one = function(total[some] - sums[:, some], (num_replicas - 1) * dim)
        error[:, some] = np.sqrt((num_replicas - 1) * without_one.var(axis=1))
    return pooled, error


def _trajectory(steps: NDArray[np.int64], fields: Array) -> Trajectory:
    columns = {name: values[:, None] for name, values in zip(FIELDS, fields, strict=True)}
    return Trajectory(steps=steps, matrices=("simulated",), **columns)
