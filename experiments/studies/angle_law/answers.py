"""Optimal learning rates and losses of AdamW by the laws that AdamH's runs gave, beside those that were measured.

AdamW's angles are those of `theory.transient.run_grid`, start-up included, with the direction shorter than white noise
by `DIRECTION_RATIO`: in units of the direction the norm starts higher by as much. Nothing is fitted to AdamW.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.studies.angle_law.fit import Fit
from experiments.studies.angle_law.runs import line
from experiments.studies.same_angle.study import NUM_STEPS
from theory import AdamW, Linear, equilibrium, transient
from theory.final_loss import FinalLossLaw, best_learning_rate

Array = NDArray[np.float64]

WEIGHT_DECAY = 0.1
DIRECTION_RATIO = 0.885  # of real gradients, `docs/direction`
RATES = np.geomspace(1e-3, 0.5, 61)  # among which an optimum is looked for
NEAR = 1.6  # times the optimum, and one over it: the rates among which those of other constants are looked for
SMALL = 0.02  # change of the logarithm of a constant, for the error that it leaves in an optimum
NORMAL_95 = 1.96
EQUILIBRIUM, ADAMH = "equilibrium", "adamh"  # arms of the tables
LARGEST_MISS = 0.2  # that an optimum of the pilot may be off
LARGEST_LOSSES = {1600: 0.0472, 3200: 0.0166}  # median misses, as in `experiments.studies.one_calibration`


@dataclass(frozen=True)
class Measured:
    """An optimum that was measured: ``initial_rms`` None for a start at the equilibrium of each learning rate,
    ``error`` that of its logarithm, NaN where it is not known."""

    source: str
    num_steps: int
    initial_rms: float | None
    learning_rate: float
    weight_decay: float = WEIGHT_DECAY
    error: float = np.nan


# A pilot by an independent reader with the same model, decay and schedule; only the initial RMS differs. Its arm at
# 0.059 has no optimum that can be identified.
PILOT = tuple(
    Measured("pilot", num_steps, rms, rate)
    for num_steps, arms in (
        (1600, {0.177: 0.015, 0.53: 0.040, 1.6: 0.051, 4.8: 0.069}),
        (3200, {0.53: 0.022, 1.6: 0.033, 4.8: 0.042}),
    )
    for rms, rate in arms.items()
)


def adamw_angles(
    learning_rates: Array, num_steps: int, initial_rms: float | None, weight_decay: float = WEIGHT_DECAY
) -> Array:
    """(num_steps, n) radians per step; ``initial_rms`` None for a start at the equilibrium of each rate."""
    start: float | Array = initial_rms if initial_rms is not None else own_equilibrium(learning_rates, weight_decay)
    grid = transient.run_grid(
        Linear(num_steps=num_steps, warmup_steps=num_steps // 20),
        learning_rate=learning_rates,
        weight_decay=weight_decay,
        initial_rms=np.asarray(start) / DIRECTION_RATIO,
        steps=np.arange(num_steps),
    )
    return grid.angular_update


def own_equilibrium(learning_rates: Array, weight_decay: float) -> Array:
    """Of white noise, at which the arm ``equilibrium`` of same-angle started."""
    specs = [AdamW(learning_rate=float(rate), weight_decay=weight_decay) for rate in learning_rates]
    return np.array([equilibrium(spec, initial_rms=1.0).weight_rms for spec in specs])


def measured_optima(same_angle: pd.DataFrame, moved_optimum: pd.DataFrame) -> Iterator[Measured]:
    """The pilot's, then AdamW's among the answers of same-angle and the optima of moved-optimum. Raises `BadInput`."""
    yield from PILOT
    for name, table, columns in (
        ("answers of same-angle", same_angle, ("quantity", "num_steps", "adamw_learning_rate")),
        (
            "optima of moved-optimum",
            moved_optimum,
            ("arm", "num_steps", "initial_rms", "learning_rate", "weight_decay", "error"),
        ),
    ):
        if missing := [column for column in columns if column not in table.columns]:
            raise BadInput(f"{name}: no column {', '.join(missing)}")
    for row in same_angle[same_angle["quantity"] == "cell"].to_dict("records"):
        yield _known(Measured("same-angle", int(row["num_steps"]), None, float(row["adamw_learning_rate"])))
    for row in moved_optimum[moved_optimum["arm"] != ADAMH].to_dict("records"):
        start = None if row["arm"] == EQUILIBRIUM else float(row["initial_rms"])
        rate, decay, error = (float(row[name]) for name in ("learning_rate", "weight_decay", "error"))
        yield _known(Measured("moved-optimum", int(row["num_steps"]), start, rate, decay, error))


def _known(one: Measured) -> Measured:
    if one.num_steps not in NUM_STEPS or not RATES[0] < one.learning_rate < RATES[-1]:
        raise BadInput(f"{one.source}: no optimum at num_steps {one.num_steps} with rate {one.learning_rate}")
    return one


def optima_of(fit: Fit, other: FinalLossLaw, measured: Sequence[Measured]) -> pd.DataFrame:
    """A row per measured optimum: the law's own, its 95 % interval from the fit's covariance, to first order,
    measured over it, and the optimum by the other law (``two_clocks``)."""
    constants = fit.law.coordinates()
    moved = [type(fit.law).from_coordinates(constants + step) for step in SMALL * np.eye(len(constants))]
    rows = []
    for arm in measured:
        angles = adamw_angles(RATES, arm.num_steps, arm.initial_rms, arm.weight_decay)
        clock = line(arm.num_steps)
        rate, least = best_learning_rate(fit.law, RATES, angles, clock)
        near = np.abs(np.log(RATES / rate)) < np.log(NEAR)
        others = [best_learning_rate(law, RATES[near], angles[:, near], clock)[0] for law in moved]
        slopes = np.log(np.array(others) / rate) / SMALL
        spread = NORMAL_95 * float(np.sqrt(slopes @ fit.covariance @ slopes))
        at_measured = np.interp(np.log(arm.learning_rate), np.log(RATES), fit.law.loss(angles, clock))
        rows.append(
            {
                "source": arm.source,
                "num_steps": arm.num_steps,
                "weight_decay": arm.weight_decay,
                "initial_rms": arm.initial_rms,
                "measured": arm.learning_rate,
                "error": arm.error,
                "predicted": rate,
                "low": rate * np.exp(-spread),
                "high": rate * np.exp(spread),
                "ratio": arm.learning_rate / rate,
                "two_clocks": best_learning_rate(other, RATES, angles, clock)[0],
                "least_loss": least,
                "above_at_measured": float(at_measured) - least,
            }
        )
    return pd.DataFrame(rows)


def num_within(predicted: Array, measured: Array) -> int:
    """How many optima are met within `LARGEST_MISS`."""
    return int((np.abs(predicted / measured - 1) <= LARGEST_MISS).sum())


def pilot_within(law: FinalLossLaw) -> int:
    """How many of the pilot's optima a law meets."""
    best = [
        best_learning_rate(law, RATES, adamw_angles(RATES, one.num_steps, one.initial_rms), line(one.num_steps))[0]
        for one in PILOT
    ]
    return num_within(np.array(best), np.array([one.learning_rate for one in PILOT]))


def losses_of(laws: Mapping[str, FinalLossLaw], same_angle: pd.DataFrame, moved_optimum: pd.DataFrame) -> pd.DataFrame:
    """A row per cell of AdamW in the runs of both studies: mean loss, and a column per law, which has not seen it."""
    tables = []
    for source, runs in (("same-angle", same_angle), ("moved-optimum", moved_optimum)):
        adamw = runs[runs["num_steps"].isin(NUM_STEPS) & (runs["arm"] != ADAMH)]
        for _, own in adamw.groupby(["arm", "num_steps"]):
            first, cells = own.iloc[0], own.groupby("learning_rate")
            num_steps, rates = int(first["num_steps"]), np.array(list(cells.groups), np.float64)
            start = None if first["arm"] == EQUILIBRIUM else float(first["initial_rms"])
            angles = adamw_angles(rates, num_steps, start, float(first["weight_decay"]))
            known = {"source": source, "arm": first["arm"], "num_steps": num_steps, "learning_rate": rates}
            known |= {"mean_angle": cells["mean_angle"].mean(), "predicted_mean_angle": angles.mean(axis=0)}
            known["loss"] = cells["loss"].agg(lambda losses: losses.mean(skipna=False))
            told = {name: law.loss(angles, line(num_steps)) for name, law in laws.items()}
            tables.append(pd.DataFrame(known | told))
    return pd.concat(tables, ignore_index=True)


def answers_of(fits: Sequence[tuple[str, int, float, int]], optima: pd.DataFrame, losses: pd.DataFrame) -> pd.DataFrame:
    """By the study's rule: a row per question and law.

    fits : law, number of cells, chi^2 and degrees of freedom. optima, losses : of the functions above.
    """
    rows: list[dict[str, Any]] = []
    for law, cells, chi_squared, freedom in fits:
        ratio = chi_squared / freedom
        told = {"quantity": "chi^2 per degree of freedom", "law": law, "cells": cells, "value": ratio, "limit": 2.0}
        rows.append(told | {"verdict": _verdict(ratio < 2)})
    named = {"law": "predicted", "two clocks": "two_clocks"}
    for law, column in named.items():
        pilot = optima[optima["source"] == "pilot"]
        good = num_within(pilot[column].to_numpy(float), pilot["measured"].to_numpy(float))
        told = {"quantity": "optima of the pilot within 20 %", "law": law, "cells": len(pilot), "value": good}
        rows.append(told | {"limit": len(pilot), "verdict": _verdict(good == len(pilot))})
        own = optima[optima["source"] == "moved-optimum"]
        miss = np.log(own["measured"] / own[column])
        x, weight = np.log(own[column].to_numpy(float)), own["error"].to_numpy(float) ** -2
        middle = np.average(x, weights=weight)
        slope = (weight * (x - middle) * np.log(own["measured"])).sum() / (weight * (x - middle) ** 2).sum()
        found = {"scatter over moved-optimum": np.sqrt((miss**2).mean()), "slope over moved-optimum": slope}
        rows += [{"quantity": name, "law": law, "cells": len(own), "value": v} for name, v in found.items()]
    for law, column in {"law": "law", "two clocks": "two_clocks"}.items():
        for num_steps, limit in LARGEST_LOSSES.items():
            own = losses[(losses["source"] == "moved-optimum") & (losses["num_steps"] == num_steps)].dropna()
            value = float((own[column] - own["loss"]).abs().median())
            told = {"quantity": f"median miss of losses, {num_steps} steps", "law": law, "cells": len(own)}
            rows.append(told | {"value": value, "limit": limit, "verdict": _verdict(value <= limit)})
    return pd.DataFrame(rows)


def _verdict(kept: bool) -> str:
    return "kept" if kept else "missed"
