"""``lrbend calibrate``: how often the estimators are right, counted on made sweeps whose truth is known."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.cli.flags import add_folder, add_num_workers, num_workers
from experiments.cli.parser import whole_number
from experiments.files import to_json

SUMMARY = "how often fit or recommend are right, counted on made sweeps"
EXAMPLES = ("lrbend calibrate fit --num-sweeps 10", "lrbend calibrate recommend --num-workers 1 --out runs/recommend")


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("estimator", choices=("fit", "recommend"), help="the command that is put to the test")
    parser.add_argument(
        "--num-sweeps", type=whole_number, help="of each scenario (default: 200 for fit, 120 for recommend)"
    )
    parser.add_argument(
        "--first-seed", type=whole_number, help="of the made sweeps (default: that of the committed table)"
    )
    add_num_workers(parser)
    add_folder(parser, "out", "the table, and the config that made it", default=Path("runs/calibration"))


def run(options: argparse.Namespace) -> int:
    from experiments.calibration.counting import calibrate
    from experiments.calibration.fit import FIT
    from experiments.calibration.recommend import RECOMMEND

    what = {"fit": FIT, "recommend": RECOMMEND}[options.estimator]
    table = calibrate(
        what,
        options.out,
        num_workers=num_workers(options),
        num_sweeps=options.num_sweeps,
        first_seed=options.first_seed,
    )
    if options.json:
        print(to_json({"table": str(options.out / what.table), "scenarios": table.to_dict("records")}))
    else:
        print(f"{len(table)} scenarios.  Table: {options.out / what.table}")
    return 0
