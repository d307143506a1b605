"""Numbers on the pages of the studies of theory alone, and of small runs beside it, are those of their tables."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from tests.pages.shown import DOCS, cells, is_rounded, page_of, table_of
from theory.valley import Valley

EARLY, LATE = "error_before_5000", "error_from_5000"
SETTING = {"beta1": 0.9, "weight_decay": 0.3, "batch_size": 16, "d_model": 32}
VALLEY_ROWS = {
    "beta1 0.5": {"beta1": 0.5},
    "beta1 0.8": {"beta1": 0.8},
    "beta1 0.95": {"beta1": 0.95},
    "decay 0.1": {"weight_decay": 0.1},
    "decay 1": {"weight_decay": 1.0},
    "batch 4": {"batch_size": 4},
    "batch 64": {"batch_size": 64},
    "width 64": {"d_model": 64},
}
PREDICTORS = ("constant", "same", "noise", "shares", "fisher", "gamma")


def at(table: pd.DataFrame, changed: dict[str, float]) -> pd.DataFrame:
    """The rows of a setting of the valley, which differs from the reference by ``changed``."""
    return table[np.logical_and.reduce([table[name] == value for name, value in {**SETTING, **changed}.items()])]


def valley_tables() -> list[str]:
    """The page of the valley up to its second table, and from there on."""
    return (DOCS / "valley" / "README.md").read_text(encoding="utf-8").split("| not within 3 % |")


def why_not(table: str) -> list[tuple[str, str, str]]:
    """Setting, predictors and reason."""
    return re.findall(r"^\| (\w.*?) \| (.*?) \| (.*?) \|$", table, flags=re.M)


def test_the_laws_of_radial_gradients() -> None:
    laws = table_of("radial", "laws.csv")
    whole, parts = laws[laws["left_out"].isna()].set_index("kind"), laws.dropna(subset=["left_out"])
    for kind, row in whole.iterrows():
        (*shown, left_out) = cells("radial", f"{kind} ")
        for cell, name in zip(shown, ("outward", "valley", "error", "error_of_noise"), strict=True):
            assert is_rounded(cell, [row[name]]), (kind, name)
        errors = parts.loc[parts["kind"] == kind, "error"]
        assert is_rounded(left_out, [errors.min(), errors.max()] if len(errors) else [])
    page = page_of("radial")
    slow = parts[(parts["kind"] == "all but query, key") & parts["left_out"].str.contains("rate 0.001,")].iloc[0]
    assert f"white noise, {slow['error_of_noise']:.3f}, than by the law of the five others, {slow['error']:.3f}" in page
    ends = table_of("radial", "windows.csv").query("last == 3000")["growth"]
    assert f"At the end of a cosine G is {ends.min():.0f} to {ends.max():.0f}" in page


def test_what_radial_gradients_predict_of_pythia() -> None:
    table = table_of("radial", "pythia.csv")
    small = table[table["law_from"] == "small models"]
    new = ~small["run"].str.contains("continued")
    fitted = [run in names.split(" + ") for run, names in zip(small["run"], small["fitted_to"], strict=True)]
    held = small[new & ~np.array(fitted)]
    assert held[EARLY].max() < 0.2
    assert held[LATE].max() < 0.1
    names = {
        "fitted to rate 1e-3, decay 0.01": "pythia_lr1e-3_wd0.01_seed3",
        "fitted to rate 1e-3, decay 0.05": "pythia_lr1e-3_wd0.05",
        "fitted to rate 3e-4, decay 0.01": "pythia_lr3e-4_matrices",
    }
    for start, name in (names | {"fitted to all three": " + ".join(names.values())}).items():
        rows = held[held["fitted_to"] == name]
        known = [rows["burst"].iloc[0], len(rows), 100 * rows[EARLY].max(), 100 * rows[LATE].max()]
        assert is_rounded(" ".join(cells("radial", start)), known), start
    noise = table[table["law_from"] == "white noise"].set_index("run")
    drawn = noise[~noise.index.str.contains("continued")]
    known = [len(drawn), 100 * drawn[EARLY].max(), 100 * drawn[LATE].max()]
    assert is_rounded(" ".join(cells("radial", "white noise")), known)
    slow = names["fitted to rate 3e-4, decay 0.01"]
    of_law = held.set_index(["fitted_to", "run"]).loc[(names["fitted to rate 1e-3, decay 0.01"], slow)]
    continued = small.loc[~new, EARLY]
    (said,) = re.findall(r"At 3e-4 white noise is within (.*? %), .*? within (.*? %)\.", page_of("radial"))
    assert is_rounded(" ".join(said), [100 * row[name] for row in (noise.loc[slow], of_law) for name in (EARLY, LATE)])
    (said,) = re.findall(r"weights is off by (.*? %) before .*? \(white noise (.*? %)\)", page_of("radial"))
    aside = noise.loc[noise.index.str.contains("continued"), EARLY].item()
    assert is_rounded(" ".join(said), [100 * continued.min(), 100 * continued.max(), 100 * aside])


def test_the_table_of_the_valley_and_where_it_fails() -> None:
    answers = table_of("valley")
    first, second = valley_tables()
    failing = {}
    for name, changed in VALLEY_ROWS.items():
        rows = at(answers, changed).set_index("predictor").loc[list(PREDICTORS)]
        (line,) = re.findall(rf"^\| {re.escape(name)} \|(.*)\|$", first, flags=re.M)
        measured, *shown = (cell.strip() for cell in line.split("|"))
        assert is_rounded(measured, [rows["measured"].iloc[0]])
        for cell, row in zip(shown, rows.itertuples(), strict=True):
            assert is_rounded(cell, [100 * row.error]), (name, row.Index)
            assert cell.startswith("**") != row.within_tolerance, (name, row.Index)
        failing[name] = [str(key) for key in rows.index[~rows["within_tolerance"].astype(bool)]]
    listed = {name: who for name, who, _ in why_not(second)}
    assert set(listed) == {name for name, who in failing.items() if who}
    for name, who in listed.items():
        expected = set(PREDICTORS) - {"fisher"} if who == "all but fisher" else set(re.findall(r"[a-z]+", who)) - {"by"}
        assert expected == set(failing[name]), name
        for by in re.findall(r"fisher, by (\S+)", who):
            miss = at(answers, VALLEY_ROWS[name]).set_index("predictor").loc["fisher", "error"]
            assert is_rounded(by, [100 * miss - 3]), name
    verdicts = table_of("valley", "verdicts.csv").set_index("predictor").loc[list(PREDICTORS)]
    assert not verdicts["worth_having"].any()
    assert is_rounded(" ".join(cells("valley", "settings within 3 %, of eight")), verdicts["passed"].tolist())
    assert is_rounded(" ".join(cells("valley", "root mean square of errors, %")), (100 * verdicts["error"]).tolist())
    elsewhere = answers.iloc[len(PREDICTORS) :].groupby("predictor")["error_by_matrix"].agg(["min", "max"]) * 100
    of_one = [elsewhere.loc[name, end] for name in ("fisher", "constant") for end in ("min", "max")]
    (said,) = re.findall(r"\*fisher\* is off by (.*? %), the constant by (.*? %)", page_of("valley"))
    assert is_rounded(" ".join(said), of_one)


@pytest.mark.slow
def test_the_curvatures_on_the_page_of_the_valley() -> None:
    """Means of gamma laws fitted to the lags of a setting, over those of the reference: mean over matrices."""
    table = table_of("valley", "matrices.csv")
    lags = [name for name in table if name.startswith("lag_")]

    def fitted(changed: dict[str, float]) -> pd.DataFrame:
        rows = at(table, changed).groupby("matrix")[[*lags, "gradient_rms"]].mean()
        curvature = [Valley.fitted_gamma(one, SETTING["beta1"])[0] for one in rows[lags].to_numpy()]
        return pd.DataFrame({"curvature": curvature, "gradient": rows["gradient_rms"]})

    base = fitted({})
    why = {name: reason for name, _, reason in why_not(valley_tables()[1])}
    hot, small, large, wide = (
        fitted(VALLEY_ROWS[name]) / base for name in ("decay 1", "batch 4", "batch 64", "width 64")
    )
    per = {4: (small["curvature"] / small["gradient"] * 4).mean(), 16: (wide["curvature"] / wide["gradient"]).mean()}
    a = {name: rows["curvature"].mean() for name, rows in (("hot", hot), ("small", small), ("large", large))}
    assert f"is {a['hot']:.1f} times the reference's, where the root says {np.sqrt(1 / 0.3):.2f}" in why["decay 1"]
    assert (
        f"is {a['small']:.2f} times the reference's; per rate x batch x gradient {per[4]:.1f} times" in why["batch 4"]
    )
    grown = large["gradient"].mean()
    assert f"{a['large']:.1f} times, where the root says 2; gradients grow {grown:.2f} times" in why["batch 64"]
    assert f"per rate x batch x gradient {per[16]:.1f} times" in why["width 64"]


def test_the_table_of_gradients_like_one_over_the_norm() -> None:
    answers = table_of("inverse-norm").set_index(["beta2_from", "beta2_below", "quantity"])
    assert (answers["num_within"] == answers["num_judged"]).all()
    for low, high, end in ((0.9, 0.97, "0.97"), (0.97, 0.99, "0.99"), (0.99, 1.0, "0.999")):
        for quantity in ("rms", "angle", "transient"):
            row = answers.loc[(low, high, quantity)]
            name = "RMS" if quantity == "rms" else quantity
            names = ("limit", "largest", "median", "white_largest", "white_median")
            known = [*(row[f"{each}_percent"] for each in names), row["num_judged"]]
            shown = " ".join(cells("inverse-norm", f"beta2 of {low:g} to {end}: {name}"))
            assert is_rounded(shown, known), (low, quantity)
    table, page = table_of("inverse-norm", "agreement.csv"), page_of("inverse-norm")
    passed = table[table["transient"] > 0]
    longer = passed["transient"] / passed["white_transient"]
    assert longer.min() > 1
    assert f"too short in each of the {len(passed)}: it lasts {longer.min():.1f} to {longer.max():.0f} times" in page
    assert f"in the median {longer.median():.1f} times" in page
    assert f"transients in the {len(table) - len(passed)} settings" in page


def test_the_tables_of_simulations() -> None:
    table = table_of("sim", "agreement.csv").set_index(["optimizer", "observable"])
    names = {"Adam with L2": "adam-l2"}
    exact = table[table["exact"]]
    for name in ("SGDM", "Lion", "SignSGDM"):
        rows = exact.loc[name.lower()].loc[["weight_rms", "angular_update"]]
        known = [*rows["ks_p"], *rows["max_abs_z"]]
        assert is_rounded(" ".join(cells("sim", f"{name} ")), known), name
    assert len(exact) == 6
    assert exact["ks_p"].min() > 1e-3
    assert exact["max_abs_z"].max() < 4.5
    for name in ("AdamW", "AdamC", "AdamH", "Adam with L2", "Muon", "MuonH"):
        rows = table.loc[names.get(name, name.lower())]
        rows = rows[rows["approximation"] != "held by construction"].sort_index(ascending=False)
        known = [*rows["mean_bias_percent"], *rows["max_abs_bias_percent"]]
        assert is_rounded(" ".join(cells("sim", f"{name} ")[:2]), known), name
    others = table[~table["exact"]].dropna(subset=["ks_p"])
    assert others["mean_bias_percent"].abs().max() < 0.03
    told = others[others["ks_p"] > 1e-3].index.tolist()
    assert told == [("adamw", "angular_update"), ("adamc", "angular_update")]
    assert f"{others['ks_p'].drop(told).max():.0e}".replace("e-0", "e-") == "7e-7"
    assert "p being 7e-7 or less" in page_of("sim")
