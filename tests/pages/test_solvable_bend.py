"""The table of the solvable model has the numbers of `solvable-bend`."""

from __future__ import annotations

from tests.pages.shown import CURVATURE, cells, is_rounded, table_of


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
