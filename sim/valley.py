r"""Adam at the bottom of a quadratic valley, with its arithmetic in full: what `theory.valley` has in closed form.

.. math::
   g_t = Q\,(h\odot Qx_t + \sigma\odot n_t), \qquad x_{t+1} = x_t - \eta\lambda x_t - \eta u_t

Legend: x displacement from the bottom, 0 at the start; h curvature and :math:`\sigma` RMS of the noise by direction;
n white Gaussian noise; u Adam's direction, moments from zero, bias corrections, eps; Q Hadamard's transform, so that
every entry mixes all directions and all entries have one RMS of the gradient, or the identity, so that each has its
own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sim.compiling import kernel
from sim.hadamard import rotate
from sim.observables import pooled_with_error
from sim.passes import dot
from sim.random_numbers import BLOCK, LANES, f32, fill_bits, fill_normal, stream_key, u32
from sim.threads import threads
from theory import AdamW
from theory.checks import InvalidParameter, require_integer, require_kind

Array = NDArray[np.float64]
LEARNING_RATE, SHRINK, GAIN1, GAIN2, EPS = range(5)
GRADIENT, DIRECTION = range(2)


@dataclass(frozen=True, kw_only=True)
class ValleyRun:
    """Means over entries, replicas and steps.

    Attributes
    ----------
    gradient, direction : (num_lags + 1,) autocovariance of g and of u, from lag 0 on.
    gradient_error, direction_error : their Monte Carlo standard errors, from replica to replica.
    """

    gradient: Array
    direction: Array
    gradient_error: Array
    direction_error: Array


def simulate_valley(
    optimizer: AdamW,
    *,
    curvatures: ArrayLike,
    noise_rms: ArrayLike = 1.0,
    mixed: bool = True,
    num_steps: int,
    burn_in: int,
    num_lags: int = 10,
    num_replicas: int = 16,
    seed: int = 0,
    num_threads: int | None = None,
) -> ValleyRun:
    """``num_replicas`` valleys of 256 directions each; the result does not depend on ``num_threads``.

    Parameters
    ----------
    curvatures : h, finite and at least 0; as many as divide 256, each for as many directions.
    noise_rms : of each of them, above 0; broadcasts against the curvatures.
    mixed : whether entries mix all directions, or are the directions.
    num_steps, burn_in : steps that are averaged over, and steps before them, at least ``num_lags``.
    num_lags : from 0 to 1000. num_replicas : at least 2. seed : from 0 to 2**32 - 1.

    Raises
    ------
    InvalidParameter : a value outside its range.

    Examples
    --------
    >>> from sim.valley import simulate_valley
    >>> from theory import AdamW
    >>> from theory.valley import direction_ratio
    >>> optimizer = AdamW(learning_rate=0.05, weight_decay=0.0, beta2=0.999)
    >>> run = simulate_valley(optimizer, curvatures=[2.0], num_steps=2000, burn_in=4000, seed=1)
    >>> a = 0.05 * 2.0 / run.gradient[0] ** 0.5
    >>> bool(abs((run.direction[0] * 19) ** 0.5 / direction_ratio(a, 0.9) - 1) < 0.01)
    True
    """
    require_kind("optimizer", optimizer, AdamW)
    h, sigma = np.broadcast_arrays(np.atleast_1d(np.asarray(curvatures, np.float64)), np.asarray(noise_rms, np.float64))
    if h.ndim != 1 or BLOCK % len(h) or not np.all((h >= 0) & np.isfinite(h)):
        raise InvalidParameter("curvatures", curvatures, f"finite numbers of at least 0, as many as divide {BLOCK}")
    if not np.all((sigma > 0) & np.isfinite(sigma)):
        raise InvalidParameter("noise_rms", noise_rms, "finite numbers above 0, one or one per curvature")
    num_steps = require_integer("num_steps", num_steps, at_least=1)
    num_lags = require_integer("num_lags", num_lags, at_least=0, at_most=1000)
    burn_in = require_integer("burn_in", burn_in, at_least=num_lags)
    num_replicas = require_integer("num_replicas", num_replicas, at_least=2, at_most=2**32 - 1)
    seed = require_integer("seed", seed, at_least=0, at_most=2**32 - 1)
    constants = np.array(
        [
            optimizer.learning_rate,
            optimizer.learning_rate * optimizer.weight_decay,
            1 - optimizer.beta1,
            1 - optimizer.beta2,
            optimizer.eps,
        ]
    )
    sums = np.zeros((num_replicas, num_lags + 1, 2))
    spread = [np.repeat(values, BLOCK // len(h)).astype(np.float32) for values in (h, sigma)]
    with threads(num_threads):
        descend(num_replicas, seed, spread[0], spread[1], mixed, constants, burn_in, num_steps, sums)
    mean, error = pooled_with_error(
        sums, BLOCK, lambda totals, entries: np.moveaxis(totals, -1, 0) / (entries * num_steps)
    )
    return ValleyRun(
        gradient=mean[GRADIENT],
        direction=mean[DIRECTION],
        gradient_error=error[GRADIENT],
        direction_error=error[DIRECTION],
    )


@kernel
def descend(
    first: int,
    last: int,
    seed: int,
    curvature: NDArray[np.float32],
    noise: NDArray[np.float32],
    mixed: bool,
    constants: Array,
    burn_in: int,
    num_steps: int,
    sums: Array,
) -> None:
    """All steps of all replicas.

    Parameters
    ----------
    curvature, noise : (BLOCK,) by direction.
    constants : learning rate, shrink, 1 - beta1, 1 - beta2, eps.
    sums : (num_replicas, num_lags + 1, 2), of the products of g and of u with those so many steps before; added to.
    """
    for r in range(first, last):
        num_kept = sums.shape[1]
        x, m, v = np.zeros((1, BLOCK), f32), np.zeros((1, BLOCK), f32), np.zeros((1, BLOCK), f32)
        past_g, past_u = np.zeros((num_kept, 1, BLOCK), f32), np.zeros((num_kept, 1, BLOCK), f32)
        turned, bits, lanes = np.empty(BLOCK, f32), np.empty((1, BLOCK), u32), np.empty(LANES)
        y, g = np.empty((1, BLOCK), f32), np.empty((1, BLOCK), f32)
        gain1, gain2, eps = f32(constants[GAIN1]), f32(constants[GAIN2]), f32(constants[EPS])
        rate, shrink = f32(constants[LEARNING_RATE]), f32(constants[SHRINK])
        kept1, kept2 = 1.0, 1.0  # of the averages' start
        for step in range(burn_in + num_steps):
            kept1 *= 1.0 - constants[GAIN1]
            kept2 *= 1.0 - constants[GAIN2]
            unbias1, unbias2 = f32(1.0 / (1.0 - kept1)), f32(1.0 / np.sqrt(1.0 - kept2))
            fill_bits(bits, stream_key(seed, r, step + 1))
            fill_normal(g, BLOCK, bits)
            y[:] = x
            if mixed:
                rotate(y, turned)
            for i in range(BLOCK):
                g[0, i] = curvature[i] * y[0, i] + noise[i] * g[0, i]
            if mixed:
                rotate(g, turned)
            now = step % num_kept
            for i in range(BLOCK):
                m[0, i] += gain1 * (g[0, i] - m[0, i])
                v[0, i] += gain2 * (g[0, i] * g[0, i] - v[0, i])
                u = unbias1 * m[0, i] / (unbias2 * np.sqrt(v[0, i]) + eps)
                past_g[now, 0, i] = g[0, i]
                past_u[now, 0, i] = u
                x[0, i] -= shrink * x[0, i] + rate * u
            if step >= burn_in:
                for lag in range(num_kept):
                    then = (step - lag) % num_kept
                    sums[r, lag, GRADIENT] += dot(past_g[now], past_g[then], lanes)
                    sums[r, lag, DIRECTION] += dot(past_u[now], past_u[then], lanes)
