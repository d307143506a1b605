"""An attribution as tables: its parts, its rivals, and the optima that it was read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from experiments.attribution.parts import Attribution
from experiments.attribution.rivals import Rival
from experiments.bend.optimum import CellOptimum


def parts_table(found: Attribution) -> pd.DataFrame:
    """A row per axis and part: curvature, deviation and share with 95 % intervals, empty where not identifiable."""
    rows = []
    for axis, item in found.axes.items():
        for name, part in item.parts.items():
            row: dict[str, object] = {"axis": axis, "part": name, "curvature": part.value}
            row |= {"low": part.low, "high": part.high, "verdict": part.verdict.value}
            for column, values in (("deviation", part.deviation), ("share", part.share)):
                triple = values or (None, None, None)
                row |= dict(zip((column, f"{column}_low", f"{column}_high"), triple, strict=True))
            rows.append(row | {"reason": part.reason})
    return pd.DataFrame(rows)


def rivals_table(rivals: Sequence[Rival]) -> pd.DataFrame:
    """A row per column and axis, 95 % intervals."""
    rows = []
    for rival in rivals:
        for axis, item in rival.axes.items():
            row: dict[str, object] = {"column": rival.column, "axis": axis, "verdict": item.verdict.value}
            for name, values in (
                ("bend", item.bend),
                ("curvature", item.curvature),
                ("exponent", rival.exponent),
                ("needed", item.needed),
                ("explained", item.explained),
                ("left", item.left),
            ):
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), values or (None, None, None), strict=True))
            rows.append(row | {"reliability": rival.reliability, "num_cells": rival.num_cells, "reason": item.reason})
    return pd.DataFrame(rows)


def optima_table(found: Attribution, optima: Mapping[str, Sequence[CellOptimum]]) -> pd.DataFrame:
    """A row per arm and cell that has an optimum, with its 95 % interval; rates as in the table that was read."""
    return pd.DataFrame(
        [
            {"arm": name, **cell.key, "learning_rate": cell.learning_rate, "low": cell.low, "high": cell.high}
            for name in found.arms
            for cell in optima[name]
            if cell.learning_rate is not None
        ]
    )
