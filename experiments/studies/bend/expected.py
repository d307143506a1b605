"""What the runs could show: the study's own answers on losses that the law makes, with the noise between seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from experiments.studies.angle_law.answers import RATES
from experiments.studies.bend.answers import KEYS, answers_of, fits_of, optima_of
from experiments.studies.bend.runs import (
    ARMS,
    FACTOR,
    LENGTHS,
    cells_in_order,
    next_rate,
    rates_of,
    seeds_of,
)
from experiments.studies.moved_optimum.predictions import angles_of
from theory.two_clocks import TwoClockLaw

NOISE = {500: 0.0131, 800: 0.0105, 1600: 0.0188, 3200: 0.0083}
"""Nats, of a run about its rate and seed: at 500 steps in the first 58 runs of this study, at the others in same-angle
and moved-optimum."""


def expected_of(law: TwoClockLaw, predictions: pd.DataFrame, num_made: int) -> pd.DataFrame:
    """A row per question: what the law says of it, the mean and the standard deviation of what ``num_made`` made
    studies find, the mean width of their intervals, and the share of them that excludes 0."""
    rng = np.random.default_rng(16)
    made = []
    for _ in range(num_made):
        table = made_runs(law, predictions, rng)
        fits = fits_of(table)
        made.append(answers_of(optima_of(table, table, fits, predictions), fits))
    every = pd.concat(made, ignore_index=True)
    every = every[every["quantity"] != "share of the bend"]
    numbers = ["value", "low", "high", "law", "mean_angle", "smallest_bend", "num_cells"]
    every[numbers] = every[numbers].astype(float)
    every["width"] = every["high"] - every["low"]
    every["excludes_0"] = ((every["low"] > 0) | (every["high"] < 0)).where(every["low"].notna(), np.nan).astype(float)
    groups = every.groupby(list(KEYS), sort=False)
    found = groups[["law", "mean_angle", "value", "width", "excludes_0", "smallest_bend", "num_cells"]].mean()
    found.insert(3, "spread", groups["value"].std())
    return found.reset_index().assign(num_made=num_made)


def made_runs(
    law: TwoClockLaw, predictions: pd.DataFrame, rng: np.random.Generator, acting: str | None = None
) -> pd.DataFrame:
    """Runs on the study's grids, widened by its rule, with the law's losses; ``acting``: the AdamW arm whose angles all
    AdamW arms have, by default each its own."""
    angles = {(arm.name, steps): angles_of(arm, RATES, steps) for arm in ARMS for steps in LENGTHS}
    rows: list[dict[str, Any]] = []
    curves = {}
    for arm in ARMS:
        turning = arm if acting is None or arm.weight_decay is None else next(one for one in ARMS if one.name == acting)
        for steps in LENGTHS:
            turned = angles[turning.name, steps]
            curves[arm.name, steps] = law.loss(turned, arm.scheduled(steps).multipliers()), turned.mean(axis=0)
    planned = {(row["arm"], row["width"], row["num_steps"]): row for row in predictions.to_dict("records")}
    for width, steps, arm in cells_in_order():
        told = planned[arm.name, width, steps]
        noise = float(np.interp(np.log(steps), np.log(list(NOISE)), list(NOISE.values())))
        level = {seed: noise * rng.normal() for seed in seeds_of(width)}
        rates = list(rates_of(arm, told["centre"]))
        here: list[dict[str, Any]] = []
        for rate in rates:  # grows while it is gone through
            loss, angle = (float(np.interp(np.log(rate), np.log(RATES), values)) for values in curves[arm.name, steps])
            row: dict[str, Any] = {"arm": arm.name, "width": width, "num_steps": steps, "learning_rate": rate}
            row |= {"num_params": told["num_params"], "num_tokens": told["num_tokens"], "mean_angle": angle}
            row |= {"relative_update": angle, "rate_over_rms": angle}
            here += [row | {"seed": seed, "loss": loss + level[seed] + noise * rng.normal()} for seed in level]
            if rate == rates[-1] and (beyond := next_rate(pd.DataFrame(here), rates, FACTOR[arm.name])) is not None:
                rates.append(beyond)
        rows += here
    return pd.DataFrame(rows)
