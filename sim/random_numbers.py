r"""Gaussian numbers from a counter: functions of (seed, replica, draw, coordinate) and nothing else.

Layout: a replica is a float32 array (num_blocks, `BLOCK`), padded with zeros. Sums run down fixed `LANES` in
float32 within a block, and from block to block in float64, always in the same order, and LLVM may not
reassociate. So a result depends neither on the number of threads nor on how the replicas are split, and the
plain Python source gives the same bits.

Two things keep the inner loops in full vectors. Their bounds are constants. Integers are cast after every
operation, since Numba would otherwise widen uint32 to 64 bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiling import inlined, kernel

LANES = 16
ROWS = 16
BLOCK = LANES * ROWS
HALF = BLOCK // 2

u32, u64, i32, f32, f64 = np.uint32, np.uint64, np.int32, np.float32, np.float64
Blocks = NDArray[np.float32]
Bits = NDArray[np.uint32]


@inlined
def mix64(z: np.uint64) -> np.uint64:
    """Finalizer of SplitMix64 (Steele, Lea and Flood 2014), constants of Stafford's variant 13."""
    z = u64((z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9))
    z = u64((z ^ (z >> u64(27))) * u64(0x94D049BB133111EB))
    return u64(z ^ (z >> u64(31)))


@inlined
def stream_key(seed: int, replica: int, draw: int) -> np.uint64:
    """Key of one replica's random numbers at one draw: 0 for the initial weights, t + 1 for step t."""
    start = mix64(u64((u64(seed) << u64(32)) | u64(replica)))
    return mix64(u64(start + u64(u64(draw) * u64(0x9E3779B97F4A7C15))))


@inlined
def key_from(key: np.uint64, first: int) -> np.uint64:
    """The key whose coordinates are those of ``key`` from number ``first`` on."""
    return u64((key & u64(0xFFFFFFFF00000000)) | u64(u32(u32(key & u64(0xFFFFFFFF)) + u32(first))))


@inlined
def hash32(counter: np.uint32, high: np.uint32) -> np.uint32:
    """32 random bits of a coordinate: a permutation of the counters, which start at one half of the key.

    Multiply-and-shift rounds with the constants of Wellons' triple32. The other half of the key enters between the
    rounds, so that streams whose counters overlap still differ.
    """
    x = u32(u32(counter ^ (counter >> u32(17))) * u32(0xED5AD4BB))
    x = u32(u32(x ^ (x >> u32(11))) + high)
    x = u32(x * u32(0xAC4C1B51))
    x = u32(u32(x ^ (x >> u32(15))) * u32(0x31848BAB))
    return u32(x ^ (x >> u32(14)))


@inlined
def radius(bits: np.uint32) -> np.float32:
    r""":math:`\sqrt{-2\ln x}` with :math:`x = (bits + 1/2)/2^{32}`, between 0 and 6.76.

    :math:`x = 2^e (1 + f)` with :math:`1 + f \in [\sqrt{1/2}, \sqrt 2)`; the logarithm of 1 + f by a minimax
    polynomial to 1e-6.
    """
    x = f32(bits) + f32(0.5)
    shifted = u32(f32(x).view(u32) - u32(0x3F3504F3 + (32 << 23)))
    exponent = f32(i32(u32(shifted).view(i32) >> i32(23)))
    mantissa = u32(u32(shifted & u32(0x007FFFFF)) + u32(0x3F3504F3))
    f = u32(mantissa).view(f32) - f32(1.0)
    p = f * f32(-0.237921888) + f32(0.373356997)
    p = f * p - f32(0.409926614)
    p = f * p + f32(0.498194894)
    p = f * p - f32(0.666290177)
    p = f * p + f32(1.00002226)
    p = f * p - f32(2.00000195)
    return np.sqrt(exponent * f32(-1.38629436) + f * p)


@inlined
def half_turn(bits: np.uint32) -> tuple[np.float32, np.float32]:
    """Sine and cosine of an angle uniform in (-pi/2, pi/2), by minimax polynomials to 1e-6."""
    q = f32(u32(bits).view(i32)) * f32(2.0**-31)
    y = q * q
    s = y * f32(-0.00436246912) + f32(0.0794876549)
    s = y * s - f32(0.645920977)
    s = y * s + f32(1.57079485)
    c = y * f32(0.000858190618) - f32(0.0208106275)
    c = y * c + f32(0.253650745)
    c = y * c - f32(1.23369821)
    c = y * c + f32(0.999999953)
    return q * s, c


@inlined
def fill_bits(bits: Bits, key: np.uint64) -> None:
    """32 random bits for every coordinate, from its number and the key."""
    counter, high = u32(key & u64(0xFFFFFFFF)), u32(key >> u64(32))
    for b in range(len(bits)):
        for i in range(BLOCK):
            bits[b, i] = hash32(counter, high)
            counter = u32(counter + u32(1))


@inlined
def fill_normal(x: Blocks, dim: int, bits: Bits) -> None:
    """Independent N(0, 1) numbers in the first ``dim`` coordinates, zeros in the rest, from `fill_bits`.

    Box and Muller: coordinates j and j + HALF of a block share a radius and an angle. Two short loops keep more
    iterations in flight than a long one.
    """
    for b in range(len(x)):
        for i in range(HALF):
            x[b, i] = radius(bits[b, i])
        for i in range(HALF):
            turn = bits[b, i + HALF]
            s, c = half_turn(turn)
            r = x[b, i]
            # The lowest bit, which the angle hardly feels, chooses the other half of the circle.
            flipped = u32(f32(r * c).view(u32) ^ u32(turn << u32(31)))
            x[b, i] = r * s
            x[b, i + HALF] = u32(flipped).view(f32)
    last = len(x) - 1
    for i in range(dim - last * BLOCK, BLOCK):
        x[last, i] = f32(0.0)


@kernel
def normal(first: int, last: int, x: Blocks, dim: int, seed: int, replicas: NDArray[np.int64], draw: int) -> None:
    """Fill ``x`` (num_replicas, num_blocks, BLOCK) with the numbers that the replicas get at one draw."""
    for r in range(first, last):
        bits = np.empty(x.shape[1:], u32)
        fill_bits(bits, stream_key(seed, replicas[r], draw))
        fill_normal(x[r], dim, bits)
