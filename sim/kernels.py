r"""Compiled kernels: optimizers' arithmetic on noise. Layout and order of sums as in `sim.random_numbers`.

A step is: draw a gradient, make it tangent, turn it into the optimizer's direction, move. Families differ in the third
part only. Adam's has two averages; the others have a momentum, whose sign or polar factor may be taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.compiling import inlined, kernel, merged
from sim.heavy_tails import fill_student
from sim.passes import (
    adam_direction,
    add_products,
    blend,
    clear,
    dot,
    momentum_direction,
    move,
    sum_lanes,
    take_sign,
)
from sim.polar import TILE, replace_by_polar_factor
from sim.random_numbers import BLOCK, LANES, Bits, Blocks, f32, fill_bits, fill_normal, key_from, stream_key, u32

Array = NDArray[np.float64]

# Columns of what is recorded: W before the step, u its direction, N = W after the step, D = N - W.
WW, WU, UU, NN, ND, DD = range(6)
NUM_MOMENTS = 6
# Row of the sums that is not recorded: W times the gradient of the next step.
WG = NUM_MOMENTS
NUM_SUMS = 7

# Blocks that are taken through the end of a step together; 80 kB, which the second-level cache holds.
PART = 4

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
def draw_gradient(
    g: Blocks,
    noise: Blocks,
    signal: Blocks,
    dim: int,
    bits: Bits,
    law: Law,
    seed: int,
    replica: int,
    draw: int,
    first: int,
    more: Bits,
    fresh: Blocks,
) -> None:
    """Fill g, whose first coordinate has the number ``first``, from ``bits``; ``more`` and ``fresh`` are scratch."""
    if law.degrees > 0.0:
        fill_bits(more, key_from(stream_key(seed, replica, TAIL_DRAWS + draw), first))
        fill_student(g, dim, bits, more, f32(law.degrees))
    else:
        fill_normal(g, dim, bits)
    if law.autocorrelation != 0.0:
        blend(noise, g, f32(law.autocorrelation), f32(np.sqrt(1.0 - law.autocorrelation**2)))
        blend(g, noise, f32(0.0), f32(1.0))
    if law.signal > 0.0:
        if law.persistence < 1.0:
            fill_bits(more, key_from(stream_key(seed, replica, SIGNAL_DRAWS + draw), first))
            fill_normal(fresh, dim, more)
            blend(signal, fresh, f32(law.persistence), f32(np.sqrt(1.0 - law.persistence**2)))
        blend(g, signal, f32(1.0), f32(law.signal))


@merged
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
    """All steps of one replica; see `advance`. Returns <w, w> at the end and the step of divergence, or -1.

    A step needs one sum over the whole replica before it, that of W and its gradient. So the end of a step and the
    gradient of the next are made part after part, and what a step touches passes through the caches once. On the
    sphere, and for a polar factor, a part is the whole.
    """
    part = len(w) if rule.on_sphere or rule.family == POLAR else min(len(w), PART)
    g, bits = np.empty_like(w), np.empty((part, BLOCK), u32)
    more, fresh, sums = np.empty((part, BLOCK), u32), np.empty((part, BLOCK), f32), np.empty((NUM_SUMS, LANES))
    gain1, gain2, eps = f32(rule.gain1), f32(rule.gain2), f32(rule.eps)
    rows, columns = -(-rule.short // TILE), -(-rule.long // TILE)
    x, y = np.zeros((rows, columns, TILE, TILE), f32), np.zeros((rows, columns, TILE, TILE), f32)
    across = np.empty((columns, rows, TILE, TILE), f32)
    gram, square = np.empty((rows, rows, TILE, TILE), f32), np.empty((rows, rows, TILE, TILE), f32)
    ww, slot, rate, shrink = dot(w, w, sums[NN]), -1, 0.0, 0.0
    scale = radial = 0.0
    unbias1 = unbias2 = f32(1.0)
    # Turn k ends step k and draws the gradient of the next; turn -1 only draws.
    for k in range(-1, len(constants)):
        draw = start + k + 2
        if k >= 0:
            slot, rate, shrink = slots[k], constants[k, LEARNING_RATE], constants[k, SHRINK]
            unbias1, unbias2 = f32(constants[k, UNBIAS_FIRST]), f32(constants[k, UNBIAS_SECOND])
            scale = law.rms * rule.amplify
            if law.inverse_norm:
                scale *= np.sqrt(dim / ww)
            radial = scale * sum_lanes(sums[WG]) / ww - rule.amplify * rule.coupled_decay
        if slot >= 0 or rule.on_sphere:
            sums[:] = 0.0
        clear(sums[NN])
        clear(sums[WG])
        for a in range(0, len(w), part):
            first, b = a * BLOCK, min(a + part, len(w))
            wp, gp, mp, vp, bp = w[a:b], g[a:b], m[a:b], v[a:b], bits[: b - a]
            key = key_from(stream_key(seed, replica, draw), first)
            if k < 0:
                fill_bits(bp, key)
            else:
                if rule.family == ADAM:
                    adam_direction(
                        gp, wp, mp, vp, f32(scale), f32(radial), gain1, gain2, unbias1, unbias2, eps, bp, key
                    )
                else:
                    momentum_direction(gp, wp, mp, f32(scale), f32(radial), gain1, gain2, bp, key)
                    if rule.family == SIGN:
                        take_sign(gp)
                    if rule.family == POLAR:
                        replace_by_polar_factor(
                            g, rule.short, rule.long, f32(rule.update_scale), x, y, across, gram, square
                        )
                if slot >= 0 or rule.on_sphere:
                    add_products(wp, gp, sums[WU])
                    add_products(gp, gp, sums[UU])
                if rule.on_sphere:
                    # W <- R Norm(W - s u) is a step with shrink 1 - R/|W - s u|.
                    wu, uu = sum_lanes(sums[WU]), sum_lanes(sums[UU])
                    s = rate * norm / np.sqrt(uu)
                    back = norm / np.sqrt(ww - 2.0 * s * wu + s * s * uu)
                    rate, shrink = s * back, 1.0 - back
                move(wp, gp, f32(shrink), f32(rate), sums[NN])
                if slot >= 0:
                    add_products(wp, gp, sums[ND])
                    add_products(gp, gp, sums[DD])
            if k + 1 < len(constants):
                draw_gradient(
                    gp,
                    noise[a:b],
                    signal[a:b],
                    dim - first,
                    bp,
                    law,
                    seed,
                    replica,
                    draw,
                    first,
                    more[: b - a],
                    fresh[: b - a],
                )
                add_products(wp, gp, sums[WG])
        if k >= 0:
            if slot >= 0:
                moments[slot, WW] = ww
                for column in range(WU, NUM_MOMENTS):
                    moments[slot, column] = sum_lanes(sums[column])
            ww = sum_lanes(sums[NN])
            if not 0.0 < ww < np.inf:
                return ww, start + k
    return ww, -1


@kernel
def advance(
    first: int,
    last: int,
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
    for r in range(first, last):
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
