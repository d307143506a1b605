"""The study from its runs, or from a table of them, to its answers."""

from __future__ import annotations

from pathlib import Path

from experiments.studies.same_angle import answers, figure
from experiments.studies.same_angle.study import study
from experiments.studies.swept import run_swept
from experiments.studies.workplace import Findings, Workplace, read_rows


def run_study(place: Workplace, table: Path | None = None) -> Findings:
    """``study.json``, ``runs.csv``, ``answers.csv`` and ``same-angle.png`` in the results.

    ``table`` is answered in place of the study's own runs; nothing is trained then, and only answers and figure are
    written.
    """
    if table is None:
        runs = run_swept(study(), place)
    else:
        runs = read_rows(table, numbers=answers.NUMBERS, gaps=answers.GAPS, texts=("arm",))
        place.make_folders()
    found = answers.answers_of(runs)
    drawn = figure.draw(runs)
    place.write("answers.csv", found.to_csv(index=False, float_format="%.5g"))
    place.write("same-angle.png", drawn)
    return Findings(answers=found)
