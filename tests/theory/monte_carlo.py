"""A small simulator for the tests: any update rule, one matrix, block means with their standard errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Direction = Callable[[Array], Array]  # gradient to update, with a state inside
BLOCKS = 20


class Estimate(NamedTuple):
    """Mean over blocks of steps, and its standard error."""

    mean: float
    error: float

    def misses(self, expected: float) -> float:
        """Distance from the expected value in standard errors."""
        return abs(self.mean - expected) / self.error

    def relative_miss(self, expected: float) -> float:
        return self.mean / expected - 1


class Measured(NamedTuple):
    rms: Estimate
    angle: Estimate
    cosine: Estimate
    update_rms: Estimate


def measure(step: Callable[[Array], tuple[Array, Array]], w: Array, *, burn_in: int, num_steps: int) -> Measured:
    """Run ``step``, which returns the next weights and the update, and average after ``burn_in`` steps.

    The blocks must be long against the relaxation of the norm for the errors to be honest.
    """
    sums = np.empty((num_steps, 5))
    for t in range(burn_in + num_steps):
        after, u = step(w)
        if t >= burn_in:
            flat, next_, update = w.ravel(), after.ravel(), u.ravel()
            sums[t - burn_in] = flat @ flat, flat @ next_, next_ @ next_, flat @ update, update @ update
        w = after
    ww, wn, nn, wu, uu = sums.reshape(BLOCKS, -1, 5).mean(axis=1).T / w.size
    return Measured(
        estimate(np.sqrt(ww)),
        estimate(np.arccos(wn / np.sqrt(ww * nn))),
        estimate(wu / np.sqrt(ww * uu)),
        estimate(np.sqrt(uu)),
    )


def estimate(blocks: Array) -> Estimate:
    return Estimate(float(blocks.mean()), float(blocks.std(ddof=1) / np.sqrt(len(blocks))))


def adam(beta1: float, beta2: float, shape: tuple[int, ...], *, second: bool = True) -> Direction:
    """m/sqrt(v) with bias correction; without ``second``, m alone."""
    m, v, t = np.zeros(shape), np.zeros(shape), 0

    def direction(g: Array) -> Array:
        nonlocal m, v, t
        t += 1
        m = beta1 * m + (1 - beta1) * g
        if not second:
            return m / (1 - beta1**t)
        v = beta2 * v + (1 - beta2) * g * g
        return m / np.sqrt(v) * (np.sqrt(1 - beta2**t) / (1 - beta1**t))

    return direction


def interpolated(beta1: float, beta2: float, shape: tuple[int, ...], function: Direction) -> Direction:
    """``function`` of Lion's interpolated momentum."""
    m = np.zeros(shape)

    def direction(g: Array) -> Array:
        nonlocal m
        z = beta1 * m + (1 - beta1) * g
        m = beta2 * m + (1 - beta2) * g
        return function(z)

    return direction


def polar(z: Array) -> Array:
    """Orthogonal polar factor, times Muon's scale for the shape."""
    left, _, right = np.linalg.svd(z, full_matrices=False)
    return max(1.0, z.shape[0] / z.shape[1]) ** 0.5 * (left @ right)


def decoupled(
    direction: Direction, rng: np.random.Generator, learning_rate: float, product: float
) -> Callable[[Array], tuple[Array, Array]]:
    """Decoupled decay, ``product`` = learning rate times decay, with white Gaussian gradients."""

    def step(w: Array) -> tuple[Array, Array]:
        u = direction(rng.standard_normal(w.shape))
        return (1 - product) * w - learning_rate * u, u

    return step


def sphere(
    direction: Direction, rng: np.random.Generator, learning_rate: float
) -> Callable[[Array], tuple[Array, Array]]:
    """Projection to the norm of w after every step."""

    def step(w: Array) -> tuple[Array, Array]:
        u = direction(rng.standard_normal(w.shape))
        radius = np.linalg.norm(w)
        moved = w - learning_rate * radius * u / np.linalg.norm(u)
        return moved * (radius / np.linalg.norm(moved)), u

    return step
