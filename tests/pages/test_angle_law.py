"""Tables on the page of `angle-law` are those of the files beside it."""

from __future__ import annotations

from tests.pages.shown import cells, is_rounded, table_of


def test_the_table_of_angle_schedules() -> None:
    shapes = (
        table_of("angle-law", "runs.csv").query("mean_angle == 0.009").groupby(["num_steps", "shape"])["loss"].mean()
    )
    line = table_of("same-angle", "runs.csv").query("arm == 'adamh' and learning_rate == 0.018")
    for steps, loss in line.groupby("num_steps")["loss"].mean().items():
        shown = " ".join(cells("angle-law", f"{steps:,.0f} steps"))
        assert is_rounded(shown, [shapes[steps, "front"], loss, shapes[steps, "late"]])


def test_the_tables_of_both_laws() -> None:
    told = table_of("angle-law").set_index(["quantity", "law"])["value"]
    optima, losses = "optima of the pilot within 20 %", "median miss of losses, {} steps"
    for row, quantities in {
        "optima of a pilot within 20 %, of seven (asked: all)": [optima],
        "optima of moved-optimum, root mean square of ln": ["scatter over moved-optimum"],
        "its losses, median miss at 1,600 and 3,200 steps (nats)": [losses.format(1600), losses.format(3200)],
    }.items():
        for shown, law in zip(cells("angle-law", row), ("law", "two clocks"), strict=True):
            assert is_rounded(shown, [told[quantity, law] for quantity in quantities])
    later = table_of("angle-law", "later-answers.csv").set_index(["quantity", "law"])["value"]
    for row, quantity in {
        "AdamW's optima in bend": "optima of bend whose interval holds the law's",
        "root mean square of ln(measured/law) over them": "scatter over bend",
        "AdamH's losses at 1,000 and 2,000 steps": "root mean square miss, lengths inside the fit's",
        "at 500, 4,000, 6,400 and": "root mean square miss, lengths outside the fit's",
        "chi^2 per degree of freedom, fitted to all": "chi^2 per degree of freedom, fitted to all",
        "the same, fitted to all inside": "chi^2 per degree of freedom, fitted to all inside",
        "optima of the pilot within 20 % after": "optima of the pilot within 20 %, fitted to all inside",
    }.items():
        for shown, law in zip(cells("angle-law", row), ("law", "two_clocks"), strict=True):
            assert is_rounded(shown, [later[quantity, law]])
