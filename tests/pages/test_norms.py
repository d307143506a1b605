"""Tables of the theory's errors in norms and directions: `held-out`, `direction`."""

from __future__ import annotations

import re

import numpy as np

from tests.pages.shown import DOCS, cells, is_rounded, table_of


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
