"""The study from its runs to its answers, one seed of all cells at a time, as far as it is let."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.moved_optimum.predictions import SAME_ANGLE, adamh_rows
from experiments.studies.moved_optimum.runs import SEEDS, config_of, plant
from experiments.studies.rivals.answers import answers_of, values_of
from experiments.studies.rivals.figure import draw
from experiments.studies.rivals.predictions import predictions_of
from experiments.studies.rivals.runs import (
    COMPARED,
    GAPS,
    NUM_BATCHES,
    NUM_SHARPNESS_BATCHES,
    NUMBERS,
    TEXTS,
    arm_by_name,
    cell_rates,
    make_runs,
)
from experiments.studies.workplace import Findings, Workplace, read_rows


def run_study(
    place: Workplace,
    lengths: Sequence[int] = (1600,),
    seeds: int | None = None,
    earlier: Path | None = None,
    moved_optimum: Path = Path("docs/moved-optimum"),
    same_angle: Path = Path("docs/same-angle"),
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run, ``runs.csv`` after every run; then ``values.csv``,
    ``answers.csv`` and ``rivals.png``.

    lengths : of the runs that are made; others that an earlier call has finished count too. seeds : most of a cell,
    from the first one on; all by default. earlier : a ``runs.csv`` of this study, whose rows stand for their runs.
    moved_optimum, same_angle : folders with the results of those studies.
    """
    place.make_folders()
    numbers = ("num_steps", "learning_rate", "seed")
    runs = read_rows(moved_optimum / "runs.csv", numbers=numbers, texts=("arm",))
    others = adamh_rows(read_rows(same_angle / "runs.csv", numbers=SAME_ANGLE, texts=("arm",)))
    grids = pd.concat([runs, others], ignore_index=True)
    told = ("learning_rate", "error")  # none where the losses are flat
    optima = read_rows(moved_optimum / "optima.csv", numbers=("num_steps",), gaps=told, texts=("arm", "status"))
    rates = {(arm, steps): cell_rates(optima, grids, arm, steps) for steps in (1600, 3200) for arm in COMPARED}
    predictions = predictions_of(optima, rates)
    place.write("predictions.csv", predictions.to_csv(index=False, float_format="%.4g"))
    config = {
        "rates": {f"{arm}, {steps}": own for (arm, steps), own in rates.items()},
        "num_batches": NUM_BATCHES,
        "num_sharpness_batches": NUM_SHARPNESS_BATCHES,
        "runs": [config_to_dict(config_of(arm_by_name(arm), 1600, rates[arm, 1600][0], 0)) for arm in COMPARED],
    }
    place.write("config.json", to_json(config, indent=1) + "\n")
    if earlier is not None:
        plant(place, read_rows(earlier, numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS)))
    table = None
    for table in make_runs(place, rates, lengths, SEEDS[:seeds]):
        place.write("runs.csv", table.to_csv(index=False, float_format="%.8g"))
    if table is None:
        return Findings(answers=predictions)
    answers, values = answers_of(table, optima), values_of(table, optima)
    for name, found in (("values", values), ("answers", answers)):
        place.write(f"{name}.csv", found.to_csv(index=False, float_format="%.4g"))
    place.write("rivals.png", draw(table, optima, answers))
    return Findings(answers=answers)
