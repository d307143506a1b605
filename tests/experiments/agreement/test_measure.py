"""How a trajectory is read: planted relaxations are recovered, theory agrees with itself, rules exclude."""

import numpy as np
import pytest

from experiments.agreement.measure import equilibrium_window, fit_relaxation, measure
from theory import AdamH, AdamW, Constant, Linear, predict_trajectory

OPTIMIZER = AdamW(learning_rate=1e-2, weight_decay=0.3)
SCHEDULE = Constant(num_steps=1600, warmup_steps=50)


@pytest.mark.parametrize("relaxation_steps", [20.0, 150.0, 700.0])
@pytest.mark.parametrize(("start", "limit"), [(0.03, 0.01), (0.001, 0.01)])
def test_fit_recovers_a_planted_relaxation(relaxation_steps: float, start: float, limit: float) -> None:
    """The estimate scatters around the truth as its noise allows: 40 draws, mean within 4 standard errors."""
    steps = np.arange(0, 1500, 10.0)
    clean = limit + (start - limit) * np.exp(-steps / relaxation_steps)
    assert fit_relaxation(steps, clean) == pytest.approx(relaxation_steps, rel=1e-3)
    rng = np.random.default_rng(0)
    noise = 0.003 * abs(start - limit) * rng.standard_normal((40, len(steps)))
    logs = np.log([fit_relaxation(steps, clean + draw) for draw in noise])
    assert abs(logs.mean() - np.log(relaxation_steps)) < 4 * logs.std() / np.sqrt(40) + 1e-3


def test_a_drifting_update_rms_is_accounted_for() -> None:
    """The drive doubles during the run: the fit that knows it finds the time constant, the plain one does not."""
    steps = np.arange(0, 1500, 1.0)
    drive = 1 + steps / 1500
    rho = np.empty_like(steps)
    rho[0] = 0.1
    for t in range(len(steps) - 1):
        rho[t + 1] = rho[t] + (drive[t] - rho[t]) / 150
    thin = slice(None, None, 10)
    driven = fit_relaxation(steps[thin], rho[thin], drive[thin])
    assert driven == pytest.approx(150, rel=0.01)
    plain = fit_relaxation(steps[thin], rho[thin])
    assert plain is None or abs(plain / 150 - 1) > 0.2


def test_no_relaxation_is_fitted_where_there_is_none() -> None:
    steps = np.arange(0, 1500, 10.0)
    assert fit_relaxation(steps, 0.01 + 1e-6 * steps) is None  # a drift
    assert fit_relaxation(steps[:4], np.ones(4)) is None


@pytest.mark.parametrize("initial_rms", [0.02, 0.4])
def test_theory_measured_by_the_same_rules_agrees_with_itself(initial_rms: float) -> None:
    trajectory = predict_trajectory(OPTIMIZER, SCHEDULE, initial_rms=initial_rms, record_every=10)
    row = measure(trajectory, OPTIMIZER, SCHEDULE).iloc[0]
    assert row["angular_update"] == pytest.approx(row["predicted_angular_update"], rel=0.01)
    assert row["weight_rms"] == pytest.approx(row["predicted_weight_rms"], rel=0.01)
    assert row["weight_rms"] == pytest.approx(row["predicted_weight_rms_from_update"], rel=0.01)
    assert row["relaxation_steps"] == pytest.approx(row["predicted_relaxation_steps"], rel=0.02)


def test_a_matrix_that_starts_near_equilibrium_has_no_relaxation_to_measure() -> None:
    trajectory = predict_trajectory(OPTIMIZER, SCHEDULE, initial_rms=0.12, record_every=10)
    row = measure(trajectory, OPTIMIZER, SCHEDULE).iloc[0]
    assert np.isnan(row["relaxation_steps"])
    assert np.isfinite(row["weight_rms"])


def test_a_run_that_is_too_short_has_no_equilibrium() -> None:
    short = Constant(num_steps=200)
    trajectory = predict_trajectory(OPTIMIZER, short, initial_rms=0.02)
    row = measure(trajectory, OPTIMIZER, short).iloc[0]
    assert np.isnan(row["weight_rms"])
    assert np.isfinite(row["predicted_weight_rms"])


def test_the_window_ends_where_the_rate_decays() -> None:
    steps = np.arange(1600)
    window = equilibrium_window(OPTIMIZER, Linear(num_steps=1600), steps, initial_rms=0.02)
    assert not window.any()
    adamh = equilibrium_window(AdamH(learning_rate=0.01), SCHEDULE, steps, initial_rms=0.02)
    assert np.flatnonzero(adamh)[[0, -1]].tolist() == [100, 1599]
