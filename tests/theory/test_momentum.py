"""The statistics of Adam's direction against direct Monte Carlo of m/sqrt(v), start-up included."""

import numpy as np
import pytest

from theory import momentum


def simulated_directions(beta1: float, beta2: float, num_steps: int, replicas: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    m, v = np.zeros(replicas), np.zeros(replicas)
    u = np.empty((num_steps, replicas))
    for t in range(num_steps):
        g = rng.standard_normal(replicas)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        u[t] = (m / (1 - beta1 ** (t + 1))) / np.sqrt(v / (1 - beta2 ** (t + 1)))
    return u


def test_variance_and_carry_from_the_first_step_on() -> None:
    """beta2 so close to 1 that the average is a plain mean: the formulas are exact there.

    40 comparisons at |z| < 5: a false alarm in 2 of 100,000 runs.
    """
    u = simulated_directions(0.9, 1 - 1e-9, num_steps=20, replicas=400_000, seed=1)
    steps = np.arange(20)
    variance = momentum.update_variance(steps, 0.9)
    squares = u**2
    z = (squares.mean(1) - variance) / (squares.std(1) / np.sqrt(u.shape[1]) + 1e-12)
    assert np.all(np.abs(z) < 5)
    products = u[:-1] * u[1:]
    expected = momentum.update_carry(steps[:-1], 0.9, 1 - 1e-9) * variance[:-1]
    z = (products.mean(1) - expected) / (products.std(1) / np.sqrt(u.shape[1]))
    assert np.all(np.abs(z) < 5)


def test_covariances_factorise() -> None:
    """At lag 7 the covariance is the product of the carries between."""
    u = simulated_directions(0.9, 1 - 1e-9, num_steps=11, replicas=400_000, seed=2)
    product = u[3] * u[10]
    carries = momentum.update_carry(np.arange(3, 10), 0.9, 1 - 1e-9)
    expected = momentum.update_variance(3, 0.9) * np.prod(carries)
    assert abs(product.mean() - expected) < 5 * product.std() / np.sqrt(u.shape[1])


def test_the_first_two_directions_by_hand() -> None:
    r"""A sign, and :math:`(\beta_1g_0+g_1)/(1+\beta_1)` over the RMS of both gradients. If these point to an angle
    :math:`\phi`, the product has the mean :math:`\beta_1/(1+\beta_1)\cdot\sqrt2|\cos\phi|`."""
    for beta1 in (0.0, 0.3, 0.9):
        expected = beta1 / (1 + beta1) * 2 * np.sqrt(2) / np.pi
        assert momentum.update_carry(0, beta1, 1 - 1e-9) == pytest.approx(expected, rel=1e-8)


def test_stationary_values() -> None:
    assert momentum.update_variance(0, 0.9) == pytest.approx(1)
    assert momentum.update_variance(10_000, 0.9) == pytest.approx(0.1 / 1.9)
    assert momentum.stationary_update_rms(0.9) ** 2 == pytest.approx(0.1 / 1.9)
    assert momentum.update_carry(10_000, 0.9, 0.95) == pytest.approx(0.9)
    assert momentum.update_carry(0, 0.0, 0.95) == 0


@pytest.mark.parametrize(("beta1", "steps"), [(0.0, 10), (0.5, 20), (0.9, 100), (0.97, 334), (0.99, 1000)])
def test_ten_memories_are_whole_steps(beta1: float, steps: int) -> None:
    """Rounded up, and 10/(1 - 0.9) is 100 though not in floats."""
    assert momentum.startup_steps(beta1) == steps


def test_effective_samples_counts_a_plain_mean_and_saturates() -> None:
    np.testing.assert_allclose(momentum.effective_samples(np.arange(5), 1 - 1e-9), np.arange(1, 6), rtol=1e-6)
    assert momentum.effective_samples(100_000, 0.99) == pytest.approx(1.99 / 0.01)
    weights = 0.01 * 0.99 ** np.arange(30)
    assert momentum.effective_samples(29, 0.99) == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.95), (0.9, 0.999), (0.0, 0.0), (0.99, 0.5)])
@pytest.mark.parametrize("num_steps", [1, 40, 60_000])
def test_the_drive_is_the_formulas_bit_for_bit(beta1: float, beta2: float, num_steps: int) -> None:
    """Also where it repeats the last step of which a power was taken."""
    drive, steps = momentum.drive(num_steps, beta1, beta2), np.arange(num_steps)
    ((entry, carry),) = drive.modes()
    s, r = momentum.update_variance(steps, beta1), momentum.update_carry(steps, beta1, beta2)
    np.testing.assert_array_equal(drive.variance, s)
    np.testing.assert_array_equal(carry, r)
    np.testing.assert_array_equal(entry, s * r)
