"""The simulated valley against its closed forms, and its kernel against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import hadamard

from sim import random_numbers
from sim.hadamard import rotate
from sim.valley import ValleyRun, simulate_valley
from tests.theory.symbolic import number
from theory import AdamW, InvalidParameter, momentum, valley
from theory.valley import Valley, noise_share

Array = NDArray[np.float64]
NEAR_ONE = 0.9999
MIXTURE = np.array([0.0, 1.0, 10.0, 100.0])
NOISE = np.array([1.0, 1.0, 1.0, 0.5])


def adam(beta1: float = 0.9, beta2: float = NEAR_ONE, *, rate: float = 0.05, decay: float = 0.0) -> AdamW:
    return AdamW(learning_rate=rate, weight_decay=decay, beta1=beta1, beta2=beta2)


def predicted(optimizer: AdamW, curvatures: Array, noise: Array) -> tuple[Valley, float]:
    """From the noise alone: the valley at an infinitesimal rate, moved; and the RMS of the gradient."""
    power = np.square(noise) / np.sum(np.square(noise))
    size = float(np.sqrt(np.mean(np.square(noise))))
    still = Valley(beta1=optimizer.beta1, curvatures=1e-9 * curvatures, shares=power)
    found = still.moved(factor=1e9 * optimizer.learning_rate / size)
    return found, size / float(np.sqrt(found.shares @ noise_share(found.curvatures, optimizer.beta1)))


@pytest.mark.long
@pytest.mark.parametrize(("beta1", "rate"), [(0.5, 0.05), (0.9, 0.05), (0.9, 0.5)])
def test_a_spectrum_has_its_lags_and_its_normaliser(beta1: float, rate: float) -> None:
    """U and the gradient's RMS within 0.1 %, lags within 5 standard errors and 0.002 of c_0.

    At a rate of 0.5 U is half of that in noise. 60 comparisons on fixed draws; on new ones a false alarm in one of
    10,000.
    """
    optimizer = adam(beta1, rate=rate)
    run = simulate_valley(optimizer, curvatures=MIXTURE, noise_rms=NOISE, num_steps=8000, burn_in=25_000, seed=2)
    found, gradient_rms = predicted(optimizer, MIXTURE, NOISE)
    square = (float(momentum.stationary_update_rms(beta1)) * found.direction_ratio) ** 2
    assert run.direction[0] == pytest.approx(square, rel=2e-3)
    assert abs(run.direction[0] - square) < 5 * run.direction_error[0] + 1e-3 * square
    assert np.sqrt(run.gradient[0]) == pytest.approx(gradient_rms, rel=1e-3)
    lags = np.append(1.0, found.gradient_autocorrelation(10))
    for measured, error, expected in (
        (run.gradient / gradient_rms**2, run.gradient_error / gradient_rms**2, lags),
        (run.direction / square, run.direction_error / square, found.direction_autocovariance(10) / square),
    ):
        assert np.all(error < 3e-3)
        assert np.all(np.abs(measured - expected) < 5 * error + 2e-3)


def test_entries_that_do_not_mix_are_valleys_of_their_own() -> None:
    run = simulate_valley(adam(), curvatures=[1.0, 20.0], mixed=False, num_steps=8000, burn_in=25_000, seed=3)
    each = [predicted(adam(), np.array([h]), np.ones(1))[0].direction_ratio ** 2 for h in (1.0, 20.0)]
    ratio = run.direction[0] * 1.9 / 0.1
    assert ratio == pytest.approx(np.mean(each), rel=2e-3)
    mixed = predicted(adam(), np.array([1.0, 20.0]), np.ones(2))[0].direction_ratio ** 2
    assert abs(ratio - mixed) > 5e-3


def test_decay_to_the_bottom_is_that_of_the_derivation() -> None:
    """It takes 3 % off U^2; the difference to no decay, on the same noise, within a tenth."""
    runs = [
        simulate_valley(adam(decay=decay), curvatures=[40.0], num_steps=8000, burn_in=25_000, num_lags=0, seed=4)
        for decay in (0.0, 0.1)
    ]
    square = [
        number(
            valley.derive_moments()["U2"], a=0.05 * 40 / np.sqrt(run.gradient[0]), beta_1=0.9, alpha=1 - 0.05 * decay
        )
        for run, decay in zip(runs, (0.0, 0.1), strict=True)
    ]
    measured = [run.direction[0] for run in runs]
    assert square[1] < 0.98 * square[0]
    assert measured[1] / measured[0] - 1 == pytest.approx(square[1] / square[0] - 1, rel=0.1)


def test_customary_beta2_costs_little() -> None:
    run = simulate_valley(adam(beta2=0.999), curvatures=[20.0], num_steps=8000, burn_in=5000, num_lags=0, seed=5)
    found, _ = predicted(adam(), np.array([20.0]), np.ones(1))
    assert np.sqrt(run.direction[0] * 19) == pytest.approx(found.direction_ratio, rel=3e-3)


def by_numpy(optimizer: AdamW, steps: int, burn_in: int, lags: int, seed: int) -> tuple[Array, Array]:
    """Means of the products, in float64, on the draws of replica 0 and 1."""
    h, sigma = (np.repeat(x, random_numbers.BLOCK // 4) for x in (MIXTURE, NOISE))
    basis = np.empty((256, 256))
    for row, unit in enumerate(np.eye(256, dtype=np.float32)):
        x = unit[None].copy()
        rotate(x, np.empty(256, np.float32))
        basis[row] = x[0]
    assert np.allclose(np.abs(basis), np.abs(hadamard(256)) / 16)
    x, m, v = (np.zeros((2, 256)) for _ in range(3))
    gs, us = [], []
    for step in range(burn_in + steps):
        n = np.empty((2, 1, 256), np.float32)
        random_numbers.normal(len(n), n, 256, seed, np.arange(2), step + 1)
        g = (h * (x @ basis) + sigma * n[:, 0]) @ basis
        m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
        v = optimizer.beta2 * v + (1 - optimizer.beta2) * g * g
        u = m / (1 - optimizer.beta1 ** (step + 1))
        u = u / (np.sqrt(v / (1 - optimizer.beta2 ** (step + 1))) + optimizer.eps)
        x = x - optimizer.learning_rate * (optimizer.weight_decay * x + u)
        gs.append(g)
        us.append(u)
    times = range(burn_in, burn_in + steps)
    return tuple(  # type: ignore[return-value]
        np.array([np.mean([s[t] * s[t - lag] for t in times]) for lag in range(lags + 1)]) for s in (gs, us)
    )


def test_the_kernel_does_what_numpy_does() -> None:
    optimizer = AdamW(learning_rate=0.05, weight_decay=0.4, beta1=0.8, beta2=0.9, eps=0.1)
    run = simulate_valley(
        optimizer, curvatures=MIXTURE, noise_rms=NOISE, num_steps=20, burn_in=5, num_lags=3, num_replicas=2, seed=7
    )
    gradient, direction = by_numpy(optimizer, 20, 5, 3, 7)
    np.testing.assert_allclose(run.gradient, gradient, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.direction, direction, rtol=1e-4, atol=1e-5)


def test_seeds_count_and_errors_shrink() -> None:
    def short(seed: int, num_replicas: int) -> ValleyRun:
        return simulate_valley(
            adam(), curvatures=[1.0], num_steps=50, burn_in=50, num_replicas=num_replicas, num_lags=1, seed=seed
        )

    few, other, many = short(0, 16), short(1, 16), short(0, 256)
    assert few.direction[0] != other.direction[0]
    assert many.direction_error[0] == pytest.approx(few.direction_error[0] / 4, rel=0.5)
    assert abs(few.gradient[0] - other.gradient[0]) < 5 * np.hypot(few.gradient_error[0], other.gradient_error[0])


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("curvatures", [-1.0]),
        ("curvatures", [1.0, 2.0, 3.0]),
        ("noise_rms", 0.0),
        ("burn_in", 5),
        ("num_steps", 0),
        ("num_replicas", 1),
        ("num_lags", 1001),
        ("seed", -1),
    ],
)
def test_bad_arguments_are_refused(name: str, bad: object) -> None:
    given: dict[str, object] = {"curvatures": [1.0], "num_steps": 10, "burn_in": 10, name: bad}
    with pytest.raises(InvalidParameter) as caught:
        simulate_valley(adam(), **given)  # type: ignore[arg-type]
    assert caught.value.name == name
