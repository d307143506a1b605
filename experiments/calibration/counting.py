"""A calibration: sweeps of every scenario made, judged and counted, and the table of the counts.

The row of a scenario is kept beside the table as soon as it is counted, and goes when the table is written: a call that
was stopped, or met an error, is gone on with by the next one, if neither the code nor the scenario has changed.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import scipy

from experiments.calibration.made_sweeps import Scenario
from experiments.files import BadInput, to_json, write_whole
from theory.checks import require_integer

DIGITS = 4  # of what a table holds


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What is counted.

    scenarios : kinds of sweeps. judge : makes and judges the sweep of one seed. summarise : what was judged, to a row.
    num_sweeps, first_seed : of each scenario, in the committed table. table, config : names of the files. shown :
    columns that are told while it runs. settings : further entries of the config.
    """

    scenarios: tuple[Scenario, ...]
    judge: Callable[[Scenario, int], Any]
    summarise: Callable[[Scenario, list[Any]], Mapping[str, Any]]
    num_sweeps: int
    first_seed: int
    table: str
    config: str
    shown: tuple[str, ...]
    settings: Mapping[str, object]


def calibrate(
    what: Calibration, out: Path, *, num_workers: int, num_sweeps: int | None = None, first_seed: int | None = None
) -> pd.DataFrame:
    """Count, and write the table, a row for each scenario, and how it was made into ``out``; returns the table.

    Seeds are ``first_seed`` and on, so that the rows are the same on every machine and with any number of workers.
    Four times as many sweeps are made where the named bend is planted, since only one axis of each tells its power.
    Raises `InvalidParameter` for a number outside its range, and `BadInput` for a folder that cannot be written, before
    anything is made.
    """
    number = require_integer("num_sweeps", what.num_sweeps if num_sweeps is None else num_sweeps, at_least=1)
    first = require_integer("first_seed", what.first_seed if first_seed is None else first_seed, at_least=0)
    require_integer("num_workers", num_workers, at_least=1)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out}: cannot be written ({error.strerror})") from None
    start = time.perf_counter()
    rows, kept, code = [], out / f".{Path(what.table).stem}", _code()
    with joblib.Parallel(n_jobs=num_workers) as parallel:
        for scenario in what.scenarios:
            seeds = range(first, first + number * (4 if scenario.named_bend else 1))
            told_by = to_json([what.table, asdict(scenario), seeds.start, seeds.stop, code]).encode()
            file = kept / f"{sha256(told_by).hexdigest()[:16]}.json"
            if not file.exists():
                judged = parallel(joblib.delayed(_judge)(what.judge, scenario, seed) for seed in seeds)
                kept.mkdir(exist_ok=True)
                write_whole(file, to_json(what.summarise(scenario, judged)).encode())
            rows.append(json.loads(file.read_bytes()))
            told = [f"{key} {value:.3f}" for key in what.shown if (value := rows[-1][key]) is not None]
            print(f"{scenario.name:34}", *told, file=sys.stderr, flush=True)
    table = pd.DataFrame(rows).round(DIGITS)
    made = {
        **what.settings,
        "num_sweeps": number,
        "first_seed": first,
        "seconds": round(time.perf_counter() - start),
        "num_workers": num_workers,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }
    write_whole(out / what.table, table.to_csv(index=False).encode())
    write_whole(out / what.config, (to_json(made, indent=2) + "\n").encode())
    shutil.rmtree(kept, ignore_errors=True)
    return table


def _judge(judge: Callable[[Scenario, int], Any], scenario: Scenario, seed: int) -> Any:
    try:
        return judge(scenario, seed)
    except Exception as error:
        error.add_note(f"in the sweep of scenario {scenario.name!r} by seed {seed}")
        raise


def _code() -> str:
    """What the counts depend on beside the scenarios: the sources of the theory and of everything that fits."""
    root = Path(__file__).parents[2]
    files = [file for room in ("theory", "experiments") for file in sorted((root / room).rglob("*.py"))]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
