"""``lrbend attribute``: how much of a bend the angles, the norm, or something else that changes with scale can make."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.cli.flags import add_folder
from experiments.cli.parser import number
from experiments.cli.plot_flags import add_plot, check_plot, write_plot
from experiments.cli.tables.table_flags import (
    add_columns,
    add_delta,
    conditions_from,
    how_from,
    pairs,
    plain,
    rows_in_words,
    with_rows,
)
from experiments.files import BadInput, to_json
from experiments.text import counted, flag

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.attribution.parts import Arm, Attribution, AxisAttribution, Contribution
    from experiments.attribution.rivals import Rival, RivalAxis
    from experiments.bend.optimum import CellOptimum
    from experiments.tables.run_table import RunTable

STEEPEST = 1e6  # exponent of a rival

SUMMARY = "how much of a bend angles, norm or something else can make"
EXAMPLES = (
    "lrbend attribute docs/samples/arms.csv --optima",
    "lrbend attribute docs/solvable-bend/optima.csv --optima --where problem=eigenvectors --arm reference=own:own"
    " --arm 'equilibrium start=steady:own' --arm adamh=steady:fixed:angle",
    "lrbend attribute docs/same-angle/runs.csv --arm equilibrium=steady:own --arm adamh=steady:fixed:angle"
    " --mean-angle mean_angle --rival final_rms --rival mean_angle=0.5",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_columns(parser, "one run a row, as for fit, with its arm; or one optimum a row, with --optima")
    arms = parser.add_argument_group("arms")
    arms.add_argument(
        "--arm",
        action="append",
        metavar="NAME=ANGLES:NORM",
        help="place of an arm: angles own or steady, norm own or fixed, ':angle' behind if its learning rate is one;"
        " repeatable (default: those known by name, adamw=own:own, replay=own:fixed, equilibrium=steady:own,"
        " adamh=steady:fixed:angle)",
    )
    arms.add_argument(
        "--mean-angle",
        metavar="COLUMN",
        help="mean angle per step; takes the problem's own bend out (default: it stays in)",
    )
    optima = parser.add_argument_group("a table of optima in place of runs")
    optima.add_argument("--optima", action="store_true", help="one cell of an arm a row: learning_rate, low, high")
    rivals = parser.add_argument_group("rivals")
    rivals.add_argument(
        "--rival",
        action="append",
        metavar="COLUMN[=EXPONENT]",
        help="could this column do it instead; optimum ~ column^EXPONENT, estimated if not given; repeatable"
        " (default: no rival)",
    )
    rivals.add_argument("--steepest", type=number, default=2.0, help="exponent beyond which no rival is believed")
    add_delta(parser)
    add_folder(parser, "out", "the page, its figures and their tables", without="no page")
    add_plot(parser, "the parts of the curvature along every scale with their intervals")


def run(options: argparse.Namespace) -> int:
    import numpy as np

    from experiments.attribution.parts import OWN, attribute
    from experiments.attribution.rivals import judge_rival
    from experiments.bend.fit import fit_bend
    from experiments.bend.scaling_law import AXES
    from theory.checks import require_delta, require_number

    check_plot(options)
    require_delta(options.delta)
    require_number("steepest", options.steepest, above=0, at_most=STEEPEST)
    places, rivals = _places(options.arm), _rivals(options.rival)
    runs = None if options.optima else _read_runs(options, rivals)
    if runs is None:
        optima = _read_optima(options)
        arms = _arms(places, list(optima))
    else:
        groups = dict(runs.groups())
        arms = _arms(places, [str(name) for name in groups])
        chosen = runs.select(np.isin(np.asarray(runs.group_names), list(arms)))
        fit = fit_bend(chosen, delta=options.delta, sensitivity=False)
        optima = {str(group.group): group.cells for group in fit.groups}
    steepness = {} if runs is None or not options.mean_angle else _steepness(runs, optima, arms, options.mean_angle)
    axes = (*AXES, *(() if runs is None else runs.axes))
    found = attribute(optima, arms, axes=axes, delta=options.delta, steepness=steepness)
    main_arm = next((name for name, arm in arms.items() if arm.corner == OWN), next(iter(arms)))
    judged = [
        judge_rival(
            optima[main_arm],
            _of_arm(runs, main_arm),
            name,
            axes=axes,
            exponent=exponent,
            steepest=options.steepest,
        )
        for name, exponent in rivals.items()
        if runs is not None
    ]
    page = None
    if options.out is not None:
        from experiments.reports.attribution_report import write_attribution

        page = write_attribution(found, judged, optima, options.out, title=f"Attribution of the bend: {options.table}")
    write_plot(options, lambda: _draw(found, options.table.name))
    if options.json:
        answer = as_dict(found, judged)
        if runs is not None:
            read = with_rows(runs, [])
            answer |= {**read, "notes": [*read["notes"], *answer["notes"]]}
            del answer["groups"]
        print(to_json({**answer, "report": None if page is None else str(page)}))
        return 0
    lines = [] if runs is None else rows_in_words(runs)
    print("\n".join([*lines, attribution_in_words(found, judged), *([] if page is None else [f"\n{page}"])]))
    return 0


def _draw(found: Attribution, table: str) -> Figure:
    from experiments.figures.parts import parts_figure

    return parts_figure(found, title=f"What makes the bend of {table}")


def _read_runs(options: argparse.Namespace, rivals: Mapping[str, float | None]) -> RunTable:
    from experiments.tables.formats import read_raw
    from experiments.tables.reading import clean

    raw = read_raw(options.table)
    others = list(dict.fromkeys([*rivals, *([options.mean_angle] if options.mean_angle else [])]))
    groups = options.group or (("arm",) if "arm" in raw.header else ())
    runs = clean(raw, how_from(options, groups=groups, others=others))
    if runs.group_names is None:
        raise BadInput(f"{options.table}: no column arm or optimizer to name the arm (--group); it has {raw.shown}")
    return runs


def _read_optima(options: argparse.Namespace) -> dict[str, tuple[CellOptimum, ...]]:
    import numpy as np
    import pandas as pd

    from experiments.attribution.arm_optima import optima_from_frame
    from experiments.tables.filters import select_rows
    from experiments.tables.formats import read_raw

    for_runs = ("rival", "mean_angle", "constant", "column", "axis", "decay")
    if given := [flag(name) for name in for_runs if getattr(options, name)]:
        raise BadInput(f"--optima: a table of optima has no runs for {', '.join(given)}")
    if len(options.group or ()) > 1:
        raise BadInput(f"--optima: one column holds the arm, not {' and '.join(options.group)}")
    raw = select_rows(read_raw(options.table), conditions_from(options), {})
    frame = pd.DataFrame(dict(zip(raw.header, map(list, raw.columns), strict=True)), dtype=object)
    (arm,) = options.group or ("arm",)
    return optima_from_frame(frame.replace("", np.nan), arm=arm, where=str(options.table))


def _places(given: Sequence[str] | None) -> dict[str, Arm] | None:
    """Arms as they are given on the command line."""
    from experiments.attribution.parts import Arm
    from theory import InvalidParameter

    if given is None:
        return None
    result = {}
    for name, place in pairs("--arm", given, column=False).items():
        words = place.split(":")
        if len(words) not in (2, 3):
            raise BadInput(f"--arm {name}={place}: must be ANGLES:NORM or ANGLES:NORM:angle")
        try:
            result[name] = Arm(angle=words[0], norm=words[1], rate=[*words, "learning-rate"][2])  # type: ignore[arg-type]
        except InvalidParameter as error:
            raise BadInput(f"--arm {name}={place}: {error}") from None
    return result


def _arms(given: Mapping[str, Arm] | None, names: Sequence[str]) -> dict[str, Arm]:
    """Those that were given, else those known by name; checked against what the table has."""
    from experiments.attribution.parts import KNOWN_ARMS, check_arms

    chosen = {name: arm for name, arm in KNOWN_ARMS.items() if name in names} if given is None else dict(given)
    if not chosen:
        raise BadInput(f"--arm: needed, none of {', '.join(names)[:200]} is known by name ({', '.join(KNOWN_ARMS)})")
    check_arms(chosen, names)
    return chosen


def _rivals(given: Sequence[str] | None) -> dict[str, float | None]:
    from theory.checks import require_number

    result: dict[str, float | None] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if name in result:
            raise BadInput(f"--rival {name}: given twice")
        try:
            result[name] = (
                require_number("exponent", float(value), at_least=-STEEPEST, at_most=STEEPEST) if sign else None
            )
        except ValueError:
            raise BadInput(f"--rival {text}: {value!r} is not a number from {-STEEPEST:g} to {STEEPEST:g}") from None
    return result


def _of_arm(runs: RunTable, name: str) -> RunTable:
    return dict(runs.groups())[name]


def _steepness(
    runs: RunTable, optima: Mapping[str, Sequence[CellOptimum]], arms: Mapping[str, Arm], column: str
) -> dict[str, float]:
    """d ln(AdamW's learning rate) / d ln(mean angle) near the optimum; left out of an arm that has no such column."""
    import numpy as np

    from experiments.attribution.rival_levels import read_cells, read_levels

    result = {}
    if np.any(runs.numbers[column] <= 0):
        raise BadInput(f"--mean-angle {column}: must be above 0 in every run")
    for name, arm in arms.items():
        cells, readings = read_cells(optima[name], _of_arm(runs, name), column)
        if cells:
            slope = read_levels(readings, np.log([cell.learning_rate or np.nan for cell in cells])).slope
            if slope > 0:
                result[name] = arm.power / slope
    return result


LEGEND = (
    "bend = angle + norm + left: what the angles carry, what the norm itself carries, what bends with neither.",
    "both: angle + norm. interaction: what the two do only together. The others: one of them, the other held.",
    "Columns: part; curvature with its verdict; how far ln(rate) ends from a straight line; share of the bend.",
)


def as_dict(found: Attribution, rivals: Sequence[Rival]) -> dict[str, Any]:
    """The JSON object."""
    return {
        "axes": {
            axis: {
                "parts": {name: plain(part) for name, part in item.parts.items()},
                "arms": {name: plain(part) for name, part in item.arms.items()},
                "log_range": item.log_range,
            }
            for axis, item in found.axes.items()
        },
        "arms": {name: plain(arm) for name, arm in found.arms.items()},
        "rivals": [
            {**plain(rival), "axes": {axis: plain(item) for axis, item in rival.axes.items()}} for rival in rivals
        ],
        "num_cells": found.num_cells,
        "num_cells_in_all": found.num_cells_in_all,
        "freedom": found.freedom,
        "delta": found.delta,
        "notes": list(found.notes),
    }


def attribution_in_words(found: Attribution, rivals: Sequence[Rival]) -> str:
    """The same in words and small tables."""
    from experiments.bend.verdict import rule_in_words

    places = ", ".join(f"{name} ({arm.angle} angles, {arm.norm} norm)" for name, arm in found.arms.items())
    lines = [f"{counted(found.num_cells, 'cell')}; {places}.", *(f"  {note}." for note in found.notes)]
    if found.axes:
        lines += ["", *LEGEND, rule_in_words(found.delta)]
    for axis, item in found.axes.items():
        lines += ["", f"Curvature along {axis}, with joint 95 % intervals:", *_axis_in_words(item, found.delta)]
    for rival in rivals:
        lines += ["", *_rival_in_words(rival)]
    return "\n".join(lines)


def _axis_in_words(item: AxisAttribution, delta: float) -> list[str]:
    lines = [f"  {name:20} {_part(part, delta)}" for name, part in item.parts.items() if part.value is not None]
    unknown: dict[str, list[str]] = {}
    for name, part in item.parts.items():
        if part.value is None:
            unknown.setdefault(str(part.reason), []).append(name)
    return lines + [f"  not identifiable ({reason}): {'; '.join(names)}" for reason, names in unknown.items()]


def _part(part: Contribution, delta: float) -> str:
    from experiments.bend.verdict import verdict_in_words

    text = f"{part.value:+.3f} [{part.low:+.3f}, {part.high:+.3f}] {verdict_in_words(part.verdict, delta):20}"
    if part.deviation is not None:
        text += f"  {part.deviation[0]:+.2f} [{part.deviation[1]:+.2f}, {part.deviation[2]:+.2f}] in ln(rate)"
    if part.share is not None and part.share[1] is not None:
        text += f"  share {part.share[0]:.0%} [{part.share[1]:.0%}, {part.share[2]:.0%}]"
    return text


def _rival_in_words(rival: Rival) -> list[str]:
    exponent = "not known" if rival.exponent is None else _triple(rival.exponent)
    origin = " (given)" if rival.given else ""
    lines = [f"{rival.column}: exponent to the optimum {exponent}{origin}, {counted(rival.num_cells, 'cell')}"]
    return lines + [f"  {axis}: {_rival_axis(item)}" for axis, item in rival.axes.items()]


def _rival_axis(item: RivalAxis) -> str:
    text = item.verdict.value + (f" ({item.reason})" if item.reason else "")
    for name, values in (("its curvature", item.curvature), ("explains", item.explained), ("leaves", item.left)):
        if values is not None:
            text += f"; {name} {_triple(values)}"
    return text


def _triple(values: tuple[float, float, float]) -> str:
    return f"{values[0]:+.3f} [{values[1]:+.3f}, {values[2]:+.3f}]"
