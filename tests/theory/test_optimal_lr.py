"""The optimal learning rate: closed forms, brute force, flat windows and edges, and the exact recursion."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.theory.symbolic import number
from theory import WSD, Constant, Cosine, InvalidParameter, Schedule, optimal_lr, transient
from theory.angle_law import AngleLaw, Setting, excess_loss, mean_angle
from theory.optimal_lr import OptimumOutcome, optimal_learning_rate

BATCH = 2.0**19
LAW = AngleLaw(C1=1.0, a1=0.43, C2=5.0, a2=1.4, B2=0.3, noise_growth=0.25)
SHORT_MEMORY = AngleLaw(C1=1.0, a1=0.43, C2=1.0, a2=3.0, B2=1e-3, noise_growth=0.25)
CONSTANT, WSD_, COSINE = Constant(num_steps=1000), WSD(num_steps=1000, warmup_steps=20), Cosine(num_steps=1000)
derive_asymptotic_optimum = functools.cache(optimal_lr.derive_asymptotic_optimum)


def setting(schedule: Schedule = CONSTANT, steps: float = 2e4, **changes: object) -> Setting:
    return Setting(num_params=1e8, num_tokens=steps * BATCH, schedule=schedule, **changes)  # type: ignore[arg-type]


@pytest.mark.long
@pytest.mark.parametrize("optimizer", ["adamw", "adamh"])
@pytest.mark.parametrize("schedule", [CONSTANT, WSD_, COSINE])
def test_the_optimum_is_the_least_of_a_fine_scan(schedule: Schedule, optimizer: str) -> None:
    sizes = np.array([1e7, 1e8, 1e9])
    setup = replace(setting(schedule), num_params=sizes, optimizer=optimizer)
    found = optimal_learning_rate(LAW, setup)
    assert list(found.outcome) == [OptimumOutcome.FOUND] * 3
    scan = np.geomspace(1e-5, 0.3, 1201)[:, None]
    losses = excess_loss(LAW, setup, scan)
    np.testing.assert_allclose(found.learning_rate, scan[losses.argmin(axis=0), 0], rtol=0.02)
    assert np.all(found.excess <= losses.min(axis=0) * (1 + 1e-12))
    for i, size in enumerate(sizes):
        within = scan[losses[:, i] <= losses[:, i].min() + 1e-3, 0]
        assert (found.low[i], found.high[i]) == pytest.approx((within[0], within[-1]), rel=0.02), size
        alone = optimal_learning_rate(LAW, setup.at("num_params", size))
        assert found.learning_rate[i] == pytest.approx(float(alone.learning_rate), rel=1e-7)


@pytest.mark.long
@given(
    st.floats(0.2, 1.5), st.floats(1.2, 4), st.floats(0.1, 10), st.floats(0.1, 10), st.floats(1e2, 1e6), st.floats(0, 1)
)
def test_closed_forms_equal_their_derivation(
    a1: float, a2: float, C1: float, C2: float, steps: float, decay: float
) -> None:
    law = AngleLaw(C1=C1, a1=a1, C2=C2, a2=a2, B2=0.02, noise_growth=0.25)
    setup = setting(steps=steps, weight_decay=decay + 0.01, initial_rms=0.03)
    symbols = {"C_1": C1, "a_1": a1, "C_2": C2, "a_2": a2, "B_2": 0.02, "T": steps}
    symbols |= {"lambda": decay + 0.01, "R_0": 0.03, "q": 0.1 / 1.9}
    for name, value in optimal_lr.asymptotic_optimum(law, setup).items():
        assert value == pytest.approx(number(derive_asymptotic_optimum()[name], **symbols), rel=1e-10)


def test_a_shorter_direction_turns_a_frozen_norm_less_and_a_settled_one_as_much() -> None:
    plain, short = (optimal_lr.asymptotic_optimum(LAW, replace(setting(), direction_ratio=r)) for r in (1.0, 0.8))
    for name, factor in {"angle": 1.0, "equilibrium": 1.0, "frozen": 1 / 0.8}.items():
        assert short[name] == pytest.approx(factor * plain[name], rel=1e-12)


def test_brute_force_finds_the_closed_forms_at_both_ends() -> None:
    """Value to 2 % and slope to 3 %: 2 in deep equilibrium to 1 for a frozen norm, against N and against steps."""
    # 2e5 relaxation times at one end; at the other none, and a squared norm that grows by 2e-3
    deep = setting(steps=1e7, weight_decay=0.3, initial_rms=0.02)
    frozen = setting(steps=1e4, weight_decay=1e-6, initial_rms=0.5)
    slopes = {}
    for regime, setup, law in (
        ("equilibrium", deep, replace(SHORT_MEMORY, C2=1.3e-7)),
        ("frozen", frozen, replace(SHORT_MEMORY, C2=8.6e-3)),
    ):
        for axis in ("num_params", "num_tokens"):
            base = np.asarray(getattr(setup, axis))
            moved = setup.at(axis, base * np.array([0.5, 1.0, 2.0]))
            if axis == "num_tokens":
                moved = moved.at("num_params", np.full(3, 1e8))
            found = optimal_learning_rate(law, moved, loss_resolution=0)
            closed = optimal_lr.asymptotic_optimum(law, moved)[regime]
            np.testing.assert_allclose(found.learning_rate, closed, rtol=0.02)
            slopes[regime, axis] = np.polyfit(np.log([0.5, 1, 2]), np.log(found.learning_rate), 1)[0]
    for axis, exponent in (("num_params", -0.25 / 1.43), ("num_tokens", -0.43 / 1.43)):
        assert slopes["frozen", axis] == pytest.approx(exponent, rel=0.03)
        assert slopes["equilibrium", axis] / slopes["frozen", axis] == pytest.approx(2, rel=0.03)


def test_the_exact_recursion_has_the_same_optimum() -> None:
    """A run short enough to sum step by step, in the middle of the transient (n about 2): optimum within 2 %."""
    steps, decay, initial = 3000, 0.3, 0.02
    law = replace(LAW, C2=4.0)
    rates = np.exp(np.linspace(np.log(2e-4), np.log(3e-2), 41))
    grid = transient.run_grid(
        Constant(num_steps=steps), learning_rate=rates, weight_decay=decay, initial_rms=initial, steps=np.arange(steps)
    )
    angles = grid.angular_update
    left = angles.sum(axis=0) - np.cumsum(angles, axis=0) + angles / 2
    losses = law.C1 * angles.sum(axis=0) ** -law.a1 + law.C2 * np.sum((law.B2 + left) ** -law.a2 * angles**2, axis=0)
    i = int(losses.argmin())
    parabola = np.polyfit(np.log(rates[i - 4 : i + 5]), losses[i - 4 : i + 5], 2)
    exact = np.exp(-parabola[1] / (2 * parabola[0]))
    setup = setting(steps=steps, weight_decay=decay, initial_rms=initial)
    found = optimal_learning_rate(law, setup, loss_resolution=0)
    assert 0.5 < setup.num_relaxations(found.learning_rate) < 5
    assert found.learning_rate == pytest.approx(exact, rel=0.02)


# Windows, edges, batches


def test_a_law_is_moved_to_a_best_rate_if_it_can_have_it() -> None:
    run = setting(weight_decay=0.1)
    found = optimal_lr.law_with_optimum(LAW, run, 2e-3)
    assert float(optimal_learning_rate(found, run, loss_resolution=0).learning_rate) == pytest.approx(2e-3, rel=1e-11)
    assert replace(found, C2=LAW.C2) == LAW
    with pytest.raises(InvalidParameter, match="can have as the best"):
        optimal_lr.law_with_optimum(LAW, setting(COSINE, weight_decay=0.03, initial_rms=0.005), 1e-3)  # two minima
    with pytest.raises(InvalidParameter, match="can have as the best"):
        optimal_lr.law_with_optimum(replace(LAW, C1=1e-300), run, 2e-3)  # noise alone, whose least is at no rate


def test_the_bounds_are_the_outermost_rates_within_the_resolution() -> None:
    """To 1e-4 of their logarithms; bounds farther apart than asked for make it flat."""
    run = setting(weight_decay=0.1)
    found = optimal_learning_rate(LAW, run)
    level = found.excess + 1e-3
    for rate, outward in ((found.low, -1e-4), (found.high, 1e-4)):
        assert excess_loss(LAW, run, rate) <= level < excess_loss(LAW, run, rate * np.exp(outward))
    for factor, outcome in ((1 + 1e-6, OptimumOutcome.FOUND), (1 - 1e-6, OptimumOutcome.FLAT)):
        judged = optimal_learning_rate(LAW, run, widest=float(found.high / found.low) * factor)
        assert judged.outcome.item() is outcome


def test_arrays_of_settings_are_settings_by_themselves() -> None:
    sizes, tokens = np.array([[1e7], [1e9]]), BATCH * np.array([1e3, 2e4, 1e5])
    together = optimal_learning_rate(LAW, replace(setting(), num_params=sizes, num_tokens=tokens))
    assert together.learning_rate.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        alone = optimal_learning_rate(LAW, replace(setting(), num_params=sizes[i, 0], num_tokens=tokens[j]))
        for name in ("learning_rate", "low", "high", "excess", "mean_angle"):
            assert getattr(together, name)[i, j] == pytest.approx(float(getattr(alone, name)), rel=1e-9), name


def test_in_the_window_the_optimum_is_called_flat() -> None:
    """Decay so small that the angle is sqrt(q/t) over decades of learning rate; with a resolution of 0 a number."""
    setup = setting(steps=2e4, weight_decay=1e-3, initial_rms=0.002)
    low, high = 0.002 / np.sqrt(2e4), 1 / (2 * 1e-3 * 2e4)
    level = np.sqrt(0.1 / 1.9 / 2e4)
    law = AngleLaw(C1=1.0, a1=0.43, C2=1.0, a2=3.0, B2=1.0)
    angle_there = mean_angle(setup, np.geomspace(20 * low, high / 20, 5))
    np.testing.assert_allclose(angle_there, 2 * level, rtol=0.1)
    law = replace(law, C2=1.3 * 0.43 * (2 * level * 2e4) ** -0.43 / level)
    found = optimal_learning_rate(law, setup)
    assert found.outcome.item() is OptimumOutcome.FLAT
    assert np.isnan(found.learning_rate)
    assert found.high / found.low > 10
    least = optimal_learning_rate(law, setup, loss_resolution=0)
    assert least.outcome.item() is OptimumOutcome.FOUND
    assert least.excess <= excess_loss(law, setup, np.geomspace(low, high, 400)).min()


@pytest.mark.parametrize(
    ("changes", "highest"),
    [({"optimizer": "adamh"}, 1.0), ({"weight_decay": 0.1}, 10.0), ({"weight_decay": 0.0}, 1e3)],
)
def test_an_optimum_beyond_the_search_is_at_its_edge(changes: dict[str, object], highest: float) -> None:
    """Of signal alone where a step would remove the weights, of noise alone at 1e-9; no rate beyond is spoken of."""
    setup = setting(steps=1000, **changes)
    for law, edge in ((replace(LAW, C2=1e-30), highest), (replace(LAW, C1=1e-30), 1e-9)):
        found = optimal_learning_rate(law, setup, loss_resolution=0)
        assert found.outcome.item() is OptimumOutcome.AT_EDGE
        assert np.isnan(found.learning_rate)
        assert (found.low, found.high) == pytest.approx((edge, edge), rel=1e-9)
        assert found.excess == pytest.approx(excess_loss(law, setup, edge), rel=1e-9)
        assert found.mean_angle == pytest.approx(mean_angle(setup, edge), rel=1e-9)
    wide = optimal_learning_rate(replace(LAW, C2=1e-30), setup)
    assert wide.low < wide.high == pytest.approx(highest, rel=1e-9)


@pytest.mark.parametrize(("noise_batch", "C2", "exponent"), [(None, 1.6e-9, 1.0), (1e12, 6.6e-6, 0.5)])
def test_at_fixed_data_the_best_angle_grows_like_the_batch_or_its_root(
    noise_batch: float | None, C2: float, exponent: float
) -> None:
    """The linear rule where gradients are signal, the square-root rule where they are noise; twice that for AdamW."""
    law = replace(SHORT_MEMORY, noise_batch=noise_batch, C2=C2, B2=1e-4)
    batches = BATCH * np.array([1.0, 2.0])
    tokens = 1e6 * BATCH
    for optimizer, lift in (("adamh", 1), ("adamw", 2)):
        setup = Setting(
            num_params=1e8,
            num_tokens=tokens,
            tokens_per_step=batches,
            schedule=CONSTANT,
            optimizer=optimizer,  # type: ignore[arg-type]
            weight_decay=1.0,
        )
        found = optimal_learning_rate(law, setup, loss_resolution=0)
        assert np.diff(np.log(found.learning_rate))[0] / np.log(2) == pytest.approx(lift * exponent, rel=0.05)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: optimal_learning_rate(LAW, setting(), widest=1.0), "widest"),
        (lambda: optimal_lr.asymptotic_optimum(replace(LAW, a2=0.9), setting()), "a2"),
        (lambda: optimal_lr.asymptotic_optimum(replace(LAW, a2=1.0), setting()), "a2"),
        (lambda: optimal_lr.asymptotic_optimum(replace(LAW, noise_batch=1.0), setting()), "noise_batch"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name
