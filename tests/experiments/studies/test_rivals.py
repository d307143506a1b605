"""What else sits at a fixed value at the moved optima: answers on made tables, the cells, what is measured in a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, ncx2

from experiments.studies.rivals import answers, run, runs
from experiments.studies.workplace import Workplace
from gpt.config import ModelConfig, TrainConfig
from theory import AdamW, Constant

ROOT = Path(__file__).parents[3]
BEST = {"start 1.6": 0.042, "start 14.4": 0.0715, "equilibrium": 0.0231, "adamh": 0.0177}
OPTIMA = pd.DataFrame(
    {"arm": list(BEST), "num_steps": 1600, "learning_rate": list(BEST.values()), "error": [0.1, 0.09, 0.17, 0.16]}
)
Value = Callable[[str, float], float]  # ln of a quantity by arm and learning rate


def made(value: Value, noise: float = 0.05, arms: Sequence[str] = answers.COMPARED, seed: int = 3) -> pd.DataFrame:
    """Runs in which the sharpness has this value, and noise between seeds; everything else is 1."""
    rng, rows = np.random.default_rng(seed), []
    for arm in arms:
        for rate in np.array([0.5, 1.0, 2.0]) * BEST[arm] * 0.95:
            for number in (0, 1, 2):
                row = {"arm": arm, "num_steps": 1600, "learning_rate": rate, "seed": number}
                own = {"sharpness_end": math.exp(value(arm, rate) + noise * rng.normal())}
                rows.append(row | dict.fromkeys(runs.GAPS, 1.0) | own)
    return pd.DataFrame(rows)


def verdict(table: pd.DataFrame) -> object:
    """On the sharpness in AdamW's arms."""
    readings = answers.read(table, OPTIMA, "sharpness", "end")
    return answers.judge([one for one in readings if one.arm in answers.ADAMW])["verdict"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda arm, rate: 1.5 * math.log(rate / BEST[arm]), "moves with the optimum"),
        (lambda arm, rate: -0.8 * math.log(rate / BEST[arm]), "moves with the optimum"),
        (lambda arm, rate: 1.5 * math.log(rate), "refuted"),
        (lambda arm, rate: math.log(rate / BEST[arm]) + (arm == "equilibrium"), "refuted"),
        (lambda arm, rate: 0.0, "chooses no rate"),
    ],
)
def test_a_rival_that_explains_is_found_and_others_are_not(value: Value, expected: str) -> None:
    assert {verdict(made(value, seed=seed)) for seed in range(2)} == {expected}


def test_noise_alone_is_not_taken_for_an_answer() -> None:
    found = {verdict(made(lambda arm, rate: 0.3 * math.log(rate), noise=0.4, seed=seed)) for seed in range(4)}
    assert found <= {"open", "chooses no rate"}


def test_what_never_changes_chooses_no_rate() -> None:
    assert verdict(made(lambda arm, rate: 0.0, noise=0.0)) == "chooses no rate"


def test_rates_that_a_seed_lacks_do_not_count() -> None:
    table = made(lambda arm, rate: 1.5 * math.log(rate / BEST[arm]))
    lowest = table["learning_rate"] == table.groupby("arm")["learning_rate"].transform("min")
    without = table[~(lowest & (table["seed"] > 0))]
    by_two = answers.read(without, OPTIMA, "sharpness", "end")
    assert by_two == answers.read(table[~lowest], OPTIMA, "sharpness", "end")
    assert by_two != answers.read(table, OPTIMA, "sharpness", "end")


def test_a_seed_that_was_begun_takes_nothing_away() -> None:
    table = made(lambda arm, rate: 1.5 * math.log(rate / BEST[arm]))
    first = table["learning_rate"] == table.groupby("arm")["learning_rate"].transform("median")
    last = table["seed"] == table["seed"].max()
    by_all_of_them = answers.read(table[~last], OPTIMA, "sharpness", "end")
    assert answers.read(table[~last | first], OPTIMA, "sharpness", "end") == by_all_of_them
    assert len(by_all_of_them) == len(answers.COMPARED)


def test_the_numbers_beside_a_verdict() -> None:
    readings = answers.read(made(lambda arm, rate: 2 * math.log(rate / 0.01), noise=1e-6), OPTIMA, "sharpness", "end")
    row = answers.judge([one for one in readings if one.arm in answers.ADAMW])
    measured = math.log(0.0715 / 0.042)
    assert row["measured_shift"] == pytest.approx(measured)
    assert row["shift"] == pytest.approx(0, abs=1e-4)
    assert [row["at_common_rate"], row["at_optima"]] == pytest.approx([0, 2 * measured], abs=1e-4)
    assert row["at_optima_error"] == pytest.approx(2 * math.hypot(0.1, 0.09), abs=1e-4)
    log_best, weights = np.log([0.042, 0.0715, 0.0231]), np.array([0.1, 0.09, 0.17]) ** -2
    away = (weights * (log_best - np.average(log_best, weights=weights)) ** 2).sum()
    assert row["chi2"] == pytest.approx(away, rel=1e-3)
    assert row["power"] == pytest.approx(ncx2.sf(chi2.ppf(0.99, 2), 2, away), rel=1e-3)


def test_a_product_counts_the_rate() -> None:
    table = made(lambda arm, rate: 0.0).assign(noise_scale_half=4.0)
    found = answers.log_values(table, "rate x noise_scale^0.5", "half")
    assert found == pytest.approx(np.log(table["learning_rate"] * 2))


def test_what_is_missing_is_said_and_nothing_is_made_of_it() -> None:
    table = made(lambda arm, rate: math.log(rate / BEST[arm]), arms=answers.ADAMW)
    table.loc[table["seed"] > 0, "noise_scale_end"] = [0.0, np.nan] * (len(table) // 3)
    rows = answers.answers_of(table, OPTIMA).set_index(["quantity", "moment", "scope"])["verdict"]
    assert rows["sharpness", "end", "AdamW"] == "moves with the optimum"
    assert rows["sharpness", "end", "with AdamH"] == rows["noise_scale", "end", "AdamW"] == "not measured"
    assert len(rows) == 2 * (1 + 2 * len(runs.MEASURED)) + len(answers.PRODUCTS)


def test_cells_lie_around_the_optimum_inside_their_grid() -> None:
    table = pd.DataFrame({"arm": "start 1.6", "num_steps": 1600, "learning_rate": [0.01, 0.02, 0.04, 0.08, 0.16] * 2})
    assert runs.cell_rates(OPTIMA, table, "start 1.6", 1600) == (0.04, 0.08, 0.02)
    assert runs.cell_rates(OPTIMA.assign(learning_rate=0.038), table, "start 1.6", 1600) == (0.02, 0.04, 0.08)
    assert runs.cell_rates(OPTIMA.assign(learning_rate=0.011), table, "start 1.6", 1600) == (0.01, 0.02, 0.04)


def test_a_number_of_seeds_is_the_first_so_many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = list[tuple[int, ...]]()
    monkeypatch.setattr(run, "make_runs", lambda *given: asked.append(given[3]) or iter(()))
    monkeypatch.setattr(run, "predictions_of", lambda *given: pd.DataFrame())
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results", num_workers=1)
    docs = {name: ROOT / "docs" / name.replace("_", "-") for name in ("moved_optimum", "same_angle")}
    for seeds in (None, 2):
        run.run_study(place, seeds=seeds, **docs)
    assert asked == [(0, 1, 2), (0, 1)]


def test_the_norm_of_the_blocks_is_seen_by_sharpness_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ten times the weights: the same function, plain sharpness a hundredth, as Adam sees it a tenth."""
    monkeypatch.setattr(runs, "NUM_BATCHES", 3)
    (tmp_path / "text").write_bytes(np.random.default_rng(0).integers(97, 105, 4000, dtype=np.uint8).tobytes())
    model = ModelConfig(architecture="scale-invariant", num_layers=1, d_model=4, context_length=8)
    config = TrainConfig(
        model=model,
        optimizer=AdamW(learning_rate=1e-9, weight_decay=0.0, eps=1e-20),
        non_matrix_learning_rate=1e-2,
        schedule=Constant(num_steps=2),
        batch_size=2,
        dtype="float64",
        device="cpu",
        source=str(tmp_path / "text"),
        eval_batches=1,
        block_rms=0.1,
    )
    small, large = (runs.rows_of(replace(config, block_rms=rms)).iloc[0] for rms in (0.1, 1.0))
    expected = dict.fromkeys(runs.MEASURED, 1.0)
    expected |= {"sharpness": 0.01, "preconditioned_sharpness": 0.1, "weight_rms": 10.0}
    for name, ratio in expected.items():
        for moment in runs.MOMENTS:
            assert large[f"{name}_{moment}"] / small[f"{name}_{moment}"] == pytest.approx(ratio, rel=1e-3), name
