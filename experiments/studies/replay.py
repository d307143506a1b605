"""Does the norm of a matrix act on training other than through the angle of its steps?

Question. AdamW sets the angle of each step through the norm, and the norm may also act by itself. Which is it?

Hypothesis. In a model that is exactly scale-invariant the norm acts through the angle alone: with the angles of a
recorded run and the norm held fixed, training ends at the same loss. In the classic GPT-2 it does not.

Method. ``cpu-32``, AdamW at decay 0.1, linear schedule, 1,500 steps, float64; scientific: architecture and learning
rate; nuisance: the seed; fixed: everything else. For each setting four arms, which share seed and data:

    original    records every angle and norm
    fixed       those angles, norm fixed at its initial value, gradients rescaled (`gpt.replay`)
    twin        the original with its initial weights multiplied by 1 + 1e-6: what the smallest change can do
    plain       as fixed, gradients as they come: Adam's averages then remember gradients of another scale

Eight seeds; a cell of the scale-invariant model whose standard error is above 0.005 gets eight more at a time, up to
``MAX_SEEDS``. The standard error alone decides about more seeds, never the mean.

Decision rule, written before the runs. Let d be the mean over seeds of (fixed - original), w that of (twin - original)
and s the standard error of the mean of (fixed - twin), paired by seed. A cell ``agrees`` if ``|d| <= |w| + 2 s`` and
``s <= 0.005``, ``differs`` if ``|d| > |w| + 2 s``, else it is ``not-resolved``. At eight seeds noise alone exceeds 2 s
in at most 9 % of the cells (Student's t, 7 degrees of freedom).

Rows of an earlier table (``--continue``) stand for the runs they came from, which need not be there any more.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.cli.parser import Parser, answer
from experiments.files import to_json, write_whole
from experiments.runs.configs import config_to_dict
from experiments.runs.produce import Job, load_recording, train_run
from experiments.runs.run_directory import is_finished
from experiments.runs.run_files import Run, load_run
from gpt.config import Architecture, Steering, TrainConfig, preset
from theory import AdamW, Linear

ARCHITECTURES: tuple[Architecture, ...] = ("scale-invariant", "gpt2")
LEARNING_RATES = (1.25e-3, 5e-3, 2e-2)
SEEDS, MAX_SEEDS = 8, 48
TWIN_FACTOR = 1 + 1e-6
LARGEST_STANDARD_ERROR = 0.005
ARMS = ("original", "fixed", "twin", "plain")
SUMMARY = ("num_seeds", "fixed_mean", "fixed_se", "twin_mean", "twin_se", "fixed_minus_twin", "se", "verdict")


Key = tuple[str, float, int]  # architecture, learning rate, seed


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What an earlier table knows: the final loss of each arm, by cell and seed, and the commits that its runs had."""

    losses: Mapping[Key, Mapping[str, float | None]] = dataclasses.field(default_factory=dict)
    commits: frozenset[str] = frozenset()

    def knows(self, key: Key, arms: Sequence[str]) -> bool:
        return all(self.losses.get(key, {}).get(arm) is not None for arm in arms)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One architecture at one learning rate, in a study of ``num_steps`` steps with this preset."""

    architecture: Architecture
    learning_rate: float
    num_steps: int = 1500
    preset: str = "cpu-32"

    def key(self, seed: int) -> Key:
        return self.architecture, self.learning_rate, seed

    def original(self, seed: int) -> TrainConfig:
        return TrainConfig(
            model=preset(self.preset, self.architecture),
            optimizer=AdamW(learning_rate=self.learning_rate, weight_decay=0.1),
            non_matrix_learning_rate=1e-2,
            schedule=Linear(num_steps=self.num_steps),
            seed=seed,
            dtype="float64",
            device="cpu",
            record_every=1,
        )


def job_of(directory: Path, cell: Cell, seed: int, arm: str) -> Job | None:
    """The run of one arm; None for a replay whose original is not finished (or diverged: nothing to replay)."""
    original = cell.original(seed)
    name = f"{cell.architecture}-lr{cell.learning_rate:g}-seed{seed}-{arm}"
    recorded = Job(directory, f"{cell.architecture}-lr{cell.learning_rate:g}-seed{seed}-original", original)
    if arm == "original":
        return recorded
    config = dataclasses.replace(original, record_every=50)
    if arm == "twin":
        return Job(directory, name, dataclasses.replace(config, initial_factor=TWIN_FACTOR))
    if not is_finished(recorded.path):
        return None
    run = load_run(recorded.path)
    if run.outcome != "completed":
        return None
    steering = Steering(norm="fixed", recording=load_recording(run).digest, rescale_gradients=arm == "fixed")
    return Job(directory, name, dataclasses.replace(config, steering=steering), recording=recorded.path)


def produce(
    directory: Path, cells: Sequence[Cell], seeds: Sequence[int], arms: Sequence[str], earlier: Earlier
) -> None:
    """The runs of these arms, one after the other, seed by seed; finished ones and those of a row are kept."""
    for seed in seeds:
        for cell in cells:
            if earlier.knows(cell.key(seed), arms):
                continue
            for arm in arms:
                job = job_of(directory, cell, seed, arm)
                if job is None or is_finished(job.path):
                    continue
                started = time.perf_counter()
                run = load_run(train_run(job))
                loss, seconds = run.summary["final_loss"], time.perf_counter() - started
                print(f"{job.label:45} {run.outcome} {loss} {seconds:.0f} s", file=sys.stderr, flush=True)


def produce_all(directory: Path, earlier: Earlier) -> None:
    """The whole study: the scale-invariant model, the classic one, more seeds where they are needed, the last arm."""
    for architecture in ARCHITECTURES:
        produce(directory, _cells(architecture), range(SEEDS), ARMS[:3], earlier)
    for cell in _cells("scale-invariant"):
        for first in range(SEEDS, MAX_SEEDS, SEEDS):
            if summary(rows_of(directory, [cell], earlier))[0]["se"] <= LARGEST_STANDARD_ERROR:
                break
            produce(directory, [cell], range(first, first + SEEDS), ARMS[:3], earlier)
    for architecture in ARCHITECTURES:
        produce(directory, _cells(architecture), range(SEEDS), ARMS[3:], earlier)


def rows_of(directory: Path, cells: Sequence[Cell], earlier: Earlier) -> list[dict[str, Any]]:
    """One row per cell and seed: the final loss of each arm, None where it has none, and the differences."""
    rows = []
    for cell in cells:
        for seed in range(MAX_SEEDS):
            losses = {arm: _final_loss(job_of(directory, cell, seed, arm)) for arm in ARMS}
            known = {arm: loss for arm in ARMS if (loss := losses[arm]) is not None}
            losses |= dict(earlier.losses.get(cell.key(seed), {})) | known
            original = losses["original"]
            if original is None:
                continue
            row: dict[str, Any] = {"architecture": cell.architecture, "learning_rate": cell.learning_rate, "seed": seed}
            row |= {f"{arm}_loss": loss for arm, loss in losses.items()}
            for arm in ARMS[1:]:
                loss = losses[arm]
                row[f"{arm}_difference"] = None if loss is None else loss - original
            rows.append(row)
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per cell with what the decision rule needs, over the seeds whose fixed and twin runs are done."""
    cells = dict.fromkeys((row["architecture"], row["learning_rate"]) for row in rows)
    table = []
    for architecture, rate in cells:
        own = [row for row in rows if (row["architecture"], row["learning_rate"]) == (architecture, rate)]
        pairs = [(row["fixed_difference"], row["twin_difference"]) for row in own]
        fixed, twin = np.array([pair for pair in pairs if None not in pair], dtype=np.float64).reshape(-1, 2).T
        d, w, (difference, s) = _mean(fixed), _mean(twin), _mean(fixed - twin)
        values = (len(fixed), *d, *w, difference, s, verdict(d[0], w[0], s))
        plain = _mean(np.array([row["plain_difference"] for row in own if row["plain_difference"] is not None]))
        named = dict(zip(SUMMARY, values, strict=True))
        table.append({"architecture": architecture, "learning_rate": rate, **named})
        table[-1] |= {"plain_mean": plain[0], "plain_se": plain[1]}
    return table


def verdict(fixed: float, twin: float, standard_error: float) -> str:
    """The decision rule of the module, with d, w and s."""
    if not math.isfinite(standard_error):
        return "not-resolved"
    if abs(fixed) > abs(twin) + 2 * standard_error:
        return "differs"
    return "agrees" if standard_error <= LARGEST_STANDARD_ERROR else "not-resolved"


def read_earlier(table: Path) -> Earlier:
    """A ``replay.csv``, and the ``config.json`` beside it; an empty field is a run that was not made."""
    losses = {}
    with table.open(newline="") as file:
        for line in csv.DictReader(file):
            key = line["architecture"], float(line["learning_rate"]), int(line["seed"])
            losses[key] = {arm: float(loss) if (loss := line[f"{arm}_loss"]) else None for arm in ARMS}
    return Earlier(losses, frozenset(json.loads((table.parent / "config.json").read_text())["commits"]))


def write_tables(directory: Path, out: Path, earlier: Earlier) -> list[dict[str, Any]]:
    """``replay.csv``, ``summary.csv`` and ``config.json`` in ``out`` from what is finished; returns the summary."""
    rows = rows_of(directory, [cell for architecture in ARCHITECTURES for cell in _cells(architecture)], earlier)
    table = summary(rows)
    out.mkdir(parents=True, exist_ok=True)
    for name, content in (("replay.csv", rows), ("summary.csv", table)):
        write_whole(out / name, _csv(content).encode())
    study = {
        "original": config_to_dict(_cells(ARCHITECTURES[0])[0].original(0)),
        "architectures": ARCHITECTURES,
        "learning_rates": LEARNING_RATES,
        "seeds": sorted({row["seed"] for row in rows}),
        "twin_factor": TWIN_FACTOR,
        "commits": sorted(earlier.commits | {str(commit) for commit in _commits(directory)}),
    }
    write_whole(out / "config.json", (to_json(study, indent=2) + "\n").encode())
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(
        prog="python -m experiments.studies.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/replay-study"), help="holds the run directories")
    parser.add_argument("--out", type=Path, default=Path("docs/replay"), help="where the tables go")
    parser.add_argument("--table-only", action="store_true", help="from the finished runs; trains nothing")
    parser.add_argument("--continue", type=Path, dest="earlier", help="a replay.csv whose rows count as finished runs")
    return answer(run_study, parser.parse_args(arguments), prog=parser.prog)


def run_study(options: argparse.Namespace) -> int:
    """Produce what is missing, then write the tables."""
    earlier = read_earlier(options.earlier) if options.earlier else Earlier()
    if not options.table_only:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        import torch

        torch.set_num_threads(1)
        produce_all(options.runs, earlier)
    for row in write_tables(options.runs, options.out, earlier):
        print("  ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()))
    return 0


def _cells(architecture: Architecture) -> list[Cell]:
    return [Cell(architecture, rate) for rate in LEARNING_RATES]


def _final_loss(job: Job | None) -> float | None:
    if job is None or not is_finished(job.path):
        return None
    loss = load_run(job.path).summary["final_loss"]
    return None if loss is None else float(loss)


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; NaN without values, infinite error with one."""
    if len(values) == 0:
        return math.nan, math.inf
    error = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return float(values.mean()), error


def _commits(directory: Path) -> Iterator[object]:
    runs: list[Run] = [load_run(path.parent) for path in directory.glob("*/summary.json")]
    return (run.provenance.get("commit") for run in runs)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([{key: _cell(value) for key, value in row.items()} for row in rows])
    return buffer.getvalue()


def _cell(value: object) -> object:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value


if __name__ == "__main__":
    sys.exit(main())
