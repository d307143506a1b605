"""From the runs of `experiments.studies.solvable_bend.study` to its answers: optima, curvatures, and what the theory
missed.

A cell's loss is divided by the least mean excess in it before anything is fitted: no optimum depends on such a factor,
and losses whose noise goes in proportion to them then have one noise level, as the joint estimator assumes.

The curvature in *effective* learning rate is the joint estimator's with the mean angle per step of a run in the place
of its learning rate. Differences between two arms, ln(optimum of one / optimum of the other) by cell, share the data
and what is not straight in the problem itself; their slopes and curvatures are those of least squares over the cells,
with Student's t.

The parts of an arm's bend (`experiments.attribution.parts`) are those of four arms: AdamW, AdamH turned by its angles
as predicted, AdamW from its own equilibrium, and AdamH.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.attribution.arm_optima import optima_from_frame
from experiments.attribution.parts import KNOWN_ARMS, PARTS, attribute
from experiments.bend.fit import GroupFit, fit_bend
from experiments.bend.optimum import OptimumStatus
from experiments.bend.scaling_law import AXES
from experiments.joint.regression import regress
from experiments.studies.bend_rows import bend_rows
from experiments.studies.solvable_bend.study import SolvableBend, schedule_of

Array = NDArray[np.float64]

TERMS = ("constant", *(f"slope {axis}" for axis in AXES), *(f"curvature {axis}" for axis in AXES), "cross")


def last_round(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that optima are read from, with ``loss`` relative to the cell's least mean excess."""
    rows = table[table["round"] == table["round"].max()].copy()
    rows["loss"] = rows.groupby([*AXES, "power"])["excess"].transform("mean")
    rows["loss"] = rows["excess"] / rows.groupby([*AXES])["loss"].transform("min")
    return rows


def fit_arm(rows: pd.DataFrame, *, effective: bool = False) -> GroupFit:
    """The joint estimator on one arm, `last_round` of it; ``effective`` in mean angle instead of learning rate."""
    columns = rows[["learning_rate", "loss", "num_params", "num_tokens", "seed"]].copy()
    if effective:
        columns["learning_rate"] = rows.groupby(["num_params", "num_tokens", "power"])["mean_angle"].transform("mean")
    return fit_bend(columns, sensitivity=False).groups[0]


def optima_of(rows: pd.DataFrame, fit: GroupFit, weight_decay: float | None) -> pd.DataFrame:
    """A row per cell: optimum with its interval, and there mean angle and relaxation times of the norm in the run."""
    found = []
    for cell in fit.cells:
        n, d = cell.key["num_params"], cell.key["num_tokens"]
        here = rows[(rows["num_params"] == n) & (rows["num_tokens"] == d)]
        rate = cell.learning_rate if cell.status is OptimumStatus.INTERIOR else None
        steps = int(here["num_steps"].iloc[0])
        means = here.groupby("learning_rate")[["mean_angle", "final_rms"]].mean()
        at = np.full(2, np.nan)
        if rate is not None:
            x = np.log(means.index.to_numpy(dtype=float))
            at = np.exp([np.interp(np.log(rate), x, np.log(means[name])) for name in means.columns])
        decayed = None
        if weight_decay is not None and rate is not None:
            decayed = 2 * weight_decay * rate * float(schedule_of(steps).integral(float(steps)))
        found.append(
            {
                "num_params": int(n),
                "num_tokens": int(d),
                "status": cell.status.value,
                "learning_rate": rate,
                "low": cell.low,
                "high": cell.high,
                "mean_angle": at[0],
                "final_rms": at[1],
                "num_relaxations": decayed,
            }
        )
    return pd.DataFrame(found)


def log_ratios(
    one: pd.DataFrame, other: pd.DataFrame, column: str = "learning_rate", runs: str | None = None
) -> tuple[pd.DataFrame, Array | None]:
    """The cells where both are known, as two tables joined, those of ``other`` with ``_other``, and ``log_ratio``,
    ln(one/other); and their weights. ``runs``: as in `log_ratio_rows`."""
    both = one.merge(other, on=["num_params", "num_tokens"], suffixes=("", "_other"))
    y = np.log(np.asarray(both[column], float) / np.asarray(both[f"{column}_other"], float))
    known = np.isfinite(y)
    both = both[known].assign(log_ratio=y[known])
    weights = None if runs is None else 1 / (1 / both[runs] + 1 / both[f"{runs}_other"]).to_numpy(float)
    return both, weights


def log_ratio_rows(
    one: pd.DataFrame,
    other: pd.DataFrame,
    quantity: str,
    column: str = "learning_rate",
    runs: str | None = None,
) -> pd.DataFrame:
    """Slopes and curvatures of ln(one/other) over the cells where both are known; a row per axis.

    ``runs``: a column with the number of runs of a cell, in inverse proportion to which its ln(optimum) is taken to
    vary; None for cells that vary alike.
    ``scatter`` is the root mean square of ln(one/other), ``offset`` its value at the middle of the table. Fewer than
    two cells more than terms leave everything but these empty.
    """
    both, weights = log_ratios(one, other, column, runs)
    y = both["log_ratio"].to_numpy(float)
    rows = []
    enough = len(y) >= len(TERMS) + 2 and np.linalg.matrix_rank(design_of(both)) == len(TERMS)
    if enough:
        fit = regress(design_of(both), y[:, None], weights)
    for k, axis in enumerate(AXES):
        row: dict[str, object] = {"quantity": quantity, "axis": axis}
        if enough:
            for name, place in (("slope", 1 + k), ("curvature", 3 + k)):
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), fit.interval(place), strict=True))
            row |= {"offset": float(fit.coefficients[0, 0])}
        row |= {"scatter": float(np.sqrt(np.mean(y**2))) if len(y) else None, "num_cells": len(y)}
        rows.append(row)
    return pd.DataFrame(rows)


def design_of(cells: pd.DataFrame) -> Array:
    """(num_cells, number of `TERMS`) regressors of ln(one/other), both axes from their middle."""
    logs = [np.log(np.asarray(cells[axis], dtype=float)) for axis in AXES]
    n, d = (values - values.mean() for values in logs)
    return np.stack([np.ones_like(n), n, d, n**2 / 2, d**2 / 2, n * d], axis=1)


def optima_and_answers(
    study: SolvableBend, tables: Mapping[tuple[str, str], pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All optima and all answers; ``tables`` by (problem, arm)."""
    optima, answers = [], []
    for problem in study.problems:
        by_arm: dict[str, pd.DataFrame] = {}
        for arm in study.arms[problem.name]:
            rows = last_round(tables[problem.name, arm.name])
            fit = fit_arm(rows)
            by_arm[arm.name] = optima_of(rows, fit, None if arm.predicted else arm.weight_decay)
            label = {"problem": problem.name, "arm": arm.name}
            optima.append(by_arm[arm.name].assign(**label))
            found = [bend_rows(fit, "learning rate")]
            if arm.weight_decay is not None and not arm.predicted:
                found.append(bend_rows(fit_arm(rows, effective=True), "mean angle"))
            if arm.name != "adamh" and not arm.predicted:
                found.append(log_ratio_rows(by_arm[arm.name], by_arm["adamh"], "over adamh"))
                found.append(log_ratio_rows(by_arm[arm.name], by_arm["adamh"], "mean angle over adamh", "mean_angle"))
            answers += [table.assign(**label) for table in found]
        for arm in study.arms[problem.name]:
            if arm.predicted:
                name = arm.name.removesuffix(" predicted")
                found_here = log_ratio_rows(by_arm[name], by_arm[arm.name], "over predicted")
                answers.append(found_here.assign(problem=problem.name, arm=name))
    return _labels_first(pd.concat(optima)), _labels_first(pd.concat(answers))


def parts_of(optima: pd.DataFrame) -> pd.DataFrame:
    """What makes the bend of every arm that has a predicted one: a row per problem, arm, axis and part. ``optima``: as
    from `optima_and_answers`."""
    found = []
    for problem, table in optima.groupby("problem", sort=False):
        by_name = optima_from_frame(table)
        for predicted in (name for name in by_name if name.endswith(" predicted")):
            name = predicted.removesuffix(" predicted")
            corners = dict(zip(KNOWN_ARMS, (name, predicted, "equilibrium start", "adamh"), strict=True))
            arms = {arm: KNOWN_ARMS[corner] for corner, arm in corners.items() if arm in by_name}
            for axis, parts in attribute(by_name, arms).axes.items():
                for part in PARTS:
                    one = parts.parts[part]
                    row = {"problem": problem, "arm": name, "axis": axis, "part": part, "curvature": one.value}
                    found.append(row | {"low": one.low, "high": one.high, "verdict": one.verdict.value})
    return pd.DataFrame(found)


def _labels_first(table: pd.DataFrame) -> pd.DataFrame:
    labels = ["problem", "arm"]
    return table[[*labels, *(name for name in table.columns if name not in labels)]].reset_index(drop=True)
