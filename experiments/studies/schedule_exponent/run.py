"""The study from its runs to its answers, a cell at a time, as far as it is let."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.moved_optimum.answers import optima_of
from experiments.studies.moved_optimum.predictions import SAME_ANGLE, adamh_rows, predictions_of, read_law
from experiments.studies.moved_optimum.runs import (
    COLUMNS,
    GAPS,
    NUMBERS,
    SEEDS,
    TEXTS,
    config_of,
    make_cell,
    plant,
)
from experiments.studies.schedule_exponent.answers import ARMS, LENGTHS, answers_of
from experiments.studies.schedule_exponent.figure import draw
from experiments.studies.workplace import Findings, Workplace, read_rows


def run_study(
    place: Workplace,
    lengths: Sequence[int] = LENGTHS,
    earlier: Path | None = None,
    same_angle: Path = Path("docs/same-angle"),
    angle_law: Path = Path("docs/angle-law"),
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; ``runs.csv`` after every cell; then ``optima.csv``,
    ``answers.csv`` and ``schedule_exponent.png``. Parameters as in `experiments.studies.moved_optimum.run`."""
    place.make_folders()
    predictions = predictions_of(read_law(angle_law / "two-clocks.csv"), ARMS, LENGTHS)
    place.write("predictions.csv", predictions.to_csv(index=False, float_format="%.5g"))
    first = [config_of(arm, LENGTHS[0], 0.01, SEEDS[0]) for arm in ARMS]
    place.write("config.json", to_json([config_to_dict(config) for config in first], indent=1) + "\n")
    others = adamh_rows(read_rows(same_angle / "runs.csv", numbers=SAME_ANGLE, texts=("arm",)))
    if earlier is not None:
        plant(place, read_rows(earlier, numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS)))
    tables = []
    for row in predictions.to_dict("records"):
        arm = next(one for one in ARMS if one.name == row["arm"])
        if row["num_steps"] not in arm.lengths:
            continue
        cell = make_cell(place, arm, row["num_steps"], row["centre"], train=row["num_steps"] in lengths)
        if cell is not None:
            tables.append(cell)
            place.write("runs.csv", pd.concat(tables)[list(COLUMNS)].to_csv(index=False, float_format="%.8g"))
    runs = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))
    optima = optima_of(runs, others, predictions)
    answers = answers_of(optima)
    for name, table in (("optima", optima), ("answers", answers)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("schedule_exponent.png", draw(pd.concat([runs, others], ignore_index=True), optima, predictions))
    return Findings(answers=answers)
