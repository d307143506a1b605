"""What a study reads back is what it wrote, or one line says which file is not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.files import BadInput
from experiments.studies.angle_law import fit
from experiments.studies.angle_law.answers import measured_optima
from experiments.studies.replay import read_earlier
from experiments.studies.workplace import read_rows, read_settings, write_settings

ROWS = pd.DataFrame({"matrix": ["1", "b"], "step": [0, 10], "rms": [0.1, 0.2], "loss": [2.0, np.nan]})
KINDS: dict[str, type[int | float]] = {"num_replicas": int, "error": float, "transient": float}


def read(file: Path) -> pd.DataFrame:
    return read_rows(file, numbers=("step", "rms"), gaps=("loss",), texts=("matrix",), remedy="; delete it")


def test_rows_come_back(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    ROWS.to_csv(file, index=False)
    pd.testing.assert_frame_equal(read(file), ROWS)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("10", "ten", "step must be a finite number"),
        ("0.2", "nan", "rms must be a finite number"),
        ("0.2", "", "rms must be a finite number"),
        ("0.2", "1e308", "rms must be a finite number"),
        ("2.0", "two", "loss must be a number"),
        ("b,10", ",10", "matrix is missing"),
        ("rms", "RMS", "no column rms"),
        ("b,10,0.2,", "b,10,0.2,1,1", ""),
        ("matrix,step,rms,loss\n1,0,0.1,2.0\nb,10,0.2,\n", "", ""),
        ("1,0,0.1,2.0\nb,10,0.2,\n", "", "no rows"),
        ("b", '"b', ""),
        ("b", "\udcff", ""),
    ],
)
def test_rows_that_no_run_leaves_are_refused(old: str, new: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    content = ROWS.to_csv(index=False)
    assert old in content
    file.write_bytes(content.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(BadInput, match=rf"rows\.csv: damaged \(.*{reason}.*; delete it") as caught:
        read(file)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_rows_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    with pytest.raises(BadInput, match="not a file"):
        read(tmp_path / "rows.csv")


def test_settings_come_back_and_a_torn_file_does_not(tmp_path: Path) -> None:
    file = tmp_path / "settings.csv"
    assert read_settings(file, KINDS) == []
    rows = [
        {"num_replicas": 16, "error": 0.125, "transient": 7.0},
        {"num_replicas": 8, "error": -1e-3, "transient": 9.0},
    ]
    write_settings(file, rows)
    assert read_settings(file, KINDS) == rows
    kept = file.read_text()
    for damaged in (
        kept[:-2],
        kept + "1,",
        kept.replace("16", "1.5"),
        kept.replace("16", "0"),
        kept.replace("16", "1" + "0" * 25),
        kept.replace("7.0", "inf"),
        kept.replace("9.0", ""),
    ):
        file.write_text(damaged)
        with pytest.raises(BadInput, match=r"settings\.csv: damaged"):
            read_settings(file, KINDS, gaps=("error",))


@pytest.mark.parametrize(
    "changes",
    [{"num_steps": 10**9}, {"shape": "x"}, {"mean_angle": -1.0}, {"mean_angle": 7.0}, {"loss": -1.0}, {"loss": 1e29}],
)
def test_numbers_that_no_run_of_the_angle_law_has(changes: dict[str, object]) -> None:
    own = pd.DataFrame({"shape": ["front"], "num_steps": 800, "mean_angle": 0.009, "seed": 0, "loss": 2.4})
    other = pd.DataFrame({"arm": ["adamh"], "num_steps": 800, "learning_rate": 0.01, "seed": 0, "loss": 2.4})
    with pytest.raises(BadInput, match="cells do not determine"):
        fit.fit_law(fit.cells_of(own, other), fit.TWO_ANGLES)
    with pytest.raises(BadInput, match=r"must|other than"):
        fit.cells_of(own.assign(**changes), other)


def test_seeds_that_agree_to_the_last_digit_tell_no_error() -> None:
    cells = [fit.Cell("line", 800, rate, np.ones(800), np.ones(800), np.array([2.4, 2.4])) for rate in (0.01, 0.02)]
    with pytest.raises(BadInput, match="all seeds have the same loss"):
        fit.errors_of(cells)


@pytest.mark.parametrize("rate", [-1.0, 0.0, 7.0, np.nan])
def test_an_optimum_that_is_none(rate: float) -> None:
    answers = pd.DataFrame({"quantity": ["cell"], "num_steps": 800, "adamw_learning_rate": rate})
    row = {"arm": "start 1.6", "num_steps": 800, "initial_rms": 1.6, "weight_decay": 0.1, "error": 0.1}
    moved = pd.DataFrame([row | {"learning_rate": rate}])
    for same, other in ((answers, moved[:0]), (answers[:0], moved)):
        with pytest.raises(BadInput, match="no optimum"):
            list(measured_optima(same, other))
    with pytest.raises(BadInput, match="no column error"):
        list(measured_optima(answers, moved.drop(columns="error")))


@pytest.mark.parametrize(
    ("losses", "config"),
    [
        ("1e308,1,1,1", '{"commits": ["a"]}'),
        ("x,1,1,1", '{"commits": ["a"]}'),
        ("1,1,1,1", '{"commits": [{"a": 1}]}'),
        ("1,1,1,1", '{"commits": "abc"}'),
        ("1,1,1,1", "{}"),
        ("1,1,1,1\n\0", '{"commits": ["a"]}'),
    ],
)
def test_an_earlier_table_of_replays_that_is_something_else(losses: str, config: str, tmp_path: Path) -> None:
    header = "architecture,learning_rate,seed,original_loss,fixed_loss,twin_loss,plain_loss"
    (tmp_path / "replay.csv").write_text(f"{header}\nscale-invariant,0.01,0,{losses}\n")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(BadInput, match="not a table of this study"):
        read_earlier(tmp_path / "replay.csv")
