"""Simulations as runs: a config that can be stored, and the comparison of its result with the theory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from theory import Schedule, Trajectory, predict_trajectory
from theory.momentum import startup_steps
from theory.optimizers import RunnableOptimizer, require_runnable
from theory.parameters import require_integer, require_number

if TYPE_CHECKING:
    from sim import Simulation

SMALLEST_CORRECTED_BETA2 = 0.1  # below it `theory.second_moment` gives no correction
COMPARED = ("weight_rms", "angular_update")


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """One Monte Carlo run of a noise-driven matrix; see `sim.simulate` for the parameters."""

    optimizer: RunnableOptimizer
    schedule: Schedule
    initial_rms: float
    dim: int = 1024
    num_replicas: int = 64
    seed: int = 0
    record_every: int = 1

    def __post_init__(self) -> None:
        require_runnable(self.optimizer)
        require_number("initial_rms", self.initial_rms, above=0)
        require_integer("dim", self.dim, at_least=2)
        require_integer("num_replicas", self.num_replicas, at_least=2)
        require_integer("seed", self.seed, at_least=0, at_most=2**32 - 1)
        require_integer("record_every", self.record_every, at_least=1)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Simulation against theory over weight RMS and angular update at the compared steps.

    Attributes
    ----------
    max_abs_z : largest difference in Monte Carlo standard errors.
    max_relative_error : largest relative difference.
    max_relative_standard_error : largest relative Monte Carlo standard error.
    mean_relative_bias : per quantity, mean signed relative difference, simulation minus theory.
    first_step : comparisons start here, ten memories of the first moment after the start.
    """

    max_abs_z: float
    max_relative_error: float
    max_relative_standard_error: float
    mean_relative_bias: dict[str, float]
    first_step: int


def run_simulation(config: SimulationConfig, *, num_threads: int | None = None) -> Simulation:
    """Simulate a config; Numba is imported here."""
    from sim import simulate

    return simulate(
        config.optimizer,
        config.schedule,
        initial_rms=config.initial_rms,
        dim=config.dim,
        num_replicas=config.num_replicas,
        seed=config.seed,
        record_every=config.record_every,
        num_threads=num_threads,
    )


def compare_with_theory(config: SimulationConfig, trajectory: Trajectory, standard_error: Trajectory) -> Agreement:
    """Compare records from ``10/(1-beta1)`` on, or all records of a shorter run.

    A record whose standard error is zero (a norm held by construction) counts in the relative error only.
    """
    predicted = predict_trajectory(
        config.optimizer,
        config.schedule,
        initial_rms=config.initial_rms,
        finite_beta2=config.optimizer.beta2 >= SMALLEST_CORRECTED_BETA2,
    )
    predicted = predicted.at(trajectory.steps)
    first_step = startup_steps(config.optimizer.beta1)
    if trajectory.steps[-1] < first_step:
        first_step = 0
    kept = trajectory.steps >= first_step
    z, relative, relative_error = [], [], []
    bias: dict[str, float] = {}
    for field in COMPARED:
        theory, simulated, error = (getattr(each, field)[kept, 0] for each in (predicted, trajectory, standard_error))
        difference = simulated - theory
        noisy = error > 1e-9 * theory
        z.append(difference[noisy] / error[noisy])
        relative.append(difference / theory)
        relative_error.append(error / theory)
        bias[field] = float(np.mean(difference / theory))
    return Agreement(
        max_abs_z=_largest(z),
        max_relative_error=_largest(relative),
        max_relative_standard_error=_largest(relative_error),
        mean_relative_bias=bias,
        first_step=first_step,
    )


def _largest(parts: list[NDArray[np.float64]]) -> float:
    return float(np.max(np.abs(np.concatenate(parts)), initial=0.0))
