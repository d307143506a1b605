"""Which network of `theory.networks` a block matrix of a run is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gpt.config import TrainConfig
from theory import AdamW, Trajectory, networks, predict_trajectory
from theory.trajectory import FIELDS

KINDS = {"query": "query, key", "key": "query, key", "value": "value, output", "output": "value, output"}
FEED_FORWARD = "up, down"
DRIVEN = "query, key"  # by the outward gradient throughout: no law is known


def kind_of(matrix: str) -> str:
    """Of a block matrix, by its name; a key of `theory.radial.KINDS`."""
    return KINDS.get(matrix.removesuffix(".weight").split(".")[-1], FEED_FORWARD)


def small_gpt2(kind: str) -> networks.Network:
    """Matrices of that kind in a small GPT-2, whose training does not begin with a burst of gradients."""
    return replace(networks.gpt2_matrices(kind), gradient_history=np.ones)


def has_kinds(config: TrainConfig) -> bool:
    """Whether matrices of different kinds have different networks: AdamW on gpt2."""
    return config.model.architecture == "gpt2" and isinstance(config.optimizer, AdamW)


def network_of(config: TrainConfig, matrix: str) -> networks.Network:
    """White noise but for AdamW on gpt2, where it is that of the kind."""
    return small_gpt2(kind_of(matrix)) if has_kinds(config) else networks.WHITE_NOISE


def predict_matrices(
    config: TrainConfig, *, initial_rms: NDArray[np.float64], matrices: Sequence[str], record_every: int = 1
) -> Trajectory:
    """`theory.predict_trajectory` of each matrix, (num_matrices,) initial RMS, in its own network."""
    kinds = np.array([kind_of(matrix) if has_kinds(config) else "" for matrix in matrices])
    parts = []
    for kind in dict.fromkeys(kinds.tolist()):
        places = np.flatnonzero(kinds == kind).tolist()
        names = [matrices[place] for place in places]
        network = network_of(config, names[0])
        run = predict_trajectory(
            config.optimizer,
            config.schedule,
            initial_rms=initial_rms[places],
            matrices=names,
            record_every=record_every,
            network=network,
        )
        parts.append((places, run))
    order = np.argsort(np.concatenate([places for places, _ in parts]))
    columns = {name: np.concatenate([getattr(run, name) for _, run in parts], axis=1)[:, order] for name in FIELDS}
    return Trajectory(steps=parts[0][1].steps, matrices=tuple(matrices), **columns)
