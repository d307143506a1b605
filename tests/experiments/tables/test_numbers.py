"""Numbers as people write them; what a comma means is told by the table."""

from pathlib import Path

import numpy as np
import pytest

from experiments.bend.fit import fit_bend
from experiments.files import BadInput
from experiments.tables.numbers import commas, parse
from experiments.tables.reading import read_table
from tests.experiments.tables.made import sweep, write_csv

WRITTEN = {
    "130M": 1.3e8,
    "130m": 1.3e8,
    "2.5B": 2.5e9,
    "2.5 G": 2.5e9,
    "1.3k": 1300.0,
    "7T": 7e12,
    "1e-3": 1e-3,
    "1,000": 1000.0,
    "12,345,678.5": 12345678.5,
    "1,5M": None,
    "1,200M": 1.2e9,
    "130 million": 1.3e8,
    "2.5bn tokens": 2.5e9,
    "12 parameters": 12.0,
    "12 apples": None,
    "1e\N{MINUS SIGN}3": 1e-3,
    "6 x 10^-4": 6e-4,
    "3*2^-7": 3 / 128,
    "0^-1": None,
    "2^20": 2.0**20,
    "2**-7": 2.0**-7,
    "10^-3": 1e-3,
    "50%": None,
    "1.2.3M": None,
    "M": None,
    "2^2^2": None,
    "2^-7.5": 2**-7.5,
    "1/512": None,
    "1 000 000": 1e6,
    "60'000'000": 6e7,
    "2\N{NARROW NO-BREAK SPACE}500\N{NARROW NO-BREAK SPACE}000": 2.5e6,
    "1 00": None,
    "60.000.000": 6e7,
    "1.234,5": 1234.5,
    "60.00.000": None,
    "~130M": 1.3e8,
    "100 Mio": 1e8,
    "3.08 +- 0.01": 3.08,
    "3.08\N{PLUS-MINUS SIGN}0.01": 3.08,
    "+-3": None,
    "10^99999": None,
    "2^" + "9" * 5000: None,
    "1e999999k": np.inf,
    "-1e99999999999999999999M": -np.inf,
    "1e-9999999k": 0.0,
    "9" * 400 + " tokens": np.inf,
    "1,00": None,
    "01,000": None,
    "130MM": None,
}


@pytest.mark.parametrize(("text", "value"), WRITTEN.items(), ids=WRITTEN.keys())
def test_written(text: str, value: float | None) -> None:
    parsed = parse([text, "1"], suffixes=True)
    assert parsed.text.tolist() == [value is None, False]
    assert not parsed.empty.any()
    assert parsed.numbers[0] == pytest.approx(np.nan if value is None else value, rel=1e-12, nan_ok=True)


def test_a_learning_rate_has_no_suffix() -> None:
    assert parse(["3m"]).text.all()


def test_a_learning_rate_may_be_a_fraction() -> None:
    np.testing.assert_allclose(parse(["1/512", "1/0", "3/4/5"]).numbers, [1 / 512, np.nan, np.nan])


def test_points_of_thousands() -> None:
    """In what is counted, where commas are decimal or another value has two such points; never in a loss."""
    np.testing.assert_array_equal(parse(["125.000", "1.250"], suffixes=True, commas="decimal").numbers, [125000, 1250])
    np.testing.assert_array_equal(parse(["125.000", "2.000.000"], suffixes=True).numbers, [125000, 2e6])
    np.testing.assert_array_equal(parse(["1.234,5M"], suffixes=True, commas="decimal").numbers, [1234.5e6])
    np.testing.assert_array_equal(parse(["125.000", "1.5"], suffixes=True).numbers, [125, 1.5])
    np.testing.assert_array_equal(parse(["3.769", "0,5"], commas="decimal").numbers, [3.769, 0.5])
    assert commas("table", [["1.234,5"]], ",") == "decimal"


def test_words_for_nothing_and_for_infinity() -> None:
    parsed = parse(["", " ", "-", "N/A", "null", "None", None, "NaN", "Infinity", "-inf", "inf", "x", True])
    assert parsed.empty.tolist() == [True] * 7 + [False] * 6
    assert parsed.text.tolist() == [False] * 11 + [True] * 2
    np.testing.assert_array_equal(parsed.numbers[7:11], [np.nan, np.inf, -np.inf, np.inf])


@pytest.mark.parametrize(
    ("values", "separator", "meaning"),
    [
        (["1,000", "2,500"], ",", "thousands"),
        (["1,000", "0,5"], ",", "decimal"),
        (["2,500", "3,125"], ";", "decimal"),
        (["1,000,000", "2,500"], ";", "thousands"),
        (["1,234.5"], ";", "thousands"),
        (["1.5", "2"], ";", "thousands"),
    ],
)
def test_what_a_comma_means(values: list[str], separator: str, meaning: str) -> None:
    assert commas("table", [values], separator) == meaning


def test_commas_that_mean_both_are_refused() -> None:
    with pytest.raises(BadInput, match="decimal points in '0,5' and thousands separators in '1,000,000'"):
        commas("table", [["0,5"], ["1,000,000"]], ",")


def test_a_table_with_decimal_commas(tmp_path: Path) -> None:
    rows = [{name: str(value).replace(".", ",") for name, value in run.items()} for run in sweep(num_tokens="2,5B")]
    table = read_table(write_csv(tmp_path / "runs.csv", rows, ";"))
    np.testing.assert_allclose(table.numbers["learning_rate"], [run["learning_rate"] for run in sweep()])
    assert set(table.numbers["num_tokens"]) == {2.5e9}
    assert any("'2,5B' is read as 2500000000" in note for note in table.notes)


def test_decimal_commas_under_other_names(tmp_path: Path) -> None:
    rows = [
        {"lr": f"{run['learning_rate']}".replace(".", ","), "val_loss": f"{run['loss']}".replace(".", ","), "D": "2,5B"}
        for run in sweep()
    ]
    table = read_table(write_csv(tmp_path / "runs.csv", rows, ";"))
    np.testing.assert_allclose(table.numbers["loss"], [run["loss"] for run in sweep()])
    assert set(table.numbers["num_tokens"]) == {2.5e9}


@pytest.mark.parametrize("values", [["1e300", "-1e308", "1e-310", "-5e-324"], [10**400, -(10**400), 1e-300, "1e-31"]])
def test_sizes_that_no_quantity_has(values: list[object]) -> None:
    np.testing.assert_array_equal(parse(values).numbers, [np.inf, -np.inf, 0, 0])


@pytest.mark.long
@pytest.mark.parametrize("column", ["num_params", "num_tokens", "learning_rate", "weight_decay", "loss", "batch_size"])
@pytest.mark.parametrize("value", [1e300, 1e-310])
def test_a_table_of_extremes_overflows_nowhere(column: str, value: float, tmp_path: Path) -> None:
    """One run of them; a warning of NumPy's would fail the test."""
    scales = {"num_params": 1e8, "num_tokens": 1e9, "batch_size": 5e5, "weight_decay": 0.1}
    rows = [{**row, **scales} for row in sweep()]
    fits = fit_bend(read_table(write_csv(tmp_path / "runs.csv", [*rows, {**rows[0], column: value}])))
    (found,) = (cell.learning_rate for fit in fits.groups for cell in fit.cells if cell.num_runs > 1)
    assert found == pytest.approx(4e-3, rel=0.2)
