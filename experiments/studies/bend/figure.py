"""The figure of the study: optima of all arms along parameters and along tokens, and what the law said."""

from __future__ import annotations

import pandas as pd

from experiments.studies.solvable_bend import figure

LABELS = {"num_params": "parameters N", "num_tokens": "tokens D"}


def draw(optima: pd.DataFrame) -> bytes:
    """A PNG: a column per arm, optima with 95 % intervals; dashed is the law, which knows no N."""
    said = optima.assign(arm=optima["arm"] + " predicted", learning_rate=optima["law"])
    return figure.draw(pd.concat([optima, said], ignore_index=True), LABELS)
