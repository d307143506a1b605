"""Every optimizer in float64 NumPy, written from its definition, on the draws of the simulation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim import GradientNoise, monte_carlo
from theory import Optimizer, Schedule
from theory.optimizers import SGDM, AdamC, AdamH, AdamL2, AdamW, Lion, Muon, MuonH, SignSGDM
from theory.trajectory import FIELDS

Array = NDArray[np.float64]


class Direction:
    """The update that an optimizer makes of tangent gradients; (num_replicas, dim) in and out."""

    def __init__(self, optimizer: Optimizer, shape: tuple[int, int] | None, like: Array) -> None:
        self.optimizer, self.shape = optimizer, shape
        self.m, self.v, self.t = np.zeros_like(like), np.zeros_like(like), 0

    def __call__(self, g: Array) -> Array:
        o = self.optimizer
        self.t += 1
        old = self.m
        if isinstance(o, AdamW | AdamC | AdamH | AdamL2):
            self.m = o.beta1 * old + (1 - o.beta1) * g
            self.v = o.beta2 * self.v + (1 - o.beta2) * g**2
            root = np.sqrt(self.v / (1 - o.beta2**self.t))
            return self.m / (1 - o.beta1**self.t) / (root + o.eps)
        if isinstance(o, SGDM):
            self.m = o.beta1 * old + g
            return self.m
        if isinstance(o, Lion):
            self.m = o.beta2 * old + (1 - o.beta2) * g
            return np.sign(o.beta1 * old + (1 - o.beta1) * g)
        self.m = o.beta1 * old + (1 - o.beta1) * g
        if isinstance(o, SignSGDM):
            return np.sign(self.m)
        assert isinstance(o, Muon | MuonH)
        z = o.beta1 * self.m + (1 - o.beta1) * g if o.nesterov else self.m
        return self.polar(z)

    def polar(self, z: Array) -> Array:
        assert self.shape is not None
        rows, columns = self.shape
        stored = (min(self.shape), max(self.shape))  # a tall matrix lies on its side
        left, _, right = np.linalg.svd(z.reshape(-1, *stored), full_matrices=False)
        return np.sqrt(max(1.0, rows / columns)) * (left @ right).reshape(z.shape)


def trajectory(
    optimizer: Optimizer,
    schedule: Schedule,
    *,
    initial_rms: float,
    dim: int,
    shape: tuple[int, int] | None,
    num_replicas: int,
    law: GradientNoise,
    seed: int,
) -> dict[str, Array]:
    """Fields by name, (num_steps,); Gaussian noise without memory."""
    numbers = np.arange(num_replicas)

    def draw(step: int) -> Array:
        blocks = monte_carlo._gaussian(dim, numbers, seed, step)
        return blocks.reshape(num_replicas, -1)[:, :dim].astype(np.float64)

    w = draw(0)
    w *= initial_rms / np.sqrt((w**2).mean(axis=1, keepdims=True))
    radius = np.linalg.norm(w, axis=1, keepdims=True)
    direction = Direction(optimizer, shape, w)
    coupled = isinstance(optimizer, AdamL2) or (isinstance(optimizer, SGDM) and not optimizer.decoupled)
    decay = getattr(optimizer, "weight_decay", 0.0)
    rows: dict[str, list[float]] = {field: [] for field in FIELDS}
    for t, eta in enumerate(optimizer.learning_rate * schedule.multipliers()):
        unit = w / np.linalg.norm(w, axis=1, keepdims=True)
        g = draw(t + 1)
        g = law.rms * (g - unit * (unit * g).sum(axis=1, keepdims=True))
        if law.scale == "inverse-norm":
            g /= np.sqrt((w**2).mean(axis=1, keepdims=True))
        u = direction(g + decay * w if coupled else g)
        if isinstance(optimizer, AdamH | MuonH):
            new = w - eta * radius * u / np.linalg.norm(u, axis=1, keepdims=True)
            new = radius * new / np.linalg.norm(new, axis=1, keepdims=True)
        else:
            shrink = 0.0 if coupled else eta * decay
            if isinstance(optimizer, AdamC):
                shrink *= eta / optimizer.learning_rate
            new = (1 - shrink) * w - eta * u
        cosine = (w * new).sum() / np.linalg.norm(w) / np.linalg.norm(new)
        rows["weight_rms"].append(np.sqrt((w**2).mean()))
        rows["angular_update"].append(np.arccos(cosine))
        rows["relative_update"].append(np.linalg.norm(new - w) / np.linalg.norm(w))
        rows["update_rms"].append(np.sqrt((u**2).mean()))
        rows["cosine"].append((w * u).sum() / np.linalg.norm(w) / np.linalg.norm(u))
        w = new
    return {field: np.array(values) for field, values in rows.items()}
