"""The arms, widths and lengths of the study, the order of its runs, and what is kept of each."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from experiments.files import BadInput
from experiments.runs.configs import config_hash
from experiments.studies.moved_optimum import runs as moved
from experiments.studies.moved_optimum.runs import Arm, grid, rate_beyond
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig, cpu_model
from gpt.train import train

WIDTHS, LENGTHS = (8, 16, 32, 64, 128), (500, 1000, 2000, 4000)
CORNER = 3  # of both, which come first
LAST_WIDTH = WIDTHS[-1]  # comes after all others, with fewer seeds
SEEDS, LAST_SEEDS, LATE_SEEDS = tuple(range(8)), (0, 1), (2, 3)  # up to the last width, at it, and there after all else
SPACING, MOST_ADDED = 2.0, 2  # of the planned rates of a cell; rates beyond them
BUDGET = 6 * 3600.0  # seconds of one core, of all runs together
ARMS = (
    Arm("usual start", 0.1, 0.16, LENGTHS),
    Arm("large start", 0.1, 1.6, LENGTHS),
    Arm("equilibrium", 0.1, None, LENGTHS),
    Arm("adamh", None, None, LENGTHS),
)
NUM_RATES = {arm.name: 7 if arm.name == "equilibrium" else 6 for arm in ARMS}
FACTOR = {arm.name: 4.0 if arm.name == "equilibrium" else 2.0 for arm in ARMS}  # to a rate beyond: the same in angle
RATES = ("mean_angle", "relative_update", "rate_over_rms")  # three effective learning rates
NUMBERS = ("width", *moved.NUMBERS)
GAPS = (*moved.GAPS, *RATES[1:])
TEXTS = moved.TEXTS
COLUMNS = ("arm", *NUMBERS[:6], *GAPS, "outcome", *NUMBERS[6:], "run")


def config_of(arm: Arm, width: int, num_steps: int, learning_rate: float, seed: int) -> TrainConfig:
    """One run: that of moved-optimum at another width."""
    config = moved.config_of(arm, num_steps, learning_rate, seed)
    return replace(config, model=cpu_model(width, "scale-invariant"))


def rates_of(arm: Arm, centre: float) -> tuple[float, ...]:
    """The planned rates of a cell."""
    return grid(centre, NUM_RATES[arm.name], SPACING)


def seeds_of(width: int) -> tuple[int, ...]:
    """Those that every cell of this width has, by which its grid is widened."""
    return LAST_SEEDS if width == LAST_WIDTH else SEEDS


def cells_in_order() -> Iterator[tuple[int, int, Arm]]:
    """Width, length and arm of every cell: the corner of the three smallest of both first, all arms of a place before
    the next one, cheap ones first, the last width last."""
    places = [(width, num_steps) for num_steps in LENGTHS for width in WIDTHS]
    corner = [place for place in places if place[0] in WIDTHS[:CORNER] and place[1] in LENGTHS[:CORNER]]
    rest = sorted(set(places) - set(corner), key=lambda place: (place[0] == LAST_WIDTH, place[0] * place[1]))
    for width, num_steps in (*corner, *rest):
        for arm in ARMS:
            yield width, num_steps, arm


def make_runs(
    place: Workplace, centres: dict[tuple[str, int], float], minutes: float = np.inf
) -> Iterator[pd.DataFrame]:
    """All rows so far, after every run; cell by cell, then the late seeds.

    centres : of the grids, by arm and length. minutes : after which no run begins; 0 for those that are finished alone.
    No run begins either once all of them have taken `BUDGET`.
    """
    rows: list[pd.DataFrame] = []
    begun = time.monotonic()

    def row(arm: Arm, width: int, num_steps: int, rate: float, seed: int) -> bool:
        config = config_of(arm, width, num_steps, rate, seed)
        if not (place.runs / f"{config_hash(config)}.csv").exists():
            spent = sum(float(one["seconds"].iloc[0]) for one in rows)
            if time.monotonic() - begun >= 60 * minutes or spent >= BUDGET:
                return False
        (found,) = place.run_tables([config], rows_of, numbers=NUMBERS, gaps=GAPS, texts=TEXTS)
        rows.append(found.assign(arm=arm.name)[list(COLUMNS)])
        return True

    tried: dict[tuple[str, int, int], list[float]] = {}
    for width, num_steps, arm in cells_in_order():
        rates = tried.setdefault((arm.name, width, num_steps), list(rates_of(arm, centres[arm.name, num_steps])))
        for rate in rates:  # grows while it is gone through
            done = []
            for seed in seeds_of(width):
                done.append(row(arm, width, num_steps, rate, seed))
                if done[-1]:
                    yield pd.concat(rows, ignore_index=True)
            if not all(done):
                continue
            here = of_cell(pd.concat(rows, ignore_index=True), arm.name, width, num_steps)
            if rate == rates[-1] and (beyond := next_rate(here, rates, FACTOR[arm.name])) is not None:
                rates.append(beyond)
    for width, num_steps, arm in cells_in_order():
        if width == LAST_WIDTH:
            for rate, seed in itertools.product(tried[arm.name, width, num_steps], LATE_SEEDS):
                if row(arm, width, num_steps, rate, seed):
                    yield pd.concat(rows, ignore_index=True)


def of_cell(table: pd.DataFrame, arm: str, width: int, num_steps: int) -> pd.DataFrame:
    """Its rows."""
    return table[(table["arm"] == arm) & (table["width"] == width) & (table["num_steps"] == num_steps)]


def next_rate(rows: pd.DataFrame, rates: list[float], factor: float) -> float | None:
    """The rate beyond the planned ones that a cell with these rows needs; None if none, or not yet known.

    By the seeds that every cell of its width has: late ones add no rate.
    """
    seeds, planned = seeds_of(int(rows["width"].iloc[0])), NUM_RATES[str(rows["arm"].iloc[0])]
    early = rows[rows["seed"].isin(seeds)]
    counts = early.groupby("learning_rate")["seed"].nunique()
    if len(rates) >= planned + MOST_ADDED or not all(counts.get(rate, 0) == len(seeds) for rate in rates):
        return None
    return rate_beyond(early, factor)


def finished(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the cells that need no further run of the seeds that every cell of their width has."""
    kept = []
    for (arm, width, _), rows in table.groupby(["arm", "width", "num_steps"], sort=False):
        seeds = seeds_of(int(str(width)))
        early = rows[rows["seed"].isin(seeds)]
        rates = sorted(set(early["learning_rate"]))
        whole = len(rates) >= NUM_RATES[str(arm)] and len(early) == len(rates) * len(seeds)
        if whole and next_rate(rows, rates, FACTOR[str(arm)]) is None:
            kept.append(rows)
    return pd.concat(kept, ignore_index=True) if kept else table.iloc[:0]


def rows_of(config: TrainConfig) -> pd.DataFrame:
    """The row of one run, without its arm; ``seconds`` are those of a core, not of the clock."""
    torch.set_num_threads(1)
    start = time.process_time()
    found = train(config)
    row = moved.row_of(config, found, time.process_time() - start)
    path = found.trajectory
    rates = config.optimizer.learning_rate * config.schedule.multipliers()[path.steps]
    row |= {
        "run": config_hash(config),
        "width": config.model.d_model,
        "relative_update": float(np.nanmean(path.relative_update)),
    }
    row |= {"rate_over_rms": float(np.nanmean(rates[:, None] / path.weight_rms))}
    return pd.DataFrame([row])


def check_earlier(table: pd.DataFrame) -> None:
    """Raise `BadInput` for a table with cells that are not of this study."""
    arms = {arm.name for arm in ARMS}
    if not (
        set(table["arm"]) <= arms and set(table["width"]) <= set(WIDTHS) and set(table["num_steps"]) <= set(LENGTHS)
    ):
        raise BadInput("earlier: an arm, width or num_steps that this study does not have")
