"""What else sits at a fixed value at the moved optima: answers on made tables, the cells, what is measured in a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.studies.rivals import answers, runs
from gpt.config import ModelConfig, TrainConfig
from theory import AdamW, Constant

DOCS = Path(__file__).parents[3] / "docs"
BEST = {"start 1.6": 0.042, "start 14.4": 0.0715, "equilibrium": 0.0231, "adamh": 0.0177}
OPTIMA = pd.DataFrame(
    {"arm": list(BEST), "num_steps": 1600, "learning_rate": list(BEST.values()), "error": [0.1, 0.09, 0.17, 0.16]}
)
Value = Callable[[str, float], float]  # ln of a quantity by arm and learning rate


def made(value: Value, noise: float = 0.05, arms: tuple[str, ...] = tuple(BEST)) -> pd.DataFrame:
    """Runs in which every quantity has this value, and noise between seeds."""
    rng, rows = np.random.default_rng(3), []
    for arm in arms:
        for rate in np.array([0.5, 1.0, 2.0]) * BEST[arm] * 0.95:
            for seed in (0, 1, 2):
                row = {"arm": arm, "num_steps": 1600, "learning_rate": rate, "seed": seed}
                own = [math.exp(value(arm, rate) + noise * rng.normal()) for _ in runs.GAPS]
                rows.append(row | dict(zip(runs.GAPS, own, strict=True)))
    return pd.DataFrame(rows)


def verdicts(table: pd.DataFrame) -> set[str]:
    """On all quantities but the products with the rate."""
    found = answers.answers_of(table, OPTIMA)
    assert len(found) == 2 * (1 + 2 * len(runs.MEASURED)) + len(answers.PRODUCTS)
    return set(found.loc[~found["quantity"].isin(answers.PRODUCTS), "verdict"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda arm, rate: 1.5 * math.log(rate / BEST[arm]), "moves with the optimum"),
        (lambda arm, rate: -0.8 * math.log(rate / BEST[arm]), "moves with the optimum"),
        (lambda arm, rate: 1.5 * math.log(rate), "refuted"),
        (lambda arm, rate: 0.0, "chooses no rate"),
        (lambda arm, rate: math.log(rate / BEST[arm]) + (arm == "equilibrium"), "refuted"),
    ],
)
def test_a_rival_that_explains_is_found_and_others_are_not(value: Value, expected: str) -> None:
    noise = 0.005 if expected == "chooses no rate" else 0.05
    found = verdicts(made(value, noise))
    if expected == "chooses no rate":  # of what has no slope, 5 % look as if they had one
        assert found <= {"chooses no rate", "open"}
    else:
        assert found == {expected}


def test_a_noisy_rival_is_neither_found_nor_refuted() -> None:
    found = verdicts(made(lambda arm, rate: 0.3 * math.log(rate), noise=0.4))
    assert found <= {"open", "chooses no rate"}


def test_the_numbers_beside_a_verdict() -> None:
    table = made(lambda arm, rate: 2 * math.log(rate / 0.01), noise=1e-6)
    row = (
        answers.answers_of(table, OPTIMA).set_index(["quantity", "moment", "scope"]).loc[("sharpness", "end", "AdamW")]
    )
    measured = math.log(0.0715 / 0.042)
    assert row["measured_shift"] == pytest.approx(measured)
    assert row["shift"] == pytest.approx(0, abs=1e-4)
    assert (row["at_common_rate"], row["at_optima"]) == pytest.approx((0, 2 * measured), abs=1e-4)
    assert row["at_optima_error"] == pytest.approx(2 * math.hypot(0.1, 0.09), abs=1e-4)
    assert row["power"] > 0.99
    log_best, weights = np.log([0.042, 0.0715, 0.0231]), np.array([0.1, 0.09, 0.17]) ** -2
    assert row["chi2"] == pytest.approx((weights * (log_best - np.average(log_best, weights=weights)) ** 2).sum(), 1e-3)


def test_a_product_counts_the_rate() -> None:
    table = made(lambda arm, rate: 0.0, noise=1e-6).assign(noise_scale_half=4.0)
    assert answers.log_values(table, "rate x noise_scale^0.5", "half") == pytest.approx(
        np.log(table["learning_rate"] * 2)
    )


def test_what_is_missing_is_said_and_nothing_is_made_of_it() -> None:
    table = made(lambda arm, rate: math.log(rate / BEST[arm]), arms=("start 1.6", "start 14.4", "equilibrium"))
    found = answers.answers_of(table, OPTIMA).set_index(["quantity", "moment", "scope"])["verdict"]
    assert found["mean_angle", "run", "AdamW"] == "moves with the optimum"
    assert found["mean_angle", "run", "with AdamH"] == "not measured"
    table.loc[table["seed"] > 0, "sharpness_end"] = [0.0, np.nan] * (len(table) // 3)
    assert answers.answers_of(table, OPTIMA).set_index(["quantity", "moment", "scope"])["verdict"][
        "sharpness", "end", "AdamW"
    ] == ("not measured")


def test_cells_lie_around_the_optimum_inside_their_grid() -> None:
    table = pd.DataFrame({"arm": "start 1.6", "num_steps": 1600, "learning_rate": [0.01, 0.02, 0.04, 0.08, 0.16] * 2})
    assert runs.cell_rates(OPTIMA, table, "start 1.6", 1600) == (0.02, 0.04, 0.08)
    near_end = OPTIMA.assign(learning_rate=0.011)
    assert runs.cell_rates(near_end, table, "start 1.6", 1600) == (0.01, 0.02, 0.04)


def test_the_norm_of_the_blocks_is_seen_by_sharpness_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ten times the weights: the same function, plain sharpness a hundredth, as Adam sees it a tenth."""
    monkeypatch.setattr(runs, "NUM_BATCHES", 3)
    model = ModelConfig(architecture="scale-invariant", num_layers=1, d_model=8, context_length=8)
    config = TrainConfig(
        model=model,
        optimizer=AdamW(learning_rate=1e-9, eps=1e-20),
        non_matrix_learning_rate=1e-2,
        schedule=Constant(num_steps=8),
        batch_size=2,
        dtype="float64",
        device="cpu",
        eval_batches=1,
        block_rms=0.1,
    )
    small, large = (runs.rows_of(replace(config, block_rms=rms)).iloc[0] for rms in (0.1, 1.0))
    expected = dict.fromkeys(runs.MEASURED, 1.0)
    expected |= {"sharpness": 0.01, "preconditioned_sharpness": 0.1, "weight_rms": 10.0}
    for name, ratio in expected.items():
        for moment in runs.MOMENTS:
            assert large[f"{name}_{moment}"] / small[f"{name}_{moment}"] == pytest.approx(ratio, rel=1e-3), name
