"""README and docs: links that lead somewhere, and numbers that are those of the tables beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
FINDINGS = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in target]
    assert not [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 130
    for path in (ROOT / "docs").glob("*.md"):
        assert f"docs/{path.name}" in text


def is_rounded(shown: str, values: Sequence[float]) -> bool:
    """Whether the numbers in a text are these, each to half a unit of its last digit."""
    texts = re.findall(r"[+-]?\d[\d.]*(?:e-\d+)?", shown)
    for text, value in zip(texts, values, strict=True):
        digits, _, power = text.partition("e")
        half = 0.5 * 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        if abs(float(text) - value) > half * (1 + 1e-6):
            return False
    return True


def test_rounding_is_noticed() -> None:
    assert is_rounded("-12 % [-12.8, +0.3]", [-12.4, -12.77, 0.34])
    assert is_rounded("3e-15 +- 10e-5", [2.6e-15, 9.6e-5])
    assert not is_rounded("-12 %", [12.0])
    assert not is_rounded("0.165", [0.1656])


def test_the_table_of_validate() -> None:
    table = pd.read_csv(ROOT / "docs" / "validate" / "predictions.csv")
    names = ("angular update (rad)", "weight RMS", "weight RMS, measured U", "relaxation (steps)")
    for rate, decay in (("0.01", "0.3"), ("0.003", "1"), ("0.03", "0.1")):
        rows = table[table["group"] == f"AdamW lr={rate} wd={decay}, scale-invariant"].set_index("quantity")
        (line,) = re.findall(rf"^\| {rate}, {decay} \|(.*)\|$", FINDINGS, flags=re.M)
        for name, cell in zip(names, line.split("|"), strict=True):
            known = rows.loc[name, ["error", "seed_low", "seed_high"]].astype(float) * 100
            assert is_rounded(cell, known.tolist()), cell


@pytest.mark.parametrize(("study", "quantity"), [("moved-optimum", "shift"), ("schedule-exponent", "ln constant/line")])
def test_the_tables_of_moved_optima(study: str, quantity: str) -> None:
    table = pd.read_csv(ROOT / "docs" / study / "answers.csv")
    for row in table[table["quantity"] == quantity].itertuples():
        measured = f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"
        assert f"| {float(row.num_steps):,.0f} steps | {measured} | {row.law:.2f} | {row.mean_angle:.2f} |" in FINDINGS


def test_the_table_of_rivals() -> None:
    table = pd.read_csv(ROOT / "docs" / "rivals" / "answers.csv")
    rows = table[table["scope"] == "AdamW"].set_index(["quantity", "moment"])
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
    }
    names["rate x sharpness as Adam sees it, half way"] = ("rate x preconditioned_sharpness", "half")
    names["rate x update RMS, half way"] = ("rate x update_rms", "half")
    names["rate x root of noise scale, half way"] = ("rate x noise_scale^0.5", "half")
    for name, key in names.items():
        row = rows.loc[key]
        shift = f"{row['shift']:.2f} [{row['shift_low']:.2f}, {row['shift_high']:.2f}]"
        assert re.search(rf"^\| {name} \| [^|]+ \| {re.escape(shift)} \| {row['verdict']} \|$", FINDINGS, flags=re.M), (
            name
        )


def test_the_table_of_replays() -> None:
    table = pd.read_csv(ROOT / "docs" / "replay" / "summary.csv")
    for row in table.itertuples():
        name = "classic GPT-2" if row.architecture == "gpt2" else row.architecture
        (line,) = re.findall(rf"^\| {name} \| {row.learning_rate:g} \| {row.num_seeds} \|(.*)\|$", FINDINGS, flags=re.M)
        assert is_rounded(line, [row.fixed_mean, row.fixed_se, row.twin_mean, row.twin_se]), line


def test_the_table_of_one_calibration() -> None:
    table = pd.read_csv(ROOT / "docs" / "one-calibration" / "answers.csv").set_index(["quantity", "num_steps"])

    def shown(start: str) -> list[str]:
        (line,) = re.findall(rf"^\| {re.escape(start)} \|(.*)\|$", FINDINGS, flags=re.M)
        return line.split("|")

    law, limit = (
        shown("law against measured loss, median of 20 cells (nats)"),
        shown("limit: twice the noise between seeds"),
    )
    same, nearer = shown("AdamH's own loss at the same mean angle"), shown("cells nearer to the law")
    optima = shown("optimum, median factor of four")
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


def test_the_table_of_public_tables() -> None:
    table = pd.read_csv(ROOT / "docs" / "public-tables" / "fits.csv").dropna(subset=["exponent"])
    (section,) = re.findall(r"^## What other public tables say$(.*?)^## ", FINDINGS, flags=re.M | re.S)
    lines = re.findall(r"^\| [abcd] (.*)\|$", section, flags=re.M)
    for line, row in zip(lines, table.to_dict("records"), strict=True):
        who, axis, counts, exponent, curvature, verdict = line.split("|")
        assert who.lower().split()[-1] == str(row["group"])
        assert axis.strip() == row["axis"]
        assert is_rounded(counts.replace(",", " "), [row["runs"], row["cells"], row["optima"]])
        assert is_rounded(exponent, [row["exponent"], row["exponent_low"], row["exponent_high"]])
        known = [row[name] for name in ("curvature", "low", "high", "smallest_bend") if np.isfinite(row[name])]
        assert verdict.strip().startswith(row["verdict"])
        assert is_rounded(f"{curvature} {verdict.partition(',')[2]}", known)


def test_the_hours_of_the_planned_bend() -> None:
    page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    plan = pd.read_csv(ROOT / "docs" / "bend-gpu" / "plan.csv")
    for size, rows in plan.groupby("size"):
        hours = " | ".join(f"{value:,.0f}" for value in rows["hours_on_one"])
        assert f"| {size} | {hours} | {rows['runs'].sum()} |" in page
    totals = json.loads((ROOT / "docs" / "bend-gpu" / "plan.json").read_text(encoding="utf-8"))
    one, eight = totals["hours_on_one"], totals["hours_on_eight"]
    assert f"{totals['num_runs']} runs, {one:,.0f} hours on one H100, {eight:,.0f} on eight" in page
    assert f"{one:,.0f} hours of one H100, {eight:,.0f} on eight" in FINDINGS
    along_size = [row for row in totals["smallest_bends"] if row["axis"] == "num_params"]
    shown = [row[name] for row in along_size for name in ("of_an_arm", "between_two_arms")]
    (text,) = re.findall(r"it would show a bend of (.*)\.$", page, flags=re.M)
    assert is_rounded(text.replace(",", " "), shown), text


def test_the_table_of_conversions() -> None:
    table = pd.read_csv(ROOT / "docs" / "conversion" / "answers.csv").set_index(["arm", "setting"])
    names = {
        "unconverted": "rate of equilibrium, AdamW's own schedule",
        "converted": "converted, white noise",
        "ratio": "converted, one measured direction ratio",
        "history": "converted, the ratio of each step",
        "measured": "converted, AdamW's measured angles",
    }
    for arm, name in names.items():
        (line,) = re.findall(rf"^\| {name} \|(.*)\|$", FINDINGS, flags=re.M)
        rows = [table.loc[key] for setting in ("late", "settled") if (key := (arm, setting)) in table.index]
        assert is_rounded(line, [row[column] for row in rows for column in ("difference", "se", "angle_ratio")]), line
    for name, column in (("weights times 1 \\+ 1e-6", "rerun_noise"), ("another seed", "scatter")):
        (line,) = re.findall(rf"^\| \*AdamW again, {name}: one rerun\* \|(.*)\|$", FINDINGS, flags=re.M)
        assert is_rounded(line, [table.loc[("converted", setting), column] for setting in ("late", "settled")]), line
