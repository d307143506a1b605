"""What the norm alone would do to each quantity, before the runs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from experiments.studies.moved_optimum.answers import SHIFT
from experiments.studies.rivals.answers import PRODUCTS, quantities
from experiments.studies.rivals.runs import arm_by_name
from theory import AdamW, predict_trajectory
from theory.networks import SCALE_INVARIANT

POWERS = {"sharpness": -2.0, "preconditioned_sharpness": -1.0, "weight_rms": 1.0}  # of the norm; others 0
ACCOUNT = "mean_angle"


def predictions_of(optima: pd.DataFrame, rates: dict[tuple[str, int], tuple[float, ...]]) -> pd.DataFrame:
    """A row per length and quantity: its power of the norm, and ln of its value in the first arm of `SHIFT` over the
    second, at their common rate and at their optima, if nothing but the norm acted on it, by theory; ``shift`` is ln of
    the ratio of optima that a fixed value would give by the norm alone, NaN where the norm does not act."""
    rows = []
    moved, base = SHIFT
    for num_steps in sorted({length for _, length in rates}):
        here = optima[optima["num_steps"] == num_steps]
        best = dict(zip(here["arm"], here["learning_rate"].to_numpy(float), strict=True))
        common = math.sqrt(best[moved] * best[base])
        own = sorted(rates[moved, num_steps])
        for quantity, moment in quantities():
            name, power = PRODUCTS.get(quantity, (quantity, 1.0))
            norm_power = power * POWERS.get(name, 0.0)
            row: dict[str, object] = {"num_steps": num_steps, "quantity": quantity, "moment": moment}
            row["norm_power"] = norm_power
            if quantity != ACCOUNT:
                settings = ((moved, common), (base, common), (moved, best[moved]), (base, best[base]))
                level = [
                    norm_level(norm_power, quantity in PRODUCTS, arm, num_steps, rate, moment)
                    for arm, rate in (*settings, (moved, own[0]), (moved, own[-1]))
                ]
                at_optima = level[2] - level[3]
                slope = (level[5] - level[4]) / math.log(own[-1] / own[0])
                row |= {"at_common_rate": level[0] - level[1], "at_optima": at_optima}
                row["shift"] = math.log(best[moved] / best[base]) - at_optima / slope if slope else math.nan
            rows.append(row)
    return pd.DataFrame(rows)


def norm_level(norm_power: float, times_rate: bool, arm: str, num_steps: int, rate: float, moment: str) -> float:
    """ln of a quantity that goes like this power of the norm, and like the rate if it is a product with it."""
    level = norm_power * math.log(predicted_rms(arm, num_steps, rate, moment)) if norm_power else 0.0
    return level + (math.log(rate) if times_rate else 0.0)


def predicted_rms(arm: str, num_steps: int, rate: float, moment: str) -> float:
    """Weight RMS of an AdamW arm with a given start, half way or at the end, by theory."""
    settings = arm_by_name(arm)
    assert settings.weight_decay is not None
    assert settings.initial_rms is not None
    path = predict_trajectory(
        AdamW(learning_rate=rate, weight_decay=settings.weight_decay),
        settings.scheduled(num_steps),
        initial_rms=settings.initial_rms,
        record_every=num_steps // 2,
        network=SCALE_INVARIANT,
    )
    place = -1 if moment == "end" else int(np.argmin(np.abs(path.steps - num_steps // 2)))
    return float(path.weight_rms[place].item())
