"""``lrbend plan`` and ``lrbend sweep``: what a study costs, and all of its runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.files import BadInput, to_json
from theory.checks import require_integer

if TYPE_CHECKING:
    from experiments.runs.slurm import SlurmOptions
    from experiments.sweeps.plan import Plan
    from experiments.sweeps.study import Study
    from experiments.sweeps.sweep import Execute

STUDY_HELP = "name of a study, or the path of a JSON file with one"
ABSENT = argparse.SUPPRESS  # the help would say "default: None" otherwise
SLURM_FLAGS = ("partition", "time_minutes", "gpus", "cpus", "memory_gb", "max_parallel", "slurm")


def add_plan_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help=STUDY_HELP)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=ABSENT, help="where its runs lie (default: runs/NAME)"
    )
    parser.add_argument("--gpu", default="H100 80GB", help="hours are estimated for")
    parser.add_argument("--utilisation", type=float, default=0.45, help="assumed share of its bfloat16 peak")
    parser.add_argument("--num-workers", type=int, default=ABSENT, help="processes (default: one per core)")


def add_sweep_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help=STUDY_HELP)
    parser.add_argument("--executor", choices=("local", "slurm"), default="local", help="where the runs are computed")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", default=ABSENT, help="holds runs and table.csv (default: runs/NAME)"
    )
    parser.add_argument("--num-workers", type=int, default=ABSENT, help="local processes (default: one per core)")
    parser.add_argument("--checkpoint-every", type=int, default=250, help="steps between checkpoints")
    slurm = parser.add_argument_group("with --executor slurm, for each run")
    slurm.add_argument("--partition", default=ABSENT, help="of the cluster (default: the cluster's)")
    slurm.add_argument("--time-minutes", type=int, default=ABSENT, help="before it is requeued (default: 240)")
    slurm.add_argument(
        "--gpus", type=int, default=ABSENT, help="with more than one, torchrun shares the run (default: 0)"
    )
    slurm.add_argument("--cpus", type=int, default=ABSENT, help="(default: 1)")
    slurm.add_argument("--memory-gb", type=int, default=ABSENT, help="(default: the cluster's)")
    slurm.add_argument("--max-parallel", type=int, default=ABSENT, help="jobs of an array at once (default: 256)")
    slurm.add_argument(
        "--slurm", action="append", metavar="KEY=VALUE", default=ABSENT, help="further #SBATCH settings; repeatable"
    )


def plan(options: argparse.Namespace) -> int:
    from experiments.sweeps.plan import make_plan
    from experiments.sweeps.study import load_study

    workers = _num_workers(options)
    study = load_study(options.study)
    found = make_plan(
        study,
        getattr(options, "out", None) or Path("runs") / study.name,
        gpu=options.gpu,
        utilisation=options.utilisation,
        num_workers=workers,
    )
    note = "estimated from the FLOPs and an assumed utilisation; not run on a GPU"
    if options.json:
        import dataclasses

        print(to_json({**dataclasses.asdict(found), "gpu_note": note}))
    else:
        print(_plan_text(found, note))
    return 0


def _plan_text(found: Plan, note: str) -> str:
    lines = [f"{found.study}: {found.question}", ""]
    lines.append(f"{'arm':24} {'runs':>6} {'finished':>8} {'tokens':>9} {'FLOPs':>9} {'GPU hours':>9}")
    for cell in found.cells:
        lines.append(
            f"{cell.arm:24} {cell.num_runs:6} {cell.num_finished:8} {cell.num_tokens:9.3g} {cell.flops:9.3g}"
            f" {cell.gpu_hours:9.3g}"
        )
    lines.append(f"{'all':24} {found.num_runs:6} {found.num_finished:8} {found.num_tokens:9.3g} {found.flops:9.3g}")
    if found.most_runs > found.num_runs:
        lines.append(f"Adaptive cells may come to {found.most_runs} runs; the figures are for those asked for now.")
    if found.hours_here is None:
        lines.append(f"Hours on this machine: not known, {found.not_timed}.")
    else:
        lines.append(
            f"Hours on this machine for what is not finished: {found.hours_here:.3g}, with {found.num_workers}"
            " at a time, from a few steps timed now."
        )
    lines.append(f"Hours on one {found.gpu} at {found.utilisation:.0%} of its peak: {found.gpu_hours:.3g}, {note}.")
    return "\n".join(lines)


def sweep(options: argparse.Namespace) -> int:
    from experiments.sweeps.study import load_study
    from experiments.sweeps.sweep import cell_in_words
    from experiments.sweeps.sweep import sweep as run_sweep

    require_integer("checkpoint_every", options.checkpoint_every, at_least=1)
    workers = _num_workers(options)
    slurm = _slurm_options(options)
    study = load_study(options.study)
    directory: Path = getattr(options, "out", None) or Path("runs") / study.name
    execute = _executor(options, study, directory, workers, slurm)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = run_sweep(study, directory, execute)
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


def _num_workers(options: argparse.Namespace) -> int:
    if not hasattr(options, "num_workers"):
        return os.cpu_count() or 1
    require_integer("num_workers", options.num_workers, at_least=1)
    return int(options.num_workers)


def _executor(
    options: argparse.Namespace, study: Study, directory: Path, workers: int, slurm: SlurmOptions | None
) -> Execute:
    import dataclasses

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
    given = {name: getattr(options, name) for name in SLURM_FLAGS if hasattr(options, name)}
    if options.executor != "slurm":
        for name in given:
            raise BadInput(f"--{name.replace('_', '-')}: only with --executor slurm")
        return None
    if hasattr(options, "num_workers"):
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
