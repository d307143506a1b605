"""One self-contained HTML page for a set of runs, and the CSV behind every figure and table beside it."""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from experiments.agreement.comparison import Row, compare, group_runs
from experiments.agreement.leave_one_out import held_out
from experiments.files import BadInput, write_whole
from experiments.reports.figures import Figure, loss_figure, trajectory_figure
from experiments.reports.leave_one_out_figures import agreement_figures
from experiments.runs.configs import config_text
from experiments.runs.run_directory import find_runs
from experiments.runs.run_files import Run, load_run
from gpt.config import TrainConfig

TABLE_LEGEND = (
    "predicted: closed form; simulated: Monte Carlo of gradient noise; measured: median over block matrices and seeds\n"
    "error: median of measured / predicted - 1; U: RMS of Adam's direction; rows without a limit are shown, not judged"
)


def report_directory(directory: Path) -> Path:
    """Report on every finished run below ``directory``; returns the page. Raises `BadInput` if there is none."""
    paths = find_runs(directory)
    if not paths:
        raise BadInput(f"{directory}: holds no finished run")
    return write_report([load_run(path) for path in paths], directory, title=f"Runs in {directory.name or directory}")


def write_report(runs: Sequence[Run], directory: Path, *, title: str) -> Path:
    """Write ``report.html`` and ``report/*.{csv,png}`` into ``directory``, the page last and in one piece."""
    rows = compare(runs)
    training = [run for run in runs if isinstance(run.config, TrainConfig)]
    figures = [trajectory_figure(title, group, runs) for title, group in group_runs(runs).items()]
    if training:
        figures.append(loss_figure(training))
    agreement = held_out(runs)
    tables = {"predictions": predictions_table(rows), "runs": _runs_table(runs), "held-out-summary": agreement.summary}
    further = agreement_figures(agreement)
    folder = directory / "report"
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in [*tables.items(), *((figure.name, figure.table) for figure in [*figures, *further])]:
        write_whole(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.8g").encode())
    for figure in [*figures, *further]:
        write_whole(folder / f"{figure.name}.png", figure.png)
    page = _page(title=title, rows=rows, figures=figures, tables=tables, runs=runs, further=further)
    write_whole(directory / "report.html", page.encode(errors="replace"))
    return directory / "report.html"


def predictions_table(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a table, with their verdicts."""
    columns = [field.name for field in dataclasses.fields(Row)] + ["verdict"]
    return pd.DataFrame([{name: getattr(row, name) for name in columns} for row in rows], columns=columns)


def format_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Every cell of the table of predictions as text, for terminal and page."""
    return [
        {
            "group": row.group,
            "quantity": row.quantity,
            "predicted": _cell(row.predicted),
            "simulated": _cell(row.simulated),
            "measured": _cell(row.measured),
            "range": "" if row.low is None else f"{_cell(row.low)} .. {_cell(row.high)}",
            "error": _error(row),
            "limit": "" if row.limit is None else _percent(row.limit),
            "verdict": row.verdict or "",
            "remark": row.remark,
        }
        for row in rows
    ]


def text_table(rows: Sequence[Row]) -> str:
    """The table of predictions for a terminal, grouped by setting."""
    columns = ("quantity", "predicted", "simulated", "measured", "range", "error", "limit", "verdict", "remark")
    cells = format_rows(rows)
    widths = {c: max([len(c), *(len(row[c]) for row in cells)]) for c in columns}
    lines, group = [TABLE_LEGEND, "", "  ".join(c.ljust(widths[c]) for c in columns).rstrip()], ""
    for row in cells:
        if row["group"] != group:
            group = row["group"]
            lines += ["", group]
        lines.append("  ".join(row[c].ljust(widths[c]) for c in columns).rstrip())
    return "\n".join(lines)


def render(template: str, **values: object) -> str:
    """A page from one of the templates beside this file."""
    environment = Environment(
        loader=PackageLoader("experiments.reports", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(**values)


def for_page(figure: Figure) -> dict[str, str]:
    """A figure as its template wants it, picture and numbers inside."""
    return {
        "title": figure.title,
        "caption": figure.caption,
        "name": figure.name,
        "image": data_uri("image/png", figure.png),
        "csv": table_uri(figure.table),
    }


def _page(
    *,
    title: str,
    rows: Sequence[Row],
    figures: Sequence[Figure],
    tables: dict[str, pd.DataFrame],
    runs: Sequence[Run],
    further: Sequence[Figure],
) -> str:
    judged = [row for row in rows if row.verdict]
    return render(
        "report.html",
        title=title,
        rows=format_rows(rows),
        passed=sum(row.verdict == "pass" for row in judged),
        judged=len(judged),
        figures=[for_page(figure) for figure in figures],
        predictions_csv=data_uri("text/csv", tables["predictions"].to_csv(index=False).encode()),
        agreement=_agreement_rows(tables["held-out-summary"]),
        agreement_csv=table_uri(tables["held-out-summary"]),
        agreement_figures=[for_page(figure) for figure in further],
        runs=tables["runs"].to_dict("records"),
        config=config_text(runs[0].config),
        provenance=_provenance_lines(runs),
    )


def _agreement_rows(summary: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for row in summary.to_dict("records"):
        inside = "-" if row["inside"] != row["inside"] else f"{row['inside']:.0%}"
        if row["inside_low"] == row["inside_low"]:
            inside += f" [{row['inside_low']:.0%}, {row['inside_high']:.0%}]"
        errors = {name: f"{row[name]:.2g}" for name in ("rms_error", "largest")}
        rows.append({str(name): str(value) for name, value in row.items()} | errors | {"inside": inside})
    return rows


def _runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "run": run.path.name,
                "outcome": run.outcome,
                "seed": run.config.seed,
                "final_loss": run.summary.get("final_loss"),
                "final_loss_se": run.summary.get("final_loss_se"),
                "tokens_per_second": run.summary.get("tokens_per_second"),
                "commit": run.provenance.get("commit"),
            }
            for run in runs
        ]
    ).astype({"final_loss": float, "final_loss_se": float, "tokens_per_second": float})


def _provenance_lines(runs: Sequence[Run]) -> list[str]:
    """What the runs have in common, and a warning for what they ought to have in common and do not."""
    lines = []
    for label, key in (("Code", "commit"), ("Data", "data_fingerprint")):
        values = sorted({str(run.provenance[key]) for run in runs if run.provenance.get(key)})
        if values:
            warning = " (the runs differ: compare with care)" if len(values) > 1 else ""
            lines.append(f"{label}: {', '.join(values)}{warning}")
    machine = runs[0].provenance.get("machine")
    if isinstance(machine, dict):
        lines.append(f"Machine: {machine.get('processor')}, {machine.get('cores')} cores")
    return lines


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return "0" if value == 0 else f"{value:.4g}" if abs(value) >= 1e-3 else f"{value:.2e}"


def _percent(value: float) -> str:
    return f"{value:.1%}" if value >= 1e-3 else f"{value:.0e}"


def _error(row: Row) -> str:
    if row.error is None:
        return "-"
    return f"{row.error:+.1%}" if row.predicted else _percent(row.error)


def table_uri(table: pd.DataFrame) -> str:
    """A table as a link that holds it."""
    return data_uri("text/csv", table.to_csv(index=False, float_format="%.6g").encode())


def data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
