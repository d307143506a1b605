r"""Compiled kernels: Gaussian numbers from a counter, and Adam's arithmetic on noise.

Layout: a replica is a float32 array (num_blocks, `BLOCK`), padded with zeros. Sums run down fixed `LANES` in
float32 within a block, and from block to block in float64, always in the same order, and LLVM may not
reassociate. So a result depends neither on the number of threads nor on how the replicas are split, and the
plain Python source gives the same bits.

Two things keep the inner loops in full vectors. Their bounds are constants. Integers are cast after every
operation, since Numba would otherwise widen uint32 to 64 bits.

All kernels are in this one file: Numba's cache does not notice an edited callee in another one.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

LANES = 16
ROWS = 16
BLOCK = LANES * ROWS
HALF = BLOCK // 2

# Columns of what is recorded: W before the step, u its direction, N = W after the step, D = N - W.
WW, WU, UU, NN, ND, DD = range(6)
NUM_MOMENTS = 6

# Columns of the table of step constants.
LEARNING_RATE, SHRINK, UNBIAS_FIRST, UNBIAS_SECOND = range(4)
NUM_CONSTANTS = 4

u32, u64, i32, f32, f64 = np.uint32, np.uint64, np.int32, np.float32, np.float64
Blocks = NDArray[np.float32]
Bits = NDArray[np.uint32]
Array = NDArray[np.float64]


# Random numbers


@njit(forceinline=True, error_model="numpy")
def mix64(z: np.uint64) -> np.uint64:
    """Finalizer of SplitMix64 (Steele, Lea and Flood 2014), constants of Stafford's variant 13."""
    z = u64((z ^ (z >> u64(30))) * u64(0xBF58476D1CE4E5B9))
    z = u64((z ^ (z >> u64(27))) * u64(0x94D049BB133111EB))
    return u64(z ^ (z >> u64(31)))


@njit(forceinline=True, error_model="numpy")
def stream_key(seed: int, replica: int, draw: int) -> np.uint64:
    """Key of one replica's random numbers at one draw: 0 for the initial weights, t + 1 for step t."""
    start = mix64(u64((u64(seed) << u64(32)) | u64(replica)))
    return mix64(u64(start + u64(u64(draw) * u64(0x9E3779B97F4A7C15))))


@njit(forceinline=True, error_model="numpy")
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


@njit(forceinline=True, error_model="numpy")
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


@njit(forceinline=True, error_model="numpy")
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


@njit(forceinline=True, error_model="numpy")
def fill_bits(bits: Bits, key: np.uint64) -> None:
    """32 random bits for every coordinate, from its number and the key."""
    counter, high = u32(key & u64(0xFFFFFFFF)), u32(key >> u64(32))
    for b in range(len(bits)):
        for i in range(BLOCK):
            bits[b, i] = hash32(counter, high)
            counter = u32(counter + u32(1))


@njit(forceinline=True, error_model="numpy")
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


@njit(parallel=True, cache=True, error_model="numpy")
def normal(x: Blocks, dim: int, seed: int, replicas: NDArray[np.int64], draw: int) -> None:
    """Fill ``x`` (num_replicas, num_blocks, BLOCK) with the numbers that the replicas get at one draw."""
    for r in prange(len(x)):
        bits = np.empty(x.shape[1:], u32)
        fill_bits(bits, stream_key(seed, replicas[r], draw))
        fill_normal(x[r], dim, bits)


# Adam


@njit(forceinline=True, error_model="numpy")
def sum_lanes(lanes: Array) -> float:
    total = f64(0.0)
    for lane in range(LANES):
        total += lanes[lane]
    return total


@njit(forceinline=True, error_model="numpy")
def dot(a: Blocks, b: Blocks, lanes: Array) -> float:
    """The sum <a, b>; ``lanes`` (LANES,) is scratch."""
    for lane in range(LANES):
        lanes[lane] = 0.0
    for block in range(len(a)):
        for lane in range(LANES):
            column = f32(0.0)
            for row in range(ROWS):
                column += a[block, row * LANES + lane] * b[block, row * LANES + lane]
            lanes[lane] += f64(column)
    return sum_lanes(lanes)


@njit(forceinline=True, error_model="numpy")
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


@njit(forceinline=True, error_model="numpy")
def move(w: Blocks, u: Blocks, shrink: np.float32, rate: np.float32, lanes: Array) -> float:
    """w <- w - (shrink * w + rate * u); the displacement replaces u. Returns the new <w, w>.

    The factor 1 - shrink is never formed: in float32 it would lose the digits of a small shrink.
    """
    for lane in range(LANES):
        lanes[lane] = 0.0
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
    return sum_lanes(lanes)


@njit(forceinline=True, error_model="numpy")
def advance_replica(
    w: Blocks,
    m: Blocks,
    v: Blocks,
    dim: int,
    seed: int,
    replica: int,
    start: int,
    constants: Array,
    gains: Array,
    norm: float,
    on_sphere: bool,
    inverse_norm: bool,
    slots: NDArray[np.int64],
    moments: Array,
) -> tuple[float, int]:
    """All steps of one replica; see `advance`. Returns <w, w> at the end and the step of divergence, or -1."""
    g, lanes, bits = np.empty_like(w), np.empty(LANES), np.empty(w.shape, u32)
    gain1, gain2, eps = f32(gains[0]), f32(gains[1]), f32(gains[2])
    ww = dot(w, w, lanes)
    fill_bits(bits, stream_key(seed, replica, start + 1))
    for k in range(len(constants)):
        fill_normal(g, dim, bits)
        scale = norm / np.sqrt(ww) if inverse_norm else 1.0
        adam_direction(
            g,
            w,
            m,
            v,
            f32(scale),
            f32(scale * dot(w, g, lanes) / ww),
            gain1,
            gain2,
            f32(constants[k, UNBIAS_FIRST]),
            f32(constants[k, UNBIAS_SECOND]),
            eps,
            bits,
            stream_key(seed, replica, start + k + 2),
        )
        rate, shrink = constants[k, LEARNING_RATE], constants[k, SHRINK]
        slot = slots[k]
        if slot >= 0 or on_sphere:
            wu, uu = dot(w, g, lanes), dot(g, g, lanes)
        if slot >= 0:
            moments[slot, WW], moments[slot, WU], moments[slot, UU] = ww, wu, uu
        if on_sphere:
            # W <- R Norm(W - s u) is a step with shrink 1 - R/|W - s u|.
            s = rate * norm / np.sqrt(uu)
            back = norm / np.sqrt(ww - 2.0 * s * wu + s * s * uu)
            rate, shrink = s * back, 1.0 - back
        ww = move(w, g, f32(shrink), f32(rate), lanes)
        if slot >= 0:
            moments[slot, NN] = ww
            moments[slot, ND], moments[slot, DD] = dot(w, g, lanes), dot(g, g, lanes)
        if not 0.0 < ww < np.inf:
            return ww, start + k
    return ww, -1


@njit(parallel=True, cache=True, error_model="numpy")
def advance(
    w: Blocks,
    m: Blocks,
    v: Blocks,
    dim: int,
    seed: int,
    replicas: NDArray[np.int64],
    start: int,
    constants: Array,
    gains: Array,
    norm: Array,
    on_sphere: bool,
    inverse_norm: bool,
    slots: NDArray[np.int64],
    moments: Array,
    squared_norm: Array,
    diverged: NDArray[np.int64],
) -> None:
    """Take every replica that has not diverged through the steps from ``start`` on.

    Parameters
    ----------
    w, m, v : (num_replicas, num_blocks, BLOCK) float32 weights and Adam's averages, updated in place.
    dim : number of coordinates of a replica; the rest of its blocks is zero and stays so.
    seed, replicas : with the step and the coordinate they name the random numbers; ``replicas`` (num_replicas,).
    constants : (num_steps, NUM_CONSTANTS) learning rate, shrink, and Adam's factors 1/(1 - beta1^(t+1)) and
        1/sqrt(1 - beta2^(t+1)).
    gains : 1 - beta1, 1 - beta2, eps.
    norm : (num_replicas,) radius of the sphere, and reference of the gradient scale.
    on_sphere : AdamH in place of AdamW; the shrink is then ignored.
    inverse_norm : gradients grow as the norm shrinks, as those of a scale-invariant loss.
    slots : (num_steps,) index into ``moments``, or -1 where nothing is recorded.
    moments : (num_replicas, num_records, NUM_MOMENTS), written.
    squared_norm, diverged : (num_replicas,) <w, w> after the last step, and the step after which it was no longer
        finite and above 0 (-1: it always was); written.
    """
    for r in prange(len(w)):
        if diverged[r] < 0:
            squared_norm[r], diverged[r] = advance_replica(
                w[r],
                m[r],
                v[r],
                dim,
                seed,
                replicas[r],
                start,
                constants,
                gains,
                norm[r],
                on_sphere,
                inverse_norm,
                slots,
                moments[r],
            )
