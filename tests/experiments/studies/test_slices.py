"""Exponent, curvature and test of a line at one value of the other axis, against planted optima."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from experiments.studies.slices import SLICES, exponent_differences, slices_of

N, D = np.exp(np.arange(5.0)), (1e6, 4e6)


def optima(noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Arm "bent": exponent -0.3 and curvature 0.2 about the middle at the first D, -0.2 at the second; "line": -0.5."""
    rng, rows = np.random.default_rng(seed), []
    x = np.log(N) - np.log(N).mean()
    for arm, exponent, bends in (("bent", -0.3, (0.2, -0.2)), ("line", -0.5, (0.0, 0.0))):
        for tokens, bend in zip(D, bends, strict=True):
            y = -5 + exponent * x + bend * x**2 / 2 + noise * rng.normal(size=len(x))
            cells = {"num_params": N, "learning_rate": np.exp(y), "error": 0.05}
            rows.append(pd.DataFrame(cells).assign(arm=arm, num_tokens=tokens))
    return pd.concat(rows, ignore_index=True)


def test_each_slice_has_its_own_curvature() -> None:
    found = slices_of(optima(), "num_params", "num_tokens")
    assert list(found.columns) == list(SLICES)
    assert found["arm"].tolist() == ["bent", "bent", "line", "line"]
    np.testing.assert_allclose(found["curvature"], [0.2, -0.2, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["exponent"], [-0.3, -0.3, -0.5, -0.5], atol=1e-12)
    # sum of x^2 is 10, so the exponent has an error of 0.05 / sqrt(10)
    np.testing.assert_allclose(found["exponent_high"] - found["exponent"], 1.96 * 0.05 / np.sqrt(10))
    assert (found["freedom"] == 3).all()
    assert (found["p"][:2] < 1e-3).all()
    np.testing.assert_allclose(found["p"][2:], 1)


@pytest.mark.long
def test_intervals_and_the_test_of_the_line_keep_their_level() -> None:
    tables = [slices_of(optima(noise=0.05, seed=seed), "num_params", "num_tokens") for seed in range(150)]
    lines = pd.concat(tables)[lambda table: table["arm"] == "line"]
    assert lines["exponent"].sub(-0.5).abs().lt(lines["exponent_high"] - lines["exponent"]).mean() > 0.92
    assert (lines["curvature_low"] < 0).mul(lines["curvature_high"] > 0).mean() == pytest.approx(0.95, abs=0.04)
    assert (lines["p"] < 0.05).mean() == pytest.approx(0.05, abs=0.04)


def test_cells_without_an_error_do_not_count_and_few_say_less() -> None:
    table = optima()
    table.loc[(table["arm"] == "line") & (table["num_params"] > N[2]), "error"] = np.nan
    table.loc[(table["arm"] == "bent") & (table["num_params"] > N[1]), "error"] = np.nan
    found = slices_of(table, "num_params", "num_tokens").set_index("arm")
    assert found.loc["bent", "curvature"].isna().all()
    assert found.loc["bent", "p"].isna().all()
    assert found.loc["bent", "exponent"].notna().all()
    assert (found.loc["line", "num_cells"] == 3).all()
    np.testing.assert_allclose(found.loc["line", "exponent"], -0.5)


def test_exponents_of_two_arms_differ_by_their_errors_in_quadrature() -> None:
    along = slices_of(optima()[lambda table: table["num_tokens"] == D[0]], "num_params")
    (row,) = exponent_differences(along, [("bent", "line"), ("bent", "absent")])
    assert row["arm"] == "bent less line"
    assert row["exponent"] == pytest.approx(0.2)
    assert row["exponent_high"] - row["exponent"] == pytest.approx(1.96 * 0.05 / np.sqrt(10) * np.sqrt(2))
