"""The study from its runs to its answers.

Every arm is kept as soon as it is finished, under a name that tells its settings; a second call goes on with the rest.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pandas as pd

from experiments.files import to_json, write_whole
from experiments.studies.solvable_bend import figure
from experiments.studies.solvable_bend import study as study_module
from experiments.studies.solvable_bend.answers import optima_and_answers, parts_of
from experiments.studies.solvable_bend.study import STUDY, Arm, Problem, SolvableBend, run_arm
from experiments.studies.workplace import Findings, Workplace, read_rows

NUMBERS = ("num_params", "num_tokens", "num_steps", "learning_rate", "power", "seed", "round")
GAPS = ("loss", "excess", "mean_angle", "final_rms")  # of runs that diverged


def run_study(place: Workplace, study: SolvableBend = STUDY) -> Findings:
    """A CSV file of runs per arm; ``config.json``, ``optima.csv``, ``answers.csv``, ``parts.csv``, a figure per
    problem, and ``carried.png``."""
    place.make_folders()
    place.write("config.json", to_json(study, indent=1) + "\n")
    tables = {}
    with place.kernel_threads():
        for problem in study.problems:
            for arm in study.arms[problem.name]:
                tables[problem.name, arm.name] = _arm_table(study, problem, arm, place.runs)
    optima, answers = optima_and_answers(study, tables)
    for name, table in (("optima", optima), ("answers", answers), ("parts", parts_of(optima))):
        place.write(f"{name}.csv", table.to_csv(index=False, float_format="%.5g"))
    for problem in study.problems:
        place.write(f"{problem.name}.png", figure.draw(optima[optima["problem"] == problem.name]))
    place.write("carried.png", figure.draw_carried(optima, study.problems[0].name))
    return Findings(answers=answers)


def _arm_table(study: SolvableBend, problem: Problem, arm: Arm, runs: Path) -> pd.DataFrame:
    setting = asdict(study) | {"problems": asdict(problem), "arms": asdict(arm), "code": _code()}
    digest = sha256(to_json(setting).encode()).hexdigest()[:10]
    file = runs / f"{problem.name}-{arm.name.replace(' ', '-')}-{digest}.csv"
    if not file.exists():
        began = time.perf_counter()
        table = run_arm(study, problem, arm)
        write_whole(file, table.to_csv(index=False).encode())
        print(f"{problem.name}, {arm.name}: {len(table)} runs in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return read_rows(file, numbers=NUMBERS, gaps=GAPS, remedy="; delete it to run this arm again")


def _code() -> str:
    """What the numbers of a run depend on beside its setting: the sources of theory, simulator and study."""
    root = Path(study_module.__file__).parents[3]
    files = [
        *sorted((root / "theory").glob("*.py")),
        *sorted((root / "sim").glob("*.py")),
        Path(study_module.__file__),
    ]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
