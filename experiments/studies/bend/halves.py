r"""Do other seeds give the same numbers? Two seeds of each cell against the other two, by the same fits.

A half has twice the variance of the whole by its seeds, and is correlated with it; their difference has the variance of
the whole, :math:`2\sigma^2 - 2\sigma^2 + \sigma^2`. So if the intervals of the whole are right, those at 95 % hold 95 %
of the halves' values, and more as far as scatter about the law and grids, which both halves share, are in them.

Widths up to 64, where every cell has four seeds at all its rates.
"""

from __future__ import annotations

import pandas as pd

from experiments.studies.bend.answers import answers_of, fits_of, optima_of
from experiments.studies.bend.first_design import WIDTHS

HALVES = {"seeds 0, 1": (0, 1), "seeds 2, 3": (2, 3)}
KEYS = ["who", "rate", "axis", "quantity"]


def halves_of(runs: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row per question: the value and interval by all seeds of these widths, the value by either half, and whether
    the interval holds it; arms and pairs of arms, not the shares of a bend. ``runs``: those of finished cells."""
    own = runs[runs["width"].isin(WIDTHS)]
    told = _answers(own, predictions)[["value", "low", "high"]]
    for name, seeds in HALVES.items():
        told[name] = _answers(own[own["seed"].isin(seeds)], predictions)["value"]
        told[f"{name} inside"] = told[name].between(told["low"], told["high"]).where(told[name].notna())
    return told.dropna(subset=["value"]).reset_index()


def _answers(rows: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    fits = fits_of(rows)
    optima = optima_of(rows, rows, fits, predictions[predictions["width"].isin(WIDTHS)])
    answers = answers_of(optima, fits, runs=None)
    return answers[~answers["who"].str.contains(": ")].set_index(KEYS)
