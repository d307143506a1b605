"""Losses that lie so far above the best one that no noise explains it bound the optimum, however coarse the grid."""

import numpy as np
import pandas as pd
import pytest

from experiments.bend.evidence.cells import Cell, make_cell
from experiments.bend.evidence.windows import near_the_best
from experiments.bend.fit import GroupFit, fit_bend
from experiments.bend.interval import OptimumInterval
from experiments.bend.optimum import OptimumStatus, judge_optimum

SIZES = np.array([4e6, 16e6, 64e6, 256e6, 1024e6])
FINE, COARSE = np.exp(0.4 * np.arange(-3, 4)), 3.0 ** np.arange(-1, 2)
GRID = np.asarray(1e-3 * 1.5 ** np.arange(5), np.float64)
NOWHERE = OptimumInterval(best=np.log(1e-4), low=-np.inf, high=np.inf, curvature=0.01, gain=1.2)


def planted(size: float) -> float:
    return float(4e-3 * (size / 64e6) ** -0.25)


def kinked_sweep(seed: int) -> GroupFit:
    """Five sizes with a kink of its own in each, on fine and coarse grids by turns; losses known to 0.001."""
    rng, rows = np.random.default_rng(seed), []
    for place, size in enumerate(SIZES):
        grid = COARSE * 1.15 if place % 2 else FINE
        for z in np.log(grid):
            rise = 0.03 * z**2 + (0.12 + 0.05 * place) * max(z - (0.3, 0.8, 0.2, 0.6, 0.4)[place], 0)
            loss = 3 - 0.1 * place + rise + 0.001 * rng.standard_normal()
            rows.append({"num_params": size, "learning_rate": planted(size) * np.exp(z), "loss": loss})
    (group,) = fit_bend(pd.DataFrame(rows), sensitivity=False).groups
    return group


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_a_best_rate_between_two_far_worse_ones_is_no_flat_cell(seed: int) -> None:
    """Neighbours of the best rate at a factor of 3 are 0.03 to 0.2 nats above it, thirty times the noise and more; both
    cells with such grids were called flat, and of the others some intervals were open."""
    group = kinked_sweep(seed)
    assert any("cells differ in shape" in note for note in group.notes)
    for place, cell in enumerate(group.cells):
        truth = planted(SIZES[place])
        assert cell.status is OptimumStatus.INTERIOR
        assert cell.learning_rate == pytest.approx(truth, rel=0.25)
        assert cell.low is not None
        assert cell.high is not None
        assert cell.low < truth < cell.high
        assert cell.best_learning_rate is not None
        assert cell.best_learning_rate / 3.01 <= cell.low
        assert cell.high <= cell.best_learning_rate * 3.01


SMOOTH = [3.030, 3.012, 3.003, 3.002, 3.0085, 3.022, 3.0425]


def windowed(losses: list[float]) -> tuple[Cell, Cell]:
    """A cell on a grid of a factor of 1.5 in a table with little noise: what the window keeps of it, and all of it."""
    cells = []
    for values in (*[SMOOTH] * 5, losses):
        rates = np.asarray(1e-3 * 1.5 ** np.arange(len(values)), np.float64)
        cells.append(make_cell(rates, np.array(values), None, {}))
    return near_the_best(cells)[-1], cells[-1]


def test_losses_that_fall_to_the_edge_are_no_flat_cell() -> None:
    near, whole = windowed([3.20, 3.15, 3.10, 3.05, 3.00])
    fitted = OptimumInterval(best=float(near.x[-1]), low=-np.inf, high=np.inf, curvature=0.01, gain=0.5)
    found = judge_optimum(near, fitted, 1e-3, whole)
    assert found.status is OptimumStatus.CENSORED_HIGH
    assert found.low == pytest.approx(1e-3 * 1.5**3)  # 0.05 nats above the best
    assert found.high is None


def test_a_bound_is_none_where_the_cell_comes_down_again_beyond_it() -> None:
    """Noise of its own, ten times that of the table: rates beyond the window are as good as those within."""
    near, whole = windowed([3.012, 3.001, 3.014, 3.0, 3.015, 3.002, 3.013])
    assert near.num_out_of_reach > 0
    fitted = OptimumInterval(best=float(near.x[1]), low=-np.inf, high=np.inf, curvature=0.01, gain=0.5)
    assert judge_optimum(near, fitted, 1e-3, whole).status is OptimumStatus.FLAT


def test_an_optimum_beyond_a_bound_is_told_as_the_middle_of_the_gap_within() -> None:
    near, whole = windowed([3.3, 3.1, 3.0, 3.1, 3.3])
    far = OptimumInterval(
        best=float(near.x[0]) - 1, low=float(near.x[0]) - 2, high=float(near.x[0]), curvature=0.1, gain=2
    )
    found = judge_optimum(near, far, 1e-3, whole)
    assert found.status is OptimumStatus.INTERIOR
    assert found.learning_rate == pytest.approx(1e-3 * 1.5**1.5)
    assert found.low == pytest.approx(1e-3 * 1.5)
    assert found.high == pytest.approx(1e-3 * 1.5**2)


def test_an_interval_past_both_edges_leaves_the_side_to_the_losses() -> None:
    """The losses fall all the way, and the fit puts the optimum below the lowest rate: that was the lower edge."""
    losses = np.array([3.02, 3.015, 3.012, 3.008, 3.0])
    falling, rising = (make_cell(GRID, values, None, {}) for values in (losses, losses[::-1]))
    assert judge_optimum(falling, NOWHERE).status is OptimumStatus.CENSORED_HIGH
    assert judge_optimum(rising, NOWHERE).status is OptimumStatus.CENSORED_LOW
