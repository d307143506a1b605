"""The shift of seeds 0 to 2 by the rows of either machine, with the longest runs in the fit of an arm and without.

An arm's optima share the shape of their curves, so that a length has a say in the interval of another.
"""

from __future__ import annotations

import pandas as pd

from experiments.studies.moved_optimum.answers import SHIFT, optima_of, shifts_of
from experiments.studies.moved_optimum.runs import SEEDS

MADE_TWICE = (1600, 3200)  # lengths up to that of the last runs that cores made


def shifts_by_machine(runs: pd.DataFrame, cores: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """A row per length of runs that both have made, machine and lengths in the fit (``up_to``).

    cores : ``run`` and ``loss`` of runs that cores made before.
    """
    early = runs[runs["arm"].isin(SHIFT) & runs["seed"].isin(SEEDS)]
    made_before = early["run"].map(cores.set_index("run")["loss"])
    twice = set(early.loc[made_before.notna(), "num_steps"])
    rows = []
    for machine, table in (("GPU", early), ("cores", early.assign(loss=made_before.fillna(early["loss"])))):
        for lengths in (sorted(set(table["num_steps"]) & set(MADE_TWICE)), sorted(set(table["num_steps"]))):
            told = predictions[predictions["arm"].isin(SHIFT)]
            optima = optima_of(table[table["num_steps"].isin(lengths)], table.iloc[:0], told)
            for shift in shifts_of(optima):
                if shift["num_steps"] in twice:
                    rows.append({"rows": machine, "up_to": lengths[-1], **shift})
    return pd.DataFrame(rows).drop_duplicates(["rows", "up_to", "num_steps"])
