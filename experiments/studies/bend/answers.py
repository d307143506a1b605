"""What the runs say: an optimum per cell; exponent and curvature per arm and axis; what the arms differ in; shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from experiments.attribution.parts import Arm, attribute
from experiments.bend.fit import GroupFit, fit_bend
from experiments.bend.scaling_law import AXES
from experiments.studies.bend.runs import ARMS, RATES
from experiments.studies.moved_optimum.answers import FITTED, told_of
from experiments.studies.moved_optimum.predictions import ACCOUNTS
from experiments.studies.same_angle.answers import measured_angle
from experiments.studies.solvable_bend.answers import log_ratio_rows

ADAMH = ARMS[-1].name
LR, ANGLE, MATCHED = "learning_rate", "mean_angle", "as AdamW's rate"
PAIRS = (  # what each is compared with, in what
    ("large start", "usual start", LR),
    ("usual start", "equilibrium", LR),
    ("large start", "equilibrium", LR),
    ("equilibrium", ADAMH, MATCHED),
    ("usual start", ADAMH, ANGLE),
    ("large start", ADAMH, ANGLE),
    ("equilibrium", ADAMH, ANGLE),
)
OWN = ("usual start", "large start")
OTHERS = {"equilibrium": Arm(angle="steady", norm="own"), ADAMH: Arm(angle="steady", norm="fixed", rate="angle")}
PARTS = {"bend": (0, None), "angle, norm own": (0, 1), "norm, angles steady": (1, 2), "both": (0, 2), "left": (2, None)}
KEYS = ("who", "rate", "axis", "quantity")
ANSWERS = (*KEYS, "value", "low", "high", *ACCOUNTS, "smallest_bend", "num_cells", "verdict")
NORMAL_95 = 1.96
PLACE = ("arm", "num_params", "num_tokens")
TOLD = (
    *("status", "learning_rate", "low", "high", "error", "best_loss", "num_runs", "num_diverged"),
    *(f"{name}_there" for name in RATES),
)
MISSING = ("unfinished", "not run")  # status of a cell without all its runs


def fits_of(table: pd.DataFrame) -> dict[str, dict[str, GroupFit]]:
    """By arm that has runs, and by learning rate: the plain one, then the three effective ones as they were measured,
    the mean over the seeds of a rate. ``table``: of finished cells."""
    fits: dict[str, dict[str, GroupFit]] = {}
    for arm in ARMS:
        own = table[table["arm"] == arm.name]
        if own.empty:
            continue
        cells = own.groupby(["num_params", "num_tokens", LR])
        rates = {LR: own[LR], **{name: cells[name].transform("mean") for name in RATES}}
        fits[arm.name] = {
            name: fit_bend(own[FITTED].assign(learning_rate=rate), sensitivity=False).groups[0]
            for name, rate in rates.items()
        }
    return fits


def optima_of(
    runs: pd.DataFrame, table: pd.DataFrame, fits: Mapping[str, Mapping[str, GroupFit]], predictions: pd.DataFrame
) -> pd.DataFrame:
    """A row per planned cell: its optimum, the three effective rates there, both accounts; those without all their runs
    have a status of `MISSING`. ``runs``: all; ``table``: those of finished cells."""
    rows = []
    for arm, by_rate in fits.items():
        for cell in by_rate[LR].cells:
            here = {"arm": arm, "num_params": int(cell.key["num_params"]), "num_tokens": int(cell.key["num_tokens"])}
            own = _at(table, here)
            at = {f"{name}_there": np.nan for name in RATES}
            if cell.learning_rate is not None:
                at = {f"{name}_there": measured_angle(own, cell.learning_rate, name) for name in RATES}
            rows.append({**here, **told_of(cell), **at})
    found = predictions.merge(pd.DataFrame(rows, columns=[*PLACE, *TOLD]), on=list(PLACE), how="left")
    begun = [not _at(runs, row).empty for row in found.to_dict("records")]
    found["status"] = found["status"].where(found["status"].notna(), np.where(begun, *MISSING))
    return found


def _at(runs: pd.DataFrame, place: Mapping[Any, Any]) -> pd.DataFrame:
    same = (runs[name] == place[name] for name in PLACE)
    return runs[np.logical_and.reduce(list(same))]


def answers_of(
    optima: pd.DataFrame, fits: Mapping[str, Mapping[str, GroupFit]], runs: str | None = "num_runs"
) -> pd.DataFrame:
    """By the decision rule of the study: a row per question, with what both accounts say of the same cells.

    ``runs``: as in `log_ratio_rows`, of the differences between arms.
    """
    inside = optima[optima["status"] == "interior"]
    known = {arm.name: inside[inside["arm"] == arm.name] for arm in ARMS if arm.name in set(optima["arm"])}
    rows = [*_of_arms(fits, known), *_of_pairs(known, runs), *_of_parts(fits, known)]
    return pd.DataFrame(rows, columns=list(ANSWERS))


def _of_arms(fits: Mapping[str, Mapping[str, GroupFit]], known: Mapping[str, pd.DataFrame]) -> Iterator[dict[str, Any]]:
    for arm, by_rate in fits.items():
        for rate, fit in by_rate.items():
            said = _said(known[arm], None, rate if rate in (LR, ANGLE) else None)
            for axis in AXES:
                power = fit.power[axis]
                for quantity, found in (("exponent", fit.exponents[axis]), ("curvature", fit.curvature[axis])):
                    row: dict[str, Any] = {"who": arm, "rate": rate, "axis": axis, "quantity": quantity}
                    row |= {"value": found.value, "low": found.low, "high": found.high, "num_cells": len(known[arm])}
                    row |= said[axis, quantity]
                    verdict = None
                    if quantity == "curvature":
                        row["smallest_bend"] = power.smallest_bend if power else None
                        verdict = fit.curvature[axis].verdict.value
                    yield row | {"verdict": judged(row, verdict)}


def _of_pairs(known: Mapping[str, pd.DataFrame], runs: str | None) -> Iterator[dict[str, Any]]:
    for one, other, rate in PAIRS:
        if one not in known or other not in known:
            continue
        column = f"{ANGLE}_there" if rate == ANGLE else LR
        found = log_ratio_rows(known[one], _matched(known[other], rate, column), "", column, runs)
        said = _said(known[one], known[other], rate, runs)
        for item in found.to_dict("records"):
            for quantity, name in (("exponent", "slope"), ("curvature", "curvature")):
                row = {"who": f"{one} over {other}", "rate": rate, "axis": item["axis"], "quantity": quantity}
                ends = {end: item.get(f"{name}_{end}") for end in ("low", "high")}
                row |= {"value": item.get(name), **ends, "num_cells": item["num_cells"]}
                row |= said[item["axis"], quantity]
                yield row | {"verdict": judged(row)}


def _of_parts(
    fits: Mapping[str, Mapping[str, GroupFit]], known: Mapping[str, pd.DataFrame]
) -> Iterator[dict[str, Any]]:
    for own in OWN:
        arms = {own: Arm(angle="own", norm="own"), **OTHERS}
        if not set(arms) <= set(fits):
            continue
        found = attribute({arm: fits[arm][LR].cells for arm in arms}, arms, axes=AXES)
        names = list(arms)
        for axis, item in found.axes.items():
            for part, (first, second) in PARTS.items():
                one, other = known[names[first]], None if second is None else known[names[second]]
                told = item.parts[part]
                row: dict[str, Any] = {"who": f"{own}: {part}", "rate": MATCHED, "axis": axis}
                row |= {"num_cells": found.num_cells}
                bend = row | {"quantity": "curvature", "value": told.value, "low": told.low, "high": told.high}
                bend |= _said(one, other, MATCHED)[axis, "curvature"]
                yield bend | {"verdict": judged(bend, told.verdict.value)}
                value, low, high = told.share or (None, None, None)
                share = row | {"quantity": "share of the bend", "value": value, "low": low, "high": high}
                yield share | {"verdict": "not told from 0, so no share" if low is None else ""}


def _matched(optima: pd.DataFrame, rate: str, column: str) -> pd.DataFrame:
    """With AdamH's rates as AdamW's that turn alike at equilibrium, up to a factor, where ``rate`` asks for that."""
    power = 2.0 if rate == MATCHED and set(optima["arm"]) == {ADAMH} else 1.0
    return optima.assign(**{column: np.asarray(optima[column], float) ** power})


def _said(
    one: pd.DataFrame, other: pd.DataFrame | None, rate: str | None, runs: str | None = None
) -> dict[tuple[str, str], dict[str, float]]:
    """What both accounts say of exponents and curvatures over the cells that are known, or over those of both."""
    said: dict[tuple[str, str], dict[str, float]] = {
        (axis, name): {} for axis in AXES for name in ("exponent", "curvature")
    }
    if rate is None or one.empty or (other is not None and other.empty):
        return said
    columns = {"law": "law_angle", "mean_angle": None} if rate == ANGLE else {name: name for name in ACCOUNTS}
    for account, column in columns.items():
        if column is None:  # one mean angle for all
            said = {key: {**values, account: 0.0} for key, values in said.items()}
            continue
        upper = _matched(one, rate, column)
        lower = _matched(other, rate, column) if other is not None else one.assign(**{column: 1.0})
        for item in log_ratio_rows(upper, lower, "", column, runs).to_dict("records"):
            said[item["axis"], "exponent"][account] = item.get("slope", np.nan)
            said[item["axis"], "curvature"][account] = item.get("curvature", np.nan)
    return said


def judged(row: Mapping[str, Any], verdict: str | None = None) -> str:
    """The verdict, by default whether the interval excludes 0, and whether one mean angle lies outside the interval."""
    low, high = (float(row[end]) if row[end] is not None else np.nan for end in ("low", "high"))
    if not np.isfinite(low + high):
        return verdict or "not identifiable"
    told = verdict or ("differs from 0" if low > 0 or high < 0 else "not shown")
    angle = float(row.get("mean_angle", np.nan))
    return f"{told}; refutes mean angle" if angle < low or angle > high else told


def against_law(answers: pd.DataFrame, expected: pd.DataFrame, *, complete: bool) -> pd.DataFrame:
    """The same with ``made`` and ``made_spread``, what the study finds on the law's own losses, and in the verdict
    whether that refutes the law, if the runs are ``complete``: fewer cells are not what was made."""
    made = expected.rename(columns={"value": "made", "spread": "made_spread"})[[*KEYS, "made", "made_spread"]]
    told = answers.merge(made, on=list(KEYS), how="left")
    value, low, high = (told[name].astype(float) for name in ("value", "low", "high"))
    error = np.maximum((high - low) / (2 * NORMAL_95), told["made_spread"])
    refuted = complete & ((value - told["made"]).abs() > NORMAL_95 * error)
    return told.assign(verdict=told["verdict"].where(~refuted, told["verdict"] + "; refutes law"))
