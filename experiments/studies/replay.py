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

Rows of an earlier table (the option ``earlier``) stand for the runs they came from, which need not be there any more.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.files import BadInput, csv_text, one_line, open_regular, read_json, to_json
from experiments.runs.configs import config_to_dict
from experiments.runs.local import run_jobs
from experiments.runs.produce import Job, load_recording
from experiments.runs.run_directory import is_finished
from experiments.runs.run_files import Run, load_run
from experiments.studies.workplace import Findings, Workplace
from experiments.tables.numbers import LARGEST
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
class ReplaySetting:
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


def job_of(directory: Path, setting: ReplaySetting, seed: int, arm: str) -> Job | None:
    """The run of one arm; None for a replay whose original is not finished (or diverged: nothing to replay)."""
    original = setting.original(seed)
    name = f"{setting.architecture}-lr{setting.learning_rate:g}-seed{seed}-{arm}"
    recorded = Job(directory, f"{setting.architecture}-lr{setting.learning_rate:g}-seed{seed}-original", original)
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
    place: Workplace, settings: Sequence[ReplaySetting], seeds: Sequence[int], arms: Sequence[str], earlier: Earlier
) -> None:
    """The runs of these arms, originals before what replays them; finished ones and those of a row are kept."""
    wanted = [(setting, seed) for seed in seeds for setting in settings if not earlier.knows(setting.key(seed), arms)]
    for stage in (arms[:1], arms[1:]):
        jobs = [job_of(place.runs, setting, seed, arm) for setting, seed in wanted for arm in stage]
        run_jobs([job for job in jobs if job is not None], num_workers=place.num_workers)


def produce_all(place: Workplace, earlier: Earlier) -> None:
    """The whole study: the scale-invariant model, the classic one, more seeds where they are needed, the last arm."""
    for architecture in ARCHITECTURES:
        produce(place, _settings(architecture), range(SEEDS), ARMS[:3], earlier)
    for setting in _settings("scale-invariant"):
        for first in range(SEEDS, MAX_SEEDS, SEEDS):
            if summary(rows_of(place.runs, [setting], earlier))[0]["se"] <= LARGEST_STANDARD_ERROR:
                break
            produce(place, [setting], range(first, first + SEEDS), ARMS[:3], earlier)
    for architecture in ARCHITECTURES:
        produce(place, _settings(architecture), range(SEEDS), ARMS[3:], earlier)


def rows_of(directory: Path, settings: Sequence[ReplaySetting], earlier: Earlier) -> list[dict[str, Any]]:
    """One row per cell and seed: the final loss of each arm, None where it has none, and the differences."""
    rows = []
    for setting in settings:
        for seed in range(MAX_SEEDS):
            losses = {arm: _final_loss(job_of(directory, setting, seed, arm)) for arm in ARMS}
            known = {arm: loss for arm in ARMS if (loss := losses[arm]) is not None}
            losses |= dict(earlier.losses.get(setting.key(seed), {})) | known
            original = losses["original"]
            if original is None:
                continue
            row: dict[str, Any] = {
                "architecture": setting.architecture,
                "learning_rate": setting.learning_rate,
                "seed": seed,
            }
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
    """A ``replay.csv``, and the ``config.json`` beside it; an empty field is a run that was not made.

    Raises `BadInput` for files that are something else.
    """
    losses = {}
    try:
        with io.TextIOWrapper(open_regular(table), encoding="utf-8", newline="") as file:
            for line in csv.DictReader(file):
                key = line["architecture"], float(line["learning_rate"]), int(line["seed"])
                losses[key] = {arm: _loss_of(line[f"{arm}_loss"]) for arm in ARMS}
        commits = read_json(table.parent / "config.json")["commits"]
        if not isinstance(commits, list) or not all(isinstance(commit, str) for commit in commits):
            raise ValueError("commits is not a list of names")
    except BadInput:
        raise
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise BadInput(f"{table}: not a table of this study with its config.json ({one_line(error)})") from None
    return Earlier(losses, frozenset(commits))


def _loss_of(cell: str) -> float | None:
    """Of a finished run, finite or not a number where it diverged; None for an empty cell."""
    loss = float(cell) if cell else None
    if loss is not None and abs(loss) > LARGEST:
        raise ValueError(f"a loss of {loss:g}")
    return loss


def run_study(place: Workplace, earlier: Path | None = None, table_only: bool = False) -> Findings:
    """What is missing of the runs, then ``replay.csv``, ``summary.csv`` and ``config.json``; the summary is the answer.

    ``earlier`` is a ``replay.csv`` whose rows count as finished runs; ``table_only`` trains nothing.
    """
    known = Earlier() if earlier is None else read_earlier(earlier)
    place.make_folders()
    if not table_only:
        produce_all(place, known)
    rows = rows_of(place.runs, [setting for each in ARCHITECTURES for setting in _settings(each)], known)
    table = summary(rows)
    for name, content in (("replay.csv", rows), ("summary.csv", table)):
        place.write(name, csv_text([{key: _known(value) for key, value in row.items()} for row in content]))
    config = {
        "original": config_to_dict(_settings(ARCHITECTURES[0])[0].original(0)),
        "architectures": ARCHITECTURES,
        "learning_rates": LEARNING_RATES,
        "seeds": sorted({row["seed"] for row in rows}),
        "twin_factor": TWIN_FACTOR,
        "commits": sorted(known.commits | {str(commit) for commit in _commits(place.runs)}),
    }
    place.write("config.json", to_json(config, indent=2) + "\n")
    return Findings(answers=pd.DataFrame(table))


def _settings(architecture: Architecture) -> list[ReplaySetting]:
    return [ReplaySetting(architecture, rate) for rate in LEARNING_RATES]


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


def _known(value: object) -> object:
    """None, an empty field, for what is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
