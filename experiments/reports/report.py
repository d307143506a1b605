"""The page of a set of runs, ``report.html``, with the CSV behind every table and figure beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.agreement.leave_one_out import leave_one_out
from experiments.agreement.predictions import PredictionRow, all_pass, prediction_rows, tally
from experiments.agreement.setting_runs import SettingRuns, group_runs
from experiments.agreement.trajectories import trajectory_table
from experiments.files import BadInput
from experiments.reports.leave_one_out_figures import leave_one_out_figures
from experiments.reports.page import Figure, data_uri, for_page, render, table_uri, write_page
from experiments.reports.prediction_table import prediction_cells, predictions_table
from experiments.reports.run_figures import loss_figure, trajectory_figure
from experiments.reports.run_tables import losses_table, runs_table
from experiments.runs.configs import config_text
from experiments.runs.run_directory import find_runs
from experiments.runs.run_files import Run, load_run
from experiments.runs.simulation import SimulationConfig


@dataclass(frozen=True)
class Report:
    """A written report: its page, and the predictions that it judges."""

    page: Path
    predictions: list[PredictionRow]


def report_directory(directory: Path) -> Report:
    """Report on every finished run below ``directory``. Raises `BadInput` if there is none."""
    paths = find_runs(directory)
    if not paths:
        raise BadInput(f"{directory}: holds no finished run")
    return write_report([load_run(path) for path in paths], directory, title=f"Runs in {directory.name or directory}")


def write_report(runs: Sequence[Run], directory: Path, *, title: str) -> Report:
    """Write ``report.html`` and ``report/*.{csv,png}`` into ``directory``, the page last and in one piece."""
    settings = group_runs(runs)
    predictions = prediction_rows(settings, [run for run in runs if isinstance(run.config, SimulationConfig)])
    agreement = leave_one_out(settings)
    tables = {
        "predictions": predictions_table(predictions),
        "runs": runs_table(runs),
        "held-out-summary": agreement.summary,
    }
    figures = _run_figures(settings, runs)
    further = leave_one_out_figures(agreement)
    text = render(
        "report.html",
        title=title,
        rows=prediction_cells(predictions),
        tally=tally(predictions),
        passed=all_pass(predictions),
        figures=[for_page(figure) for figure in figures],
        predictions_csv=data_uri("text/csv", tables["predictions"].to_csv(index=False).encode()),
        agreement=_agreement_rows(agreement.summary),
        agreement_csv=table_uri(agreement.summary),
        agreement_figures=[for_page(figure) for figure in further],
        runs=tables["runs"].to_dict("records"),
        config=config_text(runs[0].config),
        provenance=_provenance_lines(runs),
    )
    page = write_page(text, tables, [*figures, *further], directory, name="report", digits=8)
    return Report(page, predictions)


def _run_figures(settings: Sequence[SettingRuns], runs: Sequence[Run]) -> list[Figure]:
    figures = [
        trajectory_figure(
            trajectory_table(setting),
            title=setting.title,
            num_runs=len(setting.runs),
            num_steps=setting.schedule.num_steps,
        )
        for setting in settings
    ]
    losses = losses_table(runs)
    return figures if losses.empty else [*figures, loss_figure(losses)]


def _agreement_rows(summary: pd.DataFrame) -> list[dict[str, str]]:
    rows = []
    for row in summary.to_dict("records"):
        inside = "-" if row["inside"] != row["inside"] else f"{row['inside']:.0%}"
        if row["inside_low"] == row["inside_low"]:
            inside += f" [{row['inside_low']:.0%}, {row['inside_high']:.0%}]"
        errors = {name: f"{row[name]:.2g}" for name in ("rms_error", "largest")}
        rows.append({str(name): str(value) for name, value in row.items()} | errors | {"inside": inside})
    return rows


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
