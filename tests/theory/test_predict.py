"""Predictions: the transient by its definition, known values, and the shape of trajectories."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import theory
from theory import (
    SGDM,
    WSD,
    AdamH,
    AdamW,
    Constant,
    Cosine,
    InvalidParameter,
    Linear,
    Lion,
    Optimizer,
    SignSGDM,
    Trajectory,
    adamh,
    adamw,
    equilibrium,
    predict,
    predict_trajectory,
)
from theory.networks import SCALE_INVARIANT, WHITE_NOISE, model_of
from theory.predict import final_rms, num_relaxations, predict_run
from theory.settling import passes_equilibrium, reaches_equilibrium, transient_steps
from theory.trajectory import FIELDS
from theory.transient import slow_transient_steps

OPTIMIZER = AdamW(learning_rate=1e-3, weight_decay=0.1)


def test_values_worked_out_by_hand() -> None:
    prediction = predict(OPTIMIZER, Constant(num_steps=20_000), initial_rms=0.02)
    assert prediction.equilibrium_rms == pytest.approx(np.sqrt(1e-3 / 0.2), rel=1e-2)
    assert prediction.relaxation_steps == pytest.approx(5000)
    assert prediction.num_relaxations == pytest.approx(4)
    assert prediction.angular_update_equilibrium == pytest.approx(np.sqrt(2e-4 * 0.1 / 1.9), rel=1e-2)
    assert prediction.transient_steps == pytest.approx(5000 * np.log((1 - 0.08) / (1 - 0.95**2)), rel=2e-2)
    matching = float(adamh.matching_learning_rate(1 - 1e-4))
    assert prediction.adamh_learning_rate == pytest.approx(matching, rel=1e-9)
    assert matching > 1.0005 * prediction.angular_update_equilibrium


@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(learning_rate=0.1, weight_decay=1.0, beta1=0.8),
        Lion(learning_rate=1e-3, weight_decay=1.0),
        SGDM(learning_rate=0.1, weight_decay=0.1),
    ],
)
def test_the_rate_named_for_adamh_turns_by_the_same_angle(optimizer: Optimizer) -> None:
    prediction = predict(optimizer, Constant(num_steps=100), initial_rms=0.02)
    assert prediction.adamh_learning_rate is not None
    beta1 = 0.8 if isinstance(optimizer, AdamW) else 0.9
    named = AdamH(learning_rate=prediction.adamh_learning_rate, beta1=beta1)
    turned = predict(named, Constant(num_steps=100), initial_rms=0.02)
    assert turned.angular_update_equilibrium == pytest.approx(prediction.angular_update_equilibrium, rel=1e-9)
    assert turned.adamh_learning_rate == named.learning_rate


def test_an_angle_out_of_adamhs_reach_has_no_rate() -> None:
    assert np.isnan(adamh.learning_rate_of_angle(np.arccos(0.9) + 1e-3))
    assert adamh.learning_rate_of_angle(np.arccos(0.9) - 1e-3) > 10
    wild = predict(AdamW(learning_rate=0.9, weight_decay=1.0, beta1=0.0), Constant(num_steps=10), initial_rms=0.02)
    assert wild.adamh_learning_rate is not None
    flung = predict(SignSGDM(learning_rate=0.999, weight_decay=1.0, beta1=0.0), Constant(num_steps=10), initial_rms=1)
    assert flung.adamh_learning_rate is None


@pytest.mark.parametrize(
    ("optimizer", "tolerance"),
    [
        (AdamW(learning_rate=1e-3, weight_decay=0.5), 1e-3),
        (Lion(learning_rate=1e-3, weight_decay=0.5), 2e-3),
        (SGDM(learning_rate=0.1, weight_decay=5e-3, decoupled=True), 5e-3),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_steps_to_equilibrium_look_beyond_the_run(optimizer: Optimizer, tolerance: float) -> None:
    """A run of 10 steps says when a run of 6,000 gets there, from below and from above."""
    settled = equilibrium(optimizer, initial_rms=0.02).weight_rms
    starts = [0.1 * settled, 5 * settled]
    long = predict(optimizer, Constant(num_steps=6_000), initial_rms=starts)
    short = predict(optimizer, Constant(num_steps=10), initial_rms=starts)
    for run, expected in zip(short, long, strict=True):
        assert expected.transient_steps == expected.steps_to_equilibrium
        assert run.steps_to_equilibrium == pytest.approx(expected.transient_steps, rel=tolerance)
        assert not run.reaches_equilibrium


@pytest.mark.parametrize("initial", [1e-3, 1.0])
def test_a_tolerance_that_is_lost_beside_1_takes_as_much_longer(initial: float) -> None:
    """A relaxation time for each factor of e."""
    runs = [
        predict(OPTIMIZER, Constant(num_steps=10), initial_rms=initial, tolerance=tolerance)
        for tolerance in (1e-6, 1e-20, 1e-300)
    ]
    assert runs[0].relaxation_steps is not None
    steps = np.diff([run.steps_to_equilibrium for run in runs]) / runs[0].relaxation_steps
    np.testing.assert_allclose(steps, np.log([1e14, 1e280]), rtol=1e-3)


def test_a_start_at_equilibrium_and_a_norm_that_is_held_take_no_steps() -> None:
    settled = equilibrium(OPTIMIZER, initial_rms=0.02).weight_rms
    assert predict(OPTIMIZER, Constant(num_steps=10), initial_rms=settled).steps_to_equilibrium == 0
    assert predict(AdamH(learning_rate=0.01), Constant(num_steps=10), initial_rms=0.5).steps_to_equilibrium == 0


def test_several_starts_are_several_predictions() -> None:
    schedule, starts = WSD(num_steps=500), np.array([0.02, 0.07, 0.2])
    together = predict(OPTIMIZER, schedule, initial_rms=starts, network=SCALE_INVARIANT)
    alone = tuple(predict(OPTIMIZER, schedule, initial_rms=start, network=SCALE_INVARIANT) for start in starts.tolist())
    assert len({run.final_rms for run in together}) == 3
    for one, other in zip(together, alone, strict=True):
        found = dataclasses.asdict(one), dataclasses.asdict(other)
        for name, value in found[0].items():
            assert value == (found[1][name] if value is None else pytest.approx(found[1][name], rel=1e-9))


def test_multipliers_of_ones_own_are_a_schedule() -> None:
    schedule = WSD(num_steps=400, warmup_steps=20)
    own = schedule.multipliers()
    assert predict(OPTIMIZER, own, initial_rms=0.02) == predict(OPTIMIZER, schedule, initial_rms=0.02)
    paths = [
        predict_trajectory(OPTIMIZER, each, initial_rms=0.02).angular_update for each in (schedule, own, list(own))
    ]
    for path in paths[1:]:
        np.testing.assert_array_equal(path, paths[0])
    assert final_rms(OPTIMIZER, own, initial_rms=0.02) == final_rms(OPTIMIZER, schedule, initial_rms=0.02)
    assert num_relaxations(OPTIMIZER, own) == num_relaxations(OPTIMIZER, schedule)
    rates = dict(learning_rate=1e-3, weight_decay=1.0, initial_rms=0.02)  # noqa: C408
    same = [slow_transient_steps(each, **rates) for each in (schedule, own)]
    assert same[1] == pytest.approx(same[0], rel=5e-3)


@pytest.mark.parametrize("bad", [[], [[1.0]], [0.5, 2.0], [0.5, -0.1], [0.0], [np.nan], "cosine", 3, None, [None]])
def test_a_schedule_that_is_none_is_refused_by_name(bad: object) -> None:
    with pytest.raises(InvalidParameter) as caught:
        predict(OPTIMIZER, bad, initial_rms=0.02)  # type: ignore[call-overload]
    assert caught.value.name in ("schedule", "values")


def test_a_short_run_does_not_reach_equilibrium() -> None:
    prediction = predict(OPTIMIZER, Constant(num_steps=5000), initial_rms=0.02)
    assert prediction.transient_steps is None
    assert not prediction.reaches_equilibrium


@pytest.mark.parametrize("schedule", [Cosine, Linear, WSD])
@pytest.mark.parametrize(("num_steps", "reached"), [(15_000, False), (32_000, True)])
def test_a_decaying_run_is_judged_by_its_decay_time(schedule: type, num_steps: int, reached: bool) -> None:
    """From far below, within 5 % takes 2.25 relaxations; a run to zero has half a constant run's, WSD nine tenths."""
    length = num_steps if schedule is not WSD else round(num_steps / 1.8)
    prediction = predict(OPTIMIZER, schedule(num_steps=length), initial_rms=0.02)
    assert prediction.num_relaxations == pytest.approx(num_steps / 1e4, rel=1e-3)
    assert prediction.reaches_equilibrium is reached
    model, rates = model_of(OPTIMIZER, WHITE_NOISE), 1e-3 * schedule(num_steps=length).multipliers()
    assert reaches_equilibrium(model, rates, np.array([0.02])) is reached


@pytest.mark.parametrize("initial_rms", [0.005, 0.03, 0.2])
def test_transient_tends_to_the_closed_form(initial_rms: float) -> None:
    prediction = predict(OPTIMIZER, Constant(num_steps=40_000), initial_rms=initial_rms)
    assert prediction.transient_steps == pytest.approx(
        float(adamw.slow_transient_steps(1e-3, 0.1, initial_rms)), rel=5e-3
    )


def test_transient_by_its_definition() -> None:
    rms = np.array([0.5, 0.97, 0.9, 0.96, 1.0, 1.02])
    assert transient_steps(rms, 1.0, peak_end=5) == 3  # in, out, in for good
    assert transient_steps(rms, 1.0, peak_end=2) == 3  # not there when the decay begins, there later
    assert transient_steps(rms[:3], 1.0, peak_end=2) is None
    assert transient_steps(np.array([1.0, 1.01, 1.0]), 1.0, peak_end=2) == 0
    leaves = np.array([0.5, 0.96, 0.97, 0.9, 0.8])
    assert transient_steps(leaves, 1.0, peak_end=2) == 1  # a decaying rate takes it away again


def test_only_what_comes_behind_the_peak_and_leaves_is_a_crossing() -> None:
    assert passes_equilibrium(7, 0.85, peak_end=5)
    assert not passes_equilibrium(7, 0.96, peak_end=5)
    assert not passes_equilibrium(5, 0.85, peak_end=5)
    assert not passes_equilibrium(None, 0.85, peak_end=5)


def test_under_decay_the_norm_lags_and_the_angle_falls_faster_than_its_root() -> None:
    schedule = WSD(num_steps=30_000, decay_fraction=0.1)
    trajectory = predict_trajectory(OPTIMIZER, schedule, initial_rms=0.07)
    end = trajectory.steps[-1]
    rate = OPTIMIZER.learning_rate * schedule.multipliers()[end]
    assert trajectory.weight_rms[-1, 0] > 3 * adamw.equilibrium_rms(rate, 0.1)
    assert trajectory.angular_update[-1, 0] < 0.3 * adamw.angular_update_equilibrium(rate, 0.1)


def test_thinning_keeps_the_same_records_and_the_last() -> None:
    full = predict_trajectory(OPTIMIZER, Cosine(num_steps=105, warmup_steps=5), initial_rms=0.02)
    thin = predict_trajectory(OPTIMIZER, Cosine(num_steps=105, warmup_steps=5), initial_rms=0.02, record_every=10)
    assert thin.steps[-1] == 104
    np.testing.assert_array_equal(thin.weight_rms, full.at(thin.steps).weight_rms)


def test_a_run_is_its_prediction_and_its_trajectory() -> None:
    setting = {"initial_rms": 0.02, "gradient_rms": 3.0}
    prediction, run = predict_run(OPTIMIZER, Cosine(num_steps=300), tolerance=0.2, **setting)
    assert prediction == predict(OPTIMIZER, Cosine(num_steps=300), tolerance=0.2, **setting)
    whole = predict_trajectory(OPTIMIZER, Cosine(num_steps=300), **setting)
    assert run.matrices == whole.matrices == ("matrix",)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(run, field), getattr(whole, field))
    for name, bad in (("initial_rms", -1.0), ("tolerance", 0.0), ("tolerance", 1.0)):
        with pytest.raises(InvalidParameter, match=f"^{name} = "):
            predict_run(OPTIMIZER, Cosine(num_steps=300), **{"initial_rms": 0.02, name: bad})
    assert predict_run(OPTIMIZER, Cosine(num_steps=300), initial_rms=0.05, tolerance=0.999)[0].transient_steps == 0


def test_a_trajectory_checks_itself() -> None:
    full = predict_trajectory(OPTIMIZER, Constant(num_steps=10), initial_rms=0.02, record_every=3)
    with pytest.raises(ValueError, match="not hold"):
        full.at(np.array([1]))
    fields = {name: getattr(full, name) for name in ("angular_update", "relative_update", "update_rms", "cosine")}
    with pytest.raises(ValueError, match="weight_rms has shape"):
        Trajectory(steps=full.steps, matrices=full.matrices, weight_rms=full.weight_rms[1:], **fields)


def test_predictions_are_consistent_with_the_geometry() -> None:
    """W, u and the step close a triangle: the angle follows from norms and cosine alone."""
    trajectory = predict_trajectory(OPTIMIZER, Constant(num_steps=300), initial_rms=0.02)
    rho = trajectory.weight_rms[:, 0] ** 2
    step = 1e-3 * trajectory.update_rms[:, 0]
    along = trajectory.weight_rms[:, 0] * (1 - 1e-4) - step * trajectory.cosine[:, 0]
    across = step * np.sqrt(1 - trajectory.cosine[:, 0] ** 2)
    np.testing.assert_allclose(trajectory.angular_update[:, 0], np.arctan2(across, along), rtol=1e-9)
    np.testing.assert_allclose(rho[1:], (along**2 + across**2)[:-1], rtol=1e-9)


@pytest.mark.parametrize(
    ("allowed", "bad"),
    [("above 0", (0.0, -1.0, np.nan, np.inf)), (r"at least 1e-20 and at most 1e\+20", (9e-21, 2e20))],
)
def test_initial_rms_must_be_positive(allowed: str, bad: tuple[float, ...]) -> None:
    """And such that its fourth power is a number; each of several."""
    for value in (*bad, *([0.02, one] for one in bad)):
        with pytest.raises(InvalidParameter, match=rf"^initial_rms = .* must be a finite number {allowed}$"):
            predict(OPTIMIZER, Constant(num_steps=5), initial_rms=value)


def test_theory_imports_only_mathematics() -> None:
    """NumPy alone until something is asked of it; and the modules that its own imports leave out, when they are."""
    code = "import sys, theory; print(*sorted({m.partition('.')[0] for m in sys.modules}));"
    code += "assert 'theory.transient' not in sys.modules; theory.transient.run_grid"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded
    heavy = {"scipy", "sympy", "torch", "numba", "matplotlib", "pandas"}
    assert not (heavy | {"experiments", "gpt", "sim"}) & set(loaded)
    with pytest.raises(AttributeError, match="no attribute 'transients'"):
        _ = theory.transients  # type: ignore[attr-defined]


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Its rates, one a step, decay the norm as often as they add up to, a little slower than white noise."""
    page = (Path(__file__).parents[2] / "docs" / "predict.md").read_text(encoding="utf-8")
    example, with_direction = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    session: dict[str, Any] = {}
    exec(example, session)
    before = session["run"]
    assert capsys.readouterr().out == f"{before.num_relaxations} {before.final_rms}\n"
    exec(with_direction, session)
    assert session["run"].equilibrium_rms / before.equilibrium_rms == pytest.approx(0.9 / 0.885, rel=1e-6)
    session["run"] = before
    white_noise = 2 * 0.1 * np.sum(session["rates"])
    assert 0.9 * white_noise < session["run"].num_relaxations < white_noise
