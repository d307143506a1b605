"""``--where``: one meaning for numbers, text, several values and patterns; what it leaves out is counted."""

from pathlib import Path

import pytest

from experiments.files import BadInput
from experiments.tables.filters import Condition
from experiments.tables.reading import How, read_table
from experiments.tables.run_table import RunTable
from tests.experiments.tables.made import sweep, write_csv

SETTINGS = (
    {"num_layers": "16.0", "name": "cosine-a", "note": ""},
    {"num_layers": "4", "name": "cosine-b", "note": "x,y"},
    {"num_layers": "4.0", "name": "linear-a", "note": "x"},
)


def chosen(tmp_path: Path, *where: str) -> RunTable:
    rows = [run for place, setting in enumerate(SETTINGS) for run in sweep(floor=3.0 + place, **setting)]
    path = write_csv(tmp_path / "runs.csv", rows)
    return read_table(path, How(where=[Condition.read(text) for text in where]))


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        (["num_layers=4"], {1, 2}),
        (["num_layers!=4"], {0}),
        (["num_layers=0.4e1,16"], {0, 1, 2}),
        (["num_layers!=4,16.5"], {0}),
        (["name=cosine-*"], {0, 1}),
        (["name!=cosine-*"], {2}),
        (["name=linear-a,cosine-b"], {1, 2}),
        (["name = cosine-*", "num_layers=4"], {1}),
        (["note="], {0}),
        (["note!="], {1, 2}),
        (["note=x,y"], {1, 2}),
        (["loss=3.096091,3"], {0}),
    ],
)
def test_rows_that_stay(where: list[str], settings: set[int], tmp_path: Path) -> None:
    table = chosen(tmp_path, *where)
    assert {int(loss) - 3 for loss in table.numbers["loss"] if loss < 6} == settings
    assert len(table) + sum(item.count for item in table.exclusions) == table.num_rows == 15
    assert all("--where" in item.reason for item in table.exclusions)


def test_a_column_goes_by_our_name_too(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "runs.csv", [*sweep(params="130M"), *sweep(params="1B")])
    assert len(read_table(path, How(where=[Condition.read("num_params=1.3e8")]))) == 5


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("num_layers=5", "no such row in .*; num_layers has 16.0, 4, 4.0"),
        ("depth=4", "no such column; it has learning_rate, loss, num_layers, name, note"),
    ],
)
def test_nothing_left(where: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"--where {where}: .*{said}"):
        chosen(tmp_path, where)


@pytest.mark.parametrize("text", ["", "=4", "num_layers", "!=4", "num_layers>4"])
def test_no_condition(text: str) -> None:
    with pytest.raises(BadInput, match="must be COLUMN=VALUE or COLUMN!=VALUE"):
        Condition.read(text)
