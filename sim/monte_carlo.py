r"""Scale-invariant matrices driven by gradient noise, with the optimizer's arithmetic in full.

A replica is a vector or a matrix W that starts Gaussian at a given RMS. Each step draws a gradient
(`sim.gradients`), removes its part along W, as a scale-invariant loss would, and takes one step of the optimizer in
float32, with whatever belongs to it: moments from zero, bias correction, eps, coupled or decoupled decay.

Replicas are pooled as the blocks of one large matrix (`sim.observables`). Where a replica's own norm acts on it, on the
sphere or through the gradient, a finite ``dim`` leaves a bias of order 1/dim.

What is idealised in `theory` and not here: a second moment of finite memory, eps, a gradient tangent to this W and not
to its expectation, matrices of finite size, rounding.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim import kernels, random_numbers
from sim.gradients import GradientNoise
from sim.observables import observables, pooled_with_error, root_mean_square
from sim.rules import Shape, entries_of, rule_of, step_constants
from sim.threads import threads
from theory import Optimizer, Schedule, Trajectory, record_steps
from theory.checks import require_integer, require_kind, require_number
from theory.outcome import RunOutcome
from theory.schedules import ScheduleLike, as_schedule
from theory.trajectory import FIELDS

Array = NDArray[np.float64]

# Coordinate-steps between two calls of `progress`: a fraction of a second on one core.
CHUNK = 2**27
MOST_STEPS = 2**13  # between them, which bounds the tables of constants

DEFAULT_DIM = 1024
WHITE = GradientNoise()


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A Monte Carlo run.

    Attributes
    ----------
    trajectory : one matrix, "simulated", made of all replicas; after a divergence only the records before it.
    standard_error : Monte Carlo standard errors of the same shape.
    outcome : completed; diverged, if the weights of a replica did not stay finite and above zero.
    diverged_at_step : the step t whose :math:`W_{t+1}` did not, in the first replica to go; else None.
    final_rms : weight RMS after the last step; None after a divergence.
    final_rms_standard_error : its Monte Carlo standard error.
    coordinate_steps_per_second : measured; coordinates times the steps taken, over the time in the kernel.
    """

    trajectory: Trajectory
    standard_error: Trajectory
    outcome: RunOutcome
    diverged_at_step: int | None
    final_rms: float | None
    final_rms_standard_error: float | None
    coordinate_steps_per_second: float


def simulate(
    optimizer: Optimizer,
    schedule: ScheduleLike,
    *,
    initial_rms: float,
    dim: int | None = None,
    shape: Shape | None = None,
    num_replicas: int = 64,
    noise: GradientNoise = WHITE,
    seed: int = 0,
    record_every: int = 1,
    num_threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Simulation:
    """Run ``num_replicas`` noise-driven vectors or matrices through a schedule.

    The result depends on neither ``num_threads`` nor ``progress``; one replica's numbers depend neither on the
    number of replicas nor, for optimizers that act entry by entry and coordinate by coordinate, on ``dim``.

    Parameters
    ----------
    schedule : or multipliers of the peak rate, one a step.
    initial_rms : weight RMS of every replica at the start, from 1e-12 to 1e12.
    dim : entries of a replica, at least 2; 1024 by default. Blocks of 256 are the unit of cost.
    shape : rows and columns, in place of ``dim``. Muon and MuonH need it; the shorter side is the unit of their cost,
        in steps of 16.
    num_replicas : at least 2.
    noise : law of the gradients.
    seed : from 0 to 2**32 - 1.
    record_every : thinning; the last step is always recorded.
    num_threads : at most Numba's; all of them by default.
    progress : called from time to time with the number of steps done.

    Raises
    ------
    InvalidParameter : a value outside its range, or a shape that is missing.

    Examples
    --------
    The norm of simulated weights beside the closed form. What is left between them is noise.

    >>> from sim import simulate
    >>> from theory import AdamW, Constant, predict_trajectory
    >>> optimizer, schedule = AdamW(learning_rate=0.03, weight_decay=1.0, beta2=0.999), Constant(num_steps=200)
    >>> run = simulate(optimizer, schedule, initial_rms=0.05, dim=256, record_every=100, seed=1)
    >>> theory = predict_trajectory(optimizer, schedule, initial_rms=0.05, record_every=100)
    >>> run.trajectory.weight_rms[:, 0].round(3).tolist()
    [0.05, 0.109, 0.108]
    >>> theory.weight_rms[:, 0].round(3).tolist()
    [0.05, 0.109, 0.109]
    >>> z = (run.trajectory.angular_update - theory.angular_update) / run.standard_error.angular_update
    >>> bool(abs(z).max() < 4)
    True
    """
    require_kind("optimizer", optimizer, Optimizer)
    schedule = as_schedule(schedule)
    require_kind("noise", noise, GradientNoise)
    require_number("initial_rms", initial_rms, at_least=1e-12, at_most=1e12)
    dim = require_integer("dim", entries_of(dim, shape, DEFAULT_DIM), at_least=2, at_most=2**31)
    num_replicas = require_integer("num_replicas", num_replicas, at_least=2, at_most=2**32 - 1)
    seed = require_integer("seed", seed, at_least=0, at_most=2**32 - 1)
    record_every = require_integer("record_every", record_every, at_least=1)

    steps = record_steps(schedule.num_steps, record_every)
    with threads(num_threads):
        moments, squared_norm, diverged, seconds = run(
            optimizer,
            schedule,
            steps,
            initial_rms=initial_rms,
            dim=dim,
            shape=shape,
            replicas=np.arange(num_replicas, dtype=np.int64),
            noise=noise,
            seed=seed,
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
        outcome=RunOutcome.COMPLETED if completed else RunOutcome.DIVERGED,
        diverged_at_step=None if completed else ended,
        final_rms=final_rms,
        final_rms_standard_error=final_error,
        coordinate_steps_per_second=dim * int(taken.sum()) / seconds,
    )


def run(
    optimizer: Optimizer,
    schedule: Schedule,
    steps: NDArray[np.int64],
    *,
    initial_rms: float,
    dim: int,
    shape: Shape | None,
    replicas: NDArray[np.int64],
    noise: GradientNoise,
    seed: int,
    progress: Callable[[int], None] | None,
) -> tuple[Array, Array, NDArray[np.int64], float]:
    """Moments (num_replicas, num_records, NUM_MOMENTS), final squared norms, steps of divergence, seconds."""
    num_replicas = len(replicas)
    rule, law = rule_of(optimizer, shape), noise.law()
    state = starting_state(dim, replicas, seed, initial_rms, rule, law)
    squared_norm = np.square(state.w, dtype=np.float64).sum(axis=(1, 2))
    norm, diverged = np.sqrt(squared_norm), np.full(num_replicas, -1, dtype=np.int64)
    moments = np.zeros((num_replicas, len(steps), kernels.NUM_MOMENTS))

    def advance(start: int, stop: int) -> None:
        span = np.arange(start, stop)
        slots = np.searchsorted(steps, span)
        slots[steps[np.minimum(slots, len(steps) - 1)] != span] = -1
        kernels.advance(
            num_replicas,
            state,
            dim,
            seed,
            replicas,
            start,
            step_constants(optimizer, optimizer.learning_rate * schedule.value(span + 0.5), start),
            rule,
            law,
            norm,
            slots,
            moments,
            squared_norm,
            diverged,
        )

    advance(0, 0)  # compiles, or loads what an earlier process compiled
    seconds, chunk = 0.0, min(MOST_STEPS, max(1, CHUNK // state.w.size))
    for start in range(0, schedule.num_steps, chunk):
        stop = min(start + chunk, schedule.num_steps)
        began = time.perf_counter()
        advance(start, stop)
        seconds += time.perf_counter() - began
        if progress is not None:
            progress(stop)
    return moments, squared_norm, diverged, seconds


def starting_state(
    dim: int, replicas: NDArray[np.int64], seed: int, rms: float, rule: kernels.Rule, law: kernels.Law
) -> kernels.State:
    """Gaussian weights, every replica scaled to the RMS, empty moments, and the gradients' memory."""
    w = _gaussian(dim, replicas, seed, 0)
    squares = np.square(w, dtype=np.float64).sum(axis=(1, 2), keepdims=True)
    w = (w * (rms * np.sqrt(dim / squares))).astype(np.float32)
    none = np.zeros((len(replicas), 0, random_numbers.BLOCK), dtype=np.float32)
    return kernels.State(
        w=w,
        m=np.zeros_like(w),
        v=np.zeros_like(w) if rule.family == kernels.ADAM else none,
        noise=_gaussian(dim, replicas, seed, kernels.STARTS) if law.autocorrelation else none,
        signal=_gaussian(dim, replicas, seed, kernels.STARTS + 1) if law.signal else none,
    )


def _gaussian(dim: int, replicas: NDArray[np.int64], seed: int, draw: int) -> NDArray[np.float32]:
    """(num_replicas, num_blocks, BLOCK) float32, padded with zeros."""
    x = np.empty((len(replicas), -(-dim // random_numbers.BLOCK), random_numbers.BLOCK), dtype=np.float32)
    random_numbers.normal(len(x), x, dim, seed, replicas, draw)
    return x


def _trajectory(steps: NDArray[np.int64], fields: Array) -> Trajectory:
    columns = {name: values[:, None] for name, values in zip(FIELDS, fields, strict=True)}
    return Trajectory(steps=steps, matrices=("simulated",), **columns)
