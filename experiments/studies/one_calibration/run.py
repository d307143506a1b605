"""The study from the tables of three others to its answers; it trains nothing."""

from __future__ import annotations

from pathlib import Path

from experiments.files import to_json
from experiments.studies.angle_law import fit as adamh
from experiments.studies.angle_law.run import constants_of
from experiments.studies.moved_optimum.runs import GAPS, NUMBERS, TEXTS
from experiments.studies.one_calibration.answers import LARGEST_FACTOR, NOISES, answers_of, cells_of, compared_optima
from experiments.studies.one_calibration.elsewhere import answers_at_bend, bend_cells
from experiments.studies.one_calibration.figure import draw
from experiments.studies.one_calibration.predictions import OTHER_RATIOS, Predictor, losses_of, optima_of, parts_of
from experiments.studies.workplace import Findings, Workplace, read_rows
from theory.networks import SCALE_INVARIANT


def run_study(
    place: Workplace,
    moved_optimum: Path = Path("docs/moved-optimum"),
    same_angle: Path = Path("docs/same-angle"),
    angle_law: Path = Path("docs/angle-law"),
    bend: Path = Path("docs/bend"),
    predict_only: bool = False,
) -> Findings:
    """``law.csv``, ``left-out.csv``, ``predictions.csv``, ``predicted-optima.csv``; then ``cells.csv``, ``optima.csv``,
    ``bend-cells.csv``, ``answers.csv``, ``one_calibration.png`` and ``config.json``.

    moved_optimum, same_angle, angle_law, bend : folders with the results of those studies. predict_only : stop before
    any loss of AdamW is read.
    """
    place.make_folders()
    same = read_rows(same_angle / "runs.csv", numbers=("num_steps", "learning_rate", "seed", "loss"), texts=("arm",))
    shaped = read_rows(angle_law / "runs.csv", numbers=adamh.NUMBERS, texts=("shape",))
    fitted_to = adamh.cells_of(shaped, same)
    fit = adamh.fit_law(fitted_to, adamh.TWO_CLOCKS)
    predictor = Predictor.of(fit)
    runs = read_rows(moved_optimum / "runs.csv", numbers=NUMBERS, gaps=GAPS, texts=("arm", *TEXTS))
    centres = read_rows(moved_optimum / "predictions.csv", numbers=("num_steps", "centre"), texts=("arm",))
    predictions, best = losses_of(predictor, runs, centres), optima_of(predictor)
    place.write("law.csv", constants_of(fit).to_csv(index=False, float_format="%.5g"))
    place.write("predictions.csv", predictions.to_csv(index=False, float_format="%.5g"))
    place.write("predicted-optima.csv", best.to_csv(index=False, float_format="%.5g"))
    without = adamh.left_out(fitted_to, parts_of(fitted_to), adamh.TWO_CLOCKS)
    place.write("left-out.csv", without.to_csv(index=False, float_format="%.5g"))
    if predict_only:
        return Findings(answers=best)
    measured = read_rows(
        moved_optimum / "optima.csv",
        numbers=("num_steps", "mean_angle"),
        gaps=("learning_rate", "low", "high"),
        texts=("arm", "status"),
    )
    cells = cells_of(runs, predictions, best, fit.law, fitted_to)
    optima = compared_optima(best, measured)
    keys = ("width", "num_steps", "learning_rate")
    elsewhere = bend_cells(read_rows(bend / "runs.csv", numbers=keys, gaps=("loss",), texts=("arm",)), fit.law)
    known, gaps = ("width", "num_steps", "law"), ("learning_rate", "error")
    best_elsewhere = read_rows(bend / "optima.csv", numbers=known, gaps=gaps, texts=("arm",))
    answers = answers_of(cells, optima, answers_at_bend(elsewhere, best_elsewhere))
    tables = {"cells": cells, "bend-cells": elsewhere, "optima": optima, "answers": answers}
    for name, table in tables.items():
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    place.write("one_calibration.png", draw(cells, optima, predictions))
    config = {
        "fitted_to": [str(same_angle / "runs.csv"), str(angle_law / "runs.csv")],
        "compared_with": [
            str(folder / f"{name}.csv") for folder in (moved_optimum, bend) for name in ("runs", "optima")
        ],
        "network": SCALE_INVARIANT.name,
        "direction_ratio": SCALE_INVARIANT.direction_ratio,
        "other_direction_ratios": OTHER_RATIOS,
        "noises": NOISES,
        "largest_factor": LARGEST_FACTOR,
    }
    place.write("config.json", to_json(config, indent=1) + "\n")
    return Findings(answers=answers, passed=bool((answers["verdict"] != "missed").all()))
