"""Numbers of the page of the study `classic` are those of its tables."""

from __future__ import annotations

import re

import numpy as np

from tests.pages.shown import cells, is_rounded, page_of, table_of


def test_the_losses_of_classic() -> None:
    table = table_of("classic").query("num_steps == 800").set_index(["quantity", "learning_rate"])
    rates = [rate for quantity, rate in table.index if quantity == "loss, angle"]
    assert is_rounded(" ".join(cells("classic", "rate")), rates)
    for row, part in {
        "angle's part": "angle",
        "norm's part": "norm",
        "interaction": "interaction",
        "norm at large angles, until the end of the warmup": "norm until the end of the warmup",
        "norm at large angles, from there on": "norm from there on",
    }.items():
        for shown, rate in zip(cells("classic", row), rates, strict=True):
            known = table.loc[(f"loss, {part}", rate), ["value", "low", "high"]]
            assert is_rounded(shown, known[np.isfinite(known.astype(float))].tolist()), (row, rate)


def test_the_optima_of_classic() -> None:
    optima = table_of("classic", "optima.csv").set_index(["arm", "num_steps"])
    bounds = {"interior": ["learning_rate", "low", "high"], "censored-low": ["high"], "censored-high": ["low"]}
    for row, arm in {
        "small start": "small",
        "large start": "large",
        "angles of the large start, norms of the small": "large angles, small norm",
        "angles of the small start, norms of the large": "small angles, large norm",
        **{f"AdamH at {rms}": f"adamh {rms}" for rms in ("0.02", "0.18", "0.54")},
        "AdamW from equilibrium": "equilibrium",
        "AdamC, large start": "adamc",
    }.items():
        *shown, predicted = cells("classic", row)
        assert is_rounded(predicted, optima.loc[(arm, 800), ["law", "mean_angle"]].tolist())
        for steps, cell in zip((800, 1600), shown, strict=True):
            if (arm, steps) not in optima.index:
                assert cell == "not run"
                continue
            known = optima.loc[(arm, steps)]
            numbers = known[bounds[known["status"]]].astype(float)
            assert is_rounded(cell, numbers[np.isfinite(numbers)].tolist()), (row, steps)
            assert cell.startswith({"censored-low": "below", "censored-high": "above"}.get(known["status"], "0"))
            assert cell.endswith("*") != known["finished"], (row, steps)


def test_the_verdicts_of_classic() -> None:
    page = page_of("classic")
    table = table_of("classic").set_index(["quantity", "num_steps"]).query("learning_rate.isna()")

    def shown(quantity: str, steps: int = 800, digits: int = 3) -> str:
        row = table.loc[(quantity, steps)]
        value, low, high = (f"{row[name]:.{digits}f}" for name in ("value", "low", "high"))
        return f"{value} [{low}, {high}]"

    least = "loss, least of adamh {} less adamh 0.18"
    for text in (
        f"ln(large/small) is {shown('ln rate, shift', digits=2)} at 800 steps",
        f"at 1,600 steps {shown('ln rate, shift', 1600, 2)}",
        f"ln(large/small) {shown('ln angle at the optimum, large/small', digits=2)}",
        f"and {shown('ln angle at the optimum, large/small', 1600, 2)} at 1,600 steps; against AdamH at 0.18, whose"
        f" optimum has an open end, {shown('ln angle at the optimum, large/adamh 0.18', 1600, 2)} there",
        f"its least loss is {shown(least.format('0.02'))} nats above",
        f"at 0.54 {shown(least.format('0.54'))}",
        f"at 1,600 steps 0.02 has {shown(least.format('0.02'), 1600)}",
        f"0.54 has {shown(least.format('0.54'), 1600)}",
        f"over that of AdamH at 0.02 is {shown('ln rate, from small, shift', digits=2)} at 800 steps",
        f"{shown('ln rate, from small, shift', 1600, 2)} at 1,600 for -2.77 and -1.76",
        f"the angle's part is +{shown('ln rate, from small, angle', 1600, 2)}, for -2.87 and -1.76, the norm's"
        f" {shown('ln rate, from small, norm', 1600, 2)}, the interaction"
        f" {shown('ln rate, from small, interaction', 1600, 2)}",
        f"AdamC's optimum over AdamW's is {shown('adamc/large, shift', digits=2)} and"
        f" {shown('adamc/large, shift', 1600, 2)}",
    ):
        assert text in page, text
    assert [table.loc[("AdamH is free of the norm", steps), "verdict"] for steps in (800, 1600)] == ["no", "no"]
    runs = table_of("classic", "runs.csv")
    lowest = runs.query("num_steps == 800").groupby(["arm", "learning_rate"])["loss"].mean().groupby("arm").min()
    arms = ("large angles, small norm", "small", "large", "equilibrium", "adamh 0.18")
    (said,) = re.findall(r"under the small one's norms, (.*? of AdamH)", page)
    assert lowest.min() == lowest[arms[0]]
    assert is_rounded(said, lowest[list(arms)].tolist())
    lost = table_of("classic").query("num_steps == 800").set_index(["quantity", "learning_rate"])["value"]
    angle, half = lost["loss, angle"], lost["loss, interaction"] / 2
    (said,) = re.findall(r"angles cost (.*?) nats from 0.00125 to 0.01;", page)
    costs = -(angle + half)[0.00125:0.01]
    assert is_rounded(said, [costs.min(), costs.max()])
    (said,) = re.findall(r"under small ones they gain (.*?) up to 0.005\.", page)
    gains = (angle - half)[:0.005]
    assert is_rounded(said, [gains.min(), gains.max()])
    held = (
        -table_of("classic")
        .query("quantity == 'loss, norm moves, small'")
        .set_index(["num_steps", "learning_rate"])[["value", "high", "low"]]
    )
    (longer, shorter) = re.findall(r"holding costs (.*?) at 1,600 steps, half of it \((.*?)\) at 800", page)[0]
    assert is_rounded(longer, [*held.loc[(1600, 0.00125)], *held.loc[(1600, 0.005)]])
    (gained, lost_again) = re.findall(r"holding gains (.*?) at 800 steps and costs (.*?) at 1,600\.", page)[0]
    assert is_rounded(gained, (-held.loc[(800, 0.02), ["value", "low", "high"]]).tolist())
    assert is_rounded(lost_again, held.loc[(1600, 0.02), ["value", "high", "low"]].tolist())
    assert is_rounded(shorter, [held.loc[(800, rate), "value"] for rate in (0.00125, 0.005)])
    optima = table_of("classic", "optima.csv").query("num_steps == 800").set_index("arm")
    off = optima["learning_rate"] / optima["law"], optima["learning_rate"] / optima["mean_angle"]
    (said,) = re.findall(r"put lower by factors of (\S+ and \S+);", page)
    assert is_rounded(said, [ratio["small"] for ratio in off])
    (said,) = re.findall(r"too high by (\S+ and \S+)\.", page)
    assert is_rounded(said, [1 / ratio["large"] for ratio in off])
    (said,) = re.findall(r"`make classic`, (.*? of 800 steps)\)", page)
    assert is_rounded(said, [runs["seconds"].sum() / 60, len(runs), len(runs.query("num_steps == 800")), 800])


def test_the_effects_of_classic_one_at_a_time() -> None:
    table = table_of("classic").set_index(["quantity", "num_steps"])
    for row, effect in {
        "other angles (large for small start's), small norms": "angle under small norms",
        "other angles (large for small start's), large norms": "angle under large norms",
        "other norms (large for small ones), large start's angles": "norm at large angles",
        "other norms (large for small ones), small start's angles": "norm at small angles",
    }.items():
        *shown, law, mean_angle = cells("classic", row)
        both = [table.loc[(f"ln rate, {effect}", steps)] for steps in (800, 1600)]
        assert is_rounded(law, [one["law"] for one in both])
        assert is_rounded(mean_angle, [one["mean_angle"] for one in both])
        for cell, one in zip(shown, both, strict=True):
            numbers = one[["value", "low", "high"]].astype(float)
            assert is_rounded(cell, numbers[np.isfinite(numbers)].tolist()), (row, cell)
            assert cell.startswith("above") == np.isnan(one["high"])
            assert cell.startswith("below") == np.isnan(one["low"])
