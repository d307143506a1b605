"""The study: a fit of every public table, and its rows."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from experiments.bend.differences import exponent_differences
from experiments.bend.fit import GroupFit, fit_bend
from experiments.bend.optimum import OptimumStatus
from experiments.calibration.real_tables import VARIABLE
from experiments.files import BadInput, to_json
from experiments.studies.public_tables.tables import TABLES, PublicTable
from experiments.studies.workplace import Findings, Workplace

COLUMNS = (
    *("table", "group", "runs", "cells", "optima", "axis", "exponent", "exponent_low", "exponent_high"),
    *("curvature", "low", "high", "verdict", "smallest_bend", "others_low", "others_high", "why", "source", "command"),
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
