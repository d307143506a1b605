"""The law in mean angle, and pilot runs whose norm had not settled, on the theory's own losses."""

import numpy as np
import pandas as pd
import pytest

from experiments.bend.mean_angle import AngleOf
from experiments.recommend.recommendation import recommend
from experiments.recommend.target_run import TargetRun
from tests.experiments.recommend.pilots import half_width
from theory import SCHEDULES
from theory.angle_law import AngleLaw, Setting, loss
from theory.optimal_lr import optimal_learning_rate

LAW = AngleLaw(C1=1.0, a1=0.43, C2=12.96, a2=1.4, B2=0.3, noise_growth=0.25, L_inf=2.0)


HOW = AngleOf(schedule="linear")


def adamw_setting(size: float, budget: float) -> Setting:
    return Setting(
        num_params=size,
        num_tokens=budget,
        tokens_per_step=2.0**19,
        schedule=SCHEDULES["linear"](num_steps=100_000, warmup_steps=1000),
        weight_decay=0.1,
        initial_rms=0.02,
    )


@pytest.fixture(scope="module")
def adamw_table() -> pd.DataFrame:
    """The theory's losses of AdamW runs, four sizes and four budgets, noise of 1e-4."""
    rng, rows = np.random.default_rng(0), []
    for size in np.geomspace(2e7, 2e8, 4):
        for budget in np.geomspace(1e9, 3e10, 4):
            best = float(optimal_learning_rate(LAW, adamw_setting(size, budget), loss_resolution=0).learning_rate)
            rates = best * np.exp(rng.uniform(-0.4, 0.4)) * 2.0 ** np.arange(-2, 3)
            losses = loss(LAW, adamw_setting(size, budget), rates) + 1e-4 * rng.normal(size=5)
            rows += [(size, budget, rate, value) for rate, value in zip(rates, losses, strict=True)]
    table = pd.DataFrame(rows, columns=["num_params", "num_tokens", "learning_rate", "loss"])
    return table.assign(batch_size=2.0**19, weight_decay=0.1, initial_rms=0.02, optimizer="adamw")


@pytest.mark.long
def test_the_law_in_angle_comes_back_as_a_learning_rate(adamw_table: pd.DataFrame) -> None:
    """Inside the table and one size beyond. AdamW's law in learning rate bends there and the shape of its losses
    changes along; the angle's does less. Second derivatives are drawn toward 0, which costs up to 3 % in angle."""
    for size, budget in ((1e8, 6e9), (4.3e8, 3e10)):
        truth = optimal_learning_rate(LAW, adamw_setting(size, budget), loss_resolution=0)
        (found,) = recommend(adamw_table, TargetRun(num_params=size, num_tokens=budget), effective=HOW, further=False)
        turned, answer = found.in_angle, found.answer
        assert turned is not None
        assert answer is not None
        assert turned.low is not None
        assert turned.high is not None
        assert turned.angle.value == pytest.approx(float(truth.mean_angle), rel=0.02)
        assert turned.value == pytest.approx(float(truth.learning_rate), rel=0.04)
        assert turned.low < float(truth.learning_rate) < turned.high
        assert half_width(turned.angle.low, turned.angle.high) < half_width(answer.low, answer.high)


def test_pilot_runs_short_of_equilibrium_are_warned_of(adamw_table: pd.DataFrame) -> None:
    target = TargetRun(num_params=4e8, num_tokens=6e10)
    (found,) = recommend(adamw_table, target, effective=AngleOf(schedule="constant", warmup_fraction=0), further=False)
    assert found.norms is not None
    rate, steps = adamw_table.learning_rate, adamw_table.num_tokens / adamw_table.batch_size
    start = 2 * 0.1 * 0.02**2 / rate  # squared initial over squared equilibrium RMS
    edge = np.where(start < 1, 1 - 0.95**2, 1.05**2 - 1)
    relaxations = np.log(np.maximum(np.abs(1 - start) / edge, 1))
    short = relaxations >= 2 * rate * 0.1 * steps
    assert 0 < short.sum() < len(short)
    assert found.norms.num_short == short.sum()
    best = adamw_table.groupby(["num_params", "num_tokens"]).loss.idxmin()
    assert found.norms.num_best_short == short[best].sum() > 0
    assert any("within 5 % of equilibrium" in phrase for phrase in found.warnings)
    (long,) = recommend(adamw_table.assign(batch_size=2.0**10), target, further=False)
    assert not any("equilibrium" in phrase for phrase in long.warnings)
