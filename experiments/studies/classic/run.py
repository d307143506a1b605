"""The study from its runs to its answers, as far as it is let."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.classic.answers import answers_of, measured_optima
from experiments.studies.classic.figure import draw
from experiments.studies.classic.predictions import predictions_of
from experiments.studies.classic.runs import GROUPS, LENGTHS, SEEDS, STEERED, make_runs, wanted
from experiments.studies.ensembles.many import in_ensembles
from experiments.studies.ensembles.tasks import Task
from experiments.studies.moved_optimum.predictions import read_law
from experiments.studies.moved_optimum.runs import GAPS, NUMBERS, TEXTS, plant
from experiments.studies.workplace import Findings, Workplace, read_rows


def run_study(
    place: Workplace,
    lengths: Sequence[int] = LENGTHS,
    earlier: Path | None = None,
    ensembles: bool = False,
    angle_law: Path = Path("docs/angle-law"),
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run, ``runs.csv`` after every group of runs; then
    ``optima.csv``, ``answers.csv`` and ``classic.png``.

    lengths : of the runs that are made; others that an earlier call has finished count too. earlier : a ``runs.csv`` of
    this study, whose rows stand for their runs. ensembles : make runs many at once, on a GPU if there is one.
    angle_law : folder with the results of that study.
    """
    place.make_folders()
    predictions = predictions_of(read_law(angle_law / "two-clocks.csv"))
    place.write("predictions.csv", predictions.to_csv(index=False, float_format="%.5g"))
    config = {
        "steered": {name: {"angles": angles, "norm": norm} for name, (angles, norm) in STEERED.items()},
        "runs": [config_to_dict(group.config(LENGTHS[0], group.centre, SEEDS[0])) for group in GROUPS],
    }
    place.write("config.json", to_json(config, indent=1) + "\n")
    if earlier is not None:
        plant_earlier(place, earlier)
    if ensembles:
        in_ensembles({"classic": partial(wanted, place, lengths)})
    runs = None
    for runs in make_runs(place, lengths):
        place.write("runs.csv", runs.to_csv(index=False, float_format="%.8g"))
    if runs is None:
        return Findings(answers=predictions)
    optima = measured_optima(runs, predictions)
    answers = answers_of(runs, optima)
    for name, table in (("optima", optima), ("answers", answers)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("classic.png", draw(runs, optima, answers))
    return Findings(answers=answers)


def plant_earlier(place: Workplace, earlier: Path) -> None:
    """The rows of a ``runs.csv`` of this study stand for their runs. Raises `BadInput`."""
    plant(place, read_rows(earlier, numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS)))


def wishes(place: Workplace, docs: Path) -> Callable[[], list[Task]]:
    """What the study would train next, beginning with the rows in a folder of the studies' results."""
    plant_earlier(place, docs / "classic" / "runs.csv")
    return partial(wanted, place)
