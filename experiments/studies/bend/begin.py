"""What comes before the first run, and what is wanted then; it needs no answers, and so no Numba."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.bend.predictions import centres_of, predictions_of
from experiments.studies.bend.runs import (
    ARMS,
    BUDGET,
    GAPS,
    LENGTHS,
    NUMBERS,
    SEEDS,
    TEXTS,
    WIDTHS,
    check_earlier,
    config_of,
    wanted,
)
from experiments.studies.ensembles.tasks import Task
from experiments.studies.moved_optimum.predictions import read_law
from experiments.studies.moved_optimum.runs import plant
from experiments.studies.workplace import Workplace, read_rows
from theory.two_clocks import TwoClockLaw


def begin(place: Workplace, earlier: Path | None, angle_law: Path) -> tuple[TwoClockLaw, pd.DataFrame]:
    """Rows of an ``earlier`` table, folders, ``predictions.csv``, ``config.json``. The law, and the predictions."""
    if earlier is not None:
        table = read_rows(earlier, numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS))
        check_earlier(table)
        plant(place, table)
    place.make_folders()
    law = read_law(angle_law / "two-clocks.csv")
    predictions = predictions_of(law)
    place.write("predictions.csv", predictions.to_csv(index=False, float_format="%.5g"))
    first = [config_to_dict(config_of(arm, WIDTHS[0], LENGTHS[0], 0.01, SEEDS[0])) for arm in ARMS]
    place.write("config.json", to_json({"budget_seconds": BUDGET, "runs": first}, indent=1) + "\n")
    return law, predictions


def wishes(place: Workplace, docs: Path) -> Callable[[], list[Task]]:
    """What the study would train next, beginning with the rows and laws in a folder of the studies' results."""
    _, predictions = begin(place, docs / "bend" / "runs.csv", docs / "angle-law")
    return partial(wanted, place, centres_of(predictions), {})
