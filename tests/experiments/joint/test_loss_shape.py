"""The shape of loss about its minimum: against integrals and differences, and never two minima."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from experiments.joint import loss_shape

SHAPES = [(0.0, 0.0, 0.0), (0.6, 0.4, 0.2), (-0.5, 1.0, -0.4), (0.3, -0.15, 0.5)]


@pytest.mark.parametrize("shape", SHAPES)
def test_rise_is_the_integral_of_the_slope(shape: tuple[float, float, float]) -> None:
    numbers = np.array(shape)
    for z in (-3.0, -0.4, 0.3, 2.5):
        area = quad(lambda t: float(loss_shape.slope(np.array(t), numbers)), 0, z, points=[0], epsabs=1e-12)[0]
        assert loss_shape.rise(np.array(z), numbers) == pytest.approx(area, rel=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_table_is_the_integral_at_every_place(shape: tuple[float, float, float]) -> None:
    grid, numbers = np.linspace(-7, 7, 1401), np.array(shape)
    rise, gradient = loss_shape.tabulate(grid, numbers)
    for place in (0, 400, 693, 700, 707, 1000, 1400):
        z = grid[place]
        assert rise[place] == pytest.approx(loss_shape.rise(z, numbers), rel=1e-6, abs=1e-12)
        np.testing.assert_allclose(gradient[place], loss_shape.shape_gradient(z, numbers), rtol=1e-6, atol=1e-9)


def test_tables_of_several_skews_are_those_of_each() -> None:
    grid, shape = np.linspace(-7, 7, 1401), np.array([0.3, 0.5, -0.2])
    skews = np.array([-1.5, 0.3, 2.0])
    for skew, (rise, gradient) in zip(skews, loss_shape.tabulate_each(grid, shape, skews), strict=True):
        alone = loss_shape.tabulate(grid, np.array([skew, *shape[1:]]))
        np.testing.assert_allclose(rise, alone[0], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(gradient, alone[1], rtol=1e-10, atol=1e-12)


def test_special_cases() -> None:
    z = np.linspace(-2.5, 2.5, 11)
    np.testing.assert_allclose(loss_shape.rise(z, np.zeros(3)), z**2 / 2, rtol=1e-12)
    np.testing.assert_allclose(loss_shape.rise(z, np.array([0, 1.0, 0])), np.cosh(z) - 1, rtol=1e-10)
    r, s = 0.75, 0.5  # powers a = r + s/2 = 1, b = r - s/2 = 0.5
    powers = (np.expm1(z) / 1.0 + np.expm1(-0.5 * z) / 0.5) / 1.5
    np.testing.assert_allclose(loss_shape.rise(z, np.array([s, r**2, 0])), powers, rtol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_against_differences(shape: tuple[float, float, float]) -> None:
    z, numbers, step = np.linspace(-3, 3, 13), np.array(shape), 1e-5
    for k in range(3):
        shifted = step * np.eye(3)[k]
        difference = (loss_shape.rise(z, numbers + shifted) - loss_shape.rise(z, numbers - shifted)) / (2 * step)
        np.testing.assert_allclose(loss_shape.shape_gradient(z, numbers)[:, k], difference, rtol=1e-5, atol=1e-8)


@given(st.floats(-3, 3), st.floats(0, 6), st.floats(-0.8, 0.8), st.floats(-8, 8).filter(lambda z: abs(z) > 1e-6))
def test_one_minimum(skew: float, growth: float, split: float, z: float) -> None:
    assert np.sign(loss_shape.slope(np.array(z), np.array([skew, growth, split]))) == np.sign(z)
