"""Heavy tails, autocorrelation and signal: the draws themselves, and what theory makes of them.

Draws are fixed; z limits of 4.5 or p of 1e-5 per comparison, some 40 comparisons: had the draws been new, a false
alarm in about one of 2,000 runs.
"""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import gamma

from sim import GradientNoise, simulate
from sim.heavy_tails import expm1, fill_student
from sim.random_numbers import BLOCK, fill_bits, stream_key
from theory import SGDM, AdamH, AdamW, Constant, adamw, persistent_gradients, second_moment, stationary
from theory.trajectory import FIELDS

Array = NDArray[np.float64]
Z_LIMIT = 4.5
RATE, DECAY = 0.02, 0.5


@numba.njit
def student(x, dim, degrees, seed):  # type: ignore[no-untyped-def]
    bits, more = np.empty(x.shape, np.uint32), np.empty(x.shape, np.uint32)
    fill_bits(bits, stream_key(seed, 0, 1))
    fill_bits(more, stream_key(seed, 1, 1))
    fill_student(x, dim, bits, more, np.float32(degrees))


@numba.njit
def expm1_of(y, out):  # type: ignore[no-untyped-def]
    for i in range(len(y)):
        out[i] = expm1(y[i])


def draws(degrees: float, count: int = 2**20, seed: int = 5) -> Array:
    x = np.empty((count // BLOCK, BLOCK), np.float32)
    student(x, count, degrees, seed)
    return x.astype(np.float64)


def test_expm1_is_accurate_from_tiny_to_large() -> None:
    y = np.concatenate([np.geomspace(1e-9, 80, 20_001), [0.0]]).astype(np.float32)
    out = np.empty_like(y)
    expm1_of(y, out)
    np.testing.assert_allclose(out, np.expm1(y.astype(np.float64)), rtol=5e-7)


@pytest.mark.long
@pytest.mark.parametrize("degrees", [2.5, 3.0, 5.0, 30.0])
def test_heavy_tails_follow_students_law(degrees: float) -> None:
    """Kolmogorov-Smirnov on a million draws, counts beyond 1e-2 ... 1e-5, and the mean of |x|."""
    x = draws(degrees).ravel()
    law = stats.t(degrees, scale=np.sqrt((degrees - 2) / degrees))
    assert stats.kstest(x, law.cdf).pvalue > 1e-5
    for tail in (1e-2, 1e-3, 1e-4, 1e-5):
        beyond = int(np.sum(np.abs(x) > law.isf(tail / 2)))
        assert stats.binomtest(beyond, len(x), tail).pvalue > 1e-5, tail
    size = np.abs(x)
    mean = 2 * np.sqrt(degrees - 2) * gamma((degrees + 1) / 2) / (np.sqrt(np.pi) * gamma(degrees / 2) * (degrees - 1))
    assert abs(size.mean() - mean) < Z_LIMIT * size.std() / np.sqrt(len(x))


def test_heavy_tailed_coordinates_are_independent() -> None:
    """Neighbours, the other half of a block, and the next block; absolute values would show a shared radius."""
    x = draws(3.0, count=2**18)
    for values in (x, np.abs(x)):
        ranks = stats.rankdata(values).reshape(x.shape)
        for steps, axis in ((1, 1), (BLOCK // 2, 1), (1, 0)):
            correlation = np.corrcoef(ranks.ravel(), np.roll(ranks, steps, axis=axis).ravel())[0, 1]
            # every pair counts twice where half a block is shifted
            assert abs(correlation) * np.sqrt(x.size / 2) < Z_LIMIT


def test_padding_stays_zero() -> None:
    x = np.full((2, BLOCK), 7, np.float32)
    student(x, 300, 4.0, 1)
    assert np.all(x.ravel()[300:] == 0)
    assert np.all(x.ravel()[:300] != 0)


def settled(optimizer: AdamW | AdamH, noise: GradientNoise, *, initial_rms: float, burn_in: int) -> dict[str, Array]:
    """Mean and standard error over eight seeds of the mean of every field after ``burn_in`` steps, by field."""
    means = []
    for seed in range(8):
        run = simulate(
            optimizer,
            Constant(num_steps=burn_in + 500),
            initial_rms=initial_rms,
            dim=2048,
            num_replicas=8,
            noise=noise,
            seed=seed,
            record_every=2,
        )
        late = run.trajectory.steps >= burn_in
        means.append([getattr(run.trajectory, field)[late, 0].mean() for field in FIELDS])
    values = np.array(means)
    return {
        field: np.array([column.mean(), column.std(ddof=1) / np.sqrt(len(column))])
        for field, column in zip(FIELDS, values.T, strict=True)
    }


def assert_agrees(measured: Array, expected: float, *, bias: float = 0.0) -> None:
    """``bias`` is relative. With eight seeds 4.5 normal standard errors are 11 of Student's t."""
    assert abs(measured[0] - expected) < 11 * measured[1] + bias * abs(expected), (measured, expected)
    assert measured[1] < 1e-3 * abs(expected)


@pytest.mark.long
@pytest.mark.parametrize("degrees", [3.0, 5.0])
def test_heavy_tails_shift_the_norm_as_predicted(degrees: float) -> None:
    """The exact autocovariance of m/sqrt(v); at 3 degrees the RMS is 3 % below the limit of light tails."""
    optimizer = AdamW(learning_rate=RATE, weight_decay=DECAY)
    update = second_moment.autocovariance(0.9, 0.95, second_moment.StudentT(dof=degrees))
    rms = float(stationary.equilibrium_rms(update, RATE, DECAY))
    run = settled(optimizer, GradientNoise(degrees_of_freedom=degrees), initial_rms=rms, burn_in=300)
    assert_agrees(run["weight_rms"], rms)
    assert_agrees(run["angular_update"], float(stationary.angular_update_equilibrium(update, RATE, DECAY)))
    assert_agrees(run["update_rms"], update.variance**0.5)
    gaussian = float(stationary.equilibrium_rms(second_moment.autocovariance(0.9, 0.95), RATE, DECAY))
    assert abs(rms / gaussian - 1) > 0.005


SIGNALS = {
    "noise of two steps": (GradientNoise(autocorrelation=0.5), 1e12, 0.5),
    "noise of ten steps": (GradientNoise(autocorrelation=0.9), 1e12, 0.9),
    "a signal of ten steps": (GradientNoise(signal_to_noise=2.0, signal_persistence=0.9), 2.0, 0.9),
    "a signal of thirty steps": (GradientNoise(signal_to_noise=0.5, signal_persistence=0.97), 0.5, 0.97),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SIGNALS)
def test_gradients_that_remember_act_through_the_size_of_the_update(name: str) -> None:
    """`theory.persistent_gradients` is the limit beta2 -> 1. A second moment over n memories of the signal is short of
    it by 1/n.

    The runs average over 60 of the longest, and 0.2 % is allowed for.
    """
    noise, snr, persistence = SIGNALS[name]
    optimizer = AdamW(learning_rate=RATE, weight_decay=DECAY, beta2=1 - 1e-5)
    rms = float(persistent_gradients.equilibrium_rms(RATE, DECAY, 0.9, snr=snr, persistence=persistence))
    run = settled(optimizer, noise, initial_rms=rms, burn_in=3000)
    update_rms = float(persistent_gradients.tangent_update_rms(RATE * DECAY, 0.9, snr, persistence))
    assert_agrees(run["weight_rms"], rms, bias=2e-3)
    assert_agrees(run["update_rms"], update_rms, bias=2e-3)
    assert_agrees(run["angular_update"], float(adamw.angular_update_equilibrium(RATE, DECAY, 0.9)), bias=2e-3)
    assert abs(update_rms / np.sqrt(0.1 / 1.9) - 1) > 0.1  # what noise without memory would give


@pytest.mark.parametrize("r", [-0.6, 0.3])
def test_autocorrelation_is_that_asked_for(r: float) -> None:
    """Momentum reads it off: its variance is (1 + beta1 r)/(1 - beta1 r) times that of white noise."""
    run = simulate(
        AdamW(learning_rate=1e-6, weight_decay=0.0, beta2=1 - 1e-6),
        Constant(num_steps=3000),
        initial_rms=1.0,
        noise=GradientNoise(autocorrelation=r),
        record_every=100,
    )
    square = float(np.mean(run.trajectory.update_rms[10:] ** 2))
    assert square == pytest.approx(0.1 / 1.9 * (1 + 0.9 * r) / (1 - 0.9 * r), rel=3e-3)


SIZES = {
    "white": (GradientNoise(rms=3.0), 3.0),
    "heavy tails": (GradientNoise(degrees_of_freedom=6.0), 1.0),
    "memory": (GradientNoise(autocorrelation=-0.8), 1.0),
    "signal": (GradientNoise(rms=0.5, signal_to_noise=3.0), 1.0),
    "turning signal": (GradientNoise(signal_to_noise=1.25, signal_persistence=0.7), 1.5),
    "over the norm": (GradientNoise(rms=0.5, scale="inverse-norm"), 0.25),
}


@pytest.mark.parametrize("name", SIZES)
def test_gradients_have_the_size_asked_for(name: str) -> None:
    """Without momentum SGD's update is the gradient. A signal that never turns has 65,536 entries: 0.2 % of error."""
    noise, expected = SIZES[name]
    optimizer = SGDM(learning_rate=1e-9, weight_decay=0.0, beta1=0.0)
    run = simulate(optimizer, Constant(num_steps=100), initial_rms=2.0, noise=noise, dim=4096, num_replicas=16)
    assert np.sqrt(np.mean(run.trajectory.update_rms**2)) == pytest.approx(expected, rel=1e-2)


def test_a_fixed_signal_is_followed_until_the_weights_lie_along_it() -> None:
    """Without decay and with little noise W ends along the signal, where nothing tangent is left of it."""
    noise = GradientNoise(signal_to_noise=100.0)
    run = simulate(AdamH(learning_rate=0.05), Constant(num_steps=600), initial_rms=1.0, noise=noise, record_every=1)
    update = run.trajectory.update_rms[:, 0]
    assert update[5] > 0.9  # a persistent gradient: the direction is nearly a sign
    assert update[-1] < 0.5
