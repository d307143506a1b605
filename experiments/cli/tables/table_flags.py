"""The flags of a table of runs, how its law is fitted, and what every command says of the rows it read."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from experiments.cli.flags import SCHEDULES
from experiments.cli.parser import number
from experiments.files import BadInput

if TYPE_CHECKING:
    from experiments.bend.mean_angle import AngleOf
    from experiments.tables.filters import Condition
    from experiments.tables.reading import How
    from experiments.tables.run_table import Exclusion, RunTable


class WasRead(Protocol):
    """What was read of a table, and what there is to say of it: the table itself, or a result that keeps it."""

    @property
    def num_rows(self) -> int: ...
    @property
    def exclusions(self) -> Sequence[Exclusion]: ...
    @property
    def notes(self) -> Sequence[str]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


def add_table(parser: argparse.ArgumentParser) -> None:
    """A table of runs, as `read_runs` reads it."""
    add_columns(parser, "one run a row; learning_rate and loss (nats), and what else there is")


def add_columns(parser: argparse.ArgumentParser, meaning: str) -> None:
    """The file, what its columns stand for, and how its runs make groups and cells."""
    group = add_source(parser, meaning)
    group.add_argument(
        "--group",
        "--arm-column",
        action="append",
        metavar="COLUMN",
        help="a law for each of its values, an arm in attribute; repeatable (default: optimizer; there arm before it)",
    )
    group.add_argument(
        "--axis",
        action="append",
        metavar="NAME=COLUMN",
        help="a further scale, as num_params is one: depth=num_layers; repeatable (default: none)",
    )
    group.add_argument(
        "--decay",
        choices=("pytorch", "independent", "ignored"),
        help="what a sweep holds: weight_decay, learning_rate times it, or neither (default: what the columns tell)",
    )
    group.add_argument(
        "--loss-unit",
        choices=("nats", "bits", "perplexity"),
        help="of the losses, per token (default: nats, and refused if they cannot be)",
    )


def add_source(parser: argparse.ArgumentParser, meaning: str) -> argparse._ArgumentGroup:
    """The file, which of its rows, and what its columns stand for; returns the group of those flags."""
    parser.add_argument(
        "table",
        type=Path,
        metavar="TABLE",
        help=f"{meaning}; CSV (commas, semicolons or tabs), JSON lines, or a JSON list of objects",
    )
    group = parser.add_argument_group("what the table says")
    group.add_argument(
        "--column",
        action="append",
        metavar="OURS=THEIRS",
        help="map a column: learning_rate=lr; repeatable (default: our names, or the usual other ones)",
    )
    group.add_argument(
        "--constant",
        action="append",
        metavar="NAME=VALUE",
        help="one value for all rows: num_params=1.3e8; repeatable (default: none)",
    )
    group.add_argument(
        "--where",
        action="append",
        metavar="COLUMN=VALUE",
        help="only these rows; COLUMN!=VALUE for all others, several values with commas, * for any text; repeatable"
        " (default: all rows)",
    )
    return group


def add_law(parser: argparse.ArgumentParser) -> None:
    """How the law of the optima is fitted."""
    parser.add_argument(
        "--batch",
        choices=("fixed", "co-tuned", "covariate"),
        help="how batch size is treated (default: fixed with one in the table, covariate with several)",
    )
    parser.add_argument(
        "--law",
        choices=("curved", "straight"),
        default="curved",
        help="curved: second derivatives are fitted, and held near 0 where the table does not tell them; straight: none"
        " is assumed",
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
    from experiments.tables.reading import read_table

    return read_table(options.table, how_from(options))


def how_from(options: argparse.Namespace, **changes: Any) -> How:
    """How the flags want a table to be read; raises `BadInput`."""
    from experiments.tables.reading import How

    return How(
        **{
            "columns": pairs("--column", options.column),
            "constants": constants_from(options),
            "where": conditions_from(options),
            "groups": options.group or (),
            "axes": pairs("--axis", options.axis),
            "decay": options.decay,
            "loss_unit": options.loss_unit,
            **changes,
        }
    )


def conditions_from(options: argparse.Namespace) -> list[Condition]:
    """What ``--where`` asks for; raises `BadInput`."""
    from experiments.tables.filters import Condition

    return [Condition.read(text) for text in options.where or ()]


def angle_from(options: argparse.Namespace) -> AngleOf | None:
    """What ``--effective`` and its flags ask for; raises `BadInput` and `InvalidParameter`."""
    if not options.effective:
        return None

    from experiments.bend.mean_angle import AngleOf

    if options.schedule is None:
        raise BadInput(f"--effective: needs --schedule, one of {', '.join(SCHEDULES)}")
    return AngleOf(schedule=options.schedule, warmup_fraction=options.warmup_fraction, beta1=options.beta1)


def constants_from(options: argparse.Namespace) -> dict[str, float | str]:
    """Values by our names; text where the column holds text."""
    from experiments.tables.numbers import parse
    from experiments.tables.run_table import LABELS

    result: dict[str, float | str] = {}
    for name, value in pairs("--constant", options.constant).items():
        parsed = parse([value], suffixes=True)
        if name not in LABELS and parsed.text[0]:
            raise BadInput(f"--constant {name}={value}: {value!r} is not a number")
        result[name] = value if name in LABELS else float(parsed.numbers[0])
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


def with_rows(read: WasRead, groups: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The JSON object: ``groups``, and with a single group its keys at the top level too; what was read; and the notes
    and warnings on the table, before those of a single group."""
    only = groups[0] if len(groups) == 1 else {}
    return {
        "groups": groups,
        "num_rows": read.num_rows,
        "num_excluded": sum(item.count for item in read.exclusions),
        "exclusions": [dataclasses.asdict(item) for item in read.exclusions],
        **only,
        "notes": [*read.notes, *only.get("notes", ())],
        "warnings": [*read.warnings, *only.get("warnings", ())],
    }


def rows_in_words(read: WasRead) -> list[str]:
    """How many rows are read, why others are not, how they were read and what looks wrong."""
    from experiments.tables.run_table import describe_exclusions

    kept = read.num_rows - sum(item.count for item in read.exclusions)
    return [
        f"{kept} of {read.num_rows} rows read.",
        *(f"  left out: {phrase}" for phrase in describe_exclusions(read.exclusions)),
        *(f"  {sentence(note)}" for note in read.notes),
        *(f"  Warning: {warning}." for warning in read.warnings),
    ]


def sentence(phrase: str) -> str:
    """A phrase with a capital, unless it begins with a name that has none, and a full stop."""
    first = phrase.split(" ", 1)[0]
    return f"{phrase if '_' in first or not first.isalpha() else phrase[0].upper() + phrase[1:]}."


def plain(item: Any, without: Sequence[str] = ()) -> Mapping[str, Any]:
    """The fields of a result for a JSON object, verdicts and statuses as their words."""
    values = {field.name: getattr(item, field.name) for field in dataclasses.fields(item) if field.name not in without}
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}
