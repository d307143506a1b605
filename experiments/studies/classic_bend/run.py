"""The study from its runs to its answers, as far as it is let."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.files import to_json
from experiments.runs.configs import config_to_dict
from experiments.studies.classic_bend.answers import answers_of, fits_of, optima_of
from experiments.studies.classic_bend.expected import expected_of
from experiments.studies.classic_bend.figure import draw
from experiments.studies.classic_bend.runs import (
    LENGTHS,
    OWN,
    RATES,
    cells_in_order,
    make_cells,
    read_classic,
)
from experiments.studies.classic_bend.sensitivity import sensitivity_of
from experiments.studies.moved_optimum.runs import GAPS, NUMBERS, SEEDS, TEXTS, plant
from experiments.studies.workplace import Findings, Workplace, read_rows


def run_study(
    place: Workplace,
    lengths: Sequence[int] = LENGTHS,
    earlier: Path | None = None,
    made: int | None = None,
    classic: Path = Path("docs/classic"),
) -> Findings:
    """``config.json`` before the first run, ``runs.csv`` after every cell; then ``optima.csv``, ``answers.csv``,
    ``sensitivity.csv`` and ``classic_bend.png``.

    lengths : of the runs that are made; others that an earlier call has finished count too. earlier : a ``runs.csv`` of
    this study, whose rows stand for their runs. made : write ``expected.csv``, from as many made studies, and train
    nothing. classic : folder with that study's results.
    """
    place.make_folders()
    known = read_classic(classic)
    if made is not None:
        expected = expected_of(known, made)
        place.write("expected.csv", expected.to_csv(index=False, float_format="%.3g"))
        return Findings(answers=expected)
    first = {(cell.arm.name, cell.width): cell for cell in reversed(list(cells_in_order()))}
    configs = [config_to_dict(cell.config(RATES[cell.arm.name][0], SEEDS[0])) for cell in first.values()]
    place.write("config.json", to_json(configs, indent=1) + "\n")
    if earlier is not None:
        plant(place, read_rows(earlier, numbers=(OWN, *NUMBERS), gaps=GAPS, texts=("arm", *TEXTS)))
    whole = known.iloc[:0]
    for runs, finished in make_cells(place, lengths, known):
        whole = finished
        own = runs[~runs["run"].isin(known["run"])]
        if len(own):
            place.write("runs.csv", own.to_csv(index=False, float_format="%.8g"))
    fits = fits_of(whole)
    optima = optima_of(whole, fits)
    answers = answers_of(optima, fits)
    first_length = optima[optima["num_steps"] == LENGTHS[0]]
    others = sensitivity_of(whole[whole["num_steps"] == LENGTHS[0]], first_length)
    for name, table in (("optima", optima), ("answers", answers), ("sensitivity", others)):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("classic_bend.png", draw(optima, answers))
    return Findings(answers=answers)
