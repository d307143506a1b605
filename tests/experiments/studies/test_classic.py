"""Classic GPT-2 from two starts: the parts of planted shifts, the order of the runs, the corners of a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.runs.configs import config_hash
from experiments.studies.classic import answers, predictions, run, runs
from experiments.studies.ensembles import tasks
from experiments.studies.moved_optimum.predictions import read_law
from experiments.studies.moved_optimum.runs import COLUMNS, grid, plant
from experiments.studies.workplace import Workplace
from gpt.config import ModelConfig, TrainConfig
from gpt.train import train
from theory import AdamC, AdamH, radial

DOCS = Path(__file__).parents[3] / "docs"
FREE = dict.fromkeys(runs.ALL_ARMS, 0.0)


@cache
def predicted() -> pd.DataFrame:
    return pd.read_csv(DOCS / "classic" / "predictions.csv")


PAIRED = ("small", "large", *answers.CROSSED.values())
HELD = tuple(arm.name for arm in runs.HELD)
NO_OPTIMA = pd.DataFrame(columns=["arm", "num_steps"])


def made(
    shifts: Mapping[str, float],
    floors: Mapping[str, float] = FREE,
    noise: float = 0.01,
    arms: Sequence[str] = runs.ALL_ARMS,
) -> pd.DataFrame:
    """Runs of 800 steps: ln(optimum) is ``shifts`` above the middle of an arm's grid, losses are ``floors`` higher."""
    rng, rows = np.random.default_rng(4), []
    centres = predicted().query("num_steps == 800").set_index("arm")["centre"]
    for arm in dict.fromkeys(arms):
        for rate in grid(float(centres[arm])):
            for seed in runs.SEEDS:
                away = np.log(rate / centres[arm]) - shifts[arm]
                row = dict.fromkeys(COLUMNS, 1.0) | {"arm": arm, "num_steps": 800, "learning_rate": rate, "seed": seed}
                row |= {"loss": 2 + floors[arm] + 0.12 * away**2 + noise * rng.normal(), "num_tokens": 819200.0}
                rows.append(row | {"num_params": 25248, "mean_angle": rate**0.5})
    return pd.DataFrame(rows)


def answered(table: pd.DataFrame) -> pd.DataFrame:
    optima = answers.measured_optima(table, predicted())
    return answers.answers_of(table, optima).set_index("quantity")


def by_angles(small: float, large: float) -> dict[str, float]:
    """Shifts that follow whose angles they are."""
    steered = {name: large if angles == runs.LARGE.name else small for name, (angles, _) in runs.STEERED.items()}
    return FREE | {runs.SMALL.name: small, runs.LARGE.name: large} | steered


def by_norm(small: float, large: float) -> dict[str, float]:
    """Shifts that follow whose norm it is."""
    steered = {name: large if norm == runs.LARGE.name else small for name, (_, norm) in runs.STEERED.items()}
    return FREE | {runs.SMALL.name: small, runs.LARGE.name: large} | steered


@pytest.mark.parametrize(("shifts", "part"), [(by_angles(-0.4, 0.5), "angle"), (by_norm(-0.4, 0.5), "norm")])
def test_a_planted_shift_is_found_and_given_to_the_part_that_made_it(shifts: dict[str, float], part: str) -> None:
    found = answered(made(shifts, arms=PAIRED))
    for quantity, planted in {"shift": 0.9, "angle": 0.0, "norm": 0.0, "interaction": 0.0, part: 0.9}.items():
        row = found.loc[f"ln rate, {quantity}"]
        assert row["value"] == pytest.approx(planted, abs=0.15)
        assert row["verdict"].startswith("differs from 0") == (planted != 0)
    less = found.loc["ln rate, angle less norm"]
    assert less["value"] == pytest.approx(0.9 if part == "angle" else -0.9, abs=0.15)


@pytest.mark.parametrize("planted", [-0.4, -2.6])
def test_one_effect_at_a_time_has_a_bound_where_an_optimum_is_below_its_grid(planted: float) -> None:
    """The large start's angles move the optimum under the large norms alone, from where is inside the grid or not."""
    shifts = by_angles(0.5, 0.5) | {"small angles, large norm": planted}
    found = answered(made(shifts, arms=PAIRED)).rename(lambda name: name.removeprefix("ln rate, "))
    for name, truth in {
        "angle under small norms": 0.0,
        "angle under large norms": 0.5 - planted,
        "norm at large angles": 0.0,
        "norm at small angles": planted - 0.5,
    }.items():
        row = found.loc[name]
        assert not row["low"] > truth
        assert not row["high"] < truth
        assert row["verdict"].split("; ")[0] == {0.0: "not shown"}.get(truth, "above 0" if truth > 0 else "below 0")
    outside, bounds = planted < -1, found.loc["angle under large norms", ["value", "high"]]
    assert bounds.isna().tolist() == [outside, outside]
    assert found.loc["angle", "verdict"].startswith("an optimum") == outside


def test_no_shift_is_not_found() -> None:
    found = answered(made(FREE))
    crossed = [f"ln rate, {name}" for name in ("shift", "angle", "norm", "interaction", "angle less norm")]
    assert not found.loc[crossed, "verdict"].str.startswith("differs from 0").any()
    assert found.loc["ln rate, shift", "verdict"] == "within 0.35; refutes law; refutes mean angle"
    assert found.loc["AdamH is free of the norm", "verdict"] == "yes"


def test_four_arms_from_a_start_are_told_in_one_rate() -> None:
    """AdamH at the angle of the equilibrium start's optimum, and no norm that acts: nothing is left but the shift."""
    centres = predicted().query("num_steps == 800").set_index("arm")["centre"]
    alike = np.log(predictions.steady_rate(float(centres["adamh 0.02"]), 800))
    shifts = {arm: float(alike - np.log(centres[arm])) for arm in answers.FROM["small"].values()} | {"adamh 0.02": 0.0}
    for arm in ("small", "small angles, small norm fixed"):
        shifts[arm] -= 0.7
    found = answered(made(FREE | shifts, noise=0.003, arms=tuple(shifts)))
    for name, planted in {"shift": -0.7, "angle": -0.7, "norm": 0.0, "interaction": 0.0}.items():
        assert found.loc[f"ln rate, from small, {name}", "value"] == pytest.approx(planted, abs=0.15)


def test_an_adamh_that_the_norm_moves_or_raises_is_not_free_of_it() -> None:
    moved = answered(made(FREE | {"adamh 0.02": 0.6}, arms=HELD))
    assert moved.loc["ln AdamH rate, adamh 0.02/adamh 0.18, shift", "value"] == pytest.approx(0.6, abs=0.15)
    raised = answered(made(FREE, FREE | {"adamh 0.54": 0.1}, arms=HELD))
    assert [found.loc["AdamH is free of the norm", "verdict"] for found in (moved, raised)] == ["no", "no"]


def test_noise_does_not_free_adamh_of_the_norm() -> None:
    known, wide = {"low": -0.1, "high": 0.1}, {"low": -1.0, "high": 1.0}
    assert answers.free_of_the_norm([(known, {"low": -0.01, "high": 0.01})]) == "yes"
    assert answers.free_of_the_norm([(wide, {"low": -0.01, "high": 0.01})]) == "open"
    assert answers.free_of_the_norm([(known, {"low": -0.1, "high": 0.1})]) == "open"
    assert answers.free_of_the_norm([(known, known), (known, {"low": 0.03, "high": 0.1})]) == "no"


def test_losses_are_split_at_every_rate_in_pairs_of_seeds() -> None:
    floors = FREE | {"large": 0.3, "large angles, small norm": 0.1, "small angles, large norm": 0.2}
    table = made(FREE, floors, noise=0.0)
    table["loss"] += table["seed"]  # what all arms of a seed share
    found = answers.answers_of(table, NO_OPTIMA).set_index("quantity")
    for part, planted in {"angle": 0.1, "norm": 0.2, "interaction": 0.0, "norm from there on": 0.3}.items():
        rows = found.loc[f"loss, {part}"]
        assert len(rows) == 5
        np.testing.assert_allclose(rows["value"], planted, atol=1e-9)
        np.testing.assert_allclose(rows["high"], rows["low"], atol=1e-9)


@pytest.mark.long
def test_what_was_not_run_has_no_row_and_one_seed_no_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an earlier table alone to all files of the results, without training."""
    pair, paired = made(FREE, arms=PAIRED).query("seed == 0 and learning_rate <= 0.0025"), runs.GROUPS[0]
    pair["run"] = [config_hash(paired.config(800, rate, 0)) for rate in pair["learning_rate"]]
    pair["outcome"] = "completed"
    pair.to_csv(tmp_path / "earlier.csv", index=False)
    monkeypatch.setattr(run, "predictions_of", lambda law: predicted())
    monkeypatch.setattr(tasks, "train", lambda *_, **__: pytest.fail("a run was made"))
    place = Workplace(runs=tmp_path / "runs", results=tmp_path / "results")
    found = run.run_study(place, (), tmp_path / "earlier.csv", angle_law=DOCS / "angle-law").answers
    assert set(found["verdict"]) == {"one seed"}
    assert set(found["quantity"]) == {"loss, angle", "loss, norm", "loss, interaction"}
    tables = {name: pd.read_csv(place.results / f"{name}.csv") for name in ("runs", "optima", "answers", "predictions")}
    assert len(tables["runs"]) == len(pair)
    assert tables["optima"].empty
    assert (place.results / "classic.png").read_bytes().startswith(b"\x89PNG")


def test_arms_start_and_decay_as_they_are_called() -> None:
    by_name = {group.arm.name: group.config(800, 0.01, 0) for group in runs.GROUPS}
    settled = float(radial.equilibrium(0.01, 0.1, 0.9).weight_rms)
    starts = {"small": 0.02, "adamh 0.02": 0.02, "adamh 0.18": 0.18, "adamh 0.54": 0.54, "adamc": 0.18}
    for name, rms in (starts | {"equilibrium": settled}).items():
        assert by_name[name].block_rms == pytest.approx(rms)
        assert by_name[name].model.architecture == "gpt2"
    assert by_name["adamc"].optimizer == AdamC(learning_rate=0.01, weight_decay=0.1)
    assert by_name["adamh 0.54"].optimizer == AdamH(learning_rate=0.01)


@pytest.fixture(scope="module")
def pair_config(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    text = tmp_path_factory.mktemp("text") / "text"
    text.write_bytes(np.random.default_rng(0).integers(97, 105, 4000, dtype=np.uint8).tobytes())
    model = ModelConfig(architecture="gpt2", num_layers=1, d_model=4, context_length=8)
    small = runs.GROUPS[0].config(20, 0.01, 0)
    return replace(small, model=model, source=str(text), batch_size=2, eval_batches=1, dtype="float64")


def test_a_pair_has_every_corner_with_the_angles_and_norms_of_its_name(pair_config: TrainConfig) -> None:
    rows = runs.GROUPS[0].rows(pair_config).set_index("arm")
    assert list(rows.index) == ["small", "large", *runs.STEERED]
    for arm, (angles, norm) in runs.STEERED.items():
        assert rows.loc[arm, "mean_angle"] == pytest.approx(rows.loc[angles, "mean_angle"], rel=1e-6)
        start = runs.SMALL_RMS if norm.startswith("small") else runs.LARGE_RMS
        last = {"large, then small": "small"}.get(norm, norm)
        ends = start if norm.endswith("fixed") else rows.loc[last, "final_rms"]
        assert rows.loc[arm, "initial_rms"] == pytest.approx(start)
        assert rows.loc[arm, "final_rms"] == pytest.approx(ends)
    assert rows["loss"].nunique() == len(rows)


def test_own_angles_and_norms_give_the_run_again(pair_config: TrainConfig) -> None:
    found = train(replace(pair_config, block_rms=runs.LARGE_RMS))
    own = runs.recording_of(found.trajectory, found.final_weight_rms, 20)
    steered = runs.steered_run(pair_config, own, own.rms)
    again = train(steered.config, recording=steered.recording)
    assert again.final_loss == pytest.approx(found.final_loss, rel=1e-9)


def test_a_norm_history_goes_over_after_the_warmup() -> None:
    small, large = np.geomspace(0.02, 0.04, 41)[:, None], np.full((41, 1), 0.18)
    over = runs.norm_histories(small, large, 10)["large, then small"]
    np.testing.assert_allclose(over[:11], 0.18)
    np.testing.assert_allclose(over[15], np.sqrt(0.18 * small[15]))
    np.testing.assert_allclose(over[20:], small[20:])


def test_runs_come_seed_by_seed_and_widen_where_the_least_loss_is_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[str, int, float]] = []

    def rows(group: runs.Group, config: TrainConfig) -> pd.DataFrame:
        rate, arm = config.optimizer.learning_rate, group.arm.name
        order.append((arm, config.seed, rate))
        row = dict.fromkeys(COLUMNS, 1.0) | {"arm": arm, "learning_rate": rate, "seed": config.seed}
        return pd.DataFrame(
            [row | {"loss": -rate if arm == "adamc" else (rate - 0.016) ** 2, "run": config_hash(config)}]
        )

    monkeypatch.setattr(runs.Group, "rows", rows)
    monkeypatch.setattr(runs, "SEEDS", (0, 1))
    monkeypatch.setattr(runs, "grid", lambda centre: grid(centre)[1:4])
    place = Workplace(runs=tmp_path / "runs", results=tmp_path)
    groups = (runs.GROUPS[1], runs.GROUPS[5])
    tables = list(runs.make_runs(place, (800,), groups))
    assert [seed for arm, seed, _ in order if arm == "adamh 0.02"] == [0] * 3 + [1] * 3
    late = [(seed, rate) for arm, seed, rate in order if arm == "adamc"]
    assert order[6:] == [("adamc", *each) for each in late]
    assert sorted({rate for _, rate in late}) == [*grid(5e-3)[1:], 0.04]
    assert [len(table) for table in tables] == list(range(1, len(order) + 1))
    (again,) = runs.make_runs(place, (), groups)
    pd.testing.assert_frame_equal(again, tables[-1], check_dtype=False)
    fresh = Workplace(runs=tmp_path / "other", results=tmp_path)
    plant(fresh, again)
    (planted,) = runs.make_runs(fresh, (), groups)
    pd.testing.assert_frame_equal(planted, again, check_dtype=False)


def test_committed_predictions_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "GROUPS", runs.GROUPS[1:5])
    found = predictions.predictions_of(read_law(DOCS / "angle-law" / "two-clocks.csv"), lengths=(800,))
    committed = predicted().merge(found[["arm", "num_steps"]], on=["arm", "num_steps"])
    for name in ("law", "mean_angle", "centre", "expected_error"):
        np.testing.assert_allclose(committed[name], found[name], rtol=2e-4)


def test_a_cell_is_finished_when_its_rule_asks_for_no_more() -> None:
    """All seeds at all rates, and the lowest mean loss inside them or two rates added."""
    group = next(group for group in runs.GROUPS if group.arm is runs.HELD[1])

    def rows(rates: Sequence[float], best: float) -> pd.DataFrame:
        configs = [group.config(800, rate, seed) for rate in rates for seed in runs.SEEDS]
        return pd.DataFrame(
            [
                {"arm": group.arm.name, "num_steps": 800, "learning_rate": rate, "loss": abs(np.log(rate / best))}
                | {"run": config_hash(config)}
                for config in configs
                if (rate := config.optimizer.learning_rate)
            ]
        )

    rates = grid(group.centre)
    cell = {(group.arm.name, 800)}
    assert runs.finished_cells(rows(rates, rates[1])) == cell
    assert runs.finished_cells(rows(rates, rates[1])[1:]) == set()
    assert runs.finished_cells(rows(rates, 0.1)) == set()
    assert runs.finished_cells(rows([*rates, 0.128], 0.128)) == set()
    assert runs.finished_cells(rows([*rates, 0.128, 0.256], 1.0)) == cell
