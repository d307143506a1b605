"""The study's settings, which are not to be changed any more, through the code of the study before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pandas as pd

from experiments.studies.held_out.runs import Setting, rows_of
from experiments.studies.transient_domain.figure import draw
from experiments.studies.transient_length import run as length
from experiments.studies.transient_length.runs import ABOVE, BELOW, Chosen
from experiments.studies.workplace import Findings, Workplace
from gpt.config import Architecture, TrainConfig

RATES: dict[Architecture, tuple[float, ...]] = {
    "scale-invariant": (0.006, 0.012, 0.024, 0.048),
    "gpt2": (0.002, 0.004, 0.008, 0.016),
}
INDEPENDENT_DECAYS = (0.0005, 0.001, 0.002)  # rate x decay
BETAS = ((0.9, 0.95), (0.9, 0.98))
WIDTH, NUM_RELAXATIONS = 48, 3


def chosen(architecture: Architecture) -> list[Chosen]:
    """All settings of an architecture, constant rates first."""
    found = []
    for i, rate in enumerate(RATES[architecture]):
        for j, product in enumerate(INDEPENDENT_DECAYS):
            for k, betas in enumerate(BETAS):
                start = BELOW if (i // 2 + j) % 2 == 0 else ABOVE
                setting = _setting(rate, product, betas, "constant", start)
                found.append(Chosen(architecture, setting, (i + j + k) % 2 == 1))
    for i, rate in enumerate(RATES[architecture]):
        for k, betas in enumerate(BETAS):
            product, start = INDEPENDENT_DECAYS[(i + k) % 3], (ABOVE, BELOW)[(i + k) % 2]
            setting = _setting(rate, product, betas, "wsd", start)
            found.append(Chosen(architecture, setting, (i // 2 + k) % 2 == 1))
    return found


def _setting(
    rate: float, product: float, betas: tuple[float, float], schedule: Literal["constant", "wsd"], start: float
) -> Setting:
    decay, num_steps = float(f"{product / rate:.4g}"), round(NUM_RELAXATIONS / (2 * product))
    return Setting(WIDTH, rate, decay, *betas, schedule, num_steps, start, 16)


SETTINGS: dict[Architecture, list[Chosen]] = {name: chosen(name) for name in RATES}


def run_study(place: Workplace, make: Callable[[TrainConfig], pd.DataFrame] = rows_of) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; ``settings.csv``, ``answers.csv`` and
    ``transient_domain.png`` after the last. One CSV file of records per run."""
    return length.run_study(place, make, SETTINGS, {"transient_domain.png": draw})
