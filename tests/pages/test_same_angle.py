"""Pages of the studies that train the same angles another way: `replay`, `same-angle`, `conversion`."""

from __future__ import annotations

import re

from tests.pages.shown import DOCS, cells, is_rounded, on_one_line, table_of


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
        text = on_one_line(DOCS / page)
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
