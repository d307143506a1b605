r"""Compiled kernels: optimizers' arithmetic on noise. Layout and order of sums as in `sim.random_numbers`.

A step is: draw a gradient, make it tangent, turn it into the optimizer's direction, move. Families differ in the third
part only. Adam's has two averages; the others have a momentum, whose sign or polar factor may be taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from sim.compiling import inlined, kernel
from sim.heavy_tails import fill_student
from sim.polar import TILE, replace_by_polar_factor
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

# Families of directions.
ADAM, MOMENTUM, SIGN, POLAR = range(4)

# Draws of the gradient are numbered by the step; what else is random has numbers of its own.
TAIL_DRAWS, SIGNAL_DRAWS, STARTS = 1 << 40, 2 << 40, 3 << 40


class Rule(NamedTuple):
    """What an optimizer does with a gradient.

    Attributes
    ----------
    family : ADAM, MOMENTUM, SIGN or POLAR.
    gain1, gain2 : ADAM: 1 - beta of the two averages. Else the gain of the momentum that makes the direction, and of
        the one that is kept.
    eps : ADAM only.
    amplify : factor on the gradient.
    coupled_decay : multiple of the weights added to the gradient.
    on_sphere : keep the norm, in place of the shrink.
    short, long, update_scale : POLAR: sides of the matrix, and a factor on its polar factor.
    """

    family: int
    gain1: float
    gain2: float
    eps: float = 0.0
    amplify: float = 1.0
    coupled_decay: float = 0.0
    on_sphere: bool = False
    short: int = 0
    long: int = 0
    update_scale: float = 1.0


class Law(NamedTuple):
    """How gradients are drawn, before they are made tangent.

    Attributes
    ----------
    rms : of a noise entry.
    inverse_norm : ``rms`` is that at unit weight RMS; gradients go like one over the norm.
    degrees : of freedom of Student's t; 0 for Gaussian noise.
    autocorrelation : of the noise from step to step.
    signal : RMS of the signal, in units of the noise; 0 for none.
    persistence : of the signal from step to step.
    """

    rms: float
    inverse_norm: bool
    degrees: float
    autocorrelation: float
    signal: float
    persistence: float


class State(NamedTuple):
    """What replicas carry from step to step; (num_replicas, num_blocks, BLOCK) float32, updated in place.

    Attributes
    ----------
    w, m : weights and momentum.
    v : second moment; no blocks but in ADAM.
    noise, signal : the last of each; no blocks where nothing is remembered.
    """

    w: Blocks
    m: Blocks
    v: Blocks
    noise: Blocks
    signal: Blocks


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
    noise: Blocks,
    signal: Blocks,
    dim: int,
    seed: int,
    replica: int,
    start: int,
    constants: Array,
    rule: Rule,
    law: Law,
    norm: float,
    slots: NDArray[np.int64],
    moments: Array,
) -> tuple[float, int]:
    """All steps of one replica; see `advance`. Returns <w, w> at the end and the step of divergence, or -1."""
    g, lanes, bits = np.empty_like(w), np.empty(LANES), np.empty(w.shape, u32)
    more, fresh = np.empty(w.shape, u32), np.empty_like(w)
    gain1, gain2, eps = f32(rule.gain1), f32(rule.gain2), f32(rule.eps)
    rows, columns = -(-rule.short // TILE), -(-rule.long // TILE)
    x, y = np.zeros((rows, columns, TILE, TILE), f32), np.zeros((rows, columns, TILE, TILE), f32)
    across = np.empty((columns, rows, TILE, TILE), f32)
    gram, square = np.empty((rows, rows, TILE, TILE), f32), np.empty((rows, rows, TILE, TILE), f32)
    ww = dot(w, w, lanes)
    fill_bits(bits, stream_key(seed, replica, start + 1))
    for k in range(len(constants)):
        draw = start + k + 1
        if law.degrees > 0.0:
            fill_bits(more, stream_key(seed, replica, TAIL_DRAWS + draw))
            fill_student(g, dim, bits, more, f32(law.degrees))
        else:
            fill_normal(g, dim, bits)
        if law.autocorrelation != 0.0:
            blend(noise, g, f32(law.autocorrelation), f32(np.sqrt(1.0 - law.autocorrelation**2)))
            blend(g, noise, f32(0.0), f32(1.0))
        if law.signal > 0.0:
            if law.persistence < 1.0:
                fill_bits(more, stream_key(seed, replica, SIGNAL_DRAWS + draw))
                fill_normal(fresh, dim, more)
                blend(signal, fresh, f32(law.persistence), f32(np.sqrt(1.0 - law.persistence**2)))
            blend(g, signal, f32(1.0), f32(law.signal))
        scale = law.rms * rule.amplify
        if law.inverse_norm:
            scale *= np.sqrt(dim / ww)
        radial = scale * dot(w, g, lanes) / ww - rule.amplify * rule.coupled_decay
        key = stream_key(seed, replica, draw + 1)
        if rule.family == ADAM:
            unbias1, unbias2 = f32(constants[k, UNBIAS_FIRST]), f32(constants[k, UNBIAS_SECOND])
            adam_direction(g, w, m, v, f32(scale), f32(radial), gain1, gain2, unbias1, unbias2, eps, bits, key)
        else:
            momentum_direction(g, w, m, f32(scale), f32(radial), gain1, gain2, bits, key)
            if rule.family == SIGN:
                take_sign(g)
            if rule.family == POLAR:
                replace_by_polar_factor(g, rule.short, rule.long, f32(rule.update_scale), x, y, across, gram, square)
        rate, shrink = constants[k, LEARNING_RATE], constants[k, SHRINK]
        slot = slots[k]
        if slot >= 0 or rule.on_sphere:
            wu, uu = dot(w, g, lanes), dot(g, g, lanes)
        if slot >= 0:
            moments[slot, WW], moments[slot, WU], moments[slot, UU] = ww, wu, uu
        if rule.on_sphere:
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
    state: State,
    dim: int,
    seed: int,
    replicas: NDArray[np.int64],
    start: int,
    constants: Array,
    rule: Rule,
    law: Law,
    norm: Array,
    slots: NDArray[np.int64],
    moments: Array,
    squared_norm: Array,
    diverged: NDArray[np.int64],
) -> None:
    """Take every replica that has not diverged through the steps from ``start`` on.

    Parameters
    ----------
    state : updated in place.
    dim : number of coordinates of a replica; the rest of its blocks is zero and stays so.
    seed, replicas : with the step and the coordinate they name the random numbers; ``replicas`` (num_replicas,).
    constants : (num_steps, NUM_CONSTANTS) learning rate, shrink, and Adam's factors 1/(1 - beta1^(t+1)) and
        1/sqrt(1 - beta2^(t+1)).
    rule, law : of the optimizer and of the gradients.
    norm : (num_replicas,) radius of the sphere.
    slots : (num_steps,) index into ``moments``, or -1 where nothing is recorded.
    moments : (num_replicas, num_records, NUM_MOMENTS), written.
    squared_norm, diverged : (num_replicas,) <w, w> after the last step, and the step after which it was no longer
        finite and above 0 (-1: it always was); written.
    """
    w, m, v, noise, signal = state
    for r in prange(len(w)):
        if diverged[r] < 0:
            squared_norm[r], diverged[r] = advance_replica(
                w[r],
                m[r],
                v[r],
                noise[r],
                signal[r],
                dim,
                seed,
                replicas[r],
                start,
                constants,
                rule,
                law,
                norm[r],
                slots,
                moments[r],
            )
