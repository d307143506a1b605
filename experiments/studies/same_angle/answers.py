"""What the runs of `experiments.studies.same_angle.study` say: a row per length, and the pooled answer.

Optima and intervals are those of the joint estimator, arm by arm. The prediction for AdamW is the learning rate whose
mean angle, started at its own equilibrium, is that of AdamH at AdamH's optimum, both by `theory.predict_trajectory`;
its error is AdamH's carried through. Errors of the two arms and of different lengths are taken as independent.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq

from experiments.attribution.arm_optima import standard_error
from experiments.bend.fit import fit_bend
from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.files import BadInput
from experiments.studies.same_angle.study import ARMS, NUM_STEPS, study
from theory import AdamH, AdamW, Schedule, equilibrium, predict_trajectory

Array = NDArray[np.float64]

NORMAL_95 = 1.96
RECORD_EVERY = 20
LOWEST, HIGHEST = 1e-6, 4.0  # of AdamW's learning rate, where the predicted one is looked for
NUMBERS, GAPS = ("num_steps", "num_params", "num_tokens", "learning_rate", "seed"), ("loss", "mean_angle")


def answers_of(table: pd.DataFrame) -> pd.DataFrame:
    """A row per length, then the pooled ratio and its slope in ln length, each with a 95 % interval.

    ``table`` as the sweep writes it. Lengths at which an arm's optimum is not inside its grid have a row without a
    ratio. Raises `BadInput` without two lengths at which both are, and for a table that is not this study's.
    """
    _check(table)
    optima = {arm: _optima(table[table["arm"] == arm]) for arm in ARMS}
    rows = []
    for num_steps in sorted(set(optima["adamh"]) & set(optima["equilibrium"])):
        adamh, adamw = optima["adamh"][num_steps], optima["equilibrium"][num_steps]
        row: dict[str, object] = {"quantity": "cell", "num_steps": num_steps}
        for name, cell in (("adamh", adamh), ("adamw", adamw)):
            row |= {f"{name}_{key}": getattr(cell, key) for key in ("learning_rate", "low", "high")}
            row[f"{name}_status"] = cell.status.value
        rows.append(row | _measured_over_predicted(adamh, adamw, num_steps, table))
    known = [row for row in rows if "value" in row]
    if len(known) < 2:
        raise BadInput("both optima lie inside their grids at fewer than two lengths")
    value, error = (np.array([row[key] for row in known], dtype=float) for key in ("value", "error"))
    x = np.log([float(row["num_steps"]) for row in known])  # type: ignore[arg-type]
    weight = error**-2
    mean, middle = np.average(value, weights=weight), np.average(x, weights=weight)
    spread = float((weight * (x - middle) ** 2).sum())
    slope = float((weight * (x - middle) * value).sum()) / spread
    pooled = (("pooled", mean, weight.sum() ** -0.5), ("slope", slope, spread**-0.5))
    rows += [{"quantity": name, **_interval(float(found), float(own))} for name, found, own in pooled]
    return pd.DataFrame(rows)


def _check(table: pd.DataFrame) -> None:
    if missing := [name for name in ("arm", *NUMBERS, *GAPS) if name not in table.columns]:
        raise BadInput(f"table: no column {', '.join(missing)}")
    if not set(ARMS) <= set(table["arm"]):
        raise BadInput(f"table: an arm is missing; it needs {' and '.join(ARMS)}")
    if not set(table["num_steps"]) <= set(NUM_STEPS):
        raise BadInput(f"table: num_steps other than the study's {', '.join(map(str, NUM_STEPS))}")
    angles = pd.to_numeric(table["mean_angle"], errors="coerce")
    known = angles[table["loss"].notna()]
    if not ((known > 0) & (known < np.pi)).all():
        raise BadInput("table: mean_angle must be above 0 and below pi in every run with a loss")


def _optima(table: pd.DataFrame) -> dict[int, CellOptimum]:
    steps = dict(zip(table["num_tokens"].astype(float), table["num_steps"].astype(int), strict=True))
    columns = table[["learning_rate", "loss", "num_params", "num_tokens", "seed"]]
    return {steps[cell.key["num_tokens"]]: cell for cell in fit_bend(columns, sensitivity=False).groups[0].cells}


def _measured_over_predicted(
    adamh: CellOptimum, adamw: CellOptimum, num_steps: int, table: pd.DataFrame
) -> dict[str, object]:
    """ln of AdamW's optimum over that predicted from AdamH's; nothing where one of them is not inside its grid."""
    if {adamh.status, adamw.status} != {OptimumStatus.INTERIOR}:
        return {}
    assert adamh.learning_rate is not None
    assert adamw.learning_rate is not None
    own = standard_error(adamh)
    rates = np.exp(np.log(adamh.learning_rate) + own * np.array([-1, 0, 1]))
    low, middle, high = (predicted_rate(float(rate), num_steps) for rate in rates)
    error = np.hypot(standard_error(adamw), np.log(high / low) / 2)
    angles = [
        measured_angle(table[(table["arm"] == arm) & (table["num_steps"] == num_steps)], rate)
        for arm, rate in (("adamh", adamh.learning_rate), ("equilibrium", adamw.learning_rate))
    ]
    ratio = _interval(float(np.log(adamw.learning_rate / middle)), float(error))
    return {"predicted": middle, **ratio, "error": error, "adamh_angle": angles[0], "adamw_angle": angles[1]}


def _interval(value: float, error: float) -> dict[str, float]:
    return {"value": value, "low": value - NORMAL_95 * error, "high": value + NORMAL_95 * error}


def predicted_rate(adamh_rate: float, num_steps: int) -> float:
    """AdamW's learning rate with AdamH's mean angle, in a run of the study with that many steps."""
    schedule = next(c.config.schedule for c in study().cells if c.config.schedule.num_steps == num_steps)
    wanted = np.log(mean_angle(AdamH(learning_rate=adamh_rate), schedule))

    def excess(log_rate: float) -> float:
        return float(np.log(mean_angle(_adamw(np.exp(log_rate)), schedule)) - wanted)

    return float(np.exp(brentq(excess, np.log(LOWEST), np.log(HIGHEST), xtol=1e-6)))


def _adamw(rate: float) -> AdamW:
    decay = ARMS["equilibrium"]
    assert isinstance(decay, AdamW)
    return AdamW(learning_rate=float(rate), weight_decay=decay.weight_decay)


def mean_angle(optimizer: AdamW | AdamH, schedule: Schedule) -> float:
    """Per step, radians, over a run that AdamW starts at its own equilibrium; by theory."""
    start = 1.0 if isinstance(optimizer, AdamH) else equilibrium(optimizer, initial_rms=1.0).weight_rms
    path = predict_trajectory(optimizer, schedule, initial_rms=start, record_every=RECORD_EVERY)
    return float(path.angular_update.mean())


def measured_angle(runs: pd.DataFrame, rate: float, column: str = "mean_angle") -> float:
    """Mean angle per step of the runs of a cell, radians, or another column above 0, between its learning rates by
    ln-ln interpolation."""
    means = runs.groupby("learning_rate")[column].mean()
    return float(np.exp(np.interp(np.log(rate), np.log(means.index.to_numpy(float)), np.log(means.to_numpy(float)))))
