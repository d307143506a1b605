"""The optimum at a constant rate over that of the line, at every length, and the exponents of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.studies.moved_optimum.predictions import ACCOUNTS
from experiments.studies.moved_optimum.runs import ADAMH, Arm
from theory import Constant

Array = NDArray[np.float64]

NORMAL_95 = 1.96
LENGTHS = (1600, 3200, 6400)
LINE = ADAMH
CONSTANT = Arm("constant", None, None, LENGTHS, Constant)
ARMS = (CONSTANT, LINE)


def answers_of(optima: pd.DataFrame) -> pd.DataFrame:
    """By the decision rule of the study: a row per question. ``optima``: of both arms, `optima_of` of moved-optimum."""
    known = optima[np.isfinite(optima["error"])]
    constant, line = (known[known["arm"] == arm.name].set_index("num_steps").sort_index() for arm in ARMS)
    both = [num_steps for num_steps in LENGTHS if {num_steps} <= set(constant.index) & set(line.index)]
    constant, line = constant.loc[both], line.loc[both]
    rows = [*_ratios(constant, line)]
    if len(both) > 1:
        rows += _exponents(constant, line)
    return pd.DataFrame(rows, columns=["quantity", "num_steps", "value", "low", "high", *ACCOUNTS, "verdict"])


def _ratios(constant: pd.DataFrame, line: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for num_steps in constant.index:
        one, other = constant.loc[num_steps], line.loc[num_steps]
        value = {name: float(np.log(one[name] / other[name])) for name in ("learning_rate", *ACCOUNTS)}
        error = float(np.hypot(one["error"], other["error"]))
        yield _answer("ln constant/line", num_steps, value, error)


def _exponents(constant: pd.DataFrame, line: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Of both schedules, and their difference."""
    length = f"{constant.index[0]} to {constant.index[-1]}"
    found = [_exponent(arm) for arm in (constant, line)]
    for name, (value, error) in zip(("constant", "line"), found, strict=True):
        yield _answer(f"exponent, {name}", length, value, error)
    difference = {name: found[0][0][name] - found[1][0][name] for name in found[0][0]}
    yield _answer("difference of exponents", length, difference, float(np.hypot(found[0][1], found[1][1])))


def _exponent(optima: pd.DataFrame) -> tuple[dict[str, float], float]:
    """Weighted least squares; of the measured optima and of each account, with the same weights."""
    weight = optima["error"].to_numpy(float) ** -2
    x = np.log(optima.index.to_numpy(float))
    x = x - np.average(x, weights=weight)
    spread = float((weight * x**2).sum())
    values = {
        name: float((weight * x * np.log(optima[name].to_numpy(float))).sum()) / spread
        for name in ("learning_rate", *ACCOUNTS)
    }
    return values, spread**-0.5


def _answer(quantity: str, num_steps: object, value: dict[str, float], error: float) -> dict[str, Any]:
    measured, half = value["learning_rate"], NORMAL_95 * error
    refuted = [f"refutes {name.replace('_', ' ')}" for name in ACCOUNTS if abs(value[name] - measured) > half]
    row = {"quantity": quantity, "num_steps": num_steps, "value": measured, "low": measured - half}
    row |= {"high": measured + half, **{name: value[name] for name in ACCOUNTS}}
    return row | {"verdict": "; ".join(["differs from 0" if abs(measured) > half else "not shown", *refuted])}
