"""``lrbend verify``: whether finished runs, and the checkpoints of unfinished ones, are as they were written."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from experiments.files import BadInput, to_json
from experiments.text import counted

SUMMARY = "whether the files of runs are as they were written"
EXAMPLES = (
    "lrbend verify runs/train",
    "lrbend verify runs/train runs/recorded --json",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="run directories, or what holds them")


def run(options: argparse.Namespace) -> int:
    from experiments.runs.run_directory import find_checkpoints, find_runs
    from experiments.runs.run_files import verify_run
    from gpt.checkpoint import verify_checkpoint
    from theory import InvalidParameter

    runs = sorted({path for each in options.paths for path in find_runs(each)})
    checkpoints = sorted({path for each in options.paths for path in find_checkpoints(each)})
    if not runs and not checkpoints:
        raise BadInput(f"{' '.join(map(str, options.paths))}: no run")
    faults, unchecked = [], []
    for path in runs:
        try:
            faults += verify_run(path)
        except BadInput as error:
            unchecked.append(str(error))
    for path in checkpoints:
        try:
            verify_checkpoint(path)
        except InvalidParameter as error:
            faults.append(f"{path}: must be {error.allowed}")
    for line in unchecked:
        print(f"note: {line}", file=sys.stderr)
    numbers = {"num_runs": len(runs), "num_checkpoints": len(checkpoints), "num_unchecked": len(unchecked)}
    if options.json:
        print(to_json({**numbers, "faults": faults}))
    else:
        print("\n".join([*faults, _counts(len(runs), len(checkpoints), len(faults))]))
    return 1 if faults else 0


def _counts(runs: int, checkpoints: int, faults: int) -> str:
    return f"{counted(runs, 'run')}, {counted(checkpoints, 'checkpoint')}: {counted(faults, 'fault')}"
