"""Numbers on the page of `small-starts` are those of its tables."""

from __future__ import annotations

import re

from tests.pages.shown import cells, is_rounded, page_of, table_of


def test_what_a_right_law_would_meet_on_the_page_of_small_starts() -> None:
    chances = table_of("small-starts", "chances.csv").set_index("quantity")["chance"]
    optima = table_of("small-starts", "chances.csv").query("quantity == 'optimum'").set_index("initial_rms")["error"]
    page = page_of("small-starts")
    (errors, *said) = re.findall(
        r"\(errors of (.*?) in ln .*?of (\S+) and (\S+) from these.*?chance of (\S+), and at least five with (\S+) "
        r".*? chance of (\S+), four or fewer, as two clocks, with (\S+)\.",
        page,
    )[0]
    large = optima[optima.index > 1]
    assert is_rounded(errors, [large.min(), large.max()])
    known = [optima.loc[0.53].max(), optima.loc[0.177], chances["at least 7"], chances["at least 5"]]
    assert is_rounded(" ".join(said), [*known, 1 - chances["at least 4"], 1 - chances["at least 5"]])


def test_the_tables_of_small_starts() -> None:
    table = table_of("small-starts").set_index("quantity")
    for row, name in {
        "AdamH, 0.009 less 0.018": "loss, adamh, 0.009 less 0.018",
        "AdamW from 0.53, 0.0146 less 0.0292": "loss, start 0.53, 0.0146 less 0.0292",
    }.items():
        old, new, pooled = (table.loc[f"{name}, {which} seeds"] for which in ("old", "new", "all"))
        shown = cells("small-starts", row)
        assert is_rounded(" ".join(shown[:2]), [old["value"], new["value"]])
        assert is_rounded(shown[2], [pooled["value"], pooled["low"], pooled["high"]])
        assert is_rounded(" ".join(shown[3:5]), [pooled["two_angles"], pooled["two_clocks"]])
    page = page_of("small-starts")
    fresh = [
        table.loc[f"loss, {name}, new seeds"] for name in ("adamh, 0.009 less 0.018", "start 0.53, 0.0146 less 0.0292")
    ]
    (said,) = re.findall(r"The seven others alone have (.*?), and refute no law", page)
    assert is_rounded(said, [value for row in fresh for value in row[["value", "low", "high"]]])
    for start in ("0.53", "0.177"):
        row = table.loc[f"optimum, start {start}"]
        known = [row["value"], row["low"], row["pilot"], row["two_angles"], row["two_clocks"]]
        assert is_rounded(" ".join(cells("small-starts", f"from a RMS of {start},")), known)
