"""The polar factor against the singular value decomposition in float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sim.polar import TILE, replace_by_polar_factor


def polar_factor(z: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of a matrix that is not taller than wide."""
    short, long = z.shape
    rows, columns = -(-short // TILE), -(-long // TILE)
    size = -(-z.size // 256)
    blocks = np.zeros((size, 256), np.float32)
    blocks.ravel()[: z.size] = z.ravel()
    tiles = [(rows, columns), (rows, columns), (columns, rows), (rows, rows), (rows, rows)]
    scratch = (np.zeros((*tile, TILE, TILE), np.float32) for tile in tiles)
    replace_by_polar_factor(blocks, short, long, np.float32(1), *scratch)
    assert np.all(blocks.ravel()[z.size :] == 0)
    return blocks.ravel()[: z.size].reshape(z.shape)


def expected(z: NDArray[np.float32]) -> NDArray[np.float64]:
    left, _, right = np.linalg.svd(z.astype(np.float64), full_matrices=False)
    return left @ right


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 9), (16, 16), (17, 33), (48, 64), (64, 64)])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_gaussian_matrices(shape: tuple[int, int], scale: float) -> None:
    """A singular value near 0 multiplies the rounding of the entries, hence the looser bound on square matrices."""
    z = (scale * np.random.default_rng(3).standard_normal(shape)).astype(np.float32)
    np.testing.assert_allclose(polar_factor(z), expected(z), atol=1e-5 if shape[0] == shape[1] else 1e-6)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5])
def test_the_factor_is_orthogonal_whatever_the_condition(condition: float) -> None:
    rng = np.random.default_rng(4)
    left, right = (np.linalg.qr(rng.standard_normal((n, n)))[0] for n in (20, 50))
    z = ((left * np.geomspace(1, 1 / condition, 20)) @ right[:20]).astype(np.float32)
    x = polar_factor(z).astype(np.float64)
    np.testing.assert_allclose(x @ x.T, np.eye(20), atol=3e-6)
    np.testing.assert_allclose(x, left @ right[:20], atol=1e-7 * condition)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_what_has_no_polar_factor_gives_nan(value: float) -> None:
    assert np.all(np.isnan(polar_factor(np.full((5, 6), value, np.float32))))
