"""The arms, widths and lengths of the study, the order of its runs, and what is kept of each."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from experiments.files import BadInput
from experiments.runs.configs import config_hash
from experiments.studies.ensembles.tasks import Making, Run, Task, made_alone
from experiments.studies.moved_optimum import runs as moved
from experiments.studies.moved_optimum.runs import Arm, grid, in_columns, rate_beyond
from experiments.studies.workplace import Workplace
from gpt.config import TrainConfig

WIDTHS, LENGTHS = (8, 16, 32, 64, 128), (500, 1000, 2000, 4000)
CORNER = 3  # of both, which come first
LAST_WIDTH = WIDTHS[-1]  # comes after all others, with fewer seeds
SEEDS, LAST_SEEDS, LATE_SEEDS = tuple(range(4)), (0, 1), (2, 3)  # up to the last width, at it, and there after all else
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
    return moved.config_of(replace(arm, width=width), num_steps, learning_rate, seed)


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
    place: Workplace, centres: Mapping[tuple[str, int], float], minutes: float = np.inf
) -> Iterator[pd.DataFrame]:
    """All finished rows, and again after every run; cell by cell, then the late seeds.

    centres : of the grids, by arm and length. minutes : after which no run begins; 0 for those that are finished alone.
    No run begins either once all of them have taken `BUDGET`.
    """
    begun = time.monotonic()
    known: dict[str, pd.DataFrame] = {}
    wanted(place, centres, known)
    num_finished = len(known)
    if known:
        yield _together(known, centres)
    for name, arm, config in runs_in_order(centres, known):
        if name in known:
            continue
        if time.monotonic() - begun >= 60 * minutes or _spent(known) >= BUDGET:
            break
        known[name] = _row(place, arm, config)
        yield in_columns(pd.concat(known.values(), ignore_index=True), COLUMNS)
    if len(known) > num_finished > 0:
        yield _together(known, centres)


def runs_in_order(
    centres: Mapping[tuple[str, int], float], known: Mapping[str, pd.DataFrame]
) -> Iterator[tuple[str, Arm, TrainConfig]]:
    """Name, arm and config of every run. A grid is widened by the rows that are ``known``, by name, once all runs of
    the cell have been taken."""
    tried: dict[tuple[str, int, int], list[float]] = {}
    for width, num_steps, arm in cells_in_order():
        rates = tried.setdefault((arm.name, width, num_steps), list(rates_of(arm, centres[arm.name, num_steps])))
        names: list[str] = []
        for rate in rates:  # grows while it is gone through
            for seed in seeds_of(width):
                config = config_of(arm, width, num_steps, rate, seed)
                names.append(config_hash(config))
                yield names[-1], arm, config
            if rate == rates[-1] and set(names) <= set(known):
                beyond = next_rate(pd.concat([known[name] for name in names]), rates, FACTOR[arm.name])
                rates += [] if beyond is None else [beyond]
    for width, num_steps, arm in cells_in_order():
        if width == LAST_WIDTH:
            for rate, seed in itertools.product(tried[arm.name, width, num_steps], LATE_SEEDS):
                config = config_of(arm, width, num_steps, rate, seed)
                yield config_hash(config), arm, config


def wanted(place: Workplace, centres: Mapping[tuple[str, int], float], known: dict[str, pd.DataFrame]) -> list[Task]:
    """What `make_runs` would make next, as far as finished runs tell: the last width only where no other run is wanted,
    late seeds only where nothing else is. ``known`` gets the rows of all that are finished."""
    tasks = []
    for name, arm, config in runs_in_order(centres, known):
        if name not in known and (place.runs / f"{name}.csv").exists():
            known[name] = _row(place, arm, config)
        if name not in known:
            tasks.append(Task(place, config, making))
    early = [task for task in tasks if task.config.seed in seeds_of(task.config.model.d_model)]
    first = [task for task in early if task.config.model.d_model != LAST_WIDTH]
    return (first or early or tasks) if _spent(known) < BUDGET else []


def _row(place: Workplace, arm: Arm, config: TrainConfig) -> pd.DataFrame:
    (found,) = place.run_tables([config], rows_of, numbers=NUMBERS, gaps=GAPS, texts=TEXTS)
    return in_columns(found.assign(arm=arm.name), COLUMNS)


def _spent(known: Mapping[str, pd.DataFrame]) -> float:
    return sum(float(row["seconds"].iloc[0]) for row in known.values())


def _together(known: Mapping[str, pd.DataFrame], centres: Mapping[tuple[str, int], float]) -> pd.DataFrame:
    """In the order of the runs."""
    rows = [known[name] for name, _, _ in runs_in_order(centres, known) if name in known]
    return in_columns(pd.concat(rows, ignore_index=True), COLUMNS)


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
    """The row of one run, made by itself, without its arm; ``seconds`` are those of a core, not of the clock."""
    return made_alone(making(config), clock=time.process_time)


def making(config: TrainConfig) -> Making:
    """The row of one run, without its arm."""
    (found,) = yield [Run(config)]
    row, path = moved.row_of(config, found), found.result.trajectory
    rates = config.optimizer.learning_rate * config.schedule.multipliers()[path.steps]
    row |= {
        "run": config_hash(config),
        "device": found.device,
        "width": config.model.d_model,
        "relative_update": float(np.nanmean(path.relative_update)),
        "rate_over_rms": float(np.nanmean(rates[:, None] / path.weight_rms)),
    }
    return pd.DataFrame([row])


def check_earlier(table: pd.DataFrame) -> None:
    """Raise `BadInput` for a table with cells that are not of this study."""
    arms = {arm.name for arm in ARMS}
    if not (
        set(table["arm"]) <= arms and set(table["width"]) <= set(WIDTHS) and set(table["num_steps"]) <= set(LENGTHS)
    ):
        raise BadInput("earlier: an arm, width or num_steps that this study does not have")
