"""Does AdamH end where AdamW ends, under the schedule that `theory.conversion` makes of it?

Question. A conversion promises equal angles from the theory of white noise alone: learning rates, decay, betas and the
initial RMS. Is that enough for equal losses in a real network?

Hypothesis. In a model that is exactly scale-invariant, with all block matrices at one initial RMS, AdamH under the
converted schedule ends as close to AdamW as AdamW ends to itself when it is run again.

Method. Everything that is no block matrix is trained alike in all arms, which share seed and data; float64. Two
settings of ``cpu-16``, a cosine of 300 steps with a warmup of 15: "fast", learning rate 0.02 and decay 0.25, the
matrices start at a RMS of 0.05, a quarter of their equilibrium; "calm", 0.005 and 0.5, start at 0.03, under a half.
Most of both is transient. The second was added when the first had been seen: there a rerun moves the loss by 0.04, more
than any arm does, so that it tells nothing apart. The arms:

    adamw        the run
    twin         the run with its initial weights multiplied by 1 + 1e-6: what the smallest change can do
    converted    AdamH, schedule of its matrices from the theory, nothing measured
    measured     AdamH, schedule from the angles of the run, averaged over its matrices: what perfect prediction of one
                 schedule for all matrices would give
    unconverted  AdamH at the rate of AdamW's equilibrium, under AdamW's schedule: what a rule for rates alone gives
    mean         AdamH under AdamW's schedule, at the rate with AdamW's mean angle in theory

Decision rule, written before the runs. The noise of a rerun is the root mean square over seeds of (twin - adamw), or,
where that is smaller, the standard deviation of adamw's final loss over seeds divided by the root of their number: a
mean over seeds cannot be told from that of other seeds any better. Let d be the size of the mean over seeds of
(arm - adamw), and s its standard error. An arm ``agrees`` if d is at most twice the noise, ``differs`` if d - 2 s is
above it, else it is ``not-resolved``.

**Power.** Neither setting can tell a wrong schedule from a right one: after them unconverted AdamH agreed as well. Two
more, registered before any of their runs was made, in which it must not. They are those of ``docs/angle-law``:
``cpu-32``, 800 steps of a line to 0 with a warmup of 40, batch 16; and its law, fitted to AdamH alone, tells from the
theory's angles what each arm should lose. "late": rate 0.02, decay 0.5, start at 2.7, twenty times the equilibrium, so
that AdamW turns little before the others have learned something. "early": 0.01, 0.1, start at 0.0223, a tenth, so that
it turns most at the beginning. Expected, arm less adamw:

    late     unconverted +0.214   mean +0.178   converted +0.003 if real angles are 15 % smaller than in theory
    early    unconverted -0.095   mean -0.058   converted -0.003 likewise (not run)

Rule for these two, beside the one above: the setting has power if the unconverted arm ``differs`` with d above 5 s,
and the conversion is borne out if in a setting with power the converted arm ``agrees`` and its d is below a fifth of
that of the unconverted arm. Five seeds, no further settings, no seeds added. "early" was not run: "late" took the time
that there was for both. It was left out before a loss of either had been seen.
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
from theory import AdamH, AdamW, Cosine, Linear, Schedule, adamh
from theory.predict import predict_trajectory

SEEDS = range(5)
TWIN_FACTOR = 1 + 1e-6
MOST_SHARE, LEAST_SIGNIFICANCE = 0.2, 5.0  # of the rule for settings with power


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What AdamW is run with. ``initial_rms`` : of every block matrix. ``arms`` : beside adamw."""

    preset: str
    batch_size: int
    learning_rate: float
    weight_decay: float
    initial_rms: float
    schedule: Schedule
    record_every: int
    arms: tuple[str, ...]
    needs_power: bool


def _short(learning_rate: float, weight_decay: float, initial_rms: float) -> Setting:
    return Setting(
        preset="cpu-16",
        batch_size=8,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        initial_rms=initial_rms,
        schedule=Cosine(num_steps=300, warmup_steps=15),
        record_every=1,
        arms=("twin", "converted", "measured", "unconverted"),
        needs_power=False,
    )


def _long(learning_rate: float, weight_decay: float, initial_rms: float) -> Setting:
    return Setting(
        preset="cpu-32",
        batch_size=16,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        initial_rms=initial_rms,
        schedule=Linear(num_steps=800, warmup_steps=40),
        record_every=10,
        arms=("twin", "converted", "unconverted", "mean"),
        needs_power=True,
    )


SETTINGS = {
    "fast": _short(0.02, 0.25, 0.05),
    "calm": _short(0.005, 0.5, 0.03),
    "late": _long(0.02, 0.5, 2.7),
}


def original(seed: int, setting: Setting) -> TrainConfig:
    return TrainConfig(
        model=preset(setting.preset, "scale-invariant"),
        optimizer=AdamW(learning_rate=setting.learning_rate, weight_decay=setting.weight_decay),
        non_matrix_learning_rate=1e-2,
        schedule=setting.schedule,
        batch_size=setting.batch_size,
        seed=seed,
        dtype="float64",
        device="cpu",
        record_every=setting.record_every,
        block_rms=setting.initial_rms,
    )


def arms_of(config: TrainConfig, recorded: Run, names: Sequence[str]) -> dict[str, TrainConfig]:
    """Arms of a run by name; ``measured`` takes a record of every step."""
    made = {"twin": _twin, "converted": _converted, "unconverted": _unconverted, "mean": _at_mean_angle}
    config = dataclasses.replace(config, record_every=10)
    return {name: _measured(config, recorded) if name == "measured" else made[name](config) for name in names}


def _twin(config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(config, initial_factor=TWIN_FACTOR)


def _converted(config: TrainConfig) -> TrainConfig:
    return converted(config, _adamh(config, 1e-3))


def _measured(config: TrainConfig, recorded: Run) -> TrainConfig:
    return converted(config, _adamh(config, 1e-3), recorded.trajectory.angular_update.mean(axis=1))


def _unconverted(config: TrainConfig) -> TrainConfig:
    return dataclasses.replace(config, optimizer=_adamh(config, _matching_rate(config)))


def _at_mean_angle(config: TrainConfig) -> TrainConfig:
    """AdamH's angle goes nearly in proportion to its rate."""
    matching = _adamh(config, _matching_rate(config))
    sums = [
        float(
            predict_trajectory(
                spec, config.schedule, initial_rms=config.block_rms or 1.0, finite_beta2=True
            ).angular_update.sum()
        )
        for spec in (config.optimizer, matching)
    ]
    return dataclasses.replace(config, optimizer=_adamh(config, matching.learning_rate * sums[0] / sums[1]))


def _adamh(config: TrainConfig, learning_rate: float) -> AdamH:
    spec = config.optimizer
    assert isinstance(spec, AdamW)
    return AdamH(learning_rate=learning_rate, beta1=spec.beta1, beta2=spec.beta2, eps=spec.eps)


def _matching_rate(config: TrainConfig) -> float:
    spec = config.optimizer
    assert isinstance(spec, AdamW)
    return float(adamh.matching_learning_rate(1 - spec.learning_rate * spec.weight_decay, spec.beta1))


def run_study(place: Workplace) -> Findings:
    """The runs that are missing, then ``losses.csv``, ``answers.csv`` and ``config.json``."""
    place.make_folders()
    rows = {name: rows_of(place, name, setting) for name, setting in SETTINGS.items()}
    answers = [row for name, setting in SETTINGS.items() for row in answers_of(rows[name], setting)]
    place.write("losses.csv", csv_text([row for of_setting in rows.values() for row in of_setting]))
    place.write("answers.csv", csv_text(answers))
    originals = {name: config_to_dict(original(0, setting)) for name, setting in SETTINGS.items()}
    config = {"originals": originals, "seeds": list(SEEDS), "twin_factor": TWIN_FACTOR}
    place.write("config.json", to_json(config, indent=2) + "\n")
    passed = all(row["verdict"] == "agrees" for row in answers if row["arm"] == "converted") and all(
        row["borne_out"] for row in answers if row["borne_out"] is not None
    )
    return Findings(answers=pd.DataFrame(answers), passed=passed)


def rows_of(place: Workplace, name: str, setting: Setting) -> list[dict[str, Any]]:
    """A row per seed and arm: final loss, and angles over those of adamw."""
    originals = [Job(place.runs, f"{name}-adamw-seed{seed}", original(seed, setting)) for seed in SEEDS]
    run_jobs(originals, num_workers=place.num_workers)
    recorded = [load_run(job.path) for job in originals]
    jobs = {
        (seed, arm): Job(place.runs, f"{name}-{arm}-seed{seed}", config)
        for seed, run in zip(SEEDS, recorded, strict=True)
        for arm, config in arms_of(original(seed, setting), run, setting.arms).items()
    }
    run_jobs(list(jobs.values()), num_workers=place.num_workers)
    rows: list[dict[str, Any]] = []
    for seed, run in zip(SEEDS, recorded, strict=True):
        arms = {"adamw": run, **{arm: load_run(jobs[seed, arm].path) for arm in setting.arms}}
        rows += [
            {"setting": name, "seed": seed, "arm": arm, "loss": _loss(one), "angle_ratio": angle_ratio(one, run)}
            for arm, one in arms.items()
        ]
    return rows


def answers_of(rows: Sequence[Mapping[str, Any]], setting: Setting) -> list[dict[str, Any]]:
    """A row per arm of one setting: mean difference to adamw, its standard error, the noise of a rerun, verdict.

    ``borne_out`` of the converted arm, where the setting is one that needs power: whether it has it and the conversion
    stands; None elsewhere.
    """

    def by_seed(arm: str, name: str = "loss") -> np.ndarray:
        return np.array([row[name] for row in rows if row["arm"] == arm], np.float64)

    adamw = by_seed("adamw")
    rerun = float(np.sqrt(np.mean((by_seed("twin") - adamw) ** 2)))
    other_seeds = float(adamw.std(ddof=1)) / math.sqrt(len(adamw))
    noise = max(rerun, other_seeds)
    table = []
    for arm in setting.arms:
        difference = by_seed(arm) - adamw
        mean, error = float(difference.mean()), float(difference.std(ddof=1)) / math.sqrt(len(adamw))
        table.append(
            {
                "setting": rows[0]["setting"],
                "arm": arm,
                "num_seeds": len(adamw),
                "difference": mean,
                "se": error,
                "rerun_noise": rerun,
                "seed_noise": other_seeds,
                "verdict": verdict_of(mean, error, noise),
                "angle_ratio": float(by_seed(arm, "angle_ratio").mean()),
                "borne_out": None,
            }
        )
    if setting.needs_power:
        found = {row["arm"]: row for row in table}
        found["converted"]["borne_out"] = _borne_out(found["converted"], found["unconverted"])
    return table


def _borne_out(right: Mapping[str, Any], wrong: Mapping[str, Any]) -> bool:
    """The rule for settings with power."""
    power = wrong["verdict"] == "differs" and abs(wrong["difference"]) > LEAST_SIGNIFICANCE * wrong["se"]
    near = abs(right["difference"]) < MOST_SHARE * abs(wrong["difference"])
    return bool(power and near and right["verdict"] == "agrees")


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
