"""The table of the solvable model has the numbers of `solvable-bend`."""

from __future__ import annotations

from tests.pages.shown import CURVATURE, cells, is_rounded, page_of, table_of


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


def test_what_is_told_from_0_in_the_parts_along_size() -> None:
    parts = table_of("solvable-bend", "parts.csv").query("problem == 'mixed' and axis == 'num_params'")
    parts = parts.set_index("part").sort_index()
    angle, left = parts.loc["angle"], parts.loc[["bend", "left"]]
    assert len(angle) == 4
    assert (angle["low"] > 0).all()
    assert ((left["low"] < 0) & (left["high"] > 0)).all()
    values = sorted(left.loc["left", "curvature"], reverse=True)
    assert (
        f"{angle['curvature'].min():.3f} to {angle['curvature'].max():.3f} in all four arms, every interval above 0;"
        f" what is left, {values[0]:.2f} to {values[-1]:.2f}, is not told from 0"
    ) in page_of("solvable-bend")
