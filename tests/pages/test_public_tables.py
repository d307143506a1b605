"""The table of public tables has the numbers of their fits."""

from __future__ import annotations

import re

import numpy as np

from tests.pages.shown import DOCS, is_rounded, table_of


def test_the_table_of_public_tables() -> None:
    table = table_of("public-tables", "fits.csv").dropna(subset=["exponent"]).fillna({"group": "tenth"})
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
