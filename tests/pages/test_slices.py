"""Pages that tell exponents and curvatures at one value of the other axis say what the tables of these say."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from experiments.studies.slices import slices_of
from tests.pages.shown import DOCS, accounts_of_exponents, is_rounded, table_of

BEND, MOVED = (
    " ".join((DOCS / study / "README.md").read_text(encoding="utf-8").split()) for study in ("bend", "moved-optimum")
)
ENDS = ["curvature", "curvature_low", "curvature_high"]
ALONG = ["exponent", "exponent_low", "exponent_high"]
ALONG_N = table_of("bend", "slices.csv").query("axis == 'num_params'").set_index(["arm", "at"])


@pytest.mark.parametrize("arm", ["usual start", "large start", "equilibrium", "adamh"])
def test_curvatures_along_size_at_each_length(arm: str) -> None:
    (row,) = re.findall(rf"\| {arm.replace('adamh', 'AdamH')} ((?:\| -?[0-9.]+ \[[^]]*\] ){{4}})\|", BEND)
    rows = ALONG_N.loc[arm].sort_index()
    assert is_rounded(row, rows[ENDS].to_numpy(float).ravel().tolist())
    assert rows["curvature"].iloc[-1] < rows["curvature"].iloc[0]


def test_where_a_line_is_refuted() -> None:
    refuted = ALONG_N[ALONG_N["p"] < 0.05]
    assert set(refuted.index) == {("adamh", 512000), ("adamh", 2048000), ("equilibrium", 2048000)}
    assert len(ALONG_N) == 16
    (shown,) = re.findall(r"A line is refuted for (.*?); of 16 lines", BEND)
    known = [refuted.loc[key, "chi2"] for key in (("adamh", 512000), ("adamh", 2048000), ("equilibrium", 2048000))]
    assert [float(number) for number in re.findall(r"(\d+) on 3", shown)] == [round(value) for value in known]
    along_d = table_of("bend", "slices.csv").query("axis == 'num_tokens' and p < 0.05")
    widths = table_of("bend", "optima.csv").set_index("num_params")["width"].groupby(level=0).first()
    found = {(arm, widths[size]) for arm, size in zip(along_d["arm"], along_d["at"], strict=True)}
    assert found == {("adamh", 16), ("adamh", 32), ("large start", 32), ("equilibrium", 32)}


def test_what_hangs_on_the_smallest_width() -> None:
    optima = table_of("bend", "optima.csv")
    wider = slices_of(optima[optima["width"] > 8], "num_params", "num_tokens").set_index(["arm", "at"])
    short, longer = (wider.loc[("adamh", at), ENDS].astype(float).tolist() for at in (512000, 2048000))
    (text,) = re.findall(r"without it (.*?) and, at 2M, (?:.*?)\. At 2M", BEND)
    assert is_rounded(text, short)
    (text,) = re.findall(r"and, at 2M, (.*?)\. At 2M", BEND)
    assert is_rounded(text, longer)
    cells = optima.query("arm == 'adamh' and num_tokens == 2048000")
    x, y = np.log(cells["num_params"]), np.log(cells["learning_rate"])
    misses = (y - np.polyval(np.polyfit(x, y, 2, w=1 / cells["error"]), x)) / cells["error"]
    (text,) = re.findall(r"off a parabola too \(chi\^2 of (\S+) on 2\)", BEND)
    assert len(cells) == 5
    assert is_rounded(text, [(misses**2).sum()])
    rates = optima.query("arm == 'adamh' and num_steps == 500").set_index("width")["learning_rate"]
    (text,) = re.findall(r"whose best rate there is (.*?): without", BEND)
    assert is_rounded(text, [rates[8], rates.drop(8).min(), rates.drop(8).max()])


def test_exponents_along_tokens_of_moved_optimum() -> None:
    exponents = table_of("moved-optimum", "exponents.csv").set_index("arm")
    accounts, outside = accounts_of_exponents(), []
    for shown, arm in {
        "from 1.6": "start 1.6",
        "from 14.4": "start 14.4",
        "from equilibrium": "equilibrium",
        "AdamH": "adamh",
        "from 1.6 less from equilibrium": "start 1.6 less equilibrium",
        "from 14.4 less from equilibrium": "start 14.4 less equilibrium",
        "from 14.4 less from 1.6": "start 14.4 less start 1.6",
        "from 1.6 less AdamH": "start 1.6 less adamh",
        "from equilibrium less AdamH": "equilibrium less adamh",
    }.items():
        (text,) = re.findall(rf"\| {shown} \| (-?[0-9.]+ \[[^]]*\]) \|", MOVED)
        measured = exponents.loc[arm, ALONG].astype(float)
        assert is_rounded(text, measured.tolist()), arm
        one, _, other = arm.partition(" less ")
        told = accounts.loc[one] - (accounts.loc[other] if other else 0)
        (text,) = re.findall(rf"\| {shown} \| [^|]* \| (-?[0-9.]+ \| -?[0-9.]+) \|", MOVED)
        assert is_rounded(text, told.tolist()), arm
        outside.append((told < measured["exponent_low"]) | (told > measured["exponent_high"]))
    assert sum(outside).to_dict() == {"law": 4, "mean_angle": 6}
    assert "of the nine rows, which share cells, four exclude the law's number and six the mean angle's" in MOVED


def test_how_far_off_the_accounts_are_in_the_longest_runs() -> None:
    longest = table_of("moved-optimum", "optima.csv").query("num_steps == 12800").dropna(subset=["learning_rate"])
    law, angle = ((longest["learning_rate"] / longest[name]).map(math.log).abs() for name in ("law", "mean_angle"))
    (text,) = re.findall(r"the law is off by factors of (.*?), one mean angle", MOVED)
    assert is_rounded(text, sorted(law.map(math.exp)))
    (text,) = re.findall(r"one mean angle by (.*? to .*?)\.\*\*", MOVED)
    assert is_rounded(text, sorted(angle.map(math.exp))[:: len(angle) - 1])
    assert (law < math.log(1.25)).sum() == 3
    assert not (angle < math.log(1.25)).any()
