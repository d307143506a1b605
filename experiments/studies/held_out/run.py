"""The study from its runs to its tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from experiments.agreement.matrix_networks import FEED_FORWARD
from experiments.files import to_json
from experiments.reports.png import png_bytes
from experiments.runs.configs import config_to_dict
from experiments.studies.held_out.answers import TARGETS, answers_of, settings_of
from experiments.studies.held_out.causes import by_setting, causes_of
from experiments.studies.held_out.readings import predictions_of, readings_of
from experiments.studies.held_out.runs import COLUMNS, SETTINGS, configs, rows_of
from experiments.studies.workplace import Findings, Workplace
from gpt.config import Architecture, TrainConfig
from theory import radial


def registered_predictions() -> pd.DataFrame:
    """Of all settings, by kind of matrix for gpt2."""
    kinds: dict[Architecture, tuple[str, ...]] = {"scale-invariant": (FEED_FORWARD,), "gpt2": tuple(radial.KINDS)}
    return pd.concat([predictions_of(configs(a), kinds[a]) for a in get_args(Architecture)], ignore_index=True)


def run_study(place: Workplace, make: Callable[[TrainConfig], pd.DataFrame] = rows_of) -> Findings:
    """One CSV file per run; ``config.json`` and ``predictions.csv`` before the first of them, ``matrices.csv``,
    ``settings.csv``, ``answers.csv``, ``causes.csv`` and ``held_out.png`` after the last."""
    chosen = [config for architecture in SETTINGS for config in configs(architecture)]
    place.make_folders()
    place.write("config.json", to_json([config_to_dict(config) for config in chosen], indent=1) + "\n")
    place.write("predictions.csv", registered_predictions().to_csv(index=False, float_format="%.5g"))
    tables = place.run_tables(chosen, make, numbers=COLUMNS[2:], texts=COLUMNS[:2])
    readings = pd.concat([readings_of(c, rows) for c, rows in zip(chosen, tables, strict=True)], ignore_index=True)
    settings = settings_of(readings)
    answers = answers_of(settings, {architecture: len(each) for architecture, each in SETTINGS.items()})
    causes = by_setting(pd.concat([causes_of(c, rows) for c, rows in zip(chosen, tables, strict=True)]))
    for name, table in (("matrices", readings), ("settings", settings), ("answers", answers), ("causes", causes)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.4g"))
    place.write("held_out.png", draw(settings))
    return Findings(answers=answers, passed=bool(answers["met"].dropna().all()))


def draw(settings: pd.DataFrame) -> bytes:
    """Errors of the settings' medians by architecture, of the theory and of white noise, with targets; a PNG. Errors
    above 1 are drawn at 1."""
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", width_ratios=(4, 3, 3))
    judged = settings[settings["group"] == "judged"]
    for panel, (architecture, targets) in zip(panels, TARGETS.items(), strict=False):
        found = judged[judged["architecture"] == architecture]
        for place, (quantity, target) in enumerate(targets.items()):
            panel.fill_between([place - 0.4, place + 0.4], -target, target, color="0.9", zorder=0)
            for source, offset, style in (("predicted", -0.15, "ko"), ("white_noise", 0.15, "C1x")):
                errors = found[f"{quantity}_error_{source}"].clip(-1, 1)
                across = place + offset + np.linspace(-0.08, 0.08, len(errors))
                name = source.replace("_", " ")
                panel.plot(across, errors, style, ms=4, label=name if place == 0 else None)
        panel.axhline(0, color="0.6", lw=0.8)
        panel.set_xticks(range(len(targets)), [q.replace("_", "\n") for q in targets], fontsize=8)
        panel.set(title=architecture, ylabel="measured / predicted - 1, medians of settings", ylim=(-0.8, 1.05))
        panel.legend(fontsize=8, frameon=False)
    found = judged[judged["architecture"] == "scale-invariant"]
    for source, style in (("predicted", "ko"), ("white_noise", "C1x")):
        panels[2].plot(found[f"first_passage_{source}"], found["first_passage"], style, ms=4)
    ends = np.array([found["first_passage"].min(), found["first_passage"].max()])
    panels[2].plot(ends, ends, color="0.6", lw=0.8)
    panels[2].set(xscale="log", yscale="log", title="scale-invariant", xlabel="predicted first passage (steps)")
    panels[2].set_ylabel("measured")
    for axis in (panels[2].xaxis, panels[2].yaxis):
        axis.set_major_locator(FixedLocator([60, 100, 200, 400, 700]))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_locator(NullLocator())
    return png_bytes(figure, dpi=120)
