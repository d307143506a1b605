"""The initial norm and the optimum: answers on made losses, the units of the symmetry, the widening of a grid."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.runs.configs import config_hash
from experiments.studies.angle_law.runs import line
from experiments.studies.ensembles import tasks
from experiments.studies.moved_optimum import answers, other_fits, predictions, runs
from experiments.studies.workplace import Workplace
from theory import AdamW

DOCS = Path(__file__).parents[3] / "docs"
LAW = predictions.read_law(DOCS / "angle-law" / "two-clocks.csv")
NO_RUNS = pd.DataFrame(columns=[*answers.FITTED, "arm", "num_steps"])


@cache
def predicted() -> pd.DataFrame:
    return predictions.predictions_of(LAW)


@cache
def made(norm_acts: bool, noise: float = 0.003) -> pd.DataFrame:
    """Runs on the study's grids at 1,600 and 3,200 steps whose losses are the law's; or those of the smaller start."""
    rng, rows = np.random.default_rng(5), []
    for row in predicted().query("num_steps <= 3200").to_dict("records"):
        arm = next(one for one in runs.ARMS if one.name == row["arm"])
        if arm.weight_decay is None:
            continue
        rates = np.array(runs.grid(row["centre"]))
        turning = arm if norm_acts else runs.ARMS[0]
        losses = LAW.loss(predictions.angles_of(turning, rates, row["num_steps"]), line(row["num_steps"]))
        for rate, loss in zip(rates, losses, strict=True):
            for seed in runs.SEEDS:
                known = {"arm": arm.name, "num_steps": row["num_steps"], "learning_rate": rate, "seed": seed}
                scale = {"num_params": 25248, "num_tokens": 1024 * row["num_steps"]}
                rows.append(known | scale | {"loss": loss + noise * rng.normal()})
    return pd.DataFrame(rows)


@pytest.mark.long
def test_a_norm_that_acts_is_found_by_as_much_as_the_law_says() -> None:
    table = made(norm_acts=True)
    optima = answers.optima_of(table, NO_RUNS, predicted())
    found = answers.answers_of(table, optima).set_index(["quantity", "num_steps"])
    shifts = found.loc["shift"]
    assert list(shifts.index) == [1600, 3200]
    assert all(verdict.startswith("moved") for verdict in shifts["verdict"])
    assert np.all(np.abs(shifts["value"] - shifts["law"]) < (shifts["high"] - shifts["low"]) * 0.75)
    assert found.loc[("fading to 3200", 1600), "value"] == pytest.approx(
        shifts["value"].iloc[0] - shifts["value"].iloc[1]
    )
    scatter = found.loc["scatter, law, all cells"].iloc[0]
    assert scatter["verdict"] == "holds"
    assert scatter["value"] < found.loc["scatter, mean_angle, all cells"].iloc[0]["value"]


def test_fading_is_asked_of_neighbours_and_of_the_ends() -> None:
    shifts = [
        {"num_steps": steps, "value": value, "law": value, "mean_angle": value, "error": 0.1}
        for steps, value in ((1600, 0.8), (3200, 0.6), (6400, 0.3))
    ]
    found = {row["quantity"] + f" from {row['num_steps']}": row["verdict"] for row in answers.fading_of(shifts)}
    assert found == {
        "fading to 3200 from 1600": "not shown",
        "fading to 6400 from 3200": "fades",
        "fading to 6400 from 1600": "fades",
    }


def test_a_norm_that_does_not_act_is_not_found() -> None:
    table = made(norm_acts=False)
    found = answers.answers_of(table, answers.optima_of(table, NO_RUNS, predicted()))
    shifts = found[found["quantity"] == "shift"]
    assert all("refutes law" in verdict for verdict in shifts["verdict"])
    assert not any(verdict.startswith("moved") for verdict in shifts["verdict"])


def test_the_verdict_on_one_curve() -> None:
    near, wide = np.array([0.9, 1.1]), np.array([0.5, 1.5])
    assert answers.curve_verdict(1.0, near, 0.1, 0.05) == "holds"
    assert answers.curve_verdict(1.5, np.array([1.3, 1.7]), 0.1, 0.05) == "refuted"
    assert answers.curve_verdict(1.0, near, 0.3, 0.05) == "refuted"
    assert answers.curve_verdict(1.3, wide, 0.1, 0.05) == "open"
    assert answers.curve_verdict(1.0, near, 0.2, 0.2) == "open"


def test_symmetry_is_measured_against_the_twin() -> None:
    losses = {"base": 2.0, "twin": 2.01, "scale 0.1": 2.01, "scale 3": 2.04}
    table = pd.DataFrame([{"arm": name, "seed": s, "loss": loss + s} for name, loss in losses.items() for s in (0, 1)])
    found = list(answers.symmetry_of(table))
    assert [row["verdict"] for row in found] == ["holds", "broken"]
    np.testing.assert_allclose([row["value"] for row in found], [1.0, 4.0])


@pytest.mark.long
def test_other_units_turn_alike() -> None:
    """In a short run: same losses and angles, norms in the ratio of the units."""
    label, config = next(runs.symmetry_configs())
    assert label == "base"
    assert isinstance(config.optimizer, AdamW)
    short = replace(
        config, schedule=replace(config.schedule, num_steps=12, warmup_steps=2), record_every=1, eval_batches=1
    )
    one, other = (runs.rows_of(each).iloc[0] for each in (short, runs.scaled(short, 3.0)))
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-9)
    assert one["mean_angle"] == pytest.approx(other["mean_angle"], rel=1e-9)
    assert other["final_rms"] == pytest.approx(3 * one["final_rms"], rel=1e-9)


def test_a_grid_is_widened_at_the_end_where_the_loss_is_lowest_or_broken() -> None:
    def cell(losses: list[float]) -> pd.DataFrame:
        return pd.DataFrame({"learning_rate": [1.0, 2.0, 4.0], "loss": losses})

    assert runs.rate_beyond(cell([3, 2, 1])) == 8.0
    assert runs.rate_beyond(cell([1, 2, np.nan])) == 0.5
    assert runs.rate_beyond(cell([2, 1, np.nan])) is None


@pytest.mark.long
def test_the_shift_is_told_by_the_rows_of_either_machine() -> None:
    """Of runs whose losses do not know the norm on one machine, and do on the other, added seeds left out."""
    told = predicted()
    moved, still = (made(norm_acts).query("num_steps == 1600").reset_index(drop=True) for norm_acts in (True, False))
    names = moved.index.astype(str)
    late = moved.assign(run="late", seed=9, loss=5.0)
    found = other_fits.other_shifts(pd.concat([moved.assign(run=names), late]), still.assign(run=names), told)
    by_machine = found.set_index("rows")
    assert list(by_machine.index) == ["GPU", "cores", "answers"]
    assert by_machine.loc["GPU", "value"] == pytest.approx(by_machine.loc["GPU", "law"], abs=0.1)
    assert by_machine.loc["cores", "value"] < 0.5 * by_machine.loc["GPU", "value"]


def test_rows_of_an_earlier_table_stand_for_runs_and_an_added_seed_counts_once_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arm, centre = runs.ARMS[0], 0.04
    seeds = (*runs.SEEDS, *runs.ADDED_SEEDS[arm.name, 1600])
    configs = [runs.config_of(arm, 1600, rate, seed) for seed in seeds for rate in runs.grid(centre)]
    rows = pd.DataFrame(
        dict.fromkeys(runs.COLUMNS, 1.0)
        | {"arm": arm.name, "run": config_hash(c), "learning_rate": c.optimizer.learning_rate, "seed": c.seed}
        | {"loss": 2 + np.log(c.optimizer.learning_rate / centre) ** 2}
        for c in configs
    )
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    monkeypatch.setattr(tasks, "train", lambda *_, **__: pytest.fail("a planted run was made again"))

    def planted(number: int, train: bool) -> list[int] | None:
        runs.plant(place, rows.iloc[:number])
        cell = runs.make_cell(place, arm, 1600, centre, train)
        return None if cell is None else sorted(cell["seed"])

    assert runs.make_cell(place, arm, 1600, centre, train=False) is None
    assert planted(14, train=False) is None
    assert planted(24, train=False) == sorted([*runs.SEEDS, 3] * 5)
    assert planted(30, train=True) == sorted([*seeds] * 5)


def test_committed_predictions_are_those_of_the_code() -> None:
    committed = pd.read_csv(DOCS / "moved-optimum" / "predictions.csv")
    for name in ("law", "mean_angle", "centre", "expected_error"):
        np.testing.assert_allclose(committed[name], predicted()[name], rtol=2e-4)
