"""The Gaussian numbers: their law, their tails, and their independence along every axis that names them.

Draws are fixed, so a test passes always or never; had they been new each time, all tests of this file together
would raise a false alarm once in 2,000 runs.
"""

from __future__ import annotations

from math import factorial

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sim import random_numbers

Z_LIMIT = 4.8  # two-sided: 1.6e-6 per comparison


def draw(num_replicas: int, dim: int, *, seed: int = 0, step: int = 1, first: int = 0) -> NDArray[np.float32]:
    x = np.empty((num_replicas, -(-dim // random_numbers.BLOCK), random_numbers.BLOCK), dtype=np.float32)
    random_numbers.normal(len(x), x, dim, seed, np.arange(first, first + num_replicas), step)
    return x.reshape(num_replicas, -1)[:, :dim]


def correlation_z(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1] * np.sqrt(x.size))


def assert_uniform_cells(x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """The joint law, in 32 x 32 equally likely cells."""
    row, column = (np.int64(32 * stats.norm.cdf(values.ravel())) for values in (x, y))
    assert stats.chisquare(np.bincount(32 * row + column, minlength=1024)).pvalue > 1e-5


def test_every_bit_of_the_counter_moves_every_bit_of_the_hash() -> None:
    """Flipping one bit of the counter flips each bit of the hash half of the time: 1,024 pairs of bits."""
    num_trials = 2**18

    @numba.njit
    def flips(counters: NDArray[np.uint32], high: NDArray[np.uint32]) -> NDArray[np.int64]:
        counts = np.zeros((32, 32), dtype=np.int64)
        for trial in range(len(counters)):
            before = random_numbers.hash32(counters[trial], high[trial])
            for i in range(32):
                after = random_numbers.hash32(
                    np.uint32(counters[trial] ^ np.uint32(np.uint32(1) << np.uint32(i))), high[trial]
                )
                for j in range(32):
                    counts[i, j] += (np.uint32(before ^ after) >> np.uint32(j)) & np.uint32(1)
        return counts

    start, high = np.random.default_rng(0).integers(2**32, size=(2, num_trials), dtype=np.uint32)
    z = (flips(start, high) - num_trials / 2) / np.sqrt(num_trials / 4)
    assert np.abs(z).max() < 5.5


def test_radius_and_angle_are_accurate() -> None:
    """Random bits, and both sides of each power of two and of each seam of the logarithm."""
    powers = 2.0 ** np.arange(1, 32)
    edges = np.concatenate([[0], powers - 1, powers, powers * np.sqrt(0.5) - 1, powers * np.sqrt(0.5) + 1])
    bits = np.concatenate([np.random.default_rng(0).integers(2**32, size=5000), edges]).astype(np.uint32)
    x = (bits + 0.5) / 2.0**32
    got = np.array([random_numbers.radius(b) for b in bits])
    # x itself is rounded to float32, which is what counts near x = 1.
    assert np.all(np.abs(got**2 + 2 * np.log(x)) < 3e-6 * -np.log(x) + 2.0**-23)
    sine, cosine = np.array([random_numbers.half_turn(b) for b in bits]).T
    angle = np.pi * bits.view(np.int32) / 2.0**32
    np.testing.assert_allclose(sine, np.sin(angle), rtol=0, atol=1.5e-6)
    np.testing.assert_allclose(cosine, np.cos(angle), rtol=0, atol=3e-7)


def test_streams_do_not_overlap() -> None:
    """Two successive draws in common would be chance once in 100 tries; a hash that ignored half of the key would
    make about eight pairs of these 4,096 streams share a run of them."""
    x = draw(4096, 2048)
    pairs = np.concatenate([np.ascontiguousarray(y).view(np.uint64).ravel() for y in (x, x[:, 1:-1])])
    pairs.sort()
    assert np.all(np.diff(pairs) != 0)


def test_moments_to_order_eight() -> None:
    x = draw(2048, 8192).astype(np.float64).ravel()

    def moment(order: int) -> float:
        return factorial(order) / (2 ** (order // 2) * factorial(order // 2)) if order % 2 == 0 else 0.0

    power = np.ones_like(x)
    for order in range(1, 9):
        power *= x
        error = np.sqrt((moment(2 * order) - moment(order) ** 2) / x.size)
        assert abs(power.mean() - moment(order)) < Z_LIMIT * error, order


@pytest.mark.parametrize("axis", ["coordinates", "replicas", "steps", "seeds"])
def test_kolmogorov_smirnov(axis: str) -> None:
    n = 2**17
    x = {
        "coordinates": lambda: draw(1, n),
        "replicas": lambda: draw(n, 1, seed=5)[:, 0],
        "steps": lambda: np.concatenate([draw(1, 64, step=t) for t in range(n // 64)], axis=1),
        "seeds": lambda: np.concatenate([draw(1, 64, seed=s) for s in range(n // 64)], axis=1),
    }[axis]()
    assert stats.kstest(x.ravel().astype(np.float64), "norm").pvalue > 1e-5


def test_tails_to_one_in_a_million() -> None:
    edges = np.array([3.0, 4.0, 4.5, stats.norm.isf(1e-6), 5.0], dtype=np.float32)
    above, below, num_draws = np.zeros(len(edges)), np.zeros(len(edges)), 0
    for step in range(16):
        x = draw(1024, 16384, step=step)
        tail = x[np.abs(x) > edges[0]]
        above += (tail[:, None] > edges).sum(axis=0)
        below += (tail[:, None] < -edges).sum(axis=0)
        num_draws += x.size
    expected = num_draws * stats.norm.sf(edges.astype(np.float64))
    assert expected[3] > 250
    for counts in (above, below):
        assert np.all(np.abs(counts - expected) < Z_LIMIT * np.sqrt(expected))


def test_largest_draws_have_the_law_of_extremes() -> None:
    """Maxima of 2^24 draws lie beyond 5 sigma; through the normal law they become uniform numbers again."""
    maxima = np.array([np.abs(draw(1024, 16384, step=step)).max() for step in range(16)], dtype=np.float64)
    n = 1024 * 16384
    assert stats.kstest(np.exp(-2 * n * stats.norm.sf(maxima)), "uniform").pvalue > 1e-5
    assert maxima.max() > 5.4


@pytest.mark.long
@pytest.mark.parametrize("power", [1, 2, 3])
def test_no_correlation_between_coordinates(power: int) -> None:
    x = draw(1024, 4096, seed=1).astype(np.float64) ** power
    for lag in (1, 2, 16, 127, 128, 129, 256, 2048):
        assert abs(correlation_z(x[:, lag:], x[:, :-lag])) < Z_LIMIT, lag


def test_pairs_that_share_a_radius_are_independent() -> None:
    x = draw(8192, random_numbers.BLOCK, seed=2).astype(np.float64)
    first, second = x[:, : random_numbers.HALF], x[:, random_numbers.HALF :]
    for power, other in ((1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 1), (3, 3)):
        assert abs(correlation_z(first**power, second**other)) < Z_LIMIT, (power, other)
    assert_uniform_cells(first, second)


NEIGHBOURS = {
    "next step": {"step": 8},
    "two steps on": {"step": 9},
    "a power of two on": {"step": 7 + 2**20},
    "next replica": {"first": 65},
    "replica across 2^16": {"first": 64 + 2**16},
    "next seed": {"seed": 4},
    "seed of the top bit": {"seed": 3 + 2**31},
    "step and replica exchanged": {"step": 64, "first": 7},
}


@pytest.mark.long
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_streams_are_independent(name: str) -> None:
    """Correlations of powers, also at shifted coordinates, and the joint law in 32 x 32 cells."""
    here = {"seed": 3, "step": 7, "first": 64}
    x = draw(64, 2**15, **here).astype(np.float64)
    y = draw(64, 2**15, **(here | NEIGHBOURS[name])).astype(np.float64)
    for power, (u, v) in enumerate(((x, y), (x * x, y * y), (x * x * x, y * y * y)), start=1):
        for shift in (0, 1, 128):
            assert abs(correlation_z(u, np.roll(v, shift, axis=1))) < Z_LIMIT, (power, shift)
    assert_uniform_cells(x, y)


def test_every_bit_pattern_of_eight_signs_is_equally_likely() -> None:
    """Signs of eight successive steps at one coordinate: low-dimensional structure would show here."""
    signs = np.stack([draw(64, 2**14, step=t) > 0 for t in range(8)])
    patterns = np.tensordot(1 << np.arange(8), signs, axes=1)
    assert stats.chisquare(np.bincount(patterns.ravel(), minlength=256)).pvalue > 1e-5


def test_a_draw_is_named_by_seed_replica_step_and_coordinate_alone() -> None:
    whole = draw(6, 1000, seed=9, step=3)
    assert np.array_equal(draw(2, 1000, seed=9, step=3, first=4), whole[4:])
    assert np.array_equal(draw(6, 300, seed=9, step=3), whole[:, :300])
    for other in ({"seed": 8}, {"step": 4}, {"first": 1}):
        assert not np.any(draw(6, 1000, **({"seed": 9, "step": 3} | other))[0] == whole[0])


def test_padding_stays_zero() -> None:
    x = np.full((1, 2, random_numbers.BLOCK), 7, dtype=np.float32)
    random_numbers.normal(len(x), x, 300, 0, np.arange(1), 1)
    assert np.all(x.ravel()[300:] == 0)
    assert np.all(x.ravel()[:300] != 0)
