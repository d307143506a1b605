"""``lrbend validate``: theory, simulation and real runs of the same settings, and a verdict on every prediction."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from experiments.cli.flags import add_device, add_folder, add_num_workers, num_workers
from experiments.files import to_json

SUMMARY = "theory, simulation and real runs side by side, with verdicts"
EXAMPLES = (
    "lrbend validate",
    "lrbend validate --device cpu --num-workers 2 --out runs/validate",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    add_folder(parser, "out", "the runs and their report", default=Path("runs/validate"))
    add_num_workers(parser)


def run(options: argparse.Namespace) -> int:
    from experiments.agreement.predictions import all_pass, tally
    from experiments.reports.prediction_table import predictions_text
    from experiments.reports.report import write_report
    from experiments.studies.validate import run_validation

    workers = num_workers(options)
    runs = run_validation(options.out, device=options.device, num_workers=workers)
    report = write_report(runs, options.out, title="Closed form, simulation and real runs")
    passed = all_pass(report.predictions)
    if options.json:
        table = [{**dataclasses.asdict(row), "verdict": row.verdict} for row in report.predictions]
        print(to_json({"passed": passed, "report": str(report.page), "rows": table}))
    else:
        print(predictions_text(report.predictions))
        print(f"\n{tally(report.predictions)}  Report: {report.page}")
    return 0 if passed else 1
