"""Numbers of the pages in `docs` are those of the tables beside them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from theory.networks import GPT2, SCALE_INVARIANT

CURVATURE = ("curvature", "curvature_low", "curvature_high")
DOCS = Path(__file__).parents[1] / "docs"
FINDINGS = " ".join((DOCS / "findings.md").read_text(encoding="utf-8").split())


def table_of(study: str, name: str = "answers.csv") -> pd.DataFrame:
    return pd.read_csv(DOCS / study / name)


def cells(study: str, start: str) -> list[str]:
    """The cells behind the first one, which starts so, of the one such row on the page of a study."""
    page = (DOCS / study / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| {re.escape(start)}[^|]*\|(.*)\|$", page, flags=re.M)
    return [cell.strip() for cell in line.split("|")]


def is_rounded(shown: str, values: Sequence[float]) -> bool:
    """Whether the numbers in a text are these, each to half a unit of its last digit."""
    texts = re.findall(r"[+-]?\d*\.?\d+(?:e-\d+)?", re.sub(r"(?<=\d),(?=\d{3})", "", shown))
    for text, value in zip(texts, values, strict=True):
        digits, _, power = text.partition("e")
        half = 0.5 * 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        if abs(float(text) - value) > half * (1 + 1e-6):
            return False
    return True


def test_rounding_is_noticed() -> None:
    assert is_rounded("-12 % [-12.8, +0.3]", [-12.4, -12.77, 0.34])
    assert is_rounded("3e-15 +- 10e-5", [2.6e-15, 9.6e-5])
    assert is_rounded(".91, 2,072 %", [0.912, 2072])
    assert not is_rounded("-12 %", [12.0])
    assert not is_rounded("0.165", [0.1656])


def test_the_answer_of_the_findings() -> None:
    """Its four sentences, and what the table of claims repeats of other pages."""
    shift = table_of("moved-optimum").set_index(["quantity", "num_steps"]).loc[("shift", 1600)]
    replay = table_of("replay", "summary.csv").set_index(["architecture", "learning_rate"]).loc["gpt2"]["fixed_mean"]
    constant = table_of("schedule-exponent").iloc[0]
    optima = table_of("angle-law", "optima.csv").query("source == 'pilot'")
    pilot = optima.set_index(["num_steps", "initial_rms"])["ratio"]
    clocks = (optima["measured"] / optima["two_clocks"]).set_axis(pilot.index)
    losses = table_of("one-calibration").set_index(["quantity", "num_steps"]).loc["loss, law"]
    held = table_of("transient-length").dropna(subset=["met"])
    same = table_of("same-angle").set_index("quantity").loc["pooled"]
    bends = table_of("solvable-bend").query("quantity == 'over adamh' and axis == 'num_params'").set_index("arm")
    slow = [
        table_of("held-out").iloc[2]["white_noise"],
        table_of("transient-length").query("half == 'held-out' and prediction == 'white_noise'").iloc[2]["worst"],
    ]
    muon = table_of("public-tables", "fits.csv").iloc[0]
    visible = table_of("bend", "visible.csv").query("sizes == '22M to 708M' and weight_decay == 0.1")
    visible = visible.query("initial_rms == 0.02").set_index(["law", "tokens"])["curvature"]
    fitted, made_up = (visible[f"angle law, {name}"] for name in ("fitted", "made up"))
    classic = table_of("transient-length", "settings.csv").query("architecture == 'gpt2'")
    slower = (classic["relaxation"] / classic["relaxation_white_noise"]).groupby(classic["held_out"]).max()
    bend, low, high = ([bends.loc[arm, name] for arm in ("large start", "more decay")] for name in CURVATURE)
    assert [bool(met) for met in held["met"]].count(False) == 4
    assert len(held) == 6
    for part in (
        f"exp({shift['value']:.2f}) times as high at 1,600 steps, 95 % from {shift['low']:.2f} to {shift['high']:.2f}",
        f"had {shift['law']:.2f} and {shift['mean_angle']:.2f} ([moved-optimum]",
        f"by up to {replay.max():.3f} nats at equal angles",
        f"no, by {replay[0.00125]:.3f} and {replay[0.005]:.3f} nats",
        f"exp({constant['value']:.2f}) of that of a line where they had {constant['law']:.2f} and"
        f" {constant['mean_angle']:.2f}",
        f"too low by factors of {pilot[1600, 0.177]:.1f} and {pilot[1600, 0.53]:.1f}",
        f"to {losses.loc[1600, 'value']:.3f} and {losses.loc[3200, 'value']:.3f} nats (median; limits"
        f" {losses.loc[1600, 'limit']:.3f} and {losses.loc[3200, 'limit']:.3f})",
        f"+{bend[0]:.3f} [{low[0]:.3f}, {high[0]:.3f}] and +{bend[1]:.3f} [{low[1]:.3f}, {high[1]:.3f}] relative",
        f"from AdamH's {math.exp(same['value']):.2f}, {math.exp(same['low']):.2f} to {math.exp(same['high']):.2f}",
        f"{100 * slow[0]:.0f} and {100 * slow[1]:.0f} % at worst",
        f"classic GPT-2 up to {slower[False]:.1f} and, held out, {slower[True]:.1f} times slower",
        f"at a third rate not resolved, {replay[0.02]:.3f} +-",
        f"that of two clocks by {clocks[1600, 0.177]:.1f} and {clocks[1600, 0.53]:.1f}, at 1,600 steps",
        f"give a curvature of {round(fitted['9000M'], 3) + 0.0:.3f} at 9B tokens and {fitted['100M']:.3f} at 0.1B,"
        f" made-up ones {made_up['9000M']:+.3f} at 9B",
        f"{muon['curvature']:.2f} [{muon['low']:.2f}, {muon['high']:.2f}], where MuonH",
    ):
        assert part in FINDINGS, part


def test_what_the_findings_repeat_of_other_pages() -> None:
    model = table_of("solvable-bend").query("problem == 'mixed' and axis == 'num_params'")
    model = model[model["quantity"].eq("mean angle over adamh") & model["arm"].ne("equilibrium start")]
    optima = table_of("solvable-bend", "optima.csv").query("problem == 'mixed' and num_params == 1024")
    optima = optima[~optima["arm"].str.contains("predicted|more decay|adamh")]
    spread = optima.groupby("num_tokens")["learning_rate"].agg(lambda rates: rates.max() / rates.min()).max()
    early = table_of("angle-law", "runs.csv").query("mean_angle == 0.009 and num_steps == 1600")
    early = early.groupby("shape")["loss"].mean()
    held = table_of("held-out", "settings.csv").query("architecture == 'scale-invariant' and group == 'judged'")
    later = table_of("transient-length").query("half == 'held-out' and prediction == 'white_noise'").iloc[2]["value"]
    fits = table_of("public-tables", "fits.csv").dropna(subset=["exponent"])
    decided = (fits["verdict"] != "not-identifiable").sum()
    validated = table_of("validate", "predictions.csv").query("promised")["verdict"].dropna()
    slow = 100 * held["relaxation_error_white_noise"].abs().median()
    assert decided == 4
    for part in (
        f"up to {spread:.0f} times apart",
        f"by {model['slope'].max():.3f} to {model['slope'].min():.3f}.",
        f"{early['front']:.2f} nats if they come early, {early['late']:.2f} if late",
        f"held out {slow:.0f} and {100 * later:.0f} % off in the median",
        f"Of {len(fits)} exponents by `lrbend fit` four have a verdict",
        f"on {table_of('calibration', 'calibration.csv')['num_sweeps'].sum():,} made sweeps",
        f"{(validated == 'pass').sum()} of {len(validated)} in settings that were in view",
    ):
        assert part in FINDINGS, part


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
        assert is_rounded(measured, [row.value, row.low, row.high])
        assert is_rounded(law, [row.law])
        assert is_rounded(mean_angle, [row.mean_angle])


def test_the_table_of_rivals() -> None:
    rows = table_of("rivals").query("scope == 'AdamW'").set_index(["quantity", "moment"])
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
        p, shift, verdict = cells("rivals", f"{name} ")
        assert row["p"] < 0.001 if p.startswith("<") else is_rounded(p, [row["p"]]), name
        assert is_rounded(shift, row[["shift", "shift_low", "shift_high"]].astype(float).tolist()), name
        assert verdict == row["verdict"]
    flat = rows.loc[["noise_scale", "update_rms", "sign_agreement", "output_norm", "logit_rms"]]
    p, _, verdict = cells("rivals", "noise scale, Adam's update RMS and sign agreement, output norm, logits")
    assert flat["p"].min() > float(p.removeprefix("> "))
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
    table = table_of("small-starts").set_index("quantity")
    for row, name in {
        "AdamH, 0.009 less 0.018": "loss, adamh, 0.009 less 0.018",
        "AdamW from 0.53, 0.0146 less 0.0292": "loss, start 0.53, 0.0146 less 0.0292",
    }.items():
        old, new, pooled = (table.loc[f"{name}, {which} seeds"] for which in ("old", "new", "all"))
        shown = cells("small-starts", row)
        assert is_rounded(" ".join(shown[:2]), [old["value"], new["value"]])
        assert is_rounded(shown[2], [pooled["value"], pooled["low"], pooled["high"]])
        assert is_rounded(shown[3], [pooled["two_angles"]])


def test_the_table_of_one_calibration() -> None:
    table = table_of("one-calibration").set_index(["quantity", "num_steps"])
    starts = (
        "law against measured loss, median of 20 cells (nats)",
        "limit: twice the noise between seeds",
        "AdamH's own loss at the same mean angle",
        "cells nearer to the law",
        "optimum, median factor of four",
    )
    law, limit, same, nearer, optima = (cells("one-calibration", start) for start in starts)
    for i, steps in enumerate((1600, 3200)):
        row = table.loc["loss, law", steps]
        assert row["cells"] == 20
        assert row["verdict"] == table.loc["optimum, law", steps]["verdict"] == "predicted"
        assert is_rounded(law[i], row[["value", "low", "high"]].tolist())
        assert is_rounded(limit[i], [row["limit"]])
        row = table.loc["loss, same mean angle", steps]
        assert is_rounded(same[i], [row["value"], row["cells"]])
        row = table.loc["cells nearer to the law", steps]
        assert is_rounded(nearer[i], [row["value"], row["cells"]])
        assert is_rounded(optima[i], [np.exp(table.loc["optimum, law", steps]["value"])])


def test_the_table_of_transients() -> None:
    table = table_of("transient-length").query("half == 'held-out'").set_index(["architecture", "quantity"])
    names = {"angle": "angle", "relaxation": "relaxation", "rank correlation": "first_passage_rank"}
    judged = 0
    for architecture in ("scale-invariant", "gpt2"):
        for name, quantity in (names | {"first passage": "first_passage"}).items():
            rows = table.loc[(architecture, quantity)].set_index("prediction")
            asked = rows.loc["measured_ratio"]
            if np.isnan(asked["target"]):
                continue
            judged += 1
            start = f"{'classic GPT-2' if architecture == 'gpt2' else architecture}: {name}"
            scale = 1 if quantity.endswith("rank") else 100
            known = [
                scale * float(value) for value in (asked["target"], asked["value"], rows.loc["white_noise", "value"])
            ]
            assert is_rounded(" ".join(cells("transient-length", start)), known), start
    assert judged == 6


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
    page = (DOCS / "held-out" / "README.md").read_text(encoding="utf-8")
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


def test_what_predict_says_of_its_networks_is_what_was_held_out() -> None:
    table = table_of("held-out").set_index(["architecture", "group", "quantity"])
    for network, names in (
        (SCALE_INVARIANT, [("judged", "angle"), ("judged", "rms")]),
        (GPT2, [("up, down", "rms"), ("value, output", "rms")]),
    ):
        rows = [table.loc[(network.name, *name)] for name in names]
        (said,) = re.findall(r"(?<=\(at worst\): ).*", network.worth)
        assert is_rounded(said, [100 * row[column] for row in rows for column in ("median", "value")]), said


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


def test_what_the_readme_says_of_held_out_norms() -> None:
    rows = table_of("held-out", "settings.csv").query("architecture == 'scale-invariant' and group == 'judged'")
    norm, angle = 100 * rows["rms_error_white_noise"], 100 * rows["angle_error_white_noise"].abs()
    assert (
        f"norms lie {-norm.median():.0f} % below in the median, from {-norm.min():.0f} % below to {norm.max():.0f} %"
        f" above, and angles {angle.median():.1f} % off, {angle.max():.0f} % at worst"
    ) in " ".join((DOCS.parent / "README.md").read_text(encoding="utf-8").split())


def test_the_hours_of_the_planned_bend() -> None:
    page = (DOCS / "gpu.md").read_text(encoding="utf-8")
    plan = table_of("bend-gpu", "plan.csv")
    for size, rows in plan.groupby("size"):
        hours = " | ".join(f"{value:,.0f}" for value in rows["hours_on_one"])
        assert f"| {size} | {hours} | {rows['runs'].sum()} |" in page
    totals = json.loads((DOCS / "bend-gpu" / "plan.json").read_text(encoding="utf-8"))
    one, eight = totals["hours_on_one"], totals["hours_on_eight"]
    assert f"{totals['num_runs']} runs, {one:,.0f} hours on one H100, {eight:,.0f} on eight" in page
    assert f"{one:,.0f} hours of one H100, {eight:,.0f} on eight" in FINDINGS
    along_size = [row for row in totals["smallest_bends"] if row["axis"] == "num_params"]
    shown = [row[name] for row in along_size for name in ("of_an_arm", "between_two_arms")]
    (text,) = re.findall(r"it would show a bend of (.*)\.$", page, flags=re.M)
    assert is_rounded(text, shown), text
    finest = min(along_size, key=lambda row: row["optimum_error"])
    (text,) = re.findall(r"optima known to (.*) are told apart", FINDINGS)
    assert is_rounded(text, [finest["optimum_error"], finest["between_two_arms"]]), text


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
