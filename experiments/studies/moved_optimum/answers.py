"""What the runs say: an optimum per cell, the shifts between arms, one curve for all, the symmetry."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from experiments.attribution.arm_optima import standard_error
from experiments.bend.fit import fit_bend
from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.studies.moved_optimum.predictions import ACCOUNTS
from experiments.studies.moved_optimum.runs import ADAMH, SCALES

Array = NDArray[np.float64]

NORMAL_95, NORMAL_90 = 1.96, 1.645
SHIFT = ("start 14.4", "start 1.6")
FITTED = ["learning_rate", "loss", "num_params", "num_tokens", "seed"]
SLOPES, LARGEST_SCATTER = (0.9, 1.1), 0.15
ANSWERS = ("quantity", "num_steps", "value", "low", "high", "law", "mean_angle", "verdict")


def optima_of(runs: pd.DataFrame, others: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row per cell that has runs: its optimum with interval, status and error of its logarithm, beside both
    accounts. ``others`` are further runs of arms that have the columns of `FITTED`, ``arm`` and ``num_steps``."""
    told = ["arm", "num_steps", "weight_decay", "initial_rms", *ACCOUNTS, "num_relaxations", "expected_error"]
    found = fitted_optima(pd.concat([runs, others], ignore_index=True), dict.fromkeys(predictions["arm"]))
    return found.merge(predictions[told], on=["arm", "num_steps"], how="left")


def fitted_optima(table: pd.DataFrame, arms: Iterable[str]) -> pd.DataFrame:
    """A row per cell of these arms that has runs, by `lrbend fit`, arm by arm."""
    rows = []
    for arm in arms:
        own = table[table["arm"] == arm]
        if own.empty:
            continue
        lengths = {float(tokens): int(steps) for tokens, steps in zip(own["num_tokens"], own["num_steps"], strict=True)}
        for cell in fit_bend(own[FITTED], sensitivity=False).groups[0].cells:
            rows.append({"arm": arm, "num_steps": lengths[cell.key["num_tokens"]], **told_of(cell)})
    return pd.DataFrame(rows)


def told_of(cell: CellOptimum) -> dict[str, Any]:
    """What a table of optima tells of a cell; ``error`` of ln(optimum) is NaN where it is not inside its grid."""
    known = cell.status is OptimumStatus.INTERIOR
    return {
        "status": cell.status.value,
        "learning_rate": cell.learning_rate,
        "low": cell.low,
        "high": cell.high,
        "error": standard_error(cell) if known else np.nan,
        "best_loss": cell.best_loss,
        "num_runs": cell.num_runs,
        "num_diverged": cell.num_diverged,
    }


def answers_of(runs: pd.DataFrame, optima: pd.DataFrame) -> pd.DataFrame:
    """By the decision rule of the study: a row per question, with the predicted value where there is one."""
    shifts = list(shifts_of(optima))
    adamw = optima[optima["arm"] != ADAMH.name]  # both accounts know AdamH's optima at the shorter lengths
    curves = [*curves_of(optima, "all cells"), *curves_of(adamw, "AdamW alone")]
    rows = [*shifts, *fading_of(shifts), *curves, *symmetry_of(runs)]
    return pd.DataFrame(rows, columns=list(ANSWERS))


def shifts_of(optima: pd.DataFrame, arms: tuple[str, str] = SHIFT) -> Iterator[dict[str, Any]]:
    """ln of the optimum of the first arm over that of the second, at every length that has both."""
    large, small = (optima[optima["arm"] == arm].set_index("num_steps") for arm in arms)
    for num_steps in sorted(set(large.index) & set(small.index)):
        one, other = large.loc[num_steps], small.loc[num_steps]
        row: dict[str, Any] = {"quantity": "shift", "num_steps": num_steps}
        row |= {name: float(np.log(one[name] / other[name])) for name in ACCOUNTS}
        value = float(np.log(float(one["learning_rate"] or np.nan) / float(other["learning_rate"] or np.nan)))
        error = float(np.hypot(one["error"], other["error"]))
        if not np.isfinite(value * error):
            yield row | {"verdict": "an optimum is not inside its grid"}
            continue
        row |= {"value": value, "low": value - NORMAL_95 * error, "high": value + NORMAL_95 * error, "error": error}
        moved = "moved" if abs(value) > NORMAL_95 * error else "not shown"
        refuted = [name for name in ACCOUNTS if abs(row[name] - value) > NORMAL_95 * error]
        yield row | {"verdict": "; ".join([moved, *(f"refutes {name.replace('_', ' ')}" for name in refuted)])}


def fading_of(shifts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each length's shift less that of the next length, and the first less the last."""
    known = [shift for shift in shifts if "value" in shift]
    pairs = list(itertools.pairwise(known))
    if len(known) > 2:
        pairs.append((known[0], known[-1]))
    for shorter, longer in pairs:
        less = {name: shorter[name] - longer[name] for name in ("value", *ACCOUNTS)}
        error = float(np.hypot(shorter["error"], longer["error"]))
        verdict = "fades" if less["value"] > NORMAL_90 * error else "not shown"
        ends = {"low": less["value"] - NORMAL_95 * error, "high": less["value"] + NORMAL_95 * error}
        quantity = f"fading to {longer['num_steps']}"
        yield {"quantity": quantity, "num_steps": shorter["num_steps"], **less, **ends, "verdict": verdict}


def curves_of(optima: pd.DataFrame, cells: str) -> Iterator[dict[str, Any]]:
    """Of each account the slope of ln(measured) against ln(predicted), and the root mean square of their difference,
    whose ``high`` is what the errors of the optima alone make of it in 95 % of tries. ``cells``: what they are called.
    """
    known = optima[np.isfinite(optima["error"])]
    if len(known) < 3:
        return
    measured, error = np.log(known["learning_rate"].to_numpy(float)), known["error"].to_numpy(float)
    for account in ACCOUNTS:
        predicted = np.log(known[account].to_numpy(float))
        weight = error**-2
        middle = np.average(predicted, weights=weight)
        spread = float((weight * (predicted - middle) ** 2).sum())
        slope = float((weight * (predicted - middle) * measured).sum()) / spread
        ends = slope + NORMAL_95 * spread**-0.5 * np.array([-1.0, 1.0])
        miss = measured - predicted
        scatter = float(np.sqrt((miss**2).mean()))
        noise = float(np.sqrt((error**2).mean() * chi2.ppf(0.95, len(known)) / len(known)))
        verdict = curve_verdict(slope, ends, scatter, noise)
        told = {"law": np.nan, "mean_angle": np.nan, account: 1.0}
        yield {"quantity": f"slope, {account}, {cells}", "value": slope, "low": ends[0], "high": ends[1], **told}
        told |= {account: 0.0}
        yield {"quantity": f"scatter, {account}, {cells}", "value": scatter, "high": noise, **told, "verdict": verdict}


def curve_verdict(slope: float, ends: Array, scatter: float, noise: float) -> str:
    """Holds, refuted or open, by the third rule of the study."""
    if SLOPES[0] <= slope <= SLOPES[1] and scatter < LARGEST_SCATTER:
        return "holds"
    off_slope = ends[0] > SLOPES[1] or ends[1] < SLOPES[0]
    return "refuted" if off_slope or scatter > np.hypot(LARGEST_SCATTER, noise) else "open"


def symmetry_of(runs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Root mean square over seeds of the loss's change in other units, over that of a twin."""
    losses = {label: rows.set_index("seed")["loss"] for label, rows in runs.groupby("arm")}
    if not {"base", "twin"} <= set(losses):
        return

    def change(label: str) -> float:
        return float(np.sqrt(((losses[label] - losses["base"]) ** 2).mean()))

    for scale in SCALES:
        ratio = change(f"scale {scale:g}") / change("twin")
        verdict = "holds" if ratio <= 2 else "broken"
        yield {"quantity": f"symmetry, {scale:g}", "num_steps": 400, "value": ratio, "high": 2.0, "verdict": verdict}
