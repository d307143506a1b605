"""Numbers of the page of the study `classic-bend` are those of its tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from experiments.studies.classic_bend.runs import read_classic
from experiments.studies.same_angle.answers import measured_angle
from tests.pages.shown import DOCS, cells, is_rounded, page_of, table_of
from theory import Linear

ARMS = ("small", "equilibrium", "large", "adamh 0.18")
BOUNDS = {"interior": ["learning_rate", "low", "high"], "censored-low": ["high"], "censored-high": ["low"], "flat": []}
BY_FIT = ("learning_rate", "curvature by fit")
WORDS = {"censored-low": "below", "censored-high": "above", "flat": "flat"}


def test_the_optima_of_classic_bend() -> None:
    rows = table_of("classic-bend", "optima.csv").to_dict("records")
    optima = {(row["num_steps"], row["width"], row["arm"]): row for row in rows}
    for num_steps, width in {(steps, width) for steps, width, _ in optima}:
        shown = cells("classic-bend", f"{num_steps:,} steps, width {width}")
        for arm, cell in zip(ARMS, shown, strict=True):
            known = optima.get((num_steps, width, arm))
            if known is None:
                assert cell == "not finished"
                continue
            numbers = [known[name] for name in BOUNDS[known["status"]]]
            assert is_rounded(cell, [number for number in numbers if np.isfinite(number)]), (width, arm)
            assert cell.startswith(WORDS.get(known["status"], "0")), (width, arm)


@pytest.mark.parametrize(
    ("who", "columns"),
    [
        *((f"{arm}, rate", [("learning_rate", "exponent"), ("learning_rate", "curvature"), BY_FIT]) for arm in ARMS),
        *(
            (f"{one} over {other}", [("learning_rate", "exponent"), ("learning_rate", "curvature")])
            for one, other in (("small", "equilibrium"), ("large", "equilibrium"), ("large", "small"))
        ),
        *((f"{arm}, angle", [("mean_angle", "exponent"), ("mean_angle", "curvature")]) for arm in ARMS),
        *((f"{arm} over adamh 0.18", [("mean_angle", "exponent"), ("mean_angle", "curvature")]) for arm in ARMS[:3]),
    ],
)
def test_exponents_and_curvatures_of_classic_bend(who: str, columns: list[tuple[str, str]]) -> None:
    table = table_of("classic-bend").query("num_steps == 800")
    for shown, (rate, quantity) in zip(filter(None, cells("classic-bend", who)), columns, strict=True):
        known = table[(table["who"] == who.split(",")[0]) & (table["rate"] == rate) & (table["quantity"] == quantity)]
        assert is_rounded(shown, known[["value", "low", "high"]].to_numpy(float).ravel().tolist()), (who, quantity)


PAIRS = ("small over equilibrium", "large over equilibrium", "large over small")


@pytest.mark.parametrize("who", [*ARMS, *PAIRS])
def test_the_longer_runs_of_classic_bend(who: str) -> None:
    table = table_of("classic-bend").query("num_steps == 1600 and rate == 'learning_rate'")
    shown = cells("classic-bend", f"1,600 steps: {who}" + ", rate" * (who in ARMS))
    for cell, quantity in zip(filter(None, shown), ("exponent", "curvature", "curvature by fit"), strict=False):
        known = table[(table["who"] == who) & (table["quantity"] == quantity)]
        assert is_rounded(cell, known[["value", "low", "high"]].to_numpy(float).ravel().tolist()), (who, quantity)
    assert len(list(filter(None, shown))) == (3 if who in ARMS else 2)


def test_what_is_said_of_the_longer_runs_of_classic_bend() -> None:
    page, table = page_of("classic-bend"), table_of("classic-bend")
    longer = table[table["num_steps"] == 1600]
    assert set(longer[longer["quantity"] == "curvature by fit"]["verdict"]) == {"not-identifiable"}
    smallest = longer[longer["quantity"] == "smallest bend"]["value"]
    assert f"would have shown are {smallest.min():.2f} to {smallest.max():.2f}" in page
    primary = longer[longer["who"].isin(PAIRS) & longer["quantity"].isin(["exponent", "curvature"])]
    differ = primary[primary["verdict"] == "differs from 0"][["who", "quantity"]].to_numpy().tolist()
    assert differ == [["small over equilibrium", "curvature"]]
    assert len(primary) == 6
    angle = longer[(longer["who"] == "equilibrium") & (longer["rate"] == "mean_angle")].set_index("quantity")
    assert "by {:.2f} [{:.2f}, {:.2f}]".format(*angle.loc["curvature", ["value", "low", "high"]]) in page
    optima = table_of("classic-bend", "optima.csv").query("num_steps == 1600")
    least = optima[optima["width"] == 8].set_index("arm")
    assert list(least.index[least["high"].isna()]) == ["small", "equilibrium", "large"]
    assert set(least["error"][least["high"].isna()]) == {3.0}
    decay = 0.1 * Linear(num_steps=1600, warmup_steps=80).multipliers().sum()
    best = optima[optima["arm"] == "small"].set_index("width")["learning_rate"]
    assert "with {:.1f} to {:.2f} relaxations".format(*(2 * decay * best.loc[[8, 64]])) in page
    ratios = table[(table["who"] == PAIRS[0]) & (table["quantity"] == "ln ratio") & (table["rate"] == "learning_rate")]
    both = [ratios[ratios["num_steps"] == steps].set_index("width") for steps in (1600, 800)]
    fall = both[0]["value"] - both[1]["value"]
    half = np.hypot(*((one["high"] - one["low"]) / 2 for one in both))
    told = [-fall[64], -fall[64] - half[64], -fall[64] + half[64]]
    assert "in ln by {:.2f} [{:.2f}, {:.2f}] at 64".format(*told) in page
    assert (fall.dropna() < 0).all()
    assert [width for width in (8, 16, 32, 64) if fall[width] + half[width] < 0] == [64]


def test_verdicts_and_choices_of_classic_bend() -> None:
    page, table = page_of("classic-bend"), table_of("classic-bend").query("num_steps == 800")
    verdicts = table[table["quantity"] == "curvature by fit"].set_index("who")["verdict"].to_dict()
    assert verdicts == dict(zip(ARMS, ("not-identifiable", "bends-up", "bends-up", "not-identifiable"), strict=True))
    smallest = table[table["quantity"] == "smallest bend"].set_index("who")["value"]
    assert "would have shown are {:.2f} and {:.2f}.".format(*smallest.loc[["small", "adamh 0.18"]]) in page
    primary = table[table["who"].isin(["small over equilibrium", "large over equilibrium", "large over small"])]
    primary = primary[primary["quantity"].isin(["exponent", "curvature"])]
    assert len(primary) == 6
    differ = primary[primary["verdict"] == "differs from 0"][["who", "quantity"]].to_numpy().tolist()
    assert differ == [["small over equilibrium", "curvature"], ["large over small", "curvature"]]
    choices = table_of("classic-bend", "sensitivity.csv").query("quantity == 'curvature'")
    known = choices.dropna(subset=["low"])
    counts = {who: (len(own), ((own["low"] > 0) | (own["high"] < 0)).sum()) for who, own in known.groupby("who")}
    assert counts["equilibrium"] == counts["large"] == (9, 9)
    assert counts["small over equilibrium"] == counts["large over small"] == (9, 7)
    alike = choices.set_index(["who", "optima"])[["value", "low", "high"]].round(2)
    numbers = [
        "{:.2f} [{:.2f}, {:.2f}]".format(*alike.loc[who, f"shapes {shapes}"])
        for who in ("small over equilibrium", "large over small", "adamh 0.18")
        for shapes in ("own", "shared")
    ]
    for one in numbers:
        assert one in " ".join(page.split()), one
    by_parabola = choices[choices["optima"] == "parabola of three rates"].set_index("who")["value"]
    told = by_parabola.loc[
        ["equilibrium", "large", "adamh 0.18", "small", "small over equilibrium", "large over small"]
    ]
    sentence = "have {:.2f}, {:.2f}, {:.2f} and {:.2f} for equilibrium, large, AdamH and small, and {:.2f} and {:.2f}"
    assert sentence.format(*told) in page


def test_how_norms_move_at_the_optima_of_classic_bend() -> None:
    known = read_classic(DOCS / "classic")
    runs = pd.concat([table_of("classic-bend", "runs.csv"), known]).query("num_steps == 800")
    optima = table_of("classic-bend", "optima.csv").query("num_steps == 800")
    best = dict(zip(zip(optima["arm"], optima["width"], strict=True), optima["learning_rate"], strict=True))
    grown: dict[str, list[tuple[float, float]]] = {}
    for arm in ARMS[:3]:
        for width in (8, 16, 32, 64, 128):
            own = runs[(runs["arm"] == arm) & (runs["width"] == width)]
            first, last = (measured_angle(own, best[arm, width], f"{name}_rms") for name in ("initial", "final"))
            grown.setdefault(arm, []).append((last / first, last))
    page = page_of("classic-bend")
    factors, ends = zip(*grown["small"], strict=True)
    assert "by factors of {:.0f}, {:.1f}, {:.1f}, {:.1f} and {:.1f} at widths 8 to 128".format(*factors) in page
    assert "to {:.2f}, {:.2f}, {:.3f}, {:.3f}, {:.3f}:".format(*ends) in page
    steady = [factor for factor, _ in grown["equilibrium"]]
    assert f"by factors of {min(steady):.2f} to {max(steady):.2f}" in page
    assert "the large one's by {:.1f} to {:.2f}".format(grown["large"][0][0], grown["large"][-1][0]) in page
    decay = 0.1 * Linear(num_steps=800, warmup_steps=40).multipliers().sum()
    assert "has {:.1f} to {:.2f} relaxations".format(*(2 * decay * best["small", width] for width in (8, 128))) in page


def test_where_a_parabola_is_refused_in_classic_bend() -> None:
    optima, refused = table_of("classic-bend", "optima.csv").query("num_steps == 800"), {}
    for arm, own in optima.groupby("arm"):
        x = np.log(own["num_params"].to_numpy(float))
        y, error = np.log(own["learning_rate"].to_numpy(float)), own["error"].to_numpy(float)
        curve = np.polyfit(x - x.mean(), y, 2, w=1 / error)
        misses = (((y - np.polyval(curve, x - x.mean())) / error) ** 2).sum()
        refused[arm] = chi2.sf(misses, len(x) - 3)
    told = "from the small start (p {:.2f}) and with AdamH (p {:.2f})".format(refused["small"], refused["adamh 0.18"])
    assert told in page_of("classic-bend")
    assert min(refused["equilibrium"], refused["large"]) > 0.1
