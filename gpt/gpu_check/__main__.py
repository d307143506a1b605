"""``python -m gpt.gpu_check``: the check by itself, with two files for an answer."""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from gpt.gpu_check.check import run_check
from gpt.gpu_check.rows import COLUMNS, Report
from theory.checks import InvalidParameter

FILE = "gpu-check"


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """``gpu-check.json`` and ``gpu-check.csv`` in a folder, which is made. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    table, whole = folder / f"{FILE}.csv", folder / f"{FILE}.json"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(report.records())
    whole.write_text(report.to_json(), encoding="utf-8")
    return whole, table


def main(arguments: list[str] | None = None) -> int:
    """0 if every limit is kept, 1 if one is missed, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m gpt.gpu_check", description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto wants a GPU")
    parser.add_argument("--scale", type=float, help="share of the size (default: 1 on a GPU, 0.1 on a CPU)")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-check/results"), metavar="DIR", help="of the answer")
    options = parser.parse_args(arguments)
    try:
        report = run_check(
            device=options.device,
            scale=options.scale,
            on_row=lambda row: print(row.in_words(), file=sys.stderr, flush=True),
        )
        files = write_report(report, options.out)
    except InvalidParameter as error:
        print(f"{parser.prog}: error: --{error.name} {error.value}: must be {error.allowed}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{parser.prog}: error: --out {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    print(report.in_words())
    print(*files)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
