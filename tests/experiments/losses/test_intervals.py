"""Errors that grow with distance: recovered scales, coverage of planted runs, groups left out, constants."""

import numpy as np
import pytest
from scipy.stats import t as student

from experiments.losses.finished_runs import Run
from experiments.losses.intervals import (
    FREEDOM,
    KAPPA,
    bootstrap_constants,
    error_model,
    fit_scales,
    leave_out,
    nearest,
)
from experiments.losses.schedule_law import SHAPES, Shape, shape_grid
from tests.experiments.losses.planted_runs import ONE_SHAPE, made_run, made_runs, planted

FEW_SHAPES = SHAPES[::12]
NARROW = tuple(Shape(0.02, fraction, exponent, 0.2) for fraction in (0.6, 1.0) for exponent in (0.3, 0.4, 0.5))


@pytest.mark.parametrize(("scatter", "kappa"), [(1e-3, 0.4), (5e-3, 0.7)])
def test_scales_are_recovered(scatter: float, kappa: float) -> None:
    """Estimates of 4000 errors have a standard error near 2 %; 10 % is five of them."""
    rng = np.random.default_rng(0)
    distances = rng.choice([0.0, 0.001, 0.01, 0.1], 4000)
    errors = np.hypot(scatter, kappa * distances) * student.rvs(FREEDOM, size=4000, random_state=rng)
    found = fit_scales(errors, distances, np.ones(4000), start=2e-3, least=1e-5)
    np.testing.assert_allclose(found, (scatter, kappa), rtol=0.1)


def test_without_errors_the_prior_speaks_and_few_errors_move_it_little() -> None:
    nothing = np.empty(0)
    assert fit_scales(nothing, nothing, nothing, start=3e-3, least=1e-4) == (3e-3, KAPPA)
    none_at_all = fit_scales(np.zeros(4), np.full(4, 0.1), np.ones(4), start=3e-3, least=1e-4)
    assert KAPPA / 2 < none_at_all[1] < KAPPA


def test_distance_to_the_nearest() -> None:
    known = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert nearest(known, np.array([[3.0, 0.0], [3.0, 4.0]])).tolist() == [3.0, 0.0]


def test_intervals_of_a_planted_law_cover_and_widen_with_what_is_extrapolated() -> None:
    """Six made tables, 16 runs at a longer horizon each, which err together: 0.75 is four standard errors of six
    tables below 0.9."""
    found, near, far = [], [], []
    for seed in range(6):
        training = planted(made_runs(3000, 5000), 2e-3, seed)
        target = planted(made_runs(8000), 2e-3, seed + 100)
        grid = shape_grid(training, shapes=NARROW)
        law = grid.law()
        model = error_model(grid, training, law)
        half = {level: model.predict(target, level)[1] for level in (0.5, 0.9)}
        assert np.all(half[0.5] < half[0.9])
        found += (np.abs(law.predict(target) - [run.loss for run in target]) < half[0.9]).tolist()
        near.append(np.median(half[0.9]))
        far.append(model.predict([made_run(2e-3, 0.0, 40_000)], 0.9)[1][0])
    assert 0.75 <= np.mean(found) <= 1
    assert np.min(np.array(far) / near) > 1.5


def test_groups_are_left_out_where_the_rest_can_tell() -> None:
    runs = planted(made_runs(2000, 3000, num_params=(1e7, 1e8)), 1e-3)
    grid = shape_grid(runs, shapes=ONE_SHAPE)
    assert leave_out(grid, runs, "size").errors.size == 0  # one size tells nothing of another
    horizons = leave_out(grid, runs, "horizon")
    assert horizons.errors.size == len(runs)
    assert set(horizons.group_sizes) == {len(runs) / 2}
    out = np.array([run.num_steps == 2000 for run in runs])
    expected = grid.law((~out).astype(float)).predict([run for run in runs if run.num_steps == 2000])
    np.testing.assert_allclose(horizons.errors[: out.sum()], expected - grid.losses[out], atol=1e-9)
    assert horizons.rms == pytest.approx(np.sqrt(np.mean(horizons.errors**2)))


def test_a_data_set_known_from_few_runs_has_wider_intervals() -> None:
    known = planted(made_runs(2000, 3000), 1e-3)
    few = [Run(**{**vars(run), "dataset": "few", "loss": run.loss + 0.5}) for run in planted(made_runs(2500), 1e-3)[:3]]
    runs = [*known, *few]
    grid = shape_grid(runs, shapes=ONE_SHAPE)
    law = grid.law()
    model = error_model(grid, runs, law)
    asked = [Run(**{**vars(made_run(1e-3, 0.5, 3000)), "dataset": name}) for name in ("", "few")]
    losses, half = model.predict(asked, 0.9)
    assert losses[1] - losses[0] == pytest.approx(0.5, abs=5e-3)
    assert half[1] > 1.2 * half[0]


def test_what_the_table_never_varied_is_trusted_no_more_than_the_prior_is() -> None:
    runs = planted(made_runs(3000, 5000), 1e-4)
    grid = shape_grid(runs, shapes=ONE_SHAPE)
    model = error_model(grid, runs, grid.law())
    assert model.per_distance < 0.9 * KAPPA
    same, other = (made_run(5e-4, 0.05, 8000, batch=batch) for batch in (5e4, 5.2e4))
    (_, half) = model.predict([same, other], 0.9)
    assert half[1] > 1.1 * half[0]


def test_constants_have_intervals_and_names() -> None:
    runs = planted(made_runs(3000, 5000, num_params=(1e7, 3e7, 1e8)), 1e-3)
    grid = shape_grid(runs, shapes=FEW_SHAPES)
    constants = {one.name: one for one in bootstrap_constants(grid, grid.law(), num_replicas=40)}
    assert {"offset", "size", "progress", "progress_exponent", "size_exponent", "initial_rms"} <= set(constants)
    assert sum(name.startswith("noise") for name in constants) == grid.blank.bank.size
    assert all(one.low <= one.value <= one.high for one in constants.values())
    single = planted(made_runs(3000, 5000), 1e-3)
    grid = shape_grid(single, shapes=ONE_SHAPE)
    names = [one.name for one in bootstrap_constants(grid, grid.law(), num_replicas=5)]
    assert "size" not in names
    assert "size_exponent" not in names
