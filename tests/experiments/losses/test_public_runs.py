"""The law on 202 public runs: AdamW, weight decay 0.1, warmup of 300 steps; scores, and how often intervals cover."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.calibration.real_losses import calibrate_losses
from experiments.losses import features, schedule_law
from experiments.losses.finished_runs import Run, score
from experiments.losses.intervals import bootstrap_scores, error_model
from experiments.losses.schedule_law import Shape, ShapeGrid, fit_schedule_law, shape_grid
from tests.experiments.losses.public_runs import by_size, copied_regret, dense, public_folder, public_table, setting

HORIZONS = (15000, 25000, 35000, 50000)
SPLITS = (
    ((15000, 25000), (35000, 50000)),
    ((15000, 35000), (25000, 50000)),
    ((25000,), (35000, 50000)),
    ((25000, 35000), (50000,)),
    ((15000, 25000, 35000), (50000,)),
    ((25000, 50000), (15000, 35000)),
)


followed = functools.cache(features.track)


@pytest.fixture(autouse=True)
def every_run_is_followed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most fits here are to the same runs."""
    monkeypatch.setattr(schedule_law, "track", followed)


def covered(grid: ShapeGrid, training: Sequence[Run], target: Sequence[Run], level: float = 0.9) -> list[bool]:
    """Which losses lie in their prediction intervals; ``grid`` is that of the training runs."""
    losses, half = error_model(grid, training, grid.law()).predict(target, level)
    return (np.abs(losses - [run.loss for run in target]) <= half).tolist()


def without(runs: Sequence[Run], left_out: Sequence[Run]) -> list[Run]:
    gone = set(map(id, left_out))
    return [run for run in runs if id(run) not in gone]


def test_the_table_is_read_as_it_is() -> None:
    table = public_table()
    assert (table.num_rows, len(table.runs), len(table.unmeasured), table.num_repeats) == (202, 177, 4, 20)
    assert [(item.count, "7.585" in item.example) for item in table.exclusions] == [(1, True)]
    assert 5e-4 < table.rerun_deviation < 2e-3
    assert {run.dataset for run in table.runs} == {"slimpajama"}
    assert len(by_size()) == 8
    assert {run.tokens_per_step for run in table.runs} == {51200, 102400}
    ends = {(one.schedule, one.final_fraction) for one in table.settings}
    assert ends == {("cosine", 0.0), ("cosine", 0.1), ("wsd", 0.0), ("constant", None)}
    assert "loss from final_val_loss" in table.notes[0]


@pytest.mark.long
def test_two_short_horizons_rank_the_settings_of_two_long_ones() -> None:
    training, horizons = dense(15000, 25000), [dense(35000), dense(50000)]
    fit = fit_schedule_law(training)
    scores = [score(fit.predict(runs), [run.loss for run in runs], eligible=fit.eligible(runs)) for runs in horizons]
    assert np.mean([s.regret for s in scores]) <= 0.002
    assert np.mean([s.regret for s in scores]) <= np.mean([copied_regret(dense(25000), runs) for runs in horizons])
    assert min(s.spearman for s in scores) >= 0.9
    assert max(s.relative_error for s in scores) <= 0.005
    assert [setting(runs[fit.recommend(runs)]) for runs in horizons] == [("wsd 0.6", 0.002)] * 2
    low, high = bootstrap_scores(fit, training, horizons, num_replicas=60)
    assert low.regret == 0
    assert high.regret < 0.008
    assert low.spearman > 0.8
    assert high.relative_error < 0.005


def test_a_size_between_others_is_predicted_from_them() -> None:
    target = by_size()[12 * 16 * 768**2]
    grid = tuple(Shape(0.02, fraction, 0.3, nu) for fraction in (0.6, 1.0) for nu in (0.1, 0.15))
    fit = fit_schedule_law(without(public_table().runs, target), shapes=grid)
    assert score(fit.predict(target), [run.loss for run in target]).relative_error < 0.005


@pytest.mark.long
def test_intervals_cover_horizons_left_out() -> None:
    """Errors of a horizon hang together, so the count of 130 runs is worth a dozen independent ones at most."""
    found: list[bool] = []
    for horizon in HORIZONS:
        others = dense(*(set(HORIZONS) - {horizon}))
        found += covered(shape_grid(others), others, dense(horizon))
    assert 0.85 <= np.mean(found) <= 0.97


def test_twenty_one_runs_say_something() -> None:
    runs, rng = dense(*HORIZONS), np.random.default_rng(3)
    results, found = [], []
    for _ in range(4):
        drawn = [runs[i] for i in rng.permutation(len(runs))[:21]]
        rest = without(runs, drawn)
        grid = shape_grid(drawn)
        results.append(score(grid.law().predict(rest), [run.loss for run in rest]))
        found += covered(grid, drawn, rest)
    assert np.mean([result.relative_error for result in results]) < 0.003
    assert min(result.spearman for result in results) > 0.97
    assert 0.85 <= np.mean(found) <= 0.97


@pytest.mark.long
def test_another_data_set_needs_a_few_of_its_runs() -> None:
    """Half of the dense runs, their losses stretched and shifted, stand for another data set."""
    rng = np.random.default_rng(0)
    moved = [dense(*HORIZONS)[i] for i in rng.permutation(len(dense(*HORIZONS)))[:60]]
    other = [replace(run, dataset="other", loss=3.2 + 0.94 * (run.loss - 3)) for run in moved]
    law = fit_schedule_law([*without(public_table().runs, moved), *other[:4]])
    result = score(law.predict(other[4:]), [run.loss for run in other[4:]])
    assert result.relative_error < 0.006
    assert result.spearman > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(("trained", "asked"), SPLITS)
def test_other_horizons(trained: tuple[int, ...], asked: tuple[int, ...]) -> None:
    fit = fit_schedule_law(dense(*trained))
    for horizon in asked:
        runs = dense(horizon)
        result = score(fit.predict(runs), [run.loss for run in runs], eligible=fit.eligible(runs))
        assert result.regret <= 0.002
        assert result.spearman >= 0.9
        assert result.relative_error <= 0.005


@pytest.mark.slow
@pytest.mark.parametrize(
    "held_out",
    [8 * 384**2, 8 * 512**2, 10 * 512**2, 12 * 640**2, 16 * 768**2, 24 * 768**2, 24 * 1024**2],
)
def test_every_size_from_the_others(held_out: int) -> None:
    target = by_size()[12 * held_out]
    fit = fit_schedule_law(without(public_table().runs, target))
    error = score(fit.predict(target), [run.loss for run in target]).relative_error
    assert error < (0.02 if held_out == 24 * 1024**2 else 0.007)  # the largest has twice the batch of all others


@pytest.mark.slow
def test_intervals_cover_in_every_way_of_leaving_out(tmp_path: Path) -> None:
    table = calibrate_losses(public_folder("lr_scheduling").parent, tmp_path)
    for way, rows in table.groupby("way"):
        share = (rows["num_asked"] * rows["covered"]).sum() / rows["num_asked"].sum()
        assert 0.85 <= share <= 0.97, way
