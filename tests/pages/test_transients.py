"""Numbers on the pages of the studies of the transient's length are those of their tables."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.studies.held_out.readings import WITHIN
from tests.pages.shown import README, cells, is_rounded, page_of, table_of


@pytest.mark.parametrize(
    ("study", "shown"),
    [
        ("transient-length", ("measured_ratio", "white_noise")),
        ("transient-domain", ("measured_ratio", "predicted", "white_noise")),
    ],
)
def test_the_table_of_transients(study: str, shown: tuple[str, ...]) -> None:
    table = table_of(study).query("half == 'held-out'").set_index(["architecture", "quantity"])
    names = {"angle": "angle", "relaxation": "relaxation", "rank correlation": "first_passage_rank"}
    judged = 0
    for architecture in ("scale-invariant", "gpt2"):
        for name, quantity in (names | {"first passage": "first_passage"}).items():
            rows = table.loc[(architecture, quantity)].set_index("prediction")
            target = rows.loc["measured_ratio", "target"]
            if np.isnan(target):
                continue
            judged += 1
            start = f"{'classic GPT-2' if architecture == 'gpt2' else architecture}: {name}"
            scale = 1 if quantity.endswith("rank") else 100
            known = [scale * float(value) for value in (target, *(rows.loc[source, "value"] for source in shown))]
            assert is_rounded(" ".join(cells(study, start)), known), start
    assert judged == 6


def test_what_the_page_of_the_domain_says() -> None:
    page = page_of("transient-domain")
    answers, settings = table_of("transient-domain"), table_of("transient-domain", "settings.csv")
    assert answers["met"].dropna().astype(bool).sum() == 6
    held = answers.query("half == 'held-out'").set_index(["architecture", "quantity", "prediction"])
    norms = [100 * held.loc[("gpt2", "rms", source), "value"] for source in ("predicted", "white_noise")]
    passages = [("scale-invariant", "first_passage", source) for source in ("predicted", "white_noise")]
    values, worst = ([100 * held.loc[key, column] for key in passages] for column in ("value", "worst"))
    below = settings["start"] < 1
    errors = {
        (name, low): [100 * (rows[q] / rows[f"{q}_measured_ratio"] - 1).abs() for q in ("first_passage", "relaxation")]
        for name in ("scale-invariant", "gpt2")
        for low in (True, False)
        for rows in [settings[(settings["architecture"] == name) & (below == low)]]
    }
    passage = {key: found[0].median() for key, found in errors.items()}
    relaxation = errors["gpt2", True][1]
    for part in (
        f"off by {norms[0]:.1f} % where white noise has {norms[1]:.1f} %",
        f"by {values[0]:.1f} % where it has {values[1]:.1f} %, at worst by {worst[0]:.0f} % where it has"
        f" {worst[1]:.0f} %",
        f"off by {passage['scale-invariant', True]:.0f} % (scale-invariant) and {passage['gpt2', True]:.0f} %"
        f" (classic), from above by {passage['scale-invariant', False]:.1f} and {passage['gpt2', False]:.1f} %",
        f"off by {relaxation.median():.0f} %, at worst by {relaxation.max():.0f} %",
    ):
        assert part in page, part


def test_what_the_page_of_held_out_norms_says_of_the_domain() -> None:
    there = table_of("transient-domain").query("half == 'held-out' and prediction == 'predicted'")
    here = table_of("held-out").query("group == 'judged'").set_index(["architecture", "quantity"])
    there = there.set_index(["architecture", "quantity"])
    names = {
        "angle": "angle",
        "weight RMS": "rms",
        "relaxation": "relaxation",
        "first passage": "first_passage",
        "rank correlation of first passages": "first_passage_rank",
    }
    inside = []
    for architecture in ("scale-invariant", "gpt2"):
        for name, quantity in names.items():
            if (architecture, quantity) in (("scale-invariant", "first_passage"), ("gpt2", "relaxation")):
                continue
            row, is_rank = there.loc[(architecture, quantity)], quantity.endswith("rank")
            known = [row["value"]] if is_rank else [100 * row["value"], 100 * row["worst"]]
            target, median, *shown = cells("held-out", f"{architecture}, {name} ")
            assert is_rounded(" ".join(shown), known), (architecture, name)
            if (architecture, quantity) not in here.index:
                assert target == median == ""
                continue
            of_here = here.loc[(architecture, quantity)]
            assert is_rounded(target, [of_here["target"] * (1 if is_rank else 100)])
            assert is_rounded(median, [of_here["value"] if is_rank else 100 * of_here["median"]])
            inside.append(row["value"] >= of_here["target"] if is_rank else row["worst"] <= of_here["target"])
            assert is_rank or row["value"] <= of_here["target"]
    assert (sum(inside), len(inside)) == (2, 6)
    page = page_of("held-out")
    assert "by the rule of this page, which asks every setting, two of its six targets" in page


def test_what_the_readme_says_of_first_passages() -> None:
    table = table_of("transient-domain").query("half == 'held-out' and quantity == 'first_passage'")
    values = 100 * table.set_index(["prediction", "architecture"])["value"]
    own, white = (values[name] for name in ("predicted", "white_noise"))
    assert f"to {own.max():.0f} % in the median by their theory" in README
    assert f"{own.min():.0f}" == f"{own.max():.0f}"
    assert f"{white.min():.0f} and {white.max():.0f} % by white noise" in README
    assert f"within {100 * WITHIN:.0f} % of their own late norm" in README
