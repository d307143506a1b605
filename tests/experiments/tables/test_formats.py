"""Files as they come: one table whatever the format; what is no table is refused in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.files import BadInput
from experiments.tables.formats import read_raw
from experiments.tables.reading import read_table
from tests.experiments.tables.made import sweep, write_csv

ROWS = [{**run, "num_params": 10**8, "name": "a, b"} for run in sweep()]


def test_the_same_runs_in_every_format(tmp_path: Path) -> None:
    files = [write_csv(tmp_path / f"{place}.txt", ROWS, separator) for place, separator in enumerate(",;\t|")]
    for name, text in (
        ("runs.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
        ("runs.json", json.dumps(ROWS, indent=1)),
        ("bom.csv", "\ufeff" + files[0].read_text()),
        ("windows.csv", files[0].read_text().replace("\n", "\r\n")),
    ):
        files.append(tmp_path / name)
        files[-1].write_text(text, newline="")
    tables = [read_table(path) for path in files]
    assert len(files) == 8
    for table in tables:
        assert len(table) == len(ROWS) == table.num_rows
        for name, values in tables[0].numbers.items():
            np.testing.assert_array_equal(table.numbers[name], values)


def test_objects_in_objects_are_columns_with_dots(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    rows = [
        {"config": {"lr": run["learning_rate"], "model": {"n_params": 1e8}}, "summary": {"val": {"loss": run["loss"]}}}
        for run in sweep()
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert read_raw(path).header == ("config.lr", "config.model.n_params", "summary.val.loss")
    table = read_table(path, None)
    assert set(table.numbers) == {"learning_rate", "num_params", "loss"}


def test_json_knows_nan_and_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    extra = ['{"learning_rate": 0.03, "loss": NaN}', '{"learning_rate": 0.06, "loss": Infinity}']
    extra += ['{"learning_rate": 0.1, "loss": null}', '{"learning_rate": true, "loss": 3}', '{"loss": 3}']
    path.write_text("\n".join([*map(json.dumps, sweep()), *extra]))
    table = read_table(path)
    assert len(table) == 7
    assert np.isfinite(table.numbers["loss"]).sum() == 5
    assert {item.reason: item.count for item in table.exclusions} == {
        "no loss": 1,
        "no learning_rate": 1,
        "text in learning_rate": 1,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1, 2]", "run 1 is not an object"),
        ("[{]", "not a JSON file"),
        ('{"learning_rate": 1}\n{"loss"', "line 2 is not a JSON object"),
        ('{"learning_rate": 1}\n3\n', "run 2 is not an object"),
        ('{"learning_rate":\n 1}', "line 1 is not a JSON object"),
        ("[]", "empty file"),
        ("{" * 2000, "line 1 is not a JSON object"),
        ("[{}]", "empty file"),
        ('{"a":' * 40 + "1" + "}" * 40, "objects within objects"),
    ],
)
def test_refused_with_one_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=said) as error:
        read_table(path)
    assert "\n" not in str(error.value)


def test_a_separator_in_quotes_separates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text('learning_rate;loss;"a, b, c, d"\n1e-3;2;1\n')
    assert read_raw(path).header == ("learning_rate", "loss", "a, b, c, d")


def test_what_stands_above_and_beside_a_table(tmp_path: Path) -> None:
    """Comments, Excel's line, blanks for separators, empty fields behind the last one: the same runs."""
    plain = write_csv(tmp_path / "plain.csv", [{"learning_rate": run["learning_rate"], **run} for run in sweep()])
    text = plain.read_text()
    head, *rows = text.splitlines()
    texts = {
        "comments": f"# exported\n\n# by hand\n{text}",
        "excel": "sep=;\r\n" + text.replace(",", ";"),
        "blanks": "\n".join("  ".join(f"{cell:>14}" for cell in line.split(",")) for line in [head, *rows]),
        "trailing": "\n".join([head, *(f"{row},,," for row in rows)]),
        "empty rows": "\n".join([head, ",,", *rows, ","]),
        "header in a comment": "\n".join(["# units: nats", f"# {head.replace(',', ' ')}", *rows]).replace(",", " "),
    }
    wanted = read_table(plain)
    for name, other in texts.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(other)
        table = read_table(path)
        assert table.num_rows == len(rows), name
        for column, values in wanted.numbers.items():
            np.testing.assert_array_equal(table.numbers[column], values, err_msg=name)
    wide = tmp_path / "unicode.txt"
    wide.write_text(text.replace(",", "\t"), encoding="utf-16")
    np.testing.assert_array_equal(read_table(wide).numbers["loss"], wanted.numbers["loss"])


def test_lines_are_counted_from_the_top_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("# a comment\nlearning_rate,loss\n1e-3,3.1\nfast,3.2\n")
    (left_out,) = read_table(path).exclusions
    assert left_out.example == "'fast' in line 4"


def test_rows_that_no_separator_divides_are_told(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("lr;loss\n1e-3,3.1\n2e-3,3.0\n")
    with pytest.raises(BadInput, match=r"read: 2 with another number of fields than the header's 2 \(line 2 has 1\)"):
        read_table(path)
