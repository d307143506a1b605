r"""The orthogonal polar factor of a matrix, :math:`U\Sigma V^\top \to UV^\top`, in float32.

Newton-Schulz iteration of order 5, on the matrix scaled so that no singular value exceeds 1:

.. math::  X \leftarrow \tfrac18\left(15 - 10\,XX^\top + 3\,(XX^\top)^2\right)X

It raises small singular values by 15/8 per step and then converges with the third power of the error; it goes on until
the factor is orthogonal to float32. This is the exact factor that `theory.muon` speaks of, not the one that five steps
with tuned coefficients leave in training.

Matrices are short by long, cut into `TILE` x `TILE` squares, (row of tiles, column of tiles, TILE, TILE), and padded
with zeros. Constant sides keep the loops in full vectors. A product sums in the order of the inner index.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sim.compiling import inlined
from sim.random_numbers import Blocks, f32

Tiles = NDArray[np.float32]

TILE = 16
NEAR = f32(1e-2)  # then every singular value is within 0.25 %, and one more step leaves 4e-8
MOST_STEPS = 100


@inlined
def multiply(a: Tiles, b: Tiles, out: Tiles) -> None:
    """out = a b."""
    for row in range(a.shape[0]):
        for column in range(b.shape[1]):
            for i in range(TILE):
                for j in range(TILE):
                    out[row, column, i, j] = f32(0.0)
            for inner in range(a.shape[1]):
                for i in range(TILE):
                    for j in range(TILE):
                        total = out[row, column, i, j]
                        for k in range(TILE):
                            total += a[row, inner, i, k] * b[inner, column, k, j]
                        out[row, column, i, j] = total


@inlined
def transpose(a: Tiles, out: Tiles) -> None:
    for row in range(a.shape[0]):
        for column in range(a.shape[1]):
            for i in range(TILE):
                for j in range(TILE):
                    out[column, row, j, i] = a[row, column, i, j]


@inlined
def trace(a: Tiles) -> np.float32:
    total = f32(0.0)
    for row in range(a.shape[0]):
        for i in range(TILE):
            total += a[row, row, i, i]
    return total


@inlined
def polynomial(gram: Tiles, square: Tiles, constant: np.float32, linear: np.float32, quadratic: np.float32) -> None:
    """square <- constant + linear * gram + quadratic * square."""
    for row in range(gram.shape[0]):
        for column in range(gram.shape[1]):
            for i in range(TILE):
                for j in range(TILE):
                    square[row, column, i, j] = linear * gram[row, column, i, j] + quadratic * square[row, column, i, j]
        for i in range(TILE):
            square[row, row, i, i] += constant


@njit(error_model="numpy")
def replace_by_polar_factor(
    z: Blocks, short: int, long: int, scale: np.float32, x: Tiles, y: Tiles, across: Tiles, gram: Tiles, square: Tiles
) -> None:
    """z <- ``scale`` times the polar factor of the (short, long) matrix in its first entries.

    NaN for a matrix that is zero or not finite. The tiles are scratch for matrices (short, long), twice, (long,
    short), and (short, short), twice; the padding of x is zero.
    """
    flat = z.reshape(z.size)
    for i in range(short):
        for j in range(long):
            x[i // TILE, j // TILE, i % TILE, j % TILE] = flat[i * long + j]
    for step in range(MOST_STEPS):
        transpose(x, across)
        multiply(x, across, gram)
        multiply(gram, gram, square)
        fourth = trace(square)  # sum of the fourth powers of the singular values
        # Scaled at the first step, so that none is above 1.
        size = f32(1.0) if step > 0 else f32(1.0) / np.sqrt(fourth)
        factor = np.sqrt(size)
        polynomial(gram, square, f32(1.875) * factor, f32(-1.25) * factor * size, f32(0.375) * factor * size * size)
        multiply(square, x, y)
        x, y = y, x
        if step > 0 and not fourth < f32(short) - NEAR:
            break
    for i in range(short):
        for j in range(long):
            flat[i * long + j] = scale * x[i // TILE, j // TILE, i % TILE, j % TILE]
