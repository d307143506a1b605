"""``lrbend study``: the studies, and one of them run and answered."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from experiments.cli.parser import whole_number
from experiments.files import BadInput, to_json
from experiments.studies.registered import STUDIES, RegisteredStudy, registered_study

SUMMARY = "list the studies, or run one and write its answers; restart it at any time"
EXAMPLES = (
    "lrbend study",
    "lrbend study direction --results runs/direction-answers",
    "lrbend study simulation-grid --option settings=20 --option optimizers=adamw,lion",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", metavar="NAME", help="the study to run; without it they are listed")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="holds its runs (default: runs/NAME)")
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="gets tables, answers, figures (default: runs/NAME/results)"
    )
    parser.add_argument("--num-workers", type=whole_number, help="processes or threads (default: one per core)")
    parser.add_argument(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="one of the study's own; repeatable (default: none)",
    )


def run(options: argparse.Namespace) -> int:
    if options.study is None:
        for name in ("runs", "results", "num_workers", "option"):
            if getattr(options, name) is not None:
                raise BadInput(f"--{name.replace('_', '-')}: needs the NAME of a study")
        entries = [_entry(study) for study in STUDIES.values()]
        print(to_json({"studies": entries}) if options.json else "\n".join(map(_lines, entries)))
        return 0
    return _run(registered_study(options.study), options)


def _run(study: RegisteredStudy, options: argparse.Namespace) -> int:
    from experiments.cli.tables.fit import pairs
    from experiments.studies.workplace import Workplace
    from theory.checks import require_integer

    given = study.read_options(pairs("--option", options.option, column=False))
    runs = options.runs or Path("runs") / study.name
    workers = os.cpu_count() or 1 if options.num_workers is None else options.num_workers
    require_integer("num_workers", workers, at_least=1)
    place = Workplace(runs=runs, results=options.results or runs / "results", num_workers=workers)
    findings = study.run(place, **given)
    if options.json:
        written = {"study": study.name, "runs": str(place.runs), "results": str(place.results)}
        print(to_json({**written, "passed": findings.passed, "answers": findings.answers.to_dict("records")}))
    else:
        print(findings.answers.to_string(index=False))
        print(f"\nResults: {place.results}")
    return 1 if findings.passed is False else 0


def _entry(study: RegisteredStudy) -> dict[str, Any]:
    return {
        "name": study.name,
        "question": study.question,
        "cost": study.cost,
        "sweep": study.load is not None,
        "options": [
            {"name": option.name, "value": option.value, "meaning": option.meaning} for option in study.options
        ],
    }


def _lines(entry: dict[str, Any]) -> str:
    lines = [f"{entry['name']}: {entry['question']}", f"    {entry['cost']}"]
    lines += [f"    --option {option['name']}={option['value']}  {option['meaning']}" for option in entry["options"]]
    return "\n".join(lines)
