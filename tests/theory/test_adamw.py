"""AdamW: derivations solved again, exact symmetries, limits, and the order at which the recursion tends to the ODE."""

import functools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import AdamW, Constant, InvalidParameter, NoEquilibrium, adamw, predict, predict_trajectory
from theory.symbolic import positive

learning_rates = st.floats(1e-5, 0.05)
weight_decays = st.floats(1e-3, 1.0)
beta1s = st.floats(0.0, 0.98)

derive_equilibrium, derive_slow_rms, derive_transient_steps = (
    functools.cache(derive)
    for derive in (adamw.derive_equilibrium, adamw.derive_slow_rms, adamw.derive_transient_steps)
)


@settings(max_examples=30)
@given(learning_rates, weight_decays, beta1s)
def test_equilibrium_forms_equal_the_solved_recursion(rate: float, decay: float, beta1: float) -> None:
    U = 0.7
    exact = derive_equilibrium()
    at = {"eta": rate, "lambda": decay, "beta_1": beta1, "U": U}
    assert adamw.equilibrium_rms(rate, decay, beta1, update_rms=U) == pytest.approx(
        number(exact["rms"], **at), rel=1e-10
    )
    assert adamw.cosine_equilibrium(rate, decay, beta1) == pytest.approx(
        number(exact["cosine_of_w_and_u"], **at), rel=1e-10
    )
    angle = adamw.angular_update_equilibrium(rate, decay, beta1)
    assert np.sin(angle) == pytest.approx(number(exact["sine"], **at), rel=1e-10)


def test_angles_compose_like_velocities() -> None:
    a, b = sp.symbols("a b", positive=True)
    composed = sp.tanh(sp.atanh(a) + sp.atanh(b)).rewrite(sp.exp).subs({a: 0.97, b: 0.9}).evalf()
    assert np.cos(adamw.angular_update_equilibrium(0.03, 1.0, 0.9)) == pytest.approx(float(composed), rel=1e-12)


def test_limits_are_the_familiar_ones() -> None:
    eta, lam, beta1 = positive("eta lambda beta_1")
    limits = adamw.derive_limits()
    at = {eta: sp.Rational(1, 1000), lam: sp.Rational(1, 10), beta1: sp.Rational(9, 10)}
    assert limits["rms"].subs(at).evalf() == pytest.approx(float(sp.sqrt(eta / (2 * lam)).subs(at)))
    familiar = sp.sqrt(2 * eta * lam * (1 - beta1) / (1 + beta1))
    assert limits["angle"].subs(at).evalf() == pytest.approx(float(familiar.subs(at)))
    assert sp.simplify(limits["relaxation_steps"] - 1 / (2 * eta * lam)) == 0
    assert sp.simplify(limits["growth"] - eta**2) == 0
    shrink = 1 - eta * lam
    assert sp.simplify(limits["rms_without_momentum"] ** 2 - eta**2 / (1 - shrink**2)) == 0
    assert sp.simplify(limits["sine_without_momentum"] ** 2 - (1 - shrink**2)) == 0


@given(learning_rates, weight_decays, beta1s, st.floats(0.1, 10))
def test_scaling_learning_rate_against_decay_scales_the_norm_and_leaves_the_angle(
    rate: float, decay: float, beta1: float, c: float
) -> None:
    assert adamw.equilibrium_rms(c * rate, decay / c, beta1) == pytest.approx(
        c * adamw.equilibrium_rms(rate, decay, beta1), rel=1e-9
    )
    assert adamw.angular_update_equilibrium(c * rate, decay / c, beta1) == pytest.approx(
        adamw.angular_update_equilibrium(rate, decay, beta1), rel=1e-9
    )


@given(st.floats(1e-4, 0.03), st.floats(0.03, 1.0), st.floats(0.005, 1.0), st.floats(0.1, 10))
def test_the_symmetry_holds_along_the_whole_trajectory(rate: float, decay: float, initial: float, c: float) -> None:
    one = predict_trajectory(AdamW(learning_rate=rate, weight_decay=decay), Constant(num_steps=50), initial_rms=initial)
    other = predict_trajectory(
        AdamW(learning_rate=c * rate, weight_decay=decay / c), Constant(num_steps=50), initial_rms=c * initial
    )
    np.testing.assert_allclose(other.weight_rms, c * one.weight_rms, rtol=1e-9)
    np.testing.assert_allclose(other.angular_update, one.angular_update, rtol=1e-9)


@settings(max_examples=20)
@given(st.floats(5e-4, 1e-2), st.floats(0.1, 1.0), beta1s.filter(lambda b: b < 0.95), st.floats(0.01, 1.0))
def test_the_recursion_settles_at_the_closed_form(rate: float, decay: float, beta1: float, initial: float) -> None:
    rates = np.full(int(15 / (rate * decay) + 1000), rate)  # a squared start 1e4 times too large is down to 1e-9
    rho, p, s = adamw.moments(rates, decay, beta1, 0.999999, initial)
    assert np.sqrt(rho[-1]) == pytest.approx(adamw.equilibrium_rms(rate, decay, beta1), rel=1e-5)
    cosine = p[-1] / np.sqrt(rho[-2] * s[-1])
    assert cosine == pytest.approx(adamw.cosine_equilibrium(rate, decay, beta1), rel=1e-4, abs=1e-9)


@given(st.floats(1, 1e4), learning_rates, weight_decays, st.floats(0.01, 1.0))
def test_slow_rms_equals_the_solved_equation(steps: float, rate: float, decay: float, initial: float) -> None:
    at = {"t": steps, "eta": rate, "lambda": decay, "rho_0": initial**2}
    assert adamw.slow_rms(steps, rate, decay, initial) == pytest.approx(number(derive_slow_rms(), **at), rel=1e-10)


def test_without_decay_the_squared_norm_grows_by_the_squared_rates() -> None:
    assert adamw.slow_rms(400, 1e-3, 0.0, 0.02) == pytest.approx(np.sqrt(0.02**2 + 400 * 1e-6))
    tiny = adamw.slow_rms(400, 1e-3, 1e-12, 0.02)
    assert tiny == pytest.approx(adamw.slow_rms(400, 1e-3, 0.0, 0.02), rel=1e-9)


@given(st.floats(1e-4, 1e-2), weight_decays, st.floats(1e-3, 0.9), st.sampled_from([0.01, 0.05, 0.2]))
def test_transient_equals_the_solved_equation(rate: float, decay: float, fraction: float, tolerance: float) -> None:
    initial = fraction * np.sqrt(rate / (2 * decay)) * (1 - tolerance)
    solved = number(derive_transient_steps(), **{"eta": rate, "lambda": decay, "rho_0": initial**2, "f": 1 - tolerance})
    assert adamw.slow_transient_steps(rate, decay, initial, tolerance) == pytest.approx(solved, rel=1e-9)


def test_a_transient_needs_a_decay_and_ends_at_either_edge() -> None:
    settled = np.sqrt(1e-3 / 0.2)
    starts = settled * np.array([0.0, 0.9, 0.95, 1.0, 1.1, 1.2, 2.0])
    steps = adamw.slow_transient_steps(1e-3, 0.1, starts, tolerance=0.1)
    by_hand = np.log([1 / 0.19, 1, 1, 1, 1, 0.44 / 0.21, 3 / 0.21]) / 2e-4
    np.testing.assert_allclose(steps, by_hand, rtol=1e-12, atol=1e-8)
    with pytest.raises(NoEquilibrium, match=r"^weight_decay = "):
        adamw.slow_transient_steps(1e-3, 0.0, 0.02)
    with pytest.raises(InvalidParameter, match=r"^learning_rate = "):
        adamw.slow_transient_steps(0.0, 0.1, 0.02)


@pytest.mark.parametrize("initial_over_equilibrium", [0.1, 0.5, 3.0])
def test_the_recursion_tends_to_the_slow_limit_at_first_order(initial_over_equilibrium: float) -> None:
    """Without momentum, at fixed elapsed relaxation, the relative error of rho falls like eta*lam."""
    products = np.array([4e-3, 2e-3, 1e-3, 5e-4])
    errors = []
    for product in products:
        rate, decay = product, 1.0
        initial = initial_over_equilibrium * np.sqrt(rate / 2)
        steps = round(0.5 / product)
        rho, _, _ = adamw.moments(np.full(steps, rate), decay, 0.0, 0.999, initial)
        errors.append(abs(np.sqrt(rho[-1]) / adamw.slow_rms(steps, rate, decay, initial) - 1))
    order = np.polyfit(np.log(products), np.log(errors), 1)[0]
    assert 0.9 < order < 1.1


def test_few_and_many_settings_give_the_same_trajectory() -> None:
    rates = np.linspace(1e-3, 1e-2, 40)
    many, _, _ = adamw.moments(np.tile(rates, (300, 1)), 0.3, 0.9, 0.95, 0.02)
    few, _, _ = adamw.moments(np.tile(rates[:2], (300, 1)), 0.3, 0.9, 0.95, 0.02)
    np.testing.assert_allclose(many[:, :2], few, rtol=1e-12)


@pytest.mark.parametrize("rates", [np.linspace(1e-3, 1e-2, 5), np.linspace(1e-3, 1e-2, 15).reshape(5, 3)])
def test_rates_decays_and_starts_broadcast(rates: np.ndarray) -> None:
    """A row of rates against a column of decays and further rows of starts, each as if alone."""
    decays, starts = np.array([[0.1], [0.3]]), np.array([0.02, 0.5, 1.0, 2.0])[:, None, None]
    rho, p, s = adamw.moments(rates, decays, 0.9, 0.95, starts)
    row = np.broadcast_shapes(rates.shape[1:], (4, 2, 1))
    assert (rho.shape, p.shape, s.shape) == ((6, *row), (5, *row), (5,))
    for i, j in np.ndindex(4, 2):
        alone = adamw.moments(rates.reshape(5, -1)[:, -1], decays[j, 0], 0.9, 0.95, starts[i, 0, 0])
        np.testing.assert_allclose(rho[:, i, j, -1], alone[0], rtol=1e-12)
        np.testing.assert_allclose(p[:, i, j, -1], alone[1], rtol=1e-12)


@pytest.mark.parametrize("beta1", [1.0, -0.1, [0.9, 1.0]])
def test_a_momentum_outside_its_range_is_refused(beta1: float) -> None:
    with pytest.raises(InvalidParameter, match="beta1"):
        adamw.equilibrium_rms(1e-3, 0.1, beta1)


def test_first_step_is_a_sign_update() -> None:
    first = predict_trajectory(AdamW(learning_rate=1e-3, weight_decay=0.1), Constant(num_steps=1), initial_rms=0.02)
    assert first.update_rms[0, 0] == pytest.approx(1)
    assert first.cosine[0, 0] == 0
    assert np.tan(first.angular_update[0, 0]) == pytest.approx(1e-3 / (0.02 * (1 - 1e-4)))


def test_no_equilibrium_without_decay() -> None:
    with pytest.raises(NoEquilibrium, match="sqrt"):
        predict(AdamW(learning_rate=1e-3, weight_decay=0.0), Constant(num_steps=10), initial_rms=0.02)
    grown = predict_trajectory(AdamW(learning_rate=1e-3, weight_decay=0.0), Constant(num_steps=500), initial_rms=0.02)
    assert np.all(np.diff(grown.weight_rms[50:, 0]) > 0)


@pytest.mark.parametrize(
    "broken",
    [
        {"learning_rate": -1e-3},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"weight_decay": -0.1},
        {"weight_decay": 1000.0},
        {"beta1": 1.0},
        {"beta2": -0.1},
        {"eps": -1.0},
        {"beta1": True},
        {"learning_rate": "1e-3"},
    ],
)
def test_bad_specs_are_refused_by_name(broken: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter) as caught:
        AdamW(**{"learning_rate": 1e-3, "weight_decay": 0.1, **broken})  # type: ignore[arg-type]
    assert caught.value.name == next(iter(broken))
    assert "\n" not in str(caught.value)
