"""The page of a set of runs, ``report.html``, with the CSV behind every table and figure beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.agreement.advice import advise
from experiments.agreement.leave_one_out import leave_one_out
from experiments.agreement.measure import ComparedOptimizer
from experiments.agreement.predictions import PredictionRow, all_pass, prediction_rows, tally
from experiments.agreement.setting_runs import SettingRuns, group_runs
from experiments.agreement.trajectories import trajectory_table
from experiments.files import BadInput
from experiments.reports.leave_one_out_figures import leave_one_out_figures
from experiments.reports.page import Figure, for_page, render, table_link, write_page
from experiments.reports.prediction_table import grouped_cells, predictions_table
from experiments.reports.run_figures import loss_figure, trajectory_figure
from experiments.reports.run_tables import losses_table, runs_table
from experiments.runs.configs import config_text
from experiments.runs.run_directory import find_runs
from experiments.runs.run_files import Run, load_run
from experiments.runs.simulation import SimulationConfig
from experiments.text import counted
from gpt.config import TrainConfig

QUESTION = "Do the closed forms for norm and rotation hold on these runs, with no constant fitted?"
NOTHING_SETTLED = "No run has an equilibrium to be measured: the curves can be compared, settled values cannot."
MOST_CASES = 6  # settings named under a piece of advice


@dataclass(frozen=True)
class Report:
    """A written report: its page, and the predictions that it judges."""

    page: Path
    predictions: list[PredictionRow]


def report_directory(directory: Path) -> Report:
    """Report on every finished run below ``directory``, with advice in place of verdicts: the limits are those of the
    settings of `validate`. Raises `BadInput` if there is none."""
    paths = find_runs(directory)
    if not paths:
        tables = sorted(directory.glob("results/*.csv"))
        instead = f"; the answer of that study is its table, {tables[0]}" if tables else ""
        raise BadInput(f"{directory}: holds no finished run{instead}")
    title = f"Runs in {directory.name or directory}"
    return write_report([load_run(path) for path in paths], directory, title=title, judged=False)


def write_report(runs: Sequence[Run], directory: Path, *, title: str, judged: bool = True) -> Report:
    """Write ``report.html`` and ``report/*.{csv,png}`` into ``directory``, the page last and in one piece.

    ``judged``: with a verdict on every prediction, or with advice.
    """
    settings = group_runs(runs)
    predictions = prediction_rows(settings, [run for run in runs if _is_compared(run)])
    if not judged:
        predictions = [dataclasses.replace(row, limit=None) for row in predictions]
    agreement = leave_one_out(settings)
    tables = {"predictions": predictions_table(predictions), "runs": runs_table(runs)}
    if held_out := agreement.summary["inside"].notna().any():
        tables["held-out-summary"] = agreement.summary
    figures = _run_figures(settings, runs)
    further = leave_one_out_figures(agreement)
    columns, groups = grouped_cells(predictions)
    listed = list(zip(runs, tables["runs"].to_dict("records"), strict=True))
    text = render(
        "report.html",
        title=title,
        question=QUESTION,
        judged=judged,
        answer=(tally(predictions) if judged else "") or _errors_in_words(runs, settings),
        state=("holds" if all_pass(predictions) else "fails") if judged else "",
        advice=[] if judged else advise(settings),
        most_cases=MOST_CASES,
        figures=[for_page(figure) for figure in figures],
        further=[for_page(figure) for figure in further],
        columns=columns,
        groups=groups,
        predictions_data=table_link("predictions", tables["predictions"]),
        agreement=_agreement_rows(agreement.summary) if held_out else [],
        agreement_data=table_link("held-out-summary", agreement.summary),
        trained=[row for run, row in listed if isinstance(run.config, TrainConfig)],
        simulated=[row for run, row in listed if isinstance(run.config, SimulationConfig)],
        config=config_text(runs[0].config),
        provenance=_provenance_lines(runs),
    )
    page = write_page(text, tables, [*figures, *further], directory, name="report", digits=8)
    return Report(page, predictions)


def _is_compared(run: Run) -> bool:
    """Whether a run is a simulation whose theory a report compares it with."""
    return isinstance(run.config, SimulationConfig) and isinstance(run.config.optimizer, ComparedOptimizer)


def _errors_in_words(runs: Sequence[Run], settings: Sequence[SettingRuns]) -> str:
    """How far the medians of the settings lie from the theory, nothing judged."""
    counts = f"{counted(len(runs), 'run')}, {counted(len(settings), 'setting')} with a closed form."
    parts = []
    for name, column in (("angle per step", "angular_update"), ("weight RMS", "weight_rms")):
        ratios = [
            (setting.measured[column].astype(float) / setting.measured[f"predicted_{column}"].astype(float)).median()
            for setting in settings
        ]
        errors = [ratio - 1 for ratio in ratios if ratio == ratio]
        if errors:
            parts.append(f"{name} {min(errors):+.1%} to {max(errors):+.1%}")
    said = f"At equilibrium, measured over predicted by setting: {'; '.join(parts)}." if parts else NOTHING_SETTLED
    return f"{counts} {said}"


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
        inside = "" if row["inside"] != row["inside"] else f"{row['inside']:.0%}"
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
