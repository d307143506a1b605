"""``python -m experiments.studies.ensembles``: runs that studies miss, made where there is little more than torch.

Beside this repository it needs torch, numpy, scipy, pandas, joblib, tqdm, sympy and matplotlib, and the text
(`gpt.pysource`). What it makes goes into one archive, which unpacked among the runs of another machine
(``tar -xzf FILE.tar.gz -C runs``) makes `lrbend study NAME` find them finished:

    python -m experiments.studies.ensembles --plan
    python -m experiments.studies.ensembles --text pysource --minutes 12 --out rows.tar.gz
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np

from experiments.files import BadInput, read_bytes, write_whole
from experiments.studies.ensembles.cores import on_cores
from experiments.studies.ensembles.many import MOST, Wishes, in_ensembles, planned
from experiments.studies.ensembles.tasks import Task
from experiments.studies.ensembles.wanted import MODULES, wishes_of
from gpt.config import Device
from gpt.data import load_text
from gpt.pysource import FOLDER
from theory import InvalidParameter

MEMORY = "/dev/shm"
LATER = "wider grids and what is steered by these come after"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 2 for what cannot be meant, said on one line of stderr."""
    options = _parser().parse_args(arguments)
    try:
        if options.text is not None:
            os.environ[FOLDER] = str(options.text.resolve())
        _run(options)
    except (BadInput, InvalidParameter) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments.studies.ensembles", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--study", action="append", choices=MODULES, help="one to make, repeatable, in this order (default: all)")
    add("--runs", type=Path, default=Path("runs"), help="rows are kept in RUNS/STUDY (default: runs)")
    add("--docs", type=Path, default=Path("docs"), help="the studies' results; rows there are finished (default: docs)")
    add("--again", type=Path, help="a table whose runs are made again all the same, by its column run (default: none)")
    add("--device", choices=get_args(Device), default="auto", help="(default: auto, a GPU if there is one)")
    add(
        "--minutes",
        type=float,
        default=np.inf,
        help="no ensemble begins that would not end by then (default: no limit)",
    )
    add("--most", type=int, default=MOST, help=f"models of an ensemble (default: {MOST})")
    add("--longest", type=int, default=sys.maxsize, help="most steps of a run that is made (default: no limit)")
    add("--cores", type=int, help="make each run by itself, on so many cores (default: in ensembles)")
    add("--text", type=Path, help=f"a copy of the folder of pysource (default: {FOLDER}, else made here)")
    add("--out", type=Path, help="archive of all new rows, written after every ensemble (default: none)")
    add("--plan", action="store_true", help="print the ensembles that come first; trains and writes nothing")
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.most < 1:
        raise BadInput(f"--most {options.most}: must be at least 1")
    if options.cores is not None and options.cores < 1:
        raise BadInput(f"--cores {options.cores}: must be at least 1")
    if not options.minutes >= 0:
        raise BadInput(f"--minutes {options.minutes}: must be at least 0")
    if options.plan:
        print(f"reads the rows in {options.docs} and {options.runs}, about a minute", file=sys.stderr, flush=True)
        memory = MEMORY if os.access(MEMORY, os.W_OK) else None  # thousands of small files
        with TemporaryDirectory(dir=memory) as folder:
            _plan(options, Path(folder))
        return
    wishes = _wishes(options, options.runs)
    print(f"pysource: {load_text('pysource').fingerprint}", flush=True)
    parts: list[bytes] = []
    counts = [0]

    def keep(what: object, made: Sequence[Path]) -> None:
        print(what, flush=True)
        counts.append(len(made))
        if options.out is not None:
            parts.append(archived(made, options.runs))
            write_whole(options.out, b"".join(parts) + END)

    seconds = 60 * options.minutes
    if options.cores is not None:
        on_cores(wishes, options.cores, seconds=seconds, done=lambda study, file: keep(f"{study}: {file.stem}", [file]))
    else:
        in_ensembles(
            wishes,
            device=options.device,
            most=options.most,
            seconds=seconds,
            done=lambda ensemble: keep(ensemble, ensemble.files),
        )
    print(f"{sum(counts)} new files of rows", flush=True)


def _plan(options: argparse.Namespace, folder: Path) -> None:
    """Studies note in their folders what they begin with: in a copy, where nothing is to begin."""
    for study in options.study or MODULES:
        if (options.runs / study).is_dir():
            shutil.copytree(options.runs.resolve() / study, folder / study, copy_function=os.symlink)
    plan = planned(_wishes(options, folder), options.most)
    print("\n".join(map(str, plan)))
    runs, steps = sum(len(one.runs) for one in plan), sum(one.config.schedule.num_steps for one in plan)
    print(f"{len(plan)} ensembles, {runs} runs, {steps} steps; {LATER}")


def _wishes(options: argparse.Namespace, runs: Path) -> Wishes:
    every = wishes_of(options.study or tuple(MODULES), runs, options.docs, options.again)
    return {study: partial(_not_longer, wanted, options.longest) for study, wanted in every.items()}


def _not_longer(wanted: Callable[[], Sequence[Task]], longest: int) -> list[Task]:
    return [task for task in wanted() if task.config.schedule.num_steps <= longest]


END = gzip.compress(bytes(2 * tarfile.BLOCKSIZE))  # of an archive


def archived(files: Sequence[Path], folder: Path) -> bytes:
    """A part of a tar.gz, these files by their names in ``folder``; parts and `END` after each other are the whole, so
    that nothing is packed twice."""
    blocks = []
    for file in files:
        content, entry = read_bytes(file), tarfile.TarInfo(str(file.relative_to(folder)))
        entry.size = len(content)
        blocks += [entry.tobuf(tarfile.USTAR_FORMAT), content, bytes(-len(content) % tarfile.BLOCKSIZE)]
    return gzip.compress(b"".join(blocks))
