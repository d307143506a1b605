"""Without decay: the closed form against the recursion, and starts from zero."""

import numpy as np
import pytest

from theory import SGDM, AdamH, AdamW, Constant, InvalidParameter, Lion, Muon, Optimizer, predict_trajectory
from theory.growth import FROM_ZERO, grow, start_of

SHAPE = (8, 8)


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(learning_rate=1e-3, weight_decay=0.0),
        Lion(learning_rate=1e-4, weight_decay=0.0),
        Muon(learning_rate=1e-3, weight_decay=0.0, scale="moonlight"),
    ],
    ids=lambda one: one.name,
)
def test_the_rms_grows_like_the_root_of_the_steps(optimizer: Optimizer) -> None:
    run = grow(optimizer, Constant(num_steps=40_000), initial_rms=FROM_ZERO, shape=SHAPE)
    assert run.rms_per_growth is not None
    assert run.final_rms == pytest.approx(run.rms_per_growth * 40_000**run.exponent, rel=5e-3)
    assert run.outgrown_steps == 0
    started = grow(optimizer, Constant(num_steps=40_000), initial_rms=run.final_rms, shape=SHAPE)
    assert started.outgrown_steps == pytest.approx(40_000, rel=0.01)
    assert started.final_rms == pytest.approx(2**0.5 * run.final_rms, rel=5e-3)
    assert started.final_angular_update == pytest.approx(run.final_angular_update / 2**0.5, rel=5e-3)


def test_sgdm_grows_like_the_fourth_root() -> None:
    optimizer = SGDM(learning_rate=1e-3, weight_decay=0.0)
    ends = [grow(optimizer, Constant(num_steps=steps), initial_rms=0.1).final_rms for steps in (5_000, 20_000)]
    assert grow(optimizer, Constant(num_steps=10), initial_rms=0.1).exponent == 0.25
    assert np.log(ends[1] / ends[0]) / np.log(4) == pytest.approx(0.25, abs=2e-3)


def test_the_first_step_by_hand() -> None:
    """Adam's direction is a sign there, apart from the weights: a right triangle with a leg of one rate."""
    run = grow(AdamW(learning_rate=3e-3, weight_decay=0.0), Constant(num_steps=1), initial_rms=4e-3)
    assert run.final_rms == pytest.approx(5e-3, rel=1e-12)
    assert run.final_angular_update == pytest.approx(np.arctan(0.75), rel=1e-12)


def test_zero_is_as_very_little() -> None:
    optimizer = AdamW(learning_rate=1e-3, weight_decay=0.1)
    runs = [
        predict_trajectory(optimizer, Constant(num_steps=500), initial_rms=rms).weight_rms[1:]
        for rms in (start_of(optimizer, 0.0), 1e-8)
    ]
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-8)
    assert start_of(optimizer, 0.3) == 0.3


def test_where_zero_cannot_start_and_nothing_grows() -> None:
    for optimizer in (AdamH(learning_rate=0.01), SGDM(learning_rate=0.1, weight_decay=0.1)):
        with pytest.raises(InvalidParameter, match="initial_rms"):
            start_of(optimizer, 0.0)
        with pytest.raises(InvalidParameter, match="without weight decay"):
            grow(optimizer, Constant(num_steps=5), initial_rms=0.1)
