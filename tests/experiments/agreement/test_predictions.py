"""The table of predictions: every verdict follows from its row, and only runs that the theory speaks of are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from experiments.agreement.predictions import PredictionRow, all_pass, prediction_rows, tally
from experiments.agreement.setting_runs import group_runs
from experiments.reports.prediction_table import SHOWN, predictions_text
from experiments.runs.run_files import Run
from experiments.runs.simulation import SimulationConfig

ROW = PredictionRow(
    group="g",
    quantity="q",
    predicted=1.0,
    simulated=None,
    measured=1.05,
    low=1.0,
    high=1.1,
    error=0.05,
    limit=0.06,
    count=1,
)


def rows_of(runs: list[Run]) -> list[PredictionRow]:
    return prediction_rows(group_runs(runs), [run for run in runs if isinstance(run.config, SimulationConfig)])


def test_a_verdict_follows_from_error_and_limit() -> None:
    assert ROW.verdict == "pass"
    assert replace(ROW, error=-0.07).verdict == "fail"
    assert replace(ROW, error=None).verdict == "fail"
    assert replace(ROW, limit=None).verdict is None
    assert replace(ROW, count=0, error=None).verdict is None  # nothing was measured


def test_all_pass_only_if_every_row_with_a_limit_was_measured() -> None:
    assert all_pass([ROW, replace(ROW, limit=None, error=9.0)])
    assert not all_pass([ROW, replace(ROW, error=-0.07)])
    assert not all_pass([ROW, replace(ROW, count=0, error=None)])


def test_what_is_not_promised_is_counted_apart() -> None:
    draft = replace(ROW, promised=False)
    off = replace(draft, error=-0.07)
    assert (draft.verdict, off.verdict) == ("within", "outside")
    assert all_pass([ROW, off])
    said = tally([ROW, replace(ROW, error=-0.07), draft, draft, off, replace(off, limit=None)])
    assert said == (
        "1 of 2 checks pass. Of 3 predictions for classic GPT-2, whose law is a draft, 2 are within their limits."
    )
    assert tally([ROW]) == "1 of 1 checks pass."
    assert not tally([replace(ROW, limit=None)])


def test_rows_cover_every_setting_and_those_with_a_theory_are_judged(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    rows = rows_of(runs)
    titles = {setting.title for setting in group_runs(runs)}
    assert all(any(row.group.startswith(title) for row in rows) for title in titles)
    judged = [row.group for row in rows if row.verdict and row.quantity != "norm drift"]
    assert all("scale-invariant" in group or group.endswith(("value, output", "up, down")) for group in judged)
    assert sum(not row.group.startswith("Adam") for row in rows) == 2  # the simulations
    drift = [row for row in rows if row.quantity == "norm drift"]
    assert [row.verdict for row in drift] == ["pass"]


def test_the_text_has_a_line_for_each_row_under_its_group(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    rows = rows_of(runs)
    lines = predictions_text(rows).splitlines()
    (header,) = [line for line in lines if line.split()[:2] == list(SHOWN[:2])]
    groups = list(dict.fromkeys(row.group for row in rows))
    assert [line for line in lines if line in groups] == groups
    body = [line for line in lines[lines.index(header) + 1 :] if line and line not in groups]
    assert len(body) == len(rows)
    place = header.index("predicted")
    for row, line in zip(rows, body, strict=True):
        assert line[:place].strip() == row.quantity
