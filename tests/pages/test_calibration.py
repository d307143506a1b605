"""What is said of the calibration is what its tables say, and they are of the scenarios that there are."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from experiments.calibration.counting import Calibration
from experiments.calibration.fit import FIT
from experiments.calibration.recommend import RECOMMEND
from tests.pages.shown import DOCS, on_one_line, table_of

PAGE = on_one_line(DOCS / "tables.md")


@pytest.mark.parametrize("of", [FIT, RECOMMEND], ids=["fit", "recommend"])
def test_the_tables_are_of_the_scenarios_that_there_are(of: Calibration) -> None:
    rows = table_of("calibration", of.table).astype(object)
    assert rows["name"].tolist() == [scenario.name for scenario in of.scenarios]
    for (_, row), scenario in zip(rows.iterrows(), of.scenarios, strict=True):
        settings = {name: value for name, value in asdict(scenario).items() if name in row and value is not None}
        assert {name: str(row[name]) for name in settings} == {name: str(value) for name, value in settings.items()}


def test_what_the_page_says_of_fit() -> None:
    table = table_of("calibration", "calibration.csv").set_index("name")
    optima, others = table["optimum_coverage"], table[["exponent_coverage", "curvature_coverage"]].stack()
    stressed = table["scatter"] >= 0.15
    named = table.loc[table["named_bend"], "bends_found"]
    assert table["false_straight"].max() < 0.05
    for part in (
        f"[{table['num_sweeps'].sum():,} made sweeps](calibration/calibration.csv) in {len(table)} scenarios",
        f"intervals of optima cover {100 * optima.min():.0f} to {100 * optima.max():.0f} %, those of exponents and"
        f" curvatures {100 * others.min():.0f} to {100 * others.max():.0f} %",
        f"False bends come in at most {100 * table.loc[~stressed, 'false_bends'].max():.1f} %, and in"
        f" {100 * table.loc[stressed, 'false_bends'].max():.1f} % where optima scatter by 0.15",
        f"The named bend is found in {100 * named.min():.0f} to {100 * named.max():.0f} %",
    ):
        assert part in PAGE, part
