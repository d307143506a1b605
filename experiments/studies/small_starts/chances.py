r"""How many of the pilot's optima a law that is exactly right would meet, if they are known as well as ours are.

An optimum is met if the law's lies within a share m of it, :math:`|\hat\eta/\eta - 1| \le m`. Where its logarithm has
an error s, and the law is right, that happens with

.. math:: p = \Phi\Big(\frac{\ln(1+m)}{s}\Big) - \Phi\Big(\frac{\ln(1-m)}{s}\Big),

and the number that is met is distributed as the sum of independent draws. The pilot tells no errors. Taken are those of
the same starts and lengths trained again: of moved-optimum, and of this study, whose optima are closed below alone,
from the half that is. A start between two of them has the geometric mean of theirs. One that was not trained again has
the smallest error of all, so that the chance is not made too small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from experiments.studies.angle_law.answers import LARGEST_MISS, PILOT, Measured

NORMAL_95 = 1.96


def pilot_chances(again: pd.DataFrame, moved: pd.DataFrame) -> pd.DataFrame:
    """A row per optimum of the pilot with the error that it is given and the chance that a right law meets it, then the
    chances that it meets at least so many of them.

    again : ``optima.csv`` of this study. moved : that of moved-optimum.
    """
    found = {one: _error(one, again, moved) for one in PILOT}
    known = [error for error, _ in filter(None, found.values())]
    rows: list[dict[str, Any]] = []
    for one, own in found.items():
        error, source = own or (min(known), "the smallest of the others")
        chance = float(chance_within(LARGEST_MISS, error))
        told = {"quantity": "optimum", "num_steps": one.num_steps, "initial_rms": one.initial_rms}
        rows.append(told | {"error": error, "error_of": source, "chance": chance})
    counts = number_met([row["chance"] for row in rows])
    rows += [{"quantity": f"at least {met}", "chance": float(counts[met:].sum())} for met in range(1, len(counts))]
    return pd.DataFrame(rows)


def chance_within(share: float, error: float) -> float:
    """That a right prediction lies within ``share`` (below 1) of a measured value whose logarithm has an ``error``."""
    return float(norm.cdf(np.log1p(share) / error) - norm.cdf(np.log1p(-share) / error))


def number_met(chances: Sequence[float]) -> NDArray[np.float64]:
    """(len(chances) + 1,) probabilities of 0, 1, ... successes of independent draws."""
    counts = np.ones(1)
    for chance in chances:
        counts = np.convolve(counts, [1 - chance, chance])
    return counts


def _error(one: Measured, again: pd.DataFrame, moved: pd.DataFrame) -> tuple[float, str] | None:
    """That of this start and length and where it is from; None if it was not trained again, nor lies between two."""
    own = again[(again["initial_rms"] == one.initial_rms) & (again["num_steps"] == one.num_steps)]
    for row in own.to_dict("records"):
        return float(np.log(row["learning_rate"] / row["low"]) / NORMAL_95), "small-starts, the lower half"
    same = moved[moved["arm"].str.startswith("start") & (moved["num_steps"] == one.num_steps)].dropna(subset=["error"])
    known = {float(rms): float(error) for rms, error in zip(same["initial_rms"], same["error"], strict=True)}
    if one.initial_rms in known:
        return known[one.initial_rms], "moved-optimum"
    if len(known) == 2 and one.initial_rms is not None and min(known) < one.initial_rms < max(known):
        return float(np.sqrt(np.prod(list(known.values())))), "moved-optimum, between two starts"
    return None
