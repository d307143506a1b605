r"""Compiled kernels: Adam's arithmetic on noise. Layout and order of sums as in `sim.random_numbers`."""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from sim.compiling import inlined, kernel
from sim.random_numbers import (
    BLOCK,
    LANES,
    ROWS,
    Bits,
    Blocks,
    f32,
    f64,
    fill_bits,
    fill_normal,
    hash32,
    stream_key,
    u32,
    u64,
)

Array = NDArray[np.float64]

# Columns of what is recorded: W before the step, u its direction, N = W after the step, D = N - W.
WW, WU, UU, NN, ND, DD = range(6)
NUM_MOMENTS = 6

# Columns of the table of step constants.
LEARNING_RATE, SHRINK, UNBIAS_FIRST, UNBIAS_SECOND = range(4)
NUM_CONSTANTS = 4


@inlined
def sum_lanes(lanes: Array) -> float:
    total = f64(0.0)
    for lane in range(LANES):
        total += lanes[lane]
    return total


@inlined
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


@inlined
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


@kernel
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
