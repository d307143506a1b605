"""What power was registered, as the registrations say it, and what half widths came out, as the tables have them."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pandas as pd
import pytest

from tests.pages.shown import DOCS, is_rounded, table_of


def power(study: str) -> str:
    """The paragraph of a page that says it."""
    page = (DOCS / study / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(r"^Power: (.*?)\n\n", page, flags=re.M | re.S)
    return " ".join(found.split())


def said(study: str, pattern: str) -> str:
    """The groups of a pattern in it."""
    (found,) = re.findall(pattern, power(study))
    return found if isinstance(found, str) else " ".join(found)


def half_widths(table: pd.DataFrame) -> list[float]:
    return ((table["high"] - table["low"]) / 2).tolist()


@pytest.mark.parametrize(
    ("study", "phrases"),
    [
        ("moved-optimum", ("gives 0.05 to 0.13 (weak decay 0.2)", "+- .17 to .25 for the shift", "error of about .2")),
        ("classic", ("the shift to +- .3 to .5", "a part to +- .2 to .4", "to +- .02 to .05 nats")),
        ("one-calibration", ("median of half the limit", "errors of .09 to .24 in ln", "make a median of .08")),
        ("transient-length", ("sixteen settings or more a correlation of 0.98 falls below 0.95 in 4 %",)),
        ("transient-domain", ("correlation of 0.98 falls below 0.95 in 4 % of tries", "one of 0.95 in half")),
        ("schedule-exponent", ("to +- .37 to .52", "to +- .08, that of the line to +- .44", "difference to +- .45")),
    ],
)
def test_what_was_registered(study: str, phrases: tuple[str, ...]) -> None:
    text = importlib.import_module(f"experiments.studies.{study.replace('-', '_')}").__doc__
    assert text is not None
    assert all(phrase in " ".join(text.split()) for phrase in phrases)
    assert "registered" in power(study)


def test_half_widths_of_optima_that_moved() -> None:
    shifts = half_widths(table_of("moved-optimum").query("quantity == 'shift'"))
    assert is_rounded(said("moved-optimum", r"came out as (.*?): as registered"), shifts)
    assert is_rounded(
        said("moved-optimum", r"which make \+- (\S+ to \S+) for"), [1.96 * 2**0.5 * e for e in (0.05, 0.13)]
    )
    rows = table_of("schedule-exponent")
    ratios = half_widths(rows[rows["quantity"] == "ln constant/line"])
    known = [min(ratios), max(ratios), *half_widths(rows.iloc[3:])]
    assert is_rounded(said("schedule-exponent", r"came out as (.*)\.$"), known)
    rows = table_of("same-angle").set_index("quantity")
    lengths = half_widths(rows.loc["cell"])
    shown = said("same-angle", r"half width is (\S+), those of single lengths are (.*)\.$")
    assert is_rounded(shown, [*half_widths(rows.loc[["pooled"]]), *lengths])


def test_half_widths_of_classic() -> None:
    table = table_of("classic")
    shift = half_widths(table[table["quantity"] == "ln rate, shift"])
    assert is_rounded(said("classic", r"The shift came out to \+- (\S+ and \S+),"), shift)
    parts = [
        half_widths(table[(table["quantity"] == f"loss, {name}") & (table["num_steps"] == 800)])
        for name in ("angle", "norm", "interaction")
    ]
    assert all(max(widths) == widths[-1] for widths in parts)
    shown = said("classic", r"part to \+- (.*?), the norm's to (.*?), the interaction to (.*?), widest")
    assert is_rounded(shown, [end for widths in parts for end in (min(widths), max(widths))])


def test_half_widths_of_one_calibration() -> None:
    rows = table_of("one-calibration").query("quantity == 'loss, law'")
    assert is_rounded(said("one-calibration", r"came out as (.*?) nats"), half_widths(rows))
    assert (rows["high"] > rows["limit"]).sum() == 2
    optima = table_of("moved-optimum", "optima.csv").query("arm != 'adamh'").dropna(subset=["low", "high"])["error"]
    assert is_rounded(said("one-calibration", r"with two ends as (.*)\.$"), [optima.min(), optima.max()])


@pytest.mark.parametrize("study", ["transient-length", "transient-domain"])
def test_intervals_of_rank_correlations(study: str) -> None:
    rows = table_of(study).query("met.notna() and quantity == 'first_passage_rank'")
    z, half = np.arctanh(rows["value"]), 1.96 / np.sqrt(rows["settings"] - 3)
    known = [*rows["value"], *np.tanh(np.stack([z - half, z + half], axis=1)).ravel()]
    shown = said(study, r"95 % of (\S+ and [\d.]+\d)\D*?(?:, 20 settings each,)? are (.*?)[:.] ")
    assert is_rounded(shown, known)
    if study == "transient-length":
        assert (rows["settings"] == 20).all()
        assert (np.tanh(z + half) > rows["target"]).all()
