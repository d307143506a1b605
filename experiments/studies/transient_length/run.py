"""The study from its runs to its tables and its map."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from experiments.agreement.matrix_networks import FEED_FORWARD
from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.held_out.readings import predictions_of
from experiments.studies.held_out.runs import COLUMNS, rows_of
from experiments.studies.transient_length.answers import answers_of, settings_of
from experiments.studies.transient_length.figure import draw
from experiments.studies.transient_length.runs import SETTINGS
from experiments.studies.workplace import Findings, Workplace
from gpt.config import TrainConfig
from theory import radial


def run_study(place: Workplace, make: Callable[[TrainConfig], pd.DataFrame] = rows_of) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; ``settings.csv``, ``answers.csv`` and
    ``transient_length.png`` after the last. One CSV file of records per run."""
    chosen = [one for settings in SETTINGS.values() for one in settings]
    configs = [one.config for one in chosen]
    place.make_folders()
    place.write("config.json", to_json([config_to_dict(config) for config in configs], indent=1) + "\n")
    place.write("predictions.csv", registered_predictions().to_csv(index=False, float_format="%.5g"))
    settings = settings_of(
        chosen, place.run_tables(configs, make, numbers=COLUMNS[2:3], gaps=COLUMNS[3:], texts=COLUMNS[:2])
    )
    answers = answers_of(settings)
    for name, table in (("settings", settings), ("answers", answers)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
    place.write("transient_length.png", draw(settings))
    return Findings(answers=answers, passed=bool(answers["met"].dropna().all()))


def registered_predictions() -> pd.DataFrame:
    """The first prediction and white noise, by setting and kind of matrix."""
    kinds = {"scale-invariant": (FEED_FORWARD,), "gpt2": tuple(radial.KINDS)}
    tables = [predictions_of([one.config for one in SETTINGS[name]], kinds[name]) for name in SETTINGS]
    return pd.concat(tables, ignore_index=True)
