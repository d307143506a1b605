"""Conversions: the inverse of the recursions, what is known in closed form, there and back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theory import (
    SGDM,
    WSD,
    AdamC,
    AdamH,
    AdamW,
    Constant,
    Cosine,
    InvalidParameter,
    Lion,
    Muon,
    MuonH,
    Optimizer,
    Schedule,
    SignSGDM,
    adamh,
    equilibrium,
    predict_trajectory,
)
from theory.conversion import convert, rates_for_angles
from theory.driven import decoupled_rate
from theory.networks import GPT2, SCALE_INVARIANT, WHITE_NOISE, DirectionHistory, EarlyGradients, Network

ADAMW = AdamW(learning_rate=0.01, weight_decay=0.3)
SHAPE = (24, 8)
EVERY: list[Optimizer] = [
    ADAMW,
    AdamW(learning_rate=0.01, weight_decay=2e-3, decay="independent"),
    AdamH(learning_rate=0.02),
    Lion(learning_rate=2e-3, weight_decay=1.0),
    SignSGDM(learning_rate=2e-3, weight_decay=1.0),
    Muon(learning_rate=0.01, weight_decay=0.5, scale="moonlight", update_ratio=0.9),
    MuonH(learning_rate=0.02, beta1=0.9),
]
SCHEDULE = WSD(num_steps=120, warmup_steps=10)


def angles_of(optimizer: Optimizer, schedule: Schedule, initial_rms: float) -> np.ndarray:
    return predict_trajectory(optimizer, schedule, initial_rms=initial_rms, shape=SHAPE).angular_update[:, 0]


@pytest.mark.parametrize("optimizer", EVERY, ids=lambda one: f"{one.name}-{getattr(one, 'decay', '')}")
@pytest.mark.parametrize("finite_beta2", [False, True])
def test_an_optimizer_is_converted_to_itself_by_its_own_rates(optimizer: Optimizer, finite_beta2: bool) -> None:
    run = predict_trajectory(optimizer, SCHEDULE, initial_rms=0.03, shape=SHAPE, finite_beta2=finite_beta2)
    stale = replace(optimizer, learning_rate=1e-4)
    found = rates_for_angles(stale, run.angular_update[:, 0], initial_rms=0.03, shape=SHAPE, finite_beta2=finite_beta2)
    np.testing.assert_allclose(found, optimizer.learning_rate * SCHEDULE.multipliers(), rtol=1e-8)


@pytest.mark.long
@pytest.mark.parametrize("source", EVERY, ids=lambda one: f"{one.name}-{getattr(one, 'decay', '')}")
@pytest.mark.parametrize("target", EVERY, ids=lambda one: f"{one.name}-{getattr(one, 'decay', '')}")
def test_the_target_turns_like_the_source(source: Optimizer, target: Optimizer) -> None:
    found = convert(source, SCHEDULE, target, initial_rms=0.05, keep_decay=False, shape=SHAPE)
    assert found.optimizer.name == target.name
    np.testing.assert_allclose(
        angles_of(found.optimizer, found.schedule, found.initial_rms), angles_of(source, SCHEDULE, 0.05), rtol=1e-9
    )
    assert found.largest_angle_error < 1e-9
    assert found.schedule.multipliers().max() == 1


@pytest.mark.long
@pytest.mark.parametrize("target", EVERY, ids=lambda one: f"{one.name}-{getattr(one, 'decay', '')}")
def test_at_equilibrium_the_rates_settle_where_the_closed_form_says(target: Optimizer) -> None:
    settled = equilibrium(ADAMW, initial_rms=1.0)
    schedule = Constant(num_steps=6000)
    found = convert(ADAMW, schedule, target, initial_rms=settled.weight_rms, keep_decay=False, shape=SHAPE)
    last = found.optimizer.learning_rate * found.schedule.multipliers()[-1]
    assert last == pytest.approx(found.matching_learning_rate, rel=2e-3)
    if isinstance(target, AdamH):
        assert found.matching_learning_rate == pytest.approx(adamh.matching_learning_rate(1 - 0.003), rel=1e-9)
    final = predict_trajectory(found.optimizer, found.schedule, initial_rms=settled.weight_rms, shape=SHAPE)
    assert final.weight_rms[-1, 0] == pytest.approx(settled.weight_rms, rel=2e-3)


@settings(max_examples=20)
@given(st.floats(0.02, 0.5), st.floats(1e-3, 1.0), st.floats(1e-3, 0.03))
def test_there_and_back(initial_rms: float, weight_decay: float, rate: float) -> None:
    source, schedule = AdamW(learning_rate=rate, weight_decay=weight_decay), Cosine(num_steps=80, warmup_steps=8)
    there = convert(source, schedule, AdamH(learning_rate=0.1), initial_rms=initial_rms)
    target = AdamW(learning_rate=1e-3, weight_decay=weight_decay)
    back = convert(there.optimizer, there.schedule, target, initial_rms=initial_rms)
    assert back.optimizer.learning_rate * back.schedule.multipliers() == pytest.approx(
        rate * schedule.multipliers(), rel=1e-6
    )


@given(st.floats(0.3, 3.0))
def test_a_start_at_another_norm_scales_the_rates_and_the_decay(factor: float) -> None:
    """Weights and rates times c, decay over c: the same angles."""
    target = AdamW(learning_rate=1e-3, weight_decay=0.3 / factor)
    found = convert(ADAMW, SCHEDULE, target, initial_rms=0.05, target_initial_rms=0.05 * factor)
    rates = found.optimizer.learning_rate * found.schedule.multipliers()
    np.testing.assert_allclose(rates, factor * 0.01 * SCHEDULE.multipliers(), rtol=1e-8)


def test_the_error_of_no_conversion_is_in_parts_of_the_source() -> None:
    found = convert(ADAMW, SCHEDULE, AdamH(learning_rate=0.1), initial_rms=0.05)
    assert found.matching_learning_rate is not None
    plain = angles_of(AdamH(learning_rate=found.matching_learning_rate), SCHEDULE, 0.05)[100:]
    expected = np.abs(plain / angles_of(ADAMW, SCHEDULE, 0.05)[100:] - 1).max()
    assert found.unconverted_angle_error == pytest.approx(expected, rel=1e-12)
    assert expected > 0.1


def test_the_two_conventions_agree_at_a_constant_rate() -> None:
    target = AdamW(learning_rate=1e-3, weight_decay=0.5, decay="independent")
    found = convert(ADAMW, Constant(num_steps=200), target, initial_rms=0.05, keep_decay=False)
    assert getattr(found.optimizer, "weight_decay") == pytest.approx(0.003, rel=1e-9)  # noqa: B009
    np.testing.assert_allclose(found.optimizer.learning_rate * found.schedule.multipliers(), 0.01, rtol=1e-9)
    assert found.unconverted_angle_error == pytest.approx(0, abs=1e-9)


def test_angles_from_elsewhere_are_followed() -> None:
    asked = 0.02 + 0.01 * np.sin(np.arange(120) / 9)
    found = convert(ADAMW, SCHEDULE, AdamH(learning_rate=0.1), initial_rms=0.05, angles=asked)
    np.testing.assert_allclose(angles_of(found.optimizer, found.schedule, 0.05), asked, rtol=1e-9)
    with pytest.raises(InvalidParameter, match="120 numbers"):
        convert(ADAMW, SCHEDULE, AdamH(learning_rate=0.1), initial_rms=0.05, angles=asked[1:])


INDEPENDENT = AdamW(learning_rate=0.01, weight_decay=3e-3, decay="independent")
HISTORY = DirectionHistory(steps=(0, 5, 30), ratios=(1.0, 2.0, 0.8))
NETWORKS = (
    replace(WHITE_NOISE, direction_ratio=0.8),
    SCALE_INVARIANT,
    replace(SCALE_INVARIANT, gradient_history=EarlyGradients(factor=3, steps=20), direction_history=HISTORY),
)


@pytest.mark.parametrize("network", NETWORKS, ids=["white", "inverse norm", "histories"])
@pytest.mark.parametrize("optimizer", [ADAMW, INDEPENDENT], ids=["pytorch", "independent"])
def test_in_a_network_too_adamw_is_converted_to_itself(optimizer: AdamW, network: Network) -> None:
    run = predict_trajectory(optimizer, SCHEDULE, initial_rms=0.8, network=network)
    stale = replace(optimizer, learning_rate=1e-4)
    found = rates_for_angles(stale, run.angular_update[:, 0], initial_rms=0.8, network=network)
    np.testing.assert_allclose(found, optimizer.learning_rate * SCHEDULE.multipliers(), rtol=1e-8)
    same = convert(optimizer, SCHEDULE, stale, initial_rms=0.8, network=network)
    np.testing.assert_allclose(same.optimizer.learning_rate * same.schedule.multipliers(), found, rtol=1e-8)
    there = convert(optimizer, SCHEDULE, AdamH(learning_rate=0.1), initial_rms=0.8, network=network)
    np.testing.assert_array_equal(there.angles, run.angular_update[:, 0])
    back = convert(
        there.optimizer, there.schedule, stale, initial_rms=0.8, network=replace(network, gradient_history=None)
    )
    assert max(there.largest_angle_error, back.largest_angle_error) < 1e-9


def test_a_shorter_direction_is_a_larger_start() -> None:
    """Weights, and with them all norms, in units of the direction: the symmetry of the ratio."""
    target = AdamH(learning_rate=0.1)
    short = replace(WHITE_NOISE, direction_ratio=0.5)
    one = convert(ADAMW, SCHEDULE, target, initial_rms=0.2, network=short)
    other = convert(ADAMW, SCHEDULE, target, initial_rms=0.4)
    np.testing.assert_allclose(one.angles, other.angles, rtol=1e-9)
    assert one.matching_learning_rate == pytest.approx(other.matching_learning_rate, rel=1e-9)
    # A sign has one size in every network; the decay is that at which it settles at the shorter RMS.
    lion, longer = (
        convert(ADAMW, SCHEDULE, Lion(learning_rate=1.0, weight_decay=0.0), initial_rms=r, keep_decay=False, network=n)
        for r, n in ((0.2, short), (0.4, WHITE_NOISE))
    )
    assert 2 * lion.optimizer.learning_rate == pytest.approx(longer.optimizer.learning_rate, rel=1e-9)


def test_networks_that_cannot_be_meant_are_refused() -> None:
    lion = Lion(learning_rate=2e-3, weight_decay=1.0)
    for source, network in ((ADAMW, GPT2), (lion, SCALE_INVARIANT), (lion, NETWORKS[0])):
        with pytest.raises(InvalidParameter, match=r"network|direction_ratio"):
            convert(source, SCHEDULE, AdamH(learning_rate=0.1), initial_rms=0.05, network=network)
    with pytest.raises(InvalidParameter, match=r"^network = 'gpt2' "):
        rates_for_angles(ADAMW, np.full(9, 0.01), initial_rms=0.05, network=GPT2)


def test_without_decay_there_is_no_equilibrium_to_match() -> None:
    source = AdamW(learning_rate=0.01, weight_decay=0.0)
    found = convert(source, SCHEDULE, Lion(learning_rate=1e-3, weight_decay=0.5), initial_rms=0.05, keep_decay=False)
    assert (found.matching_learning_rate, found.unconverted_angle_error) == (None, None)
    assert getattr(found.optimizer, "weight_decay") == 0  # noqa: B009
    assert found.largest_angle_error < 1e-9


def test_what_cannot_be_converted_is_refused() -> None:
    for target in (SGDM(learning_rate=0.1, weight_decay=0.1), AdamC(learning_rate=0.01, weight_decay=0.1)):
        with pytest.raises(InvalidParameter, match="target"):
            convert(ADAMW, SCHEDULE, target, initial_rms=0.05)
    with pytest.raises(InvalidParameter, match="target_initial_rms"):
        convert(ADAMW, SCHEDULE, ADAMW, initial_rms=0.05, target_initial_rms=0.0)
    with pytest.raises(InvalidParameter, match="angles"):
        rates_for_angles(ADAMW, np.array([0.1, 1.6]), initial_rms=0.05)
    with pytest.raises(InvalidParameter, match=r"within reach of adamw at step 1$"):
        rates_for_angles(AdamW(learning_rate=1e-3, weight_decay=0.1, beta1=0.99), np.full(40, 1.5), initial_rms=0.05)


def test_an_angle_is_at_least_0_and_below_a_right_one() -> None:
    rates = rates_for_angles(AdamH(learning_rate=0.1), np.array([1.57, 0.0]), initial_rms=0.05)
    assert (rates[0] > 100, rates[1]) == (True, 0)
    for beyond in (-1e-9, np.pi / 2):
        with pytest.raises(InvalidParameter, match="angles"):
            rates_for_angles(AdamH(learning_rate=0.1), np.array([beyond, 0.1]), initial_rms=0.05)


def test_an_equilibrium_that_the_target_cannot_turn_like_has_no_matching_rate() -> None:
    """Without momentum up to a right angle; with it W and the next update lean to each other."""
    wild, tame = AdamW(learning_rate=0.9, weight_decay=1.0, beta1=0.0), AdamW(learning_rate=1e-3, weight_decay=0.1)
    found = convert(wild, Constant(num_steps=5), tame, initial_rms=0.05, angles=np.full(5, 0.01))
    assert found.matching_learning_rate is None


@pytest.mark.parametrize(
    ("betas", "first"), [((0.9, 0.5), 100), ((0.5, 0.9), 100), ((0.5, 0.0), 20), ((0.99, 0.5), 119)]
)
def test_errors_count_from_the_end_of_both_start_ups_where_something_turns(
    betas: tuple[float, float], first: int
) -> None:
    """Ten memories of the longer momentum, and the last step of a shorter run; a step without a turn has no error."""
    source, target = AdamW(learning_rate=0.01, weight_decay=0.3, beta1=betas[0]), AdamH(learning_rate=1, beta1=betas[1])
    angles = np.append(np.full(119, 0.01), 0.0)
    found = convert(source, SCHEDULE, target, initial_rms=0.05, angles=angles)
    assert found.first_step == first
    assert found.largest_angle_error < 1e-9


def test_a_step_along_the_weights_turns_only_so_far() -> None:
    """Of direction u with W u = -1, W^2 = 2, u^2 = 1: W - eta u turns by less than 45 degrees, whatever eta."""
    turns = np.array([0.0, 0.999, 1.0, 1.5])
    rates = decoupled_rate(turns, np.array(2.0), np.array(-1.0), 1.0)
    assert rates[0] == 0
    assert rates[1] == pytest.approx(2 * 0.999 / 0.001)
    assert np.isnan(rates[2:]).all()
    assert decoupled_rate(np.array(1.5), np.array(2.0), np.array(1.0), 1.0) == pytest.approx(3 / 2.5)
    assert decoupled_rate(np.array(0.0), np.array(1.0), np.array(1.0), 1.0) == 0  # along W itself no rate turns
