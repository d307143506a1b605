r"""Optima along one axis, all else the same: exponent and curvature by their errors alone, and whether a line holds.

.. math:: \ln\eta_* = a + p\,x, \qquad \ln\eta_* = a + p\,x + \tfrac12\kappa x^2

by least squares weighted with the optima's own errors, those of their 95 % intervals; no scatter about the law is
allowed for. ``chi2`` is that of the line. What a fit over both axes pools, and may average away, is seen apart here; of
so many slices some will lie outside by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

NORMAL_95 = 1.96
SLICES = (
    *("axis", "at", "arm", "num_cells", "exponent", "exponent_low", "exponent_high"),
    *("curvature", "curvature_low", "curvature_high", "chi2", "freedom", "p"),
)


def slices_of(optima: pd.DataFrame, axis: str, at: str | None = None) -> pd.DataFrame:
    """A row per arm, in their order, and value of the column ``at``, with columns `SLICES`.

    ``optima`` has a row per cell, with ``arm``, ``axis``, ``learning_rate`` and ``error``, that of its logarithm; cells
    without an error do not count. A line needs two cells, a curvature three, and a test of the line three.
    """
    known = optima[np.isfinite(optima["error"])]
    rows: list[dict[str, Any]] = []
    for arm in dict.fromkeys(known["arm"]):
        own = known[known["arm"] == arm]
        for value in [None] if at is None else sorted(set(own[at])):
            here = own if at is None else own[own[at] == value]
            if here[axis].nunique() > 1:
                rows.append({"axis": axis, "at": value, "arm": arm, "num_cells": len(here), **_slice(here, axis)})
    return pd.DataFrame(rows, columns=list(SLICES))


def _slice(cells: pd.DataFrame, axis: str) -> dict[str, float]:
    x, y = (np.log(cells[name].to_numpy(float)) for name in (axis, "learning_rate"))
    x = x - x.mean()
    weight = cells["error"].to_numpy(float) ** -2
    found: dict[str, float] = {}
    for name, order in (("exponent", 1), ("curvature", 2)):
        if len(np.unique(x)) <= order:
            continue
        design = np.stack([x**power / max(power, 1) for power in range(order + 1)], axis=1)
        covariance = np.linalg.inv(design.T @ (weight[:, None] * design))
        coefficients = covariance @ design.T @ (weight * y)
        half = NORMAL_95 * float(np.sqrt(covariance[order, order]))
        value = float(coefficients[order])
        found |= {name: value, f"{name}_low": value - half, f"{name}_high": value + half}
        freedom = len(x) - 2
        if order == 1 and freedom > 0:
            misses = float(weight @ (y - design @ coefficients) ** 2)
            found |= {"chi2": misses, "freedom": freedom, "p": float(chi2.sf(misses, freedom))}
    return found


def exponent_differences(slices: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Rows of `SLICES` with the exponent of one arm less that of another, where both are there, as independent."""
    rows = {row["arm"]: row for row in slices.to_dict("records")}
    for one, other in pairs:
        if one in rows and other in rows:
            a, b = rows[one], rows[other]
            value = float(a["exponent"] - b["exponent"])
            half = float(np.hypot(a["exponent_high"] - a["exponent"], b["exponent_high"] - b["exponent"]))
            ends = {"exponent": value, "exponent_low": value - half, "exponent_high": value + half}
            yield {"axis": a["axis"], "arm": f"{one} less {other}", **ends}
