"""Numbers on the page of `one-calibration` are those of its tables."""

from __future__ import annotations

import numpy as np

from tests.pages.shown import cells, is_rounded, page_of, table_of


def test_the_table_of_one_calibration() -> None:
    table = table_of("one-calibration").set_index(["quantity", "num_steps"])
    starts = (
        "law against measured loss, median (nats)",
        "limit: twice the noise between seeds",
        "AdamH's own loss at the same mean angle",
        "cells nearer to the law",
        "optimum, median factor",
    )
    law, limit, same, nearer, optima = (cells("one-calibration", start) for start in starts)
    for i, steps in enumerate((1600, 3200, 6400, 12800)):
        row = table.loc["loss, law", steps]
        assert row["verdict"] == "predicted"
        assert is_rounded(law[i], row[["value", "low", "high", "cells"]].tolist())
        assert is_rounded(limit[i], [row["limit"]])
        row = table.loc["optimum, law", steps]
        assert is_rounded(optima[i], [np.exp(row["value"]), row["cells"]])
        assert ("missed" in optima[i]) == (row["verdict"] == "missed")
    for i, steps in enumerate((1600, 3200)):
        row = table.loc["loss, same mean angle", steps]
        assert is_rounded(same[i], [row["value"], row["cells"]])
        row = table.loc["cells nearer to the law", steps]
        assert is_rounded(nearer[i], [row["value"], row["cells"]])
    starts = ("median difference of losses", "twice the noise of AdamH's seeds there")
    for start, columns in zip(starts, (["value", "low", "high"], ["limit"]), strict=True):
        for shown, steps in zip(cells("one-calibration", start), (500, 1000, 2000, 4000), strict=True):
            assert is_rounded(shown, table.loc["loss, law, bend, no rule", steps][columns].tolist())
    page = page_of("one-calibration")
    pooled = np.exp(table.loc["optimum, law"].loc[np.nan, ["value", "low", "high"]].astype(float))
    assert f"is {pooled['value']:.2f}, 95 % from {pooled['low']:.2f} to {pooled['high']:.2f}" in page
    optima = table_of("one-calibration", "optima.csv").query("source == 'moved-optimum' and num_steps > 1600")
    assert f"from 3,200 steps on it is {np.exp(np.log(optima['ratio']).abs().median()):.2f} " in page
    bend = table_of("bend", "optima.csv").query("width == 32 and arm != 'adamh'")
    assert f"the median factor is {np.exp(np.log(bend['learning_rate'] / bend['law']).abs().median()):.2f}" in page
    assert (bend["law"].between(bend["low"], bend["high"]).sum(), len(bend)) == (11, 12)
