"""The table of predictions as data, as cells of text, and for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pandas as pd

from experiments.agreement.predictions import PredictionRow
from experiments.text import aligned

LEGEND = (
    "predicted: closed form; simulated: Monte Carlo of gradient noise; measured: median over block matrices and seeds\n"
    "error: median of measured / predicted - 1; seeds: the same for single seeds, smallest to largest\n"
    "U: RMS of Adam's direction; rows without a limit are shown, not judged"
)
SHOWN = ("quantity", "predicted", "simulated", "measured", "range", "error", "seeds", "limit", "verdict", "remark")


def predictions_table(rows: Sequence[PredictionRow]) -> pd.DataFrame:
    """The rows with their verdicts."""
    columns = [field.name for field in dataclasses.fields(PredictionRow)] + ["verdict"]
    return pd.DataFrame([{name: getattr(row, name) for name in columns} for row in rows], columns=columns)


def prediction_cells(rows: Sequence[PredictionRow]) -> list[dict[str, str]]:
    """Every cell as text, for terminal and page: `SHOWN`, and the ``group``."""
    return [
        {
            "group": row.group,
            "quantity": row.quantity,
            "predicted": _value(row.predicted),
            "simulated": _value(row.simulated),
            "measured": _value(row.measured),
            "range": "" if row.low is None else f"{_value(row.low)} .. {_value(row.high)}",
            "error": _error(row),
            "seeds": "" if row.seed_low is None else f"{row.seed_low:+.1%} .. {row.seed_high:+.1%}",
            "limit": "" if row.limit is None else _percent(row.limit),
            "verdict": row.verdict or "",
            "remark": row.remark,
        }
        for row in rows
    ]


def predictions_text(rows: Sequence[PredictionRow]) -> str:
    """The table for a terminal, grouped by setting."""
    cells = prediction_cells(rows)
    header, *body = aligned(SHOWN, [[row[name] for name in SHOWN] for row in cells])
    lines, group = [LEGEND, "", header], ""
    for row, line in zip(cells, body, strict=True):
        if row["group"] != group:
            group = row["group"]
            lines += ["", group]
        lines.append(line)
    return "\n".join(lines)


def grouped_cells(rows: Sequence[PredictionRow]) -> tuple[list[str], list[dict[str, object]]]:
    """For a page: the columns of `SHOWN` that hold anything, and the groups in order of appearance.

    A group has a ``name``, its measured ``rows``, and a sentence for what was not measured, ``missing``.
    """
    groups: dict[str, dict[str, Any]] = {}
    for row, cells in zip(rows, prediction_cells(rows), strict=True):
        group = groups.setdefault(row.group, {"name": row.group, "rows": [], "missing": {}})
        if row.count:
            group["rows"].append(cells)
        else:
            group["missing"].setdefault(row.remark or "nothing was measured", []).append(row.quantity)
    for group in groups.values():
        group["missing"] = [f"{', '.join(names)}: {why}" for why, names in group["missing"].items()]
    shown = [cells for group in groups.values() for cells in group["rows"]]
    return [name for name in SHOWN if any(cells[name] for cells in shown)], list(groups.values())


def _value(value: float | None) -> str:
    if value is None:
        return ""
    return "0" if value == 0 else f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2e}"


def _percent(value: float) -> str:
    return f"{value:.1%}" if value >= 1e-3 else f"{value:.0e}"


def _error(row: PredictionRow) -> str:
    if row.error is None:
        return ""
    return f"{row.error:+.1%}" if row.predicted else _percent(row.error)
