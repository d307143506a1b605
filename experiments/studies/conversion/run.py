"""The study from its runs to its answers, a seed at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.files import csv_text, to_json
from experiments.runs.configs import config_to_dict
from experiments.runs.local import run_jobs
from experiments.runs.produce import Job
from experiments.runs.run_files import Run, load_run
from experiments.studies.conversion.answers import answers_of
from experiments.studies.conversion.arms import SETTINGS, TWIN_FACTOR, Setting, arms_of, original
from experiments.studies.conversion.causes import causes_of
from experiments.studies.workplace import Findings, Workplace, read_rows

COLUMNS = ("setting", "seed", "arm", "loss", "angle_ratio")
Row = dict[str, Any]
Key = tuple[str, int, str]


def run_study(place: Workplace, seeds: int | None = None, earlier: Path | None = None) -> Findings:
    """The runs that are missing; ``losses.csv`` after every seed of a setting, then ``answers.csv``; ``config.json``
    before the first run, ``causes.csv`` after the last.

    seeds : most of each setting, from its first one on; all by default. earlier : a ``losses.csv`` of this study, whose
    rows stand for their runs.
    """
    place.make_folders()
    originals = {name: config_to_dict(original(setting.seeds[0], setting)) for name, setting in SETTINGS.items()}
    every = {name: list(setting.seeds) for name, setting in SETTINGS.items()}
    place.write(
        "config.json", to_json({"originals": originals, "seeds": every, "twin_factor": TWIN_FACTOR}, indent=2) + "\n"
    )
    known = {} if earlier is None else {key_of(row): row for row in rows_in(earlier)}
    answers: list[Row] = []
    for name, setting in SETTINGS.items():
        own: list[Row] = []
        for seed in setting.seeds[:seeds]:
            own += rows_of(place, name, setting, seed, known)
            known |= {key_of(row): row for row in own}
            place.write("losses.csv", csv_text(list(known.values())))
        answers += answers_of(own, setting)
        place.write("answers.csv", csv_text(answers))
    place.write("causes.csv", csv_text(causes_of(place)))
    passed = all(row["verdict"] == "agrees" for row in answers if row["arm"] == "converted") and all(
        row["borne_out"] for row in answers if row["arm"] == "converted" and row["borne_out"] is not None
    )
    return Findings(answers=pd.DataFrame(answers), passed=passed)


def rows_in(earlier: Path) -> list[Row]:
    """The rows of a ``losses.csv`` of this study. Raises `BadInput`."""
    table = read_rows(earlier, numbers=("seed", "angle_ratio"), gaps=("loss",), texts=("setting", "arm"))
    rows: list[Row] = [dict(zip(COLUMNS, row, strict=True)) for row in table[list(COLUMNS)].itertuples(index=False)]
    return [{**row, "seed": int(row["seed"])} for row in rows]


def key_of(row: Row) -> Key:
    """What tells a row from all others."""
    return row["setting"], row["seed"], row["arm"]


def rows_of(place: Workplace, name: str, setting: Setting, seed: int, known: Mapping[Key, Row]) -> list[Row]:
    """A row per arm of a seed: final loss, and angles over those of adamw; those that are ``known``, if all are."""
    names = ("adamw", *setting.arms)
    keys: list[Key] = [(name, seed, arm) for arm in names]
    if all(key in known for key in keys):
        return [known[key] for key in keys]
    config = original(seed, setting)
    (run,) = trained(place, {f"{name}-adamw-seed{seed}": config})
    arms = arms_of(config, run, setting.arms)
    runs = [run, *trained(place, {f"{name}-{arm}-seed{seed}": one for arm, one in arms.items()})]
    return [
        {"setting": name, "seed": seed, "arm": arm, "loss": _loss(one), "angle_ratio": angle_ratio(one, run)}
        for arm, one in zip(names, runs, strict=True)
    ]


def trained(place: Workplace, configs: dict[str, Any]) -> list[Run]:
    """Runs by label, those that are not finished trained first."""
    jobs = [Job(place.runs, label, config) for label, config in configs.items()]
    run_jobs(jobs, num_workers=place.num_workers)
    return [load_run(job.path) for job in jobs]


def angle_ratio(run: Run, original_run: Run) -> float:
    """Sum of the angles of a run over that of the original at the same steps, all matrices together."""
    kept = original_run.trajectory.at(run.trajectory.steps)
    return float(run.trajectory.angular_update.sum() / kept.angular_update.sum())


def _loss(run: Run) -> float:
    loss = run.summary["final_loss"]
    return math.nan if loss is None else float(loss)
