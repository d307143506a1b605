"""The study from its runs to its tables and its map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from experiments.agreement.matrix_networks import FEED_FORWARD
from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.held_out.readings import predictions_of
from experiments.studies.held_out.runs import COLUMNS, rows_of
from experiments.studies.transient_length.answers import answers_of, settings_of
from experiments.studies.transient_length.figure import draw
from experiments.studies.transient_length.runs import SETTINGS, Chosen
from experiments.studies.workplace import Findings, Workplace
from gpt.config import Architecture, TrainConfig
from theory import radial

Settings = Mapping[Architecture, Sequence[Chosen]]
FIGURES: Mapping[str, Callable[[pd.DataFrame], bytes]] = {"transient_length.png": draw}


def run_study(
    place: Workplace,
    make: Callable[[TrainConfig], pd.DataFrame] = rows_of,
    settings_by: Settings = SETTINGS,
    figures: Mapping[str, Callable[[pd.DataFrame], bytes]] = FIGURES,
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; ``settings.csv``, ``answers.csv`` and ``figures``
    after the last. One CSV file of records per run."""
    chosen = [one for settings in settings_by.values() for one in settings]
    configs = [one.config for one in chosen]
    place.make_folders()
    place.write("config.json", to_json([config_to_dict(config) for config in configs], indent=1) + "\n")
    place.write("predictions.csv", registered_predictions(settings_by).to_csv(index=False, float_format="%.5g"))
    settings = settings_of(
        chosen, place.run_tables(configs, make, numbers=COLUMNS[2:3], gaps=COLUMNS[3:], texts=COLUMNS[:2])
    )
    answers = answers_of(settings)
    for name, table in (("settings", settings), ("answers", answers)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
    for name, drawn in figures.items():
        place.write(name, drawn(settings))
    return Findings(answers=answers, passed=bool(answers["met"].dropna().all()))


def registered_predictions(settings_by: Settings = SETTINGS) -> pd.DataFrame:
    """The first prediction and white noise, by setting and kind of matrix."""
    kinds = {"scale-invariant": (FEED_FORWARD,), "gpt2": tuple(radial.KINDS)}
    tables = [predictions_of([one.config for one in settings_by[name]], kinds[name]) for name in settings_by]
    return pd.concat(tables, ignore_index=True)
