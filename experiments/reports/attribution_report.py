"""The page of an attribution: what `lrbend attribute` found, with the CSV behind every table and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from experiments.attribution.parts import Attribution
from experiments.attribution.rivals import Rival
from experiments.bend.optimum import CellOptimum
from experiments.bend.scaling_law import AXES
from experiments.files import BadInput, write_whole
from experiments.reports.figures import Figure, as_png
from experiments.reports.report import for_page, render, table_uri

MAIN = ("bend", "angle", "norm", "left")
MOST_PANELS = 5


def write_attribution(
    found: Attribution,
    rivals: Sequence[Rival],
    optima: Mapping[str, Sequence[CellOptimum]],
    directory: Path,
    *,
    title: str,
) -> Path:
    """Write ``attribution.html``, and ``{parts,rivals,optima}.csv`` and PNGs in ``attribution/``, into ``directory``;
    returns the page. Raises `BadInput` where it cannot be written."""
    tables = {"parts": parts_table(found)} | ({"rivals": rivals_table(rivals)} if rivals else {})
    figures = [_parts_figure(tables["parts"]), *_optima_figure(found, optima)]
    folder = directory / "attribution"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {directory}: cannot be written ({error.strerror})") from None
    for name, table in [*tables.items(), *((figure.name, figure.table) for figure in figures)]:
        write_whole(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g").encode())
    for figure in figures:
        write_whole(folder / f"{figure.name}.png", figure.png)
    page = render(
        "attribution.html",
        title=title,
        num_cells=found.num_cells,
        arms=[f"{name} ({arm.angle} angles, {arm.norm} norm)" for name, arm in found.arms.items()],
        notes=found.notes,
        parts=[_part_row(row) for row in tables["parts"].to_dict("records")],
        parts_csv=table_uri(tables["parts"]),
        rivals=[_rival_row(row) for row in tables["rivals"].to_dict("records")] if rivals else [],
        rivals_csv=table_uri(tables["rivals"]) if rivals else "",
        figures=[for_page(figure) for figure in figures],
    )
    write_whole(directory / "attribution.html", page.encode(errors="replace"))
    return directory / "attribution.html"


def parts_table(found: Attribution) -> pd.DataFrame:
    """A row per axis and part: curvature, deviation and share with 95 % intervals, empty where not identifiable."""
    rows = []
    for axis, item in found.axes.items():
        for name, part in item.parts.items():
            row: dict[str, object] = {"axis": axis, "part": name, "curvature": part.value}
            row |= {"low": part.low, "high": part.high, "verdict": part.verdict.value}
            for column, values in (("deviation", part.deviation), ("share", part.share)):
                triple = values or (None, None, None)
                row |= dict(zip((column, f"{column}_low", f"{column}_high"), triple, strict=True))
            rows.append(row | {"reason": part.reason})
    return pd.DataFrame(rows)


def rivals_table(rivals: Sequence[Rival]) -> pd.DataFrame:
    """A row per column and axis, 95 % intervals."""
    rows = []
    for rival in rivals:
        for axis, item in rival.axes.items():
            row: dict[str, object] = {"column": rival.column, "axis": axis, "verdict": item.verdict.value}
            for name, values in (
                ("bend", item.bend),
                ("curvature", item.curvature),
                ("exponent", rival.exponent),
                ("needed", item.needed),
                ("explained", item.explained),
                ("left", item.left),
            ):
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), values or (None, None, None), strict=True))
            rows.append(row | {"reliability": rival.reliability, "num_cells": rival.num_cells, "reason": item.reason})
    return pd.DataFrame(rows)


def _part_row(row: Mapping[object, object]) -> dict[str, str]:
    names = {str(name): value for name, value in row.items()}
    reason = "" if names["verdict"] != "not-identifiable" else str(names["reason"])
    shown = {name: _triple(names, name, "{:+.3f}") for name in ("curvature", "deviation")}
    share = _triple(names, "share", "{:.0%}") if _known(names["share_low"]) else "-"
    words = {name: str(names[name]) for name in ("axis", "part", "verdict")}
    return words | shown | {"share": share, "reason": reason}


def _rival_row(row: Mapping[object, object]) -> dict[str, str]:
    names = {str(name): value for name, value in row.items()}
    shown = {name: _triple(names, name, "{:+.3f}") for name in ("curvature", "exponent", "explained", "left")}
    words = {name: str(names[name]) for name in ("column", "axis", "verdict")}
    return words | shown | {"reason": str(names["reason"] or "")}


def _triple(names: Mapping[str, object], name: str, form: str) -> str:
    low, high = (names.get(f"{name}_{bound}", names.get(bound)) for bound in ("low", "high"))
    if not _known(names[name]):
        return "-"
    text = form.format(names[name])
    return f"{text} [{form.format(low)}, {form.format(high)}]" if _known(low) and _known(high) else text


def _known(value: object) -> bool:
    return isinstance(value, float) and bool(np.isfinite(value))


def _parts_figure(parts: pd.DataFrame) -> Figure:
    known = parts[parts["part"].isin(MAIN)].astype(dict.fromkeys(("curvature", "low", "high"), float))
    axes_of = list(dict.fromkeys(known["axis"]))
    figure, grid = plt.subplots(1, len(axes_of), figsize=(4.5 * len(axes_of), 2.6), squeeze=False, layout="constrained")
    for axis, ax in zip(axes_of, grid[0], strict=True):
        rows = known[known["axis"] == axis].set_index("part").loc[list(MAIN)]
        place = np.arange(len(MAIN))
        errors = (
            rows["curvature"].to_numpy() - rows["low"].to_numpy(),
            rows["high"].to_numpy() - rows["curvature"].to_numpy(),
        )
        ax.errorbar(rows["curvature"], place, xerr=errors, fmt="o", capsize=3, color="black")
        for position, value in zip(place, rows["curvature"], strict=True):
            if not np.isfinite(value):
                ax.text(0.5, position, "not identifiable", transform=ax.get_yaxis_transform(), ha="center", fontsize=8)
        ax.axvline(0, color="grey", linewidth=1)
        ax.set_yticks(place, MAIN)
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set(xlabel=f"curvature along {axis}", ylim=(len(MAIN) - 0.5, -0.5))
    return Figure(
        name="parts-figure",
        title="Bend = angle + norm + left",
        caption="95 % intervals, joint over arms.",
        png=as_png(figure),
        table=known,
    )


def _optima_figure(found: Attribution, optima: Mapping[str, Sequence[CellOptimum]]) -> list[Figure]:
    """Optima of every arm along each axis, a line for each value of the other; nothing without an optimum."""
    rows = [
        {"arm": name, **cell.key, "learning_rate": cell.learning_rate, "low": cell.low, "high": cell.high}
        for name in found.arms
        for cell in optima[name]
        if cell.learning_rate is not None
    ]
    table = pd.DataFrame(rows)
    axes_of = [axis for axis in AXES if axis in table.columns and table[axis].nunique() > 1]
    if not axes_of:
        return []
    names = list(dict.fromkeys(table["arm"]))[:MOST_PANELS]
    size = (2.8 * len(names) + 0.6, 2.6 * len(axes_of))
    figure, grid = plt.subplots(
        len(axes_of), len(names), figsize=size, squeeze=False, sharex="row", layout="constrained"
    )
    for line, axis in enumerate(axes_of):
        (other,) = (name for name in AXES if name != axis)
        for column, name in enumerate(names):
            ax, arm = grid[line, column], table[table["arm"] == name]
            groups = arm.groupby(other) if other in arm.columns else [("", arm)]
            for place, (_, part) in enumerate(groups):
                part = part.sort_values(axis)
                rate = part["learning_rate"].to_numpy(float)
                bars = np.nan_to_num(
                    np.abs([rate - part["low"].to_numpy(float), part["high"].to_numpy(float) - rate]), posinf=0.0
                )
                ax.errorbar(part[axis], rate, yerr=bars, fmt="o-", ms=3, lw=0.8, capsize=2, color=f"C{place % 10}")
            ax.set(xscale="log", yscale="log", xlabel=axis, title=name if line == 0 else "")
            for each, values in ((ax.xaxis, table[axis]), (ax.yaxis, arm["learning_rate"])):
                each.set_major_locator(LogLocator(subs=_subdivisions(values.astype(float)), numticks=8))
                each.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
                each.set_minor_locator(NullLocator())
    return [
        Figure(
            name="optima",
            title="Optimal learning rate, arm by arm",
            caption="95 % intervals; lines join cells that differ in the axis alone. Rates as in the table.",
            png=as_png(figure),
            table=table,
        )
    ]


def _subdivisions(values: pd.Series) -> tuple[float, ...]:
    """Of a decade: more of them on a short axis."""
    return (1.0,) if values.max() > 300 * values.min() else (1.0, 2.0, 5.0)
