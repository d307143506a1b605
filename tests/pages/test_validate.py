"""The page of `make validate` has the numbers of its table, and so has what is said of the law of GPT-2."""

from __future__ import annotations

import re

from tests.pages.shown import README, cells, is_rounded, page_of, table_of
from theory.networks import GPT2_WORTH


def test_what_counts_as_passed_in_validate() -> None:
    table = table_of("validate", "predictions.csv").query("promised").dropna(subset=["limit"])
    page = page_of("validate")
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


def test_what_the_law_of_gpt2_is_said_to_be_worth() -> None:
    """By the command, by kind of matrix, and by the README of all: what `make validate` judged."""
    table = table_of("validate", "predictions.csv").query("group.str.contains('gpt2, ')").dropna(subset=["verdict"])
    table["kind"] = table["group"].str.partition("gpt2, ")[2]
    counted = []
    for kind, rows in table.groupby("kind"):
        outside, worst = (rows["verdict"] == "outside").sum(), 100 * rows["error"].abs().max()
        assert f"{outside} of {len(rows)} predictions" in GPT2_WORTH[str(kind)]
        assert f"off by more than {100 * rows['limit'].max():g} % ({worst:.0f} % at worst)" in GPT2_WORTH[str(kind)]
        assert f"{outside} of {len(rows)} in" in README
        counted.append(outside)
    assert f"{sum(counted)} of its {len(table)} predictions" in README
