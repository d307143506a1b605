"""Processor seconds of the fit of a made sweep, over those of the plain way with NumPy, and how they grow with cells.

    python benchmarks/fit.py [--json] [--seconds 60]

The plain way is a parabola through the losses of each cell by ``numpy.polyfit``, and the same law through their minima
by ``numpy.linalg.lstsq``: no shape, no walls, no interval and no verdict. Both take the cells as arrays and turns, and
the best of each counts. Sizes are tried in order, and turns taken, until the seconds are over.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line has it

import numpy as np
import pandas as pd

sys.path[0] = str(Path(__file__).resolve().parents[1])

from experiments.bend.fit import fit_bend  # noqa: E402
from experiments.calibration.made_sweeps import Scenario, make_sweep  # noqa: E402

SIZES = ((4, 4, 5), (14, 14, 10), (40, 25, 10), (100, 100, 10))  # sizes, budgets, learning rates
TURNS = 3


def plain_fit(table: pd.DataFrame) -> np.ndarray:
    """(6,) coefficients of the law through the minima of parabolas."""
    logs = np.log(table[["num_params", "num_tokens"]].to_numpy())
    logs -= logs.mean(axis=0)
    x, loss = np.log(table["learning_rate"].to_numpy()), table["loss"].to_numpy()
    starts = np.flatnonzero(np.any(np.diff(logs, axis=0, prepend=np.inf) != 0, axis=1))
    parabolas = [np.polyfit(*pair, 2) for pair in zip(np.split(x, starts[1:]), np.split(loss, starts[1:]), strict=True)]
    optimum = np.array([-slope / (2 * square) for square, slope, _ in parabolas])
    n, d = logs[starts].T
    columns = np.stack([np.ones(len(n)), n, d, n**2 / 2, d**2 / 2, n * d], axis=1)
    return np.linalg.lstsq(columns, optimum, rcond=None)[0]


def seconds_of(table: pd.DataFrame, until: float) -> tuple[float, float]:
    """Ours and the plain way's, of one turn at least."""
    ours: list[float] = []
    plain: list[float] = []
    while not ours or (len(ours) < TURNS and time.perf_counter() < until):
        begun = time.process_time()
        fit_bend(table)
        ours.append(time.process_time() - begun)
        begun = time.process_time()
        plain_fit(table)
        plain.append(time.process_time() - begun)
    return min(ours), min(plain)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    began, rows = time.perf_counter(), []
    for num_sizes, num_budgets, num_rates in SIZES:
        if time.perf_counter() - began > options.seconds:
            break
        scenario = Scenario(name="fit", num_sizes=num_sizes, num_budgets=num_budgets, num_rates=num_rates, factor=1.5)
        table = make_sweep(scenario, 0).table
        ours, plain = seconds_of(table, began + options.seconds)
        row = {"cells": num_sizes * num_budgets, "rows": len(table), "seconds": round(ours, 3)}
        rows.append(row | {"plain_seconds": round(plain, 4), "ratio": round(ours / plain, 1)})
        print(rows[-1], file=sys.stderr, flush=True)
    cells, seconds = (np.log([row[name] for row in rows[1:]]) for name in ("cells", "seconds"))
    growth = round(float(np.polyfit(cells, seconds, 1)[0]), 2) if len(cells) > 1 else None
    if options.json:
        print(json.dumps({"numpy": np.__version__, "sizes": rows, "growth_in_cells": growth}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
