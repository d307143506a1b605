"""Tables of studies, rows of pages, and whether a number is another one rounded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from experiments.studies.slices import slices_of

CURVATURE = ("curvature", "curvature_low", "curvature_high")
DOCS = Path(__file__).parents[2] / "docs"


def on_one_line(path: Path) -> str:
    """The text of a page, its line breaks as spaces, so that a sentence is found wherever it was broken."""
    return " ".join(path.read_text(encoding="utf-8").split())


FINDINGS, README = on_one_line(DOCS / "findings.md"), on_one_line(DOCS.parent / "README.md")


def page_of(study: str) -> str:
    return on_one_line(DOCS / study / "README.md")


def table_of(study: str, name: str = "answers.csv") -> pd.DataFrame:
    return pd.read_csv(DOCS / study / name)


def accounts_of_exponents() -> pd.DataFrame:
    """Exponents along the length that both accounts have in `moved-optimum`, a row per arm, a column per account.

    In the cells of the measured optima, weighted by the errors of these.
    """
    optima = table_of("moved-optimum", "optima.csv").dropna(subset=["learning_rate"])
    found = {
        name: slices_of(optima.assign(learning_rate=optima[name]), "num_steps").set_index("arm")["exponent"]
        for name in ("law", "mean_angle")
    }
    return pd.DataFrame(found)


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
