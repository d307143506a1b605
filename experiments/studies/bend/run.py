"""The study from its runs to its answers, a run at a time, as far as it is let; at the size of GPUs its plan."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.studies.bend import hardware
from experiments.studies.bend.answers import KEYS, MISSING, against_law, answers_of, fits_of, optima_of
from experiments.studies.bend.begin import begin
from experiments.studies.bend.expected import expected_of
from experiments.studies.bend.figure import draw, draw_differences
from experiments.studies.bend.first_design import tables_of_first_design
from experiments.studies.bend.halves import halves_of
from experiments.studies.bend.predictions import centres_of
from experiments.studies.bend.runs import COLUMNS, LAST_WIDTH, finished, make_runs, wanted
from experiments.studies.bend.sensitivity import sensitivity_of
from experiments.studies.bend.visible import visible_of
from experiments.studies.ensembles.many import in_ensembles
from experiments.studies.gpu.bend import run_study as plan_gpu
from experiments.studies.slices import slices_of
from experiments.studies.workplace import Findings, Workplace, read_rows


def run_study(
    place: Workplace,
    scale: str = "cpu",
    minutes: float = np.inf,
    earlier: Path | None = None,
    made: int | None = None,
    ensembles: bool = False,
    again: Sequence[Path] | None = None,
    cores: Path = Path("docs/bend/core-runs.csv"),
    expected: Path = Path("docs/bend/expected.csv"),
    angle_law: Path = Path("docs/angle-law"),
) -> Findings:
    """``config.json`` and ``predictions.csv`` before the first run; ``runs.csv`` after every run; then ``optima.csv``,
    ``answers.csv``, ``sensitivity.csv``, ``slices.csv``, ``bend.png`` and ``differences.png`` from the cells that are
    finished, the first two of the first design too, and ``halves.csv``, once all cells have run.

    scale : ``gpu`` for the plan of `experiments.studies.gpu.bend`. minutes : after which no run begins, 0 for tables of
    what there is. earlier : a ``runs.csv`` of this study, whose rows stand for their runs. made : write
    ``expected.csv``, from as many made studies, and ``visible.csv``, and train nothing. ensembles : make runs many at
    once, on a GPU if there is one. again : tables of runs that a GPU made again; write ``hardware-pairs.csv`` and
    ``hardware.csv``, the comparison with those of ``cores``, and nothing else. expected : that table, from an earlier
    call. angle_law : folder with the results of that study.
    """
    if scale == "gpu":
        return plan_gpu(place)
    if again is not None:
        place.make_folders()
        gpu = pd.concat([hardware.read_runs(file) for file in again], ignore_index=True)
        pairs = hardware.pairs_of(hardware.read_runs(cores), gpu)
        told = hardware.compared(pairs)
        for name, table in (("hardware-pairs", pairs), ("hardware", told)):
            place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
        return Findings(answers=told)
    law, predictions = begin(place, earlier, angle_law)
    if made is not None:
        found = expected_of(law, predictions, made)
        for name, table in (("expected", found), ("visible", visible_of(law))):
            place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.3g"))
        return Findings(answers=found)
    foretold = read_rows(expected, numbers=("num_made",), gaps=("value", "spread"), texts=KEYS)
    centres = centres_of(predictions)
    if ensembles:
        in_ensembles({"bend": partial(wanted, place, centres, {})}, seconds=60 * minutes)
        minutes = 0
    runs = pd.DataFrame(columns=list(COLUMNS))
    for runs in make_runs(place, centres, minutes):
        place.write("runs.csv", runs.to_csv(index=False, float_format="%.8g"))
    whole = finished(runs)
    fits = fits_of(whole)
    optima = optima_of(runs, whole, fits, predictions)
    complete = not optima[optima["width"] != LAST_WIDTH]["status"].isin(MISSING).any()
    answers = against_law(answers_of(optima, fits), foretold, complete=complete)
    of_first = tables_of_first_design(runs, centres, predictions)
    tables = {"optima": optima, "answers": answers, "sensitivity": sensitivity_of(optima), **of_first}
    tables["slices"] = pd.concat(
        [slices_of(optima, "num_params", "num_tokens"), slices_of(optima, "num_tokens", "num_params")]
    )
    tables |= {"halves": halves_of(whole, predictions)} if complete else {}
    for name, found in tables.items():
        place.write(f"{name}.csv", found.to_csv(index=False, float_format="%.5g"))
    place.write("bend.png", draw(optima, answers))
    place.write("differences.png", draw_differences(optima, answers))
    return Findings(answers=answers)
