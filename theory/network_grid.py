"""Grids of runs in a network other than white noise, for `theory.transient.run_grid`.

The recursions of `theory.inverse_norm` and `theory.radial` keep every step of every setting, so settings advance in
blocks that fit the memory. The equilibrium that a transient ends at is each setting's own in that network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from theory.networks import Network, model_of, moments_of
from theory.optimizers import AdamW
from theory.schedules import Schedule
from theory.settling import transient_steps

Array = NDArray[np.float64]

ENTRIES = 2_000_000  # steps times settings that are held at once


def advance(
    network: Network,
    schedule: Schedule,
    eta: Array,
    lam: Array,
    initial: Array,
    beta1: float,
    beta2: float,
    tolerance: float,
    records: NDArray[np.int64],
) -> dict[str, Array]:
    """What `theory.transient.run_grid` asks of settings (num_settings,): its arrays by name, the settings last."""
    size = max(1, ENTRIES // schedule.num_steps)
    blocks = [
        _advance(network, schedule, eta[i], lam[i], initial[i], beta1, beta2, tolerance, records)
        for i in (slice(k, k + size) for k in range(0, eta.size, size))
    ]
    return {key: np.concatenate([block[key] for block in blocks], axis=-1) for key in blocks[0]}


def _advance(
    network: Network,
    schedule: Schedule,
    eta: Array,
    lam: Array,
    initial: Array,
    beta1: float,
    beta2: float,
    tolerance: float,
    records: NDArray[np.int64],
) -> dict[str, Array]:
    rates = schedule.multipliers()[:, None] * eta
    rho, p, s, steps, shrinkage = moments_of(network, rates, rates * lam, beta1, beta2, initial)
    across = np.sqrt(np.maximum(rho[:-1] * s - p**2, 0))
    angle = np.arctan2(steps * across, (1 - shrinkage) * rho[:-1] - steps * p)
    rms, ends = np.sqrt(rho), np.full(eta.size, np.inf)
    for k, (rate, decay, start) in enumerate(zip(eta.tolist(), lam.tolist(), initial.tolist(), strict=True)):
        if decay:
            optimizer = AdamW(learning_rate=rate, weight_decay=decay, beta1=beta1, beta2=beta2)
            settled = model_of(optimizer, network).equilibrium(start).weight_rms
            found = transient_steps(rms[:, k], settled, peak_end=schedule.peak_end, tolerance=tolerance)
            ends[k] = np.inf if found is None else found
    return {
        "transient_steps": ends,
        "final_rms": rms[-1],
        "final_angular_update": angle[-1],
        "total_angle": angle.sum(axis=0),
        "weight_rms": rms[records],
        "angular_update": angle[records],
    }


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
