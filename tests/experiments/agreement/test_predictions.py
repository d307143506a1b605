"""The table of predictions: every verdict follows from its row, and only runs that the theory speaks of are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.agreement.predictions import PredictionRow, all_pass, prediction_rows, tally
from experiments.agreement.setting_runs import group_runs
from experiments.reports.prediction_table import SHOWN, predictions_text
from experiments.runs.run_files import Run
from experiments.runs.simulation import SimulationConfig
from tests.experiments.conftest import ADAMW, tiny_config
from theory import Constant, predict_trajectory

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
    far = replace(off, error=-0.5, limit=None, quantity="far")
    said = tally([ROW, replace(ROW, error=-0.07), draft, draft, off, far])
    assert said == (
        "1 of 2 judged predictions hold; not q of g (-7%). Not judged is classic GPT-2, whose law is a draft: there 1"
        " of 3 are off by more than their limit, by up to 7% (q of g). What has no limit is off by up to 50% (far of"
        " g)."
    )
    assert tally([ROW]) == "1 of 1 judged predictions hold."
    assert not tally([replace(ROW, limit=None)])


def test_the_spread_over_seeds_is_that_of_single_seeds(study: tuple[Path, list[Run]]) -> None:
    """Runs that are the theory itself, but for norms that are 2 % and 5 % larger."""
    schedule = Constant(num_steps=400, warmup_steps=5)
    theory = predict_trajectory(ADAMW, schedule, initial_rms=0.25, record_every=5)
    runs = [
        replace(
            study[1][0],
            path=Path(f"run-{seed}"),
            config=tiny_config(seed=seed, schedule=schedule),
            trajectory=replace(theory, weight_rms=theory.weight_rms * factor),
        )
        for seed, factor in enumerate((1.02, 1.05))
    ]
    row = next(row for row in prediction_rows(group_runs(runs), []) if row.quantity == "weight RMS")
    assert [row.seed_low, row.error, row.seed_high] == pytest.approx([0.02, 0.035, 0.05], abs=2e-3)
    alone = next(row for row in prediction_rows(group_runs(runs[:1]), []) if row.quantity == "weight RMS")
    assert (alone.seed_low, alone.seed_high) == (None, None)


def test_rows_cover_every_setting_and_those_with_a_theory_are_judged(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    rows = rows_of(runs)
    titles = {setting.title for setting in group_runs(runs)}
    assert all(any(row.group.startswith(title) for row in rows) for title in titles)
    judged = [row.group for row in rows if row.verdict and row.quantity != "norm drift"]
    assert all("scale-invariant" in group or group.endswith(("value, output", "up, down")) for group in judged)
    assert sum(not row.group.startswith("Adam") for row in rows) == 2  # the simulations
    simulations = [run for run in runs if isinstance(run.config, SimulationConfig)]
    assert prediction_rows([], simulations) == prediction_rows([], simulations[::-1])  # whatever order folders have
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
