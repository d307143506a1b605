"""``lrbend recommend``: from a table of pilot runs to the learning rate of a run that has not been made."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.cli.parser import number, size
from experiments.cli.plot_flags import add_plot, check_plot, write_plot
from experiments.cli.tables.table_flags import (
    add_law,
    add_table,
    angle_from,
    pairs,
    read_runs,
    rows_in_words,
    sentence,
    with_rows,
)
from experiments.cli.waiting import waiting
from experiments.files import BadInput, to_json
from experiments.text import aligned, counted, flag, short_name, short_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.recommend.next_run import NextRun
    from experiments.recommend.prediction import Predicted
    from experiments.recommend.recommendation import Answer, Recommendation
    from experiments.tables.run_table import RunTable

MOST_NEXT = 10  # further runs in the JSON object
ONE_VALUE = "(default: the table's, if it has one value only)"
TARGET = {
    "num_params": f"its size {ONE_VALUE}",
    "num_tokens": f"its length {ONE_VALUE}",
    "batch_size": "in the table's unit (default: the table's, if it has one value only or they are tuned along)",
    "weight_decay": f"as in the table {ONE_VALUE}",
    "num_steps": "for --effective (default: tokens over batch)",
    "initial_rms": "for --effective (default: the table's, if it has one value only)",
}
NO_SIZE = ("weight_decay", "initial_rms")
AT = "of an --axis, or independent_weight_decay; repeatable (default: the table's, if it has one value only)"

SUMMARY = "from a table of pilot runs to the learning rate of a larger one"
EXAMPLES = (
    "lrbend recommend docs/samples/sweep.csv --num-params 2e9 --num-tokens 1e11",
    "lrbend recommend docs/same-angle/runs.csv --column optimizer=arm --num-tokens 4e6",
    "lrbend recommend docs/same-angle/runs.csv --column optimizer=arm --num-tokens 4e6 --confidence 0.8 --json",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_table(parser)
    add_law(parser)
    target = parser.add_argument_group("the run to be made")
    for name, meaning in TARGET.items():
        target.add_argument(flag(name), type=number if name in NO_SIZE else size, help=meaning)
    target.add_argument("--at", action="append", metavar="NAME=VALUE", help=AT)
    parser.add_argument("--confidence", type=number, default=0.90, help="of the interval")
    add_plot(parser, "the law along every scale with the run to be made and its interval")


def run(options: argparse.Namespace) -> int:
    from experiments.recommend.recommendation import recommend
    from experiments.recommend.target_run import TargetRun

    check_plot(options)
    runs = read_runs(options)
    target = TargetRun(**{name: getattr(options, name) for name in TARGET}, others=_at(options))
    with waiting("lrbend recommend: fitting all cells together, and weighing further pilot cells"):
        found = recommend(
            runs,
            target,
            confidence=options.confidence,
            batch=options.batch,
            effective=angle_from(options),
            straight=options.law == "straight",
        )
    write_plot(options, lambda: _draw(found))
    print(to_json(as_dict(found, runs)) if options.json else recommendation_in_words(found, runs))
    return 0


def _draw(found: Sequence[Recommendation]) -> Figure:
    from experiments.figures.laws import recommendation_figure

    return recommendation_figure(found)


def _at(options: argparse.Namespace) -> dict[str, float]:
    result = {}
    for name, text in pairs("--at", options.at).items():
        if name in TARGET:
            raise BadInput(f"--at {name}: it has a flag of its own, {flag(name)}")
        try:
            result[name] = size(text)
        except argparse.ArgumentTypeError as error:
            raise BadInput(f"--at {name}={text}: {error}") from None
    return result


def as_dict(found: Sequence[Recommendation], runs: RunTable) -> dict[str, Any]:
    """The JSON object: `with_rows` of the groups."""
    return with_rows(runs, [_group_dict(item) for item in found])


def _group_dict(item: Recommendation) -> dict[str, Any]:
    answer, angle = item.answer, item.in_angle
    return {
        "group": item.group,
        "optimizer": item.optimizer,
        "batch": item.batch,
        "target": item.target,
        "confidence": item.confidence,
        "learning_rate": answer.value if answer else None,
        "low": answer.low if answer else None,
        "high": answer.high if answer else None,
        **(_answer_dict(answer) if answer else {}),
        "effective": {
            "mean_angle": {"value": angle.angle.value, "low": angle.angle.low, "high": angle.angle.high},
            "learning_rate": {"value": angle.value, "low": angle.low, "high": angle.high},
            **_answer_dict(angle.angle),
        }
        if angle
        else None,
        "beyond": item.beyond,
        "norms": dataclasses.asdict(item.norms) if item.norms else None,
        "next_runs": [dataclasses.asdict(one) for one in item.next_runs[:MOST_NEXT]],
        "assumptions": item.assumptions,
        "warnings": item.warnings,
        "notes": item.notes,
        "num_cells": item.num_cells,
        "reason": item.reason,
    }


def _answer_dict(answer: Answer) -> dict[str, Any]:
    return {
        "middle": answer.middle,
        "at_middle": dataclasses.asdict(answer.value_at_middle),
        "contributions": {name: dataclasses.asdict(part) for name, part in answer.contributions.items()},
        "leverage": answer.leverage,
        "largest_leverage": answer.largest_leverage,
        "variances": dataclasses.asdict(answer.variances),
    }


def recommendation_in_words(found: Sequence[Recommendation], runs: RunTable) -> str:
    """The same in words."""
    lines = rows_in_words(runs)
    for item in found:
        lines += ["", *_group_in_words(item)]
    return "\n".join(lines)


def _group_in_words(item: Recommendation) -> list[str]:
    name = item.group or "All runs"
    if item.answer is None:
        return [f"{name}: no answer: {item.reason}"]
    answer, level = item.answer, f"{100 * item.confidence:.3g} %"
    lines = [f"{name}: {counted(item.num_cells, 'cell')}, batch {item.batch}"]
    lines.append(f"  learning rate at {_setting(item.target)}: {_interval(answer, level)}")
    if item.in_angle is not None:
        angle = item.in_angle
        ends = f"[{short_number(angle.low)}, {short_number(angle.high)}]"
        turned = _interval(angle.angle, level)
        lines.append(f"  by the law in mean angle: {short_number(angle.value)} {ends} (angle {turned} radians)")
    lines += ["", *_contributions("learning rate", answer, level)]
    if item.in_angle is not None:
        lines += ["", *_contributions("mean angle", item.in_angle.angle, level)]
    lines += [""] * bool(item.warnings or item.assumptions or item.notes)
    lines += [f"  Warning: {phrase}." for phrase in item.warnings]
    lines += [f"  Assumed: {phrase}." for phrase in item.assumptions]
    lines += [f"  {sentence(phrase)}" for phrase in item.notes]
    return [*lines, *_next(item.next_runs)]


def _contributions(what: str, answer: Answer, level: str) -> list[str]:
    rows: list[tuple[str, ...]] = [
        (
            f"at the table's middle, {_setting(answer.middle)}" if answer.middle else "of the table",
            "",
            *_cells(answer.value_at_middle),
        )
    ]
    rows += [
        (f"along {name.replace(' by ', ' and ')}" + " together" * (" by " in name), "x", *_cells(part))
        for name, part in answer.contributions.items()
    ]
    rows.append(("at the target, scatter of cells included", "=", *_cells(answer)))
    rule = "  The middle of the table, times (x) what the law makes of each way to the target, is (=) the target's own:"
    return [rule, *aligned((what, "", "value", f"{level} low", "high"), rows, indent="  ")]


def _next(runs: Sequence[NextRun]) -> list[str]:
    """The most useful further cell, and the most useful one among those that cost no more than the table's own."""
    if not runs:
        return []
    cheap = [run for run in runs if run.cost <= 1 + 1e-9]
    chosen = list(dict.fromkeys(map(id, [runs[0], *cheap[:1]])))
    lines = ["", "  A further pilot cell would narrow the interval (in ln) most, if the law holds there, at"]
    for one in (run for run in runs if id(run) in chosen):
        again = " once more" if one.repeats else ""
        lines.append(
            f"    {_setting(one.setting)}{again}, {one.num_rates} learning rates from {one.lowest:.3g} to"
            f" {one.highest:.3g}: to {one.width:.0%} of its width, at {one.cost:.2g} times the cost of the dearest cell"
        )
    return lines


def _setting(setting: Mapping[str, float]) -> str:
    return " ".join(f"{short_name(name)}={value:.4g}" for name, value in setting.items()) or "the table's setting"


def _interval(item: Answer, level: str) -> str:
    return f"{item.value:.3g}, {level} [{item.low:.3g}, {item.high:.3g}]"


def _cells(item: Predicted | Answer) -> tuple[str, str, str]:
    return short_number(item.value), short_number(item.low), short_number(item.high)
