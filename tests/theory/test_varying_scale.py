"""Adam's direction under gradients of varying size: against the known limits, and against brute-force Monte Carlo."""

import numpy as np
import pytest
from numpy.typing import NDArray

from theory import InvalidParameter, driven, momentum, second_moment
from theory.varying_scale import HIGHEST, LOWEST, SPACING, ExactDirection, _quadrature

Array = NDArray[np.float64]

RATE, ALPHA = 0.01, 0.995


def run(sizes: Array, beta1: float, beta2: float) -> tuple[Array, Array]:
    """Mean square and alignment at every step, for sizes (num_steps, num_settings) of the gradient."""
    direction = ExactDirection(sizes.shape[1], beta1, beta2)
    square, alignment = np.empty_like(sizes), np.empty_like(sizes)
    for t, size in enumerate(sizes):
        direction.see(size**2)
        square[t], alignment[t] = direction.square, direction.alignment
        direction.move(np.full(len(size), RATE), np.full(len(size), ALPHA))
    return square, alignment


@pytest.mark.long
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.95), (0.95, 0.9), (0.5, 0.98), (0.0, 0.99), (0.9, 0.5)])
def test_constant_size_is_the_stationary_state(beta1: float, beta2: float) -> None:
    """`theory.second_moment` has it by other integrals."""
    settled = second_moment.autocovariance(beta1, beta2)
    square, alignment = run(np.ones((3000, 1)), beta1, beta2)
    assert square[-1, 0] == pytest.approx(settled.variance, rel=2e-4)
    assert alignment[-1, 0] == pytest.approx(-RATE * float(settled.weighted_sum(ALPHA)), rel=4e-4)


@pytest.mark.parametrize("beta1", [0.9, 0.3])
def test_the_start_where_the_second_moment_is_a_plain_mean(beta1: float) -> None:
    """`theory.momentum` is exact there: a sign at the first step, radii that differ between steps."""
    num_steps, beta2 = 60, 1 - 1e-7
    square, alignment = run(np.ones((num_steps, 1)), beta1, beta2)
    drive = momentum.drive(num_steps, beta1, beta2)
    rates = np.full((num_steps, 1), RATE)
    _, p = driven.moments(rates, np.full_like(rates, 1 - ALPHA), drive, 1.0)
    assert square[:, 0] == pytest.approx(drive.variance, rel=2e-4)
    assert alignment[0] == 0
    assert alignment[1:] == pytest.approx(p[1:], rel=2e-4)


def sizes_that_jump() -> Array:
    """A first gradient that outweighs all others, a late burst, and a decay over four orders of magnitude."""
    sizes = np.ones((120, 3))
    sizes[0, 0], sizes[60:63, 1] = 30.0, 20.0
    sizes[:, 2] = 10.0 ** np.linspace(2, -2, 120)
    return sizes


@pytest.mark.long
@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.99), (0.5, 0.9), (0.6, 0.3)])
def test_any_history_against_monte_carlo(beta1: float, beta2: float) -> None:
    """100 pairs of means of 250,000 entries each: at 5 standard errors one in 10,000 runs would fail on fresh draws."""
    sizes, num = sizes_that_jump(), 250_000
    square, alignment = run(sizes, beta1, beta2)
    rng = np.random.default_rng(3)
    w, m, v = (np.zeros((sizes.shape[1], num)) for _ in range(3))
    compared = (0, 1, 2, 5, 12, 30, 61, 63, 66, 80, 119)
    for t, size in enumerate(sizes):
        g = size[:, None] * rng.standard_normal(num)
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        u = m / (1 - beta1 ** (t + 1)) / np.sqrt(v / (1 - beta2 ** (t + 1)))
        if t in compared:
            for simulated, theory in ((u * u, square[t]), (w * u, alignment[t])):
                error = 5 * simulated.std(axis=1) / np.sqrt(num) + 3e-4 * np.abs(theory)
                assert np.all(np.abs(simulated.mean(axis=1) - theory) < error + 1e-15), t
        w = ALPHA * w - RATE * u


@pytest.mark.parametrize(("beta1", "beta2"), [(0.8, 0.95), (0.5, 0.3)])
def test_the_fields_are_those_of_the_whole_history(beta1: float, beta2: float) -> None:
    """F and G by their definition, at points that follow 1/v cell by cell and end where nothing is left: exact but for
    what is taken up at the lowest, where a whole gradient may be :math:`e^{-7}` from its limit."""
    sizes = sizes_that_jump()
    direction = ExactDirection(3, beta1, beta2)
    assert not direction.square.any()
    assert direction._points[[0, -1]] == pytest.approx([LOWEST, HIGHEST])
    for t, size in enumerate(sizes):
        direction.see(size**2)
        age = np.arange(t, -1, -1)[:, None]
        in_v, in_m = (1 - beta2) * beta2**age * sizes[: t + 1] ** 2, ((1 - beta1) * beta1**age * sizes[: t + 1]) ** 2
        lowest = np.log(direction._z[0] * in_v.sum(axis=0))
        assert np.all((lowest > LOWEST - 1e-9) & (lowest < LOWEST + SPACING))
        damped = 1 / (1 + 2 * direction._z[:, None] * in_v)
        survival, squares = np.prod(np.sqrt(damped), axis=1), np.sum(in_m * damped, axis=1)
        np.testing.assert_allclose(direction._survival, survival, rtol=0, atol=1e-6)
        error = np.abs(direction._survival * direction._squares - survival * squares)
        assert np.all(error < 1e-3 * in_m.sum(axis=0))
        direction.move(np.full(3, RATE), np.full(3, ALPHA))
    assert 14 <= len(direction._z) <= 27


def test_integrals_of_a_square_have_their_closed_forms() -> None:
    r"""Of :math:`(1+z)^{-2}`, which falls as fields do. What is below the lowest point costs the first and the second
    what is left here, the interpolation the third."""
    points, by_area, by_root, sums = _quadrature()
    z = np.exp(points)
    field = (1 + z) ** -2.0
    assert by_area @ field == pytest.approx(1, abs=1.5e-6)
    assert by_root @ field == pytest.approx(np.pi / 2, rel=6e-5)
    low = z < 3
    np.testing.assert_allclose((sums @ field)[low], np.pi / 2 * (1 + z[low]) ** -1.5, rtol=1e-3)
    assert not sums[-1].any()  # nothing lies above the highest point


def test_the_unit_of_the_gradient_drops_out() -> None:
    sizes = sizes_that_jump()
    for one, other in zip(run(sizes, 0.9, 0.95), run(1e-12 * sizes, 0.9, 0.95), strict=True):
        assert other == pytest.approx(one, rel=1e-9)


def test_settings_do_not_see_each_other() -> None:
    """Points are moved for each setting by itself, and dropped only where none needs them."""
    sizes = sizes_that_jump()
    together = run(sizes, 0.8, 0.95)
    for k in range(sizes.shape[1]):
        for one, all_of_them in zip(run(sizes[:, k : k + 1], 0.8, 0.95), together, strict=True):
            assert all_of_them[:, k] == pytest.approx(one[:, 0], rel=1e-4)


@pytest.mark.parametrize(("beta1", "beta2"), [(1.0, 0.9), (0.9, 0.05), (0.9, 1.0)])
def test_refused(beta1: float, beta2: float) -> None:
    with pytest.raises(InvalidParameter):
        ExactDirection(1, beta1, beta2)
