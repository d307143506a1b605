"""Rates at which every step turns by a given angle: the recursions run backwards, settings side by side."""

from __future__ import annotations

import numpy as np
import pytest

from theory import driven, momentum
from theory.driven import Drive
from theory.stationary import Autocovariance

TWO_MODES = Autocovariance(variance=1.0, amplitudes=np.array([0.3, 0.1]), ratios=np.array([0.8, -0.4]))
RATES = np.random.default_rng(0).uniform(0.01, 0.2, (25, 2, 3))
STARTS = np.array([[0.6], [2.0]])


@pytest.fixture(params=["momentum", "two modes"])
def drive(request: pytest.FixtureRequest) -> Drive:
    modes = driven.stationary_drive(TWO_MODES, len(RATES))
    return modes if request.param == "two modes" else momentum.drive(len(RATES), 0.9, 0.95)


def test_the_rates_of_angles_on_the_sphere_are_those_that_made_them(drive: Drive) -> None:
    c = driven.sphere_cosines(RATES, drive)
    angles = np.arctan2(RATES * np.sqrt(1 - c**2), 1 - RATES * c)
    np.testing.assert_allclose(driven.sphere_rates(angles, drive), RATES, rtol=1e-9)
    alone = driven.sphere_rates(angles[:, 1, 2], drive)
    np.testing.assert_allclose(alone, RATES[:, 1, 2], rtol=1e-9)
    np.testing.assert_allclose(driven.sphere_cosines(alone, drive), c[:, 1, 2], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(("decay", "share"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.02)])
def test_the_rates_of_angles_under_decay_are_those_that_made_them(drive: Drive, decay: float, share: float) -> None:
    """Each of two rows of settings from a start of its own."""
    taken = share + decay * RATES
    rho, p = driven.moments(RATES, taken, drive, STARTS)
    across = RATES * np.sqrt(rho[:-1] * drive.variance[:, None, None] - p**2)
    angles = np.arctan2(across, (1 - taken) * rho[:-1] - RATES * p)
    found = driven.decoupled_rates(angles, drive, STARTS, weight_decay=decay, share=share)
    np.testing.assert_allclose(found, RATES, rtol=1e-9)
    if not decay and not share:
        np.testing.assert_array_equal(driven.decoupled_rates(angles, drive, STARTS), found)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 6])
def test_lags_one_by_one_are_summed_and_cannot_be_followed_backwards(num_steps: int) -> None:
    """Two of them and no mode, in longer runs and in shorter ones: weights as the sum of all updates so far."""
    listed = driven.stationary_drive(Autocovariance(variance=1.0, lags=np.array([0.4, -0.2])), num_steps)
    eta, x = np.linspace(0.1, 0.3, num_steps), np.linspace(0.0, 0.2, num_steps)
    covariance = np.eye(6) + 0.4 * np.diag(np.ones(5), 1) - 0.2 * np.diag(np.ones(4), 2)
    kept = [np.array([np.prod(1 - x[s + 1 : t]) * eta[s] for s in range(t)]) for t in range(num_steps)]
    expected = [-kept[t] @ covariance[:t, t] for t in range(num_steps)]
    np.testing.assert_allclose(driven.moments(eta, x, listed, 1.0)[1], expected, rtol=1e-12, atol=1e-15)
    with pytest.raises(ValueError, match="cannot be followed step by step"):
        driven.sphere_rates(np.full(num_steps, 0.1), listed)
