"""Flags that commands of several rooms share: one name, one meaning, one text."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from experiments.cli.parser import whole_number

# Names of the theory, and of what gpt trains with: to import them takes longer than all the rest of reading flags.
OPTIMIZERS = ("adamw", "adamh", "adamc", "adam-l2", "sgdm", "lion", "signsgdm", "muon", "muonh")
TRAINABLE_OPTIMIZERS = ("adamw", "adamh", "adamc", "muonh")
NETWORKS = ("white-noise", "scale-invariant", "gpt2")
KINDS = ("up-down", "value-output", "query-key")  # of matrices of gpt2
SCHEDULES = ("constant", "linear", "cosine", "wsd")
LOSS_LAWS = ("functional", "momentum", "multi-power")

FOLDERS = {
    "out": "folder for runs or output",
    "runs": "folder for the runs of a study, directories or CSV files",
    "results": "folder for the tables, answers and figures of a study",
}


def add_folder(
    parser: argparse.ArgumentParser,
    name: str,
    more: str,
    *,
    default: Path | None = None,
    without: str = "",
    required: bool = False,
) -> None:
    """``--out``, ``--runs`` or ``--results``. more : what lies in it. without : what happens if it is not given."""
    text = f"{FOLDERS[name]}: {more}" + (f" (default: {without})" if without else "")
    parser.add_argument(f"--{name}", type=outside_runs, metavar="DIR", default=default, required=required, help=text)


def outside_runs(text: str) -> Path:
    """The ``type`` of every flag for a folder that is written into: not a finished run, which stays as it is."""
    from experiments.runs.run_directory import SUMMARY_FILE

    path = Path(text)
    try:
        whole = path.absolute()
    except OSError as error:  # the folder in which the command runs was removed
        raise argparse.ArgumentTypeError(f"{text}: no such place ({error.strerror})") from None
    for place in (path, *whole.parents):
        if all(os.path.isfile(place / name) for name in (SUMMARY_FILE, "config.json")):
            where = "is" if place == path else "is inside"
            raise argparse.ArgumentTypeError(f"{text} {where} a finished run, which stays as it is")
    return path


def add_device(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "cuda"),
        help="what training computes on; auto takes a GPU if there is one",
    )


def add_seed(parser: argparse._ActionsContainer, of: str) -> None:
    parser.add_argument("--seed", type=whole_number, default=0, help=f"of {of}; the same seed gives the same numbers")


def add_checkpoint_every(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--checkpoint-every",
        type=whole_number,
        default=250,
        help="steps between checkpoints, from which a run that was stopped goes on",
    )


def add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="name of a study, or the path of a JSON file with one")


def add_num_workers(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        "--num-workers", type=whole_number, help="processes on this machine (default: one per core it may use)"
    )


def num_workers(options: argparse.Namespace) -> int:
    """How many processes ``--num-workers`` asks for; raises `InvalidParameter`."""
    from joblib import cpu_count

    from theory.checks import require_integer

    if options.num_workers is None:
        return int(cpu_count())
    return require_integer("num_workers", options.num_workers, at_least=1)
