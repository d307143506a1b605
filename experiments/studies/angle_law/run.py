"""The study from its runs, or from a table of them, to the law and what it predicts for AdamW."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.files import to_json
from experiments.studies.angle_law.answers import (
    DIRECTION_RATIO,
    LARGEST_LOSSES,
    LARGEST_MISS,
    answers_of,
    losses_of,
    measured_optima,
    optima_of,
)
from experiments.studies.angle_law.figure import draw_later
from experiments.studies.angle_law.fit import (
    NUMBERS,
    TWO_ANGLES,
    TWO_CLOCKS,
    Cell,
    Fit,
    at_its_lengths,
    cells_of,
    errors_of,
    fit_law,
    left_out,
    predicted,
)
from experiments.studies.angle_law.later import later_answers, later_cells, later_losses, later_optima
from experiments.studies.angle_law.runs import make_runs
from experiments.studies.workplace import Findings, Workplace, read_rows

NORMAL_95 = 1.96
ADAMW = ("num_steps", "learning_rate", "weight_decay", "initial_rms")  # of the runs whose losses are compared


def run_study(
    place: Workplace,
    table: Path | None = None,
    same_angle: Path = Path("docs/same-angle"),
    schedule_exponent: Path = Path("docs/schedule-exponent"),
    moved_optimum: Path = Path("docs/moved-optimum"),
    bend: Path = Path("docs/bend"),
) -> Findings:
    """``law.csv``, ``cells.csv``, ``left-out.csv``, ``optima.csv``, ``adamw-losses.csv``, ``answers.csv`` and
    ``config.json`` in the results, ``two-clocks.csv`` for the studies that were registered with that law,
    ``later.csv``, ``later-optima.csv``, ``later-answers.csv`` and ``later.png`` of runs that came after both, and
    ``runs.csv`` of own runs.

    table : runs of an earlier call; nothing is trained then. same_angle, schedule_exponent, moved_optimum, bend :
    folders with the results of those studies.
    """
    runs = ("num_steps", "learning_rate", "seed", "loss")
    others = read_rows(same_angle / "runs.csv", numbers=(*runs, "mean_angle", *ADAMW), texts=("arm",))
    told = ("num_steps", "adamw_learning_rate")
    answers = read_rows(same_angle / "answers.csv", numbers=(), gaps=told, texts=("quantity",))
    constant = read_rows(schedule_exponent / "runs.csv", numbers=runs, texts=("arm",))
    moved = read_rows(moved_optimum / "runs.csv", numbers=ADAMW, gaps=("loss", "mean_angle"), texts=("arm",))
    rate = "learning_rate"  # none where the losses are flat
    best = at_its_lengths(read_rows(moved_optimum / "optima.csv", numbers=("num_steps",), gaps=(rate,), texts=("arm",)))
    new = read_rows(bend / "runs.csv", numbers=("width", *runs), texts=("arm",))
    where = (rate, "low", "high", "initial_rms", "weight_decay")
    new_optima = read_rows(bend / "optima.csv", numbers=("width", "num_steps"), gaps=where, texts=("arm", "status"))
    measured = list(measured_optima(answers, best.dropna(subset=[rate])))
    own = make_runs(place) if table is None else read_rows(table, numbers=NUMBERS, texts=("shape",))
    place.make_folders()
    along_lines, cells = cells_of(own, others), cells_of(own, others, constant)
    clocks, fit = fit_law(along_lines, TWO_CLOCKS), fit_law(cells, TWO_ANGLES)
    optima = optima_of(fit, clocks.law, measured)
    laws = {"law": fit.law, "two_clocks": clocks.law}
    losses = losses_of(laws, others, moved)
    later = later_cells(new, moved, constant)
    later_table, their_optima = later_losses(later, cells, laws), later_optima(new_optima, laws)
    found = answers_of(fits_of(fit, clocks, along_lines, cells), optima, losses)
    for name, content in (
        ("law.csv", constants_of(fit)),
        ("two-clocks.csv", constants_of(clocks)),
        ("cells.csv", fit.table.assign(two_clocks=predicted(clocks.law, cells))),
        ("left-out.csv", left_out(cells, parts_of(cells), fit.law)),
        ("optima.csv", optima),
        ("adamw-losses.csv", losses),
        ("answers.csv", found),
        ("later.csv", later_table),
        ("later-optima.csv", their_optima),
        ("later-answers.csv", later_answers(later_table, their_optima, later, cells, laws)),
    ):
        place.write(name, content.to_csv(index=False, float_format="%.5g"))
    config = {
        "fitted_to": ["runs.csv", str(same_angle / "runs.csv"), str(schedule_exponent / "runs.csv")],
        "compared_with": [str(same_angle), str(moved_optimum), "the pilot", str(bend)],
        "starts": {"two_angles": vars(TWO_ANGLES), "two_clocks": vars(TWO_CLOCKS)},
        "direction_ratio": DIRECTION_RATIO,
        "largest_miss": LARGEST_MISS,
        "largest_losses": LARGEST_LOSSES,
    }
    place.write("later.png", draw_later(their_optima, fit.law))
    place.write("config.json", to_json(config, indent=1) + "\n")
    return Findings(answers=found, passed=bool((found.loc[found["law"] == "law", "verdict"] != "missed").all()))


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


def fits_of(
    fit: Fit, clocks: Fit, along_lines: Sequence[Cell], cells: Sequence[Cell]
) -> list[tuple[str, int, float, int]]:
    """Law, cells, chi^2 and degrees of freedom: of the law on all cells, of both laws along lines, of the two-clock law
    on all cells as it is and fitted to them."""
    measured = np.array([cell.losses.mean() for cell in cells])
    as_it_is = float((((predicted(clocks.law, cells) - measured) / errors_of(cells)) ** 2).sum())
    alone, again = fit_law(along_lines, fit.law), fit_law(cells, clocks.law)
    return [
        ("law", len(cells), fit.chi_squared, fit.degrees_of_freedom),
        ("law, fitted along lines", len(along_lines), alone.chi_squared, alone.degrees_of_freedom),
        ("two clocks, fitted along lines", len(along_lines), clocks.chi_squared, clocks.degrees_of_freedom),
        ("two clocks, those constants", len(cells), as_it_is, len(cells)),
        ("two clocks, fitted again", len(cells), again.chi_squared, again.degrees_of_freedom),
    ]


def parts_of(cells: Sequence[Cell]) -> dict[str, list[bool]]:
    """What is left out of the fit, by name: a shape of angles, then the shortest and the longest runs."""
    parts = {shape: [cell.shape == shape for cell in cells] for shape in dict.fromkeys(cell.shape for cell in cells)}
    lengths = [cell.num_steps for cell in cells]
    return parts | {f"{end} steps": [length == end for length in lengths] for end in (min(lengths), max(lengths))}
