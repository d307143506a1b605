"""``lrbend diagnose``: gradient noise scale, sharpness and Adam's statistics at the end of finished runs."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.parser import whole_number
from experiments.files import BadInput, to_json
from experiments.text import counted

if TYPE_CHECKING:
    from experiments.runs.run_files import Run

SUMMARY = "noise scale, sharpness and Adam's statistics of finished runs"
EXAMPLES = (
    "lrbend diagnose runs/train",
    "lrbend diagnose runs/train runs/recorded --num-batches 32 --json",
)
EXPLAINED = (
    "At the end of a run, over its block matrices. noise_scale: of gradients, in sequences; sharpness: the largest",
    "curvature of the loss, preconditioned_sharpness: as Adam sees it; update_rms: of Adam's direction;",
    "sign_agreement: share of entries in which a new gradient has the sign of the average.",
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
    from theory import RunOutcome
    from theory.checks import require_integer

    require_integer("num_batches", options.num_batches, at_least=3)
    paths = [path for each in options.paths for path in find_runs(each)]
    runs = [one for path in paths if isinstance((one := load_run(path)).config, TrainConfig)]
    ended = [one for one in runs if one.outcome is not RunOutcome.STOPPED]
    if not ended:
        raise BadInput(f"{' '.join(map(str, options.paths))}: no completed training run")
    if len(ended) < len(runs):
        print(f"note: {counted(len(runs) - len(ended), 'stopped run')} left out", file=sys.stderr)
    if not options.json:
        print("\n".join(EXPLAINED), flush=True)
    results: list[dict[str, Any]] = []
    for one in ended:
        if one.outcome is RunOutcome.DIVERGED:
            results.append(_diverged(one))
            if not options.json:
                print(_diverged_in_words(one, results[-1]), flush=True)
            continue
        if not (one.path / FILE).exists():
            _measure(one, options.num_batches)
        outcome = str(one.outcome)
        results.append({"run_dir": str(one.path), "outcome": outcome, **read_diagnosis(one.path)})
        if not options.json:
            values = "  ".join(f"{name} {results[-1][name]:.4g}" for name in COLUMNS)
            print(f"{one.path.name}  {values}", flush=True)
    if options.json:
        counts = {"num_runs": len(results), "num_stopped": len(runs) - len(ended)}
        print(to_json({**counts, "runs": results}))
    return 0


def _diverged(run: Run) -> dict[str, Any]:
    """What a run without an end still tells: when it diverged, and what the norms did until then (medians)."""
    import numpy as np

    from experiments.runs.diagnoses import COLUMNS

    norms = list(run.trajectory.weight_rms)
    final = run.summary.get("final_weight_rms")
    norms += [np.array(list(final.values()), np.float64)] if isinstance(final, dict) and final else []
    return {
        "run_dir": str(run.path),
        "outcome": str(run.outcome),
        "diverged_at_step": run.summary.get("diverged_at_step"),
        "weight_rms_first": float(np.median(norms[0])) if norms else None,
        "weight_rms_last": float(np.median(norms[-1])) if norms else None,
        **dict.fromkeys(COLUMNS),
    }


def _diverged_in_words(run: Run, row: dict[str, Any]) -> str:
    from experiments.runs.diagnoses import COLUMNS

    at = row["diverged_at_step"]
    text = f"{run.path.name}  diverged" + ("" if at is None else f" at step {at} of {run.config.schedule.num_steps}")
    if row["weight_rms_first"] is not None:
        text += f"; median weight RMS {row['weight_rms_first']:.4g} at first, {row['weight_rms_last']:.4g} at last"
    return f"{text}; without an end {', '.join(COLUMNS)} cannot be measured"


def _measure(run: Run, num_batches: int) -> None:
    from experiments.runs.diagnoses import FILE
    from experiments.runs.run_directory import add_file
    from gpt.config import TrainConfig
    from gpt.diagnose import diagnose

    assert isinstance(run.config, TrainConfig)
    found = diagnose(run.config, run.path / "checkpoint.pt", num_batches=num_batches)
    content = to_json({"num_batches": num_batches, **dataclasses.asdict(found)}, indent=2)
    add_file(run.path, FILE, content.encode())
