r"""Compiled kernels of the regression on the sphere; the arithmetic is that of `theory.regression`.

One row of the arrays is one run: its own learning rate, optimizer and seed. Layout and order of sums as in
`sim.random_numbers`, so that a run's numbers do not depend on what else is computed beside it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.compiling import inlined, kernel, merged
from sim.hadamard import rotate
from sim.kernels import DD, ND, NN, NUM_MOMENTS, UU, WU, WW
from sim.passes import adam_direction, clear, dot, move, sum_lanes
from sim.random_numbers import (
    BLOCK,
    LANES,
    ROWS,
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

EXCESS = NUM_MOMENTS  # excess population loss before the step, beside the moments of `sim.kernels`
NUM_RECORDED = NUM_MOMENTS + 1

ADAM, MOMENTUM, NORMALISED = range(3)

# Columns of the table of a run's constants.
BETA1, BETA2, EPS, GAIN1, COUPLED, NESTEROV, NORM = range(7)
NUM_CONSTANTS = 7

# Columns of the table of a batch's random numbers.
CHI_B, CHI_REST, NORMAL = range(3)

BATCH_DRAWS = 2**40  # number of the first draw for batches; those of the features count from 0

# Sums over the features: delta lam delta, delta sqrt(lam) z, W lam delta, W sqrt(lam) z.
VV, PP, WD, WZ = range(4)


@kernel
def uniform(first: int, last: int, x: Array, seeds: NDArray[np.int64], stream: int, steps: NDArray[np.int64]) -> None:
    """Fill ``x`` (num_seeds, num_steps, k) with numbers uniform in (0, 1)."""
    for r in range(first, last):
        for t in range(x.shape[1]):
            key = stream_key(seeds[r], stream, BATCH_DRAWS + steps[t])
            counter, high = u32(key & u64(0xFFFFFFFF)), u32(key >> u64(32))
            for k in range(x.shape[2]):
                x[r, t, k] = (f64(hash32(u32(counter + u32(k)), high)) + 0.5) / 2.0**32


@kernel
def initial(first: int, last: int, w: Blocks, dim: int, seeds: NDArray[np.int64], stream: int) -> None:
    """Fill ``w`` (num_runs, num_blocks, BLOCK) with the N(0, 1) numbers of draw 0."""
    for r in range(first, last):
        bits = np.empty(w.shape[1:], np.uint32)
        fill_bits(bits, stream_key(seeds[r], stream, 0))
        fill_normal(w[r], dim, bits)


@inlined
def features_of(w: Blocks, coefficients: Blocks, turned: NDArray[np.float32]) -> None:
    """``coefficients`` <- Q w."""
    for b in range(len(w)):
        for i in range(BLOCK):
            coefficients[b, i] = w[b, i]
    rotate(coefficients, turned)


@inlined
def residual_sums(
    w: Blocks, z: Blocks, spectrum: Blocks, root: Blocks, target: Blocks, stretch: np.float32, lanes: Array, sums: Array
) -> None:
    """The four sums above at delta = stretch * w - target, into ``sums``; sqrt(lam) z replaces z."""
    for k in range(4):
        for lane in range(LANES):
            lanes[k, lane] = 0.0
    for b in range(len(w)):
        for lane in range(LANES):
            vv, pp, wd, wz = f32(0.0), f32(0.0), f32(0.0), f32(0.0)
            for row in range(ROWS):
                i = row * LANES + lane
                delta = stretch * w[b, i] - target[b, i]
                signal = spectrum[b, i] * delta
                noise = root[b, i] * z[b, i]
                z[b, i] = noise
                vv += signal * delta
                pp += noise * delta
                wd += signal * w[b, i]
                wz += noise * w[b, i]
            lanes[VV, lane] += f64(vv)
            lanes[PP, lane] += f64(pp)
            lanes[WD, lane] += f64(wd)
            lanes[WZ, lane] += f64(wz)
    for k in range(4):
        sums[k] = sum_lanes(lanes[k])


@inlined
def mix(
    g: Blocks,
    w: Blocks,
    spectrum: Blocks,
    target: Blocks,
    stretch: np.float32,
    along: np.float32,
    across: np.float32,
) -> None:
    """g <- along * lam * delta + across * g."""
    for b in range(len(w)):
        for i in range(w.shape[1]):
            delta = stretch * w[b, i] - target[b, i]
            g[b, i] = along * (spectrum[b, i] * delta) + across * g[b, i]


@inlined
def momentum_direction(
    g: Blocks,
    w: Blocks,
    m: Blocks,
    scale: np.float32,
    radial: np.float32,
    keep: np.float32,
    gain: np.float32,
    coupled: np.float32,
    nesterov: np.float32,
) -> None:
    """m <- keep m + gain (gradient + coupled w); m, or with ``nesterov`` = 1 keep m + gain gradient, replaces g."""
    for b in range(len(g)):
        for i in range(g.shape[1]):
            tangent = scale * g[b, i] - radial * w[b, i]
            first = keep * m[b, i] + gain * (tangent + coupled * w[b, i])
            m[b, i] = first
            g[b, i] = first + nesterov * ((keep - f32(1.0)) * first + gain * tangent)


@inlined
def shorten(u: Blocks, factor: np.float32) -> None:
    for b in range(len(u)):
        for i in range(u.shape[1]):
            u[b, i] *= factor


@merged
def advance_run(
    w: Blocks,
    m: Blocks,
    v: Blocks,
    dim: int,
    seed: int,
    stream: int,
    start: int,
    rates: Array,
    shrinks: Array,
    family: int,
    on_sphere: bool,
    constants: Array,
    batch: Array,
    batch_size: float,
    noise_variance: float,
    gain: float,
    spectrum: Blocks,
    root: Blocks,
    target: Blocks,
    mixed: bool,
    slots: NDArray[np.int64],
    recorded: Array,
) -> tuple[float, int]:
    """All steps of one run; see `advance`. Returns the excess loss at the end and the step of divergence, or -1."""
    g, lanes, bits = np.empty_like(w), np.empty((4, LANES)), np.empty(w.shape, np.uint32)
    sums, turned = np.empty(4), np.empty(BLOCK, np.float32)
    c = np.empty_like(w) if mixed else w
    ww = dot(w, w, lanes[0])
    fill_bits(bits, stream_key(seed, stream, start + 1))
    for k in range(len(rates)):
        fill_normal(g, dim, bits)
        scale = gain / np.sqrt(ww)
        stretch = f32(scale)
        if mixed:
            features_of(w, c, turned)
        residual_sums(c, g, spectrum, root, target, stretch, lanes, sums)
        vv, c1, c2, n = sums[VV], batch[k, CHI_B], batch[k, CHI_REST], batch[k, NORMAL]
        cross = np.sqrt(vv * noise_variance * c1) * n
        across = np.sqrt(vv * c1 + 2.0 * cross + noise_variance * (n * n + c2)) / batch_size
        along = ((vv * c1 + cross) / batch_size - across * sums[PP]) / vv
        mix(g, c, spectrum, target, stretch, f32(along), f32(across))
        if mixed:
            rotate(g, turned)
        radial = f32(scale * (along * sums[WD] + across * sums[WZ]) / ww)
        if family == ADAM:
            taken = start + k + 1
            adam_direction(
                g,
                w,
                m,
                v,
                stretch,
                radial,
                f32(1.0 - constants[BETA1]),
                f32(1.0 - constants[BETA2]),
                f32(1.0 / (1.0 - constants[BETA1] ** taken)),
                f32(1.0 / np.sqrt(1.0 - constants[BETA2] ** taken)),
                f32(constants[EPS]),
                bits,
                stream_key(seed, stream, start + k + 2),
            )
        else:
            momentum_direction(
                g,
                w,
                m,
                stretch,
                radial,
                f32(constants[BETA1]),
                f32(constants[GAIN1]),
                f32(constants[COUPLED]),
                f32(constants[NESTEROV]),
            )
            fill_bits(bits, stream_key(seed, stream, start + k + 2))
        rate, shrink = rates[k], shrinks[k]
        slot = slots[k]
        if family == NORMALISED:
            shorten(g, f32(1.0 / np.sqrt(dot(g, g, lanes[0]))))
        wu, uu = 0.0, 0.0
        if slot >= 0 or on_sphere:
            wu, uu = dot(w, g, lanes[0]), dot(g, g, lanes[0])
        if slot >= 0:
            recorded[slot, WW], recorded[slot, WU], recorded[slot, UU] = ww, wu, uu
            recorded[slot, EXCESS] = vv / 2.0
        if on_sphere:
            # W <- R Norm(W - s u) is a step with shrink 1 - R/|W - s u|.
            s = rate * constants[NORM] / np.sqrt(uu)
            back = constants[NORM] / np.sqrt(ww - 2.0 * s * wu + s * s * uu)
            rate, shrink = s * back, 1.0 - back
        clear(lanes[0])
        move(w, g, f32(shrink), f32(rate), lanes[0])
        ww = sum_lanes(lanes[0])
        if slot >= 0:
            recorded[slot, NN] = ww
            recorded[slot, ND], recorded[slot, DD] = dot(w, g, lanes[0]), dot(g, g, lanes[0])
        if not (0.0 < ww < np.inf and vv < np.inf):
            return np.nan, start + k
    g[:] = f32(0.0)
    if mixed:
        features_of(w, c, turned)
    residual_sums(c, g, spectrum, root, target, f32(gain / np.sqrt(ww)), lanes, sums)
    return sums[VV] / 2.0, -1


@kernel
def advance(
    first: int,
    last: int,
    w: Blocks,
    m: Blocks,
    v: Blocks,
    dim: int,
    seeds: NDArray[np.int64],
    stream: int,
    start: int,
    rates: Array,
    shrinks: Array,
    families: NDArray[np.int64],
    on_sphere: NDArray[np.bool_],
    constants: Array,
    batches: Array,
    batch_of: NDArray[np.int64],
    batch_size: float,
    noise_variance: float,
    gain: float,
    spectrum: Blocks,
    root: Blocks,
    target: Blocks,
    mixed: bool,
    slots: NDArray[np.int64],
    recorded: Array,
    excess: Array,
    diverged: NDArray[np.int64],
) -> None:
    """Take every run that has not diverged through the steps from ``start`` on.

    Parameters
    ----------
    w, m, v : (num_runs, num_blocks, BLOCK) float32 weights and averages, updated in place.
    dim : number of features; the rest of the blocks is zero and stays so.
    seeds, stream : with the step and the feature they name the random numbers; ``seeds`` (num_runs,).
    rates, shrinks : (num_runs, num_steps) learning rate, and what a step takes off the weights.
    families, on_sphere : (num_runs,) `ADAM`, `MOMENTUM` or `NORMALISED`; whether the norm is restored.
    constants : (num_runs, NUM_CONSTANTS).
    batches, batch_of : (num_seeds, num_steps, 3) numbers that stand for a batch, and the row each run takes.
    noise_variance : twice the least loss. gain : of the model.
    spectrum, root, target : (num_blocks, BLOCK) float32 variances, their roots, coefficients.
    mixed : whether weights are mixtures of the features, by `rotate`.
    slots : (num_steps,) where a step is recorded, or -1.
    recorded : (num_runs, num_records, NUM_RECORDED), written.
    excess, diverged : (num_runs,) excess loss after the last step; step of divergence, or -1. Written.
    """
    for r in range(first, last):
        if diverged[r] < 0:
            excess[r], diverged[r] = advance_run(
                w[r],
                m[r],
                v[r],
                dim,
                seeds[r],
                stream,
                start,
                rates[r],
                shrinks[r],
                families[r],
                on_sphere[r],
                constants[r],
                batches[batch_of[r]],
                batch_size,
                noise_variance,
                gain,
                spectrum,
                root,
                target,
                mixed,
                slots,
                recorded[r],
            )
