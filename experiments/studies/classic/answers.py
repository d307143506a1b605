"""What the runs say: the shift of the optimum and of the losses, and which part of it is the angle's and the norm's.

The parts are those of `experiments.attribution.parts.PARTS`, which takes them of curvatures; here they are taken of
ln(optimum) and of losses. *Crossed*: own angles and norm are those of the large start, the others those of the small
one. *From a start*: own are AdamW's from there, the norm is fixed by a replay of its angles at the initial norm, steady
angles are those of AdamW from its equilibrium, and AdamH at the initial norm has neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from experiments.attribution.parts import OWN, PARTS, REPLAYED, STEADY, STEADY_FIXED, Corner
from experiments.studies.classic.predictions import steady_rate
from experiments.studies.classic.runs import CORRECTED, EQUILIBRIUM, HELD, LARGE, SMALL, finished_cells
from experiments.studies.moved_optimum.answers import NORMAL_95, optima_of
from experiments.studies.moved_optimum.predictions import ACCOUNTS
from experiments.studies.same_angle.answers import measured_angle

CROSSED: Mapping[Corner, str] = {
    OWN: LARGE.name,
    REPLAYED: "large angles, small norm",
    STEADY: "small angles, large norm",
    STEADY_FIXED: SMALL.name,
}
FROM: Mapping[str, Mapping[Corner, str]] = {
    SMALL.name: {
        OWN: SMALL.name,
        REPLAYED: "small angles, small norm fixed",
        STEADY: EQUILIBRIUM.name,
        STEADY_FIXED: HELD[0].name,
    },
    LARGE.name: {
        OWN: LARGE.name,
        REPLAYED: "large angles, large norm fixed",
        STEADY: EQUILIBRIUM.name,
        STEADY_FIXED: HELD[1].name,
    },
}
TOLD = ("both", "angle", "norm", "interaction")
SHIFT_PARTS: Mapping[str, Mapping[Corner, float]] = {
    **{name: PARTS[name] for name in TOLD},
    "angle less norm": {REPLAYED: 1, STEADY: -1},
}
EFFECTS: Mapping[str, tuple[Corner, Corner]] = {  # one at a time, told after looking: the first less the second
    "angle under small norms": (REPLAYED, STEADY_FIXED),
    "angle under large norms": (OWN, STEADY),
    "norm at large angles": (OWN, REPLAYED),
    "norm at small angles": (STEADY, STEADY_FIXED),
}
LOSS_CONTRASTS = {  # the first less the second; what differs is the norm
    "norm until the end of the warmup": ("large angles, large then small norm", "large angles, small norm"),
    "norm from there on": (LARGE.name, "large angles, large then small norm"),
    "norm moves, small": (SMALL.name, "small angles, small norm fixed"),
    "norm moves, large": (LARGE.name, "large angles, large norm fixed"),
}
CORRECTION = (CORRECTED.name, LARGE.name)
NEAR, NEAR_LOSS = 0.35, 0.02  # in ln(rate), half a step of the grid; in nats
ENDS = ("learning_rate", "low", "high")
LEAST_RATES = 3  # of a cell whose optimum is asked for
ANSWERS = ("quantity", "num_steps", "learning_rate", "value", "low", "high", *ACCOUNTS, "verdict")
NO_ACCOUNT = dict.fromkeys(ACCOUNTS, np.nan)
NOTHING = dict.fromkeys(ACCOUNTS, 0.0)  # what angles alone say of the norm

Row = dict[str, Any]


def measured_optima(runs: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row per cell that has `LEAST_RATES` rates or more, by moved-optimum's `optima_of`; with the measured mean angle
    at the optimum and the error of its logarithm, and whether the cell is ``finished``."""
    rates = runs.groupby(["arm", "num_steps"])["learning_rate"].transform("nunique")
    enough = runs[rates >= LEAST_RATES]
    if enough.empty:
        kinds = {"arm": str, "num_steps": int, "low": float, "high": float, "error": float, "finished": bool}
        return pd.DataFrame(columns=list(kinds)).astype(kinds)
    optima = optima_of(enough, runs.iloc[:0], predictions)
    finished = finished_cells(runs)
    optima["finished"] = [cell in finished for cell in zip(optima["arm"], optima["num_steps"], strict=True)]
    return optima.join(pd.DataFrame([_angle_at(enough, cell) for cell in optima.to_dict("records")], optima.index))


def _angle_at(runs: pd.DataFrame, cell: Mapping[Any, Any]) -> dict[str, float]:
    own = runs[(runs["arm"] == cell["arm"]) & (runs["num_steps"] == cell["num_steps"])].dropna(subset=["mean_angle"])
    if not np.isfinite(cell["error"]):
        return {"angle": np.nan, "angle_error": np.nan}
    low, angle, high = (measured_angle(own, cell["learning_rate"] * np.exp(k * cell["error"])) for k in (-1, 0, 1))
    return {"angle": angle, "angle_error": abs(float(np.log(high / low))) / 2}


def answers_of(runs: pd.DataFrame, optima: pd.DataFrame) -> pd.DataFrame:
    """By the decision rule of the study: a row per question. What needs runs that are not there has no row."""
    rows: list[Row] = []
    for num_steps in sorted({int(each) for each in runs["num_steps"]}):
        here = optima[optima["num_steps"] == num_steps]
        cells = {str(row["arm"]): {str(key): value for key, value in row.items()} for row in here.to_dict("records")}
        found = _of_length(runs[runs["num_steps"] == num_steps], cells, num_steps)
        rows += [row | {"num_steps": num_steps} for row in found]
    return pd.DataFrame(rows, columns=list(ANSWERS))


def _of_length(table: pd.DataFrame, cells: Mapping[str, Row], num_steps: int) -> Iterator[Row]:
    losses = table.pivot_table(index=["learning_rate", "seed"], columns="arm", values="loss")
    yield from of_optima(cells, CROSSED, SHIFT_PARTS, "ln rate, ")
    yield from of_ends(cells)
    yield from _angles(cells)
    for name in ("angle", "norm", "interaction"):
        weights = {CROSSED[corner]: weight for corner, weight in PARTS[name].items()}
        yield from of_losses(losses, weights, f"loss, {name}", NO_ACCOUNT if name == "angle" else NOTHING)
    for name, (one, other) in LOSS_CONTRASTS.items():
        yield from of_losses(losses, {one: 1, other: -1}, f"loss, {name}", NOTHING)
    yield from _held(table, cells)
    for start, corners in FROM.items():
        steady = _in_steady_rate(cells, corners[STEADY_FIXED], num_steps)
        yield from of_optima(steady, corners, {name: PARTS[name] for name in TOLD}, f"ln rate, from {start}, ")
    yield from of_optima(
        cells, dict(zip((OWN, STEADY_FIXED), CORRECTION, strict=True)), {"both": PARTS["both"]}, "adamc/large, "
    )
    yield from of_losses(losses, dict(zip(CORRECTION, (1, -1), strict=True)), "loss, adamc less large", NO_ACCOUNT)


def of_optima(
    cells: Mapping[str, Row], corners: Mapping[Corner, str], parts: Mapping[str, Mapping[Corner, float]], prefix: str
) -> Iterator[Row]:
    """Each part of ln(optimum) over the arms in the corners, whose errors count as independent."""
    for name, weights in parts.items():
        used = [(cells.get(corners[corner]), weight) for corner, weight in weights.items()]
        if any(cell is None for cell, _ in used):
            continue
        known = [(cell, weight) for cell, weight in used if cell is not None]
        value = {
            key: float(sum(weight * np.log(float(cell[key] or np.nan)) for cell, weight in known))
            for key in (*ACCOUNTS, "learning_rate")
        }
        error = float(np.sqrt(sum((weight * cell["error"]) ** 2 for cell, weight in known)))
        quantity = prefix + {"both": "shift"}.get(name, name)
        yield _answer(quantity, value.pop("learning_rate"), NORMAL_95 * error, value)


def of_ends(cells: Mapping[str, Row]) -> Iterator[Row]:
    """Each of `EFFECTS` on ln(optimum), from the 95 % ends of both: wider than 95 %, and where an optimum lies outside
    its grid a bound on one side, without a value."""
    for name, (first, second) in EFFECTS.items():
        pair = [cells.get(CROSSED[corner]) for corner in (first, second)]
        if pair[0] is None or pair[1] is None:
            continue
        one, other = ({key: np.log(float(cell[key])) for key in (*ENDS, *ACCOUNTS)} for cell in pair if cell)
        row: Row = {"quantity": f"ln rate, {name}", "value": one["learning_rate"] - other["learning_rate"]}
        row |= {"low": one["low"] - other["high"], "high": one["high"] - other["low"]}
        said = {account: one[account] - other[account] for account in ACCOUNTS}
        if np.isnan(row["low"]) and np.isnan(row["high"]):
            verdict = "an optimum is not inside its grid"
        else:
            verdict = "above 0" if row["low"] > 0 else "below 0" if row["high"] < 0 else "not shown"
        refuted = [
            f"refutes {account.replace('_', ' ')}"
            for account, number in said.items()
            if number < row["low"] or number > row["high"]
        ]
        yield row | said | {"verdict": "; ".join([verdict, *refuted])}


def of_losses(losses: pd.DataFrame, weights: Mapping[str, float], quantity: str, accounts: Row) -> Iterator[Row]:
    """The weighted sum of arms at each learning rate, paired by seed, with Student's t of that rate's seeds.

    ``losses``: (learning_rate, seed) by arm.
    """
    if not set(weights) <= set(losses.columns):
        return
    sums = (losses[list(weights)] * pd.Series(weights)).sum(axis=1, skipna=False).dropna()
    for rate, each in sums.groupby(level="learning_rate"):
        half = np.nan
        if len(each) > 1:
            half = float(student.ppf(0.975, len(each) - 1) * each.std() / np.sqrt(len(each)))
        yield _answer(quantity, float(each.mean()), half, accounts) | {"learning_rate": rate}


def _answer(quantity: str, value: float, half: float, accounts: Row) -> Row:
    row: Row = {"quantity": quantity, "value": value, "low": value - half, "high": value + half, **accounts}
    of_loss = quantity.startswith("loss")
    if not np.isfinite(half):
        return row | {"verdict": "one seed" if of_loss else "an optimum is not inside its grid"}
    verdict = "differs from 0" if abs(value) > half else "not shown"
    if not of_loss and abs(value) + half < NEAR:
        verdict = f"within {NEAR:g}"
    refuted = [f"refutes {name.replace('_', ' ')}" for name, said in accounts.items() if abs(said - value) > half]
    return row | {"verdict": "; ".join([verdict, *refuted])}


def _angles(cells: Mapping[str, Row]) -> Iterator[Row]:
    """ln of the measured mean angle at one arm's optimum over that at another's."""
    for one, other in ((LARGE.name, SMALL.name), (LARGE.name, HELD[1].name), (EQUILIBRIUM.name, HELD[1].name)):
        if one in cells and other in cells:
            value = float(np.log(cells[one]["angle"] / cells[other]["angle"]))
            half = NORMAL_95 * float(np.hypot(cells[one]["angle_error"], cells[other]["angle_error"]))
            yield _answer(f"ln angle at the optimum, {one}/{other}", value, half, {"law": np.nan, "mean_angle": 0.0})


def _held(table: pd.DataFrame, cells: Mapping[str, Row]) -> Iterator[Row]:
    """AdamH's optimum and least loss at one norm against another, and whether it is free of the norm."""
    found, middle = [], HELD[1].name
    for other in (HELD[0].name, HELD[2].name):
        corners = {OWN: other, STEADY_FIXED: middle}
        (*rates,) = of_optima(cells, corners, {"both": PARTS["both"]}, f"ln AdamH rate, {other}/{middle}, ")
        if not rates:
            continue
        least = [_least_loss(table[table["arm"] == arm]) for arm in (other, middle)]
        difference, error = least[0][0] - least[1][0], float(np.hypot(least[0][1], least[1][1]))
        loss = _answer(f"loss, least of {other} less {middle}", difference, NORMAL_95 * error, NOTHING)
        found.append((rates[0], loss))
        yield from found[-1]
    if found:
        yield {"quantity": "AdamH is free of the norm", "verdict": free_of_the_norm(found)}


def free_of_the_norm(found: Sequence[tuple[Row, Row]]) -> str:
    """Yes, no or open, by the fifth rule of the study; a pair of answers, on rate and on loss, for every two norms."""
    if any(
        row["low"] > near or row["high"] < -near
        for pair in found
        for row, near in zip(pair, (0, NEAR_LOSS), strict=True)
    ):
        return "no"
    inside = [
        row["low"] > -near and row["high"] < near
        for pair in found
        for row, near in zip(pair, (NEAR, NEAR_LOSS), strict=True)
    ]
    return "yes" if all(inside) else "open"


def _least_loss(runs: pd.DataFrame) -> tuple[float, float]:
    """The lowest mean over seeds, and its standard error."""
    table = runs.groupby("learning_rate")["loss"].agg(["mean", "std", "count"])
    best = table.iloc[int(table["mean"].fillna(np.inf).argmin())]
    return float(best["mean"]), float(best["std"] / np.sqrt(best["count"]))


def _in_steady_rate(cells: Mapping[str, Row], adamh: str, num_steps: int) -> Mapping[str, Row]:
    """The cells, that of AdamH in the rate of AdamW that turns alike."""
    if adamh not in cells or not np.isfinite(cells[adamh]["error"]):
        return {arm: cell for arm, cell in cells.items() if arm != adamh}
    own = cells[adamh]
    changed = {name: steady_rate(own[name], num_steps) for name in ("learning_rate", *ACCOUNTS)}
    low, high = (steady_rate(own["learning_rate"] * np.exp(k * own["error"]), num_steps) for k in (-1, 1))
    return {**cells, adamh: own | changed | {"error": float(np.log(high / low)) / 2}}
