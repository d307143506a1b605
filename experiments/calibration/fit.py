"""``make calibrate``: the committed table of how `lrbend fit` does on made sweeps.

Writes ``docs/calibration/calibration.csv``, a row for each scenario of `experiments.calibration.made_sweeps`, and
``config.json`` beside it: seeds, versions, duration. Seeds are ``first_seed`` and on, the same sweeps on every machine;
twice as many where power is counted, which two hundred would leave uncertain by 3 %.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import scipy

from experiments.calibration.made_sweeps import SCENARIOS, run_sweep, summarise
from experiments.cli.parser import Parser, answer
from experiments.files import to_json, write_whole
from theory.bend import DELTA
from theory.checks import require_integer

NUM_SWEEPS = 200
FIRST_SEED = 20_270_000
DIGITS = 4


def main() -> int:
    parser = Parser(prog="python -m experiments.calibration.fit", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--num-sweeps", type=int, default=NUM_SWEEPS, help="of each scenario")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help=" ")
    parser.add_argument("--num-workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--out", type=Path, default=Path("docs/calibration"), help="where the table goes")
    options = parser.parse_args()
    return answer(calibrate, options, prog=parser.prog, when_stopped="nothing is kept")


def calibrate(options: argparse.Namespace) -> int:
    require_integer("num_sweeps", options.num_sweeps, at_least=1)
    require_integer("first_seed", options.first_seed, at_least=0)
    require_integer("num_workers", options.num_workers, at_least=1)
    start = time.perf_counter()
    rows = []
    with joblib.Parallel(n_jobs=options.num_workers) as parallel:
        for scenario in SCENARIOS:
            number = options.num_sweeps * (2 if scenario.named_bend else 1)
            seeds = range(options.first_seed, options.first_seed + number)
            results = parallel(joblib.delayed(run_sweep)(scenario, seed) for seed in seeds)
            rows.append(summarise(scenario, results))
            shown = {key: rows[-1][key] for key in ("optimum_coverage", "exponent_coverage", "curvature_coverage")}
            print(f"{scenario.name:30}", *(f"{key} {value:.3f}" for key, value in shown.items() if value), flush=True)
    config = {
        "num_sweeps": options.num_sweeps,
        "first_seed": options.first_seed,
        "delta": DELTA,
        "seconds": round(time.perf_counter() - start),
        "num_workers": options.num_workers,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows).round(DIGITS)
    write_whole(options.out / "calibration.csv", table.to_csv(index=False).encode())
    write_whole(options.out / "config.json", (to_json(config, indent=2) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
