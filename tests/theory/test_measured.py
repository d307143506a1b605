"""The account of a measured run closes: it is algebra, so that vectors made up at random have to obey it."""

from __future__ import annotations

import numpy as np
import pytest

from theory.measured import measured_moments, newest_weight

NUM_STEPS, BETA1 = 25, 0.8


def made_up(seed: int) -> tuple[dict[str, np.ndarray | float], np.ndarray, np.ndarray]:
    """A run of 40 weights with momentum along random gradients and large steps: what is measured of it, rho, p."""
    rng = np.random.default_rng(seed)
    rates, taken = rng.uniform(0.1, 0.5, NUM_STEPS), rng.uniform(0.0, 0.4, NUM_STEPS)
    w, m = rng.standard_normal(40), np.zeros(40)
    rho, p, s, r = [np.mean(w**2)], [], [], []
    for t in range(NUM_STEPS):
        g = rng.standard_normal(40) + 0.3 * w
        m = BETA1 * m + (1 - BETA1) * g
        u = m / (1 - BETA1 ** (t + 1))
        p, s, r = [*p, np.mean(w * u)], [*s, np.mean(u**2)], [*r, np.mean(w * g)]
        w = (1 - taken[t]) * w - rates[t] * u
        rho.append(np.mean(w**2))
    run = {"rates": rates, "shrinkage": taken, "update_rms": np.sqrt(s), "radial_gradient": np.array(r)}
    return {**run, "initial_rms": float(np.sqrt(rho[0]))}, np.array(rho), np.array(p)


def test_the_account_closes() -> None:
    run, rho, p = made_up(0)
    found = measured_moments(beta1=BETA1, **run)
    np.testing.assert_allclose(found[0], rho, rtol=1e-12)
    np.testing.assert_allclose(found[1], p, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["rates", "update_rms", "radial_gradient", "initial_rms"])
def test_a_row_of_anything_is_as_many_runs(name: str) -> None:
    run, rho, p = made_up(1)
    found = measured_moments(beta1=BETA1, **{**run, name: np.stack([run[name], run[name]], axis=-1)})
    for each, expected in zip(found, (rho, p), strict=True):
        np.testing.assert_allclose(each, np.stack([expected, expected], axis=-1), rtol=1e-12, atol=1e-12)


def test_the_newest_gradient_weighs_less_and_less() -> None:
    weights = newest_weight(NUM_STEPS, BETA1)
    assert weights.shape == (NUM_STEPS,)
    assert weights[0] == 1
    assert weights[1] == pytest.approx(1 / (1 + BETA1))
    assert weights[-1] == pytest.approx(1 - BETA1, rel=0.01)
