"""``lrbend replay``: the angles of a finished run again, under another norm."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from experiments.cli.flags import add_folder
from experiments.files import BadInput, to_json

SUMMARY = "a recorded run's angles again under another norm"
EXAMPLES = (
    "lrbend replay runs/recorded/* --norm fixed --out runs/replayed",
    "lrbend replay runs/recorded/* --norm recorded --gradients plain --out runs/replayed --json",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a run trained with --record-every 1")
    parser.add_argument(
        "--norm",
        choices=("fixed", "recorded"),
        required=True,
        help="of each matrix: its initial one throughout, or as it was, which repeats the run",
    )
    parser.add_argument(
        "--gradients",
        choices=("rescaled", "plain"),
        default="rescaled",
        help="rescaled to the size they have at the recorded norm, or as they come",
    )
    add_folder(parser, "out", "the new run directory", without="the one that holds RUN_DIR")


def run(options: argparse.Namespace) -> int:
    from experiments.runs.produce import Job, load_recording, train_run
    from experiments.runs.run_files import load_run
    from gpt.config import Steering, TrainConfig
    from theory.checks import InvalidParameter

    recorded = load_run(options.run_dir)
    config = recorded.config
    if not isinstance(config, TrainConfig):
        raise BadInput(f"{options.run_dir}: a simulation; only a training run can be replayed")
    if recorded.outcome != "completed":
        raise BadInput(f"{options.run_dir}: ended as {recorded.outcome}; only a completed run can be replayed")
    if config.steering is not None:
        raise BadInput(f"{options.run_dir}: a replay itself; give the run that it replays")
    try:
        recording = load_recording(recorded)
    except InvalidParameter:
        raise BadInput(
            f"{options.run_dir}: does not hold the angle and norm of every step; train it with --record-every 1"
        ) from None
    if config.dtype != "float64":
        print(f"note: the run was in {config.dtype}, where rounding alone moves the final loss", file=sys.stderr)
    plain = options.gradients == "plain"
    steering = Steering(norm=options.norm, recording=recording.digest, rescale_gradients=not plain)
    label = f"replay-{options.norm}{'-plain' if plain else ''}-of-{recorded.path.resolve().name}"
    job = Job(
        options.out or recorded.path.resolve().parent,
        label,
        dataclasses.replace(config, steering=steering),
        recording=recorded.path,
    )
    replayed = load_run(train_run(job))
    loss, before = replayed.summary["final_loss"], recorded.summary["final_loss"]
    result = {
        "final_loss": loss,
        "recorded_final_loss": before,
        "loss_difference": None if loss is None else loss - before,
        "outcome": replayed.outcome,
        "run_dir": str(replayed.path),
    }
    if options.json:
        print(to_json(result))
    else:
        for key, value in result.items():
            print(f"{key:20} {value}")
    return 0
