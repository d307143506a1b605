"""Text of CSV files."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.files import csv_text

cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=8)


@given(st.lists(st.fixed_dictionaries({"a": cells, "b,c": cells}), min_size=1, max_size=4))
def test_rows_come_back(rows: list[dict[str, str]]) -> None:
    assert list(csv.DictReader(io.StringIO(csv_text(rows), newline=""), strict=True)) == rows


def test_columns_come_in_the_order_that_is_asked_for() -> None:
    assert csv_text([{"b": 1.5, "a": None}]) == "b,a\n1.5,\n"
    assert csv_text([{"b": 1.5, "a": None}], ("a", "b")) == "a,b\n,1.5\n"
    assert csv_text([], ("a", "b")) == "a,b\n"
    assert csv_text([]) == ""


def test_a_key_without_a_column_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="'b'"):
        csv_text([{"a": 1}, {"a": 1, "b": 2}])
