"""How far exponents and curvatures hang on single widths and on how an optimum is read. Added after the runs had been
looked at: it decides nothing, and belongs beside the answers by the rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pandas as pd

from experiments.bend.evidence.shapes import Shapes
from experiments.bend.fit import fit_bend
from experiments.studies.classic_bend.answers import PAIRS, RATE, SIZE, fits_of, optima_of, ratios_of
from experiments.studies.classic_bend.runs import OWN
from experiments.studies.moved_optimum.answers import FITTED, told_of
from experiments.studies.slices import slices_of

COLUMNS = ("optima", "who", "quantity", "value", "low", "high", "num_cells")
PARABOLA = "parabola of three rates"


def sensitivity_of(runs: pd.DataFrame, optima: pd.DataFrame) -> pd.DataFrame:
    """A row per arm or pair, quantity and choice of ``optima``: by the rule, without one width, all arms read alike by
    one shape of the loss or a shape for each cell, each cell fitted by itself, and by the parabola through the three
    rates around the lowest mean loss, whose values have no interval.

    ``runs``, ``optima``: of one length.
    """
    choices = [("by the rule", optima)]
    choices += [(f"without width {width}", optima[optima[OWN] != width]) for width in sorted(set(optima[OWN]))]
    choices += [(f"shapes {kind}", optima_of(runs, fits_of(runs, kind))) for kind in get_args(Shapes)]
    cells = [(row, _runs_of(runs, row)) for row in optima.to_dict("records")]
    alone = [row | told_of(fit_bend(own[FITTED], sensitivity=False).groups[0].cells[0]) for row, own in cells]
    lowest = [row | {RATE: lowest_of_parabola(own), "error": 1.0} for row, own in cells]
    choices += [("each cell by itself", pd.DataFrame(alone)), (PARABOLA, pd.DataFrame(lowest).dropna(subset=[RATE]))]
    rows = [{"optima": name} | row for name, chosen in choices for row in _rows(chosen)]
    found = pd.DataFrame(rows, columns=list(COLUMNS))
    found.loc[found["optima"] == PARABOLA, ["low", "high"]] = np.nan
    return found


def lowest_of_parabola(runs: pd.DataFrame) -> float:
    """Learning rate where the parabola in ln(rate) through the lowest mean loss and its two neighbours is lowest; NaN
    where that stands at an end."""
    means = runs.groupby(RATE)["loss"].mean()
    best = int(means.argmin())
    if not 0 < best < len(means) - 1:
        return np.nan
    around = means.iloc[best - 1 : best + 2]
    square, slope, _ = np.polyfit(np.log(around.index.to_numpy(float)), around.to_numpy(float), 2)
    return float(np.exp(-slope / (2 * square)))


def _runs_of(runs: pd.DataFrame, cell: dict[Any, Any]) -> pd.DataFrame:
    return runs[(runs["arm"] == cell["arm"]) & (runs[SIZE] == cell[SIZE])]


def _rows(optima: pd.DataFrame) -> Iterator[dict[str, Any]]:
    pairs = [ratios_of(optima, one, other) for one, other, rate in PAIRS if rate == RATE]
    for cells in (optima, *pairs):
        for found in slices_of(cells, SIZE).to_dict("records"):
            for quantity in ("exponent", "curvature"):
                ends = {end: found[f"{quantity}_{end}"] for end in ("low", "high")}
                told = {"who": found["arm"], "quantity": quantity, "value": found[quantity]}
                yield told | ends | {"num_cells": found["num_cells"]}
