"""The flags of a table of runs, how its law is fitted, and what every command says of the rows it read."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import SCHEDULES
from experiments.cli.parser import number
from experiments.files import BadInput

if TYPE_CHECKING:
    from experiments.bend.mean_angle import AngleOf
    from experiments.bend.table import Exclusion, RunTable


def add_table(parser: argparse.ArgumentParser) -> None:
    """A table of runs, as `read_runs` reads it."""
    add_columns(parser, "one run a row; learning_rate and loss (nats), and what else there is")


def add_columns(parser: argparse.ArgumentParser, meaning: str) -> None:
    """The file, and what its columns stand for."""
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help=meaning)
    parser.add_argument(
        "--column",
        action="append",
        metavar="OURS=THEIRS",
        help="map a column: learning_rate=lr; repeatable (default: columns go by our names)",
    )
    parser.add_argument(
        "--constant",
        action="append",
        metavar="NAME=VALUE",
        help="one value for all rows: num_params=1.3e8; repeatable (default: none)",
    )


def add_law(parser: argparse.ArgumentParser) -> None:
    """How the law of the optima is fitted."""
    parser.add_argument(
        "--batch",
        choices=("fixed", "co-tuned", "covariate"),
        help="how batch size is treated (default: fixed with one in the table, covariate with several)",
    )
    group = parser.add_argument_group("the law in mean angle")
    group.add_argument(
        "--effective", action="store_true", help="fit in AdamW's mean angle per step too; needs --schedule"
    )
    group.add_argument(
        "--schedule", choices=SCHEDULES, help="of the runs, for --effective (default: none; it has to be told)"
    )
    group.add_argument("--warmup-fraction", type=number, default=0.01, help="of the runs, for --effective")
    group.add_argument("--beta1", type=number, default=0.9, help="of the runs, for --effective")


def add_delta(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delta", type=number, default=0.07, help="curvature that counts as straight")


def read_runs(options: argparse.Namespace) -> RunTable:
    """The table that a command's flags name; raises `BadInput`."""
    from experiments.bend.table import read_table

    return read_table(options.table, columns=columns_from(options), constants=constants_from(options))


def angle_from(options: argparse.Namespace) -> AngleOf | None:
    """What ``--effective`` and its flags ask for; raises `BadInput` and `InvalidParameter`."""
    if not options.effective:
        return None

    from experiments.bend.mean_angle import AngleOf

    if options.schedule is None:
        raise BadInput(f"--effective: needs --schedule, one of {', '.join(SCHEDULES)}")
    return AngleOf(schedule=options.schedule, warmup_fraction=options.warmup_fraction, beta1=options.beta1)


def columns_from(options: argparse.Namespace) -> dict[str, str]:
    """Their columns by our names."""
    return pairs("--column", options.column)


def constants_from(options: argparse.Namespace) -> dict[str, float | str]:
    """Values by our names; text where the column holds text."""
    from experiments.bend.table import LABELS

    result: dict[str, float | str] = {}
    for name, value in pairs("--constant", options.constant).items():
        try:
            result[name] = value if name in LABELS else float(value)
        except ValueError:
            raise BadInput(f"--constant {name}={value}: {value!r} is not a number") from None
    return result


def pairs(flag: str, given: Sequence[str] | None, *, column: bool = True) -> dict[str, str]:
    """``NAME=VALUE`` flags; of a ``column`` of ours a dash in the name is an underscore. Raises `BadInput`."""
    result: dict[str, str] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        name, value = name.strip(), value.strip()
        name = name.replace("-", "_") if column else name
        if not sign or not name or not value:
            raise BadInput(f"{flag} {text}: must be NAME=VALUE")
        if name in result:
            raise BadInput(f"{flag} {name}: given twice")
        result[name] = value
    return result


def rows_dict(num_rows: int, exclusions: Sequence[Exclusion]) -> dict[str, Any]:
    """What was read, as keys of a JSON object."""
    return {
        "num_rows": num_rows,
        "num_excluded": sum(item.count for item in exclusions),
        "exclusions": [dataclasses.asdict(item) for item in exclusions],
    }


def rows_in_words(num_rows: int, exclusions: Sequence[Exclusion]) -> list[str]:
    """How many rows are used, and why others are not."""
    from experiments.bend.table import describe_exclusions

    used = num_rows - sum(item.count for item in exclusions)
    return [
        f"{used} of {num_rows} rows used.",
        *(f"  left out: {phrase}" for phrase in describe_exclusions(exclusions)),
    ]


def plain(item: Any, without: Sequence[str] = ()) -> Mapping[str, Any]:
    """The fields of a result for a JSON object, verdicts and statuses as their words."""
    values = {field.name: getattr(item, field.name) for field in dataclasses.fields(item) if field.name not in without}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
