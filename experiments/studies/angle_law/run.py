"""The study from its runs, or from a table of them, to the law and the optima that it predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from experiments.studies.angle_law.answers import losses_of, optima_of
from experiments.studies.angle_law.fit import NUMBERS, Fit, cells_of, fit_law
from experiments.studies.angle_law.runs import make_runs
from experiments.studies.workplace import Findings, Workplace, read_rows

NORMAL_95 = 1.96


def run_study(place: Workplace, table: Path | None = None, same_angle: Path = Path("docs/same-angle")) -> Findings:
    """``law.csv``, ``cells.csv``, ``optima.csv`` and ``adamw-losses.csv`` in the results, and ``runs.csv`` of own runs.

    table : runs of an earlier call; nothing is trained then. same_angle : folder with ``runs.csv`` and ``answers.csv``
    of that study.
    """
    numbers = ("num_steps", "learning_rate", "seed", "loss", "mean_angle")
    others = read_rows(same_angle / "runs.csv", numbers=numbers, texts=("arm",))
    told = ("num_steps", "adamw_learning_rate")
    answers = read_rows(same_angle / "answers.csv", numbers=(), gaps=told, texts=("quantity",))
    own = make_runs(place) if table is None else read_rows(table, numbers=NUMBERS, texts=("shape",))
    place.make_folders()
    fit = fit_law(cells_of(own, others))
    optima = optima_of(fit, answers)
    for name, content in (
        ("law.csv", constants_of(fit)),
        ("cells.csv", fit.table),
        ("optima.csv", optima),
        ("adamw-losses.csv", losses_of(fit, others)),
    ):
        place.write(name, content.to_csv(index=False, float_format="%.5g"))
    return Findings(answers=optima)


def constants_of(fit: Fit) -> pd.DataFrame:
    """A row per constant with its 95 % interval, then chi^2 and its degrees of freedom."""
    spread = np.exp(NORMAL_95 * np.sqrt(np.diag(fit.covariance)))
    values = np.exp(fit.law.coordinates())
    rows: list[dict[str, object]] = [
        {"quantity": name, "value": value, "low": value / factor, "high": value * factor}
        for name, value, factor in zip(vars(fit.law), values, spread, strict=True)
    ]
    rows += [{"quantity": "chi_squared", "value": fit.chi_squared}]
    rows += [{"quantity": "degrees_of_freedom", "value": fit.degrees_of_freedom}]
    return pd.DataFrame(rows)
