"""Training on the regression: the same bits however it is run, and what it is supposed to compute."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sim import regression
from sim.hadamard import rotate
from sim.regression import RegressionOptimizer, RegressionResult, RegressionRun, simulate_regression, sweep
from theory import (
    SGDM,
    WSD,
    AdamC,
    AdamH,
    AdamW,
    Constant,
    InvalidParameter,
    Lion,
    Muon,
    MuonH,
    RunOutcome,
    equilibrium,
)
from theory.regression import PowerLawRegression, mixture
from theory.trajectory import FIELDS

SCRIPT = Path(__file__).parent / "small_sweep.py"
ROOT = Path(__file__).parents[2]
PROBLEM = PowerLawRegression(num_features=300, batch_size=8, label_noise=0.5)
MIXED = PowerLawRegression(num_features=512, batch_size=8, label_noise=0.5, basis="mixed")
ADAMW = AdamW(learning_rate=0.01, weight_decay=0.3)


def make(
    optimizer: RegressionOptimizer = ADAMW,
    num_steps: int = 40,
    seed: int = 0,
    rms: float = 0.3,
    problem: PowerLawRegression = PROBLEM,
) -> RegressionRun:
    schedule = WSD(num_steps=num_steps, warmup_steps=num_steps // 10)
    return RegressionRun(problem=problem, optimizer=optimizer, schedule=schedule, initial_rms=rms, seed=seed)


def assert_same_bits(a: RegressionResult, b: RegressionResult) -> None:
    assert a.final_loss == b.final_loss
    assert np.array_equal(a.losses, b.losses)
    for field in FIELDS:
        assert np.array_equal(getattr(a.trajectory, field), getattr(b.trajectory, field)), field


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


def test_a_run_does_not_know_what_runs_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [make(replace(ADAMW, learning_rate=rate), seed=seed) for rate in (0.003, 0.03) for seed in (0, 1)]
    runs += [make(AdamH(learning_rate=0.01)), make(ADAMW, num_steps=25)]
    together = dict(sweep(runs, record_every=7))
    for place in (5, 1, 4):
        assert_same_bits(together[place], simulate_regression(runs[place], record_every=7))
    backwards = dict(sweep(runs[::-1], record_every=7))
    monkeypatch.setattr(regression, "CHUNK", 7 * 512 * 5)  # steps in pieces
    monkeypatch.setattr(regression, "LARGEST_STATE", 512 * 2)  # runs in pairs
    steps: list[int] = []
    split = dict(sweep(runs, record_every=7, progress=steps.append))
    assert len(steps) == 9
    assert sum(steps) == sum(run.problem.num_features * run.schedule.num_steps for run in runs)
    for place in range(len(runs)):
        assert_same_bits(together[place], split[place])
        assert_same_bits(together[place], backwards[len(runs) - 1 - place])


def test_learning_rates_share_the_data_and_lengths_do_not() -> None:
    first = [simulate_regression(make(replace(ADAMW, learning_rate=rate))).losses[0] for rate in (0.01, 0.02)]
    assert first[0] == first[1]
    assert simulate_regression(make(num_steps=41)).losses[0] != first[0]
    assert simulate_regression(make(seed=1)).losses[0] != first[0]


def by_samples(
    problem: PowerLawRegression, optimizer: RegressionOptimizer, num_steps: int, num_runs: int, rms: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Losses (num_runs, num_steps + 1) and weight RMS (num_runs, num_steps) from the definitions in float64.

    Every batch is made of real samples; runs differ in nothing but their random numbers.
    """
    rng = np.random.default_rng(0)
    n, b = problem.num_features, problem.batch_size
    mixed = problem.basis == "mixed"

    def norm(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.linalg.norm(x, axis=1, keepdims=True)

    w = rng.standard_normal((num_runs, n))
    w *= rms * np.sqrt(n) / norm(w)
    radius, m, v = norm(w), np.zeros_like(w), np.zeros_like(w)
    losses, sizes = [], []
    for t, multiplier in enumerate(WSD(num_steps=num_steps, warmup_steps=num_steps // 10).multipliers()):
        eta = optimizer.learning_rate * multiplier
        losses.append(problem.excess_loss(w) + problem.least_loss)
        sizes.append(np.sqrt(np.mean(w**2, axis=1)))
        features = rng.standard_normal((num_runs, b, n)) * np.sqrt(problem.spectrum)
        noise = np.sqrt(2 * problem.least_loss) * rng.standard_normal((num_runs, b))  # of labels, and unseen features
        unit = w / norm(w)
        wrong = problem.gain * (mixture(unit) if mixed else unit) - problem.target
        residual = np.einsum("rbn,rn->rb", features, wrong) - noise
        along = np.einsum("rb,rbn->rn", residual, features) / b
        # the entries of W multiply mixtures of the features, and a sum of mixtures is the mixture of the sum
        g = problem.gain / norm(w) * (mixture(along) if mixed else along)
        g -= unit * np.sum(unit * g, axis=1, keepdims=True)
        decay = 0.0
        if isinstance(optimizer, SGDM):
            m = optimizer.beta1 * m + g + (0 if optimizer.decoupled else optimizer.weight_decay) * w
            u = m
            decay = optimizer.weight_decay if optimizer.decoupled else 0.0
        elif isinstance(optimizer, Muon | MuonH):
            m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
            u = optimizer.beta1 * m + (1 - optimizer.beta1) * g if optimizer.nesterov else m
            u = u / norm(u)
            decay = optimizer.weight_decay if isinstance(optimizer, Muon) else 0.0
        else:
            m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
            v = optimizer.beta2 * v + (1 - optimizer.beta2) * g**2
            u = m / (1 - optimizer.beta1 ** (t + 1)) / (np.sqrt(v / (1 - optimizer.beta2 ** (t + 1))) + optimizer.eps)
            if not isinstance(optimizer, AdamH):
                decay = optimizer.weight_decay * (multiplier if isinstance(optimizer, AdamC) else 1.0)
        if isinstance(optimizer, AdamH | MuonH):
            w = w - eta * radius * u / norm(u)
            w = w * radius / norm(w)
        else:
            w = (1 - eta * decay) * w - eta * u
    losses.append(problem.excess_loss(w) + problem.least_loss)
    return np.array(losses).T, np.array(sizes).T


@pytest.mark.long
@pytest.mark.parametrize("problem", [PROBLEM, MIXED], ids=lambda problem: problem.basis)
@pytest.mark.parametrize(
    "optimizer",
    [
        AdamW(learning_rate=0.03, weight_decay=1.0, beta1=0.8, beta2=0.9, eps=1e-3),
        AdamH(learning_rate=0.03),
        AdamC(learning_rate=0.03, weight_decay=4.0),
        SGDM(learning_rate=0.01, weight_decay=1.0),
        SGDM(learning_rate=0.01, weight_decay=1.0, decoupled=True),
        Muon(learning_rate=0.3, weight_decay=0.3),
        MuonH(learning_rate=0.05, nesterov=False),
    ],
    ids=lambda optimizer: optimizer.name + "!" * getattr(optimizer, "decoupled", 0),
)
def test_the_same_law_as_training_on_real_samples(optimizer: RegressionOptimizer, problem: PowerLawRegression) -> None:
    """Mean losses and norms of 100 seeds, at seven times; |z| below 4.7 in 196 comparisons, false alarm 5e-4."""
    seeds, num_steps = 100, 60
    places = np.array([0, 2, 5, 12, 25, 45, 59])
    runs = [make(optimizer, num_steps, seed, problem=problem) for seed in range(seeds)]
    ours = [result for _, result in sweep(runs, record_every=1)]
    losses, sizes = by_samples(problem, optimizer, num_steps, seeds, 0.3)
    pairs = (
        (np.array([[*result.losses, result.final_loss] for result in ours])[:, places + 1], losses[:, places + 1]),
        (np.array([result.trajectory.weight_rms[:, 0] for result in ours])[:, places], sizes[:, places]),
    )
    for one, other in pairs:
        error = np.sqrt((one.var(axis=0) + other.var(axis=0)) / (seeds - 1))
        difference = one.mean(axis=0) - other.mean(axis=0)
        assert np.all(np.abs(difference) < 4.5 * error + 1e-6 * other.mean(axis=0))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 1000])
def test_batch_numbers_have_their_distributions(batch_size: int) -> None:
    """Kolmogorov and Smirnov at 1e-4 each; the three columns uncorrelated."""
    numbers = regression.batch_numbers(np.arange(4), 17, np.arange(5000), batch_size).reshape(-1, 3)
    first, rest, normal = numbers.T
    assert stats.kstest(first, stats.chi2(batch_size).cdf).pvalue > 1e-4
    assert stats.kstest(normal, stats.norm.cdf).pvalue > 1e-4
    if batch_size == 1:
        assert np.all(rest == 0)
    else:
        assert stats.kstest(rest, stats.chi2(batch_size - 1).cdf).pvalue > 1e-4
        assert np.all(np.abs(np.corrcoef(numbers.T)[np.triu_indices(3, 1)]) < 4 / np.sqrt(len(numbers)))


@pytest.mark.parametrize("power", [-3, 5])
def test_units_of_the_weights_do_not_matter(power: int) -> None:
    """(eta, lam, RMS_0) -> (c eta, lam/c, c RMS_0) is an exact symmetry, for c a power of two to the last bit."""
    c = 2.0**power
    plain = AdamW(learning_rate=0.03, weight_decay=0.5, eps=0.0)
    scaled = AdamW(learning_rate=0.03 * c, weight_decay=0.5 / c, eps=0.0)
    one, other = simulate_regression(make(plain)), simulate_regression(make(scaled, rms=0.3 * c))
    assert one.final_loss == other.final_loss
    assert np.array_equal(one.trajectory.weight_rms * c, other.trajectory.weight_rms)


@pytest.mark.parametrize("num_blocks", [1, 2, 16])
def test_rotation_is_the_mixture_of_the_theory(num_blocks: int) -> None:
    """Both as matrices, from unit vectors; rounding of float32 over some twenty additions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((num_blocks, 256)).astype(np.float32)
    expected = mixture(x.ravel().astype(np.float64))
    once = x.copy()
    rotate(once, np.empty(256, np.float32))
    assert np.abs(once.ravel() - expected).max() < 3e-6
    rotate(once, np.empty(256, np.float32))
    assert np.abs(once - x).max() < 3e-6


def test_memory_does_not_grow_with_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regression, "CHUNK", 256 * 500)  # 500 steps at a time
    problem = PowerLawRegression(num_features=20)

    def peak(num_steps: int) -> int:
        run = RegressionRun(problem=problem, optimizer=ADAMW, schedule=Constant(num_steps=num_steps), initial_rms=0.3)
        tracemalloc.start()
        dict(sweep([run], num_records=10))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1000)
    assert peak(20_000) < 1.2 * peak(2_000)


def test_prescribed_multipliers_replace_the_schedule() -> None:
    run = make(AdamH(learning_rate=0.02))
    same = replace(run, schedule=Constant(num_steps=40), multipliers=run.schedule.multipliers())
    assert_same_bits(simulate_regression(run), simulate_regression(same))
    with pytest.raises(InvalidParameter, match="multipliers"):
        replace(run, multipliers=np.ones(39))


def test_sphere_keeps_the_norm() -> None:
    for optimizer in (AdamH(learning_rate=0.02), MuonH(learning_rate=0.02)):
        rms = simulate_regression(make(optimizer, 400)).trajectory.weight_rms
        assert np.abs(rms / 0.3 - 1).max() < 1e-5


def test_norm_settles_where_the_theory_says() -> None:
    """A long run with little to learn is driven by noise; with a flat spectrum Adam keeps its update tangent."""
    problem = PowerLawRegression(num_features=4096, batch_size=4, spectrum_exponent=0.0, label_noise=30.0)
    optimizer = AdamW(learning_rate=0.01, weight_decay=1.0)
    run = RegressionRun(problem=problem, optimizer=optimizer, schedule=Constant(num_steps=600), initial_rms=0.1)
    trajectory = simulate_regression(run).trajectory
    at_rest = equilibrium(optimizer, initial_rms=0.1, finite_beta2=True)
    assert trajectory.weight_rms[-200:].mean() == pytest.approx(at_rest.weight_rms, rel=0.02)
    assert trajectory.angular_update[-200:].mean() == pytest.approx(at_rest.angular_update, rel=0.02)


def test_overflow_is_an_outcome_with_a_step() -> None:
    run = make(SGDM(learning_rate=1e30, weight_decay=0.0), num_steps=20)
    result = simulate_regression(run)
    assert result.outcome is RunOutcome.DIVERGED
    assert result.diverged_at_step is not None
    assert np.isnan(result.final_loss)
    assert len(result.losses) == len(result.trajectory.steps) == result.diverged_at_step
    assert np.isfinite(result.losses).all()


def test_wrong_values_are_named() -> None:
    for name, value in (
        ("initial_rms", 0.0),
        ("seed", -1),
        ("optimizer", Lion(learning_rate=0.1, weight_decay=0.1)),
        ("problem", 3),
    ):
        with pytest.raises(InvalidParameter, match=name):
            replace(make(), **{name: value})
    for keyword in ({"num_records": 0}, {"record_every": -3}, {"record_every": 2.5}):
        with pytest.raises(InvalidParameter, match=next(iter(keyword))):
            sweep([make()], **keyword)  # type: ignore[arg-type]
