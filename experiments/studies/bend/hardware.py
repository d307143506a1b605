r"""Other hardware, same numbers? Runs that cores made, made again on a GPU, in ensembles.

Question. Is a run of an ensemble on a GPU the run that a core makes, up to rounding?

Method. All runs of this study (58, at 500 steps) and of `docs/moved-optimum` at 1,600 steps (60: four arms of AdamW,
five rates, seeds 0, 1, 2) that cores had made when this was written, ``core-runs.csv``; the same configs, weights,
batches and float32 on a GPU. d is the final loss there less that of the core.

Predicted. Sums are taken in another order, no more. What rounding does is known from twins whose initial weights are
multiplied by 1 + 1e-6 (`docs/replay`, width 32, 1,500 steps, float64): the root mean square of their difference is
0.00001 at a rate of 0.00125, 0.0003 at 0.005, and 0.018 at 0.02, where training amplifies rounding until a twin is
little nearer than another seed.

Decision rule, written before a run was made on a GPU. The numbers are the same if all four hold over the pairs in which
both runs are complete, and if the outcome is the same in all:

1. *size*: the median of abs(d) is below half the noise between seeds at the run's length (`expected.NOISE`);
2. *bias*: abs(mean of d) is below two standard errors;
3. *twin*: the root mean square of d is at most 0.018, the largest of a twin;
4. *small angles*: in runs whose mean angle is below 0.004 rad the root mean square of d is at most 0.002.

Otherwise they are not, and the line that fails says how. By chance the second fails in 5 % of comparisons. Rows of both
machines may stand in one table if the numbers are the same; where a run is there from both, the GPU's counts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.studies.bend.expected import NOISE
from experiments.studies.workplace import read_rows
from theory.outcome import RunOutcome

NUMBERS = ("num_steps", "learning_rate", "seed")
GAPS = ("loss", "mean_angle")
TEXTS = ("arm", "outcome", "run")
KEPT = (*TEXTS[:1], *NUMBERS, *GAPS, *TEXTS[1:])
LIMITS = {"size": 0.5, "bias": 2.0, "twin": 0.018, "small angles": 0.002, "outcomes": 0.0}
SMALL_ANGLE = 0.004  # rad per step
SMALLEST_ERROR = 1e-9  # nats, of a mean: what float32 says of a loss


def read_runs(file: Path) -> pd.DataFrame:
    """Runs of either machine. Raises `BadInput`."""
    return read_rows(file, numbers=NUMBERS, gaps=GAPS, texts=TEXTS)


def pairs_of(cores: pd.DataFrame, again: pd.DataFrame) -> pd.DataFrame:
    """A row per run that is in both tables, with ``difference``, the loss of ``again`` less that of ``cores``."""
    both = cores[list(KEPT)].merge(again[["run", "loss", "outcome"]], on="run", suffixes=("", "_again"))
    return both.assign(difference=both["loss_again"] - both["loss"])


def compared(pairs: pd.DataFrame) -> pd.DataFrame:
    """A row per line of the rule: what was found, its limit, how many pairs, and whether it ``holds``; then whether all
    do. NaN, and no, with fewer than two pairs."""
    whole = (pairs[["outcome", "outcome_again"]] == RunOutcome.COMPLETED.value).all(axis=1)
    told = pairs[whole]
    d = np.asarray(told["difference"], float)
    small = d[np.asarray(told["mean_angle"], float) < SMALL_ANGLE]
    noise = np.interp(np.log(np.asarray(told["num_steps"], float)), np.log(list(NOISE)), list(NOISE.values()))
    found = {"size": np.nan, "bias": np.nan, "twin": np.nan, "small angles": np.nan}
    if len(d) > 1:
        found["size"] = float(np.median(np.abs(d) / noise))
        found["bias"] = float(abs(d.mean()) / max(d.std(ddof=1) / np.sqrt(len(d)), SMALLEST_ERROR))
        found["twin"] = float(np.sqrt(np.mean(d**2)))
    if len(small):
        found["small angles"] = float(np.sqrt(np.mean(small**2)))
    found["outcomes"] = float((pairs["outcome"] != pairs["outcome_again"]).sum())
    counts = {name: len(d) for name in found} | {"small angles": len(small), "outcomes": len(pairs)}
    rows = [
        {"line": name, "value": value, "limit": LIMITS[name], "num_pairs": counts[name], "holds": value <= LIMITS[name]}
        for name, value in found.items()
    ]
    rows.append({"line": "all", "num_pairs": len(pairs), "holds": all(row["holds"] for row in rows)})
    return pd.DataFrame(rows)
