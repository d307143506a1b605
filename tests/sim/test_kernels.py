"""The kernels do what they say: the same bits however they are run, and Adam's arithmetic."""

from __future__ import annotations

import dataclasses
import os
import runpy
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from sim import GradientNoise, Simulation, monte_carlo, random_numbers, simulate
from sim.gradients import Scale
from tests.sim import reference
from tests.sim.small_runs import ALL, CASES, Case
from theory import AdamH, AdamW, Constant, InvalidParameter, Linear, Optimizer, RunOutcome
from theory.optimizers import SGDM, AdamC, AdamL2, Lion, Muon, MuonH, SignSGDM
from theory.predict import final_rms
from theory.trajectory import FIELDS

ADAMW = AdamW(learning_rate=1e-2, weight_decay=0.3)
DECAYED = {"learning_rate": 0.03, "weight_decay": 2.0, "beta1": 0.8}
ADAM = {"beta2": 0.99, "eps": 1e-3}
DEFINED: list[tuple[Optimizer, tuple[int, int] | None]] = [
    (AdamW(**DECAYED, **ADAM), None),
    (AdamC(**DECAYED, **ADAM), None),
    (AdamL2(**DECAYED, **ADAM), None),
    (AdamH(learning_rate=0.1, beta1=0.8, **ADAM), None),
    (SGDM(**DECAYED), None),
    (SGDM(**DECAYED, decoupled=True), None),
    (Lion(**DECAYED, beta2=0.95), None),
    (SignSGDM(**DECAYED), None),
    (Muon(**DECAYED), (40, 18)),
    (Muon(**DECAYED, nesterov=False), (17, 40)),
    (MuonH(learning_rate=0.1), (33, 20)),
]
BEYOND_ANY_FLOAT = 1e200
SCRIPT = Path(__file__).parent / "small_runs.py"
ROOT = Path(__file__).parents[2]


def assert_same_bits(a: Simulation, b: Simulation) -> None:
    for one, other in ((a.trajectory, b.trajectory), (a.standard_error, b.standard_error)):
        assert np.array_equal(one.steps, other.steps)
        for field in FIELDS:
            assert np.array_equal(getattr(one, field), getattr(other, field)), field
    assert a.final_rms == b.final_rms
    assert a.diverged_at_step == b.diverged_at_step


@pytest.mark.long
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
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_threads_do_not_matter(case: Case) -> None:
    setting = (case.optimizer, Linear(num_steps=20, warmup_steps=5))
    arguments = {"initial_rms": 0.02, "dim": case.dim, "shape": case.shape, "num_replicas": 7, "noise": case.noise}
    one, two = (simulate(*setting, **arguments, num_threads=n) for n in (1, 2))  # type: ignore[arg-type]
    assert_same_bits(one, two)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_splitting_the_steps_does_not_matter(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = (case.optimizer, Constant(num_steps=40))
    arguments = {"initial_rms": 0.02, "dim": case.dim, "shape": case.shape, "num_replicas": 4, "noise": case.noise}
    whole = simulate(*setting, **arguments, record_every=3)  # type: ignore[arg-type]
    monkeypatch.setattr(monte_carlo, "CHUNK", 7 * 4 * -(-case.dim // random_numbers.BLOCK) * random_numbers.BLOCK)
    seen: list[int] = []
    split = simulate(*setting, **arguments, record_every=3, progress=seen.append)  # type: ignore[arg-type]
    assert seen == [7, 14, 21, 28, 35, 40]
    assert_same_bits(whole, split)


def test_splitting_the_replicas_does_not_matter() -> None:
    def moments(replicas: NDArray[np.int64]) -> NDArray[np.float64]:
        return monte_carlo.run(
            ADAMW,
            Constant(num_steps=20),
            np.arange(20),
            initial_rms=0.02,
            dim=500,
            shape=None,
            replicas=replicas,
            noise=ALL,
            seed=4,
            progress=None,
        )[0]

    parts = [moments(np.arange(0, 3)), moments(np.arange(3, 8))]
    assert np.array_equal(moments(np.arange(8)), np.concatenate(parts))


@pytest.mark.parametrize("scale", ["constant", "inverse-norm"])
@pytest.mark.parametrize(("optimizer", "shape"), DEFINED, ids=str)
def test_arithmetic_is_that_of_the_definition(
    optimizer: Optimizer, shape: tuple[int, int] | None, scale: Scale
) -> None:
    setting = (optimizer, Linear(num_steps=12, warmup_steps=4))
    law = GradientNoise(rms=0.1, scale=scale)
    dim = 777 if shape is None else shape[0] * shape[1]
    arguments = {"initial_rms": 0.02, "dim": dim, "shape": shape, "num_replicas": 3, "seed": 6}
    simulation = simulate(*setting, **arguments, noise=law)  # type: ignore[arg-type]
    expected = reference.trajectory(*setting, **arguments, law=law)  # type: ignore[arg-type]
    # float32: 6e-8 per operation, a dozen operations, twelve steps; a polar factor takes as many again
    rtol = 3e-6 if shape is None else 3e-5
    for field in FIELDS:
        got = getattr(simulation.trajectory, field)[:, 0]
        np.testing.assert_allclose(got, expected[field], rtol=rtol, atol=3e-7, err_msg=field)


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
    assert simulation.outcome is RunOutcome.DIVERGED
    assert step is not None
    assert 5 < step < 999
    assert simulation.final_rms is None
    assert np.array_equal(simulation.trajectory.steps, np.arange(step))
    assert np.all(np.isfinite(simulation.trajectory.weight_rms))
    monkeypatch.setattr(monte_carlo, "CHUNK", 1)
    assert_same_bits(simulation, simulate(*setting, initial_rms=0.02, dim=256, num_replicas=4))


def test_divergence_at_the_first_and_at_the_last_step() -> None:
    overflow = AdamW(learning_rate=1e30, weight_decay=0.0)
    for num_steps in (1, 5):
        simulation = simulate(overflow, Constant(num_steps=num_steps), initial_rms=1.0, dim=8, num_replicas=2)
        assert simulation.diverged_at_step == 0
        assert len(simulation.trajectory.steps) == 0


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
@pytest.mark.parametrize("rate", [1e25, BEYOND_ANY_FLOAT])
def test_every_optimizer_diverges_without_an_exception(case: Case, rate: float) -> None:
    """On the sphere 1e25 is a fine rate: the weights become the direction."""
    sphere = isinstance(case.optimizer, AdamH | MuonH)
    decay = {} if sphere else {"weight_decay": 0.0}
    every, last = (
        simulate(
            dataclasses.replace(case.optimizer, learning_rate=rate, **decay),
            Constant(num_steps=9),
            initial_rms=0.02,
            dim=case.dim,
            shape=case.shape,
            noise=case.noise,
            record_every=record_every,
        )
        for record_every in (1, 9)
    )
    if sphere and rate < BEYOND_ANY_FLOAT:
        assert every.outcome is RunOutcome.COMPLETED
        np.testing.assert_allclose(every.trajectory.weight_rms, 0.02, rtol=1e-6)
        return
    assert every.outcome is last.outcome is RunOutcome.DIVERGED
    assert every.diverged_at_step is not None
    assert last.diverged_at_step is not None
    assert every.diverged_at_step < 7
    assert 0 <= last.diverged_at_step - every.diverged_at_step <= 1  # the sums of a record may overflow first
    assert every.final_rms is None
    assert np.all(np.isfinite(every.trajectory.weight_rms))
    assert len(every.trajectory.steps) == every.diverged_at_step


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
        ("shape", (3,)),
        ("shape", (0, 16)),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rms", 0.0),
        ("rms", float("nan")),
        ("scale", "norm"),
        ("degrees_of_freedom", 2.0),
        ("autocorrelation", 1.0),
        ("autocorrelation", -1.0),
        ("signal_to_noise", -0.1),
        ("signal_persistence", 1.1),
    ],
)
def test_a_bad_law_of_gradients_names_the_parameter(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter) as caught:
        GradientNoise(**{name: value})  # type: ignore[arg-type]
    assert caught.value.name == name


def test_a_matrix_is_asked_for_where_it_matters() -> None:
    muon = Muon(learning_rate=0.01, weight_decay=0.1)
    with pytest.raises(InvalidParameter, match="shape"):
        simulate(muon, Constant(num_steps=2), initial_rms=0.02)
    with pytest.raises(InvalidParameter, match="dim"):
        simulate(muon, Constant(num_steps=2), initial_rms=0.02, shape=(4, 8), dim=33)


def test_memory_grows_with_records_and_not_with_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak of Python's and NumPy's allocations."""
    monkeypatch.setattr(monte_carlo, "MOST_STEPS", 100)

    def peak(num_steps: int) -> int:
        tracemalloc.start()
        simulate(ADAMW, Constant(num_steps=num_steps), initial_rms=0.02, dim=256, record_every=num_steps // 10)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    peak(100)
    assert peak(20_100) < peak(100) + 20_000  # one byte per step would be that
