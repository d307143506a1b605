"""``lrbend fit``: a table of runs to optima, exponents and a verdict on every axis."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.cli.plot_flags import add_plot, check_plot, write_plot
from experiments.cli.tables.table_flags import (
    add_delta,
    add_law,
    add_table,
    angle_from,
    plain,
    read_runs,
    rows_in_words,
    with_rows,
)
from experiments.cli.waiting import waiting
from experiments.files import to_json
from experiments.text import aligned, counted, short_name, short_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.bend.differences import Difference
    from experiments.bend.exponents import Exponent
    from experiments.bend.fit import BendFit, Curvature, GroupFit
    from experiments.bend.optimum import CellOptimum
    from experiments.bend.power import Power
    from experiments.bend.scaling_law import ScalingLaw

MOST_CELLS_SHOWN = 40
SET_BY_LIMIT = 0.5  # times the intervals at which a straight law is called straight: narrower ones show no smaller bend
COLUMNS = (
    "optimum: the best learning rate of a cell, by the fit; status: interior to the rates tried, censored at the lowest"
    " or highest of them, flat, or too few points."
)
CURVATURE = (
    "curvature: second derivative of ln(optimum) along ln(scale), per squared e-fold; above 0 the line bends up. At s"
    " e-folds of scale from the middle it moves ln(optimum) by half of it times s squared."
)
FARTHER = 30.0  # times the range of an axis: no advice beyond

SUMMARY = "a table of runs to optima, exponents and a verdict on the bend"
EXAMPLES = (
    "lrbend fit docs/samples/sweep.csv",
    "lrbend fit docs/same-angle/runs.csv --group arm --where outcome=completed",
    "lrbend fit docs/same-angle/runs.csv --column optimizer=arm --effective --schedule constant",
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    add_table(parser)
    add_law(parser)
    parser.add_argument(
        "--shapes",
        choices=("shared", "own"),
        help="one shape of the loss for all cells of a group, or one for each (default: what the losses of each group"
        " call for)",
    )
    add_delta(parser)
    add_plot(parser, "the optima along every scale with their law, and the losses of cells with the fitted curves")


def run(options: argparse.Namespace) -> int:
    from experiments.bend.fit import fit_bend

    check_plot(options)
    table, effective = read_runs(options), angle_from(options)
    straight = options.law == "straight"
    with waiting("lrbend fit: fitting all cells together, and again without each of them"):
        fit = fit_bend(
            table,
            delta=options.delta,
            batch=options.batch,
            effective=effective,
            straight=straight,
            shapes=options.shapes,
        )
    write_plot(options, lambda: _draw(fit, options.table.name))
    print(to_json(as_dict(fit)) if options.json else fit_in_words(fit))
    return 0


def _draw(fit: BendFit, table: str) -> Figure:
    from experiments.figures.sweeps import sweep_figure

    return sweep_figure(fit.groups, delta=fit.delta, title=f"Optimal learning rates of {table}")


def as_dict(fit: BendFit) -> dict[str, Any]:
    """The JSON object: `with_rows` of the groups, and the differences between them."""
    from experiments.bend.differences import exponent_differences

    return {
        **with_rows(fit, [_group_dict(group, fit.delta) for group in fit.groups]),
        "delta": fit.delta,
        "differences": [plain(item) for item in exponent_differences(fit.groups)],
    }


def _group_dict(group: GroupFit, delta: float) -> dict[str, Any]:
    angles = _group_dict(group.effective, delta) if group.effective else {}
    return {
        **{f"{key}_effective": angles[key] for key in ("cells", "exponents", "curvature", "power", "shapes") if angles},
        "group": group.group,
        "optimizer": group.optimizer,
        "batch": group.batch,
        "cells": [{**cell.key, **plain(cell, without=("key",))} for cell in group.cells],
        "exponents": {name: plain(item) for name, item in group.exponents.items()},
        "exponents_by_batch": [
            {"batch_size": item.batch_size, **{axis: plain(one) for axis, one in item.exponents.items()}}
            for item in group.exponents_by_batch
        ],
        "curvature": {axis: {**plain(item), "delta": delta} for axis, item in group.curvature.items()},
        "estimators": [
            {
                "name": item.name,
                "curvature": {
                    axis: dict(zip(("value", "low", "high"), v, strict=True)) for axis, v in item.curvature.items()
                },
                "num_cells": item.num_cells,
                "note": item.note,
            }
            for item in group.estimators
        ],
        "power": {axis: plain(item) if item else None for axis, item in group.power.items()},
        "variances": plain(group.variances) if group.variances else None,
        "shape": group.shape,
        "shapes": group.law.shapes,
        "noise_ratio": group.noise_ratio,
        "notes": list(group.notes),
    }


def fit_in_words(fit: BendFit) -> str:
    """The same in words and small tables."""
    from experiments.bend.differences import exponent_differences

    lines = [*rows_in_words(fit), "", COLUMNS, CURVATURE]
    for group in fit.groups:
        lines += ["", *_group_in_words(group, fit.delta)]
    differences = exponent_differences(fit.groups)
    lines += [""] * bool(differences) + [f"  {_difference_line(item)}" for item in differences]
    lines += _read_unlike(fit.groups, differences)
    return "\n".join(lines)


def _read_unlike(groups: Sequence[GroupFit], differences: Sequence[Difference]) -> list[str]:
    """A line where groups that are compared have shapes of other kinds: part of a difference may be the reading's."""
    laws = {str(group.group): group.law for group in groups}
    pairs = [one.groups for one in differences if laws[one.groups[0]].shapes != laws[one.groups[1]].shapes]
    unlike = {name: law for name, law in laws.items() if any(name in pair for pair in pairs)}
    return [f"  Groups are read by other shapes {_shapes_in_words(unlike)}."] if unlike else []


def _shapes_in_words(laws: Mapping[str, ScalingLaw]) -> str:
    """Which of them have which shapes, and what reads them alike."""
    kinds = {kind: [name for name, law in laws.items() if law.shapes == kind] for kind in ("shared", "own")}
    shown = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds.items())
    both = all(law.has_both for law in laws.values())
    return f"({shown}); --shapes shared {'and --shapes own read' if both else 'reads'} them alike"


def _group_in_words(group: GroupFit, delta: float) -> list[str]:
    from experiments.bend.verdict import UNDECIDED

    lines = [f"{group.group or 'All runs'}: {counted(len(group.cells), 'cell')}, batch {group.batch}"]
    lines += aligned(
        ("cell", "status", "optimum", "95 % low", "high", "best tried", "best loss", "rates", "runs"),
        [_cell_row(cell) for cell in group.cells[:MOST_CELLS_SHOWN]],
        indent="  ",
    )
    if len(group.cells) > MOST_CELLS_SHOWN:
        lines.append(f"  ... and {len(group.cells) - MOST_CELLS_SHOWN} more (--json gives all)")
    lines += [f"  {note}." for note in group.notes]
    lines.append("")
    for name, item in group.exponents.items():
        lines.append(f"  {_exponent_line(name, item)}")
    for by_batch in group.exponents_by_batch:
        for axis, item in by_batch.exponents.items():
            lines.append(f"  at batch {short_number(by_batch.batch_size)}: {_exponent_line(axis, item)}")
    if group.effective is not None:
        for axis, bend in group.effective.curvature.items():
            lines.append(f"  in mean angle: {_curvature_line(axis, bend, delta)}")
        laws = {"learning rate": group.law, "mean angle": group.effective.law}
        if {law.shapes for law in laws.values()} == {"shared", "own"}:
            lines.append(f"    read by other shapes than the learning rate {_shapes_in_words(laws)}")
    for axis, bend in group.curvature.items():
        lines.append(f"  {_curvature_line(axis, bend, delta)}")
        power = group.power[axis]
        if power is not None:
            lines.append(
                f"    smallest bend that such tables name with 85 % power: {power.smallest_bend:.3g}; a straight line"
                f" they call straight in {power.straight_if_straight:.0%}"
                + (f"; the limit of {delta:g} sets it, not the noise" if power.narrower < SET_BY_LIMIT else "")
            )
        if power is not None and bend.reason == UNDECIDED:
            lines.append(f"    {_open_line(axis, bend, power, group.cells, delta)}")
    if group.estimators and group.estimators[0].curvature:
        axes = list(group.estimators[0].curvature)
        lines += ["", "  Curvature by other estimators (none of them decides):"]
        lines += aligned(
            ("estimator", "cells", *axes),
            [(e.name, str(e.num_cells), *(_estimate(e.curvature[axis]) for axis in axes)) for e in group.estimators],
            indent="  ",
        )
        lines += [f"  {_spread(group, axis)}" for axis in axes if group.curvature[axis].value is not None]
    return lines


def _spread(group: GroupFit, axis: str) -> str:
    """How many of the other estimators' intervals hold the declared value, and how many hold 0."""
    declared = group.curvature[axis].value or 0.0
    others = [e.curvature[axis] for e in group.estimators[1:] if e.note is None]
    intervals = [(low, high) for _, low, high in others if low is not None and high is not None]
    zero = sum(low <= 0 <= high for low, high in intervals)
    same = sum(low <= declared <= high for low, high in intervals)
    return f"{axis}: of {len(intervals)} other intervals, {same} hold the value above, {zero} hold 0."


def _cell_row(cell: CellOptimum) -> tuple[str, ...]:
    key = " ".join(f"{short_name(name)}={value:.4g}" for name, value in cell.key.items()) or "all"
    ends = [short_number(end) if end or cell.learning_rate is None else "open" for end in (cell.low, cell.high)]
    runs = str(cell.num_runs) + (f" ({cell.num_diverged} lost)" if cell.num_diverged else "")
    loss = "-" if cell.best_loss is None else f"{cell.best_loss:.4f}"
    best = short_number(cell.best_learning_rate)
    optimum = short_number(cell.learning_rate)
    return (key, cell.status.value, optimum, *ends, best, loss, str(cell.num_learning_rates), runs)


def _exponent_line(name: str, item: Exponent) -> str:
    if item.value is None:
        return f"exponent of {name}: not defined ({item.reason})"
    return f"exponent of {name}: {item.value:+.3f} [{item.low:+.3f}, {item.high:+.3f}] at {item.at:.3g}"


def _difference_line(item: Difference) -> str:
    apart = max(item.at) > 1.1 * min(item.at)
    where = f" (the first at {item.at[0]:.3g}, the second at {item.at[1]:.3g})" if apart else ""
    return (
        f"exponent of {item.axis}, {item.groups[0]} less {item.groups[1]}: {item.value:+.3f}"
        f" [{item.low:+.3f}, {item.high:+.3f}]{where}"
    )


def _curvature_line(axis: str, item: Curvature, delta: float) -> str:
    from experiments.bend.verdict import verdict_in_words

    if item.value is None:
        return f"curvature in {axis}: {item.verdict.value} ({item.reason})"
    return (
        f"curvature in {axis}: {item.value:+.3f}, 95 % [{item.low:+.3f}, {item.high:+.3f}],"
        f" 90 % [{item.low_90:+.3f}, {item.high_90:+.3f}]: {verdict_in_words(item.verdict, delta)}"
    )


def _open_line(axis: str, bend: Curvature, power: Power, cells: Sequence[CellOptimum], delta: float) -> str:
    """What is left open where neither a bend nor its absence is shown, and what would settle it."""
    found = f"no bend found, and none below {bend.low_90:+.2g} or above {bend.high_90:+.2g} is left (90 %)"
    if power.narrower <= 1:
        return f"{found}; another table like this one would tell a straight law"
    values = [cell.key[axis] for cell in cells]
    factor = max(values) / min(values)
    needed = factor**power.narrower**0.5
    if needed > FARTHER * factor:
        return (
            f"{found}; intervals {short_number(power.narrower, 2)} times narrower would tell straight: more cells first"
        )
    return (
        f"{found}; to tell straight from a bend of {delta:g}, spread as many cells over a factor of"
        f" {short_number(needed, 2)} in {axis} instead of {short_number(factor, 2)}"
    )


def _estimate(values: tuple[float | None, float | None, float | None]) -> str:
    value, low, high = values
    if value is None:
        return "-"
    return f"{value:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")
