"""How far differences between starts hang on single cells and on how cells count. Added after the runs had been looked
at: it decides nothing, and belongs beside the answers by the rule."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from experiments.studies.bend.answers import LR, PAIRS
from experiments.studies.bend.runs import LENGTHS, WIDTHS
from experiments.studies.solvable_bend.answers import log_ratio_rows

COLUMNS = ("who", "axis", "quantity", "cells", "value", "low", "high", "num_cells")


def sensitivity_of(optima: pd.DataFrame) -> pd.DataFrame:
    """A row per pair of AdamW's starts, axis, quantity and choice of cells: by the rule, all weighted equally, all by
    the error of their ln(optimum), and without one width or one length. Empty where fewer than eight cells are left."""
    inside = optima[optima["status"] == "interior"].copy()
    inside["precision"] = 1 / np.asarray(inside["error"], float) ** 2
    choices: list[tuple[str, pd.DataFrame, str | None]] = [
        ("by the rule", inside, "num_runs"),
        ("weighted equally", inside, None),
        ("weighted by their errors", inside, "precision"),
    ]
    choices += [(f"without width {width}", inside[inside["width"] != width], "num_runs") for width in WIDTHS]
    choices += [(f"without {steps} steps", inside[inside["num_steps"] != steps], "num_runs") for steps in LENGTHS]
    rows = [row for name, cells, weights in choices for row in _rows(name, cells, weights)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(name: str, cells: pd.DataFrame, weights: str | None) -> Iterator[dict[str, object]]:
    for one, other, rate in PAIRS:
        if rate != LR:
            continue
        upper, lower = cells[cells["arm"] == one], cells[cells["arm"] == other]
        for item in log_ratio_rows(upper, lower, "", LR, weights).to_dict("records"):
            for quantity, column in (("exponent", "slope"), ("curvature", "curvature")):
                found = {end: item.get(f"{column}_{end}") for end in ("low", "high")}
                row: dict[str, object] = {"who": f"{one} over {other}", "axis": item["axis"], "quantity": quantity}
                yield row | {"cells": name, "value": item.get(column), **found, "num_cells": item["num_cells"]}
