"""The page of the bend says what its tables say."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from tests.pages.shown import cells, is_rounded, page_of, table_of

PAGE = page_of("bend")
KEYS = ["who", "rate", "axis", "quantity"]
ANSWERS = table_of("bend").set_index(KEYS)
PAIRS = ("large start over usual start", "usual start over equilibrium", "large start over equilibrium")
AXES = {"D": "num_tokens", "N": "num_params"}
ENDS = ["value", "low", "high"]
RANGE = r"-?[0-9.]+ \[-?[0-9.]+, -?[0-9.]+\]"


def excludes_0(table: pd.DataFrame) -> pd.Series[bool]:
    return (table["low"] > 0) | (table["high"] < 0)


def said(start: str, *known: float) -> bool:
    """Whether the page has the text, and the numbers behind it."""
    (text,) = re.findall(re.escape(start) + r"((?:[^0-9-]*-?[0-9][0-9.]*){" + str(len(known)) + "})", PAGE)
    return is_rounded(text.rstrip("."), known)


@pytest.mark.parametrize("who", PAIRS)
def test_the_differences_between_starts(who: str) -> None:
    for letter, axis in AXES.items():
        for quantity in ("exponent", "curvature"):
            row = ANSWERS.loc[(who, "learning_rate", axis, quantity)]
            measured, made, angle, differs = cells("bend", f"along {letter}, {quantity}: {who}")
            assert is_rounded(measured, row[ENDS].tolist())
            assert is_rounded(made.replace("+-", ""), [row["made"], row["made_spread"]])
            assert is_rounded(angle, [row["mean_angle"]])
            assert (differs == "yes") == row["verdict"].startswith("differs from 0")


@pytest.mark.parametrize("who", ["usual start", "large start", "equilibrium", "adamh"])
@pytest.mark.parametrize(("rate", "start"), [("learning_rate", "in rate"), ("mean_angle", "in mean angle")])
def test_the_arms(who: str, rate: str, start: str) -> None:
    shown = cells("bend", f"{start}: {who.replace('adamh', 'AdamH')}")
    for axis, exponent, curvature in zip(("num_params", "num_tokens"), shown[::2], shown[1::2], strict=True):
        assert is_rounded(exponent, ANSWERS.loc[(who, rate, axis, "exponent"), ENDS].tolist())
        row = ANSWERS.loc[(who, rate, axis, "curvature")]
        verdict = row["verdict"].split(";")[0]
        assert f", {verdict} (" in curvature
        assert is_rounded(curvature.replace(verdict, ""), row[[*ENDS, "smallest_bend"]].tolist())


def test_the_power() -> None:
    expected = table_of("bend", "expected.csv").set_index(KEYS)
    for who in PAIRS:
        keys = [
            (who, "learning_rate", axis, quantity)
            for axis in ("num_params", "num_tokens")
            for quantity in ("exponent", "curvature")
        ]
        for cell, key in zip(cells("bend", who), keys, strict=True):
            row = ANSWERS.loc[key]
            assert is_rounded(cell, [expected.loc[key, "width"] / 2, (row["high"] - row["low"]) / 2]), key


def test_the_counts_of_intervals() -> None:
    table = ANSWERS.reset_index()
    pairs = table[table["who"].str.contains(" over ")]
    apart = pairs[excludes_0(pairs)]
    assert (len(apart), len(pairs), (apart["quantity"] == "exponent").sum()) == (9, 28, 8)
    assert excludes_0(pairs[pairs["who"].isin(PAIRS[:2])]).sum() == 3
    angles = pairs[pairs["rate"] == "mean_angle"]
    assert (excludes_0(angles).sum(), len(angles)) == (2, 12)
    none, one = 0.95**12, 12 * 0.05 * 0.95**11
    assert (
        f"at least one excludes 0 by chance in {100 * (1 - none):.0f} %, two in {100 * (1 - none - one):.0f} %, if they"
        " were independent"
    ) in PAGE
    starts = pairs[pairs["who"].isin(PAIRS)]
    refuted = starts[starts["verdict"].str.contains("refutes mean angle")]
    assert (len(refuted), (refuted["axis"] == "num_tokens").sum()) == (6, 3)
    law = table[table["verdict"].str.contains("refutes law", na=False)]
    plain = law[law["rate"] == "learning_rate"].groupby(["axis", "quantity"]).size()
    assert plain.to_dict() == {
        ("num_params", "exponent"): 7,
        ("num_tokens", "exponent"): 4,
        ("num_tokens", "curvature"): 2,
    }
    assert not (law["who"].str.contains(" over ") & (law["axis"] == "num_tokens")).any()


def test_numbers_between_the_tables() -> None:
    for start, key in {
        "the transient adds": ("large start: angle, norm own", "as AdamW's rate", "num_tokens", "curvature"),
        "to a line that ends at": ("large start: bend", "as AdamW's rate", "num_tokens", "curvature"),
        "Fieller's share is": ("large start: angle, norm own", "as AdamW's rate", "num_tokens", "share of the bend"),
        "From the usual start": ("usual start: angle, norm own", "as AdamW's rate", "num_tokens", "curvature"),
        "the large start's is straight,": ("large start: bend", "as AdamW's rate", "num_params", "curvature"),
        "the usual start's exponent along N,": ("usual start over adamh", "mean_angle", "num_params", "exponent"),
        "and the large start's along D,": ("large start over adamh", "mean_angle", "num_tokens", "exponent"),
    }.items():
        assert said(start, *ANSWERS.loc[key, ENDS].astype(float)), start
    arms = [(arm, "learning_rate", "num_tokens") for arm in ("usual start", "large start", "equilibrium", "adamh")]
    exponents, bends = (
        [[ANSWERS.loc[(*arm, quantity), column] for arm in arms] for column in ("value", "made")]
        for quantity in ("exponent", "curvature")
    )
    assert said("along D in the exponents of all four arms (", *exponents[0], *exponents[1])
    assert said("in the curvatures of the large start and of equilibrium (", *bends[0][1:3], *bends[1][1:3])


def test_what_goes_in_effective_rates_and_what_was_seen_of_it() -> None:
    """Exponents of three starts in learning rate and in mean angle, and what one is of the other along N."""
    rate, angle = (
        ANSWERS.xs((name, "exponent"), level=("rate", "quantity"))["value"].unstack("axis")
        for name in ("learning_rate", "mean_angle")
    )
    arms = ["usual start", "large start", "equilibrium"]
    ends = {
        axis: [end for found in (rate, angle) for end in (found[axis][arms].min(), found[axis][arms].max())]
        for axis in ("num_tokens", "num_params")
    }
    assert said("exponents along D from", *ends["num_tokens"])
    assert said("and along N from", *ends["num_params"])
    along = angle.loc[[*arms, "adamh"], "num_params"]
    assert said("with an exponent of", along.min(), along.max())
    ratio = (rate / angle)["num_params"]
    assert said("over those in angle are", *ratio[["equilibrium", "usual start", "large start", "adamh"]])
    made = ANSWERS.loc[("large start over adamh", "mean_angle", "num_tokens", "exponent"), "made"]
    assert said("The law's made studies have", made)
    for text, who, quantity in (
        ("the exponent along tokens is lower by", PAIRS[0], "exponent"),
        ("than from the usual one, by", PAIRS[2], "exponent"),
        ("large start over equilibrium has a curvature of", PAIRS[2], "curvature"),
    ):
        assert said(text, abs(ANSWERS.loc[(who, "learning_rate", "num_tokens", quantity), "value"]))


def test_what_would_not_have_been_seen() -> None:
    bends = ANSWERS.xs(("learning_rate", "num_params", "curvature"), level=("rate", "axis", "quantity"))
    smallest = bends["smallest_bend"].dropna()
    assert said("a bend below", smallest.min(), smallest.max())
    half = (bends.loc[list(PAIRS), "high"] - bends.loc[list(PAIRS), "low"]) / 2
    assert said("intervals of differences are", half.min(), half.max())
    found = ANSWERS.xs("learning_rate", level="rate").loc[list(PAIRS)]
    made = table_of("bend", "expected.csv").query("rate == 'learning_rate'").set_index(["who", "axis", "quantity"])
    times = (found["high"] - found["low"]) / made["width"].reindex(found.index)
    assert said("half widths of differences came out", times.min(), times.max())


def test_how_far_the_differences_hang_on_single_cells() -> None:
    table = table_of("bend", "sensitivity.csv")
    found = {
        key: (rows["value"].min(), rows["value"].max(), excludes_0(rows).sum(), len(rows))
        for key, rows in table.groupby(["who", "axis", "quantity"])
    }
    one, other, third = PAIRS[2], PAIRS[0], PAIRS[1]
    data, size, bend = (
        (one, "num_tokens", "exponent"),
        (one, "num_params", "exponent"),
        (one, "num_tokens", "curvature"),
    )
    assert said("Large start over equilibrium: the exponent along D is", *found[data][:2], *found[size][:2])
    assert found[data][2:] == found[size][2:] == (12, 12)
    assert said("the curvature along D is", *found[bend][:2])
    assert found[bend][2] == 5
    assert said("Large over usual start:", *found[other, "num_tokens", "exponent"][:2])
    assert [found[other, axis, "exponent"][2] for axis in ("num_tokens", "num_params")] == [12, 8]
    assert found[third, "num_params", "exponent"][2] == 6
    of_cells = table.set_index(["who", "axis", "quantity", "cells"])[ENDS]
    assert said("without width 32 it is", *of_cells.loc[(*bend, "without width 32")])
    assert said("without width 8", *of_cells.loc[(*bend, "without width 8")])
    assert said("and without width 128", *of_cells.loc[(third, "num_params", "exponent", "without width 128")])


def test_the_table_of_widths() -> None:
    optima = table_of("bend", "optima.csv").query("status == 'interior'")
    for width, rows in optima.groupby("width"):
        holds = (rows["low"].fillna(0) <= rows["law"]) & (rows["law"] <= rows["high"].fillna(np.inf))
        misses = [
            np.sqrt(np.mean(np.log(rows["learning_rate"] / rows[account]) ** 2)) for account in ("law", "mean_angle")
        ]
        assert is_rounded(" ".join(cells("bend", f"{width} ")), [len(rows), *misses, holds.sum()]), width
    at_32 = optima[optima["width"] == 32]["learning_rate"]
    assert said("optima from", at_32.min(), at_32.max())


def test_the_first_design() -> None:
    first = table_of("bend", "first-design-answers.csv").set_index(KEYS)
    both = ANSWERS.merge(first, on=KEYS, suffixes=("", "_first")).query("quantity != 'share of the bend'")
    apart = both[
        ((both["value_first"] < both["low"]) | (both["value_first"] > both["high"]))
        & ((both["value"] < both["low_first"]) | (both["value"] > both["high_first"]))
    ]
    assert (len(apart), len(both)) == (10, 112)
    page = PAGE.partition("rows: along D")[2].partition("In pairs")[0]
    shown = {tuple(float(number) for number in re.findall(r"-?[0-9.]+", text)) for text in re.findall(RANGE, page)}
    columns = ["value_first", "low_first", "high_first"]
    assert shown == {tuple(row) for row in apart[columns].round(2).itertuples(index=False)}
    for quantity, start in (("exponent", "it tells alike:"), ("curvature", "it tells alike: -0.57 [-0.76, -0.38] and")):
        assert said(start, *first.loc[(PAIRS[2], "learning_rate", "num_tokens", quantity), ENDS].astype(float))


def test_other_seeds() -> None:
    halves = table_of("bend", "halves.csv").set_index(["who", "rate", "axis", "quantity"])
    plain = halves.xs("learning_rate", level="rate")
    inside = plain[["seeds 0, 1 inside", "seeds 2, 3 inside"]]
    pairs = plain.loc[list(PAIRS[:2])]
    assert f"In learning rate {inside.sum().iloc[0]} of {len(plain)} and {inside.sum().iloc[1]} of {len(plain)}" in PAGE
    assert pairs[list(inside)].sum().tolist() == [8, 7]
    assert all("equilibrium" in who for who in plain.index[~inside.all(axis=1)].get_level_values("who"))
    first, other = ["seeds 0, 1", "seeds 2, 3"]
    slope = plain.loc["equilibrium", "num_tokens", "exponent"]
    assert f"{slope[first]:.2f} by the first seeds, {slope[other]:.2f} by the others" in PAGE
    slope = plain.loc["large start over usual start", "num_tokens", "exponent"]
    told = f"{slope[first]:.2f} and {slope[other]:.2f}, with all four {slope['value']:.2f}"
    assert f"{told} [{slope['low']:.2f}, {slope['high']:.2f}]" in PAGE


def test_the_two_machines() -> None:
    table = table_of("bend", "hardware.csv").set_index("line")
    starts = ("size: median", "bias: mean", "twin: root", "small angles: root", "outcomes that")
    for start in starts:
        row = table.loc[start.partition(":")[0] if ":" in start else "outcomes"]
        assert is_rounded(" ".join(cells("bend", start)), [row["value"], row["limit"], row["num_pairs"]]), start
    assert table["holds"].all()


def test_the_cost() -> None:
    runs = table_of("bend", "runs.csv")
    assert f"{len(runs):,} runs, {runs['seconds'].sum():.0f} seconds of a GPU" in PAGE
