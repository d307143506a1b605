"""The schedule and the exponent: answers on losses that the law makes, and on those of one optimum for all."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.studies.moved_optimum import predictions, runs
from experiments.studies.moved_optimum.answers import optima_of
from experiments.studies.schedule_exponent.answers import ARMS, LENGTHS, answers_of
from experiments.studies.schedule_exponent.figure import draw

DOCS = Path(__file__).parents[3] / "docs"
LAW = predictions.read_law(DOCS / "angle-law" / "two-clocks.csv")
NO_RUNS = pd.DataFrame()


@cache
def predicted() -> pd.DataFrame:
    return predictions.predictions_of(LAW, ARMS, LENGTHS)


def made(schedule_acts: bool) -> pd.DataFrame:
    """Runs on the study's grids whose losses are the law's, or the same for both schedules."""
    rng, rows = np.random.default_rng(5), []
    for row in predicted().to_dict("records"):
        arm = next(one for one in ARMS if one.name == row["arm"])
        rates = np.array(runs.grid(row["centre"]))
        turning = arm if schedule_acts else ARMS[1]
        clock = turning.scheduled(row["num_steps"]).multipliers()
        losses = LAW.loss(predictions.angles_of(turning, rates, row["num_steps"]), clock)
        for rate, loss in zip(rates, losses, strict=True):
            for seed in runs.SEEDS:
                known = {"arm": arm.name, "num_steps": row["num_steps"], "learning_rate": rate, "seed": seed}
                scale = {"num_params": 25248, "num_tokens": 1024 * row["num_steps"]}
                rows.append(known | scale | {"loss": loss + 0.002 * rng.normal()})
    return pd.DataFrame(rows)


@pytest.mark.long
def test_a_schedule_that_acts_is_found_and_the_mean_angle_refuted() -> None:
    table = made(schedule_acts=True)
    optima = optima_of(table, NO_RUNS, predicted())
    found = answers_of(optima).set_index("quantity")
    difference = found.loc["difference of exponents"]
    assert difference["law"] == pytest.approx(-0.4, abs=0.06)
    assert difference["mean_angle"] == pytest.approx(0, abs=1e-3)
    assert difference["low"] < difference["law"] < difference["high"]
    assert found.loc["exponent, constant", "value"] == pytest.approx(-0.43, abs=0.05)
    assert found.loc["exponent, constant", "verdict"] == "differs from 0; refutes mean angle"
    assert list(found.loc["ln constant/line", "num_steps"]) == list(LENGTHS)
    assert draw(table, optima, predicted()).startswith(b"\x89PNG")


def test_a_schedule_that_does_not_act_is_not_found() -> None:
    found = answers_of(optima_of(made(schedule_acts=False), NO_RUNS, predicted())).set_index("quantity")
    assert found.loc["difference of exponents", "low"] < 0 < found.loc["difference of exponents", "high"]
    assert "refutes law" in found.loc["ln constant/line", "verdict"].iloc[-1]


def test_no_exponent_from_one_length() -> None:
    optima = optima_of(made(schedule_acts=True).query("num_steps == 1600"), NO_RUNS, predicted())
    assert list(answers_of(optima)["quantity"]) == ["ln constant/line"]
