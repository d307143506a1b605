"""Tables as they stand in a README: the same runs, without what only changes their look."""

from pathlib import Path

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.tables.formats import read_raw
from experiments.tables.markdown import bare, fields, is_dashes
from experiments.tables.reading import read_table
from tests.experiments.tables.made import sweep, write_csv

ROWS = [{**run, "num_params": 10**8} for run in sweep()]


def markdown(rows: list[dict[str, float]], best: float = 4e-3) -> str:
    """The best row bold, rates between backticks, as people write them."""
    lines = ["| Learning rate | **Val loss** | Params |", "|---:|:---|:-:|"]
    for run in rows:
        loss = f"**{run['loss']}**" if run["learning_rate"] == best else f"{run['loss']}"
        lines.append(f"| `{run['learning_rate']:g}` | {loss} | {run['num_params']:g} |")
    return "\n".join(lines)


@pytest.mark.parametrize("frame", ["{}", "# Sweep\n\nOne seed, | by hand:\n\n{}\n\nThe best is bold.\n", "{}\r\n"])
def test_the_same_runs_as_in_a_csv(tmp_path: Path, frame: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(frame.format(markdown(ROWS)), newline="")
    table, expected = read_table(path), read_table(write_csv(tmp_path / "runs.csv", ROWS))
    assert len(table) == table.num_rows == len(ROWS)
    assert table.exclusions == ()
    for name, values in expected.numbers.items():
        np.testing.assert_array_equal(table.numbers[name], values)


def test_rows_without_bars_at_their_ends_and_the_lines_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    rows = [f"{run['learning_rate']} | {run['loss']}" for run in ROWS]
    path.write_text("\n".join(["Losses", "", "lr | loss", "--- | ---", *rows, "0.1 | 3 | 4", "", "More | text"]))
    raw = read_raw(path)
    assert raw.header == ("lr", "loss")
    assert list(raw.lines) == [5, 6, 7, 8, 9]
    assert [(item.count, item.example) for item in raw.exclusions] == [(1, "line 10 has 3")]
    assert raw.num_rows == len(rows) + 1


def test_two_tables_are_not_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"{markdown(ROWS)}\n\nAnd wider:\n\n{markdown(ROWS)}\n")
    with pytest.raises(BadInput, match="more than one table in it: leave one"):
        read_table(path)


def test_a_file_of_bars_is_no_markdown(tmp_path: Path) -> None:
    """Without a row of dashes a bar is a separator as others are, and stars belong to the text."""
    path = tmp_path / "runs.txt"
    path.write_text("learning_rate|loss|name\n1e-3|3.0|*a*\n")
    raw = read_raw(path)
    assert raw.header == ("learning_rate", "loss", "name")
    assert raw.columns[2] == ("*a*",)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("**3.57**", "3.57"),
        ("`5e-3`", "5e-3"),
        ("**`3.5`**", "3.5"),
        ("***x***", "x"),
        ("$2^{-10.5}$", "2^-10.5"),
        (r"\(2^{17}\)", "2^17"),
        (r"$3 \times 10^{-4}$", "3*10^-4"),
        ("2*3", "2*3"),
        ("**", "**"),
        ("a*b*", "a*b*"),
        (r"x \| y", "x | y"),
        ("", ""),
    ],
)
def test_what_only_changes_the_look_of_a_cell_is_taken_off(cell: str, text: str) -> None:
    assert bare(cell) == text


def test_a_bar_of_the_text_divides_no_cells() -> None:
    assert fields(r"| a \| b | 2 |") == ["a | b", "2"]
    assert fields("| a | |") == ["a", ""]
    assert is_dashes("|:-:|---|")
    assert not is_dashes("---")
    assert not is_dashes("| - a | --- |")


def test_learning_rates_as_powers_in_tex_are_read(tmp_path: Path) -> None:
    path = tmp_path / "grid.md"
    lines = [f"| $2^{{{power}}}$ | {3 + 0.01 * (power + 9) ** 2:.3f} |" for power in range(-11, -6)]
    path.write_text("\n".join(["| LR | loss |", "| --- | --- |", *lines]))
    table = read_table(path)
    np.testing.assert_allclose(table.numbers["learning_rate"], 2.0 ** np.arange(-11, -6))
