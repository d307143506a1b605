"""Run a study: ``python -m experiments.studies solvable-bend [--out DIR] [--results DIR]``.

Every arm is kept as soon as it is finished, under a name that tells its settings; a second call goes on with the rest.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

import pandas as pd

from experiments.cli.parser import Parser, answer
from experiments.files import BadInput, to_json, write_whole
from experiments.studies.solvable_bend import answers as answers_of
from experiments.studies.solvable_bend import figure
from experiments.studies.solvable_bend import study as study_module
from experiments.studies.solvable_bend.study import STUDY, Arm, Problem, SolvableBend, run_arm


def run_study(study: SolvableBend, out: Path, results: Path | None = None) -> None:
    """A CSV file of runs per arm in ``out``; ``config.json``, ``optima.csv``, ``answers.csv`` and a figure per problem
    in ``results``, by default in ``out`` as well."""
    folder, out = out / "runs", results or out
    for directory in (folder, out):
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{directory}: cannot be written ({error.strerror})") from None
    write_whole(out / "config.json", (to_json(study, indent=1) + "\n").encode())
    tables = {}
    for problem in study.problems:
        for arm in study.arms[problem.name]:
            tables[problem.name, arm.name] = _arm_table(study, problem, arm, folder)
    optima, answers = answers_of.answer(study, tables)
    for name, table in (("optima", optima), ("answers", answers)):
        write_whole(out / f"{name}.csv", table.to_csv(index=False, float_format="%.5g").encode())
    for problem in study.problems:
        write_whole(out / f"{problem.name}.png", figure.draw(optima, problem.name))


def _arm_table(study: SolvableBend, problem: Problem, arm: Arm, folder: Path) -> pd.DataFrame:
    setting = asdict(study) | {"problems": asdict(problem), "arms": asdict(arm), "code": _code()}
    digest = sha256(to_json(setting).encode()).hexdigest()[:10]
    file = folder / f"{problem.name}-{arm.name.replace(' ', '-')}-{digest}.csv"
    if not file.exists():
        began = time.perf_counter()
        table = run_arm(study, problem, arm)
        write_whole(file, table.to_csv(index=False).encode())
        print(f"{problem.name}, {arm.name}: {len(table)} runs in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    try:
        return pd.read_csv(io.BytesIO(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: damaged ({' '.join(str(error).split())}); delete it to run this arm again") from None


def _code() -> str:
    """What the numbers of a run depend on beside its setting: the sources of theory, simulator and study."""
    root = Path(study_module.__file__).parents[3]
    files = [
        *sorted((root / "theory").glob("*.py")),
        *sorted((root / "sim").glob("*.py")),
        Path(study_module.__file__),
    ]
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main() -> int:
    parser = Parser(prog="python -m experiments.studies", description="Run a study.")
    parser.add_argument("study", choices=["solvable-bend"], help=" ")
    parser.add_argument("--out", type=Path, default=Path("runs/solvable-bend"), metavar="DIR", help="holds the runs")
    parser.add_argument("--results", type=Path, metavar="DIR", help="tables and figures (default: where the runs are)")
    options = parser.parse_args()

    def run(options: argparse.Namespace) -> int:
        run_study(STUDY, options.out, options.results)
        print(f"{options.results or options.out}: optima.csv, answers.csv, a figure per problem")
        return 0

    return answer(run, options, prog=parser.prog)


if __name__ == "__main__":
    sys.exit(main())
