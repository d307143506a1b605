"""Single passes over the entries of one replica, or of a run of its blocks: sums, averages, directions, the move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiling import inlined
from sim.random_numbers import BLOCK, LANES, ROWS, Bits, Blocks, f32, f64, hash32, u32, u64

Array = NDArray[np.float64]


@inlined
def clear(lanes: Array) -> None:
    for lane in range(LANES):
        lanes[lane] = 0.0


@inlined
def sum_lanes(lanes: Array) -> float:
    total = f64(0.0)
    for lane in range(LANES):
        total += lanes[lane]
    return total


@inlined
def add_products(a: Blocks, b: Blocks, lanes: Array) -> None:
    """Add <a, b> to ``lanes`` (LANES,), block after block: parts give the bits of the whole."""
    for block in range(len(a)):
        for lane in range(LANES):
            column = f32(0.0)
            for row in range(ROWS):
                column += a[block, row * LANES + lane] * b[block, row * LANES + lane]
            lanes[lane] += f64(column)


@inlined
def dot(a: Blocks, b: Blocks, lanes: Array) -> float:
    """The sum <a, b>; ``lanes`` (LANES,) is scratch."""
    clear(lanes)
    add_products(a, b, lanes)
    return sum_lanes(lanes)


@inlined
def blend(x: Blocks, y: Blocks, own: np.float32, other: np.float32) -> None:
    """x <- own * x + other * y."""
    for b in range(len(x)):
        for i in range(BLOCK):
            x[b, i] = own * x[b, i] + other * y[b, i]


@inlined
def adam_direction(
    g: Blocks,
    w: Blocks,
    m: Blocks,
    v: Blocks,
    scale: np.float32,
    radial: np.float32,
    gain1: np.float32,
    gain2: np.float32,
    unbias1: np.float32,
    unbias2: np.float32,
    eps: np.float32,
    bits: Bits,
    key: np.uint64,
) -> None:
    """Adam's direction for the gradient ``scale * g - radial * w``; it replaces g. Updates m and v.

    The root and the division leave the integer units idle. So the bits of the next step, as in `fill_bits`, are
    made here, at little cost in time.
    """
    counter, high = u32(key & u64(0xFFFFFFFF)), u32(key >> u64(32))
    for b in range(len(g)):
        for i in range(BLOCK):
            tangent = scale * g[b, i] - radial * w[b, i]
            first = m[b, i] + gain1 * (tangent - m[b, i])
            second = v[b, i] + gain2 * (tangent * tangent - v[b, i])
            m[b, i] = first
            v[b, i] = second
            g[b, i] = unbias1 * first / (unbias2 * np.sqrt(second) + eps)
            bits[b, i] = hash32(counter, high)
            counter = u32(counter + u32(1))


@inlined
def momentum_direction(
    g: Blocks,
    w: Blocks,
    m: Blocks,
    scale: np.float32,
    radial: np.float32,
    gain1: np.float32,
    gain2: np.float32,
    bits: Bits,
    key: np.uint64,
) -> None:
    """The same for a momentum: the old one averaged with the gradient at ``gain1`` replaces g, at ``gain2`` m."""
    counter, high = u32(key & u64(0xFFFFFFFF)), u32(key >> u64(32))
    for b in range(len(g)):
        for i in range(BLOCK):
            ahead = scale * g[b, i] - radial * w[b, i] - m[b, i]
            g[b, i] = m[b, i] + gain1 * ahead
            m[b, i] = m[b, i] + gain2 * ahead
            bits[b, i] = hash32(counter, high)
            counter = u32(counter + u32(1))


@inlined
def take_sign(x: Blocks) -> None:
    """-1, 0 or 1, which leaves the padding at 0; NaN stays NaN."""
    for b in range(len(x)):
        for i in range(BLOCK):
            y = x[b, i]
            x[b, i] = y if y == f32(0.0) or y != y else (f32(1.0) if y > f32(0.0) else f32(-1.0))


@inlined
def move(w: Blocks, u: Blocks, shrink: np.float32, rate: np.float32, lanes: Array) -> None:
    """w <- w - (shrink * w + rate * u); the displacement replaces u. Adds the new <w, w> to ``lanes``.

    The factor 1 - shrink is never formed: in float32 it would lose the digits of a small shrink.
    """
    for b in range(len(w)):
        for lane in range(LANES):
            column = f32(0.0)
            for row in range(ROWS):
                i = row * LANES + lane
                old = w[b, i]
                new = old - (shrink * old + rate * u[b, i])
                u[b, i] = new - old
                w[b, i] = new
                column += new * new
            lanes[lane] += f64(column)
