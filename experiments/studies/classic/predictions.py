"""What angles alone say of the optima before the runs: the radial theory's angles, and two accounts of what they do."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.agreement.matrix_networks import small_gpt2
from experiments.studies.angle_law.fit import adamh_angles
from experiments.studies.classic.runs import (
    CORRECTED,
    EQUILIBRIUM,
    GROUPS,
    HELD,
    LARGE,
    LENGTHS,
    SMALL,
    STEERED,
)
from experiments.studies.moved_optimum.predictions import MEAN_ANGLE, vertex_error
from experiments.studies.moved_optimum.runs import Arm, grid
from theory import AdamC, predict_trajectory, radial, transient
from theory.final_loss import best_learning_rate
from theory.two_clocks import TwoClockLaw

Array = NDArray[np.float64]

RATES = np.geomspace(1e-4, 0.5, 49)  # among which an optimum is looked for
SEED_NOISE = 0.02  # nats, the largest of the three rates of gpt2 in docs/replay


def predictions_of(law: TwoClockLaw, lengths: Sequence[int] = LENGTHS) -> pd.DataFrame:
    """A row per arm and length: the optimum by both accounts, which know angles alone, so that a steered arm has that
    of its angles; the centre of the grid, relaxations of white noise at the law's optimum, the expected error."""
    rows = []
    for num_steps in lengths:
        for group in GROUPS:
            row = _prediction(law, group.arm, num_steps, group.centre)
            rows.append(row)
            if group.paired:
                large = _prediction(law, LARGE, num_steps, group.centre)
                rows.append(large)
                source = {SMALL.name: row, LARGE.name: large}
                for name, (angles, norm) in STEERED.items():
                    start = next(arm for arm in (SMALL, LARGE) if norm.startswith(arm.name))
                    rows.append(source[angles] | {"arm": name, "initial_rms": start.initial_rms})
    return pd.DataFrame(rows)


def _prediction(law: TwoClockLaw, arm: Arm, num_steps: int, centre: float) -> dict[str, object]:
    angles, multipliers = angles_of(arm, RATES, num_steps), arm.scheduled(num_steps).multipliers()
    best, _ = best_learning_rate(law, RATES, angles, multipliers)
    rates = np.array(grid(centre))
    losses = law.loss(angles_of(arm, rates, num_steps), multipliers)
    return {
        "arm": arm.name,
        "num_steps": num_steps,
        "weight_decay": arm.weight_decay,
        "initial_rms": arm.initial_rms,
        "law": best,
        "mean_angle": rate_of_angle(angles, MEAN_ANGLE),
        "centre": centre,
        "num_relaxations": 2 * (arm.weight_decay or 0.0) * best * multipliers.sum(),
        "expected_error": vertex_error(rates, losses, SEED_NOISE),
    }


def rate_of_angle(angles: Array, mean_angle: float) -> float:
    """Learning rate among `RATES` whose ``angles`` (num_steps, n) have that mean, by ln-ln interpolation."""
    return float(np.exp(np.interp(np.log(mean_angle), np.log(angles.mean(axis=0)), np.log(RATES))))


def steady_rate(adamh_rate: float, num_steps: int) -> float:
    """Learning rate of the AdamW that turns as much as AdamH does, by theory, if it starts at its own equilibrium."""
    mean = float(adamh_angles(adamh_rate, HELD[0].scheduled(num_steps)).mean())
    return rate_of_angle(_steady_angles(num_steps), mean)


@cache
def _steady_angles(num_steps: int) -> Array:
    return angles_of(EQUILIBRIUM, RATES, num_steps)


def angles_of(arm: Arm, rates: Array, num_steps: int) -> Array:
    """By theory, the mean over the three kinds of block matrices; (num_steps, n) radians per step."""
    schedule = arm.scheduled(num_steps)
    if arm.weight_decay is None:
        return np.stack([adamh_angles(float(rate), schedule) for rate in rates], axis=1)
    decay = arm.weight_decay
    start = radial.equilibrium_rms(rates, decay) if arm.initial_rms is None else np.full(len(rates), arm.initial_rms)
    found = []
    for kind in radial.KINDS:
        network = small_gpt2(kind)
        if arm == CORRECTED:
            specs = [AdamC(learning_rate=float(rate), weight_decay=decay) for rate in rates]
            runs = [
                predict_trajectory(spec, schedule, initial_rms=float(rms), network=network)
                for spec, rms in zip(specs, start, strict=True)
            ]
            found.append(np.stack([run.angular_update[:, 0] for run in runs], axis=1))
        else:
            grid_run = transient.run_grid(
                schedule,
                learning_rate=rates,
                weight_decay=decay,
                initial_rms=start,
                steps=np.arange(num_steps),
                network=network,
            )
            found.append(grid_run.angular_update)
    return np.mean(found, axis=0)
