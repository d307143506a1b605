"""The page of an attribution: what `lrbend attribute` found, with the CSV behind every table and figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.attribution.parts import Attribution
from experiments.attribution.rivals import Rival
from experiments.attribution.tables import optima_table, parts_table, rivals_table
from experiments.bend.optimum import CellOptimum
from experiments.bend.verdict import rule_in_words, verdict_in_words
from experiments.reports.attribution_figures import optima_figure, parts_figure
from experiments.reports.page import for_page, render, table_link, write_page
from theory.bend import Direction


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
    drawn = (parts_figure(tables["parts"]), optima_figure(optima_table(found, optima)))
    figures = [figure for figure in drawn if figure is not None]
    text = render(
        "attribution.html",
        title=title,
        num_cells=found.num_cells,
        arms=[f"{name} ({arm.angle} angles, {arm.norm} norm)" for name, arm in found.arms.items()],
        notes=found.notes,
        rule=rule_in_words(found.delta),
        parts=[_part_row(row, found.delta) for row in tables["parts"].to_dict("records")],
        parts_data=table_link("parts", tables["parts"]),
        rivals=[_rival_row(row) for row in tables["rivals"].to_dict("records")] if rivals else [],
        rivals_data=table_link("rivals", tables["rivals"]) if rivals else None,
        figures=[for_page(figure) for figure in figures],
    )
    return write_page(text, tables, figures, directory, name="attribution", digits=6)


def _part_row(row: Mapping[object, object], delta: float) -> dict[str, str]:
    names = {str(name): value for name, value in row.items()}
    reason = "" if names["verdict"] != "not-identifiable" else str(names["reason"])
    shown = {name: _triple(names, name, "{:+.3f}") for name in ("curvature", "deviation")}
    share = _triple(names, "share", "{:.0%}") if _known(names["share_low"]) else ""
    words = {name: str(names[name]) for name in ("axis", "part")}
    words["verdict"] = verdict_in_words(Direction(names["verdict"]), delta)
    return words | shown | {"share": share, "reason": reason}


def _rival_row(row: Mapping[object, object]) -> dict[str, str]:
    names = {str(name): value for name, value in row.items()}
    shown = {name: _triple(names, name, "{:+.3f}") for name in ("curvature", "exponent", "explained", "left")}
    words = {name: str(names[name]) for name in ("column", "axis", "verdict")}
    return words | shown | {"reason": str(names["reason"] or "")}


def _triple(names: Mapping[str, object], name: str, form: str) -> str:
    low, high = (names.get(f"{name}_{bound}", names.get(bound)) for bound in ("low", "high"))
    if not _known(names[name]):
        return ""
    text = form.format(names[name])
    return f"{text} [{form.format(low)}, {form.format(high)}]" if _known(low) and _known(high) else text


def _known(value: object) -> bool:
    return isinstance(value, float) and bool(np.isfinite(value))
