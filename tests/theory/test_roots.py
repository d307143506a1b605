"""Roots: to the last bits over sixty powers of ten, side by side, and what has none."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from theory.roots import root_between, solve_rising


@given(st.lists(st.tuples(st.floats(-30, 30), st.floats(-3, 3)), max_size=6))
def test_a_rising_function_is_inverted_to_the_last_bits(exponents: list[tuple[float, float]]) -> None:
    target, scale = 10.0 ** np.array(exponents).reshape(-1, 2).T
    found = solve_rising(lambda y, c: c * y / (1 - y), target, scale)
    # ln y is exact to two units in its last place, so y to 2 eps |ln y|
    np.testing.assert_allclose(found, target / (scale + target), rtol=1e-15 * (1 + 33 * np.log(10)))


def test_a_target_that_is_not_reached_gives_one() -> None:
    np.testing.assert_allclose(solve_rising(lambda y: 2 * y, [1.0, 2.5]), [0.5, 1.0], rtol=1e-15)


def test_roots_near_one_have_their_last_bit_and_those_below_the_smallest_are_not_looked_for() -> None:
    left = np.geomspace(1e-10, 0.5, 5000)  # 1 - y
    found = solve_rising(lambda y, c: c * y / (1 - y), (1 - left) / left, 1.0)
    np.testing.assert_allclose(1 - found, left, rtol=0, atol=2**-52)
    np.testing.assert_allclose(solve_rising(lambda y: y, np.exp([-699.0, -701.0])), [np.exp(-699), np.nan], rtol=1e-12)


def test_roots_broadcast_and_are_nan_where_no_sign_changes() -> None:
    found = root_between(lambda x, c: x**2 - c, 0.0, [[1.0], [2.0]], [0.25, 1.0, 2.0])
    np.testing.assert_allclose(found, [[0.5, 1.0, np.nan], [0.5, 1.0, np.sqrt(2)]], rtol=4e-16)
    assert root_between(lambda x: x - 0.1, 0.0, 1.0).shape == ()


def test_what_only_describes_a_run_does_not_wait_for_the_solver() -> None:
    code = "import sys, theory; sys.exit('scipy.optimize' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
