"""Every table of a study's page is that of the files beside it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from experiments.attribution.arm_optima import WIDEST_ERROR
from tests.pages.shown import CURVATURE, DOCS, cells, is_rounded, table_of
from theory.networks import GPT2_WORTH


def test_what_counts_as_passed_in_validate() -> None:
    table = table_of("validate", "predictions.csv").query("promised").dropna(subset=["limit"])
    page = " ".join((DOCS / "validate" / "README.md").read_text(encoding="utf-8").split())
    (said,) = re.findall(r"within their limits\*\*: (.*?)\. The limit", page)
    setting = table["group"].str.fullmatch("AdamW lr=0.01 wd=0.3, scale-invariant")
    drift = table["quantity"] == "norm drift"
    simulated = table["group"].str.startswith("Simulation")
    limits = [*(100 * table[setting]["limit"]), table[drift]["limit"].max(), 100 * table[simulated]["limit"].max()]
    assert is_rounded(said, limits), said
    counts = table.assign(kind=table["group"].str.split(" ").str[0])["kind"].value_counts()
    assert counts.to_dict() == {"AdamW": 3 * 4, "AdamH": 2, "Simulation": 4}


def test_the_table_of_validate() -> None:
    table = table_of("validate", "predictions.csv")
    names = ("angular update (rad)", "weight RMS", "weight RMS, measured U", "relaxation (steps)")
    for rate, decay in (("0.01", "0.3"), ("0.003", "1"), ("0.03", "0.1")):
        rows = table[table["group"] == f"AdamW lr={rate} wd={decay}, scale-invariant"].set_index("quantity")
        for name, cell in zip(names, cells("validate", f"{rate}, {decay} "), strict=True):
            known = rows.loc[name, ["error", "seed_low", "seed_high"]].astype(float) * 100
            assert is_rounded(cell, known.tolist()), cell


@pytest.mark.parametrize(("study", "quantity"), [("moved-optimum", "shift"), ("schedule-exponent", "ln constant/line")])
def test_the_tables_of_moved_optima(study: str, quantity: str) -> None:
    table = table_of(study)
    for row in table[table["quantity"] == quantity].itertuples():
        measured, law, mean_angle = cells(study, f"{float(row.num_steps):,.0f} steps")
        assert_shift(measured, row.value, row.low, row.high)
        assert is_rounded(law, [row.law])
        assert is_rounded(mean_angle, [row.mean_angle])


def assert_shift(shown: str, value: float, low: float, high: float) -> None:
    closed = high - low < 2 * WIDEST_ERROR
    assert ("no closed interval" in shown) != closed
    assert is_rounded(shown, [value, low, high] if closed else [value]), shown


def test_other_fits_of_the_shift_and_the_one_curve_of_moved_optimum() -> None:
    fits = table_of("moved-optimum", "other-fits.csv").set_index(["num_steps", "rows", "lengths"])
    shifts = fits[["value", "low", "high"]]
    for num_steps in (1600, 3200, 6400):
        assert_shift(
            *cells("moved-optimum", f"before: {num_steps:,} steps"), *shifts.loc[num_steps, "answers", "to 6400"]
        )
    for start, key in {
        "as first answered": ("cores", "to 3200"),
        "rows of cores, seeds 0 to 2, 6,400": ("cores", "to 6400"),
        "rows of a GPU, seeds 0 to 2, two": ("GPU", "to 3200"),
        "rows of a GPU, seeds 0 to 2, 6,400": ("GPU", "to 6400"),
        "all six seeds": ("answers", "alone"),
    }.items():
        assert_shift(*cells("moved-optimum", start), *shifts.loc[1600, *key])
    assert (
        table_of("moved-optimum", "runs.csv").query("arm == 'start 14.4' and num_steps == 1600")["seed"].nunique() == 6
    )
    table = table_of("moved-optimum").set_index("quantity")
    page = " ".join((DOCS / "moved-optimum" / "README.md").read_text(encoding="utf-8").split())
    slopes = {a: table.loc[f"slope, {a}, all cells", ["value", "low", "high"]].tolist() for a in ("law", "mean_angle")}
    scatters = [table.loc[f"scatter, {account}, all cells", "value"] for account in slopes]
    (law, angle, scatter) = re.findall(
        r"is (\S+ \[.*?\]) by the law and (\S+ \[.*?\]) by the mean angle, .*? difference (\S+ and \S+) where", page
    )[0]
    assert is_rounded(law, slopes["law"])
    assert is_rounded(angle, slopes["mean_angle"])
    assert is_rounded(scatter, scatters)
    known = table_of("moved-optimum", "optima.csv").dropna(subset=["learning_rate"])
    for account, outside in (("law", 4), ("mean_angle", 8)):
        assert ((known[account] < known["low"]) | (known[account] > known["high"])).sum() == outside
    assert len(known) == 18
    assert (known["low"].isna() | known["high"].isna()).sum() == 1
    longest = known[known["num_steps"] == 12800]
    assert np.abs(np.log(longest["learning_rate"] / longest["law"])).max() < np.log(1.3)
    assert (np.abs(np.log(longest["learning_rate"] / longest["mean_angle"])) > np.log(1.3)).all()
    for arm, start in (("adamh", "AdamH's best rate there is "), ("equilibrium", "from equilibrium ")):
        row = longest.set_index("arm").loc[arm, ["learning_rate", "low", "high", "law", "mean_angle"]].astype(float)
        (said,) = re.findall(re.escape(start) + r"(0\.\d+ \[.*?\], .*?0\.0163)", page)
        assert is_rounded(said, row.tolist()), said
    closed = known[known["error"] < WIDEST_ERROR]
    miss, error = np.log(closed["learning_rate"] / closed["law"]), closed["error"]
    (said,) = re.findall(r"is (\S+) by the law, and their own errors are (\S+), .*? chi\^2 is (\d+) on 17", page)
    assert is_rounded(" ".join(said), [(miss**2).mean() ** 0.5, (error**2).mean() ** 0.5, ((miss / error) ** 2).sum()])


def test_the_shifts_at_other_widths_on_the_page_of_moved_optimum() -> None:
    answers = table_of("moved-optimum", "width-answers.csv")
    for row in answers.itertuples():
        measured, law, mean_angle = cells("moved-optimum", row.quantity)
        assert_shift(measured, row.value, row.low, row.high)
        assert is_rounded(law, [row.law])
        assert is_rounded(mean_angle, [row.mean_angle])
    optima = table_of("bend", "optima.csv").set_index(["num_steps", "width", "arm"])
    for num_steps in (2000, 4000):
        *measured, law, mean_angle = cells("moved-optimum", f"bend, {num_steps:,} steps")
        for width, shown in zip((16, 32, 64), measured, strict=True):
            large, usual = (optima.loc[num_steps, width, f"{start} start"] for start in ("large", "usual"))
            shift, error = np.log(large["learning_rate"] / usual["learning_rate"]), np.hypot(large.error, usual.error)
            assert_shift(shown, shift, shift - 1.96 * error, shift + 1.96 * error)
            assert is_rounded(law, [np.log(large["law"] / usual["law"])])
            assert is_rounded(mean_angle, [np.log(large["mean_angle"] / usual["mean_angle"])])


def test_what_a_right_law_would_meet_on_the_page_of_small_starts() -> None:
    chances = table_of("small-starts", "chances.csv").set_index("quantity")["chance"]
    optima = table_of("small-starts", "chances.csv").query("quantity == 'optimum'").set_index("initial_rms")["error"]
    page = " ".join((DOCS / "small-starts" / "README.md").read_text(encoding="utf-8").split())
    (errors, *said) = re.findall(
        r"\(errors of (.*?) in ln .*?of (\S+) and (\S+) from these.*?chance of (\S+), and at least five with (\S+) "
        r".*? chance of (\S+), four or fewer, as two clocks, with (\S+)\.",
        page,
    )[0]
    large = optima[optima.index > 1]
    assert is_rounded(errors, [large.min(), large.max()])
    known = [optima.loc[0.53].max(), optima.loc[0.177], chances["at least 7"], chances["at least 5"]]
    assert is_rounded(" ".join(said), [*known, 1 - chances["at least 4"], 1 - chances["at least 5"]])


def test_the_exponents_of_both_schedules() -> None:
    table = table_of("schedule-exponent").set_index("quantity")
    rows = {"constant rate": "exponent, constant", "line": "exponent, line", "difference": "difference of exponents"}
    for start, quantity in rows.items():
        row = table.loc[quantity]
        known = row[["value", "low", "high", "law", "mean_angle"]].astype(float).tolist()
        assert is_rounded(" ".join(cells("schedule-exponent", f"{start} ")[:3]), known)


def test_the_table_of_rivals() -> None:
    both = table_of("rivals").set_index(["scope", "quantity", "moment"])
    rows, more = both.loc["AdamW"], both.loc["with AdamH"]
    names = {"mean angle": ("mean_angle", "run")}
    for name, moment in (("half way", "half"), ("at the end", "end")):
        names |= {
            f"sharpness, {name}": ("sharpness", moment),
            f"sharpness as Adam sees it, {name}": ("preconditioned_sharpness", moment),
            f"sharpness in units of the norms, {name}": ("normalised_sharpness", moment),
        }
    names |= {
        "weight RMS, at the end": ("weight_rms", "end"),
        "rate x sharpness, half way": ("rate x sharpness", "half"),
        "rate x sharpness as Adam sees it, half way": ("rate x preconditioned_sharpness", "half"),
        "rate x update RMS, half way": ("rate x update_rms", "half"),
        "rate x root of noise scale, half way": ("rate x noise_scale^0.5", "half"),
    }
    for name, key in names.items():
        row = rows.loc[key]
        p, shift, verdict, with_adamh = cells("rivals", f"{name} ")
        if key in more.index:
            said, _, judged = with_adamh.partition(": ")
            assert more.loc[key, "p"] < 0.001 if said.startswith("<") else is_rounded(said, [more.loc[key, "p"]]), name
            assert judged == more.loc[key, "verdict"]
        assert row["p"] < 0.001 if p.startswith("<") else is_rounded(p, [row["p"]]), name
        assert is_rounded(shift, row[["shift", "shift_low", "shift_high"]].astype(float).tolist()), name
        assert verdict == row["verdict"]
    flat = rows.loc[["noise_scale", "update_rms", "sign_agreement", "output_norm", "logit_rms"]]
    flat = flat.drop(("output_norm", "end"))  # is open
    p, _, verdict, with_adamh = cells(
        "rivals", "noise scale, Adam's update RMS and sign agreement, output norm half way, logits"
    )
    assert flat["p"].min() > float(p.removeprefix("> "))
    assert set(flat["verdict"]) == {verdict}
    least, verdict = with_adamh.removeprefix("> ").split(": ")
    flat = more.loc[flat.index]
    assert flat["p"].min() > float(least)
    assert set(flat["verdict"]) == {verdict}


def test_the_table_of_replays() -> None:
    for row in table_of("replay", "summary.csv").itertuples():
        name = "classic GPT-2" if row.architecture == "gpt2" else row.architecture
        page = (DOCS / "replay" / "README.md").read_text(encoding="utf-8")
        (line,) = re.findall(rf"^\| {name} \| {row.learning_rate:g} \| {row.num_seeds} \|(.*)\|$", page, flags=re.M)
        assert is_rounded(line, [row.fixed_mean, row.fixed_se, row.twin_mean, row.twin_se]), line


def test_the_table_of_the_same_angle() -> None:
    rows = table_of("same-angle").query("quantity != 'slope'")
    for row in rows.itertuples():
        (shown,) = cells("same-angle", "pooled" if row.quantity == "pooled" else f"{row.num_steps:,.0f} steps")
        assert is_rounded(shown, [row.value, row.low, row.high])


def test_the_table_of_angle_schedules() -> None:
    shapes = (
        table_of("angle-law", "runs.csv").query("mean_angle == 0.009").groupby(["num_steps", "shape"])["loss"].mean()
    )
    line = table_of("same-angle", "runs.csv").query("arm == 'adamh' and learning_rate == 0.018")
    for steps, loss in line.groupby("num_steps")["loss"].mean().items():
        shown = " ".join(cells("angle-law", f"{steps:,.0f} steps"))
        assert is_rounded(shown, [shapes[steps, "front"], loss, shapes[steps, "late"]])


def test_the_tables_of_both_laws_and_of_small_starts() -> None:
    told = table_of("angle-law").set_index(["quantity", "law"])["value"]
    optima, losses = "optima of the pilot within 20 %", "median miss of losses, {} steps"
    for row, quantities in {
        "optima of a pilot within 20 %, of seven (asked: all)": [optima],
        "optima of moved-optimum, root mean square of ln": ["scatter over moved-optimum"],
        "its losses, median miss at 1,600 and 3,200 steps (nats)": [losses.format(1600), losses.format(3200)],
    }.items():
        for shown, law in zip(cells("angle-law", row), ("law", "two clocks"), strict=True):
            assert is_rounded(shown, [told[quantity, law] for quantity in quantities])
    later = table_of("angle-law", "later-answers.csv").set_index(["quantity", "law"])["value"]
    for row, quantity in {
        "AdamW's optima in bend": "optima of bend whose interval holds the law's",
        "root mean square of ln(measured/law) over them": "scatter over bend",
        "AdamH's losses at 1,000 and 2,000 steps": "root mean square miss, lengths inside the fit's",
        "at 500, 4,000, 6,400 and": "root mean square miss, lengths outside the fit's",
        "chi^2 per degree of freedom, fitted to all": "chi^2 per degree of freedom, fitted to all",
    }.items():
        for shown, law in zip(cells("angle-law", row), ("law", "two_clocks"), strict=True):
            assert is_rounded(shown, [later[quantity, law]])
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
    page = " ".join((DOCS / "small-starts" / "README.md").read_text(encoding="utf-8").split())
    fresh = [
        table.loc[f"loss, {name}, new seeds"] for name in ("adamh, 0.009 less 0.018", "start 0.53, 0.0146 less 0.0292")
    ]
    (said,) = re.findall(r"The seven others alone have (.*?), and refute no law", page)
    assert is_rounded(said, [value for row in fresh for value in row[["value", "low", "high"]]])
    for start in ("0.53", "0.177"):
        row = table.loc[f"optimum, start {start}"]
        known = [row["value"], row["low"], row["pilot"], row["two_angles"], row["two_clocks"]]
        assert is_rounded(" ".join(cells("small-starts", f"from a RMS of {start},")), known)


def test_the_table_of_one_calibration() -> None:
    table = table_of("one-calibration").set_index(["quantity", "num_steps"])
    starts = (
        "law against measured loss, median (nats)",
        "limit: twice the noise between seeds",
        "AdamH's own loss at the same mean angle",
        "cells nearer to the law",
        "optimum, median factor",
    )
    law, limit, same, nearer, optima = (cells("one-calibration", start) for start in starts)
    for i, steps in enumerate((1600, 3200, 6400, 12800)):
        row = table.loc["loss, law", steps]
        assert row["verdict"] == "predicted"
        assert is_rounded(law[i], row[["value", "low", "high", "cells"]].tolist())
        assert is_rounded(limit[i], [row["limit"]])
        row = table.loc["optimum, law", steps]
        assert is_rounded(optima[i], [np.exp(row["value"]), row["cells"]])
        assert ("missed" in optima[i]) == (row["verdict"] == "missed")
    for i, steps in enumerate((1600, 3200)):
        row = table.loc["loss, same mean angle", steps]
        assert is_rounded(same[i], [row["value"], row["cells"]])
        row = table.loc["cells nearer to the law", steps]
        assert is_rounded(nearer[i], [row["value"], row["cells"]])
    starts = ("median difference of losses", "twice the noise of AdamH's seeds there")
    for start, columns in zip(starts, (["value", "low", "high"], ["limit"]), strict=True):
        for shown, steps in zip(cells("one-calibration", start), (500, 1000, 2000, 4000), strict=True):
            assert is_rounded(shown, table.loc["loss, law, bend, no rule", steps][columns].tolist())
    page = " ".join((DOCS / "one-calibration" / "README.md").read_text(encoding="utf-8").split())
    pooled = np.exp(table.loc["optimum, law"].loc[np.nan, ["value", "low", "high"]].astype(float))
    assert f"is {pooled['value']:.2f}, 95 % from {pooled['low']:.2f} to {pooled['high']:.2f}" in page
    optima = table_of("one-calibration", "optima.csv").query("source == 'moved-optimum' and num_steps > 1600")
    assert f"from 3,200 steps on it is {np.exp(np.log(optima['ratio']).abs().median()):.2f} " in page
    bend = table_of("bend", "optima.csv").query("width == 32 and arm != 'adamh'")
    assert f"the median factor is {np.exp(np.log(bend['learning_rate'] / bend['law']).abs().median()):.2f}" in page
    assert (bend["law"].between(bend["low"], bend["high"]).sum(), len(bend)) == (11, 12)


def test_the_table_of_the_solvable_model() -> None:
    table = table_of("solvable-bend").query("problem == 'mixed'").set_index(["arm", "quantity", "axis"])
    arms = {
        "from RMS 0.1 ": "reference",
        "from RMS 0.02": "small start",
        "from RMS 0.5": "large start",
        "more decay": "more decay",
        "no transient": "equilibrium start",
    }
    shown = (
        ("learning rate", "num_params"),
        ("over adamh", "num_params"),
        ("mean angle over adamh", "num_params"),
        ("over adamh", "num_tokens"),
    )
    for name, arm in arms.items():
        for cell, key in zip(cells("solvable-bend", name), shown, strict=True):
            assert is_rounded(cell, table.loc[(arm, *key), list(CURVATURE)].astype(float).tolist()), name


def test_the_table_of_held_out_norms() -> None:
    table = table_of("held-out").query("group == 'judged'").set_index(["architecture", "quantity"])
    white = table_of("held-out", "settings.csv").query("group == 'judged'")
    page = (DOCS / "held-out" / "README.md").read_text(encoding="utf-8").partition("**Where memory")[0]
    lines = [line.split("|")[2:-1] for line in re.findall(r"^\| .* %.*$|^\| (?:rank|traj).*$", page, flags=re.M)]
    for (target, median, worst, noise), (key, row) in zip(lines, table.iterrows(), strict=True):
        scale = 1 if np.isnan(row["median"]) else 100
        assert is_rounded(target, [scale * row["target"]]), key
        if scale == 1:
            assert is_rounded(median + noise, [row["value"], row["white_noise"]]), key
            continue
        errors = white.loc[white["architecture"] == key[0], f"{key[1]}_error_white_noise"].abs()
        assert is_rounded(median + worst, [100 * row["median"], 100 * row["value"]]), key
        assert is_rounded(noise, [100 * errors.median(), 100 * row["white_noise"]]), key


def test_the_table_of_directions() -> None:
    table = table_of("direction").set_index(["learning_rate", "weight_decay", "part"])
    for rate, decay in ((0.01, 0.3), (0.003, 1.0), (0.03, 0.1)):
        shown = cells("direction", f"rate {rate:g}, decay {decay:g}")
        for cell, part in zip(shown, ("whole", "correlation", "sizes"), strict=True):
            assert is_rounded(cell, table.loc[(rate, decay, part)].astype(float).tolist()), cell


def test_the_table_of_public_tables() -> None:
    table = table_of("public-tables", "fits.csv").dropna(subset=["exponent"])
    page = (DOCS / "public-tables" / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| [abcd] (.*)\|$", page, flags=re.M)
    for line, row in zip(lines, table.to_dict("records"), strict=True):
        who, axis, counts, exponent, curvature, verdict = line.split("|")
        assert who.lower().split()[-1] == str(row["group"])
        assert axis.strip() == row["axis"]
        assert is_rounded(counts, [row["runs"], row["cells"], row["optima"]])
        assert is_rounded(exponent, [row["exponent"], row["exponent_low"], row["exponent_high"]])
        known = [row[name] for name in ("curvature", "low", "high", "smallest_bend") if np.isfinite(row[name])]
        assert verdict.strip().startswith(row["verdict"])
        assert is_rounded(f"{curvature} {verdict.partition(',')[2]}", known)


def test_the_table_of_conversions() -> None:
    table = table_of("conversion").set_index(["arm", "setting"])
    names = {
        "unconverted": "rate of equilibrium, AdamW's own schedule",
        "converted": "converted, white noise",
        "ratio": "converted, one measured direction ratio",
        "history": "converted, the ratio of each step",
        "measured": "converted, AdamW's measured angles",
    }
    for arm, name in names.items():
        shown = " ".join(cells("conversion", name))
        rows = [table.loc[key] for setting in ("late", "settled") if (key := (arm, setting)) in table.index]
        assert is_rounded(shown, [row[column] for row in rows for column in ("difference", "se", "angle_ratio")]), shown
    numbers = {setting: f"{abs(row['difference']):.3f} +- {row['se']:.3f}" for setting, row in table.iterrows()}
    for page in ("../README.md", "predict.md"):
        text = " ".join((DOCS / page).read_text(encoding="utf-8").split())
        for arm in (
            *(("settled", arm) for arm in ("history", "converted", "unconverted")),
            ("late", "converted"),
            ("late", "unconverted"),
        ):
            assert numbers[arm[1], arm[0]] in text, (page, arm)
        assert numbers["ratio", "settled"] == numbers["converted", "settled"]
    for name, column in (("weights times 1 + 1e-6", "rerun_noise"), ("another seed", "scatter")):
        shown = " ".join(cells("conversion", f"*AdamW again, {name}: one rerun*"))
        assert is_rounded(shown, [table.loc[("converted", setting), column] for setting in ("late", "settled")]), shown


def test_what_the_law_of_gpt2_is_said_to_be_worth() -> None:
    """By the command, by kind of matrix, and by the README of all: what `make validate` judged."""
    table = table_of("validate", "predictions.csv").query("group.str.contains('gpt2, ')").dropna(subset=["verdict"])
    table["kind"] = table["group"].str.partition("gpt2, ")[2]
    readme = " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())
    counted = []
    for kind, rows in table.groupby("kind"):
        outside, worst = (rows["verdict"] == "outside").sum(), 100 * rows["error"].abs().max()
        assert f"{outside} of {len(rows)} predictions" in GPT2_WORTH[str(kind)]
        assert f"off by more than {100 * rows['limit'].max():g} % ({worst:.0f} % at worst)" in GPT2_WORTH[str(kind)]
        assert f"{outside} of {len(rows)} in" in readme
        counted.append(outside)
    assert f"{sum(counted)} of its {len(table)} predictions" in readme
