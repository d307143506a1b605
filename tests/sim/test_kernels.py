"""The kernels do what they say: the same bits however they are run, and Adam's arithmetic."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from sim import Simulation, SimulationOutcome, noise, random_numbers, simulate
from theory import AdamH, AdamW, Constant, InvalidParameter, Linear
from theory.predict import final_rms
from theory.trajectory import FIELDS

ADAMW = AdamW(learning_rate=1e-2, weight_decay=0.3)
OPTIMIZERS = [ADAMW, AdamH(learning_rate=0.02)]
SCRIPT = Path(__file__).parent / "small_runs.py"
ROOT = Path(__file__).parents[2]


def assert_same_bits(a: Simulation, b: Simulation) -> None:
    for one, other in ((a.trajectory, b.trajectory), (a.standard_error, b.standard_error)):
        assert np.array_equal(one.steps, other.steps)
        for field in FIELDS:
            assert np.array_equal(getattr(one, field), getattr(other, field)), field
    assert a.final_rms == b.final_rms
    assert a.diverged_at_step == b.diverged_at_step


@pytest.mark.parametrize("environment", [{"NUMBA_DISABLE_JIT": "1"}, {"NUMBA_NUM_THREADS": "4"}], ids=str)
def test_plain_python_and_four_threads_give_the_same_bits(environment: dict[str, str], tmp_path: Path) -> None:
    saved = tmp_path / "saved.npz"
    subprocess.run(
        [sys.executable, str(SCRIPT), str(saved)],
        check=True,
        cwd=ROOT,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
    )
    here = runpy.run_path(str(SCRIPT))["run_cases"]()
    with np.load(saved) as there:
        assert set(there) == set(here)
        for name, values in here.items():
            assert np.array_equal(values, there[name]), name


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
def test_threads_do_not_matter(optimizer: AdamW | AdamH) -> None:
    setting = (optimizer, Linear(num_steps=50, warmup_steps=5))
    one, two = (simulate(*setting, initial_rms=0.02, dim=700, num_threads=n) for n in (1, 2))
    assert_same_bits(one, two)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: optimizer.name)
def test_splitting_the_steps_does_not_matter(optimizer: AdamW | AdamH, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = (optimizer, Constant(num_steps=40))
    whole = simulate(*setting, initial_rms=0.02, dim=100, num_replicas=4, record_every=3)
    monkeypatch.setattr(noise, "CHUNK", 7 * 4 * random_numbers.BLOCK)
    seen: list[int] = []
    split = simulate(*setting, initial_rms=0.02, dim=100, num_replicas=4, record_every=3, progress=seen.append)
    assert seen == [7, 14, 21, 28, 35, 40]
    assert_same_bits(whole, split)


def test_splitting_the_replicas_does_not_matter() -> None:
    def moments(replicas: NDArray[np.int64]) -> NDArray[np.float64]:
        return noise.run(
            ADAMW,
            Constant(num_steps=20),
            np.arange(20),
            initial_rms=0.02,
            dim=500,
            replicas=replicas,
            seed=4,
            inverse_norm=False,
            progress=None,
        )[0]

    parts = [moments(np.arange(0, 3)), moments(np.arange(3, 8))]
    assert np.array_equal(moments(np.arange(8)), np.concatenate(parts))


def reference(
    optimizer: AdamW | AdamH, rates: NDArray[np.float64], dim: int, replicas: int, seed: int, inverse_norm: bool
) -> dict[str, NDArray[np.float64]]:
    """The same run in float64 NumPy, written from the definition of the optimizers, on the same draws."""
    numbers = np.arange(replicas)
    blocks = noise.initial_weights(dim, numbers, seed, 0.02)
    w = blocks.reshape(replicas, -1)[:, :dim].astype(np.float64)
    radius = np.linalg.norm(w, axis=1, keepdims=True)
    m, v = np.zeros_like(w), np.zeros_like(w)
    rows: dict[str, list[float]] = {field: [] for field in FIELDS}
    for t, eta in enumerate(rates):
        random_numbers.normal(blocks, dim, seed, numbers, t + 1)
        g = blocks.reshape(replicas, -1)[:, :dim].astype(np.float64)
        norm = np.linalg.norm(w, axis=1, keepdims=True)
        unit = w / norm
        g = g - unit * (unit * g).sum(axis=1, keepdims=True)
        if inverse_norm:
            g = g * radius / norm
        m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
        v = optimizer.beta2 * v + (1 - optimizer.beta2) * g**2
        u = m / (1 - optimizer.beta1 ** (t + 1))
        u = u / (np.sqrt(v / (1 - optimizer.beta2 ** (t + 1))) + optimizer.eps)
        if isinstance(optimizer, AdamH):
            new = w - eta * radius * u / np.linalg.norm(u, axis=1, keepdims=True)
            new = radius * new / np.linalg.norm(new, axis=1, keepdims=True)
        else:
            new = (1 - eta * optimizer.weight_decay) * w - eta * u
        cosine = (w * new).sum() / np.linalg.norm(w) / np.linalg.norm(new)
        rows["weight_rms"].append(np.sqrt((w**2).mean()))
        rows["angular_update"].append(np.arccos(cosine))
        rows["relative_update"].append(np.linalg.norm(new - w) / np.linalg.norm(w))
        rows["update_rms"].append(np.sqrt((u**2).mean()))
        rows["cosine"].append((w * u).sum() / np.linalg.norm(w) / np.linalg.norm(u))
        w = new
    return {field: np.array(values) for field, values in rows.items()}


@pytest.mark.parametrize("inverse_norm", [False, True])
@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(learning_rate=0.03, weight_decay=2.0, beta1=0.8, beta2=0.99, eps=1e-3),
        AdamH(learning_rate=0.1, beta1=0.8, beta2=0.99, eps=1e-3),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_arithmetic_is_that_of_the_definition(optimizer: AdamW | AdamH, inverse_norm: bool) -> None:
    schedule = Linear(num_steps=12, warmup_steps=4)
    simulation = simulate(
        optimizer,
        schedule,
        initial_rms=0.02,
        dim=777,
        num_replicas=3,
        seed=6,
        gradient_scale="inverse-norm" if inverse_norm else "constant",
    )
    rates = optimizer.learning_rate * schedule.multipliers()
    expected = reference(optimizer, rates, 777, 3, 6, inverse_norm)
    for field in FIELDS:
        got = getattr(simulation.trajectory, field)[:, 0]
        # float32: 6e-8 per operation, a dozen operations, twelve steps
        np.testing.assert_allclose(got, expected[field], rtol=3e-6, atol=3e-7, err_msg=field)


def test_a_decay_below_the_resolution_of_one_acts() -> None:
    """1 - 3e-8 is 1 in float32. Over 1,000 steps the decay takes 3e-5 off the norm; noise blurs it by 2e-7."""
    setting = (AdamW(learning_rate=3e-6, weight_decay=1e-2), Constant(num_steps=1000))
    simulation = simulate(*setting, initial_rms=2.0, record_every=1000)
    assert final_rms(*setting, initial_rms=2.0) < 2.0 * (1 - 2.5e-5)
    assert simulation.final_rms == pytest.approx(final_rms(*setting, initial_rms=2.0), rel=2e-6)


def test_adamh_keeps_its_norm() -> None:
    simulation = simulate(
        AdamH(learning_rate=0.02),
        Constant(num_steps=10_000),
        initial_rms=0.02,
        dim=256,
        num_replicas=2,
        record_every=100,
    )
    np.testing.assert_allclose(simulation.trajectory.weight_rms, 0.02, rtol=3e-7)


def test_divergence_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without decay the weights grow like 1e17 sqrt(t), until the sum of their squares leaves float32."""
    optimizer = AdamW(learning_rate=1e18, weight_decay=0.0)
    setting = (optimizer, Constant(num_steps=1000))
    simulation = simulate(*setting, initial_rms=0.02, dim=256, num_replicas=4)
    step = simulation.diverged_at_step
    assert simulation.outcome is SimulationOutcome.DIVERGED
    assert step is not None
    assert 5 < step < 999
    assert simulation.final_rms is None
    assert np.array_equal(simulation.trajectory.steps, np.arange(step))
    assert np.all(np.isfinite(simulation.trajectory.weight_rms))
    monkeypatch.setattr(noise, "CHUNK", 1)
    assert_same_bits(simulation, simulate(*setting, initial_rms=0.02, dim=256, num_replicas=4))


def test_divergence_at_the_first_and_at_the_last_step() -> None:
    overflow = AdamW(learning_rate=1e30, weight_decay=0.0)
    for num_steps in (1, 5):
        simulation = simulate(overflow, Constant(num_steps=num_steps), initial_rms=1.0, dim=8, num_replicas=2)
        assert simulation.diverged_at_step == 0
        assert len(simulation.trajectory.steps) == 0


def test_standard_errors_are_the_spread_between_seeds() -> None:
    """Chi-square of the spread over 60 seeds against the stated errors: two-sided false alarm 1e-4 per field."""
    runs = [
        simulate(ADAMW, Constant(num_steps=60), initial_rms=0.02, dim=64, num_replicas=16, seed=seed)
        for seed in range(60)
    ]
    for field in FIELDS:
        values = np.array([getattr(run.trajectory, field)[-1, 0] for run in runs])
        stated = np.array([getattr(run.standard_error, field)[-1, 0] for run in runs])
        ratio = values.var(ddof=1) / np.mean(stated**2)
        assert 0.42 < ratio < 1.95, field
    finals = np.array([run.final_rms for run in runs])
    stated = np.array([run.final_rms_standard_error for run in runs])
    assert 0.42 < finals.var(ddof=1) / np.mean(stated**2) < 1.95


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("initial_rms", 0.0),
        ("initial_rms", float("nan")),
        ("initial_rms", 1e-20),
        ("dim", 1),
        ("dim", 2.5),
        ("num_replicas", 1),
        ("seed", -1),
        ("seed", 2**32),
        ("record_every", 0),
        ("num_threads", 0),
        ("num_threads", 10_000),
        ("gradient_scale", "norm"),
    ],
)
def test_bad_input_names_the_parameter(name: str, value: object) -> None:
    arguments = {"initial_rms": 0.02, "dim": 16, "num_replicas": 2} | {name: value}
    with pytest.raises(InvalidParameter) as caught:
        simulate(ADAMW, Constant(num_steps=2), **arguments)  # type: ignore[arg-type]
    assert caught.value.name == name


def test_thinned_records_are_those_of_the_full_run() -> None:
    full, thin = (
        simulate(ADAMW, Constant(num_steps=23), initial_rms=0.02, dim=40, num_replicas=3, record_every=every)
        for every in (1, 5)
    )
    assert np.array_equal(thin.trajectory.steps, [0, 5, 10, 15, 20, 22])
    for field in FIELDS:
        assert np.array_equal(
            getattr(thin.trajectory, field), getattr(full.trajectory.at(thin.trajectory.steps), field)
        )
