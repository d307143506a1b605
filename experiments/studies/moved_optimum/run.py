"""The study from its runs to its answers, a cell at a time, as far as it is let."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.ensembles.many import in_ensembles
from experiments.studies.ensembles.tasks import Task
from experiments.studies.moved_optimum import widths
from experiments.studies.moved_optimum.answers import answers_of, optima_of
from experiments.studies.moved_optimum.figure import draw
from experiments.studies.moved_optimum.other_fits import other_shifts
from experiments.studies.moved_optimum.predictions import SAME_ANGLE, adamh_rows, predictions_of, read_law
from experiments.studies.moved_optimum.runs import (
    ADAMH,
    ARMS,
    GAPS,
    LENGTHS,
    NUMBERS,
    SEEDS,
    TEXTS,
    Arm,
    config_of,
    make_cells,
    plant,
    run_rows,
    symmetry_configs,
    tasks_of,
    wanted_of_cells,
)
from experiments.studies.slices import exponent_differences, slices_of
from experiments.studies.workplace import Findings, Workplace, read_rows

APART = (  # whose exponents along tokens are compared
    ("start 1.6", "equilibrium"),
    ("start 14.4", "equilibrium"),
    ("start 14.4", "start 1.6"),
    ("start 1.6", ADAMH.name),
    ("equilibrium", ADAMH.name),
)


def run_study(
    place: Workplace,
    lengths: Sequence[int] = LENGTHS,
    earlier: Path | None = None,
    earlier_widths: Path | None = None,
    ensembles: bool = False,
    same_angle: Path = Path("docs/same-angle"),
    angle_law: Path = Path("docs/angle-law"),
    cores: Path = Path("docs/bend/core-runs.csv"),
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; ``runs.csv`` after every cell; then ``optima.csv``,
    ``answers.csv``, ``other-fits.csv``, ``exponents.csv`` and ``moved_optimum.png``, and the tables of
    `widths.tell_widths`.

    lengths : of the cells that are made, those of other widths with 3,200; others that an earlier call has finished
    count too. earlier : a ``runs.csv`` of this study, whose rows stand for their runs. earlier_widths : the same, a
    ``width-runs.csv``. ensembles : make runs many at once, on a GPU if there is one.
    same_angle, angle_law : folders with the results of those studies. cores : rows of runs that cores made, and that
    were made again since.
    """
    predictions, others = begin(place, ARMS, LENGTHS, angle_law, same_angle, earlier)
    if earlier_widths is not None:
        plant(place, read_rows(earlier_widths, numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS)))
    if ensembles:
        in_ensembles({"moved-optimum": partial(wanted, place, predictions, lengths)})
    symmetry = list(symmetry_configs())
    twins = run_rows(place, [config for _, config in symmetry]).assign(arm=[label for label, _ in symmetry])
    runs = make_cells(place, predictions, ARMS, lengths, [twins])
    if widths.NUM_STEPS in lengths:
        widths.make_widths(place, predictions, ensembles)
    optima = optima_of(runs, others, predictions)
    answers = answers_of(runs, optima)
    fits = other_shifts(runs, read_rows(cores, numbers=(), gaps=("loss",), texts=("run",)), predictions)
    along = slices_of(optima, "num_steps")
    exponents = pd.concat([along, pd.DataFrame(exponent_differences(along, APART))])
    for name, table in (("optima", optima), ("answers", answers), ("other-fits", fits), ("exponents", exponents)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("moved_optimum.png", draw(runs, others, optima))
    widths.tell_widths(place, predictions, optima)
    return Findings(answers=answers)


def wanted(place: Workplace, predictions: pd.DataFrame, lengths: Sequence[int] = LENGTHS) -> list[Task]:
    """What the study would train next, as far as finished runs tell."""
    twins = [config for _, config in symmetry_configs()]
    return [*tasks_of(place, twins), *wanted_of_cells(place, predictions, ARMS, lengths)]


def wishes(place: Workplace, docs: Path) -> Callable[[], list[Task]]:
    """`wanted`, beginning with the rows and laws that are in a folder of the studies' results."""
    earlier = docs / "moved-optimum" / "runs.csv"
    predictions, _ = begin(place, ARMS, LENGTHS, docs / "angle-law", docs / "same-angle", earlier)
    return partial(wanted, place, predictions)


def begin(
    place: Workplace,
    arms: Sequence[Arm],
    lengths: Sequence[int],
    angle_law: Path,
    same_angle: Path,
    earlier: Path | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What comes before the first run: folders, ``predictions.csv``, ``config.json``, rows of an ``earlier`` table.

    The predictions, and AdamH's runs of same-angle.
    """
    place.make_folders()
    predictions = predictions_of(read_law(angle_law / "two-clocks.csv"), arms, lengths)
    place.write("predictions.csv", predictions.to_csv(index=False, float_format="%.5g"))
    first = [config_of(arm, lengths[0], 0.01, SEEDS[0]) for arm in arms]
    place.write("config.json", to_json([config_to_dict(config) for config in first], indent=1) + "\n")
    others = adamh_rows(read_rows(same_angle / "runs.csv", numbers=SAME_ANGLE, texts=("arm",)))
    if earlier is not None:
        plant(place, read_rows(earlier, numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS)))
    return predictions, others
