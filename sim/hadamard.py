"""Hadamard's transform of blocks: an orthogonal mixture of all coordinates, in n log n additions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiling import inlined
from sim.random_numbers import BLOCK, LANES, ROWS, Blocks, f32, f64


@inlined
def four(
    a: np.float32, b: np.float32, c: np.float32, d: np.float32
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Hadamard's transform of four numbers, not normalised."""
    p, q, r, s = a + b, a - b, c + d, c - d
    return p + r, q + s, p - r, q - s


@inlined
def rotate_rows(x: Blocks, b: int) -> None:
    """Hadamard's transform of the 16 rows of a block, as 4 x 4, in each lane."""
    for k in range(LANES):
        a0, a1, a2, a3 = four(x[b, k], x[b, k + 16], x[b, k + 32], x[b, k + 48])
        b0, b1, b2, b3 = four(x[b, k + 64], x[b, k + 80], x[b, k + 96], x[b, k + 112])
        c0, c1, c2, c3 = four(x[b, k + 128], x[b, k + 144], x[b, k + 160], x[b, k + 176])
        d0, d1, d2, d3 = four(x[b, k + 192], x[b, k + 208], x[b, k + 224], x[b, k + 240])
        x[b, k], x[b, k + 64], x[b, k + 128], x[b, k + 192] = four(a0, b0, c0, d0)
        x[b, k + 16], x[b, k + 80], x[b, k + 144], x[b, k + 208] = four(a1, b1, c1, d1)
        x[b, k + 32], x[b, k + 96], x[b, k + 160], x[b, k + 224] = four(a2, b2, c2, d2)
        x[b, k + 48], x[b, k + 112], x[b, k + 176], x[b, k + 240] = four(a3, b3, c3, d3)


@inlined
def butterfly(x: NDArray[np.float32], y: NDArray[np.float32]) -> None:
    """x, y <- x + y, x - y."""
    for i in range(BLOCK):
        upper, lower = x[i], y[i]
        x[i] = upper + lower
        y[i] = upper - lower


@inlined
def rotate(x: Blocks, turned: NDArray[np.float32]) -> None:
    """Replace x by Q x, with Q orthogonal, symmetric, and every entry +-1/sqrt(size of x); so Q is its own inverse.

    Rows, then lanes, which a transposition makes rows (and leaves so), then blocks, whose number must be a power of
    two. ``turned`` (BLOCK,) is scratch.
    """
    num_blocks = len(x)
    factor = f32(1.0 / np.sqrt(f64(num_blocks * BLOCK)))
    for b in range(num_blocks):
        rotate_rows(x, b)
        for row in range(ROWS):
            for lane in range(LANES):
                turned[lane * ROWS + row] = x[b, row * LANES + lane]
        for i in range(BLOCK):
            x[b, i] = factor * turned[i]
        rotate_rows(x, b)
    half = 1
    while half < num_blocks:
        for b in range(num_blocks):
            if b & half == 0:
                butterfly(x[b], x[b + half])
        half *= 2
