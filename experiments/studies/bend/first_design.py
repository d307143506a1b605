"""The design that was registered first, two seeds at four rates up to width 64, in the runs of the amended one."""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.studies.bend.answers import answers_of, fits_of, optima_of
from experiments.studies.bend.runs import FACTOR, MOST_ADDED
from experiments.studies.moved_optimum.runs import grid, rate_beyond

WIDTHS = (8, 16, 32, 64)
SEEDS, LATE_SEED, LATE_LENGTHS = (0, 1), 2, (500, 1000)
NUM_RATES = 4
ALIKE = 0.02  # by which a rate beyond the grid may differ from one that was run: both are rounded


def tables_of_first_design(
    runs: pd.DataFrame, centres: dict[tuple[str, int], float], predictions: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Optima and answers of its cells, by the names of their files. ``runs``: all of the study."""
    table = of_first_design(runs, centres)
    fits = fits_of(table)
    optima = optima_of(runs, table, fits, predictions[predictions["width"].isin(WIDTHS)])
    return {"first-design-optima": optima, "first-design-answers": answers_of(optima, fits, runs=None)}


def of_first_design(table: pd.DataFrame, centres: dict[tuple[str, int], float]) -> pd.DataFrame:
    """The rows of the cells that are finished by it: its seeds, at its rates and at those that it would have added, if
    they are in the table."""
    kept = [table.iloc[:0]]
    for (arm, width, num_steps), rows in table.groupby(["arm", "width", "num_steps"], sort=False):
        factor, steps = FACTOR[str(arm)], int(str(num_steps))
        rates = list(grid(centres[str(arm), steps], NUM_RATES, factor))
        own = rows[rows["seed"].isin((*SEEDS, LATE_SEED) if steps in LATE_LENGTHS else SEEDS)]
        early = own[own["seed"].isin(SEEDS)]
        for rate in rates:  # grows while it is gone through
            here = early[early["learning_rate"].isin(rates)]
            if rate != rates[-1] or len(rates) >= NUM_RATES + MOST_ADDED or here.empty:
                continue
            if (beyond := rate_beyond(here, factor)) is not None:
                near = np.isclose(early["learning_rate"], beyond, rtol=ALIKE)
                rates += list(early["learning_rate"][near].unique())[:1]
        if width in WIDTHS and (early["learning_rate"].isin(rates).sum() == len(SEEDS) * len(rates)):
            kept.append(own[own["learning_rate"].isin(rates)])
    return pd.concat(kept, ignore_index=True)
