"""``lrbend diagnose``: gradient noise scale, sharpness and Adam's statistics at the end of finished runs."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.parser import whole_number
from experiments.files import BadInput, to_json

if TYPE_CHECKING:
    from experiments.runs.run_files import Run

SUMMARY = "noise scale, sharpness and Adam's statistics of finished runs"
EXAMPLES = (
    "lrbend diagnose runs/train",
    "lrbend diagnose runs/train runs/recorded --num-batches 32 --json",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="DIR", help="run directories, or what holds them; each gets its results"
    )
    parser.add_argument(
        "--num-batches", type=whole_number, default=16, help="batches of the run's size for the noise scale, at least 3"
    )


def run(options: argparse.Namespace) -> int:
    from experiments.runs.diagnoses import COLUMNS, FILE, read_diagnosis
    from experiments.runs.run_directory import find_runs
    from experiments.runs.run_files import load_run
    from gpt.config import TrainConfig
    from theory.checks import require_integer

    require_integer("num_batches", options.num_batches, at_least=3)
    paths = [path for each in options.paths for path in find_runs(each)]
    runs = [one for path in paths if isinstance((one := load_run(path)).config, TrainConfig)]
    measured = [one for one in runs if one.outcome == "completed"]
    if not measured:
        raise BadInput(f"{' '.join(map(str, options.paths))}: no completed training run")
    if len(measured) < len(runs):
        print(f"note: {len(runs) - len(measured)} runs that did not complete are left out", file=sys.stderr)
    results = []
    for one in measured:
        if not (one.path / FILE).exists():
            _measure(one, options.num_batches)
        results.append({"run_dir": str(one.path), **read_diagnosis(one.path)})
        if not options.json:
            values = "  ".join(f"{name} {results[-1][name]:.4g}" for name in COLUMNS)
            print(f"{one.path.name}  {values}", flush=True)
    if options.json:
        print(to_json(results))
    return 0


def _measure(run: Run, num_batches: int) -> None:
    from experiments.runs.diagnoses import FILE
    from experiments.runs.run_directory import add_file
    from gpt.config import TrainConfig
    from gpt.diagnose import diagnose

    assert isinstance(run.config, TrainConfig)
    found = diagnose(run.config, run.path / "checkpoint.pt", num_batches=num_batches)
    content = to_json({"num_batches": num_batches, **dataclasses.asdict(found)}, indent=2)
    add_file(run.path, FILE, content.encode())
