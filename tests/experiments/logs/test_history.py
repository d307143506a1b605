"""Steps in order: restarts, counters that begin anew, rates that jump or are missing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.logs.history import History, history_of
from experiments.logs.settings import Setting
from experiments.logs.sources.detect import read_source
from tests.experiments.logs.made_logs import write_csv, write_json_lines
from theory import Cosine


def history(tmp_path: Path, rows: Sequence[Mapping[str, Any]], **setting: Any) -> History:
    return history_of(read_source(write_csv(tmp_path / "log.csv", rows), {}), Setting(**setting))


def rows_of(steps: Sequence[int], rate: Any = 0.01, loss: Any = None) -> list[dict[str, Any]]:
    return [
        {"step": step, "lr": rate(step) if callable(rate) else rate, "loss": loss(step) if loss else 10 / (step + 2)}
        for step in steps
    ]


def test_rates_lie_on_lines_between_records(tmp_path: Path) -> None:
    schedule = Cosine(num_steps=1000, warmup_steps=100)
    rates = 0.02 * schedule.multipliers()
    found = history(tmp_path, [{"step": t + 1, "lr": rates[t], "loss": 1} for t in range(9, 1000, 10)])
    assert found.num_steps == 1000
    assert found.learning_rates is not None
    np.testing.assert_allclose(found.learning_rates, rates, atol=2e-4)
    assert found.jumps == ()


def test_counting_from_0_or_from_1(tmp_path: Path) -> None:
    assert history(tmp_path, rows_of(range(0, 100))).num_steps == 100
    assert history(tmp_path, rows_of(range(1, 101))).num_steps == 100
    path = tmp_path / "log.txt"
    path.write_text("".join(f"step:{step}/100 val_loss:{5 - step / 100}\n" for step in range(0, 101, 10)))
    assert history_of(read_source(path, {}), Setting()).num_steps == 100


def test_a_restart_is_seen_and_what_was_made_again_counts(tmp_path: Path) -> None:
    first = rows_of(range(10, 510, 10), loss=lambda step: 100 + step)
    second = rows_of(range(305, 805, 10), loss=lambda step: 200 + step)  # at other steps than before
    found = history(tmp_path, [*first, *second])
    losses = found.series["loss"]
    assert found.num_steps == 795
    assert found.num_restarts == 1
    assert losses.done.tolist() == [*range(10, 310, 10), *range(305, 805, 10)]
    assert losses.values[losses.done <= 300].max() == 400
    assert losses.values[losses.done > 300].min() == 505
    assert any("steps go back from 500 to 305; 20 earlier records" in note for note in found.notes)


@pytest.mark.parametrize("told_by", ["epoch", "rate", "loss"])
def test_counters_that_begin_anew_with_every_epoch_are_carried_on(told_by: str, tmp_path: Path) -> None:
    rows = []
    for epoch in range(4):
        for step in range(10, 110, 10):
            made = epoch * 100 + step
            row: dict[str, Any] = {"step": step, "lr": 0.01, "loss": 3.0}
            change = {"epoch": epoch, "rate": 0.01 * (1 - made / 500), "loss": 9 / made**0.2}[told_by]
            row["lr" if told_by == "rate" else told_by] = change
            rows.append(row)
    found = history(tmp_path, rows)
    assert (found.num_steps, found.num_restarts) == (400, 0)
    assert found.series["loss"].done.tolist() == list(range(10, 410, 10))


@pytest.mark.parametrize("place", [0, 29, 30])
@pytest.mark.parametrize("loss", [math.inf, 1e200, 1e-310, 0.0])
def test_a_loss_of_no_size_says_nothing_of_a_restart(loss: float, place: int, tmp_path: Path) -> None:
    rows = [*rows_of(range(10, 310, 10)), *rows_of(range(10, 510, 10))]
    rows[place]["loss"] = loss
    assert history(tmp_path, rows).num_restarts == 1


def test_a_run_begun_again_from_scratch_is_no_epoch(tmp_path: Path) -> None:
    loss, rate = (lambda step: 9 / step**0.3), (lambda step: 0.01 * min(1, step / 200))
    again = [*rows_of(range(10, 310, 10), rate, loss), *rows_of(range(10, 510, 10), rate, loss)]
    found = history(tmp_path, again)
    assert (found.num_steps, found.num_restarts) == (500, 1)
    assert len(found.series["loss"].done) == 50


def test_one_row_out_of_its_place_is_no_restart(tmp_path: Path) -> None:
    rows = rows_of([10, 20, 30, 50, 40, 60, 70])
    found = history(tmp_path, rows)
    assert found.num_restarts == 0
    assert found.series["loss"].done.tolist() == [10, 20, 30, 40, 50, 60, 70]


def test_jumps_and_gaps_of_the_rate_are_said(tmp_path: Path) -> None:
    found = history(tmp_path, rows_of(range(1, 400), lambda step: 0.01 * (1 - (step % 200) / 250)))
    assert found.jumps == (200,)
    assert any("jumps from 0.00204 to 0.01 at step 200" in note for note in found.notes)
    rows = [{"step": step, "loss": 1.0} | ({"lr": 0.01} if not 200 < step < 600 else {}) for step in range(1, 1000)]
    found = history_of(read_source(write_json_lines(tmp_path / "a.jsonl", rows), {}), Setting())
    assert any("rates are missing from step 200 to 600" in note for note in found.notes)
    assert found.jumps == ()


def test_rates_that_are_not_logged_come_from_flags(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 1.0} for step in range(1, 501)]
    unknown = history(tmp_path, rows)
    assert unknown.learning_rates is None
    assert any("--learning-rate" in note for note in unknown.notes)
    found = history(tmp_path, rows, learning_rate=0.02, schedule="cosine", warmup_steps=50, num_steps=1000)
    expected = 0.02 * Cosine(num_steps=1000, warmup_steps=50).multipliers()[:500]
    assert found.learning_rates is not None
    np.testing.assert_array_equal(found.learning_rates, expected)
    assert (found.num_steps, found.planned_steps) == (500, 1000)


@pytest.mark.parametrize(
    ("steps", "ended"),
    [
        (range(300, 7801, 300), 8000),  # a record less than its end
        (range(0, 7951, 50), 8000),
        (range(50, 7901, 50), 7900),  # two are missing
        (range(2000, 6001, 2000), 6000),  # a quarter of the run is no ending
        ([7900], 7900),
    ],
)
def test_a_run_may_end_between_two_records(steps: Sequence[int], ended: int, tmp_path: Path) -> None:
    found = history(tmp_path, rows_of(steps), num_steps=8000)
    assert (found.num_steps, found.planned_steps) == (ended, 8000)
    assert any("gone on to its end, step 8000" in note for note in found.notes) == (ended == 8000)
    assert found.learning_rates is not None
    assert len(found.learning_rates) == ended


def test_a_planned_length_beyond_any_run_makes_no_schedule(tmp_path: Path) -> None:
    """Which is as long as the log says that the run was to be; where rates are logged, none is needed."""
    for rates, refused in (({}, True), ({"lr": 1e-3}, False)):
        state = {"log_history": [{"step": step, "loss": 3.0, **rates} for step in range(1, 20)], "max_steps": 2 * 10**9}
        path = tmp_path / "trainer_state.json"
        path.write_text(json.dumps(state))
        with pytest.raises(BadInput, match="2000000000 steps was planned") if refused else nullcontext():
            assert history_of(read_source(path, {}), Setting(learning_rate=1e-3)).planned_steps == 2 * 10**9


def test_steps_that_no_run_has_are_refused(tmp_path: Path) -> None:
    for steps, said in (([1, 2.5], "whole numbers"), ([-1, 2], "whole numbers"), ([1, 10**9], "--column step=NAME")):
        with pytest.raises(BadInput, match=said):
            history(tmp_path, [{"step": step, "loss": 1.0} for step in steps])
    with pytest.raises(BadInput, match="learning rates"):
        history(tmp_path, rows_of([1, 2, 3], -0.1))
