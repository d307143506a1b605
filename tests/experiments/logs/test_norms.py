"""Planted runs come back: norms, forces and equilibria of moments that the theory made, or that carry a signal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.logs.history import Series
from experiments.logs.norms import grown_ratio
from experiments.logs.reading import Reading, read_log
from experiments.logs.settings import Setting
from tests.experiments.logs.made_logs import white_noise_rows, write_csv
from theory import AdamC, AdamW, Constant, Cosine, Optimizer, Schedule, predict
from theory.models import model_of

ADAMW = AdamW(learning_rate=0.01, weight_decay=0.1, beta1=0.9, beta2=0.95)
TOLD = Setting(weight_decay=0.1, beta1=0.9, beta2=0.95)


def reading(tmp_path: Path, rows: list[dict[str, Any]], setting: Setting = TOLD) -> Reading:
    return read_log(write_csv(tmp_path / "log.csv", rows), setting)


@pytest.mark.parametrize("schedule", [Constant(num_steps=4000), Cosine(num_steps=4000, warmup_steps=200)], ids=repr)
def test_white_noise_is_followed_exactly(schedule: Schedule, tmp_path: Path) -> None:
    rows = white_noise_rows(ADAMW, schedule, initial_rms=0.05, every=1)
    found = reading(tmp_path, rows, dataclasses.replace(TOLD, initial_rms=0.05))
    assert found.weight_rms_error is not None
    assert found.weight_rms_error < 1e-9
    assert found.weight_rms_error_predicted is not None
    assert found.weight_rms_error_predicted < 1e-9
    assert found.num_relaxations == pytest.approx(2 * 0.1 * 0.01 * schedule.multipliers().sum(), rel=1e-6)
    (group,) = found.groups
    budget = group.force_budget
    assert budget is not None
    assert budget.noise + budget.momentum + budget.signal == pytest.approx(1)
    assert budget.noise == pytest.approx(1 / 19, rel=0.03)  # momentum has little to remember at first
    assert abs(budget.signal) < 1e-9
    assert budget.alignment == pytest.approx(20, rel=0.03)
    assert budget.alignment_white_noise == pytest.approx(20)


def test_records_between_which_nothing_is_known(tmp_path: Path) -> None:
    rows = white_noise_rows(ADAMW, Cosine(num_steps=4000, warmup_steps=200), initial_rms=0.05, every=50)
    found = reading(tmp_path, rows)
    assert found.weight_rms_error is not None
    assert found.weight_rms_error < 0.005


@pytest.mark.parametrize("name", ["update_rms", "mean_w_u"])
@pytest.mark.parametrize("value", ["1e200", "-1e308", "1e-310"])
def test_what_nothing_measures_is_no_record(name: str, value: str, tmp_path: Path) -> None:
    rows = white_noise_rows(ADAMW, Constant(num_steps=400), initial_rms=0.05, every=10)
    found = reading(tmp_path, [{**row, name: value} if place == 20 else row for place, row in enumerate(rows)])
    assert found.weight_rms_error is not None
    assert found.weight_rms_error < (0.5 if value == "1e-310" else 0.05)


@pytest.mark.parametrize("largest", [1e5, 1e20])
def test_a_norm_that_falls_faster_than_its_decay_is_not_in_equilibrium(largest: float, tmp_path: Path) -> None:
    """Its own level is below 0 there."""
    rows = [{"step": step, "lr": 1e-3, "weight_rms": largest * np.exp(-step / 20) + 1} for step in range(1, 1200, 10)]
    step = reading(tmp_path, rows, Setting(weight_decay=1.0)).equilibrium_step
    assert step is not None
    assert 20 * np.log(largest) < step < 20 * np.log(1e4 * largest)


@pytest.mark.parametrize(("weight_rms", "update_rms"), [(0.0, 1e30), (1.0, 0.0)])
def test_what_has_no_length_has_no_cosine(weight_rms: float, update_rms: float, tmp_path: Path) -> None:
    rows = [{"step": 0, "lr": 1e-3, "weight_rms": 1.0, "update_rms": 1.0, "mean_w_u": 1e29}]
    odd = {"weight_rms": weight_rms, "update_rms": update_rms}
    rows += [{**rows[0], "step": step} | (odd if step > 20 else {}) for step in range(1, 40)]
    cosine = reading(tmp_path, rows, Setting(weight_decay=1.0)).trajectory.cosine[:, 0]
    assert np.isfinite(cosine[:15]).all()
    assert np.isnan(cosine[-10:]).all()


def test_a_signal_is_what_momentum_does_not_explain(tmp_path: Path) -> None:
    rows = white_noise_rows(ADAMW, Constant(num_steps=4000), initial_rms=0.05, every=1, signal=0.5)
    found = reading(tmp_path, rows)
    assert found.weight_rms_error is not None
    assert found.weight_rms_error < 1e-9
    assert found.weight_rms_error_predicted is not None
    assert found.weight_rms_error_predicted > 0.1
    budget = found.groups[0].force_budget
    assert budget is not None
    assert budget.signal / budget.momentum == pytest.approx(0.5, rel=0.02)
    assert budget.momentum / budget.noise == pytest.approx(18, rel=0.02)


def test_the_direction_without_its_product_is_taken_as_momentum_alone(tmp_path: Path) -> None:
    rows = white_noise_rows(ADAMW, Constant(num_steps=4000), initial_rms=0.05, every=10)
    without = [{name: value for name, value in row.items() if name != "mean_w_u"} for row in rows]
    halved = [{**row, "update_rms": row["update_rms"] / 2} for row in without]
    found = reading(tmp_path, without)
    assert found.weight_rms_error is not None
    assert found.weight_rms_error < 0.01
    assert found.groups[0].force_budget is None
    assert (reading(tmp_path, halved).weight_rms_error or 0) > 0.3


def test_records_before_their_step(tmp_path: Path) -> None:
    """The same run, each weight RMS with the direction that follows it, counted from 0."""
    rows = white_noise_rows(ADAMW, Constant(num_steps=300), initial_rms=0.05, every=1)
    alpha = 1 - ADAMW.learning_rate * ADAMW.weight_decay
    before = [
        {
            **row,
            "step": t,
            "weight_rms": rows[t - 1]["weight_rms"] if t else 0.05,
            "mean_w_u": (row["mean_w_u"] + 0.01 * row["update_rms"] ** 2) / alpha,
        }
        for t, row in enumerate(rows)
    ]
    found = reading(tmp_path, before, dataclasses.replace(TOLD, recorded="before"))
    assert found.num_steps == 300
    assert found.weight_rms_error is not None
    assert found.weight_rms_error < 1e-9
    assert (reading(tmp_path, before).weight_rms_error or 0) > 1e-6


@pytest.mark.parametrize("initial_rms", [0.02, 1.0])
def test_equilibrium_is_seen_in_the_norm_alone(initial_rms: float, tmp_path: Path) -> None:
    schedule = Constant(num_steps=4000)
    rows = white_noise_rows(ADAMW, schedule, initial_rms=initial_rms, every=5)
    bare = [{name: row[name] for name in ("step", "learning_rate", "weight_rms")} for row in rows]
    found = reading(tmp_path, bare)
    expected = predict(ADAMW, schedule, initial_rms=initial_rms)
    assert expected.transient_steps is not None
    assert found.reaches_equilibrium
    assert found.equilibrium_step == pytest.approx(expected.transient_steps, abs=60)
    assert found.adamh_learning_rate == pytest.approx(expected.adamh_learning_rate)
    assert found.weight_rms_error is None


def test_a_short_run_that_a_falling_rate_meets_is_not_in_equilibrium(tmp_path: Path) -> None:
    schedule = Cosine(num_steps=1000)
    found = reading(tmp_path, white_noise_rows(ADAMW, schedule, initial_rms=0.02, every=5))
    assert found.reaches_equilibrium is predict(ADAMW, schedule, initial_rms=0.02).reaches_equilibrium is False
    assert found.equilibrium_step is None
    assert any("equilibrium" in reason for reason in found.reasons)


def test_without_norms_the_settings_answer(tmp_path: Path) -> None:
    rows = [{"step": step, "learning_rate": 0.01, "loss": 3 / step**0.1} for step in range(10, 4010, 10)]
    found = reading(tmp_path, rows, dataclasses.replace(TOLD, initial_rms=0.05))
    expected = predict(ADAMW, Constant(num_steps=4000), initial_rms=0.05)
    assert found.equilibrium_step == expected.transient_steps
    assert found.series["weight_rms_predicted"][-1] == pytest.approx(expected.final_rms, rel=1e-3)
    assert found.series["angular_update"][-1] == pytest.approx(expected.final_angular_update, rel=1e-3)
    assert found.series["adamh_learning_rate"][-1] == pytest.approx(expected.adamh_learning_rate, rel=0.01)
    unknown = reading(tmp_path, rows, Setting())
    assert unknown.num_relaxations is unknown.reaches_equilibrium is None
    assert any("--weight-decay" in note for note in unknown.notes)
    none = reading(tmp_path, rows, Setting(weight_decay=0.0))
    assert (none.num_relaxations, none.reaches_equilibrium, none.equilibrium_step) == (0, False, None)


def test_a_norm_without_its_size(tmp_path: Path) -> None:
    """Equilibrium needs no scale, angles do; with the number of entries all is as with the RMS."""
    rows = white_noise_rows(ADAMW, Constant(num_steps=4000), initial_rms=0.02, every=5)
    norms = [{"step": r["step"], "lr": 0.01, "param_norm": r["weight_rms"] * 50} for r in rows]
    found = reading(tmp_path, norms)
    whole = reading(tmp_path, norms, dataclasses.replace(TOLD, num_entries=2500))
    assert found.equilibrium_step == whole.equilibrium_step is not None
    assert "angular_update" not in found.series
    assert found.weight_rms_error_predicted is None
    assert whole.weight_rms_error_predicted is not None
    assert whole.weight_rms_error_predicted < 0.01


def test_a_history_is_a_trajectory(tmp_path: Path) -> None:
    rows = white_noise_rows(ADAMW, Constant(num_steps=2000), initial_rms=0.05, every=1)
    found = reading(tmp_path, rows, dataclasses.replace(TOLD, initial_rms=0.05)).trajectory
    from theory import predict_trajectory

    theory = predict_trajectory(ADAMW, Constant(num_steps=2000), initial_rms=0.05).at(found.steps)
    for name in ("weight_rms", "angular_update", "update_rms", "cosine"):
        np.testing.assert_allclose(getattr(found, name)[100:], getattr(theory, name)[100:], rtol=2e-3)


CONVENTIONS: dict[str, tuple[Optimizer, float]] = {
    "independent": (AdamW(learning_rate=0.01, weight_decay=1e-3, decay="independent"), 1e-3),
    "relative": (AdamW(learning_rate=0.01, weight_decay=0.1), 1e-3),
    "adamc": (AdamC(learning_rate=0.01, weight_decay=0.1), 0.1),
}


@pytest.mark.parametrize("decay", CONVENTIONS)
def test_conventions_of_decay(decay: Any, tmp_path: Path) -> None:
    """A run under each is followed under it, and not under PyTorch's, with the same number."""
    spec, amount = CONVENTIONS[decay]
    schedule = Cosine(num_steps=4000, warmup_steps=200)
    rates = schedule.multipliers() * spec.learning_rate
    moments = model_of(spec).moments(rates, np.array([0.05]))
    rows = [
        {"step": step, "lr": rates[step - 1], "weight_rms": float(np.sqrt(moments.rho[step, 0]))}
        for step in range(1, 4001)
    ]
    setting = Setting(weight_decay=amount, decay=decay, beta1=0.9, beta2=0.95, initial_rms=0.05)
    found = reading(tmp_path, rows, setting)
    assert found.weight_rms_error_predicted is not None
    assert found.weight_rms_error_predicted < 1e-6
    assert found.num_relaxations == pytest.approx(model_of(spec).num_relaxations(rates), rel=1e-6)
    assert (found.decay, found.weight_decay) == (decay, amount)
    assert found.independent_weight_decay == pytest.approx(1e-3)
    other = reading(tmp_path, rows, dataclasses.replace(setting, decay=None))
    assert other.weight_rms_error_predicted is not None
    assert other.weight_rms_error_predicted > 0.05


def test_a_decay_in_the_gradient_is_part_of_the_direction(tmp_path: Path) -> None:
    """The logged direction has it, so that the norm follows from that alone; what it does by itself is not told."""
    rows = white_noise_rows(
        dataclasses.replace(ADAMW, weight_decay=0.0), Constant(num_steps=2000), initial_rms=0.05, every=1
    )
    found = reading(tmp_path, rows, dataclasses.replace(TOLD, decay="coupled", initial_rms=0.05))
    assert found.weight_rms_error is not None
    assert found.weight_rms_error < 1e-9
    assert found.weight_rms_error_predicted is None
    assert found.num_relaxations is found.reaches_equilibrium is found.independent_weight_decay is None
    assert found.mean_angle is not None
    assert any("part of the gradient" in note for note in found.notes)


def test_a_norm_that_no_constant_direction_explains_names_none() -> None:
    """One that does is told back; one that changes along the run is 20 % off under the best of them."""
    shrinkage = np.full(4000, 1e-3)
    start = 0.02**2 * np.append(1.0, np.cumprod(np.square(1 - shrinkage)))
    grown = 0.2**2 * (1 - np.exp(-np.arange(4001) / 500))
    done = np.arange(0, 4001, 20)
    for square, told in ((np.full(4001, 0.64), 0.8), (np.linspace(1.8, 1.1, 4001), None), (np.full(4001, 1.02), None)):
        weights = Series(done=done, values=np.sqrt(start + square * grown)[done])
        assert grown_ratio(weights, np.sqrt(start + grown), 0, shrinkage) == (told and pytest.approx(told))
