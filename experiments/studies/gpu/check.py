"""Is the path through a GPU right, and how fast is it? `gpt.gpu_check` has the parts and their limits."""

from __future__ import annotations

import sys

import pandas as pd

from experiments.files import BadInput
from experiments.studies.workplace import Findings, Workplace
from gpt.config import Device
from gpt.gpu_check.__main__ import write_report
from gpt.gpu_check.check import run_check
from gpt.gpu_check.rows import COLUMNS
from theory import InvalidParameter


def run_study(place: Workplace, device: Device = "auto", scale: float | None = None) -> Findings:
    """All parts, every time; ``gpu-check.json`` and ``gpu-check.csv``. Nothing goes into the folder of runs."""
    try:
        report = run_check(
            device=device, scale=scale, on_row=lambda row: print(row.in_words(), file=sys.stderr, flush=True)
        )
    except InvalidParameter as error:
        raise BadInput(f"--option {error.name}={error.value}: must be {error.allowed}") from None
    place.make_folders()
    write_report(report, place.results)
    print(report.verdict(), file=sys.stderr)
    return Findings(answers=pd.DataFrame(report.records(), columns=COLUMNS), passed=report.passed)
