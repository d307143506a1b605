r"""Does one half of a table that nobody here made predict the optima of the other half? Counted on public sweeps.

A made sweep has a known truth and the shapes that its maker thought of; a real one has neither. What can be asked of
it:
the cells of a group are split in two at random, `experiments.recommend` reads the law of one half at every cell of the
other, and its interval is held against the optimum that this cell's own losses give. The two differ by what the
prediction does not know and by what the measurement does not, so the prediction counts as right if

.. math:: |\ln\hat\eta - \ln\eta_{own}| \;\le\; \sqrt{w^2 + \tfrac{z_{90}^2}{z_{95}^2}\, w_{own}^2},

w half the 90 % interval of the prediction and :math:`w_{own}` half the 95 % interval of the optimum, in ln. Only cells
whose own optimum lies inside its grid, with an interval that is closed, are asked for. Splits of one table share its
cells and are anything but independent: the share has no error bar.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
from scipy.stats import norm

from experiments.bend.fit import fit_bend
from experiments.bend.optimum import CellOptimum, OptimumStatus
from experiments.calibration.counting import DIGITS
from experiments.files import BadInput, to_json, write_whole
from experiments.recommend.pilot_law import fit_pilot_law
from experiments.recommend.recommendation import CONFIDENCE
from experiments.recommend.target_run import TargetRun
from experiments.tables.filters import Condition
from experiments.tables.reading import How, read_table
from experiments.tables.run_table import RunTable
from theory.checks import require_integer

VARIABLE = "LRBEND_PUBLIC_DATA"
NUM_SPLITS, FIRST_SEED = 20, 20_261_129
FEWEST_CELLS = 6
TABLE, CONFIG = "real.csv", "real.json"


@dataclass(frozen=True, kw_only=True)
class RealTable:
    """A public sweep: its file below the folder of public data, and how it is read."""

    name: str
    file: str
    where: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    axes: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    constants: dict[str, float | str] = field(default_factory=dict)

    def read(self, data: Path) -> RunTable:
        """Raises `BadInput`."""
        conditions = [Condition.read(text) for text in self.where]
        how = How(columns=self.columns, constants=self.constants, axes=self.axes, groups=self.groups, where=conditions)
        return read_table(data / self.file, how)

    @property
    def flags(self) -> list[str]:
        """What `lrbend fit` takes behind the path of the file to read it so."""
        named = (("--column", self.columns), ("--constant", self.constants), ("--axis", self.axes))
        words = [word for flag, pairs in named for name, value in pairs.items() for word in (flag, f"{name}={value}")]
        words += [word for name in self.groups for word in ("--group", name)]
        return words + [word for condition in self.where for word in ("--where", condition)]


TABLES = (
    RealTable(name="hyperball, tokens", file="hyperball/lr_datasize_muon_vs_muonh.csv", groups=("optimizer_name",)),
    RealTable(
        name="hyperball, depth at width 128",
        file="hyperball/transfer_width_depth.csv",
        groups=("optimizer_name",),
        axes={"depth": "num_layers"},
        where=(
            "hidden_dim=128",
            "warmup=0.1",
            "min_lr_ratio=0",
            "optimizer_name=adam,adamh",
            "run_name!=*cosine*,*nl8-mup-adamh-decay*,*nl16-mup-adamh-decay*",
        ),
    ),
    RealTable(
        name="marin, baseline and learning rate",
        file="marin/optimizer_ablations.csv",
        columns={"batch_size": "batch"},
        where=("factor=Baseline,learning_rate",),
        groups=("optimizer",),
    ),
)


def calibrate_on_real(
    data: Path | None,
    out: Path,
    *,
    num_splits: int = NUM_SPLITS,
    first_seed: int = FIRST_SEED,
    tables: Sequence[RealTable] = TABLES,
) -> pd.DataFrame:
    """A row for each group of each table, written into ``out`` with its config.

    ``data``: the folder of public tables, None for that of the environment. Raises `BadInput`, `InvalidParameter`.
    """
    require_integer("num_splits", num_splits, at_least=1)
    require_integer("first_seed", first_seed, at_least=0)
    folder = public_folder(data)
    seeds = range(first_seed, first_seed + num_splits)
    rows = [
        {"table": table.name, "group": name, **judge_group(runs, seeds)}
        for table in tables
        for name, runs in table.read(folder).groups()
    ]
    found = pd.DataFrame(rows).round(DIGITS)
    made = {"num_splits": num_splits, "first_seed": first_seed, "confidence": CONFIDENCE}
    write_table(found, out / TABLE, out / CONFIG, made)
    return found


def public_folder(data: Path | None) -> Path:
    """Where the public tables lie: what was given, or what the environment says. Raises `BadInput`."""
    if data is not None:
        return data
    if not os.environ.get(VARIABLE):
        raise BadInput(f"--data: needed, the folder of public tables, or {VARIABLE} in the environment")
    return Path(os.environ[VARIABLE])


def write_table(found: pd.DataFrame, table: Path, config: Path, made: Mapping[str, object]) -> None:
    """A table, and beside it how it was made and by which versions. Raises `BadInput`."""
    try:
        table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{table.parent}: cannot be written ({error.strerror})") from None
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    write_whole(table, found.to_csv(index=False).encode())
    write_whole(config, (to_json({**made, **versions}, indent=2) + "\n").encode())


def judge_group(runs: RunTable, seeds: Sequence[int]) -> dict[str, Any]:
    """Counts over the splits of one group's cells; None where nothing could be asked."""
    (group,) = fit_bend(runs, sensitivity=False).groups
    asked = [cell for cell in group.cells if _half_width(cell) is not None]
    row: dict[str, Any] = {"num_cells": len(group.cells), "num_asked": len(asked)}
    found: list[tuple[float, float, float]] = []
    tried = 0
    if len(group.cells) >= FEWEST_CELLS:
        for seed in seeds:
            chosen = np.random.default_rng(seed).permutation(len(group.cells)) < (len(group.cells) + 1) // 2
            pilot = runs.select(_member(runs, [cell for cell, is_in in zip(group.cells, chosen, strict=True) if is_in]))
            others = [c for c, is_in in zip(group.cells, chosen, strict=True) if not is_in and c in asked]
            tried += len(others)
            found += _predictions(pilot, others)
    error, width, own = np.array(found).reshape(-1, 3).T
    allowed = np.sqrt(width**2 + (norm.ppf(0.95) / norm.ppf(0.975) * own) ** 2)
    answered = len(found) > 0
    return row | {
        "answered": len(found) / tried if tried else None,
        "covered": float(np.mean(np.abs(error) <= allowed)) if answered else None,
        "rms_error": float(np.sqrt(np.mean(error**2))) if answered else None,
        "median_half_width": float(np.median(width)) if answered else None,
        "median_own_half_width": float(np.median(own)) if answered else None,
    }


def _predictions(pilot: RunTable, cells: Sequence[CellOptimum]) -> list[tuple[float, float, float]]:
    """Error in ln, half widths of the prediction and of the optimum itself, of those cells that are answered."""
    try:
        law = fit_pilot_law(pilot, None)
    except BadInput:
        return []
    found = []
    for cell in cells:
        own = _half_width(cell)
        try:
            answer = law.read(_target(cell), CONFIDENCE)
        except BadInput:
            continue
        assert own is not None
        assert cell.learning_rate is not None
        error = float(np.log(answer.value / cell.learning_rate))
        found.append((error, float(np.log(answer.high / answer.low)) / 2, own))
    return found


def _target(cell: CellOptimum) -> TargetRun:
    fields = ("num_params", "num_tokens", "batch_size", "weight_decay")
    known = {name: value for name, value in cell.key.items() if name in fields}
    return TargetRun(**known, others={name: value for name, value in cell.key.items() if name not in fields})


def _half_width(cell: CellOptimum) -> float | None:
    """Of the 95 % interval of a cell's own optimum in ln; None unless it lies inside its grid and is bounded."""
    if cell.status is not OptimumStatus.INTERIOR or cell.low is None or cell.high is None:
        return None
    return float(np.log(cell.high / cell.low)) / 2


def _member(runs: RunTable, cells: Sequence[CellOptimum]) -> np.ndarray:
    """(num_runs,) which runs belong to one of the cells."""
    inside = np.zeros(len(runs), bool)
    for cell in cells:
        inside |= np.all([runs.numbers[name] == value for name, value in cell.key.items()], axis=0)
    return inside
