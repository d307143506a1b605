"""Simulation against the closed second-moment recursion, in Monte Carlo standard errors.

A million coordinates put the standard error of an angle at 0.07 %. The draws are fixed. Had they been new, one of
the 4.5-sigma comparisons of this file would fail in fewer than one run in 100 (some 1,200 comparisons, most of them
correlated).
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sim import GradientNoise, Simulation, simulate
from theory import WSD, AdamH, AdamW, Constant, Cosine, Schedule, Trajectory, predict_trajectory
from theory.predict import final_rms
from theory.trajectory import FIELDS

Array = NDArray[np.float64]
SETTINGS = [(1e-2, 0.3), (3e-3, 1.0), (3e-2, 0.1), (1e-3, 0.1)]
RELATIVE = ("weight_rms", "angular_update", "relative_update", "update_rms")
WHITE = GradientNoise()
# theory takes beta2 -> 1
ALMOST_ONE = 1 - 1e-6


def compare(
    optimizer: AdamW | AdamH, schedule: Schedule, *, seed: int = 0, noise: GradientNoise = WHITE
) -> tuple[Simulation, Trajectory]:
    simulation = simulate(
        optimizer,
        schedule,
        initial_rms=0.02,
        num_replicas=1024,
        record_every=10,
        seed=seed,
        noise=noise,
    )
    return simulation, predict_trajectory(optimizer, schedule, initial_rms=0.02, record_every=10)


def columns(simulation: Simulation, theory: Trajectory, field: str) -> tuple[Array, Array, Array]:
    """Simulated, its standard error, predicted."""
    return tuple(  # type: ignore[return-value]
        getattr(of, field)[:, 0] for of in (simulation.trajectory, simulation.standard_error, theory)
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("learning_rate", "weight_decay", "warmup_steps"),
    [(*setting, warmup_steps) for setting, warmup_steps in zip(SETTINGS, (0, 50, 50, 0), strict=True)],
)
def test_adamw_at_customary_betas(learning_rate: float, weight_decay: float, warmup_steps: int) -> None:
    """Within 0.5 % everywhere; what remains of beta2 = 0.999 is 0.1 % of the norm and nothing in the angle."""
    optimizer = AdamW(learning_rate=learning_rate, weight_decay=weight_decay, beta2=0.999)
    simulation, theory = compare(optimizer, Constant(num_steps=400, warmup_steps=warmup_steps))
    for field, bias in (("weight_rms", 1e-3), ("angular_update", 5e-4)):
        measured, error, predicted = columns(simulation, theory, field)
        late = simulation.trajectory.steps >= 100
        assert np.all(error[late] < 1e-3 * predicted[late])
        assert np.all(np.abs(measured - predicted) < 5e-3 * predicted)
        assert np.all(np.abs(measured - predicted) < bias * predicted + 4.5 * error), field


@pytest.mark.long
@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        (AdamW(learning_rate=1e-2, weight_decay=0.3, beta2=ALMOST_ONE), Constant(num_steps=300)),
        (AdamW(learning_rate=1e-2, weight_decay=3.0, beta2=ALMOST_ONE), Cosine(num_steps=200)),
        (AdamW(learning_rate=3e-3, weight_decay=0.0, beta2=ALMOST_ONE), Constant(num_steps=200)),
        (AdamW(learning_rate=1e-2, weight_decay=1.0, beta1=0.0, beta2=ALMOST_ONE), Constant(num_steps=200)),
        (AdamW(learning_rate=3e-2, weight_decay=1.0, beta1=0.95, beta2=ALMOST_ONE), WSD(num_steps=300)),
        (AdamW(learning_rate=1e-2, weight_decay=10.0, beta1=0.5, beta2=ALMOST_ONE), Constant(num_steps=100)),
    ],
    ids=["constant", "cosine", "no decay", "no momentum", "wsd", "fast decay"],
)
def test_adamw_in_the_limit_of_the_theory(optimizer: AdamW, schedule: Schedule) -> None:
    """Every field at every record from the first step on; float32 may add 1e-6."""
    simulation, theory = compare(optimizer, schedule, seed=1)
    for field in FIELDS:
        measured, error, predicted = columns(simulation, theory, field)
        assert np.all(np.abs(measured - predicted) < 4.5 * error + 1e-6), field
    assert simulation.final_rms is not None
    assert simulation.final_rms_standard_error is not None
    last = final_rms(optimizer, schedule, initial_rms=0.02)
    assert abs(simulation.final_rms - last) < 4.5 * simulation.final_rms_standard_error


@pytest.mark.long
@pytest.mark.parametrize("learning_rate", [0.01, 0.1])
@pytest.mark.parametrize("beta2", [0.999, ALMOST_ONE])
def test_adamh(learning_rate: float, beta2: float) -> None:
    """Each replica is normalised by itself, which leaves a bias of order 1/dim = 0.1 % and no more."""
    simulation, theory = compare(AdamH(learning_rate=learning_rate, beta2=beta2), Constant(num_steps=300))
    for field in ("angular_update", "relative_update"):
        measured, error, predicted = columns(simulation, theory, field)
        assert np.all(np.abs(measured - predicted) < 1e-3 * predicted), field
        assert np.all(error < 3e-4 * predicted)
    measured, error, predicted = columns(simulation, theory, "cosine")
    assert np.all(np.abs(measured - predicted) < 2e-4 + 4.5 * error)


@pytest.mark.long
def test_gradient_scale_drops_out_when_the_norm_moves_slowly() -> None:
    """Adam divides the scale of the gradient out again, up to its change over the memory of v."""
    optimizer = AdamW(learning_rate=1e-3, weight_decay=0.1, beta2=0.95)
    constant, theory = compare(optimizer, Constant(num_steps=300))
    scaled, _ = compare(optimizer, Constant(num_steps=300), noise=GradientNoise(scale="inverse-norm"))
    np.testing.assert_allclose(scaled.trajectory.weight_rms, constant.trajectory.weight_rms, rtol=0.01)
    assert np.any(scaled.trajectory.weight_rms != constant.trajectory.weight_rms)
    np.testing.assert_allclose(scaled.trajectory.weight_rms, theory.weight_rms, rtol=0.02)


def test_finite_beta2_is_seen() -> None:
    """The power of these comparisons: the 1.5 % that beta2 = 0.95 takes off the update stands out at 20 sigma."""
    simulation, theory = compare(AdamW(learning_rate=1e-2, weight_decay=0.3), Constant(num_steps=300))
    measured, error, predicted = columns(simulation, theory, "update_rms")
    assert np.all((predicted - measured)[15:] > 10 * error[15:])
    np.testing.assert_allclose(measured[15:], predicted[15:], rtol=0.02)
