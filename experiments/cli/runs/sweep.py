"""``lrbend sweep``: all runs of a study, on this machine or on a cluster; what is finished is kept."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.flags import add_checkpoint_every, add_folder, add_num_workers, add_study, num_workers
from experiments.cli.parser import whole_number
from experiments.files import BadInput, to_json
from experiments.text import flag

if TYPE_CHECKING:
    from experiments.runs.slurm import SlurmOptions
    from experiments.sweeps.study import Study
    from experiments.sweeps.sweep import Execute

SLURM_FLAGS = ("partition", "time_minutes", "gpus", "cpus", "memory_gb", "max_parallel", "slurm")

SUMMARY = "all runs of a study; restart it at any time"
EXAMPLES = (
    "lrbend sweep lr-transfer-small",
    "lrbend sweep same-angle --num-workers 2 --out runs/same-angle --json",
    "lrbend sweep ladder --executor slurm --gpus 1 --time-minutes 600 --slurm account=mine",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument("--executor", choices=("local", "slurm"), default="local", help="where the runs are computed")
    add_folder(parser, "out", "the runs and their table.csv", without="runs/NAME")
    add_num_workers(parser)
    add_checkpoint_every(parser)
    slurm = parser.add_argument_group("with --executor slurm, for each run")
    slurm.add_argument("--partition", help="of the cluster (default: the cluster's own)")
    slurm.add_argument(
        "--time-minutes", type=whole_number, help="after which it goes back into the queue (default: 240)"
    )
    slurm.add_argument(
        "--gpus", type=whole_number, help="with more than one, torchrun shares the run among them (default: 0)"
    )
    slurm.add_argument("--cpus", type=whole_number, help="cores (default: 1)")
    slurm.add_argument("--memory-gb", type=whole_number, help="main memory (default: the cluster's own)")
    slurm.add_argument("--max-parallel", type=whole_number, help="jobs of an array at once (default: 256)")
    slurm.add_argument(
        "--slurm", action="append", metavar="KEY=VALUE", help="a further #SBATCH setting; repeatable (default: none)"
    )


def run(options: argparse.Namespace) -> int:
    from experiments.studies.registered import load_study
    from experiments.sweeps.sweep import cell_in_words, sweep
    from theory.checks import require_integer

    require_integer("checkpoint_every", options.checkpoint_every, at_least=1)
    workers = num_workers(options)
    slurm = _slurm_options(options)
    study = load_study(options.study)
    directory: Path = options.out or Path("runs") / study.name
    execute = _executor(options, study, directory, workers, slurm)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = sweep(study, directory, execute)
    except KeyboardInterrupt:
        _say_what_is_kept(study, directory, options.executor)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
    for line in result.faults:
        print(f"lrbend sweep: {line}", file=sys.stderr)
    if options.json:
        cells = [
            {
                "arm": state.cell.label,
                "num_runs": len(state.jobs),
                "status": None if state.grid is None else state.grid.status.value,
                "width": None if state.grid is None else state.grid.width,
            }
            for state in result.cells
        ]
        numbers = {"num_runs": result.num_runs, "num_finished": result.num_finished, "num_failed": len(result.faults)}
        print(to_json({"out": str(directory), "table": str(result.table), **numbers, "cells": cells}))
    else:
        for state in result.cells:
            print(cell_in_words(state))
        print(f"{result.num_finished} of {result.num_runs} runs are finished.  Table: {result.table}")
    return 1 if result.faults else 0


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _say_what_is_kept(study: Study, directory: Path, executor: str) -> None:
    from experiments.runs.run_directory import partial_path
    from experiments.sweeps.sweep import TABLE_FILE, states

    cells = states(study, directory)
    total = sum(len(cell.jobs) for cell in cells)
    missing = [job for cell in cells for job in cell.missing]
    begun = sum((partial_path(job.path) / "config.json").exists() for job in missing)
    jobs = "; jobs in Slurm go on, scancel ends them" if executor == "slurm" else ""
    print(
        f"lrbend sweep: stopped; {total - len(missing)} of {total} runs are finished and kept, see"
        f" {directory / TABLE_FILE}; {begun} are half done; the same command goes on from there{jobs}",
        file=sys.stderr,
    )


def _executor(
    options: argparse.Namespace, study: Study, directory: Path, workers: int, slurm: SlurmOptions | None
) -> Execute:
    every: int = options.checkpoint_every
    if slurm is None:
        from experiments.runs.local import try_jobs

        return lambda jobs: try_jobs(
            [dataclasses.replace(job, checkpoint_every=every) for job in jobs], num_workers=workers
        )
    from experiments.runs.slurm import SlurmPool

    pool = SlurmPool(directory, study.name, slurm)
    return lambda jobs: pool.run([dataclasses.replace(job, checkpoint_every=every) for job in jobs])


def _slurm_options(options: argparse.Namespace) -> SlurmOptions | None:
    """What was said of Slurm; raises `BadInput` where Slurm is not meant or not there."""
    given = {name: value for name in SLURM_FLAGS if (value := getattr(options, name)) is not None}
    if options.executor != "slurm":
        for name in given:
            raise BadInput(f"{flag(name)}: only with --executor slurm")
        return None
    if options.num_workers is not None:
        raise BadInput("--num-workers: only with --executor local; --max-parallel limits the jobs of an array")
    from experiments.runs.slurm import SlurmOptions, require_slurm

    require_slurm()
    further = {}
    for item in given.pop("slurm", []):
        key, equals, value = item.partition("=")
        if not key or not equals:
            raise BadInput(f"--slurm {item}: expected KEY=VALUE")
        further[key.removeprefix("--")] = value
    return SlurmOptions(**given, further=further)
