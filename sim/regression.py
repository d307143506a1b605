r"""Training on the regression of `theory.regression`: thousands of settings in one call.

Every run does what its optimizer would do, in float32, on batches drawn exactly: only the cost of a step does not
depend on the batch size. The random numbers are a function of the seed, the problem's sizes, the step and the
feature. So runs that differ in learning rate, decay, initial norm or optimizer see the same data and can be compared
in pairs; runs of another model size or length are independent. No result depends on the number of threads, on
what else is in the sweep, or on its order.

The weight matrix has one row, so Muon's polar factor is the momentum over its norm.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numba import get_num_threads
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

from sim import regression_kernels as kernels
from sim.monte_carlo import CHUNK
from sim.observables import observables
from sim.random_numbers import BLOCK
from sim.rules import SMALLEST_EPS
from sim.threads import threads
from theory import SGDM, AdamC, AdamH, AdamW, InvalidParameter, Muon, MuonH, Schedule, Trajectory, record_steps
from theory.checks import require_integer, require_number
from theory.outcome import RunOutcome
from theory.regression import PowerLawRegression
from theory.trajectory import FIELDS

Array = NDArray[np.float64]

RegressionOptimizer = AdamW | AdamH | AdamC | SGDM | Muon | MuonH

LARGEST_STATE = 2**22  # features times runs held at once: 50 MB of weights and averages


@dataclass(frozen=True, kw_only=True)
class RegressionRun:
    """One setting.

    Parameters
    ----------
    problem : what is learned.
    optimizer : with its peak learning rate. That of `AdamH` and `MuonH` is a fraction of the norm.
    schedule : its length is that of the run.
    initial_rms : weight RMS at the start, from 1e-6 to 1e6.
    seed : of the initial direction and the data, from 0 to 2**32 - 1.
    multipliers : (num_steps,) in place of the schedule's, at least 0; for paths that no schedule has.

    Raises
    ------
    InvalidParameter : a value outside its range.
    """

    problem: PowerLawRegression
    optimizer: RegressionOptimizer
    schedule: Schedule
    initial_rms: float
    seed: int = 0
    multipliers: Array | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for name, kind in (("problem", PowerLawRegression), ("schedule", Schedule)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidParameter(name, getattr(self, name), f"a {getattr(kind, '__name__', 'schedule')}")
        if not isinstance(self.optimizer, RegressionOptimizer):
            raise InvalidParameter("optimizer", self.optimizer, "one of AdamW, AdamH, AdamC, SGDM, Muon, MuonH")
        if getattr(self.optimizer, "decay", "pytorch") != "pytorch":
            raise InvalidParameter("decay", self.optimizer.decay, "pytorch in this model")  # type: ignore[union-attr]
        require_number("initial_rms", self.initial_rms, at_least=1e-6, at_most=1e6)
        require_integer("seed", self.seed, at_least=0, at_most=2**32 - 1)
        if self.multipliers is not None:
            given = np.asarray(self.multipliers)
            if given.shape != (self.schedule.num_steps,) or not np.all(np.isfinite(given) & (given >= 0)):
                allowed = f"{self.schedule.num_steps} finite numbers of at least 0, one per step"
                raise InvalidParameter("multipliers", f"shape {given.shape}", allowed)

    @property
    def num_tokens(self) -> int:
        """Samples seen."""
        return self.problem.batch_size * self.schedule.num_steps


@dataclass(frozen=True, kw_only=True)
class RegressionResult:
    """What a run leaves behind.

    Attributes
    ----------
    final_loss : exact population loss after the last step; NaN after a divergence.
    losses : (num_records,) the same before each recorded step.
    trajectory : one matrix, "simulated".
    mean_angular_update : radians per step, mean over the records.
    outcome : completed; diverged, if the weights did not stay finite and above zero.
    diverged_at_step : the step after which they did not, else None.
    """

    final_loss: float
    losses: Array
    trajectory: Trajectory
    mean_angular_update: float
    outcome: RunOutcome
    diverged_at_step: int | None


def simulate_regression(run: RegressionRun, *, record_every: int = 1) -> RegressionResult:
    """One run; `sweep` for many."""
    ((_, result),) = sweep([run], num_records=None, record_every=record_every)
    return result


def sweep(
    runs: Sequence[RegressionRun],
    *,
    num_records: int | None = 32,
    record_every: int | None = None,
    num_threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, RegressionResult]]:
    """Run them all, in parallel over cores; yields (place in ``runs``, result) as they finish.

    Parameters
    ----------
    num_records : about this many records, evenly spaced over each run; or give their distance ``record_every``.
    num_threads : at most Numba's; all of them by default.
    progress : called from time to time with the number of feature-steps done since the call before; the whole is the
        sum of ``num_features * num_steps`` over the runs.

    Raises `InvalidParameter` for a number of records or threads outside its range, before anything is run.
    """
    for name, value in (("num_records", num_records), ("record_every", record_every)):
        if value is not None:
            require_integer(name, value, at_least=1)
    return _sweep(runs, num_records, record_every, num_threads, progress)


def _sweep(
    runs: Sequence[RegressionRun],
    num_records: int | None,
    record_every: int | None,
    num_threads: int | None,
    progress: Callable[[int], None] | None,
) -> Iterator[tuple[int, RegressionResult]]:
    groups: dict[tuple[PowerLawRegression, int], list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault((run.problem, run.schedule.num_steps), []).append(place)
    for (problem, num_steps), places in groups.items():
        every = record_every or max(1, num_steps // (num_records or num_steps))
        size = max(1, LARGEST_STATE // (BLOCK * -(-problem.num_features // BLOCK)))
        for first in range(0, len(places), size):
            some = places[first : first + size]
            with threads(num_threads):
                results = _run_group(problem, num_steps, [runs[place] for place in some], every, progress)
            yield from zip(some, results, strict=True)


def _run_group(
    problem: PowerLawRegression,
    num_steps: int,
    runs: Sequence[RegressionRun],
    record_every: int,
    progress: Callable[[int], None] | None,
) -> list[RegressionResult]:
    """Runs of one problem and one length."""
    steps = record_steps(num_steps, record_every)
    stream = zlib.crc32(f"{problem.num_features} {problem.batch_size} {num_steps}".encode())
    seeds = np.array([run.seed for run in runs], dtype=np.int64)
    distinct, batch_of = np.unique(seeds, return_inverse=True)
    w = _initial_weights(problem.num_features, seeds, stream, np.array([run.initial_rms for run in runs]))
    m, v = np.zeros_like(w), np.zeros_like(w)
    norms = np.sqrt(np.square(w, dtype=np.float64).sum(axis=(1, 2)))
    recorded = np.zeros((len(runs), len(steps), kernels.NUM_RECORDED))
    excess, diverged = np.full(len(runs), np.nan), np.full(len(runs), -1, dtype=np.int64)
    families = np.array([_family(run.optimizer) for run in runs])
    on_sphere = np.array([isinstance(run.optimizer, AdamH | MuonH) for run in runs])
    constants = np.stack([_constants(run.optimizer, norm) for run, norm in zip(runs, norms, strict=True)])
    shrink_factors = np.array([_shrink_factor(run.optimizer) for run in runs])[:, None]
    follows_rate = np.array([isinstance(run.optimizer, AdamC) for run in runs])[:, None]
    peaks = np.array([run.optimizer.learning_rate for run in runs])[:, None]
    columns = [_blocks(x) for x in (problem.spectrum, np.sqrt(problem.spectrum), problem.target)]

    chunk = max(1, CHUNK // w.size)
    for start in range(0, num_steps, chunk):
        stop = min(start + chunk, num_steps)
        span = np.arange(start, stop)
        multipliers = np.stack([_multipliers(run, span) for run in runs])
        rates = peaks * multipliers
        slots = np.searchsorted(steps, span)
        slots[steps[np.minimum(slots, len(steps) - 1)] != span] = -1
        kernels.advance(
            len(w),
            w,
            m,
            v,
            problem.num_features,
            seeds,
            stream,
            start,
            rates,
            rates * shrink_factors * np.where(follows_rate, multipliers, 1.0),
            families,
            on_sphere,
            constants,
            batch_numbers(distinct, stream, span, problem.batch_size),
            batch_of,
            float(problem.batch_size),
            2 * problem.least_loss,
            problem.gain,
            *columns,
            problem.basis == "mixed",
            slots,
            recorded,
            excess,
            diverged,
        )
        if progress is not None:
            progress(len(runs) * problem.num_features * (stop - start))
    return [
        _result(problem, steps, recorded[r], float(excess[r]), int(diverged[r]), num_steps) for r in range(len(runs))
    ]


def batch_numbers(seeds: NDArray[np.int64], stream: int, steps: NDArray[np.int64], batch_size: int) -> Array:
    """The three numbers that stand for a batch in `theory.regression`; (num_seeds, num_steps, 3)."""
    u = np.empty((len(seeds), len(steps), 3))
    kernels.uniform(len(u), u, seeds, stream, steps)
    drawn = np.empty_like(u)
    drawn[..., kernels.CHI_B] = _chi_square(batch_size, u[..., 0])
    drawn[..., kernels.CHI_REST] = _chi_square(batch_size - 1, u[..., 1]) if batch_size > 1 else 0.0
    drawn[..., kernels.NORMAL] = ndtri(u[..., 2])
    return drawn


def _chi_square(degrees: int, u: Array) -> Array:
    """Quantiles of chi square, on the threads that the kernels use: each is a microsecond, and SciPy frees the GIL."""
    parts = np.array_split(u.ravel(), get_num_threads())
    with ThreadPoolExecutor(len(parts)) as pool:
        quantiles = list(pool.map(gammaincinv, [degrees / 2] * len(parts), parts))
    return 2 * np.concatenate(quantiles).reshape(u.shape)


def _initial_weights(num_features: int, seeds: NDArray[np.int64], stream: int, rms: Array) -> NDArray[np.float32]:
    """Gaussian directions; the same for runs that share a seed."""
    w = np.empty((len(seeds), -(-num_features // BLOCK), BLOCK), dtype=np.float32)
    kernels.initial(len(w), w, num_features, seeds, stream)
    squares = np.square(w, dtype=np.float64).sum(axis=(1, 2), keepdims=True)
    return (w * (rms[:, None, None] * np.sqrt(num_features / squares))).astype(np.float32)


def _blocks(x: Array) -> NDArray[np.float32]:
    """(num_features,) as blocks, padded with zeros."""
    blocks = np.zeros((-(-len(x) // BLOCK), BLOCK), dtype=np.float32)
    blocks.ravel()[: len(x)] = x
    return blocks


def _multipliers(run: RegressionRun, steps: NDArray[np.int64]) -> Array:
    """Learning rate over the peak at these steps; the memory of a sweep grows with them, not with the run."""
    return run.schedule.value(steps + 0.5) if run.multipliers is None else np.asarray(run.multipliers, float)[steps]


def _family(optimizer: RegressionOptimizer) -> int:
    if isinstance(optimizer, AdamW | AdamH | AdamC):
        return kernels.ADAM
    return kernels.MOMENTUM if isinstance(optimizer, SGDM) else kernels.NORMALISED


def _constants(optimizer: RegressionOptimizer, norm: float) -> Array:
    """The row that `sim.regression_kernels` reads."""
    row = np.zeros(kernels.NUM_CONSTANTS)
    row[kernels.BETA1], row[kernels.NORM], row[kernels.GAIN1] = optimizer.beta1, norm, 1.0
    if isinstance(optimizer, AdamW | AdamH | AdamC):
        row[kernels.BETA2], row[kernels.EPS] = optimizer.beta2, max(optimizer.eps, SMALLEST_EPS)
    elif isinstance(optimizer, SGDM):
        row[kernels.COUPLED] = 0.0 if optimizer.decoupled else optimizer.weight_decay
    else:
        row[kernels.GAIN1], row[kernels.NESTEROV] = 1 - optimizer.beta1, float(optimizer.nesterov)
    return row


def _shrink_factor(optimizer: RegressionOptimizer) -> float:
    """What multiplies the learning rate to give the decoupled decay of a step."""
    if isinstance(optimizer, AdamH | MuonH) or (isinstance(optimizer, SGDM) and not optimizer.decoupled):
        return 0.0
    return optimizer.weight_decay


def _result(
    problem: PowerLawRegression,
    steps: NDArray[np.int64],
    recorded: Array,
    excess: float,
    diverged: int,
    num_steps: int,
) -> RegressionResult:
    usable = np.isfinite(recorded).all(axis=1) & (steps < (num_steps if diverged < 0 else diverged))
    ended = int(min([num_steps if diverged < 0 else diverged, *steps[~usable][:1]]))
    kept = recorded[steps < ended]
    completed = ended == num_steps
    fields = observables(kept[:, : kernels.EXCESS], problem.num_features)
    by_name = {name: values[:, None] for name, values in zip(FIELDS, fields, strict=True)}
    angles = by_name["angular_update"]
    return RegressionResult(
        final_loss=excess + problem.least_loss if completed else np.nan,
        losses=kept[:, kernels.EXCESS] + problem.least_loss,
        trajectory=Trajectory(steps=steps[steps < ended], matrices=("simulated",), **by_name),
        mean_angular_update=float(angles.mean()) if len(angles) else np.nan,
        outcome=RunOutcome.COMPLETED if completed else RunOutcome.DIVERGED,
        diverged_at_step=None if completed else ended,
    )
