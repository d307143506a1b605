"""Runs that crashed, are running or were cut short are left out and counted; runs that diverged stay as diverged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.tables.reading import How, read_table
from experiments.tables.run_table import RunTable
from tests.experiments.tables.made import RATES, sweep, write_csv


def read(tmp_path: Path, rows: list[dict[str, Any]], how: How | None = None) -> RunTable:
    return read_table(write_csv(tmp_path / "runs.csv", rows), how)


def excluded(table: RunTable) -> dict[str, int]:
    return {item.reason: item.count for item in table.exclusions}


@pytest.mark.parametrize("column", ["State", "status", "outcome"])
def test_states(column: str, tmp_path: Path) -> None:
    words = ["finished", "Crashed", "running", "diverged", "completed"]
    rows = [{**run, column: word} for run, word in zip(sweep(), words, strict=True)]
    rows += [{**sweep(floor=np.nan)[0], column: "failed"}, {**sweep()[1], "loss": 7.5, column: "killed"}]
    table = read(tmp_path, rows)
    assert excluded(table) == {f"{column} of a run that did not finish": 3}
    np.testing.assert_array_equal(np.isnan(table.numbers["loss"]), [False, True, False, True])
    assert any(f"1 run diverged by {column}" in note for note in table.notes)


def test_a_state_that_goes_on_after_its_word(tmp_path: Path) -> None:
    words = ["COMPLETED", "CRASHED (OOM)", "CANCELLED by 1000", "PRUNED", "diverged: step 300"]
    table = read(tmp_path, [{**run, "state": word} for run, word in zip(sweep(), words, strict=True)])
    assert excluded(table) == {"state of a run that did not finish": 3}
    np.testing.assert_array_equal(np.isnan(table.numbers["loss"]), [False, True])
    table = read(tmp_path, [{**run, "state": "finished early"} for run in sweep()] + [{**sweep()[0], "state": "ok"}])
    assert any("state finished early: not a word that is known" in note for note in table.notes)


def test_a_column_of_other_words_says_nothing(tmp_path: Path) -> None:
    table = read(tmp_path, [{**run, "status": "interior"} for run in sweep()])
    assert len(table) == 5
    assert not table.notes
    table = read(tmp_path, [{**run, "status": word} for run, word in zip(sweep(), ["ok"] * 4 + ["odd"], strict=True)])
    assert any("status odd: not a word that is known, counts as finished" in note for note in table.notes)


@pytest.mark.parametrize(
    ("columns", "done"),
    [
        ({"num_tokens": 2e9}, {"tokens_seen": 2e9}),
        ({"num_train_steps": 4000}, {"_step": 4000}),
        ({"num_tokens": 2e9}, {"_step": 4000}),
        ({}, {"_step": 4000}),
        ({}, {"tokens_seen": 2e9}),
        ({}, {"num_steps": 4000}),
        ({"tokens_target": 2e9}, {"train/num_input_tokens_seen": 2e9}),
        ({"config/max_steps": 4000}, {"summary/_step": 4000}),
        ({"n_tokens": 2e9}, {"train/epoch": 3}),
        ({}, {"progress": 100}),
        ({"max_steps": 4000}, {"last_step": 4000}),
        ({"tokens_B": 2}, {"tokens_seen_M": 2000}),
    ],
)
def test_runs_cut_short(columns: dict[str, Any], done: dict[str, float], tmp_path: Path) -> None:
    """Whatever the table has of plan and deed: the same two runs of ten are left out."""
    rows = [run for size in (1e8, 1e9) for run in sweep(num_params=size, **columns)]
    ((name, whole),) = done.items()
    for place, share in enumerate((1, 1, 0.31, 1, 1, 0.57, 1, 1, 0.995 if columns else 1, 1)):
        rows[place][name] = whole * share
        if share < 0.9:
            rows[place]["loss"] += 0.2
    table = read(tmp_path, rows)
    assert sum(excluded(table).values()) == 2
    assert table.numbers["loss"].max() < 3.11
    assert name in table.exclusions[0].reason


def test_steps_of_training_count_where_logged_ones_stand_beside_them(tmp_path: Path) -> None:
    rows = [{**run, "_step": 40 + place, "train/global_step": 4000} for place, run in enumerate(sweep())]
    rows[3]["train/global_step"] = 1500
    table = read(tmp_path, rows)
    assert excluded(table) == {"train/global_step below that of their cell": 1}
    assert set(table.numbers["num_steps"]) == {4000}


def test_a_run_that_diverged_early_stays(tmp_path: Path) -> None:
    rows = [{**run, "_step": 4000} for run in sweep()]
    rows.append({"learning_rate": 0.03, "loss": "NaN", "_step": 17})
    table = read(tmp_path, rows)
    assert len(table) == 6
    assert not table.exclusions


@pytest.mark.parametrize("name", ["iterations", "_step", "epoch"])
def test_sweeps_of_several_lengths_are_refused_and_an_axis_takes_them(name: str, tmp_path: Path) -> None:
    rows = [run for steps in (1000, 4000) for run in sweep(floor=3.0 - steps / 1e4, **{name: steps})]
    with pytest.raises(BadInput, match=f"{name} is 1000, 4000 within one cell: .*--axis horizon={name}"):
        read(tmp_path, rows)
    assert read(tmp_path, rows, How(axes={"horizon": name})).scales == ("horizon",)


def test_planned_lengths_that_occur_again_are_no_crashes(tmp_path: Path) -> None:
    """One learning rate at each length: nothing is a sweep, but what several runs have was asked for."""
    lengths = {
        name: [{**run, name: 2000 - 1000 * (place % 2)} for place, run in enumerate(sweep())]
        for name in ("iterations", "_step")
    }
    with pytest.raises(BadInput, match="no replicates"):
        read(tmp_path, lengths["iterations"])
    assert len(read(tmp_path, lengths["_step"])) == 3


def test_all_lengths_may_differ_in_unit(tmp_path: Path) -> None:
    """Tokens seen in billions, planned in full: no run is short."""
    table = read(tmp_path, sweep(num_tokens=2e9, tokens_seen=2.0))
    assert len(table) == len(RATES)


def test_terminated_is_the_end_or_not(tmp_path: Path) -> None:
    """Ray Tune calls a run that is through so; others one that is not."""
    for good, left in (("TERMINATED", 4), ("finished", 3)):
        words = [good, "TERMINATED", good, good, "ERROR"]
        table = read(tmp_path, [{**run, "status": word} for run, word in zip(sweep(), words, strict=True)])
        assert len(table) == left


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("finished", [True, "True", True, False, True]),
        ("sys/failed", [0, 0, 0, 1, 0]),
        ("exit_code", [0, "", 0, 137, 0]),
        ("run.active", ["no", "no", "no", "yes", "no"]),
        ("progress", ["100%", "100%", "100%", "37 %", "100%"]),
        ("steps_completed", ["4000/4000", "4000/4000", "4000/4000", "1200/4000", "4000/4000"]),
    ],
)
def test_columns_that_say_yes_or_no_or_how_far(name: str, values: list[Any], tmp_path: Path) -> None:
    rows = [{**run, name: value} for run, value in zip(sweep(), values, strict=True)]
    table = read(tmp_path, rows)
    (left_out,) = table.exclusions
    assert name in left_out.reason
    assert left_out.count == 1
    assert 8e-3 not in table.numbers["learning_rate"]
    assert not any("not read" in note for note in table.notes)


def test_a_flag_that_leaves_nothing_or_is_none_says_nothing(tmp_path: Path) -> None:
    for value in ("False", "maybe"):
        assert len(read(tmp_path, [{**run, "finished": value} for run in sweep()])) == 5


def test_a_loss_that_is_a_word_for_divergence(tmp_path: Path) -> None:
    words = ("diverged", "Div.", "nan (step 1200)", "> 10", "OOM", "n.d.")
    rows = [*sweep(), *({"learning_rate": 0.1 + place, "loss": word} for place, word in enumerate(words))]
    table = read(tmp_path, rows)
    assert excluded(table) == {"text in loss": 2}
    assert np.isnan(table.numbers["loss"]).sum() == 4
    assert any("4 runs diverged by a word in loss: diverged" in note for note in table.notes)
