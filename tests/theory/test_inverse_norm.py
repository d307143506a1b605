"""Gradients like one over the norm: the derivations, the limits, and what a user can put in.

The simulations are in ``tests/experiments/studies/test_inverse_norm.py``.
"""

import numpy as np
import pytest
import sympy as sp
from numpy.typing import NDArray

from theory import AdamW, Constant, InvalidParameter, inverse_norm, predict_trajectory, second_moment
from theory.models import Moments
from theory.symbolic import positive

Array = NDArray[np.float64]


def run(
    num_steps: int, rate: float, decay: float, start: float, beta1: float = 0.9, beta2: float = 0.95, **more: object
) -> Moments:
    rates = np.full((num_steps, 1), rate)
    return inverse_norm.moments(rates, rates * decay, beta1, beta2, np.array([start]), **more)  # type: ignore[arg-type]


def angles(moments: Moments) -> Array:
    rho, p, s = moments.rho[:-1], moments.p, moments.s
    across = moments.steps * np.sqrt(rho * s - p**2)
    return np.arctan2(across, (1 - moments.shrinkage) * rho - moments.steps * p)


# Derivations


def test_the_scatter_of_the_second_moment_is_that_of_constant_size_where_the_size_is_constant() -> None:
    beta1, beta2, b, w, kappa = sp.symbols("beta_1 beta_2 b w kappa", positive=True)
    V_s, V_t, z, phi = sp.symbols("V_s V_t z phi")
    own = b * (1 - beta1**2) / (1 - beta1**2 * beta2)
    here = inverse_norm.derive_scatter().subs({V_s: b, V_t: b, z: own, phi: w})
    assert sp.simplify(here - second_moment.derive_first_order().subs(kappa, 3)) == 0


def test_relaxation_as_the_docstring_has_it() -> None:
    gamma, b, t = positive("gamma b t")
    derived = inverse_norm.derive_relaxation()
    slow, fast = derived["slow"], derived["fast"]
    stated = ((fast - gamma) * sp.exp(-slow * t) + (gamma - slow) * sp.exp(-fast * t)) / (fast - slow)
    for values in ({gamma: 0.3, b: 2.0, t: 0.7}, {gamma: 2.0, b: 0.1, t: 3.0}):
        assert float(derived["deviation"].subs(values)) == pytest.approx(float(stated.subs(values)), rel=1e-12)
        shrinkage, beta2 = values[gamma] / 2, 1 - values[b]
        assert float(slow.subs(values)) == pytest.approx(float(inverse_norm.relaxation_rates(shrinkage, beta2)))
        assert 0 < float(slow.subs(values)) < values[gamma] < float(fast.subs(values))  # so both shares are positive
    small = sp.Symbol("small", positive=True)
    assert sp.limit(slow.subs(b, small), small, 0) == 0
    assert sp.limit((slow / small).subs(b, small).simplify(), small, 0) == sp.Rational(1, 2)
    second = sp.series(slow.subs(gamma, small), small, 0, 3).removeO()
    assert sp.simplify(second - small * (1 - small / b)) == 0


@pytest.mark.long
@pytest.mark.parametrize(("beta2", "product"), [(0.9, 5e-4), (0.99, 1e-3), (0.999, 1e-3), (0.9995, 2e-3)])
def test_the_recursion_relaxes_at_the_rate_of_the_slow_limit(beta2: float, product: float) -> None:
    """From 1 % off, read between three and five relaxation times, when the fast part is gone. Slow limit: 2 %."""
    mu = float(inverse_norm.relaxation_rates(product, beta2))
    num_steps, settled = round(8 / mu), run(round(30 / mu), 0.01, product / 0.01, 0.1, 0.5, beta2).rho[-1, 0]
    rho = run(num_steps, 0.01, product / 0.01, 1.2 * np.sqrt(settled), 0.5, beta2).rho[:, 0]
    early, late = round(3 / mu), round(5 / mu)
    measured = np.log((rho[early] / settled - 1) / (rho[late] / settled - 1)) / (late - early)
    assert measured == pytest.approx(mu, rel=0.02)


@pytest.mark.parametrize("ratio", [0.25, 4.0])
def test_under_a_long_memory_the_norm_settles_like_one_over_the_root_of_time(ratio: float) -> None:
    """Long after a relaxation, 500 steps here. The slow limit leaves 2 %."""
    rate, decay = 1e-3, 1.0
    settled = np.sqrt(rate / (2 * decay))
    rms = np.sqrt(run(20_001, rate, decay, ratio * settled, 0.5, 1 - 1e-7).rho[:, 0])
    t, r_1 = positive("t r_1")
    derived = sp.lambdify((t, r_1), inverse_norm.derive_long_memory())
    inverse = (settled / rms) ** 2
    assert (inverse[20_000] - 1) / (inverse[5000] - 1) == pytest.approx(0.5, rel=0.02)
    assert float(derived(4.0, inverse[5000])) == pytest.approx(float(inverse[20_000]), rel=0.01)


# Limits and symmetries


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.95), (0.5, 0.9), (0.9, 0.999), (0.0, 0.98)])
def test_gradients_of_constant_scale_give_the_theory_at_finite_beta2(beta1: float, beta2: float) -> None:
    """A size at unit norm that goes like the norm makes a constant; the other theory is first order at its start."""
    optimizer = AdamW(learning_rate=0.01, weight_decay=0.3, beta1=beta1, beta2=beta2)
    white = predict_trajectory(optimizer, Constant(num_steps=1500), initial_rms=0.05, finite_beta2=True)
    rms = white.weight_rms[:, 0]
    moments = run(1500, 0.01, 0.3, 0.05, beta1, beta2, gradient_scale=rms)
    assert np.sqrt(moments.rho[:-1, 0]) == pytest.approx(rms, rel=4e-3)
    assert np.sqrt(moments.rho[-200:-1, 0]) == pytest.approx(rms[-199:], rel=1e-3)
    assert angles(moments)[-200:, 0] == pytest.approx(white.angular_update[-200:, 0], rel=1e-3)


@pytest.mark.parametrize("beta2", [0.9, 0.95, 0.999])
def test_it_settles_at_the_equilibrium_of_constant_scale(beta2: float) -> None:
    settled = second_moment.autocovariance(0.9, beta2)
    rate, decay = 0.01, 0.3
    c0, total = settled.variance, float(settled.weighted_sum(1 - rate * decay))
    rho = rate**2 * (c0 + 2 * (1 - rate * decay) * total) / (1 - (1 - rate * decay) ** 2)
    moments = run(12_000, rate, decay, 0.1, beta2=beta2, direction_ratio=0.8)
    assert moments.rho[-1, 0] == pytest.approx(0.64 * rho, rel=2e-3)


def test_the_first_order_takes_over_from_the_exact_fields_without_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept on the exact fields all along, at settings where v remembers a few large gradients for long."""
    settings = [(0.03, 0.3, 0.02, 0.5, 0.999), (0.01, 0.3, 0.4, 0.9, 0.9), (0.02, 0.5, 0.05, 0.0, 0.98)]
    mixed = [run(1500, *each) for each in settings]
    monkeypatch.setattr(inverse_norm, "LARGE_SCATTER", 0.0)
    for ours, each in zip(mixed, settings, strict=True):
        exact = run(1500, *each)
        assert np.sqrt(ours.rho) == pytest.approx(np.sqrt(exact.rho), rel=1e-3)
        assert angles(ours) == pytest.approx(angles(exact), rel=2e-3)


def test_many_settings_are_each_as_if_alone() -> None:
    """Above `FEW_SETTINGS` they advance as arrays; rates, decays and starts broadcast."""
    num_steps, starts = 700, np.geomspace(0.01, 1, 7)
    rates, decays = np.array([1e-3, 1e-2, 3e-2])[:, None], 0.3
    table = np.linspace(1, 0.2, num_steps)[:, None, None] * rates
    together = inverse_norm.moments(table, table * decays, 0.9, 0.98, starts)
    assert together.rho.shape == (num_steps + 1, 3, 7)
    assert together.p.shape == together.s.shape == together.steps.shape == (num_steps, 3, 7)
    for i in range(3):
        alone = inverse_norm.moments(table[:, i], table[:, i] * decays, 0.9, 0.98, starts[3:4])
        for one, every in zip(alone, together, strict=True):
            assert every[:, i, 3] == pytest.approx(one[:, 0], rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("beta2", [0.95, 0.99])
def test_the_first_order_takes_over_where_the_scatter_has_all_but_ended(beta2: float) -> None:
    """At constant size, where the sum of squared weights is that of a geometric series cut off."""
    direction = inverse_norm.FirstOrderDirection(0.0, beta2)
    steps = np.arange(1, 1000)
    scatter = 2 * (1 - beta2) / (1 + beta2) * (1 + beta2**steps) / (1 - beta2**steps)
    good = []
    for step in steps.tolist():
        direction.see(1.0)
        direction.move(0.01, 1.0)
        good.append(direction.good_from(step))
    np.testing.assert_array_equal(good, scatter < scatter[-1] + inverse_norm.SMALL_SCATTER)


@pytest.mark.parametrize(("beta2", "ever"), [(0.9, True), (0.89, False)])
def test_below_0_9_the_first_order_never_takes_over(beta2: float, ever: bool) -> None:
    direction = inverse_norm.FirstOrderDirection(0.0, beta2)
    for _ in range(200):
        direction.see(1.0)
        direction.move(0.01, 1.0)
    assert direction.good_from(200) is ever


@pytest.mark.parametrize(("beta2", "miss"), [(0.95, 6e-4), (0.99, 3e-5)])
def test_the_first_order_begins_as_a_sign_and_ends_as_it_does_at_constant_size(beta2: float, miss: float) -> None:
    """Without decay and at a rate of 1 the weights meet the sum of all lags, up to the square of the scatter."""
    direction, settled = inverse_norm.FirstOrderDirection(0.9, beta2), second_moment.autocovariance(0.9, beta2)
    direction.see(4.0)
    assert direction.square == pytest.approx(1, rel=0.02)
    for _ in range(round(40 / (1 - beta2))):
        direction.move(1.0, 1.0)
        direction.see(4.0)
    assert direction.square == pytest.approx(settled.variance, rel=1e-9)
    assert direction.alignment == pytest.approx(-float(settled.weighted_sum(1.0)), rel=miss)


def test_the_first_order_is_good_where_it_is_for_every_setting() -> None:
    direction = inverse_norm.FirstOrderDirection(0.0, 0.95)
    for variance in (np.array([1.0, 1e6]), *[np.ones(2)] * 150):
        direction.see(variance)
    alone = [direction.one(setting).good_from(151) for setting in range(2)]
    assert (alone, direction.good_from(151)) == ([True, False], False)


def test_rates_come_back_from_the_angles_of_a_run() -> None:
    """As it is unless something else is said: no decay, a direction of white noise."""
    for decay, given in ((0.0, {}), (0.3, {"weight_decay": 0.3})):
        turned = angles(run(80, 0.01, decay, 0.05))[:, 0]
        found = inverse_norm.rates_for_angles(turned, 0.9, 0.95, 0.05, **given)
        np.testing.assert_allclose(found, 0.01, rtol=1e-8)


@pytest.mark.parametrize(("beta1", "beta2"), [(0.9, 0.95), (0.5, 0.5), (0.0, 0.9)])
def test_the_first_step_is_a_sign_across_the_weights(beta1: float, beta2: float) -> None:
    moments = run(3, 0.01, 0.3, 0.05, beta1, beta2, direction_ratio=np.array([0.8, 1.0, 1.0]))
    assert moments.s[0, 0] == pytest.approx(0.64, rel=2e-4)
    assert moments.p[0, 0] == 0


def test_units_drop_out() -> None:
    """Rate and start times c and decay over c: the norm times c, the angle as it was. So does the gradient's unit."""
    base = run(800, 0.01, 0.3, 0.05, beta2=0.98)
    scaled = run(800, 0.07, 0.3 / 7, 0.35, beta2=0.98, gradient_scale=np.full(800, 1e3))
    assert scaled.rho == pytest.approx(49 * base.rho, rel=1e-9)
    assert angles(scaled) == pytest.approx(angles(base), rel=1e-9)


# What a user puts in


def test_a_direction_ratio_is_a_smaller_step() -> None:
    """It acts as the learning rate does in the update, not in the decay; a table of it step by step."""
    ratio = np.linspace(1, 0.7, 900)
    given = run(900, 0.01, 0.3, 0.05, beta2=0.98, direction_ratio=ratio)
    rates = np.full((900, 1), 0.01)
    as_rate = inverse_norm.moments(rates * ratio[:, None], rates * 0.3, 0.9, 0.98, np.array([0.05]))
    assert given.rho == pytest.approx(as_rate.rho, rel=1e-12)
    assert angles(given) == pytest.approx(angles(as_rate), rel=1e-9)
    assert np.sqrt(given.s[:, 0]) == pytest.approx(ratio * np.sqrt(as_rate.s[:, 0]), rel=1e-12)


@pytest.mark.long
def test_larger_early_gradients_against_monte_carlo() -> None:
    """The simulator has no such history. 400,000 entries of one vector; 0.3 % is five standard errors."""
    num_steps, num, beta1, beta2 = 400, 400_000, 0.9, 0.99
    rate, decay, start = 0.01, 0.3, 0.1
    size = 1 + 9 * np.exp(-np.arange(num_steps) / 40)
    theory = run(num_steps, rate, decay, start, beta1, beta2, gradient_scale=size)
    assert np.sqrt(theory.rho[150, 0]) < 0.9 * np.sqrt(run(num_steps, rate, decay, start, beta1, beta2).rho[150, 0])
    rng = np.random.default_rng(8)
    w = rng.standard_normal(num)
    w *= start / np.sqrt(np.mean(w**2))
    m, v = np.zeros(num), np.zeros(num)
    for t in range(num_steps):
        square = np.mean(w**2)
        assert np.sqrt(theory.rho[t, 0]) == pytest.approx(np.sqrt(square), rel=3e-3), t
        g = rng.standard_normal(num)
        g = (g - w * (np.mean(w * g) / square)) * (size[t] / np.sqrt(square))
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        u = m / (1 - beta1 ** (t + 1)) / np.sqrt(v / (1 - beta2 ** (t + 1)))
        if t % 50 == 0:
            assert theory.s[t, 0] == pytest.approx(np.mean(u**2), rel=1.5e-2), t
        w = (1 - rate * decay) * w - rate * u


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("direction_ratio", 0.0),
        ("direction_ratio", np.ones(9)),
        ("direction_ratio", np.nan),
        ("gradient_scale", np.ones(11)),
        ("gradient_scale", np.array([1.0] * 9 + [-1.0])),
    ],
)
def test_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter, match=name):
        run(10, 0.01, 0.3, 0.05, **{name: value})


def test_a_row_of_rates_or_of_decays_is_as_many_runs() -> None:
    row, same = np.tile([1e-3, 4e-3], (40, 1)), np.full(40, 2e-3)
    for rates, taken in ((row, same), (same, row)):
        both = inverse_norm.moments(rates, taken, 0.9, 0.95, 0.02)
        assert both.rho.shape == (41, 2)
        for k in range(2):
            single = [each if each.ndim == 1 else each[:, k] for each in (rates, taken)]
            alone = inverse_norm.moments(*single, 0.9, 0.95, 0.02)
            for found, expected in zip(both, alone, strict=True):
                np.testing.assert_allclose(found[:, k], expected, rtol=1e-6)
