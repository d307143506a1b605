"""AdamH: the equivalence with AdamW, its limits, and the recursion."""

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import (
    AdamH,
    Constant,
    Cosine,
    InvalidParameter,
    adamh,
    adamw,
    equilibrium,
    momentum,
    predict,
    predict_trajectory,
)
from theory.models import model_of

MATCHING = adamh.derive_matching_learning_rate()

rates = st.floats(1e-5, 0.3)
beta1s = st.floats(0.0, 0.98)


@given(st.floats(0.5, 0.999999), beta1s)
def test_matching_rate_equals_its_derivation(shrink: float, beta1: float) -> None:
    derived = number(MATCHING, alpha=shrink, beta_1=beta1)
    assert adamh.matching_learning_rate(shrink, beta1) == pytest.approx(derived, rel=1e-9)


def test_limits() -> None:
    limits = adamh.derive_limits()
    assert limits["angle_per_rate"] == 1
    assert sp.simplify(limits["rate_without_momentum"] - sp.tan(sp.acos(sp.Symbol("alpha", positive=True)))) == 0
    assert adamh.angular_update_equilibrium(1e-6, 0.9) == pytest.approx(1e-6, rel=1e-4)


@given(rates, beta1s)
def test_equivalent_decay_inverts_the_matching_rate(rate: float, beta1: float) -> None:
    shrink = 1 - adamh.equivalent_decay(rate, beta1)
    assert adamh.matching_learning_rate(shrink, beta1) == pytest.approx(rate, rel=1e-6)


@given(rates, beta1s)
def test_it_turns_like_the_equivalent_adamw(rate: float, beta1: float) -> None:
    decay = float(adamh.equivalent_decay(rate, beta1))
    assert adamh.angular_update_equilibrium(rate, beta1) == pytest.approx(
        adamw.angular_update_equilibrium(decay, 1.0, beta1), rel=1e-12
    )


@given(rates, beta1s)
def test_the_rate_of_an_angle_inverts_the_angle_of_a_rate(rate: float, beta1: float) -> None:
    angle = adamh.angular_update_equilibrium(rate, beta1)
    assert adamh.learning_rate_of_angle(angle, beta1) == pytest.approx(rate, rel=1e-9)


@given(rates)
def test_without_momentum_the_angle_is_the_arc_tangent(rate: float) -> None:
    assert adamh.angular_update_equilibrium(rate, 0.0) == pytest.approx(np.arctan(rate), rel=1e-9)


@given(st.floats(1e-4, 0.1), st.floats(0.0, 0.95))
def test_the_recursion_settles_at_the_closed_form(rate: float, beta1: float) -> None:
    steps = int(40 / (1 - beta1))
    optimizer = AdamH(learning_rate=rate, beta1=beta1, beta2=0.999999)
    last = predict_trajectory(optimizer, Constant(num_steps=steps + 4000), initial_rms=0.3)
    settled = equilibrium(optimizer, initial_rms=0.3)
    # the sample count of the second moment still grows like 1/t
    assert last.angular_update[-1, 0] == pytest.approx(settled.angular_update, rel=1e-4)
    assert last.cosine[-1, 0] == pytest.approx(settled.cosine, rel=2e-3, abs=1e-9)


def test_the_start_of_the_momentum() -> None:
    """At a vanishing rate the cosine sums up the correlations of the directions so far, start-up included."""
    steps, rate = np.arange(30), 1e-9
    s, r = momentum.update_variance(steps, 0.9), momentum.update_carry(steps, 0.9, 0.95)
    cosines = adamh.cosines(np.full(30, rate), 0.9, 0.95)
    for t in (1, 2, 5, 29):
        correlations = [s[i] * np.prod(r[i:t]) / np.sqrt(s[i] * s[t]) for i in range(t)]
        assert cosines[t] == pytest.approx(-rate * np.sum(correlations), rel=1e-7)


def test_the_norm_is_constant_and_there_is_no_transient() -> None:
    optimizer = AdamH(learning_rate=0.02)
    prediction = predict(optimizer, Cosine(num_steps=100, warmup_steps=10), initial_rms=0.4)
    assert (prediction.transient_steps, prediction.reaches_equilibrium) == (0, True)
    assert prediction.relaxation_steps is None
    assert prediction.num_relaxations is None
    assert prediction.final_rms == prediction.equilibrium_rms == 0.4
    trajectory = predict_trajectory(optimizer, Constant(num_steps=7), initial_rms=[0.1, 0.4], matrices=("a", "b"))
    np.testing.assert_array_equal(trajectory.weight_rms, np.tile([0.1, 0.4], (7, 1)))


def test_zero_initial_norm_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="initial_rms"):
        predict(AdamH(learning_rate=0.02), Constant(num_steps=5), initial_rms=0.0)


@given(rates, beta1s, st.integers(1, 30))
def test_rates_for_angles_invert_the_recursion(rate: float, beta1: float, num_steps: int) -> None:
    optimizer = AdamH(learning_rate=rate, beta1=beta1)
    schedule = Cosine(num_steps=num_steps, warmup_steps=num_steps // 3)
    angles = predict_trajectory(optimizer, schedule, initial_rms=0.02).angular_update
    found = adamh.rates_for_angles(angles, beta1, optimizer.beta2)[:, 0]
    assert found == pytest.approx(rate * schedule.multipliers(), rel=1e-9, abs=1e-15)


def test_an_angle_that_no_rate_gives_is_named() -> None:
    assert adamh.rates_for_angles([1.5, 0.0])[1] == 0
    for beyond in (1.6, np.pi / 2, -1e-9):
        with pytest.raises(InvalidParameter, match="angles"):
            adamh.rates_for_angles([0.1, beyond])
    for rate in (0.0, np.inf, [0.01, 0.0]):
        with pytest.raises(InvalidParameter, match="learning_rate"):
            adamh.equivalent_decay(rate)
    assert np.isnan(adamh.learning_rate_of_angle([0.0, -0.1])).all()
    edge = np.arccos(0.9) * (1 + 1e-16 * np.arange(-300, 300))
    assert not np.isinf(adamh.learning_rate_of_angle(edge)).any()


def test_the_norm_is_held_before_each_step_and_after_the_last() -> None:
    held = model_of(AdamH(learning_rate=1e-2)).moments(np.full(5, 1e-2), np.array([0.1, 0.3]))
    np.testing.assert_allclose(held.rho, np.tile([0.01, 0.09], (6, 1)), rtol=1e-15)
