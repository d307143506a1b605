"""The optimum of one cell: planted minima, honest intervals, the status of everything else."""

import numpy as np
import pytest
from scipy.stats import binom

from experiments.bend.interval import eliminated
from experiments.bend.optimum import OptimumStatus, cell_optimum
from theory import InvalidParameter

GRID = 1e-3 * 2.0 ** np.arange(-2, 3)


def losses(optimum: float, curvature: float = 0.1, rates: np.ndarray = GRID) -> np.ndarray:
    return 2.5 + curvature * np.log(rates / optimum) ** 2 / 2


def test_collinear_columns_with_losses_almost_without_noise_have_a_fit() -> None:
    """The prior's 1 is lost beside weights of 1e40, and the matrix is singular."""
    x = np.array([-1.0, 0.0, 1.0])
    columns = 1e20 * np.stack([x, x, 3 * x, x**2], axis=1)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.solve(np.eye(2) + columns[:, :2].T @ columns[:, :2], np.ones(2))
    left = eliminated(columns.T @ columns, [1, 1])
    np.testing.assert_allclose(left, [[0, 0], [0, 2e40]], rtol=1e-12)


def test_what_least_squares_with_a_prior_leave() -> None:
    rng = np.random.default_rng(0)
    columns, precision = rng.normal(size=(2, 7, 5)), np.array([0.0, 1.0, 2.0])
    left = eliminated(np.einsum("npk,npl->kln", columns, columns), precision)
    for place, own in enumerate(columns):
        design = np.concatenate([own[:, :3], np.diag(np.sqrt(precision))])
        targets = np.concatenate([own[:, 3:], np.zeros((3, 2))])
        rest = targets - design @ np.linalg.lstsq(design, targets, rcond=None)[0]
        np.testing.assert_allclose(left[..., place], rest.T @ rest, rtol=1e-10)


def test_a_parabola_without_noise_is_found() -> None:
    found = cell_optimum(GRID, losses(1.3e-3))
    assert found.status is OptimumStatus.INTERIOR
    assert found.learning_rate == pytest.approx(1.3e-3, rel=0.02)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 1.3e-3 < found.high


@pytest.mark.parametrize(
    ("values", "status"),
    [
        (losses(1e-4), OptimumStatus.CENSORED_LOW),
        (losses(1e-2), OptimumStatus.CENSORED_HIGH),
        (np.full(5, 2.5), OptimumStatus.FLAT),
        (np.array([2.6, 2.5, np.nan, np.inf, 9.0]), OptimumStatus.TOO_FEW_POINTS),
        (np.full(5, np.nan), OptimumStatus.TOO_FEW_POINTS),
    ],
)
def test_status(values: np.ndarray, status: OptimumStatus) -> None:
    found = cell_optimum(GRID, values)
    assert found.status is status
    assert found.learning_rate is None
    if status is OptimumStatus.CENSORED_LOW:
        assert found.low is None
    if status is OptimumStatus.CENSORED_HIGH:
        assert found.high is None


def test_a_diverged_rate_bounds_the_optimum_and_is_counted() -> None:
    values = losses(8e-3, curvature=0.05)
    values[-1] = np.nan
    found = cell_optimum(GRID, values)
    assert found.num_diverged == 1
    assert found.high is None or found.high <= GRID[-1] * (1 + 1e-9)


@pytest.mark.long
@pytest.mark.parametrize(("num_curves", "least"), [(20, 13), pytest.param(40, 29, marks=pytest.mark.slow)])
def test_intervals_of_a_precise_curve_that_is_no_parabola(num_curves: int, least: int) -> None:
    """Eleven rates at factor sqrt(2), noise 1e-3, progress and noise as powers. Measured on 120: 90 %, and not the
    nominal 95 % (shape and noise come from eleven losses). At 90 % fewer than these come less than once in 2,000; 60 %
    would be noticed in 93 of 100 tests with 40 curves, in 58 with 20."""
    rng = np.random.default_rng(3)
    rates = 1e-3 * 2.0 ** (np.arange(-5, 6) / 2)
    covered = 0
    for _ in range(num_curves):
        z = np.log(rates / 1e-3) - rng.uniform(-0.5, 0.5)
        y = 2 + 0.1 * (0.5 * np.exp(z) + np.exp(-0.5 * z) - 1.5) / 0.75 + 1e-3 * rng.normal(size=11)
        found = cell_optimum(rates, y)
        truth = float(np.exp(np.log(rates[0]) - z[0]))
        covered += (found.low or 0) <= truth <= (found.high or np.inf)
    assert binom.cdf(least - 1, num_curves, 0.90) < 5e-4
    assert covered >= least


@pytest.mark.parametrize("rates", [[], [1e-3, -1e-3], [1e-3, np.nan], [[1e-3]]])
def test_bad_rates(rates: list[float]) -> None:
    with pytest.raises(InvalidParameter, match="learning_rates"):
        cell_optimum(rates, np.ones(np.shape(rates)))


@pytest.mark.long
def test_an_interval_has_no_end_far_outside_the_grid() -> None:
    """A shallow minimum in much noise: what is not known is open, and not a number that nobody tried."""
    rng = np.random.default_rng(0)
    rates = 3e-3 * 2.0 ** np.arange(-2, 3)
    seen = 0
    for _ in range(20):
        found = cell_optimum(rates, 3 + 0.01 * np.log(rates / 3e-3) ** 2 + 0.006 * rng.standard_normal(5))
        for end in (found.low, found.high):
            seen += end is None
            assert end is None or rates[0] / 4 <= end <= 4 * rates[-1]
    assert 0 < seen < 40


def test_a_cell_alone_does_not_follow_its_noise() -> None:
    """Six rates, which a shape can follow: 95 % intervals missed in 19 of 40. With a coverage of 0.95 more than 3 of 16
    miss once in 140 times."""
    missed = 0
    for seed in range(16):
        rng = np.random.default_rng(seed)
        x = 0.53 * (np.arange(6) - 2.5 + rng.uniform(-0.5, 0.5))
        found = cell_optimum(4e-3 * np.exp(x), 3 + 0.05 * x**2 + 0.002 * rng.normal(size=6))
        assert found.low is None or found.high is None or found.high / found.low < 30
        missed += not (found.low or 0) < 4e-3 < (found.high or np.inf)
    assert missed <= 3
