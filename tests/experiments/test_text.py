"""Tables in columns, short numbers, short names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from experiments.text import aligned, as_cell, flag, short_number

words = st.text(st.characters(categories=["L", "N"]), max_size=9)


@given(st.lists(st.tuples(words, words, words), max_size=5), st.sampled_from(["<", ">", "<>>"]), st.integers(0, 3))
def test_columns_stand_under_each_other(rows: list[tuple[str, str, str]], align: str, indent: int) -> None:
    header = ("first", "second", "x")
    lines = aligned(header, rows, align=align, indent=" " * indent, gap=" | ")
    assert len(lines) == 1 + len(rows)
    width = max(map(len, lines))
    signs = align if len(align) == 3 else align * 3
    for line, row in zip(lines, (header, *rows), strict=True):
        assert line == line.rstrip()
        assert line.startswith(" " * indent) or not line
        cells = line.ljust(width)[indent:].split(" | ")
        for sign, cell, word in zip(signs, cells, row, strict=True):
            assert cell.strip() == word
            assert not word or (cell.startswith(word) if sign == "<" else cell.rstrip().endswith(word))
    ends = {tuple(len(cell) for cell in line.ljust(width).split(" | ")) for line in lines}
    assert len(ends) == 1


def test_least_widths_and_signs() -> None:
    assert aligned(("a", "b"), [("x", "12345")], align="<>", gap=" ", least=(4, 3)) == ["a        b", "x    12345"]


def test_short_forms() -> None:
    assert [short_number(value) for value in (None, 1234.5, 0.00012345, 1e9)] == ["-", "1.23e+03", "0.000123", "1e+09"]
    assert [as_cell(value) for value in (None, True, False, 1234567, 0.123456789, "word")] == [
        "-",
        "yes",
        "no",
        "1234567",
        "0.12346",
        "word",
    ]
    assert flag("num_steps") == "--num-steps"
