"""``lrbend diagnose``: gradient noise scale, sharpness and Adam's statistics at the end of finished runs."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.files import BadInput, to_json, write_whole
from experiments.runs.diagnoses import COLUMNS, FILE, read_diagnosis

if TYPE_CHECKING:
    from experiments.runs.run_files import Run


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="run directories, or what holds them")
    parser.add_argument("--num-batches", type=int, default=16, help="of the run's size, for the noise scale")


def diagnose(options: argparse.Namespace) -> int:
    from experiments.runs.run_directory import find_runs
    from experiments.runs.run_files import load_run
    from gpt.config import TrainConfig

    paths = [path for each in options.paths for path in find_runs(each)]
    runs = [run for path in paths if isinstance((run := load_run(path)).config, TrainConfig)]
    measured = [run for run in runs if run.outcome == "completed"]
    if not measured:
        raise BadInput(f"{' '.join(map(str, options.paths))}: no completed training run")
    if len(measured) < len(runs):
        print(f"note: {len(runs) - len(measured)} runs that did not complete are left out", file=sys.stderr)
    results = []
    for run in measured:
        if not (run.path / FILE).exists():
            _measure(run, options.num_batches)
        results.append({"run_dir": str(run.path), **read_diagnosis(run.path)})
        if not options.json:
            values = "  ".join(f"{name} {results[-1][name]:.4g}" for name in COLUMNS)
            print(f"{run.path.name}  {values}", flush=True)
    if options.json:
        print(to_json(results))
    return 0


def _measure(run: Run, num_batches: int) -> None:
    from gpt import diagnose as measurements
    from gpt.config import TrainConfig

    assert isinstance(run.config, TrainConfig)
    found = measurements.diagnose(run.config, run.path / "checkpoint.pt", num_batches=num_batches)
    write_whole(run.path / FILE, to_json({"num_batches": num_batches, **dataclasses.asdict(found)}, indent=2).encode())
