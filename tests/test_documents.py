"""README and docs: links that lead somewhere, and numbers that are those of the tables beside them."""

from __future__ import annotations

import re
from pathlib import Path

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


def test_the_table_of_validate() -> None:
    table = pd.read_csv(ROOT / "docs" / "validate" / "predictions.csv")
    for rate, decay in (("0.01", "0.3"), ("0.003", "1"), ("0.03", "0.1")):
        rows = table[table["group"] == f"AdamW lr={rate} wd={decay}, scale-invariant"].set_index("quantity")
        (line,) = re.findall(rf"^\| {rate}, {decay} \|(.*)\|$", FINDINGS, flags=re.M)
        names = ("angular update (rad)", "weight RMS", "weight RMS, measured U", "relaxation (steps)")
        for name, cell in zip(names, line.split("|"), strict=True):
            numbers = [float(text) for text in re.findall(r"[+-]?[\d.]+", cell)]
            digits = max(len(text.partition(".")[2]) for text in re.findall(r"[\d.]+", cell))
            known = rows.loc[name, ["error", "seed_low", "seed_high"]].astype(float) * 100
            assert numbers == pytest.approx(known.tolist(), abs=0.51 if digits == 0 or "12 %" in cell else 0.051) or (
                numbers[1:] == pytest.approx(known.tolist()[1:], abs=0.051)
                and numbers[0] == pytest.approx(known["error"], abs=0.51)
            )


def test_the_table_of_the_pilot() -> None:
    table = pd.read_csv(ROOT / "docs" / "angle-law" / "optima.csv")
    for row in table[table["source"] == "pilot"].itertuples():
        law = f"{row.predicted:.4f} [{row.low:.4f}, {row.high:.4f}]"
        line = f"| {row.num_steps:,} | {row.initial_rms:g} | {row.measured:.3f} | {law} | {row.ratio:.2f} |"
        assert line in FINDINGS


def test_the_table_of_replays() -> None:
    table = pd.read_csv(ROOT / "docs" / "replay" / "summary.csv")
    for row in table.itertuples():
        name = "classic GPT-2" if row.architecture == "gpt2" else row.architecture
        (line,) = re.findall(rf"^\| {name} \| {row.learning_rate:g} \| {row.num_seeds} \|(.*)\|$", FINDINGS, flags=re.M)
        told = [float(text) for text in re.findall(r"-?[\d.]+(?:e-\d+)?", line)]
        known = [row.fixed_mean, row.fixed_se, row.twin_mean, row.twin_se]
        for number, value in zip(told, known, strict=True):
            assert number == pytest.approx(value, rel=0.5, abs=6e-4)
