"""What two accounts say of the optima before the runs, and how well the runs can tell them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.files import BadInput, one_line
from experiments.studies.angle_law.answers import RATES, adamw_angles
from experiments.studies.angle_law.fit import adamh_angles
from experiments.studies.moved_optimum.runs import ADAMH, ARMS, LENGTHS, SEEDS, Arm, grid
from experiments.studies.workplace import read_rows
from theory.final_loss import FinalLossLaw, best_learning_rate
from theory.two_clocks import TwoClockLaw

Array = NDArray[np.float64]

MEAN_ANGLE = 0.0081  # rad per step at AdamH's measured optimum, 1,600 and 3,200 steps of docs/same-angle
SEED_NOISE = {1600: 0.0236, 3200: 0.0083}  # nats, AdamH between seeds, same place; 3,200 stands for longer runs
SAME_ANGLE = ("num_steps", "learning_rate", "seed", "loss", "num_params", "num_tokens")  # what is asked of its runs
ACCOUNTS = ("law", "mean_angle")
Law = TypeVar("Law", bound=FinalLossLaw)


def read_law(table: Path) -> TwoClockLaw:
    """The constants in a ``two-clocks.csv`` of the study angle-law. Raises `BadInput`."""
    return read_constants(table, TwoClockLaw)


def read_constants(table: Path, kind: type[Law]) -> Law:
    """A law from a table of its constants. Raises `BadInput`."""
    try:
        rows = read_rows(table, numbers=("value",), texts=("quantity",)).set_index("quantity")["value"]
        return kind(**{field.name: float(rows[field.name]) for field in fields(kind)})  # type: ignore[arg-type]
    except (ValueError, KeyError) as error:
        raise BadInput(f"{table}: not the constants of angle-law ({one_line(error)})") from None


def predictions_of(law: TwoClockLaw, arms: Sequence[Arm] = ARMS, lengths: Sequence[int] = LENGTHS) -> pd.DataFrame:
    """A row per arm and length: the optimum by both accounts, the centre of the grid, relaxations that the law's
    optimum makes, the expected standard error of ln(optimum)."""
    rows = []
    for num_steps in lengths:
        for arm in arms:
            angles, multipliers = angles_of(arm, RATES, num_steps), arm.scheduled(num_steps).multipliers()
            by_law = best_learning_rate(law, RATES, angles, multipliers)[0]
            by_angle = float(np.exp(np.interp(np.log(MEAN_ANGLE), np.log(angles.mean(axis=0)), np.log(RATES))))
            centre = float(np.sqrt(by_law * by_angle))
            rows.append(
                {
                    "arm": arm.name,
                    "num_steps": num_steps,
                    "weight_decay": arm.weight_decay,
                    "initial_rms": arm.initial_rms,
                    "law": by_law,
                    "mean_angle": by_angle,
                    "centre": centre,
                    "num_relaxations": 2 * (arm.weight_decay or 0.0) * by_law * multipliers.sum(),
                    "expected_error": expected_error(law, arm, num_steps, centre),
                }
            )
    return pd.DataFrame(rows)


def angles_of(arm: Arm, rates: Array, num_steps: int) -> Array:
    """By theory; (num_steps, n) radians per step. AdamW under a line alone."""
    if arm.weight_decay is None:
        schedule = arm.scheduled(num_steps)
        return np.stack([adamh_angles(float(rate), schedule) for rate in rates], axis=1)
    return adamw_angles(rates, num_steps, arm.initial_rms, arm.weight_decay)


def expected_error(law: TwoClockLaw, arm: Arm, num_steps: int, centre: float) -> float:
    """Of ln(optimum): `vertex_error` of the law's losses on the grid."""
    rates = np.array(grid(centre))
    losses = law.loss(angles_of(arm, rates, num_steps), arm.scheduled(num_steps).multipliers())
    return vertex_error(rates, losses, SEED_NOISE.get(num_steps, SEED_NOISE[3200]))


def vertex_error(rates: Array, losses: Array, seed_noise: float) -> float:
    """Standard error of the vertex of a parabola through losses, (n,) each the mean over `SEEDS`, from the noise
    between seeds; NaN for one without a bottom."""
    design = np.vander(np.log(rates / rates[len(rates) // 2]), 3)
    inverse = np.linalg.inv(design.T @ design)
    quadratic, linear, _ = inverse @ design.T @ losses
    if quadratic <= 0:
        return float("nan")
    gradient = np.array([linear / (2 * quadratic**2), -1 / (2 * quadratic), 0.0])
    noise = seed_noise / np.sqrt(len(SEEDS))
    return float(noise * np.sqrt(gradient @ inverse @ gradient))


def adamh_rows(same_angle: pd.DataFrame) -> pd.DataFrame:
    """Runs of AdamH at the lengths that this study does not run, under its columns."""
    rows = same_angle[(same_angle["arm"] == "adamh") & same_angle["num_steps"].isin(set(LENGTHS) - set(ADAMH.lengths))]
    return rows.assign(arm=ADAMH.name)
