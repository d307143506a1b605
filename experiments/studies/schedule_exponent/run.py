"""The study from its runs to its answers, a cell at a time, as far as it is let."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.studies.ensembles.many import in_ensembles
from experiments.studies.ensembles.tasks import Task
from experiments.studies.moved_optimum.answers import optima_of
from experiments.studies.moved_optimum.run import begin
from experiments.studies.moved_optimum.runs import make_cells, wanted_of_cells
from experiments.studies.schedule_exponent.answers import ARMS, LENGTHS, answers_of
from experiments.studies.schedule_exponent.figure import draw
from experiments.studies.workplace import Findings, Workplace


def run_study(
    place: Workplace,
    lengths: Sequence[int] = LENGTHS,
    earlier: Path | None = None,
    ensembles: bool = False,
    same_angle: Path = Path("docs/same-angle"),
    angle_law: Path = Path("docs/angle-law"),
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; ``runs.csv`` after every cell; then ``optima.csv``,
    ``answers.csv`` and ``schedule_exponent.png``. Parameters as in `experiments.studies.moved_optimum.run`."""
    predictions, others = begin(place, ARMS, LENGTHS, angle_law, same_angle, earlier)
    if ensembles:
        in_ensembles({"schedule-exponent": partial(wanted_of_cells, place, predictions, ARMS, lengths)})
    runs = make_cells(place, predictions, ARMS, lengths, [])
    optima = optima_of(runs, others, predictions)
    answers = answers_of(optima)
    for name, table in (("optima", optima), ("answers", answers)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("schedule_exponent.png", draw(pd.concat([runs, others], ignore_index=True), optima, predictions))
    return Findings(answers=answers)


def wishes(place: Workplace, docs: Path) -> Callable[[], list[Task]]:
    """What the study would train next, beginning with the rows and laws in a folder of the studies' results."""
    earlier = docs / "schedule-exponent" / "runs.csv"
    predictions, _ = begin(place, ARMS, LENGTHS, docs / "angle-law", docs / "same-angle", earlier)
    return partial(wanted_of_cells, place, predictions, ARMS, LENGTHS)
