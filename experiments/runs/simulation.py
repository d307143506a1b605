"""Simulations as runs: a config that can be stored, and the comparison of its result with the theory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from theory import Optimizer, Schedule, Trajectory, predict_trajectory
from theory.adam_l2 import decay_per_step
from theory.checks import InvalidParameter, require_integer_field, require_number
from theory.momentum import startup_steps
from theory.optimizers import SGDM, AdamC, AdamH, AdamL2, AdamW, Muon, MuonH

if TYPE_CHECKING:
    from sim import Simulation

SMALLEST_CORRECTED_BETA2 = 0.1  # below it `theory.second_moment` gives no correction
LARGEST_DECAY_PER_STEP = 0.03  # beyond it one second moment for all entries is too coarse for Adam with L2
COMPARED = ("weight_rms", "angular_update")
RESOLVED = 64 * 2.0**-24  # radians per step: above, rounding weights to float32 moves the angle by less than 1e-4 of it


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """One Monte Carlo run of a noise-driven matrix; see `sim.simulate` for the parameters.

    ``dim`` is the number of entries, those of ``shape`` where there is one. ``gradient_rms`` is that of
    `theory.models`, and gradients depend on the norm as in `natural_scale`.
    """

    optimizer: Optimizer
    schedule: Schedule
    initial_rms: float
    dim: int = 1024
    num_replicas: int = 64
    seed: int = 0
    record_every: int = 1
    shape: tuple[int, int] | None = field(default=None, metadata={"later": True})
    gradient_rms: float = field(default=1.0, metadata={"later": True})

    def __post_init__(self) -> None:
        require_number("initial_rms", self.initial_rms, above=0)
        require_integer_field(self, "dim", at_least=2)
        if self.shape is None and isinstance(self.optimizer, Muon | MuonH):
            raise InvalidParameter("shape", None, f"rows and columns of the matrix, for {self.optimizer.name}")
        if self.shape is not None and self.dim != self.shape[0] * self.shape[1]:
            raise InvalidParameter("dim", self.dim, f"the number of entries of shape {self.shape}, or left out")
        require_integer_field(self, "num_replicas", at_least=2)
        require_integer_field(self, "seed", at_least=0, at_most=2**32 - 1)
        require_integer_field(self, "record_every", at_least=1)
        require_number("gradient_rms", self.gradient_rms, at_least=1e-12, at_most=1e12)  # what sim.GradientNoise takes


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
    largest_at_step, largest_in : where the relative difference is largest, step and quantity.
    num_unresolved : records from there on that are not compared, their update being below `RESOLVED`.
    """

    max_abs_z: float
    max_relative_error: float
    max_relative_standard_error: float
    mean_relative_bias: dict[str, float]
    first_step: int
    largest_at_step: int
    largest_in: str
    num_unresolved: int


def natural_scale(optimizer: Optimizer) -> Literal["constant", "inverse-norm"]:
    """How gradients depend on the norm in the theory; where it drops out, a constant."""
    return "inverse-norm" if isinstance(optimizer, SGDM | AdamL2) else "constant"


def why_no_comparison(optimizer: Optimizer, *, gradient_rms: float = 1.0) -> str | None:
    """Why the theory says nothing about an optimizer at these values; None if it does."""
    if isinstance(optimizer, AdamW | AdamC | AdamH | AdamL2) and optimizer.beta2 < SMALLEST_CORRECTED_BETA2:
        return f"the theory of the second moment ends at beta2 {SMALLEST_CORRECTED_BETA2:g}; here {optimizer.beta2:g}"
    if isinstance(optimizer, AdamL2) and optimizer.weight_decay > 0:
        rate, decay, beta1 = optimizer.learning_rate, optimizer.weight_decay, optimizer.beta1
        y = float(decay_per_step(rate, decay, beta1, gradient_rms=gradient_rms))
        if y > LARGEST_DECAY_PER_STEP:
            return (
                f"the theory of {optimizer.name} ends at a decay per step of {LARGEST_DECAY_PER_STEP:g}; here {y:.2g}"
            )
    return None


def run_simulation(config: SimulationConfig, *, num_threads: int | None = None) -> Simulation:
    """Simulate a config; Numba is imported here."""
    from sim import GradientNoise, simulate

    return simulate(
        config.optimizer,
        config.schedule,
        initial_rms=config.initial_rms,
        dim=config.dim,
        shape=config.shape,
        num_replicas=config.num_replicas,
        noise=GradientNoise(rms=config.gradient_rms, scale=natural_scale(config.optimizer)),
        seed=config.seed,
        record_every=config.record_every,
        num_threads=num_threads,
    )


def theory_of(config: SimulationConfig, steps: NDArray[np.int64]) -> Trajectory:
    """The closed form of a simulation at those steps. Ask `why_no_comparison` first: `InvalidParameter` where the
    theory has no value."""
    predicted = predict_trajectory(
        config.optimizer,
        config.schedule,
        initial_rms=config.initial_rms,
        finite_beta2=True,
        gradient_rms=config.gradient_rms,
        shape=config.shape,
    )
    return predicted.at(steps)


def compared_from(config: SimulationConfig, steps: NDArray[np.int64]) -> int:
    """The first step that is compared: ``10/(1-beta1)``, or the first of a run that ends before."""
    first_step = startup_steps(config.optimizer.beta1)
    return 0 if steps[-1] < first_step else first_step


def is_resolved(predicted: Trajectory) -> NDArray[np.bool_]:
    """(num_records,) whether weights in float32 can show the update: its angle is at least `RESOLVED`.

    A weight of magnitude w is stored in steps of about 2^-23 w. Where a schedule ends at zero, the last updates are
    smaller than that, and what is simulated is the rounding.
    """
    return predicted.angular_update[:, 0] >= RESOLVED


def compare_with_theory(
    config: SimulationConfig, predicted: Trajectory, trajectory: Trajectory, standard_error: Trajectory
) -> Agreement | None:
    """Compare records from `compared_from` on, as far as `is_resolved`; None if there is no such record.

    ``predicted`` is `theory_of` the same steps. A record whose standard error is zero (a norm held by construction)
    counts in the relative error only.
    """
    first_step = compared_from(config, trajectory.steps)
    late, resolved = trajectory.steps >= first_step, is_resolved(predicted)
    kept = late & resolved
    if not kept.any():
        return None
    z, relative, relative_error = [], [], []
    bias: dict[str, float] = {}
    for name in COMPARED:
        theory, simulated, error = (getattr(each, name)[kept, 0] for each in (predicted, trajectory, standard_error))
        difference = simulated - theory
        noisy = error > 1e-9 * theory
        z.append(difference[noisy] / error[noisy])
        relative.append(difference / theory)
        relative_error.append(error / theory)
        bias[name] = float(np.mean(difference / theory))
    which, place = np.unravel_index(np.argmax(np.abs(relative)), np.shape(relative))
    return Agreement(
        max_abs_z=_largest(z),
        max_relative_error=_largest(relative),
        max_relative_standard_error=_largest(relative_error),
        mean_relative_bias=bias,
        first_step=first_step,
        largest_at_step=int(trajectory.steps[kept][place]),
        largest_in=COMPARED[which],
        num_unresolved=int((late & ~resolved).sum()),
    )


def _largest(parts: list[NDArray[np.float64]]) -> float:
    return float(np.max(np.abs(np.concatenate(parts)), initial=0.0))
