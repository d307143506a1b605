"""From runs to cells: what is dropped, and what seeds say of the noise."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.bend.evidence.cells import leave_out, make_cell, stack

GRID = 1e-3 * 2.0 ** np.arange(-2, 3)


def losses(optimum: float, curvature: float = 0.1, rates: np.ndarray = GRID) -> np.ndarray:
    return 2.5 + curvature * np.log(rates / optimum) ** 2 / 2


def test_rules_for_what_is_dropped() -> None:
    rates = np.append(GRID, [1e-6, 1e-2])
    values = np.append(losses(1e-3), [2.55, 2.9])
    cell = make_cell(rates, values, None, {})
    assert cell.num_out_of_reach == 2  # a factor of 1000 away, and 0.4 nats up
    assert cell.num_diverged == 0
    assert make_cell(rates, np.append(losses(1e-3), [3.6, 2.9]), None, {}).num_diverged == 1


def test_seeds_shift_is_taken_out_and_tilt_found() -> None:
    """20 cells of 4 seeds, shift 0.1, tilt 0.02, noise 0.002: four standard errors (false alarm 2e-4)."""
    rng = np.random.default_rng(5)
    cells = []
    for _ in range(20):
        shift, tilt = 0.1 * rng.normal(size=(4, 1)), 0.02 * rng.normal(size=(4, 1))
        y = losses(1e-3) + shift + tilt * np.log(GRID / 1e-3) + 0.002 * rng.normal(size=(4, 5))
        cells.append(make_cell(np.tile(GRID, 4), y.ravel(), np.repeat(np.arange(4), 5).astype(str), {}))
    data, freedom = stack(cells)
    assert freedom == 60
    noise = data.replicate_squares / data.replicate_freedom
    assert noise == pytest.approx(0.002**2, rel=4 * np.sqrt(2 / data.replicate_freedom))
    assert data.tilt[0] ** 2 == pytest.approx(0.02**2 / 4, rel=4 * np.sqrt(2 / 60))


def test_the_errors_of_bounds_go_with_the_rates_that_are_left_out() -> None:
    cell = make_cell(GRID, losses(1e-3), None, {})
    bounded = replace(cell, slack=np.arange(5.0))
    data, _ = stack([leave_out(bounded, 1, 4, "past a wall"), leave_out(cell, 0, 3, "past a wall")])
    assert np.broadcast_to(data.slack, 6).tolist() == [1, 2, 3, 0, 0, 0]
