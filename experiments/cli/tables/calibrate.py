"""``lrbend calibrate``: how often the estimators are right, on made sweeps, and on public tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.cli.flags import add_folder, add_num_workers, num_workers
from experiments.cli.parser import whole_number
from experiments.files import BadInput, to_json
from experiments.text import aligned, flag

SUMMARY = "how often fit, recommend or losses are right, counted on made sweeps and on public tables"
EXAMPLES = (
    "lrbend calibrate fit --num-sweeps 10 --num-workers 1",
    "lrbend calibrate real --data DIR",
    "lrbend calibrate losses --data DIR",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "estimator",
        choices=("fit", "recommend", "real", "losses"),
        help="the command that is put to the test; real: recommend on halves of public tables; losses: on public runs",
    )
    parser.add_argument(
        "--num-sweeps",
        type=whole_number,
        help="of each scenario, of real tables splits (default: 200 for fit, 120 for recommend, 20 for real)",
    )
    parser.add_argument(
        "--first-seed", type=whole_number, help="of the made sweeps (default: that of the committed table)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="with real and losses, the folder of public tables (default: LRBEND_PUBLIC_DATA)",
    )
    add_num_workers(parser)
    add_folder(parser, "out", "the table, and the config that made it", default=Path("runs/calibration"))


def run(options: argparse.Namespace) -> int:
    from experiments.calibration.counting import calibrate
    from experiments.calibration.fit import FIT
    from experiments.calibration.recommend import RECOMMEND

    if options.estimator == "real":
        return _run_real(options)
    if options.estimator == "losses":
        return _run_losses(options)
    if options.data is not None:
        raise BadInput("--data: only with real and losses")
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


def _run_real(options: argparse.Namespace) -> int:
    from experiments.calibration.real_tables import FIRST_SEED, NUM_SPLITS, TABLE, calibrate_on_real

    table = calibrate_on_real(
        options.data,
        options.out,
        num_splits=NUM_SPLITS if options.num_sweeps is None else options.num_sweeps,
        first_seed=FIRST_SEED if options.first_seed is None else options.first_seed,
    )
    if options.json:
        print(to_json({"table": str(options.out / TABLE), "groups": table.to_dict("records")}))
    else:
        print(f"{len(table)} groups of real tables.  Table: {options.out / TABLE}")
    return 0


def _run_losses(options: argparse.Namespace) -> int:
    from experiments.calibration.real_losses import TABLE, calibrate_losses

    for name in ("num_sweeps", "first_seed"):
        if getattr(options, name) is not None:
            raise BadInput(f"{flag(name)}: not with losses, where nothing is drawn")
    table = calibrate_losses(options.data, options.out)
    if options.json:
        print(to_json({"table": str(options.out / TABLE), "groups": table.to_dict("records")}))
    else:
        counts = table["num_asked"] * table["covered"]
        shares = counts.groupby(table["way"], sort=False).sum() / table.groupby("way", sort=False)["num_asked"].sum()
        print(
            "\n".join(
                aligned(("left out by", "covered"), [[str(way), f"{share:.1%}"] for way, share in shares.items()])
            )
        )
        print(f"Table: {options.out / TABLE}")
    return 0
