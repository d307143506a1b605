"""What the runs say: an optimum per cell, exponent and curvature along parameters, and what the arms differ in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from experiments.bend.evidence.shapes import Shapes
from experiments.bend.fit import GroupFit, fit_bend
from experiments.studies.classic_bend.runs import ADAMH, EQUILIBRIUM, LARGE, OWN, SMALL
from experiments.studies.moved_optimum.answers import FITTED, NORMAL_95, told_of
from experiments.studies.same_angle.answers import measured_angle
from experiments.studies.slices import slices_of

SIZE = "num_params"
RATE, ANGLE = "learning_rate", "mean_angle"
PAIRS = (  # what is compared with what, in what; the first three are the primary ones
    (SMALL.name, EQUILIBRIUM.name, RATE),
    (LARGE.name, EQUILIBRIUM.name, RATE),
    (LARGE.name, SMALL.name, RATE),
    (SMALL.name, ADAMH.name, ANGLE),
    (EQUILIBRIUM.name, ADAMH.name, ANGLE),
    (LARGE.name, ADAMH.name, ANGLE),
)
OPTIMA = (
    *("arm", OWN, "num_steps", SIZE, "status", RATE, "low", "high", "error", "best_loss", "num_runs", "num_diverged"),
    *(ANGLE, "angle_error"),
)
ANSWERS = ("who", "rate", "num_steps", "quantity", "width", "value", "low", "high", "num_cells", "p", "verdict")
BEND, RATIO = "curvature by fit", "ln ratio"

Row = dict[str, Any]


def fits_of(runs: pd.DataFrame, shapes: Shapes | None = None) -> dict[tuple[str, int], GroupFit]:
    """By arm and length, `lrbend fit` on the cells of all widths; where there are runs. ``shapes``: as there."""
    return {
        (str(arm), int(str(steps))): fit_bend(own[FITTED], sensitivity=False, shapes=shapes).groups[0]
        for (arm, steps), own in runs.groupby(["arm", "num_steps"], sort=False)
    }


def optima_of(runs: pd.DataFrame, fits: dict[tuple[str, int], GroupFit]) -> pd.DataFrame:
    """A row per cell, with the measured mean angle at its optimum, radians per step, and the error of its logarithm,
    half of what the angle does between one error below the optimum and one above."""
    rows: list[Row] = []
    for (arm, num_steps), fit in fits.items():
        own = runs[(runs["arm"] == arm) & (runs["num_steps"] == num_steps)]
        for cell in fit.cells:
            here = own[own[SIZE] == cell.key[SIZE]]
            told: Row = {"arm": arm, OWN: int(here[OWN].iloc[0]), "num_steps": num_steps, SIZE: int(cell.key[SIZE])}
            told |= told_of(cell)
            rows.append(told | _angle_at(here.dropna(subset=[ANGLE]), told["learning_rate"], told["error"]))
    return pd.DataFrame(rows, columns=list(OPTIMA))


def _angle_at(runs: pd.DataFrame, rate: float | None, error: float) -> Row:
    if rate is None or not np.isfinite(error):
        return {ANGLE: np.nan, "angle_error": np.nan}
    low, angle, high = (measured_angle(runs, rate * np.exp(k * error)) for k in (-1, 0, 1))
    return {ANGLE: angle, "angle_error": abs(float(np.log(high / low))) / 2}


def answers_of(optima: pd.DataFrame, fits: dict[tuple[str, int], GroupFit]) -> pd.DataFrame:
    """By the decision rule of the study: a row per question."""
    rows: list[Row] = []
    for num_steps in sorted(set(optima["num_steps"])):
        here = optima[optima["num_steps"] == num_steps]
        found = [*_of_fits(fits, num_steps), *_of_slices(here, RATE), *_of_slices(in_angle(here), ANGLE)]
        for one, other, rate in PAIRS:
            ratios = ratios_of(here if rate == RATE else in_angle(here), one, other)
            found += [*_shifts(ratios, rate), *_of_slices(ratios, rate)]
        rows += [row | {"num_steps": num_steps} for row in found]
    return pd.DataFrame(rows, columns=list(ANSWERS))


def in_angle(optima: pd.DataFrame) -> pd.DataFrame:
    """The same cells with the mean angle in the place of the learning rate."""
    return optima.assign(learning_rate=optima[ANGLE], error=optima["angle_error"])


def ratios_of(optima: pd.DataFrame, one: str, other: str) -> pd.DataFrame:
    """One optimum over another, in the column ``learning_rate``, with the error of its logarithm, the two arms taken
    as independent; a row per width at which both lie inside their grids."""
    upper, lower = (optima[optima["arm"] == arm] for arm in (one, other))
    both = upper.merge(lower, on=[OWN, SIZE], suffixes=("", "_other")).dropna(subset=["error", "error_other"])
    ratio = both["learning_rate"].astype(float) / both["learning_rate_other"].astype(float)
    error = np.hypot(both["error"], both["error_other"])
    return both[[OWN, SIZE]].assign(arm=f"{one} over {other}", learning_rate=ratio, error=error).sort_values(OWN)


def _shifts(ratios: pd.DataFrame, rate: str) -> Iterator[Row]:
    for row in ratios.to_dict("records"):
        value, half = float(np.log(row["learning_rate"])), NORMAL_95 * row["error"]
        told = {"who": row["arm"], "rate": rate, "quantity": RATIO, "width": row[OWN]}
        yield judged(told, value, value - half, value + half)


def _of_slices(cells: pd.DataFrame, rate: str) -> Iterator[Row]:
    """Exponent and curvature along parameters by `slices_of`, with the p of a line; for a line at least three cells,
    for a curvature four."""
    for found in slices_of(cells, SIZE).to_dict("records"):
        for quantity, least in (("exponent", 3), ("curvature", 4)):
            if found["num_cells"] < least:
                continue
            told = {"who": found["arm"], "rate": rate, "quantity": quantity, "num_cells": found["num_cells"]}
            told |= {"p": found["p"]} if quantity == "exponent" else {}
            yield judged(told, *(found[name] for name in (quantity, f"{quantity}_low", f"{quantity}_high")))


def _of_fits(fits: dict[tuple[str, int], GroupFit], num_steps: int) -> Iterator[Row]:
    for (arm, steps), fit in fits.items():
        bend = fit.curvature[SIZE]
        if steps == num_steps and bend.value is not None:
            told = {"who": arm, "rate": RATE, "quantity": BEND, "num_cells": len(fit.cells)}
            yield told | {"value": bend.value, "low": bend.low, "high": bend.high, "verdict": bend.verdict.value}
            power = fit.power[SIZE]
            yield {**told, "quantity": "smallest bend", "value": power.smallest_bend if power else None}


def judged(row: Row, value: float, low: float, high: float) -> Row:
    """With value and interval, and whether that excludes 0."""
    verdict = "differs from 0" if low > 0 or high < 0 else "not shown"
    return row | {"value": value, "low": low, "high": high, "verdict": verdict}
