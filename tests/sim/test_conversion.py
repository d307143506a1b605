"""Conversions against Monte Carlo: source and target, both simulated, turn alike after start-up."""

from dataclasses import replace

import numpy as np
import pytest

from sim import simulate
from sim.gradients import GradientNoise
from theory import WSD, AdamH, AdamW, Cosine, Lion, Muon, MuonH, Optimizer, predict_trajectory
from theory.conversion import Conversion, convert
from theory.networks import SCALE_INVARIANT, WHITE_NOISE, DirectionHistory, Network

ADAMW, ADAMH = AdamW(learning_rate=0.02, weight_decay=0.3), AdamH(learning_rate=1e-2)
SCHEDULE = Cosine(num_steps=400, warmup_steps=20, final_fraction=0.1)
SHAPE = (32, 32)
BELOW, ABOVE = 0.05, 0.6  # equilibria are at .12 to .2
PAIRS: list[tuple[Optimizer, Optimizer, float]] = [
    (ADAMW, ADAMH, BELOW),
    (ADAMW, ADAMH, ABOVE),
    (AdamH(learning_rate=0.03), ADAMW, ABOVE),
    (ADAMW, Lion(learning_rate=1e-3, weight_decay=0.0), ABOVE),
    (Lion(learning_rate=2e-3, weight_decay=1.0), ADAMW, BELOW),
    (Muon(learning_rate=0.02, weight_decay=0.5), MuonH(learning_rate=1e-2), ABOVE),
    (MuonH(learning_rate=0.02), Muon(learning_rate=1e-3, weight_decay=0.0, scale="moonlight"), BELOW),
    (ADAMW, AdamW(learning_rate=1e-3, weight_decay=0.0, decay="independent"), ABOVE),
]
MEMORIES = (
    GradientNoise(scale="inverse-norm", autocorrelation=-0.3),
    GradientNoise(scale="inverse-norm", autocorrelation=0.3),
    GradientNoise(scale="inverse-norm", signal_to_noise=0.05, signal_persistence=0.95),
)


@pytest.mark.long
@pytest.mark.parametrize(("source", "target", "start"), PAIRS, ids=lambda one: getattr(one, "name", one))
def test_both_turn_alike_within_a_per_cent(source: Optimizer, target: Optimizer, start: float) -> None:
    """From a start off equilibrium through warmup and decay. Monte Carlo errors of a record are below .2 %; the
    largest of some thirty records has a bar of 1 % to itself (.5 % were seen), and what is not converted misses it by
    far."""
    found = convert(source, SCHEDULE, target, initial_rms=start, keep_decay=False, finite_beta2=True, shape=SHAPE)
    polar = isinstance(source, Muon | MuonH)
    size = {"shape": SHAPE, "num_replicas": 24} if polar else {"dim": 4096, "num_replicas": 64}
    size |= {"record_every": 10, "num_threads": 1}
    one = simulate(source, SCHEDULE, initial_rms=start, seed=1, **size)
    other = simulate(found.optimizer, found.schedule, initial_rms=found.initial_rms, seed=2, **size)
    later = one.trajectory.steps >= found.first_step
    angles = [run.trajectory.angular_update[later, 0] for run in (one, other)]
    errors = [run.standard_error.angular_update[later, 0] for run in (one, other)]
    assert max(float(np.max(error / angle)) for error, angle in zip(errors, angles, strict=True)) < 2e-3
    np.testing.assert_allclose(angles[1], angles[0], rtol=0.01)


@pytest.mark.parametrize("noise", MEMORIES)
def test_what_gradients_remember_changes_the_source_alone(noise: GradientNoise) -> None:
    """Tangent gradients of a scale-invariant loss that swing back, drift on or carry a signal. AdamH turns as it was
    asked to; AdamW's angles on the way down miss white noise by 15 to 30 %, and follow from AdamH's direction."""
    source, start, schedule = AdamW(learning_rate=0.02, weight_decay=0.5), 2.0, WSD(num_steps=400, warmup_steps=20)
    size = {"dim": 2048, "num_replicas": 24, "noise": noise, "num_threads": 1}

    def converted(network: Network) -> Conversion:
        return convert(source, schedule, ADAMH, initial_rms=start, finite_beta2=True, network=network)

    white = converted(WHITE_NOISE)
    adamw = simulate(source, schedule, initial_rms=start, seed=1, **size).trajectory.angular_update[:, 0]
    adamh = simulate(white.optimizer, white.schedule, initial_rms=start, seed=2, **size).trajectory
    later = slice(white.first_step, None)
    np.testing.assert_allclose(adamh.angular_update[later, 0], white.angles[later], rtol=2e-3)
    assert np.max(np.abs(white.angles[later] / adamw[later] - 1)) > 0.12
    noise_alone = predict_trajectory(ADAMH, schedule, initial_rms=start, finite_beta2=True).update_rms[:, 0]
    ratios = tuple((adamh.update_rms[:, 0] / noise_alone).tolist())
    history = DirectionHistory(steps=tuple(range(400)), ratios=ratios)
    known = converted(replace(SCALE_INVARIANT, direction_ratio=1.0, direction_history=history))
    np.testing.assert_allclose(known.angles[later], adamw[later], rtol=0.03)
