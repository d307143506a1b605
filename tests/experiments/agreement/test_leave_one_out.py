"""Settings left out one by one: planted errors are measured, intervals from the others are honest, relaxation times of
simulated runs lie in their intervals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from experiments.agreement.leave_one_out import LeaveOneOut, leave_one_out, weighted_quantiles
from experiments.agreement.measure import fit_relaxation, measure, relaxation_interval
from experiments.agreement.setting_runs import group_runs
from experiments.reports.leave_one_out_figures import leave_one_out_figures
from experiments.runs.run_files import Run
from gpt.config import preset
from sim import simulate
from tests.experiments.conftest import tiny_config
from theory import AdamH, AdamW, Constant, Trajectory, predict_trajectory

SCHEDULE = Constant(num_steps=800, warmup_steps=50)
RATES = (5e-3, 1e-2, 2e-2, 4e-2)
MATRICES = ("blocks.0.query.weight", "blocks.0.up.weight")


def simulated(optimizer: AdamW, seed: int, initial_rms: float = 0.02) -> Trajectory:
    return simulate(
        optimizer, SCHEDULE, initial_rms=initial_rms, dim=256, num_replicas=4, seed=seed, record_every=10, num_threads=1
    ).trajectory


@pytest.mark.parametrize(("decay", "initial_rms"), [(1.0, 0.02), (1.0, 0.4), (0.3, 0.02)])
def test_relaxation_times_of_simulated_runs_lie_in_their_intervals(decay: float, initial_rms: float) -> None:
    """40 runs each, 2.5 to 8 relaxation times long. At true coverage of 95 % fewer than 32 come once in 7,000; at 65 %
    more come once in 25."""
    assert binom.cdf(31, 40, 0.95) < 1 / 7000
    assert binom.sf(31, 40, 0.65) < 1 / 25
    optimizer = AdamW(learning_rate=5e-3, weight_decay=decay)
    truth = -1 / (2 * np.log1p(-5e-3 * decay))
    inside, ratios = 0, []
    for seed in range(40):
        run = simulated(optimizer, seed, initial_rms)
        kept = run.steps >= SCHEDULE.warmup_steps
        steps, squares, drive = run.steps[kept], run.weight_rms[kept, 0] ** 2, run.update_rms[kept, 0] ** 2
        fitted = fit_relaxation(steps, squares, drive)
        assert fitted is not None
        low, high = relaxation_interval(steps, squares, fitted, drive)
        inside += low <= truth <= high
        ratios.append(np.log(fitted / truth))
    assert inside >= 32
    assert abs(np.mean(ratios)) < 4 * np.std(ratios) / np.sqrt(40) + 0.02


def test_an_interval_is_open_where_nothing_relaxes() -> None:
    steps = np.arange(0.0, 50.0, 10.0)
    assert relaxation_interval(steps, np.ones(5), 100.0) == (0.0, np.inf)
    low, high = relaxation_interval(np.arange(0.0, 100.0), 1 + np.exp(-np.arange(100.0) / 20), 20.0)
    assert low == pytest.approx(20)
    assert high == pytest.approx(20)


def planted_runs(errors: dict[float, float], *, wobble: float = 0.0) -> list[Run]:
    """A run per learning rate whose trajectory is the theory's times ``e^error``, and times a wobble in time."""
    runs = []
    for rate, error in errors.items():
        config = tiny_config(
            optimizer=AdamW(learning_rate=rate, weight_decay=1.0),
            schedule=SCHEDULE,
            model=preset("cpu-16", "scale-invariant"),
        )
        theory = predict_trajectory(
            config.optimizer, SCHEDULE, initial_rms=[0.02, 0.3], matrices=MATRICES, record_every=10
        )
        factor = np.exp(error + wobble * np.sin(theory.steps / 30))[:, None]
        first = np.where(theory.steps == 0, 1.0, 0.0)[:, None]  # theory starts from the measured first record
        trajectory = dataclasses.replace(
            theory,
            weight_rms=theory.weight_rms * (first + (1 - first) * factor),
            angular_update=theory.angular_update * factor,
        )
        runs.append(
            Run(
                path=Path(f"run-{rate:g}"),
                config=config,
                provenance={},
                summary={"outcome": "completed"},
                trajectory=trajectory,
                standard_error=None,
                losses=np.zeros(SCHEDULE.num_steps),
            )
        )
    return runs


def read(runs: list[Run]) -> LeaveOneOut:
    return leave_one_out(group_runs(runs))


def test_planted_errors_are_measured() -> None:
    found = read(planted_runs(dict.fromkeys(RATES, 0.1)))
    assert len(found.matrices) == len(RATES) * 2 * 2
    assert found.matrices["bias"].to_numpy() == pytest.approx(0.1, abs=1e-9)
    assert found.matrices["rms_error"].to_numpy() == pytest.approx(0.1, abs=1e-9)
    assert found.points["step"].min() == 100  # ten memories of beta1 = 0.9


def test_calibration_is_right_where_settings_are_alike_and_shows_where_they_are_not() -> None:
    alike = read(planted_runs(dict.fromkeys(RATES, 0.1), wobble=0.05))
    assert alike.calibration["inside"].to_numpy(float) == pytest.approx(0.9, abs=0.03)
    assert (alike.calibration["num_others"] == len(RATES) - 1).all()
    odd = read(planted_runs({**dict.fromkeys(RATES, 0.1), RATES[0]: 0.4}, wobble=0.05)).calibration
    left_out = odd[odd["setting"].str.contains("lr=0.005 ")]
    assert len(left_out) == 2
    assert (left_out["inside"] == 0).all()


def test_a_single_setting_has_no_interval() -> None:
    found = read(planted_runs({1e-2: 0.1}))
    assert found.calibration["inside"].isna().all()
    assert found.summary["inside"].isna().all()
    assert found.summary["num_settings"].tolist() == [1, 1]


def test_settings_weigh_the_same_however_long_they_are() -> None:
    low, high = weighted_quantiles([np.zeros(1000), np.ones(10)], (0.25, 0.75))
    assert (low, high) == (0.0, 1.0)
    values = np.random.default_rng(0).normal(size=2001)
    assert weighted_quantiles([values], (0.5,))[0] == pytest.approx(np.median(values), abs=1e-6)


def test_relaxations_are_read_by_the_rules_of_agreement() -> None:
    runs = planted_runs({1e-2: 0.0})
    table = read(runs).relaxations
    expected = measure(runs[0].trajectory, AdamW(learning_rate=1e-2, weight_decay=1.0), SCHEDULE)
    assert table["relaxation_steps"].tolist() == expected["relaxation_steps"].dropna().tolist()
    assert table["ratio"].to_numpy() == pytest.approx(1, rel=0.03)
    assert (table["low"] <= table["relaxation_steps"]).all()
    assert (table["relaxation_steps"] <= table["high"]).all()


def test_nothing_to_read() -> None:
    assert all(len(table) == 0 for table in vars(read([])).values())
    assert leave_one_out_figures(read([])) == []
    diverged = [dataclasses.replace(run, summary={"outcome": "diverged"}) for run in planted_runs({1e-2: 0.0})]
    assert len(read(diverged).points) == 0


def test_every_figure_has_its_numbers(study: tuple[Path, list[Run]]) -> None:
    _, runs = study
    found = read(runs)
    assert set(found.points["source"]) == {"theory", "simulation"}
    figures = leave_one_out_figures(found)
    assert {figure.name for figure in figures} >= {"held-out-errors"}
    for figure in figures:
        assert figure.png.startswith(b"\x89PNG")
        assert len(figure.table)
    adamh = found.matrices[found.matrices["family"].str.startswith("adamh") & (found.matrices["source"] == "theory")]
    norms = adamh[adamh["quantity"] == "weight_rms"]["rms_error"]
    assert len(norms)
    assert norms.max() < 1e-5
    (errors,) = [figure for figure in figures if figure.name == "held-out-errors"]
    assert f"{len(found.matrices) - len(errors.table)} errors below 1e-05 have no point" in errors.caption
    assert isinstance(runs[2].config.optimizer, AdamH)
    assert pd.api.types.is_bool_dtype(found.relaxations["holds_theory"])
