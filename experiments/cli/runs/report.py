"""``lrbend report``: one HTML page for the finished runs below a directory, and the numbers behind it."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.files import to_json

SUMMARY = "one HTML page for all finished runs below a directory"
EXAMPLES = (
    "lrbend report runs/train",
    "lrbend report runs/recorded --json",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="holds runs at any depth; gets report.html and the folder report"
    )


def run(options: argparse.Namespace) -> int:
    from experiments.reports.report import report_directory

    page = report_directory(options.directory).page
    print(to_json({"report": str(page)}) if options.json else page)
    return 0
