"""Numbers of findings, README and printed lines are those of the tables of studies."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from experiments.attribution.arm_optima import WIDEST_ERROR
from experiments.studies.slices import slices_of
from tests.pages.shown import CURVATURE, DOCS, FINDINGS, README, accounts_of_exponents, is_rounded, table_of
from theory.networks import SCALE_INVARIANT, gpt2_matrices
from theory.radial import KINDS

EXPONENT_OF_D = "num_tokens", "exponent"
ENDS = dict(zip(("value", "low", "high"), CURVATURE, strict=True))
ALONG = {"value": "exponent", "low": "exponent_low", "high": "exponent_high"}


def interval(row: Mapping[Any, Any]) -> str:
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def test_rounding_is_noticed() -> None:
    assert is_rounded("-12 % [-12.8, +0.3]", [-12.4, -12.77, 0.34])
    assert is_rounded("3e-15 +- 10e-5", [2.6e-15, 9.6e-5])
    assert is_rounded(".91, 2,072 %", [0.912, 2072])
    assert not is_rounded("-12 %", [12.0])
    assert not is_rounded("0.165", [0.1656])


def test_what_the_findings_say_of_the_bend() -> None:
    answers = table_of("bend")
    between = answers.query("rate == 'learning_rate'").set_index(["who", "axis", "quantity"])
    slower = between.loc["large start over usual start", *EXPONENT_OF_D]
    bent = between.loc["large start over equilibrium", "num_tokens", "curvature"]
    untold = between.loc["usual start over equilibrium", *EXPONENT_OF_D]
    designed = table_of("bend", "first-design-answers.csv").set_index(["who", "rate", "axis", "quantity"])
    first = designed.loc["large start over usual start", "learning_rate", *EXPONENT_OF_D]
    first_untold = designed.loc["usual start over equilibrium", "learning_rate", *EXPONENT_OF_D]
    optima = table_of("bend", "optima.csv").dropna(subset=["learning_rate"])
    norms = (optima["initial_rms"] / (optima["learning_rate"] / (2 * optima["weight_decay"])) ** 0.5).groupby(
        optima["arm"]
    )
    moved = table_of("moved-optimum", "optima.csv")
    moved = moved[moved["num_steps"].isin([1600, 3200, 6400])]  # where a shift is shown
    largest = moved["initial_rms"] / (moved["learning_rate"] / (2 * moved["weight_decay"])) ** 0.5
    missed = (optima["learning_rate"] / optima["law"]).map(math.log).pow(2).groupby(optima["width"]).mean() ** 0.5
    of_arms = between.xs(("num_params", "curvature"), level=("axis", "quantity")).dropna(subset=["smallest_bend"])
    choices = table_of("bend", "sensitivity.csv").query("quantity == 'curvature'")
    choices = choices.assign(apart=(choices["low"] > 0) | (choices["high"] < 0)).set_index(["axis", "who"])
    along_n = choices.loc["num_params"].groupby("who")["apart"].agg(["sum", "size"])
    along_d = choices.loc["num_tokens", "large start over equilibrium"]["apart"]
    visible = table_of("bend", "visible.csv")
    fitted = visible.query("law == 'angle law, fitted' and axis == 'num_params'")
    fitted_n = fitted.query("visible.str.startswith('at')")["transient"]
    made_up = visible.query("law == 'angle law, made up' and axis == 'num_params'")
    seen = made_up.query("visible.str.startswith('at')")
    far = fitted["visible"] == "at 0.12"
    own = between.loc["adamh", *EXPONENT_OF_D]
    errors = optima["error"][optima["error"] < WIDEST_ERROR]
    expected = table_of("bend", "expected.csv")
    false = expected.query("axis == 'num_params' and who.str.contains(' over ')")["excludes_0"]
    assert set(fitted["outside"]) == {"yes"}
    assert (seen.query("visible == 'at 0.12'")["transient"] > 0).tolist() == [True]
    assert f"were optima known to 0.12 (here {errors.median():.2f})" in FINDINGS
    assert len(made_up) == len(fitted)
    assert (fitted_n < 0).all()
    assert sorted(along_n["sum"]) == [0, 0, 3]  # of one pair
    assert choices.query("apart")["value"].loc["num_params", "large start over equilibrium"].min() > 0
    assert along_n.loc["large start over equilibrium", "sum"] == 3
    assert between["law"].xs(("num_params", "curvature"), level=("axis", "quantity")).abs().max() < 0.005
    for part in (
        f"shown {norms.min()['large start']:.1f} to {largest.max():.0f} times above equilibrium, and, to 4M tokens,"
        f" its exponent along D, shown {norms.min()['large start']:.1f} to {norms.max()['large start']:.1f} times"
        f" above; at {norms.min()['usual start']:.1f} to {norms.max()['usual start']:.1f} times it is unsure",
        f"up to {of_arms['high'].min():.2f} to {of_arms['high'].max():.2f}, by arm, is not excluded.",
        f"It is {between.loc['usual start', *EXPONENT_OF_D]['value']:.2f} from the usual start, from the large one",
        f"lower by {-slower['value']:.2f} [{-slower['high']:.2f}, {-slower['low']:.2f}]; the law",
        f"had {-slower['made']:.2f}, one mean angle {-slower['mean_angle']:.2f}, the first design, amended,"
        f" {-first['value']:.2f} [{-first['high']:.2f}, {-first['low']:.2f}]: sure",
        f"hangs on the design**: {interval(untold)}, first {interval(first_untold)}.",
        f"the law is off by {missed.drop(32).min():.2f} to {missed.max():.2f} in ln, at its width {missed[32]:.2f}",
        f"(AdamH's own along D, {own['value']:.2f} for {own['made']:.2f}), one mean angle in six contrasts of 12",
        f"less** than from equilibrium, by {interval(bent)}, p 0.03: one",
        f"apart from 0 in {along_d.sum()} of {len(along_d)} choices",
        f"public runs {len(fitted_n)} of {len(fitted)} settings bend visibly ({far.sum()} at errors of 0.12), all",
        f"at best rates up to {fitted['rate_first'].max():.1f}, outside that fit; with made-up ones"
        f" {(seen['transient'] > 0).sum()} bend *up* (one at 0.12) and {(seen['transient'] < 0).sum()} down",
        f"Differences: {100 * false.min():.0f} to {100 * false.max():.0f} % [false]",
    ):
        assert part in FINDINGS, part


def test_what_the_findings_say_of_starts_along_size_and_of_longer_runs() -> None:
    between = table_of("bend").query("rate == 'learning_rate' and who.str.contains(' over ')")
    between = between.set_index(["axis", "quantity", "who"]).sort_index()
    bends, slopes = (between.loc["num_params", quantity] for quantity in ("curvature", "exponent"))
    large, usual = (f"{start} start over equilibrium" for start in ("large", "usual"))
    choices = table_of("bend", "sensitivity.csv").query("axis == 'num_params'").set_index(["quantity", "who"])
    choices = choices.sort_index()
    chosen, near = choices.loc[("curvature", large)], choices.loc[("exponent", usual)]
    optima = table_of("bend", "optima.csv")
    slices, wider = (
        slices_of(rows, "num_params", "num_tokens").set_index(["arm", "at"]).loc[("adamh", 512000)]
        for rows in (optima, optima[optima["width"] > 8])
    )
    up, kept = ({end: row[name] for end, name in ENDS.items()} for row in (slices, wider))
    exponents = table_of("moved-optimum", "exponents.csv").set_index("arm")
    longer = {end: exponents.loc["start 1.6 less equilibrium", name] for end, name in ALONG.items()}
    accounts = accounts_of_exponents()
    law, angle = accounts.loc["start 1.6"] - accounts.loc["equilibrium"]
    every = slices_of(optima, "num_params", "num_tokens").set_index(["arm", "at"])
    also = {end: every.loc[("usual start", 512000), name] for end, name in ENDS.items()}
    bent = [every.index[every[ENDS["low"]] > 0].tolist(), every.index[every[ENDS["high"]] < 0].tolist()]
    assert sorted(bent[0]) == [("adamh", 512000), ("usual start", 512000)]
    assert len(bent[1]) == 2
    assert kept["low"] < 0 < kept["high"]
    assert max(law, angle) < longer["low"]
    for part in (
        f"is a difference between starts shown**:"
        f" intervals from {bends['low'].min():.2f} to {bends['high'].max():.2f}; large start over equilibrium bends up"
        f" in {(chosen['low'] > 0).sum()} of {len(chosen)} choices.",
        f"the large start's by {interval(slopes.loc[large])}, the usual one's by {interval(slopes.loc[usual])}"
        f" ({(near['low'] > 0).sum()} of {len(near)} choices;",
        f"of {len(every)} slices at one D two bend up, AdamH's, **without a transient**, by {interval(up)} (not without"
        f" width 8), the usual start's, {interval(also)}; two down.",
        f"less equilibrium, {interval(between.loc[(*EXPONENT_OF_D, large)])} before, is {interval(longer)}, which"
        f" refutes both accounts, {law:.2f} and {angle:.2f} ([after looking, width 32](",
    ):
        assert part in FINDINGS, part


def test_what_the_findings_say_of_shifts_and_of_the_laws() -> None:
    shift = table_of("moved-optimum").query("quantity == 'shift'").set_index("num_steps")
    curves = table_of("moved-optimum").set_index("quantity")
    classic = table_of("classic").query("quantity == 'ln rate, shift'").set_index("num_steps")
    rows = table_of("schedule-exponent").query("quantity == 'ln constant/line'")
    widths = table_of("moved-optimum", "width-answers.csv").set_index("quantity")
    narrower, wider = (widths.loc[f"shift, width {width}"] for width in (16, 64))
    said = classic.loc[[800, 1600], ["law", "mean_angle"]].to_numpy(float)
    calibrated = table_of("one-calibration").query("quantity in ('loss, law', 'optimum, law')")
    losses = calibrated.query("quantity == 'loss, law'").set_index("num_steps")["value"]
    measured = table_of("one-calibration", "cells.csv").groupby("num_steps")["loss"]
    constant = measured.apply(lambda loss: (loss - loss.median()).abs().median())
    *_, longest, _, together = calibrated.query("quantity == 'optimum, law'").itertuples()
    factor, lowest, highest = (math.exp(value) for value in (together.value, together.low, together.high))
    for part in (
        f"higher at width 32 by {interval(shift.loc[3200])} and {interval(shift.loc[6400])} at 3,200 and 6,400 steps,"
        f" {interval(shift.loc[12800])} at 12,800; at 1,600, third look, {interval(shift.loc[1600])}; at widths 16,"
        f" 64, 3,200 steps, {interval(narrower)}, {interval(wider)} (",
        f"mean angle, {wider['mean_angle']:.2f}, barely fails at width 64",
        f"scatter about the law's by {curves.loc['scatter, law, all cells', 'value']:.2f}, asked 0.15, p 0.01",
        f"exp({rows['value'].max():.2f}) to exp({rows['value'].min():.2f}) of that of a line, by the law"
        f" exp({rows['law'].max():.2f}) to exp({rows['law'].min():.2f})",
        f"by the {said.min():.1f} to {said.max():.1f} of scale-invariant accounts: {interval(classic.loc[800])},"
        f" {interval(classic.loc[1600])} at 800, 1,600 steps",
        f"AdamW's losses to {losses[1600]:.3f}, {losses[3200]:.3f} and, blind, {losses[6400]:.3f}, {losses[12800]:.3f}"
        " nats",
        f"one constant: {', '.join(f'{away:.3f}' for away in constant)})",
        f"its optima to a factor of {factor:.2f} [{lowest:.2f}, {highest:.2f}], limit {math.exp(longest.limit):.2f}, at"
        f" 6,400 steps {math.exp(longest.value):.2f}, missed (",
    ):
        assert part in FINDINGS, part


def test_what_the_findings_say_of_classic_gpt2_along_size() -> None:
    answers = table_of("classic-bend").query("num_steps == 800 and quantity == 'curvature'").set_index(["who", "rate"])
    steady, other = (interval(answers.loc[(who, "learning_rate")]) for who in ("equilibrium", "small over equilibrium"))
    for part in (
        f"bends up from equilibrium**, a norm that stays, by {steady}, and from RMS 0.18",
        f"**By rule the difference, {other}, refutes the paper's account**, at 2.6 to 0.16 relaxations",
        f"it stays, by {interval(answers.loc[('equilibrium', 'mean_angle')])}.",
    ):
        assert part in FINDINGS, part


def test_what_the_findings_say_of_lengths_models_and_tables() -> None:
    replay = table_of("replay", "summary.csv").set_index(["architecture", "learning_rate"]).loc["gpt2"]["fixed_mean"]
    held = table_of("transient-length").dropna(subset=["met"])
    solved = table_of("solvable-bend").query("problem == 'mixed' and quantity == 'over adamh'")
    solved = (
        solved.query("axis == 'num_params'").dropna(subset=["curvature"]).set_index("arm").drop("equilibrium start")
    )
    over = solved[(solved["curvature_low"] > 0) | (solved["curvature_high"] < 0)]
    parts = table_of("solvable-bend", "parts.csv").query("axis == 'num_params'").set_index(["problem", "part"])
    angles, rest = (parts.loc[("mixed", part)] for part in ("angle", "left"))
    angle, left = angles["curvature"], rest["curvature"]
    (other,) = parts.loc[[("eigenvectors", "angle")]].rename(columns={"curvature": "value"}).to_dict("records")
    assert [bool(met) for met in held["met"]].count(False) == 4
    assert len(held) == 6
    assert (len(over), len(solved)) == (2, 4)
    assert (angles["low"] > 0).all()
    assert ((rest["low"] < 0) & (rest["high"] > 0)).all()
    for part in (
        f"no, by {replay[0.00125]:.3f}, {replay[0.005]:.3f} nats",
        f"two of four over AdamH, by {over['curvature'].min():.3f}; by a later split the transient's angles add"
        f" {angle.min():.3f} to {angle.max():.3f} in all four; the rest, {left.min():.2f} to {left.max():.2f}, is not"
        f" told from 0. Another basis, one arm: {other['value']:.3f} [{other['low']:.3f},"
        f" {other['high']:.3f}]",
    ):
        assert part in FINDINGS, part


def test_what_the_findings_repeat_of_other_pages() -> None:
    early = table_of("angle-law", "runs.csv").query("mean_angle == 0.009 and num_steps == 1600")
    early = early.groupby("shape")["loss"].mean()
    held = table_of("held-out", "settings.csv").query("architecture == 'scale-invariant' and group == 'judged'")
    slow = 100 * held["relaxation_error_white_noise"].abs().agg(["median", "max"])
    (later, later_worst), (inside, inside_worst), (gpt2_later, gpt2_later_worst), (gpt2, gpt2_worst) = (
        table_of(name)
        .query(f"half == 'held-out' and prediction == 'white_noise' and architecture == '{architecture}'")
        .iloc[2][["value", "worst"]]
        for architecture in ("scale-invariant", "gpt2")
        for name in ("transient-length", "transient-domain")
    )
    fits = table_of("public-tables", "fits.csv").dropna(subset=["exponent"])
    decided = (fits["verdict"] != "not-identifiable").sum()
    promised = table_of("validate", "predictions.csv").dropna(subset=["verdict"]).set_index("promised")["verdict"]
    validated, drafted = promised[True], promised[False]
    coverages = [f"{what}_coverage" for what in ("optimum", "exponent", "curvature")]
    covered = table_of("calibration", "calibration.csv")[coverages].stack()
    assert decided == 4
    for part in (
        f"{early['front']:.2f} nats with early angles, {early['late']:.2f} with late",
        f"steps: {100 * inside:.1f} % off (median; worst {100 * inside_worst:.0f}) where [memory and steps are"
        f" short](transient-domain/README.md), elsewhere {100 * later:.0f} ({100 * later_worst:.0f}) and"
        f" {slow['median']:.0f} ({slow['max']:.0f});"
        f" classic GPT-2 {100 * gpt2:.0f} ({100 * gpt2_worst:.0f}), elsewhere {100 * gpt2_later:.0f}"
        f" ({100 * gpt2_later_worst:.0f})",
        f"of {len(fits)} lines four have a verdict",
        f"{100 * covered.min():.0f} to {100 * covered.max():.0f} % [covered]",
        f"{(validated == 'pass').sum()} of {len(validated)}, seen settings; classic GPT-2"
        f" {(drafted == 'within').sum()} of {len(drafted)}.",
    ):
        assert part in FINDINGS, part


def test_what_predict_says_of_its_networks_is_what_was_held_out() -> None:
    table = table_of("held-out").set_index(["architecture", "group", "quantity"])
    norms = {kind: [(kind, "rms")] for kind in KINDS}
    for network, names in (
        (SCALE_INVARIANT, [("judged", "angle"), ("judged", "rms")]),
        *((gpt2_matrices(kind), norms[kind]) for kind in KINDS),
    ):
        rows = [table.loc[(network.name, *name)] for name in names]
        figures = [100 * row[column] for row in rows for column in ("median", "value")]
        if network.kind == "query, key":  # worse than white noise, which is said
            figures.append(table.loc[("gpt2", "query, key", "trajectory_error_ratio")]["value"])
        (said,) = re.findall(r"(?<=\(at worst\): ).*", network.worth)
        assert is_rounded(said, figures), said


def test_what_the_readme_says_of_held_out_norms() -> None:
    rows = table_of("held-out", "settings.csv").query("architecture == 'scale-invariant' and group == 'judged'")
    norm, angle = 100 * rows["rms_error_white_noise"], 100 * rows["angle_error_white_noise"].abs()
    assert (
        f"norms lie {-norm.median():.0f} % below in the median, from {-norm.min():.0f} % below to {norm.max():.0f} %"
        f" above, and angles {angle.median():.1f} % off, {angle.max():.0f} % at worst"
    ) in README


def test_the_hours_of_the_planned_bend() -> None:
    page = (DOCS / "gpu.md").read_text(encoding="utf-8")
    plan = table_of("bend-gpu", "plan.csv")
    for size, rows in plan.groupby("size"):
        hours = " | ".join(f"{value:,.0f}" for value in rows["hours_on_one"])
        assert f"| {size} | {hours} | {rows['runs'].sum()} |" in page
    totals = json.loads((DOCS / "bend-gpu" / "plan.json").read_text(encoding="utf-8"))
    one, eight = totals["hours_on_one"], totals["hours_on_eight"]
    assert f"{totals['num_runs']} runs, {one:,.0f} hours on one H100, {eight:,.0f} on eight" in page
    assert f"{one:,.0f} H100-hours" in FINDINGS
    along_size = [row for row in totals["smallest_bends"] if row["axis"] == "num_params"]
    shown = [row[name] for row in along_size for name in ("of_an_arm", "between_two_arms")]
    (text,) = re.findall(r"it would show a bend of (.*)\.$", page, flags=re.M)
    assert is_rounded(text, shown), text
    (coarser, _) = sorted((row["between_two_arms"] for row in along_size), reverse=True)
    assert f"Arms that differ by {coarser:.2f} along N" in FINDINGS
