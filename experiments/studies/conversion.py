"""Does AdamH end where AdamW ends, under the schedule that `theory.conversion` makes of it?

Question. A conversion promises equal angles from the theory of white noise alone: learning rates, decay, betas and the
initial RMS. Is that enough for equal losses in a real network?

Hypothesis. In a model that is exactly scale-invariant, with all block matrices at one initial RMS, AdamH under the
converted schedule ends as close to AdamW as AdamW ends to itself when it is run again.

Method. ``cpu-16``, float64, AdamW under a cosine of 300 steps with a warmup of 15, in two settings: "fast", learning
rate 0.02 and decay 0.25, the matrices start at a RMS of 0.05, a quarter of their equilibrium; "calm", 0.005 and 0.5,
start at 0.03, under a half. Most of both is transient. The second was added when the first had been seen: there a rerun
moves the loss by 0.04, more than any arm does, so that it tells nothing apart. Everything else is trained alike in all
arms, which share seed and data:

    adamw        the run
    twin         the run with its initial weights multiplied by 1 + 1e-6: what the smallest change can do
    converted    AdamH, schedule of its matrices from the theory, nothing measured
    measured     AdamH, schedule from the angles of the run, averaged over its matrices: what perfect prediction of one
                 schedule for all matrices would give
    unconverted  AdamH at the rate of AdamW's equilibrium, under AdamW's schedule: what a rule for rates alone gives

Decision rule, written before the runs. The noise of a rerun is the root mean square over seeds of (twin - adamw), or,
where that is smaller, the standard deviation of adamw's final loss over seeds divided by the root of their number: a
mean over seeds cannot be told from that of other seeds any better. Let d be the size of the mean over seeds of
(arm - adamw), and s its standard error. An arm ``agrees`` if d is at most twice the noise, ``differs`` if d - 2 s is
above it, else it is ``not-resolved``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from experiments.files import csv_text, to_json
from experiments.runs.configs import config_to_dict
from experiments.runs.local import run_jobs
from experiments.runs.produce import Job
from experiments.runs.run_files import Run, load_run
from experiments.studies.workplace import Findings, Workplace
from gpt.arms import converted
from gpt.config import TrainConfig, preset
from theory import AdamH, AdamW, Cosine, adamh

SEEDS = range(5)
SETTINGS = {"fast": (0.02, 0.25, 0.05), "calm": (0.005, 0.5, 0.03)}  # learning rate, decay, initial RMS
TWIN_FACTOR = 1 + 1e-6
ARMS = ("twin", "converted", "measured", "unconverted")


def original(seed: int, setting: str = "fast", *, num_steps: int = 300, warmup_steps: int = 15) -> TrainConfig:
    rate, decay, rms = SETTINGS[setting]
    return TrainConfig(
        model=preset("cpu-16", "scale-invariant"),
        optimizer=AdamW(learning_rate=rate, weight_decay=decay),
        non_matrix_learning_rate=1e-2,
        schedule=Cosine(num_steps=num_steps, warmup_steps=warmup_steps),
        batch_size=8,
        seed=seed,
        dtype="float64",
        device="cpu",
        record_every=1,
        block_rms=rms,
    )


def arms_of(config: TrainConfig, recorded: Run) -> dict[str, TrainConfig]:
    """The other arms of a run, by name."""
    spec = config.optimizer
    assert isinstance(spec, AdamW)
    target = AdamH(learning_rate=1e-3, beta1=spec.beta1, beta2=spec.beta2, eps=spec.eps)
    rate = float(adamh.matching_learning_rate(1 - spec.learning_rate * spec.weight_decay, spec.beta1))
    config = dataclasses.replace(config, record_every=10)
    return {
        "twin": dataclasses.replace(config, initial_factor=TWIN_FACTOR),
        "converted": converted(config, target),
        "measured": converted(config, target, recorded.trajectory.angular_update.mean(axis=1)),
        "unconverted": dataclasses.replace(config, optimizer=dataclasses.replace(target, learning_rate=rate)),
    }


def run_study(place: Workplace) -> Findings:
    """The runs that are missing, then ``losses.csv``, ``answers.csv`` and ``config.json``."""
    place.make_folders()
    rows = [row for setting in SETTINGS for row in rows_of(place, setting)]
    answers = [row for setting in SETTINGS for row in answers_of([one for one in rows if one["setting"] == setting])]
    place.write("losses.csv", csv_text(rows))
    place.write("answers.csv", csv_text(answers))
    originals = {setting: config_to_dict(original(0, setting)) for setting in SETTINGS}
    config = {"originals": originals, "seeds": list(SEEDS), "twin_factor": TWIN_FACTOR}
    place.write("config.json", to_json(config, indent=2) + "\n")
    passed = all(row["verdict"] == "agrees" for row in answers if row["arm"] == "converted")
    return Findings(answers=pd.DataFrame(answers), passed=passed)


def rows_of(place: Workplace, setting: str) -> list[dict[str, Any]]:
    """A row per seed: final losses of the arms, and their angles over those of the original."""
    originals = [Job(place.runs, f"{setting}-adamw-seed{seed}", original(seed, setting)) for seed in SEEDS]
    run_jobs(originals, num_workers=place.num_workers)
    recorded = [load_run(job.path) for job in originals]
    jobs = {
        (seed, arm): Job(place.runs, f"{setting}-{arm}-seed{seed}", config)
        for seed, run in zip(SEEDS, recorded, strict=True)
        for arm, config in arms_of(original(seed, setting), run).items()
    }
    run_jobs(list(jobs.values()), num_workers=place.num_workers)
    rows: list[dict[str, Any]] = []
    for seed, run in zip(SEEDS, recorded, strict=True):
        arms = {arm: load_run(jobs[seed, arm].path) for arm in ARMS}
        losses = {arm: _loss(one) for arm, one in arms.items()}
        angles = {f"{arm}_angle": angle_ratio(one, run) for arm, one in arms.items()}
        rows.append({"setting": setting, "seed": seed, "adamw": _loss(run), **losses, **angles})
    return rows


def answers_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per arm: mean difference to adamw, its standard error, the noise of a rerun, verdict, mean angle ratio."""
    losses = {arm: np.array([row[arm] for row in rows], np.float64) for arm in ("adamw", *ARMS)}
    seeds = len(rows)
    rerun = float(np.sqrt(np.mean((losses["twin"] - losses["adamw"]) ** 2)))
    other_seeds = float(losses["adamw"].std(ddof=1)) / math.sqrt(seeds)
    noise = max(rerun, other_seeds)
    table = []
    for arm in ARMS:
        difference = losses[arm] - losses["adamw"]
        mean, error = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(seeds)
        table.append(
            {
                "setting": rows[0]["setting"],
                "arm": arm,
                "num_seeds": seeds,
                "difference": mean,
                "se": error,
                "rerun_noise": rerun,
                "seed_noise": other_seeds,
                "verdict": verdict_of(mean, error, noise),
                "angle_ratio": float(np.mean([row[f"{arm}_angle"] for row in rows])),
            }
        )
    return table


def verdict_of(difference: float, standard_error: float, noise: float) -> str:
    """The decision rule of the module."""
    if abs(difference) <= 2 * noise:
        return "agrees"
    return "differs" if abs(difference) - 2 * standard_error > noise else "not-resolved"


def angle_ratio(run: Run, original_run: Run) -> float:
    """Sum of the angles of a run over that of the original at the same steps, all matrices together."""
    kept = original_run.trajectory.at(run.trajectory.steps)
    return float(run.trajectory.angular_update.sum() / kept.angular_update.sum())


def _loss(run: Run) -> float:
    loss = run.summary["final_loss"]
    return math.nan if loss is None else float(loss)
