"""Studies whose runs are those of a sweep: all runs, their table, and the verdicts of `lrbend fit` on it."""

from __future__ import annotations

import pandas as pd

from experiments.bend.fit import fit_bend
from experiments.bend.mean_angle import AngleOf
from experiments.files import BadInput
from experiments.runs.local import try_jobs
from experiments.studies.bend_rows import bend_rows
from experiments.studies.workplace import Findings, Workplace
from experiments.sweeps.study import Study
from experiments.sweeps.sweep import STUDY_FILE, sweep


def run_swept(study: Study, place: Workplace) -> pd.DataFrame:
    """All runs of the study, as `lrbend sweep` makes them, and their table.

    ``study.json`` and ``runs.csv`` go into the results. Raises `BadInput` if a run failed; the others are kept.
    """
    place.make_folders()

    result = sweep(study, place.runs, lambda jobs: try_jobs(jobs, num_workers=place.num_workers))
    if result.faults:
        others = len(result.faults) - 1
        raise BadInput(result.faults[0] + (f" (and {others} more runs failed)" if others else ""))
    place.write(STUDY_FILE, (place.runs / STUDY_FILE).read_bytes())
    place.write("runs.csv", result.table.read_bytes())
    return pd.read_csv(result.table)


def judge_bend(study: Study, place: Workplace, effective: AngleOf | None = None) -> Findings:
    """The study answered by `experiments.bend.fit.fit_bend`: a row per optimizer and axis in ``answers.csv``.

    ``effective`` adds rows in mean angle per step, the effective learning rate.
    """
    found = []
    for group in fit_bend(run_swept(study, place), sensitivity=False, effective=effective).groups:
        tables = [bend_rows(group, "learning rate")]
        if group.effective is not None:
            tables.append(bend_rows(group.effective, "mean angle"))
        found += [table.assign(optimizer=group.optimizer) for table in tables]
    answers = pd.concat(found, ignore_index=True)
    answers.insert(0, "optimizer", answers.pop("optimizer"))
    place.write("answers.csv", answers.to_csv(index=False, float_format="%.5g"))
    return Findings(answers=answers)
