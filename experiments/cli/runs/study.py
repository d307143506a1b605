"""``lrbend study``: the studies, and one of them run and answered."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from experiments.cli.flags import add_folder, add_num_workers, num_workers
from experiments.cli.tables.table_flags import pairs
from experiments.files import BadInput, to_json
from experiments.studies.registered import STUDIES, RegisteredStudy, registered_study
from experiments.text import aligned, as_cell, flag

SUMMARY = "list the studies, or run one and write its answers; restart it at any time"
EXAMPLES = (
    "lrbend study",
    "lrbend study simulation-grid --option settings=20 --option optimizers=adamw,lion",
    "lrbend study bend --scale gpu",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", metavar="NAME", help="the study to run; without it all are listed")
    add_folder(parser, "runs", "what is finished there is kept", without="runs/NAME")
    add_folder(parser, "results", "with the config that made them", without="runs/NAME/results")
    add_num_workers(parser)
    parser.add_argument(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="a setting of this study alone, as the list tells; repeatable (default: none)",
    )
    parser.add_argument("--scale", help="the same as --option scale=SCALE (default: the study's)")


def run(options: argparse.Namespace) -> int:
    if options.study is not None:
        return _run(registered_study(options.study), options)
    for name in ("runs", "results", "num_workers", "option", "scale"):
        if getattr(options, name) is not None:
            raise BadInput(f"{flag(name)}: needs the NAME of a study")
    entries = [_entry(study) for study in STUDIES.values()]
    print(to_json({"studies": entries}) if options.json else "\n".join(map(_in_words, entries)))
    return 0


def _run(study: RegisteredStudy, options: argparse.Namespace) -> int:
    from experiments.studies.workplace import Workplace

    given = pairs("--option", options.option, column=False)
    if options.scale is not None:
        given = {**given, "scale": options.scale}
    own = study.read_options(given)
    runs = options.runs or Path("runs") / study.name
    place = Workplace(runs=runs, results=options.results or runs / "results", num_workers=num_workers(options))
    found = study.run(place, **own)
    answers = found.answers.astype(object).where(found.answers.notna(), None)
    if options.json:
        folders = {"study": study.name, "runs": str(place.runs), "results": str(place.results)}
        print(to_json({**folders, "passed": found.passed, "answers": answers.to_dict("records")}))
    else:
        rows = [[as_cell(value) for value in row] for row in answers.itertuples(index=False)]
        print("\n".join(aligned(list(answers.columns), rows)))
        if found.passed is not None:
            kept = "every limit of the rule is kept" if found.passed else "a limit of the rule is not kept, exit code 1"
            print(f"Verdict: {kept}.")
        print(f"What the rows and the rule say: {sys.executable} -m pydoc {study.described_in}")
        print(f"Results: {place.results}")
    return 1 if found.passed is False else 0


def _entry(study: RegisteredStudy) -> dict[str, Any]:
    options = [{"name": option.name, "value": option.value, "meaning": option.meaning} for option in study.options]
    return {
        "name": study.name,
        "question": study.question,
        "cost": study.cost,
        "sweep": study.load is not None,
        "options": options,
    }


def _in_words(entry: dict[str, Any]) -> str:
    lines = [f"{entry['name']}: {entry['question']}", f"    {entry['cost']}"]
    lines += [f"    --option {option['name']}={option['value']}  {option['meaning']}" for option in entry["options"]]
    return "\n".join(lines)
