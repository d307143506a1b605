"""The shift at other widths, after 3,200 steps: arms, runs and answers of their own, beside those of the study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from experiments.bend.fit import fit_bend
from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.ensembles.many import in_ensembles
from experiments.studies.ensembles.tasks import Task
from experiments.studies.moved_optimum.answers import ANSWERS, FITTED, NORMAL_90, NORMAL_95, SHIFT, shifts_of, told_of
from experiments.studies.moved_optimum.predictions import ACCOUNTS
from experiments.studies.moved_optimum.runs import (
    ARMS,
    COLUMNS,
    SEEDS,
    Arm,
    config_of,
    configs_of_cell,
    grid,
    in_columns,
    missing_of,
    run_rows,
    tasks_of,
)
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig

WIDTHS, NUM_STEPS = (16, 64), 3200
OWN = "width"  # a column before those of the study
Shift = dict[str, Any]  # a row of `shifts_of`


def arms_of(width: int) -> list[Arm]:
    """The two starts of the shift at this width."""
    return [replace(arm, width=width, lengths=(NUM_STEPS,)) for arm in ARMS if arm.name in SHIFT]


def centres_of(predictions: pd.DataFrame) -> dict[str, float]:
    """Of the grids, by arm: those of the study, since no account knows a width."""
    here = predictions[predictions["num_steps"] == NUM_STEPS].set_index("arm")["centre"]
    return {arm: float(here[arm]) for arm in SHIFT}


def missing_at(place: Workplace, predictions: pd.DataFrame, width: int) -> list[TrainConfig]:
    """The runs that come next at this width: of the first seed that lacks one of its planned rates, from either start;
    once all seeds have them, those of the rates that the study's rule adds. None where the width is finished."""
    for seed in SEEDS:
        if missing := missing_of(place, _planned(predictions, width, seed)):
            return missing
    centres = centres_of(predictions)
    cells = [configs_of_cell(place, arm, NUM_STEPS, centres[arm.name]) for arm in arms_of(width)]
    return missing_of(place, [config for cell in cells for config in cell])


def wanted(place: Workplace, predictions: pd.DataFrame) -> list[Task]:
    """What comes next at the first width that is not finished."""
    return next((tasks for width in WIDTHS if (tasks := tasks_of(place, missing_at(place, predictions, width)))), [])


def make_widths(place: Workplace, predictions: pd.DataFrame, ensembles: bool = False) -> None:
    """The runs of every width, one after another, those that are there not again."""
    if ensembles:
        in_ensembles({"moved-optimum": partial(wanted, place, predictions)})
    while tasks := wanted(place, predictions):
        run_rows(place, [task.config for task in tasks])


def rows_of_widths(place: Workplace, predictions: pd.DataFrame) -> pd.DataFrame:
    """The finished runs that count: of seeds that have all planned rates from both starts, and added rates that all of
    these seeds have."""
    tables, centres = [], centres_of(predictions)
    for width in WIDTHS:
        seeds = [seed for seed in SEEDS if not missing_of(place, _planned(predictions, width, seed))]
        for arm in arms_of(width) if seeds else ():
            cell = configs_of_cell(place, arm, NUM_STEPS, centres[arm.name], seeds)
            short = {config.optimizer.learning_rate for config in missing_of(place, cell)}
            rows = run_rows(place, [config for config in cell if config.optimizer.learning_rate not in short])
            tables.append(rows.assign(arm=arm.name, width=width))
    if not tables:
        return pd.DataFrame(columns=[OWN, *COLUMNS])
    return in_columns(pd.concat(tables, ignore_index=True), [OWN, *COLUMNS])


def optima_at(runs: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """The two optima of every width that has runs, by `lrbend fit`, arm by arm, beside both accounts and the error that
    they expect; where there are several widths, those of an arm share the shape of their curves."""
    told = ["arm", "weight_decay", "initial_rms", *ACCOUNTS, "num_relaxations", "expected_error"]
    rows = []
    for arm in reversed(SHIFT):
        own = runs[runs["arm"] == arm]
        widths = dict(zip(own["num_params"].astype(float), own[OWN], strict=True))
        for cell in fit_bend(own[FITTED], sensitivity=False).groups[0].cells:
            rows.append({OWN: widths[cell.key["num_params"]], "arm": arm, "num_steps": NUM_STEPS, **told_of(cell)})
    known = predictions.loc[predictions["num_steps"] == NUM_STEPS, told]
    return pd.DataFrame(rows).sort_values(OWN, kind="stable").merge(known, on="arm", how="left")


def answers_at(runs: pd.DataFrame, optima: pd.DataFrame, predictions: pd.DataFrame, at_32: Shift) -> pd.DataFrame:
    """The shift at each width, each less that of width 32 (``at_32``, a row of `shifts_of`), width 64 less 16; and,
    where there are two widths, the shifts of each that is fitted by itself."""
    found = {int(str(width)): next(shifts_of(rows)) for width, rows in optima.groupby(OWN)}
    known = {width: shift for width, shift in (found | {32: at_32}).items() if "value" in shift}
    pairs = [pair for pair in ((16, 32), (64, 32), (64, 16)) if set(pair) <= set(known)]
    by_width = runs.groupby(OWN) if len(found) > 1 else ()
    alone = {int(str(width)): next(shifts_of(optima_at(rows, predictions))) for width, rows in by_width}
    rows = [
        *(shift | {"quantity": f"shift, width {width}"} for width, shift in found.items()),
        *(_less(known, *pair) for pair in pairs),
        *(shift | {"quantity": f"alone, width {width}"} for width, shift in alone.items()),
    ]
    return pd.DataFrame(rows, columns=list(ANSWERS))


def _less(known: Mapping[int, Shift], one: int, other: int) -> Shift:
    """Widths count as independent. Growth is asked of the widest less the narrowest, with one side."""
    less = {name: known[one][name] - known[other][name] for name in ("value", *ACCOUNTS)}
    error = float(np.hypot(known[one]["error"], known[other]["error"]))
    if (one, other) == (64, 16):
        verdict = "grows" if less["value"] > NORMAL_90 * error else "not shown"
    else:
        verdict = "differs" if abs(less["value"]) > NORMAL_95 * error else "not shown"
    ends = {"low": less["value"] - NORMAL_95 * error, "high": less["value"] + NORMAL_95 * error}
    return {"quantity": f"width {one} less {other}", "num_steps": NUM_STEPS, **less, **ends, "verdict": verdict}


def tell_widths(place: Workplace, predictions: pd.DataFrame, optima: pd.DataFrame) -> None:
    """``width-config.json``, and of the runs that count ``width-runs.csv``, ``width-optima.csv`` and
    ``width-answers.csv``; nothing where no run counts. ``optima``: of the study."""
    runs = rows_of_widths(place, predictions)
    if runs.empty:
        return
    place.write("width-runs.csv", runs.to_csv(index=False, float_format="%.8g"))
    first = [config_of(arm, NUM_STEPS, 0.01, SEEDS[0]) for width in WIDTHS for arm in arms_of(width)]
    place.write("width-config.json", to_json([config_to_dict(config) for config in first], indent=1) + "\n")
    found = optima_at(runs, predictions)
    at_32 = next(shift for shift in shifts_of(optima) if shift["num_steps"] == NUM_STEPS)
    for name, table in (("width-optima", found), ("width-answers", answers_at(runs, found, predictions, at_32))):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))


def _planned(predictions: pd.DataFrame, width: int, seed: int) -> list[TrainConfig]:
    centres = centres_of(predictions)
    return [config_of(arm, NUM_STEPS, rate, seed) for arm in arms_of(width) for rate in grid(centres[arm.name])]
