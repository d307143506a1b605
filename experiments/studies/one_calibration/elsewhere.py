"""The same law on the runs of bend at the same width: other starts, lengths, seeds. Looked at without a rule.

Nothing of it was registered. Medians are told by length, beside twice the noise between AdamH's seeds there, without a
verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from experiments.studies.angle_law.runs import line
from experiments.studies.bend.runs import ARMS
from experiments.studies.moved_optimum.runs import ADAMH
from experiments.studies.one_calibration.answers import NOISES, median_of
from experiments.studies.one_calibration.predictions import KEYS, angles_of
from theory.final_loss import FinalLossLaw

WIDTH = 32  # of every network that the law was fitted to
SOURCE = "bend, no rule"  # of rows of the answers


def bend_cells(runs: pd.DataFrame, law: FinalLossLaw) -> pd.DataFrame:
    """A row per cell of AdamW that has all its losses: measured, predicted, and ``limit``, twice the noise between
    AdamH's seeds at that length. ``runs``: of bend."""
    own = runs[runs["width"] == WIDTH]
    noise = own[own["arm"] == ADAMH.name].groupby(KEYS)["loss"].var().groupby("num_steps").mean() ** 0.5
    groups = own.groupby(KEYS)["loss"]
    cells = groups.agg(seeds="size", loss=lambda losses: losses.mean(skipna=False)).reset_index().dropna()
    tables = []
    for arm in ARMS:
        if arm.weight_decay is None:
            continue
        for num_steps, rows in cells[cells["arm"] == arm.name].groupby("num_steps"):
            angles = angles_of(arm, rows["learning_rate"].to_numpy(float), int(str(num_steps)))
            tables.append(rows.assign(law=law.loss(angles, line(len(angles))), limit=NOISES * noise[num_steps]))
    return pd.concat(tables, ignore_index=True).assign(miss=lambda table: table["law"] - table["loss"])


def answers_at_bend(cells: pd.DataFrame, optima: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of the answers, without a verdict; ``optima``: of bend, whose law is the one that it was registered with."""
    for num_steps, rows in cells.groupby("num_steps"):
        length = int(str(num_steps))
        yield median_of(f"loss, law, {SOURCE}", length, rows["miss"]) | {"limit": rows["limit"].iloc[0]}
    own = optima[(optima["width"] == WIDTH) & (optima["arm"] != ADAMH.name)].dropna(subset=["error"])
    for length, rows in [*own.groupby("num_steps"), (np.nan, own)]:
        yield median_of(f"optimum, law, {SOURCE}", float(str(length)), np.log(rows["learning_rate"] / rows["law"]))
