"""``lrbend fit``: a table of runs to optima, exponents and a verdict on every axis."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from experiments.bend.exponents import Exponent
from experiments.bend.fit import BendFit, Curvature, GroupFit, Verdict, fit_bend
from experiments.bend.mean_angle import AngleOf
from experiments.bend.optimum import CellOptimum
from experiments.bend.table import LABELS, Exclusion, RunTable, describe_exclusions, read_table
from experiments.files import BadInput, to_json

MOST_CELLS_SHOWN = 40


def run(options: argparse.Namespace) -> int:
    table, effective = read_runs(options), angle_of(options)
    fit = fit_bend(table, delta=options.delta, batch=options.batch, effective=effective)
    if options.json:
        print(to_json(as_dict(fit)))
    else:
        print(describe(fit))
    return 0


def read_runs(options: argparse.Namespace) -> RunTable:
    """The table that a command's flags name."""
    columns, constants = pairs("--column", options.column), pairs("--constant", options.constant)
    return read_table(options.table, columns=columns, constants=typed(constants))


def angle_of(options: argparse.Namespace) -> AngleOf | None:
    """What ``--effective`` and its flags ask for."""
    if not options.effective:
        return None
    if options.schedule is None:
        raise BadInput("--effective: needs --schedule, one of constant, linear, cosine, wsd")
    return AngleOf(schedule=options.schedule, warmup_fraction=options.warmup_fraction, beta1=options.beta1)


def as_dict(fit: BendFit) -> dict[str, Any]:
    """The JSON object: ``groups``, and with a single group its keys at the top level too."""
    groups = [_group_dict(group, fit.delta) for group in fit.groups]
    result: dict[str, Any] = {
        "groups": groups,
        "delta": fit.delta,
        **rows_dict(fit.num_rows, fit.exclusions),
    }
    return {**result, **groups[0]} if len(groups) == 1 else result


def rows_dict(num_rows: int, exclusions: Sequence[Exclusion]) -> dict[str, Any]:
    """What was read, as keys of a JSON object."""
    return {
        "num_rows": num_rows,
        "num_excluded": sum(item.count for item in exclusions),
        "exclusions": [dataclasses.asdict(item) for item in exclusions],
    }


def _group_dict(group: GroupFit, delta: float) -> dict[str, Any]:
    angles = _group_dict(group.effective, delta) if group.effective else {}
    return {
        **{f"{key}_effective": angles[key] for key in ("cells", "exponents", "curvature", "power") if angles},
        "optimizer": group.optimizer,
        "batch": group.batch,
        "cells": [{**cell.key, **_plain(cell)} for cell in group.cells],
        "exponents": {name: _plain(item) for name, item in group.exponents.items()},
        "exponents_by_batch": [
            {"batch_size": item.batch_size, **{axis: _plain(one) for axis, one in item.exponents.items()}}
            for item in group.exponents_by_batch
        ],
        "curvature": {axis: {**_plain(item), "delta": delta} for axis, item in group.curvature.items()},
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
        "power": {axis: _plain(item) if item else None for axis, item in group.power.items()},
        "variances": _plain(group.variances) if group.variances else None,
        "shape": group.shape,
        "noise_ratio": group.noise_ratio,
        "notes": list(group.notes),
    }


def _plain(item: Any) -> dict[str, Any]:
    values = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    return {name: v.value if isinstance(v, Enum) else v for name, v in values.items() if not isinstance(v, Mapping)}


def describe(fit: BendFit) -> str:
    """The same in words and small tables."""
    lines = describe_rows(fit.num_rows, fit.exclusions)
    for group in fit.groups:
        lines += ["", *_describe_group(group, fit.delta)]
    return "\n".join(lines)


def describe_rows(num_rows: int, exclusions: Sequence[Exclusion]) -> list[str]:
    """How many rows are used, and why others are not."""
    used = num_rows - sum(item.count for item in exclusions)
    return [
        f"{used} of {num_rows} rows used.",
        *(f"  left out: {phrase}" for phrase in describe_exclusions(exclusions)),
    ]


def _describe_group(group: GroupFit, delta: float) -> list[str]:
    lines = [f"{group.optimizer or 'All runs'}: {len(group.cells)} cells, batch {group.batch}"]
    lines += aligned(
        ("cell", "status", "optimum", "95 % low", "high", "best tried", "best loss", "rates", "runs"),
        [_cell_row(cell) for cell in group.cells[:MOST_CELLS_SHOWN]],
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
    for axis, bend in group.curvature.items():
        lines.append(f"  {_curvature_line(axis, bend, delta)}")
        power = group.power[axis]
        if power is not None:
            lines.append(
                f"    smallest bend this table could have detected with 85 % power: {power.smallest_bend:.3g}"
                f" (a straight law would have been called straight in {power.straight_if_straight:.0%})"
            )
    if group.estimators and group.estimators[0].curvature:
        axes = list(group.estimators[0].curvature)
        lines += ["", "  Curvature by other estimators (none of them decides):"]
        lines += aligned(
            ("estimator", "cells", *axes),
            [(e.name, str(e.num_cells), *(_estimate(e.curvature[axis]) for axis in axes)) for e in group.estimators],
        )
        lines += [f"  {_spread(group, axis)}" for axis in axes if group.curvature[axis].value is not None]
    return lines


def _spread(group: GroupFit, axis: str) -> str:
    """How many of the other estimators' intervals hold 0, and how many the declared value."""
    declared = group.curvature[axis].value or 0.0
    others = [e.curvature[axis] for e in group.estimators[1:] if e.note is None]
    intervals = [(low, high) for _, low, high in others if low is not None and high is not None]
    zero = sum(low <= 0 <= high for low, high in intervals)
    same = sum(low <= declared <= high for low, high in intervals)
    return f"{axis}: of {len(intervals)} other intervals, {zero} hold 0 and {same} the declared value."


def _cell_row(cell: CellOptimum) -> tuple[str, ...]:
    key = " ".join(f"{short_name(name)}={value:.4g}" for name, value in cell.key.items()) or "all"
    numbers = (cell.learning_rate, cell.low, cell.high, cell.best_learning_rate)
    runs = str(cell.num_runs) + (f" ({cell.num_diverged} diverged)" if cell.num_diverged else "")
    loss = "-" if cell.best_loss is None else f"{cell.best_loss:.4f}"
    return (key, cell.status.value, *map(short_number, numbers), loss, str(cell.num_learning_rates), runs)


def short_name(name: str) -> str:
    return {"num_params": "N", "num_tokens": "D", "batch_size": "B", "weight_decay": "decay"}.get(name, name)


def _exponent_line(name: str, item: Exponent) -> str:
    if item.value is None:
        return f"exponent of {name}: not defined ({item.reason})"
    return f"exponent of {name}: {item.value:+.3f} [{item.low:+.3f}, {item.high:+.3f}] at {item.at:.3g}"


def _curvature_line(axis: str, item: Curvature, delta: float) -> str:
    if item.value is None:
        return f"curvature in {axis}: {item.verdict.value} ({item.reason})"
    within = f" within {delta:g}" if item.verdict is Verdict.STRAIGHT else ""
    return (
        f"curvature in {axis}: {item.value:+.3f}, 95 % [{item.low:+.3f}, {item.high:+.3f}],"
        f" 90 % [{item.low_90:+.3f}, {item.high_90:+.3f}]: {item.verdict.value}{within}"
    )


def _estimate(values: tuple[float | None, float | None, float | None]) -> str:
    value, low, high = values
    if value is None:
        return "-"
    return f"{value:+.3f}" + ("" if low is None else f" [{low:+.3f}, {high:+.3f}]")


def short_number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in (header, *rows)]


def pairs(flag: str, given: Sequence[str] | None, *, column: bool = True) -> dict[str, str]:
    """``NAME=VALUE`` flags; of a ``column`` of ours a dash in the name is an underscore."""
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


def typed(constants: Mapping[str, str]) -> dict[str, float | str]:
    result: dict[str, float | str] = {}
    for name, value in constants.items():
        try:
            result[name] = value if name in LABELS else float(value)
        except ValueError:
            raise BadInput(f"--constant {name}={value}: {value!r} is not a number") from None
    return result
