"""Linear recursions, solved at once, against the loop that they stand for."""

import numpy as np
import pytest

from theory.recursion import FEW_SETTINGS, affine_recursion


@pytest.mark.parametrize("num_settings", [1, FEW_SETTINGS, FEW_SETTINGS + 1])
@pytest.mark.parametrize("largest", [1.0, 1.5])
@pytest.mark.parametrize("num_steps", [0, 1, 200])
def test_it_is_the_loop(num_settings: int, largest: float, num_steps: int) -> None:
    """To rounding, for factors above 1 as well."""
    rng = np.random.default_rng(num_settings)
    factor = rng.uniform(0, largest, (num_steps, num_settings))
    offset, initial = rng.standard_normal((num_steps, num_settings)), rng.standard_normal(num_settings)
    expected = [initial]
    for a, b in zip(factor, offset, strict=True):
        expected.append(a * expected[-1] + b)
    np.testing.assert_allclose(affine_recursion(factor, offset, initial), expected, rtol=1e-12)
