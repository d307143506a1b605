"""The cells, their grids, the order in which runs are made, and what `classic` has of them already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from experiments.studies.classic.runs import EQUILIBRIUM, HELD, LARGE, SMALL
from experiments.studies.moved_optimum.runs import (
    COLUMNS,
    GAPS,
    MOST_ADDED,
    NUMBERS,
    SEEDS,
    TEXTS,
    Arm,
    config_of,
    in_columns,
    missing_of,
    rate_beyond,
    run_rows,
)
from experiments.studies.workplace import Workplace, read_rows
from gpt.config import TrainConfig

LENGTHS = (800, 1600)
KNOWN_WIDTH, LAST_WIDTH = 32, 128  # that of `classic`, which comes first; of the shorter length alone
WIDTHS = (KNOWN_WIDTH, 16, 64, 8, LAST_WIDTH)  # in the order of the runs
ADAMH = HELD[1]
ARMS = (SMALL, EQUILIBRIUM, LARGE, ADAMH)
RATES = {  # those of classic are among them
    SMALL.name: (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04),
    EQUILIBRIUM.name: (0.000313, 0.000625, 0.00125, 0.0025, 0.005, 0.01),
    LARGE.name: (0.000625, 0.00125, 0.0025, 0.005, 0.01, 0.02),
    ADAMH.name: (0.001, 0.002, 0.004, 0.008, 0.016, 0.032),
}
OWN = "width"  # a column before those of moved-optimum


@dataclass(frozen=True)
class Cell:
    """One optimum: an arm of `ARMS`, a width and a length."""

    arm: Arm
    width: int
    num_steps: int

    def config(self, learning_rate: float, seed: int) -> TrainConfig:
        """One run of it: that of `classic` at another width, every twentieth step recorded."""
        return config_of(replace(self.arm, width=self.width), self.num_steps, learning_rate, seed)


def cells_in_order(lengths: Sequence[int] = LENGTHS) -> Iterator[Cell]:
    """The shorter length first, all arms of a width before the next one."""
    for num_steps in LENGTHS:
        for width in WIDTHS:
            if num_steps in lengths and (width, num_steps) != (LAST_WIDTH, LENGTHS[1]):
                yield from (Cell(arm, width, num_steps) for arm in ARMS)


def read_classic(folder: Path) -> pd.DataFrame:
    """The rows that the results of `classic` have of these arms. Raises `BadInput`."""
    rows = read_rows(folder / "runs.csv", numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS))
    rows = rows[rows["arm"].isin([arm.name for arm in ARMS])]
    return in_columns(rows.assign(**{OWN: KNOWN_WIDTH}), [OWN, *COLUMNS])


def of_cell(table: pd.DataFrame, cell: Cell) -> pd.DataFrame:
    """Its rows."""
    same = (table["arm"] == cell.arm.name) & (table[OWN] == cell.width) & (table["num_steps"] == cell.num_steps)
    return table[same]


def planned(place: Workplace, cell: Cell, classic: pd.DataFrame) -> list[TrainConfig]:
    """The runs of a cell that `classic` does not have, as far as finished ones tell: all seeds at its planned rates,
    then at those beyond an end where its lowest mean loss stands, a factor of 2 at a time, `MOST_ADDED` times at most.
    """
    known, rates = of_cell(classic, cell), list(RATES[cell.arm.name])
    made = set(zip(known["learning_rate"], known["seed"], strict=True))
    while True:
        configs = [cell.config(rate, seed) for rate in rates for seed in SEEDS if (rate, seed) not in made]
        if missing_of(place, configs) or len(rates) == len(RATES[cell.arm.name]) + MOST_ADDED:
            return configs
        beyond = rate_beyond(_together(place, cell, configs, known))
        if beyond is None:
            return configs
        rates.append(beyond)


def rows_of_cell(place: Workplace, cell: Cell, classic: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """The rows of its finished runs, those of `classic` last, and whether it lacks none."""
    configs = planned(place, cell, classic)
    missing = missing_of(place, configs)
    finished = [config for config in configs if config not in missing]
    return _together(place, cell, finished, of_cell(classic, cell)), not missing


def make_cells(
    place: Workplace, lengths: Sequence[int], classic: pd.DataFrame
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """All rows and those of finished cells, after each cell that has a row; the runs of ``lengths`` are made."""
    place.make_folders()
    tables: list[pd.DataFrame] = []
    whole: list[pd.DataFrame] = []
    for cell in cells_in_order():
        while cell.num_steps in lengths and (missing := missing_of(place, planned(place, cell, classic))):
            run_rows(place, missing)
        rows, finished = rows_of_cell(place, cell, classic)
        if len(rows):
            tables.append(rows)
            whole += [rows] if finished else []
            yield pd.concat(tables, ignore_index=True), pd.concat([rows.iloc[:0], *whole], ignore_index=True)


def _together(place: Workplace, cell: Cell, configs: Sequence[TrainConfig], known: pd.DataFrame) -> pd.DataFrame:
    if not configs:
        return known
    rows = run_rows(place, configs).assign(arm=cell.arm.name, **{OWN: cell.width})
    return in_columns(pd.concat([rows, known] if len(known) else [rows], ignore_index=True), [OWN, *COLUMNS])
