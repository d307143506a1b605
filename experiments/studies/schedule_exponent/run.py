"""The study from its runs to its answers, a cell at a time, as far as it is let."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.studies.angle_law.answers import RATES
from experiments.studies.ensembles.many import in_ensembles
from experiments.studies.ensembles.tasks import Task
from experiments.studies.moved_optimum.answers import optima_of
from experiments.studies.moved_optimum.predictions import angles_of, read_constants
from experiments.studies.moved_optimum.run import begin
from experiments.studies.moved_optimum.runs import make_cells, wanted_of_cells
from experiments.studies.schedule_exponent.answers import ARMS, LENGTHS, answers_of
from experiments.studies.schedule_exponent.figure import draw
from experiments.studies.workplace import Findings, Workplace
from theory.final_loss import best_learning_rate
from theory.two_angles import TwoAngleLaw


def run_study(
    place: Workplace,
    lengths: Sequence[int] = LENGTHS,
    earlier: Path | None = None,
    ensembles: bool = False,
    same_angle: Path = Path("docs/same-angle"),
    angle_law: Path = Path("docs/angle-law"),
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; ``runs.csv`` after every cell; then ``optima.csv``,
    ``answers.csv`` and ``schedule_exponent.png``, and ``two-angles.csv``, which no rule judges.

    Parameters as in `experiments.studies.moved_optimum.run`.
    """
    predictions, others = begin(place, ARMS, LENGTHS, angle_law, same_angle, earlier)
    if ensembles:
        in_ensembles({"schedule-exponent": partial(wanted_of_cells, place, predictions, ARMS, lengths)})
    runs = make_cells(place, predictions, ARMS, lengths, [])
    optima = optima_of(runs, others, predictions)
    answers = answers_of(optima)
    for name, table in (("optima", optima), ("answers", answers)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("schedule_exponent.png", draw(pd.concat([runs, others], ignore_index=True), optima, predictions))
    later = optima_by(read_constants(angle_law / "law.csv", TwoAngleLaw))
    place.write("two-angles.csv", later.to_csv(index=False, float_format="%.5g"))
    return Findings(answers=answers)


def optima_by(law: TwoAngleLaw) -> pd.DataFrame:
    """A row per arm and length: the best rate and the least loss by a law that was fitted to these runs, but for those
    of 6,400 steps."""
    rows = []
    for arm in ARMS:
        for num_steps in LENGTHS:
            angles, clock = angles_of(arm, RATES, num_steps), arm.scheduled(num_steps).multipliers()
            rate, loss = best_learning_rate(law, RATES, angles, clock)
            rows.append({"arm": arm.name, "num_steps": num_steps, "learning_rate": rate, "best_loss": loss})
    return pd.DataFrame(rows)


def wishes(place: Workplace, docs: Path) -> Callable[[], list[Task]]:
    """What the study would train next, beginning with the rows and laws in a folder of the studies' results."""
    earlier = docs / "schedule-exponent" / "runs.csv"
    predictions, _ = begin(place, ARMS, LENGTHS, docs / "angle-law", docs / "same-angle", earlier)
    return partial(wanted_of_cells, place, predictions, ARMS, LENGTHS)
