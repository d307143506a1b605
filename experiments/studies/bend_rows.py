"""The law of the optimum of one group of runs as rows of a study's answers."""

from __future__ import annotations

import pandas as pd

from experiments.bend.fit import GroupFit


def bend_rows(fit: GroupFit, quantity: str) -> pd.DataFrame:
    """A row per axis: exponent and curvature with 95 % intervals, and the verdict; ``quantity`` is what was fitted."""
    rows = []
    for axis, curvature in fit.curvature.items():
        exponent = fit.exponents[axis]
        rows.append(
            {
                "quantity": quantity,
                "axis": axis,
                "slope": exponent.value,
                "slope_low": exponent.low,
                "slope_high": exponent.high,
                "curvature": curvature.value,
                "curvature_low": curvature.low,
                "curvature_high": curvature.high,
                "verdict": curvature.verdict.value,
            }
        )
    return pd.DataFrame(rows)
