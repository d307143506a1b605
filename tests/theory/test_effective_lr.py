"""Effective learning rate: the triangle on real vectors, conversions both ways, rules, whole models, batches."""

import functools

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import (
    WSD,
    AdamH,
    AdamW,
    Cosine,
    InvalidParameter,
    adamh,
    adamw,
    effective_lr,
    persistent_gradients,
    predict_trajectory,
)
from theory.symbolic import positive

derive_triangle, derive_rule_factors, derive_signal = (
    functools.cache(derive)
    for derive in (effective_lr.derive_triangle, effective_lr.derive_rule_factors, effective_lr.derive_signal)
)

shrinks = st.floats(0.5, 1.0)
cosines = st.floats(-0.95, 0.95)
steps = st.floats(1e-6, 0.3)
beta1s = st.floats(0.0, 0.98)


@given(steps, cosines, shrinks, st.floats(0.1, 100))
def test_the_triangle_equals_its_derivation(step: float, cosine: float, shrink: float, norm: float) -> None:
    at = {"h": step, "c": cosine, "a": shrink}
    angle = effective_lr.angle_from_norm_ratio(step / norm, norm, shrink=shrink, cosine=cosine)
    growth = effective_lr.norm_growth(step / norm, norm, shrink=shrink, cosine=cosine)
    assert angle == pytest.approx(number(derive_triangle()["angle"], **at), rel=1e-10)
    assert growth == pytest.approx(number(derive_triangle()["growth"], **at), rel=1e-10)
    relative = effective_lr.relative_update_from_angle(angle, growth)
    exact = number(derive_triangle()["relative_from_angle"], theta=float(angle), G=float(growth))
    assert relative == pytest.approx(exact, rel=1e-10)
    assert relative == pytest.approx(number(derive_triangle()["relative_update"], **at), rel=1e-9, abs=1e-15)
    back = effective_lr.norm_ratio_from_angle(angle, norm, shrink=shrink, cosine=cosine)
    assert back == pytest.approx(
        number(derive_triangle()["norm_ratio"], theta=float(angle), c=cosine, a=shrink) / norm, rel=1e-10
    )
    assert back == pytest.approx(step / norm, rel=1e-9)


def test_a_step_is_across_the_weights_and_without_decay_unless_told() -> None:
    told = {"shrink": 1.0, "cosine": 0.0}
    for function in (
        effective_lr.angle_from_norm_ratio,
        effective_lr.norm_ratio_from_angle,
        effective_lr.norm_growth,
    ):
        assert function(0.01, 3.0) == function(0.01, 3.0, **told)


@given(st.floats(1e-4, 2.5), st.floats(0.5, 2.0))
def test_relative_update_and_angle_invert_each_other(angle: float, growth: float) -> None:
    relative = effective_lr.relative_update_from_angle(angle, growth)
    assert effective_lr.angle_from_relative_update(relative, growth) == pytest.approx(angle, rel=1e-6)
    assert effective_lr.relative_update_from_angle(angle) == pytest.approx(float(effective_lr.chord(angle)))


def test_the_three_definitions_of_real_vectors() -> None:
    rng = np.random.default_rng(0)
    w, u = rng.normal(size=(2, 500))
    moved = 0.97 * w - 0.05 * u
    cosine = w @ u / np.linalg.norm(w) / np.linalg.norm(u)
    ratio = 0.05 / np.linalg.norm(w)
    angle = effective_lr.angle_from_norm_ratio(ratio, np.linalg.norm(u), shrink=0.97, cosine=cosine)
    unit, unit_moved = w / np.linalg.norm(w), moved / np.linalg.norm(moved)
    assert angle == pytest.approx(np.arccos(unit @ unit_moved), rel=1e-9)
    assert effective_lr.chord(angle) == pytest.approx(np.linalg.norm(unit_moved - unit), rel=1e-12)
    growth = effective_lr.norm_growth(ratio, np.linalg.norm(u), shrink=0.97, cosine=cosine)
    relative = np.linalg.norm(moved - w) / np.linalg.norm(w)
    assert effective_lr.relative_update_from_angle(angle, growth) == pytest.approx(relative, rel=1e-12)


@given(st.floats(1e-4, 0.03), st.floats(0.01, 1.0), beta1s)
def test_at_equilibrium_the_norm_ratio_becomes_the_angle(rate: float, decay: float, beta1: float) -> None:
    rms = adamw.equilibrium_rms(rate, decay, beta1)
    update = np.sqrt((1 - beta1) / (1 + beta1))
    angle = effective_lr.angle_from_norm_ratio(
        rate / rms, update, shrink=1 - rate * decay, cosine=adamw.cosine_equilibrium(rate, decay, beta1)
    )
    assert angle == pytest.approx(float(adamw.angular_update_equilibrium(rate, decay, beta1)), rel=1e-8)


# AdamW and AdamH


@given(st.floats(1e-5, 0.05), st.floats(0.01, 1.0), beta1s)
def test_adamw_to_adamh_and_back(rate: float, decay: float, beta1: float) -> None:
    sphere = effective_lr.adamh_from_adamw(rate, decay, beta1)
    assert effective_lr.adamw_from_adamh(sphere, decay, beta1) == pytest.approx(rate, rel=1e-6)
    assert adamh.angular_update_equilibrium(sphere, beta1) == pytest.approx(
        float(adamw.angular_update_equilibrium(rate, decay, beta1)), rel=1e-6
    )


@pytest.mark.parametrize("schedule", [WSD(num_steps=800, warmup_steps=50), Cosine(num_steps=800)], ids=lambda s: s.name)
def test_adamh_replays_the_angles_of_adamw(schedule: WSD | Cosine) -> None:
    """The implicit schedule: AdamH driven by the replayed rates turns by the same angle at every step."""
    original = predict_trajectory(AdamW(learning_rate=3e-3, weight_decay=0.5), schedule, initial_rms=0.05)
    rates = adamh.rates_for_angles(original.angular_update[:, 0])
    c = adamh.cosines(rates, 0.9, 0.95)
    replayed = np.arctan2(rates * np.sqrt(1 - c**2), 1 - rates * c)
    np.testing.assert_allclose(replayed, original.angular_update[:, 0], rtol=1e-10)


def test_a_constant_adamh_run_replays_itself() -> None:
    run = predict_trajectory(AdamH(learning_rate=0.02), WSD(num_steps=300, decay_fraction=0.0), initial_rms=0.4)
    rates = adamh.rates_for_angles(run.angular_update[:, 0])
    np.testing.assert_allclose(rates, 0.02, rtol=1e-9)


@given(st.floats(1e-5, 0.05), st.floats(0.01, 1.0))
def test_the_two_conventions_of_decay_invert_each_other(rate: float, decay: float) -> None:
    independent = effective_lr.independent_weight_decay(rate, decay)
    assert effective_lr.pytorch_weight_decay(rate, independent) == pytest.approx(decay)
    doubled = effective_lr.pytorch_weight_decay(2 * rate, independent)
    angles = [adamw.angular_update_equilibrium(r, d) for r, d in ((rate, decay), (2 * rate, doubled))]
    assert angles[0] == pytest.approx(float(angles[1]), rel=1e-9)  # the rate sets the norm and nothing else


# Rules of thumb


@given(st.sampled_from(sorted(effective_lr.RULES)), st.floats(1e-5, 0.1), st.floats(1e-3, 1.0), beta1s)
def test_rules_equal_their_formulas(name: str, rate: float, decay: float, beta1: float) -> None:
    rule = effective_lr.RULES[name]
    value = rule.value(np.asarray(rate), np.asarray(decay), np.asarray(beta1))
    solved = number(rule.formula, **{"eta": rate, "lambda": decay, "beta_1": beta1})
    assert value == pytest.approx(solved, rel=1e-10)
    exact = float(adamw.angular_update_equilibrium(rate, decay, beta1))
    assert effective_lr.rule_factor(name, rate, decay, beta1) == pytest.approx(value / exact, rel=1e-12)


@given(beta1s)
def test_factors_between_rules_tend_to_their_limits(beta1: float) -> None:
    for name, factor in derive_rule_factors().items():
        limit = number(factor, beta_1=beta1)
        assert effective_lr.rule_factor(name, 1e-9, 1e-3, beta1) == pytest.approx(limit, rel=1e-8)


def test_the_widely_copied_rule_is_three_times_too_large() -> None:
    assert effective_lr.rule_factor("root of eta lam", 1e-3, 0.1) == pytest.approx(3.08, abs=0.01)
    assert effective_lr.rule_factor("angle", 1e-3, 0.1) == pytest.approx(1, abs=1e-4)
    with pytest.raises(InvalidParameter, match="rule"):
        effective_lr.rule_factor("guess", 1e-3, 0.1)


def test_the_rate_over_rms_is_what_accumulates() -> None:
    """Squared rotation over k steps of momentum noise is k times 2 eta lam, not k times the squared angle of one."""
    rng = np.random.default_rng(3)
    beta1, steps_run, dim = 0.9, 400, 4000
    m = rng.normal(size=dim) * np.sqrt((1 - beta1) / (1 + beta1))
    moved = np.zeros(dim)
    for _ in range(steps_run):
        m = beta1 * m + (1 - beta1) * rng.normal(size=dim)
        moved += m
    per_step = np.mean(moved**2) / steps_run  # in units of eta^2; rate over RMS squared is eta^2/rho
    error = np.sqrt(2 / dim)
    edge = 2 * beta1 / (1 - beta1**2) / steps_run  # momentum that has not yet been spent
    assert abs(per_step - (1 - edge)) < 4 * error  # false alarm 6e-5
    assert abs(per_step - (1 - beta1) / (1 + beta1)) > 20 * error


# Whole models and batches


def test_a_model_turns_like_its_concatenated_matrices() -> None:
    rng = np.random.default_rng(1)
    sizes = [60, 300, 1200]
    before, after, angles = [], [], []
    for size, scale in zip(sizes, (0.01, 0.2, 3.0), strict=True):
        w = scale * rng.normal(size=size)
        moved = 0.99 * w + 0.05 * scale * rng.normal(size=size)
        units = [x / np.linalg.norm(x) for x in (w, moved)]
        angles.append(np.arccos(units[0] @ units[1]))
        before.append(np.sqrt(size) * units[0])
        after.append(np.sqrt(size) * units[1])
    whole, moved = np.concatenate(before), np.concatenate(after)
    expected = np.arccos(whole @ moved / np.linalg.norm(whole) / np.linalg.norm(moved))
    assert effective_lr.model_angle(angles, sizes) == pytest.approx(expected, rel=1e-9)


def test_cutting_a_matrix_leaves_the_model_angle_alone() -> None:
    """Rows of equal RMS before and after, so that the block angles are those of the fused matrix."""
    rng = np.random.default_rng(2)
    w, moved = rng.normal(size=(2, 3, 400))
    w, moved = (x / np.sqrt((x**2).mean(axis=1, keepdims=True)) for x in (w, w + 0.1 * moved))
    angles = [np.arccos(a @ b / 400) for a, b in zip(w, moved, strict=True)]
    fused = np.arccos(w.ravel() @ moved.ravel() / 1200)
    assert effective_lr.model_angle(angles, [400, 400, 400]) == pytest.approx(fused, rel=1e-9)
    assert effective_lr.model_angle([fused, 0.3], [1200, 500]) == pytest.approx(
        float(effective_lr.model_angle([*angles, 0.3], [400, 400, 400, 500])), rel=1e-9
    )


@given(st.floats(1e-4, 1e3), beta1s)
def test_signal_forms_equal_their_derivation(ratio: float, beta1: float) -> None:
    update, share = (number(derive_signal()[name], b=ratio, beta_1=beta1) for name in ("update_rms", "signal_share"))
    assert effective_lr.update_rms(ratio, 1.0, beta1) == pytest.approx(update, rel=1e-10)
    assert effective_lr.signal_share(ratio, 1.0, beta1) == pytest.approx(share, rel=1e-10)


def test_a_persistent_signal_is_the_limit_of_one_that_turns() -> None:
    gamma, snr, beta1 = positive("gamma S beta_1")
    at = {gamma: 1, snr: sp.Rational(1, 3), beta1: sp.Rational(9, 10)}
    squared = float(persistent_gradients.derive_free_update().subs(at))
    assert effective_lr.update_rms(1.0, 3.0, 0.9) ** 2 == pytest.approx(squared, rel=1e-12)


def test_small_batches_make_progress_like_the_root_of_the_batch() -> None:
    batches = np.array([1.0, 4.0])
    shares = effective_lr.signal_share(batches, 1e6, 0.9)
    assert shares[1] / shares[0] == pytest.approx(2, rel=1e-4)
    assert effective_lr.signal_share(1e9, 1.0) == pytest.approx(1, rel=1e-8)


def test_sides_that_lie_on_one_line_are_a_triangle() -> None:
    assert effective_lr.angle_from_relative_update(0.0) == 0
    assert effective_lr.angle_from_relative_update([0.5, 2.5], 1.5) == pytest.approx([0, np.pi])
    assert effective_lr.model_angle([0.1, 0.1], [1, 1]) == pytest.approx(0.1)  # matrices of one entry


@pytest.mark.parametrize(
    "call",
    [
        lambda: effective_lr.angle_from_norm_ratio(0.1, 1.0, cosine=1.0),
        lambda: effective_lr.norm_growth(0.1, 0.0),
        lambda: effective_lr.norm_growth(0.1, [1.0, 0.0]),
        lambda: effective_lr.norm_growth(0.1, 1.0, cosine=[0.0, 1.0]),
        lambda: effective_lr.angle_from_relative_update(3.0),
        lambda: effective_lr.angle_from_relative_update(2.1),
        lambda: effective_lr.angle_from_relative_update([1.0, 2.1]),
        lambda: effective_lr.adamw_from_adamh(0.01, [0.1, 0.0]),
        lambda: effective_lr.adamw_from_adamh(0.01, 0.0),
        lambda: effective_lr.model_angle([0.1, 0.1], [10, 0]),
    ],
)
def test_impossible_arguments_are_refused(call: object) -> None:
    with pytest.raises(InvalidParameter):
        call()  # type: ignore[operator]
