"""Names beside lines, names that are no formulas, and bytes of files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.figures.style import (
    EndLabel,
    _apart,
    blank,
    label_ends,
    log_axis,
    picture_bytes,
    short,
    shortened,
    styled,
    told,
)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=19), st.floats(0.001, 0.05))
def test_names_do_not_cover_each_other(wanted: list[float], gap: float) -> None:
    at = np.sort(wanted)
    places = _apart(at, gap)
    assert np.all(np.diff(places) >= gap - 1e-12)
    assert places[0] >= 0
    assert places[-1] <= 1 + 1e-12
    if len(at) == 1 or (np.diff(at).min() >= gap and at[-1] <= 1 - gap * len(at) and at[0] >= gap * len(at)):
        np.testing.assert_allclose(places, at)


def test_a_name_is_one_line_of_what_can_be_printed() -> None:
    assert shortened("a\nb\tc\x00d") == "a b c d"
    long = shortened("x" * 40 + "end")
    assert len(long) == 28
    assert long.endswith("end")
    assert "…" in long
    assert [short(value) for value in (2e8, 1e-5, 0.003, 1234.0)] == ["2e8", "1e-5", "0.003", "1.23e3"]


@styled
def hostile():  # type: ignore[no-untyped-def]
    figure = blank(3, 2)
    ax = figure.subplots()
    ax.set(xlim=(0, 1), ylim=(0, 1), title="$\\nothing_{ 日本")
    figure.named = label_ends(ax, [EndLabel(f"$x_{i}", i / 60, "black") for i in range(60)], height=1.5)
    return figure


@pytest.mark.long
@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_what_looks_like_a_formula_is_drawn_as_it_is(kind: str, magic: bytes) -> None:
    """Also letters that the font lacks, without a warning; and the same twice."""
    content = picture_bytes(hostile(), kind)
    assert content.startswith(magic)
    assert picture_bytes(hostile(), kind) == content


def test_as_many_lines_are_named_as_fit() -> None:
    figure = hostile()
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert figure.named == len(texts) < 20
    assert {"$x_0", "$x_59"} <= set(texts)


def test_a_caption_speaks_of_what_is_drawn_alone() -> None:
    figure = blank(4, 3)
    ax = figure.subplots()
    ax.plot([1, 2], [1, 2], label="optima of a group")
    ax.plot([], [], label="left out")
    ax.axvspan(1, 2, label="interval")
    phrases = {"interval": "Shaded.", "left out": "Open.", "optima": "Points.", "diverges": "Red."}
    assert told(figure, phrases) == "Shaded. Points."


@pytest.mark.parametrize(("low", "high"), [(0.022, 0.046), (0.011, 0.095), (1.2, 1.9), (1e-3, 10.0), (0.21, 0.29)])
def test_a_log_axis_has_numbers_whatever_part_of_it_is_seen(low: float, high: float) -> None:
    ax = blank(3, 2).subplots()
    log_axis(ax.yaxis, [1e-3, 10.0])
    ax.set_ylim(low, high)
    assert sum(low <= tick <= high for tick in ax.yaxis.get_majorticklocs()) >= 2
