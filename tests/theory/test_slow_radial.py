"""The slow limit of the norm that gradients push: its limits, the exact recursion, and the optimum with it."""

from dataclasses import replace

import numpy as np
import pytest

from theory import WSD, AdamW, Constant, Cosine, InvalidParameter, Linear, predict_trajectory, radial, slow_norm
from theory.angle_law import AngleLaw, Setting, mean_angle
from theory.networks import GPT2, SCALE_INVARIANT, WHITE_NOISE, Network
from theory.optimal_lr import optimal_learning_rate
from theory.slow_radial import weight_rms

SCHEDULES = (Constant(num_steps=2000), Cosine(num_steps=2000, warmup_steps=100), WSD(num_steps=2000, warmup_steps=7))
STEADY = replace(GPT2, gradient_history=np.ones)
LAW = AngleLaw(C1=1.0, a1=0.43, C2=5.0, a2=1.4, B2=0.3)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_a_force_it_is_the_closed_form(schedule: Constant) -> None:
    """At any times, in any order, for settings that broadcast, and for a run of another length."""
    x = np.array([2000.0, 0.0, 7.0, 7.0, 1500.3, 100.0])
    setting = {"learning_rate": np.array([1e-4, 1e-2, 0.3]), "weight_decay": 0.5, "initial_rms": 0.03}
    found = weight_rms(schedule, x, direction_ratio=1.0, law=radial.NOISE, **setting)
    expected = [slow_norm.weight_rms(schedule, t, **setting) for t in x]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    longer = replace(schedule, num_steps=6000, warmup_steps=3 * schedule.warmup_steps)
    stretched = weight_rms(schedule, x, stretch=3.0, **setting)
    np.testing.assert_allclose(stretched, weight_rms(longer, 3 * x, **setting), rtol=1e-6)


def test_at_constant_rate_it_takes_the_steps_of_the_closed_form() -> None:
    for start in (0.01, 0.5):
        rms = weight_rms(SCHEDULES[0], [800.0], learning_rate=0.01, weight_decay=0.1, initial_rms=start)
        assert radial.steps_between(start, rms, 0.01, 0.1) == pytest.approx(800, rel=1e-5)


@pytest.mark.parametrize("network", [STEADY, SCALE_INVARIANT, WHITE_NOISE])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_mean_angle_is_that_of_the_recursion_of_the_network(schedule: Constant, network: Network) -> None:
    """Within 1.5 %: eta*lam is 1e-3 and start-up counts."""
    optimizer = AdamW(learning_rate=0.005, weight_decay=0.2)
    path = predict_trajectory(optimizer, schedule, initial_rms=0.05, network=network)
    run = Setting(
        num_params=1e8,
        num_tokens=2000 * 2.0**19,
        schedule=schedule,
        weight_decay=0.2,
        initial_rms=0.05,
        network=network,
    )
    assert mean_angle(run, 0.005) == pytest.approx(path.angular_update.mean(), rel=0.015)


def test_rate_against_decay_and_start_is_a_symmetry_with_a_force_as_well() -> None:
    """It enters through the relative step alone."""
    setting = {"learning_rate": 0.01, "weight_decay": 0.2, "initial_rms": 0.05}
    other = {"learning_rate": 0.03, "weight_decay": 0.2 / 3, "initial_rms": 0.15}
    one, scaled = (weight_rms(SCHEDULES[1], [300.0, 2000.0], **each) for each in (setting, other))
    np.testing.assert_allclose(scaled, 3 * one, rtol=1e-6)


def test_the_optimum_moves_with_the_network() -> None:
    """A force that makes the norm larger asks for a larger rate; a direction of another size, as a start does."""
    run = Setting(num_params=1e8, num_tokens=2000 * 2.0**19, schedule=Linear(num_steps=100), weight_decay=1e-6)
    best = {
        name: float(optimal_learning_rate(LAW, replace(run, network=network)).learning_rate)
        for name, network in (
            ("white", WHITE_NOISE),
            ("scale-invariant", SCALE_INVARIANT),
            ("outward", replace(STEADY, law=radial.Law(outward=4.0, valley=np.inf))),
        )
    }
    assert best["outward"] > 1.05 * best["scale-invariant"]
    shorter = float(optimal_learning_rate(LAW, run.at("direction_ratio", 0.885)).learning_rate)
    assert best["scale-invariant"] == pytest.approx(shorter, rel=1e-9)
    assert 1.02 * best["white"] < shorter
    with pytest.raises(InvalidParameter, match="network"):
        replace(run, network=Network(name="llama"))
