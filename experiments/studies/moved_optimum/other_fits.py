"""The shift by other rows and other fits than those of the rule: either machine, fewer lengths, each cell by itself.

An arm's optima share the shape of their curves in `lrbend fit`, so that a length has a say in the interval of another.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from experiments.studies.moved_optimum.answers import SHIFT, optima_of, shifts_of
from experiments.studies.moved_optimum.runs import SEEDS

FIRST, NEXT = (1600, 3200), (1600, 3200, 6400)  # lengths that were there when longer ones were taken up


def other_shifts(runs: pd.DataFrame, cores: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Rows as those of the answers. ``rows``: whose runs; ``seeds`` of them; ``lengths`` in the fit of an arm.

    cores : ``run`` and ``loss`` of runs that cores made before. Of seeds 0 to 2 only lengths that have such runs.
    """
    own = runs[runs["arm"].isin(SHIFT)]
    early = own[own["seed"].isin(SEEDS)]
    before = early["run"].map(cores.set_index("run")["loss"])
    twice = set(early.loc[before.notna(), "num_steps"])
    every = sorted(set(own["num_steps"]))
    rows = []
    for machine, table in (("GPU", early), ("cores", early.assign(loss=before.fillna(early["loss"])))):
        for lengths in ([n for n in every if n in FIRST], [n for n in every if n in NEXT], every):
            found = _shifts(table[table["num_steps"].isin(lengths)], predictions)
            known = {"rows": machine, "seeds": "0 to 2", "lengths": f"to {lengths[-1]}"}
            rows += [known | shift for shift in found if shift["num_steps"] in twice]
    if len(before_last := [n for n in every if n in NEXT]) < len(every):
        known = {"rows": "answers", "seeds": "all", "lengths": f"to {before_last[-1]}"}
        rows += [known | shift for shift in _shifts(own[own["num_steps"].isin(before_last)], predictions)]
    for num_steps in every:
        known = {"rows": "answers", "seeds": "all", "lengths": "alone"}
        rows += [known | shift for shift in _shifts(own[own["num_steps"] == num_steps], predictions)]
    return pd.DataFrame(rows).drop_duplicates(["rows", "lengths", "num_steps"])


def _shifts(runs: pd.DataFrame, predictions: pd.DataFrame) -> Iterator[dict[str, object]]:
    return shifts_of(optima_of(runs, runs.iloc[:0], predictions[predictions["arm"].isin(SHIFT)]))
