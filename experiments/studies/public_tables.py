"""What `lrbend fit` says of public tables of learning rates: optima, exponents, curvatures of other people's runs.

Question. Does the optimal learning rate bend in sweeps that nobody here made, in which direction, and does it bend
less where the norm is fixed?

Hypothesis. None was registered: the tables were read before this study was written, some of them for the tests. What it
adds is that every table is read by one command, and that what a table cannot tell is said.

Method. Every public table with several learning rates at several scales, in every series that holds everything else
(`TABLES`: file, rows, groups, scale); one fit each with the defaults of `lrbend fit`, other estimators beside it. The
command that does the same is a column of the answers. Two folders have no optimum to read: `multipowerlaw` (27 curves,
one peak rate of 3e-4; GitHub thu-yao-01-luo/MultiPowerLaw) and `npm_weibull` (norms, no final losses; GitHub
tiexinding/NPM-Weibull-public).

Decision rule. The verdicts of `lrbend fit`, which are told with the smallest bend that the table could have shown. The
difference of two groups is that of independent estimates. The tables are not copied: the study needs their folder.
"""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from experiments.bend.differences import exponent_differences
from experiments.bend.fit import GroupFit, fit_bend
from experiments.bend.optimum import OptimumStatus
from experiments.calibration.real_tables import VARIABLE, RealTable
from experiments.files import BadInput, to_json
from experiments.studies.workplace import Findings, Workplace

COLUMNS = (
    *("table", "group", "runs", "cells", "optima", "axis", "exponent", "exponent_low", "exponent_high"),
    *("curvature", "low", "high", "verdict", "smallest_bend", "others_low", "others_high", "why", "source", "command"),
)
ONE_SERIES = "run_name!=*cosine*,*nl8-mup-adamh-decay*,*nl16-mup-adamh-decay*"  # of AdamH, the one with Adam's settings


@dataclass(frozen=True, kw_only=True)
class PublicTable:
    """A table and where it comes from."""

    runs: RealTable
    source: str


HYPERBALL = "GitHub WhenWen/WhenWen.github.io, wd_blog/scripts; MIT"
TRANSFER = "hyperball/transfer_width_depth.csv"
SLIMPAJAMA = {"learning_rate": "lr", "loss": "final_val_loss", "num_params": "params"}


def _transfer(name: str, axis: dict[str, str], held: str, warmup: str, *optimizers: str) -> PublicTable:
    """A series of Adam, AdamH and MuonH, which warm up for a tenth, or of Muon, which does not."""
    where = (held, f"warmup={warmup}", "min_lr_ratio=0", f"optimizer_name={','.join(optimizers)}", ONE_SERIES)
    runs = RealTable(name=name, file=TRANSFER, groups=("optimizer_name",), axes=axis, where=where)
    return PublicTable(runs=runs, source=HYPERBALL)


TABLES = (
    PublicTable(
        runs=RealTable(
            name="tokens",
            file="hyperball/lr_datasize_muon_vs_muonh.csv",
            groups=("optimizer_name",),
            constants={"num_params": 1.3e8},
        ),
        source=HYPERBALL,
    ),
    _transfer("depth at width 128", {"depth": "num_layers"}, "hidden_dim=128", "0.1", "adam", "adamh", "muonh"),
    _transfer("depth at width 128, no warmup", {"depth": "num_layers"}, "hidden_dim=128", "0", "muon"),
    _transfer("width at 4 layers", {"width": "hidden_dim"}, "num_layers=4", "0.1", "adam", "adamh", "muonh"),
    _transfer("width at 4 layers, no warmup", {"width": "hidden_dim"}, "num_layers=4", "0", "muon"),
    PublicTable(
        runs=RealTable(
            name="size and tokens",
            file="marin/optimizer_ablations.csv",
            columns={"batch_size": "batch"},
            where=("factor=Baseline,learning_rate",),
            groups=("optimizer",),
        ),
        source="GitHub WhenWen/marin, experiments/optimizer_sweep; Apache-2.0",
    ),
    PublicTable(
        runs=RealTable(
            name="steps by share of cooldown",
            file="lr_scheduling/slimpajama_final_losses.csv",
            columns=SLIMPAJAMA,
            axes={"steps": "iterations"},
            where=(
                "n_layer=12",
                "n_embd=768",
                "scheduler=wsd",
                "decay_type=linear",
                "wsd_fract_decay=0.1,0.2,0.4,0.6,0.8,0.9",
                "file!=*grad_norm*",
            ),
            groups=("wsd_fract_decay",),
        ),
        source="GitHub fabian-sp/lr-scheduling; MIT",
    ),
    PublicTable(
        runs=RealTable(
            name="steps under a cosine to a tenth",
            file="lr_scheduling/slimpajama_final_losses.csv",
            columns=SLIMPAJAMA,
            axes={"steps": "iterations"},
            where=("n_layer=12", "n_embd=768", "file=cos-10-*"),
        ),
        source="GitHub fabian-sp/lr-scheduling; MIT",
    ),
)


def run_study(place: Workplace, data: Path | None = None) -> Findings:
    """``fits.csv``, ``differences.csv`` and ``config.json``. ``data``: the folder, None for that of the environment.

    Raises `BadInput` where it is not to be found.
    """
    if data is None and not os.environ.get(VARIABLE):
        raise BadInput(f"--option data: needed, the folder of public tables, or {VARIABLE} in the environment")
    folder = data or Path(os.environ[VARIABLE])
    place.make_folders()
    fits, differences = fits_of(folder, TABLES)
    for name, table in (("fits", fits), ("differences", differences)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    place.write("config.json", to_json({"tables": [vars(one.runs) for one in TABLES], **versions}, indent=1) + "\n")
    return Findings(answers=fits.drop(columns=["source", "command"]))


def fits_of(folder: Path, tables: Sequence[PublicTable]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per table, group and scale; and one per pair of groups and scale, of the difference of their exponents."""
    rows, differences = [], []
    for table in tables:
        runs = table.runs.read(folder)
        found = fit_bend(runs)
        counts = {name: len(own) for name, own in runs.groups()}
        for group in found.groups:
            known = {"table": table.runs.name, "group": group.group, "runs": counts[group.group]}
            known |= {
                "source": table.source,
                "command": shlex.join(["lrbend", "fit", table.runs.file, *table.runs.flags]),
            }
            rows += [known | row for row in _rows(group)]
        scales = {axis for group in found.groups for axis in group.curvature}
        for item in exponent_differences(found.groups):
            if item.axis not in scales:
                continue
            told = {"table": table.runs.name, "first": item.groups[0], "second": item.groups[1], "axis": item.axis}
            differences.append(told | {"value": item.value, "low": item.low, "high": item.high})
    return pd.DataFrame(rows, columns=list(COLUMNS)), pd.DataFrame(differences)


def _rows(group: GroupFit) -> Iterator[dict[str, Any]]:
    inside = sum(cell.status is OptimumStatus.INTERIOR for cell in group.cells)
    for axis, bend in group.curvature.items():
        if len({cell.key[axis] for cell in group.cells if axis in cell.key}) < 2:
            continue
        exponent, power = group.exponents[axis], group.power[axis]
        others = [one.curvature[axis][0] for one in group.estimators[1:] if axis in one.curvature]
        known = [round(value, 6) + 0.0 for value in others if value is not None]
        yield {
            "cells": len(group.cells),
            "optima": inside,
            "axis": axis,
            "exponent": exponent.value,
            "exponent_low": exponent.low,
            "exponent_high": exponent.high,
            "curvature": bend.value,
            "low": bend.low,
            "high": bend.high,
            "verdict": bend.verdict.value,
            "smallest_bend": power.smallest_bend if power else None,
            "others_low": min(known, default=None),
            "others_high": max(known, default=None),
            "why": exponent.reason or bend.reason,
        }
