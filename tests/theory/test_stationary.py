"""The general formula: derivations solved again, sums by brute force, trajectories against a double loop."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import InvalidParameter, NoEquilibrium, adamh, adamw, driven, momentum, stationary
from theory.stationary import Autocovariance
from theory.symbolic import positive

C0, C1, C2 = LAGS = sp.symbols("c_0:3")
eta, alpha, x = positive("eta alpha x")  # x = 1 - alpha, which keeps digits
products = st.floats(1e-6, 0.3)
beta1s = st.floats(0.0, 0.98)


@functools.cache
def derive_equilibrium() -> dict[str, sp.Expr]:
    return stationary.derive_equilibrium(C0, C1 + alpha * C2)


@functools.cache
def derive_in_x() -> dict[str, sp.Expr]:
    """In x: the RMS, the sine and cosine of the angle, and the rate on the sphere."""
    exact = {name: value.subs(alpha, 1 - x) for name, value in derive_equilibrium().items()}
    return {
        "rms": sp.sqrt(sp.factor(exact["rho"])),
        "sine": sp.sqrt(sp.factor(1 - exact["cosine"] ** 2)),
        "cosine": exact["p"] / sp.sqrt(exact["rho"] * C0),
        "sphere": stationary.derive_sphere_learning_rate().subs(alpha, 1 - x),
    }


@st.composite
def moving_averages(draw: st.DrawFn) -> Autocovariance:
    """Autocovariances that exist: a short filter of white noise, plus an autoregression."""
    taps = np.array(draw(st.lists(st.floats(0.1, 1.0), min_size=3, max_size=3)))
    listed = np.correlate(taps, taps, "full")[2:]
    ratio = draw(st.floats(0.0, 0.95))
    return Autocovariance(
        variance=float(listed[0]) + 1.0,
        lags=listed[1:] + ratio ** np.arange(1, 3),
        amplitudes=np.array([ratio**3]),
        ratios=np.array([ratio]),
    )


def test_the_fixed_point_is_the_sum_over_all_that_is_left_of_the_updates() -> None:
    sums = stationary.derive_sums(2)
    assert sp.simplify(derive_equilibrium()["rho"] - sums["rho"]) == 0
    assert sp.simplify(derive_equilibrium()["p"] - sums["p"]) == 0


def test_on_the_sphere_the_fixed_point_has_the_norm_of_the_sphere() -> None:
    """The rate comes from the norm before projection; rho of the equilibrium, at that rate and shrink, is 1."""
    s = sp.Symbol("s", positive=True)
    rate = stationary.derive_sphere_learning_rate()
    rho = stationary.derive_equilibrium(sp.Integer(1), s)["rho"].subs(eta, rate * alpha)
    assert sp.simplify(rho - 1) == 0


def test_slow_limit_needs_the_variance_and_the_total_only() -> None:
    limits = stationary.derive_limits(C0, C1 + alpha * C2)
    total = C0 + 2 * C1 + 2 * C2
    assert sp.simplify(limits["rho"] - eta**2 * total / (2 * x)) == 0
    assert sp.simplify(limits["angle"] ** 2 - 2 * x * C0 / total) == 0
    assert sp.simplify(limits["growth"] - eta**2 * total) == 0


@settings(max_examples=30)
@given(st.floats(1e-4, 0.1), products, st.floats(0, 0.49), st.floats(0, 0.2))
def test_numbers_equal_the_derivation(rate: float, product: float, c1: float, c2: float) -> None:
    at = {"eta": rate, "x": product, "c_0": 1.0, "c_1": c1, "c_2": c2}
    update = Autocovariance.from_lags([1.0, c1, c2])
    decay = product / rate
    rms, sine, exact = (number(derive_in_x()[name], **at) for name in ("rms", "sine", "cosine"))
    assert stationary.equilibrium_rms(update, rate, decay) == pytest.approx(rms, rel=1e-10)
    angle = stationary.angular_update_equilibrium(update, rate, decay)
    assert np.sin(angle) == pytest.approx(sine, rel=1e-10)
    cosine = stationary.cosine_equilibrium(update, rate, decay)
    assert cosine == pytest.approx(exact, rel=1e-10, abs=1e-300)


@settings(max_examples=30)
@given(moving_averages(), st.floats(0.5, 0.999))
def test_weighted_sum_is_the_sum_over_lags(update: Autocovariance, shrink: float) -> None:
    k = np.arange(1, 3000)
    assert update.weighted_sum(shrink) == pytest.approx(np.sum(shrink ** (k - 1) * update.at(k)), rel=1e-10)
    assert update.total == pytest.approx(update.at(np.arange(-3000, 3001)).sum(), rel=1e-10)
    assert number(stationary.derive_mode_sum(), a=2.0, r=0.7, alpha=shrink) == pytest.approx(2 / (1 - 0.7 * shrink))


def test_a_listed_autocovariance_goes_on_with_its_tail() -> None:
    update = Autocovariance.from_lags([1.0, 0.5, 0.3], tail_ratio=0.9)
    np.testing.assert_allclose(update.at([0, 1, 2, 3, -4]), [1, 0.5, 0.3, 0.27, 0.243])
    alone = Autocovariance.from_lags([2.0], tail_ratio=0.5)
    np.testing.assert_allclose(alone.at([0, 1, 2, 3]), [2, 1, 0.5, 0.25])
    assert alone.total == pytest.approx(2 * (1 + 0.5) / (1 - 0.5))
    np.testing.assert_array_equal(Autocovariance.from_lags([2.0, 1.0]).at([[0, 1], [2, -3]]), [[2, 1], [0, 0]])
    assert Autocovariance.from_lags([2.0]).total == 2.0


def test_what_is_left_out_of_an_autocovariance_is_nothing() -> None:
    """White noise by its variance alone, and a mode from the first lag on: two ways to write each."""
    k = np.arange(-4, 5)
    np.testing.assert_array_equal(Autocovariance(variance=0.5).at(k), Autocovariance.from_lags([0.5]).at(k))
    mode = Autocovariance(variance=0.5, amplitudes=np.array([0.2]), ratios=np.array([-0.5]))
    np.testing.assert_allclose(mode.at(k), Autocovariance.from_lags([0.5, 0.2], tail_ratio=-0.5).at(k))
    shrinks = np.array([[0.0, 0.5], [0.9, 1.0]])
    for update, expected in ((mode, 0.2 / (1 + 0.5 * shrinks)), (Autocovariance(variance=0.5), np.zeros((2, 2)))):
        np.testing.assert_allclose(update.weighted_sum(shrinks), expected, rtol=1e-12)


@settings(max_examples=30)
@given(products, beta1s)
def test_it_contains_adamw_and_adamh(product: float, beta1: float) -> None:
    update = momentum.autocovariance(beta1)
    assert stationary.equilibrium_rms(update, 0.01, product / 0.01) == pytest.approx(
        adamw.equilibrium_rms(0.01, product / 0.01, beta1), rel=1e-12
    )
    assert stationary.angular_update_equilibrium(update, 1.0, product) == pytest.approx(
        adamw.angular_update_equilibrium(1.0, product, beta1), rel=1e-12
    )
    rate = stationary.sphere_learning_rate(update, product)
    assert rate == pytest.approx(adamh.matching_learning_rate(1 - product, beta1), rel=1e-10)
    s = float(update.weighted_sum(1 - product)) / update.variance
    assert rate == pytest.approx(number(derive_in_x()["sphere"], x=product, s=s), rel=1e-10)
    assert stationary.equivalent_decay(update, rate) == pytest.approx(product, rel=1e-9)


def by_double_loop(rates: np.ndarray, shrinkage: np.ndarray, c: np.ndarray, initial: float) -> tuple[np.ndarray, ...]:
    """p and rho from W as the sum of what is left of all updates; ``c`` (num_steps, num_steps) covariances."""
    num_steps = len(rates)
    p, rho = np.zeros(num_steps), np.zeros(num_steps + 1)
    for t in range(num_steps + 1):
        left = np.array([-rates[s] * np.prod(1 - shrinkage[s + 1 : t]) for s in range(t)])
        rho[t] = initial**2 * np.prod(1 - shrinkage[:t]) ** 2 + left @ c[:t, :t] @ left
        if t < num_steps:
            p[t] = left @ c[:t, t]
    return rho, p


@settings(max_examples=15)
@given(moving_averages(), st.integers(0, 2**32 - 1))
def test_trajectory_of_a_stationary_update(update: Autocovariance, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rates, shrinkage = rng.uniform(0.01, 0.1, 30), rng.uniform(0.0, 0.1, 30)
    steps = np.arange(30)
    rho, p = by_double_loop(rates, shrinkage, update.at(steps[:, None] - steps), 0.3)
    got_rho, got_p = driven.moments(rates, shrinkage, driven.stationary_drive(update, 30), 0.3)
    np.testing.assert_allclose(got_p, p, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(got_rho, rho, rtol=1e-10)


def test_a_trajectory_settles_at_the_equilibrium_and_broadcasts() -> None:
    update = Autocovariance.from_lags([1.0, 0.6, 0.3], tail_ratio=0.8)
    rates = np.full((3000, 1), 0.02)
    rho, p = driven.moments(rates, 0.5 * rates, driven.stationary_drive(update, 3000), np.array([0.01, 1.0]))
    assert rho.shape == (3001, 2)
    np.testing.assert_allclose(np.sqrt(rho[-1]), stationary.equilibrium_rms(update, 0.02, 0.5), rtol=1e-10)
    cosine = p[-1] / np.sqrt(rho[-2] * update.variance)
    np.testing.assert_allclose(cosine, stationary.cosine_equilibrium(update, 0.02, 0.5), rtol=1e-10)


def test_on_the_sphere_the_cosine_settles_at_that_of_the_equivalent_decay() -> None:
    update = Autocovariance(variance=2.0, amplitudes=np.array([0.5, 0.4]), ratios=np.array([0.9, 0.3]))
    cosines = driven.sphere_cosines(np.full(1000, 0.05), driven.stationary_drive(update, 1000))
    decay = stationary.equivalent_decay(update, 0.05)
    assert cosines[-1] == pytest.approx(float(stationary.cosine_equilibrium(update, 1.0, decay)), rel=1e-10)


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("variance", {"variance": 0.0}),
        ("variance", {"variance": np.nan}),
        ("variance", {"variance": np.inf}),
        ("lags", {"lags": [0.1, np.inf]}),
        ("amplitudes", {"amplitudes": [1.0, 1.0], "ratios": [0.5]}),
        ("amplitudes", {"amplitudes": [1.0, np.nan], "ratios": [0.5, 0.5]}),
        ("ratios", {"amplitudes": [1.0, 1.0], "ratios": [0.5, 1.0]}),
        ("ratios", {"amplitudes": [1.0, 1.0], "ratios": [-1.0, 0.5]}),
    ],
)
def test_what_is_no_autocovariance_is_refused(name: str, broken: dict[str, float | list[float]]) -> None:
    given = {
        "variance": 0.5,
        **{field: value if field == "variance" else np.array(value) for field, value in broken.items()},
    }
    with pytest.raises(InvalidParameter, match=f"{name} = "):
        Autocovariance(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [[], 1.0, [[1.0, 0.5]]])
def test_what_is_no_list_of_lags_is_refused(values: object) -> None:
    with pytest.raises(InvalidParameter, match="values = "):
        Autocovariance.from_lags(values)  # type: ignore[arg-type]


def test_settings_without_equilibrium_are_refused() -> None:
    """One of several is enough, whatever is asked for."""
    update = Autocovariance(variance=1.0)
    forms = [
        *(
            functools.partial(form, update)
            for form in (
                stationary.equilibrium_rms,
                stationary.cosine_equilibrium,
                stationary.angular_update_equilibrium,
            )
        ),
        stationary.relaxation_steps,
    ]
    for form in forms:
        with pytest.raises(NoEquilibrium, match="weight_decay = "):
            form(1e-3, [0.1, 0.0])
        for rates, decays, name in (
            ([1e-3, 0.0], 0.1, "learning_rate"),
            ([1e-3, np.inf], 0.1, "learning_rate"),
            (1e-3, [0.1, 1000.0], "weight_decay"),
            (1e-3, [0.1, -1.0], "weight_decay"),
        ):
            with pytest.raises(InvalidParameter, match=f"{name} = "):
                form(rates, decays)
    for rate in (-0.1, 0.0, np.inf):
        with pytest.raises(InvalidParameter, match="learning_rate = "):
            stationary.equivalent_decay(update, [0.1, rate])


def test_the_squared_norm_forgets_in_half_a_decay_time() -> None:
    np.testing.assert_allclose(stationary.relaxation_steps([1e-3, 0.5], [0.1, 0.2]), [5000, 5])
