"""Learning rates as mean angles, and back."""

import numpy as np
import pytest

from experiments.bend.fit import fit_bend
from experiments.bend.mean_angle import AngleOf, angle_setting, rates_of_angles
from experiments.calibration.made_sweeps import Scenario, make_sweep
from experiments.files import BadInput
from theory.angle_law import mean_angle

HOW = AngleOf(schedule="linear")


def test_mean_angle_halves_the_exponents_deep_in_equilibrium() -> None:
    """Deep in equilibrium the angle is the root of the rate, so slopes and curvature are halved."""
    bare = make_sweep(Scenario(name="test", noise=0.002, num_budgets=3), 1).table
    table = bare.assign(weight_decay=1.0, initial_rms=0.02, num_steps=1e7)
    (group,) = fit_bend(table, sensitivity=False, effective=AngleOf(schedule="constant")).groups
    assert group.effective is not None
    for axis in ("num_params", "num_tokens"):
        in_rate, in_angle = group.exponents[axis].value, group.effective.exponents[axis].value
        assert in_rate is not None
        assert in_angle == pytest.approx(in_rate / 2, abs=0.02)
    with pytest.raises(BadInput, match="--effective: needs weight_decay"):
        fit_bend(bare, effective=AngleOf(schedule="constant"))


def test_angles_invert_to_learning_rates() -> None:
    rates = np.array([1e-6, 3e-5, 1.234e-3, 2e-2, 0.3])
    setting = angle_setting(HOW, 20_000.0, 0.1, 0.02)
    assert rates_of_angles(setting, mean_angle(setting, rates).tolist()) == pytest.approx(rates, rel=1e-3)
    assert rates_of_angles(setting, [1e-12, 10.0]) == [None, None]
    held = 1e-5  # learning rate times decay: with it the angle is that of the rate as long as the run is short
    short = angle_setting(HOW, 200.0, held / rates, 0.02)
    turned = rates_of_angles(short, mean_angle(short, rates).tolist(), independent=held)
    assert turned == pytest.approx(rates, rel=1e-3)
