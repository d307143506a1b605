"""What two accounts say of every optimum before the runs. Neither knows the number of parameters."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.studies.angle_law.answers import RATES
from experiments.studies.bend.runs import ARMS, LENGTHS, WIDTHS, cells_in_order, config_of
from experiments.studies.moved_optimum import predictions as moved
from gpt.model import GPT, count_params
from theory.two_clocks import TwoClockLaw

COLUMNS = (
    "arm",
    "width",
    "num_steps",
    "num_params",
    "num_tokens",
    "weight_decay",
    "initial_rms",
    *moved.ACCOUNTS,
    "law_angle",
    "centre",
    "num_relaxations",
)


def predictions_of(law: TwoClockLaw) -> pd.DataFrame:
    """A row per cell, in the order of the runs: `moved.predictions_of` at every width, and ``law_angle``, the mean
    angle at the law's optimum, by theory."""
    known = {(row["arm"], row["num_steps"]): row for row in moved.predictions_of(law, ARMS, LENGTHS).to_dict("records")}
    scales = {width: count_params(GPT(config_of(ARMS[0], width, LENGTHS[0], 0.01, 0).model)) for width in WIDTHS}
    angles = {(arm.name, steps): moved.angles_of(arm, RATES, steps).mean(axis=0) for arm in ARMS for steps in LENGTHS}
    rows = []
    for width, num_steps, arm in cells_in_order():
        told = known[arm.name, num_steps]
        turned = np.interp(np.log(told["law"]), np.log(RATES), np.log(angles[arm.name, num_steps]))
        tokens = num_steps * config_of(arm, width, num_steps, 0.01, 0).tokens_per_step
        scale = {"width": width, "num_params": scales[width], "num_tokens": tokens}
        rows.append(told | scale | {"law_angle": float(np.exp(turned))})
    return pd.DataFrame(rows)[list(COLUMNS)]


def centres_of(predictions: pd.DataFrame) -> dict[tuple[str, int], float]:
    """Of the grids, by arm and length."""
    keys = zip(predictions["arm"], predictions["num_steps"], strict=True)
    return dict(zip(keys, predictions["centre"], strict=True))
