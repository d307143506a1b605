"""Tables of runs: what is refused, what is left out and counted."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.files import LARGEST_FILE, BadInput
from experiments.tables.reading import How, read_table, table_from_frame
from tests.patience import HANGS

GOOD = "learning_rate,loss,num_tokens,seed\n1e-3,2.5,1e9,0\n2e-3,2.4,1e9,0\n4e-3,2.6,1e9,0\n"


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


REFUSED = {
    "empty": ("", "empty file"),
    "header only": ("learning_rate,loss\n", "no rows"),
    "no loss": ("learning_rate,final\n1,2\n", "no column loss"),
    "no learning rate": ("rate,loss\n1,2\n", "no column learning_rate.*perhaps rate"),
    "neither": ("a,final\n1,2\n", "no column learning_rate.*; no column loss"),
    "column twice": ("learning_rate,loss,loss\n1,2,3\n", "stands 2 times"),
    "Latin-1": ("learning_rate,loss,näme\n1,2,3\n".encode("latin-1"), "not UTF-8"),
    "tokens in words": (GOOD.replace("1e9", "many"), "text in num_tokens"),
    "two units": (GOOD + "4e-3,2.6,1,0\n", "mixed units"),
    "only text": ("learning_rate,loss\nfast,low\n", "none of 1 rows"),
    "no rate above 0": ("learning_rate,loss\n-1,2\n0,2\n", "none of 2 rows"),
    "open quote": (GOOD + '1e-3,"2.5\n2e-3,2.4\n', "not a CSV file .*after line"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_one_line(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said) as error:
        read_table(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_missing_file_directory_and_a_file_too_large(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="not a file"):
        read_table(tmp_path)
    path = tmp_path / "sparse.csv"
    with path.open("wb") as file:
        file.truncate(10 * LARGEST_FILE)
    with pytest.raises(BadInput, match="10 GB"):
        read_table(path)


def test_exclusions_are_counted_and_the_first_is_shown(tmp_path: Path) -> None:
    extra = "0.1%,2,1e9,0\n8e-3,oops,1e9,0\n8e-3,,1e9,0\n0,2,1e9,0\n-1,2,1e9,0\n1,2,1e9\n1e-3,2.5,1e9,0\n"
    table = read_table(write(tmp_path, GOOD + extra))
    assert len(table) == 3
    assert table.num_rows == 10
    found = {item.reason: (item.count, item.example) for item in table.exclusions}
    assert found["text in learning_rate"] == (1, "'0.1%' in line 5")
    assert found["text in loss"][0] == found["no loss"][0] == 1
    assert found["learning_rate not finite and above 0"] == (2, "'0' in line 8")
    assert found["another number of fields than the header's 4"] == (1, "line 10 has 3")
    assert found["the same as an earlier row"] == (1, "'1e-3' in line 11")


def test_losses_that_are_not_finite_stay(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, GOOD + "8e-3,nan,1e9,0\n9e-3,inf,1e9,0\n"))
    assert len(table) == 5
    assert np.isfinite(table.numbers["loss"]).sum() == 3


def test_another_seed_or_another_loss_is_no_duplicate(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, GOOD + "1e-3,2.5,1e9,1\n1e-3,2.51,1e9,0\n"))
    assert len(table) == 5
    assert not table.exclusions


def test_columns_and_constants(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("learning_rate", "lr"))
    how = How(columns={"learning_rate": "lr"}, constants={"num_params": 1.3e8, "optimizer": "adamw"})
    table = read_table(path, how)
    np.testing.assert_array_equal(table.numbers["num_params"], 1.3e8)
    assert set(table.labels["optimizer"]) == {"adamw"}
    for columns, constants, said in (
        ({"learning_rate": "rate"}, {}, "no such column"),
        ({"speed": "lr"}, {}, "must be one of"),
        ({"learning_rate": "lr"}, {"loss": 1.0}, "has to be a column"),
        ({"learning_rate": "lr"}, {"num_tokens": 1e9}, "has a column of that name"),
        ({"learning_rate": "lr"}, {"num_params": -1.0}, "above 0"),
    ):
        with pytest.raises(BadInput, match=said):
            read_table(path, How(columns=columns, constants=constants))


@pytest.mark.long
def test_a_hundred_thousand_rows_end(tmp_path: Path) -> None:
    """Two seconds of one core, sizes written out among them; row against row, hours."""
    rows = (
        f"{1e-4 * 2 ** (k % 7):g},{2 + k % 13 / 100},{22 + k // 5000}M,{k % 3},run-{k},{k % 4}" for k in range(100_000)
    )
    path = write(tmp_path, "\n".join(["learning_rate,loss,num_params,seed,Name,kind", *rows]))
    start = time.process_time()
    table = read_table(path)
    assert time.process_time() - start < HANGS
    assert table.num_rows == 100_000
    assert len(np.unique(table.numbers["num_params"])) == 20


def test_a_frame_gives_the_same_table(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    ours, theirs = read_table(path), table_from_frame(pd.read_csv(path))
    for name in ours.numbers:
        np.testing.assert_array_equal(ours.numbers[name], theirs.numbers[name])
