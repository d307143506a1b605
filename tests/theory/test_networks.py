"""Which network a prediction speaks of: the default is what it was, and what a network cannot mean is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from theory import (
    OPTIMIZERS,
    AdamC,
    AdamH,
    AdamW,
    Constant,
    Cosine,
    InvalidParameter,
    Optimizer,
    equilibrium,
    inverse_norm,
    models,
    predict,
    predict_trajectory,
    radial,
)
from theory.angle_law import Setting
from theory.conversion import convert
from theory.networks import (
    GPT2,
    NETWORKS,
    SCALE_INVARIANT,
    WHITE_NOISE,
    DirectionHistory,
    EarlyGradients,
    Network,
    gpt2_matrices,
    model_of,
)
from theory.predict import final_rms, num_relaxations
from theory.radial import DIRECTION_RATIO
from theory.trajectory import FIELDS
from theory.transient import run_grid

OPTIMIZER = AdamW(learning_rate=1e-2, weight_decay=0.3, beta2=0.99)
WHITE_DIRECTION = replace(SCALE_INVARIANT, direction_ratio=1.0)


def some(name: str) -> Optimizer:
    cls = OPTIMIZERS[name]
    return cls(learning_rate=1e-2) if name in ("adamh", "muonh") else cls(learning_rate=1e-2, weight_decay=0.3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_white_noise_is_the_model_without_a_network_bit_for_bit(name: str) -> None:
    optimizer, keywords = some(name), {"shape": (16, 32), "finite_beta2": name.startswith("adam")}
    rates, initial = np.linspace(0, 1e-2, 300), np.array([0.05, 0.3])
    ours, plain = model_of(optimizer, **keywords), models.model_of(optimizer, **keywords)  # type: ignore[arg-type]
    assert ours.equilibrium(0.1) == plain.equilibrium(0.1)
    assert ours.num_relaxations(rates) == plain.num_relaxations(rates)
    for one, other in zip(ours.moments(rates, initial), plain.moments(rates, initial), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("optimizer", [replace(OPTIMIZER, beta2=0.9), AdamC(learning_rate=1e-2, weight_decay=0.3)])
@pytest.mark.parametrize("finite_beta2", [False, True])
def test_a_direction_ratio_scales_the_norm_and_leaves_the_angle(optimizer: AdamW | AdamC, finite_beta2: bool) -> None:
    schedule, half = Cosine(num_steps=800, final_fraction=0.3), replace(WHITE_NOISE, direction_ratio=0.5)
    plain, ours = (
        predict_trajectory(optimizer, schedule, initial_rms=r, network=n, finite_beta2=finite_beta2)
        for r, n in ((0.2, WHITE_NOISE), (0.1, half))
    )
    assert ours.weight_rms == pytest.approx(0.5 * plain.weight_rms, rel=1e-12)
    assert ours.update_rms == pytest.approx(0.5 * plain.update_rms, rel=1e-12)
    assert ours.angular_update == pytest.approx(plain.angular_update, rel=1e-9)
    settled, smaller = (
        equilibrium(optimizer, initial_rms=1.0, network=n, finite_beta2=finite_beta2) for n in (WHITE_NOISE, half)
    )
    assert smaller.weight_rms == pytest.approx(0.5 * settled.weight_rms, rel=1e-12)
    assert smaller.angular_update == pytest.approx(settled.angular_update, rel=1e-12)


@pytest.mark.parametrize("optimizer", [OPTIMIZER, AdamC(learning_rate=1e-2, weight_decay=0.3, beta2=0.99)])
def test_scale_invariant_is_the_recursion(optimizer: AdamW | AdamC) -> None:
    """With the decay of the optimizer, that of AdamC too, and the history as long as the run."""
    schedule = Cosine(num_steps=600, warmup_steps=20)
    history = EarlyGradients(factor=5, steps=100)
    network = replace(SCALE_INVARIANT, gradient_history=history)
    rates = 1e-2 * schedule.multipliers()
    decays = 0.3 * (schedule.multipliers() if isinstance(optimizer, AdamC) else np.ones(600))
    assert history(3) == pytest.approx([5, 1 + 4 * np.exp(-0.01), 1 + 4 * np.exp(-0.02)])
    rho = inverse_norm.moments(
        rates[:, None],
        (rates * decays)[:, None],
        0.9,
        0.99,
        np.array([0.3]),
        direction_ratio=DIRECTION_RATIO,
        gradient_scale=history(600),
    ).rho[:, 0]
    run = predict_trajectory(optimizer, schedule, initial_rms=0.3, network=network)
    assert run.weight_rms[:, 0] == pytest.approx(np.sqrt(rho[:-1]), rel=1e-12)
    assert final_rms(optimizer, schedule, initial_rms=0.3, network=network) == pytest.approx(np.sqrt(rho[-1]))


@pytest.mark.parametrize("optimizer", [OPTIMIZER, AdamC(learning_rate=1e-2, weight_decay=0.3, beta2=0.99)])
def test_gpt2_is_the_recursion_with_radial_gradients(optimizer: AdamW | AdamC) -> None:
    """With the start of training by default, and another history where one is given."""
    schedule = Cosine(num_steps=600, warmup_steps=20)
    rates = 1e-2 * schedule.multipliers()
    decays = 0.3 * (schedule.multipliers() if isinstance(optimizer, AdamC) else np.ones(600))
    for history in (None, EarlyGradients(factor=1, steps=1)):
        scale = None if history is None else np.ones(600)
        given = (rates[:, None], (rates * decays)[:, None], 0.9, 0.99, np.array([0.3]))
        rho = radial.moments(*given, direction_ratio=0.7, gradient_scale=scale).rho[:, 0]
        network = replace(GPT2, direction_ratio=0.7, gradient_history=history)
        run = predict_trajectory(optimizer, schedule, initial_rms=0.3, network=network)
        assert run.weight_rms[:, 0] == pytest.approx(np.sqrt(rho[:-1]), rel=1e-12)
    spoken = predict(optimizer, schedule, initial_rms=0.3, network=replace(GPT2, direction_ratio=0.7))
    settled = radial.equilibrium(1e-2, 0.3, 0.9, direction_ratio=0.7)
    assert spoken.equilibrium_rms == float(settled.weight_rms)
    assert spoken.angular_update_equilibrium == float(settled.angular_update)
    assert spoken.relaxation_steps == radial.relaxation_steps(1e-2, 0.3, direction_ratio=0.7)
    moving = rates > 0
    each = radial.relaxation_steps(rates[moving], decays[moving], direction_ratio=0.7)
    assert spoken.num_relaxations == pytest.approx(float(np.sum(1 / each)))


def test_a_run_is_judged_by_the_equilibrium_of_its_network() -> None:
    """At beta2 0.999, 9 relaxations by the closed form, the second moment has forgotten the start 1.5 times."""
    optimizer = AdamW(learning_rate=1e-2, weight_decay=0.3, beta2=0.999)
    schedule = Constant(num_steps=1500)
    white, ours = (predict(optimizer, schedule, initial_rms=0.04, network=n) for n in (WHITE_NOISE, WHITE_DIRECTION))
    assert white.num_relaxations == pytest.approx(9)
    assert white.reaches_equilibrium
    assert white.transient_steps is not None
    assert not ours.reaches_equilibrium
    assert ours.transient_steps is None
    rate = float(inverse_norm.relaxation_rates(3e-3, 0.999))
    assert ours.relaxation_steps == pytest.approx(1 / rate)
    assert ours.num_relaxations == pytest.approx(1500 * rate)
    assert num_relaxations(optimizer, schedule, network=WHITE_DIRECTION) == ours.num_relaxations
    small = replace(WHITE_DIRECTION, direction_ratio=0.8)  # settles lower, and comes there as late
    longer = Constant(num_steps=6000)
    one, other = (
        predict(optimizer, longer, initial_rms=r, network=n) for r, n in ((0.04, WHITE_DIRECTION), (0.032, small))
    )
    assert other.transient_steps == one.transient_steps
    assert other.final_rms == pytest.approx(0.8 * one.final_rms)


def test_on_the_sphere_only_beta2_is_left_of_a_network() -> None:
    optimizer, schedule = AdamH(learning_rate=0.02), Cosine(num_steps=200)
    ours = predict_trajectory(optimizer, schedule, initial_rms=0.1, network=SCALE_INVARIANT)
    exact = predict_trajectory(optimizer, schedule, initial_rms=0.1, finite_beta2=True)
    for field in FIELDS:
        assert np.array_equal(getattr(ours, field), getattr(exact, field))


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("adamw", "adamc", "adamh")])
def test_other_optimizers_know_white_noise_only(name: str) -> None:
    with pytest.raises(InvalidParameter, match="network = 'scale-invariant' must be white-noise"):
        model_of(some(name), SCALE_INVARIANT, shape=(4, 4))
    with pytest.raises(InvalidParameter, match=r"direction_ratio = 0\.9 must be 1 for"):
        model_of(some(name), replace(WHITE_NOISE, direction_ratio=0.9), shape=(4, 4))


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_name_will_do_for_a_network(name: str) -> None:
    run = Constant(num_steps=50)
    for ask in (predict, predict_trajectory, final_rms):
        by_name, by_object = (ask(OPTIMIZER, run, initial_rms=0.02, network=n) for n in (name, NETWORKS[name]))
        assert str(by_name) == str(by_object)
    law = Setting(num_params=1e8, num_tokens=1e9, schedule=run, network=name)  # type: ignore[arg-type]
    assert law.network is NETWORKS[name]


@pytest.mark.parametrize(
    "call",
    [
        lambda network: predict(OPTIMIZER, [1.0], initial_rms=0.02, network=network),
        lambda network: convert(OPTIMIZER, [1.0], AdamH(learning_rate=1.0), initial_rms=0.02, network=network),
        lambda network: run_grid([1.0], learning_rate=1e-3, weight_decay=0.1, initial_rms=0.02, network=network),
        lambda network: Setting(num_params=1e8, num_tokens=1e9, schedule=Constant(num_steps=5), network=network),
    ],
)
@pytest.mark.parametrize("network", ["gpt3", None, Network(name="gpt3")])
def test_what_is_no_network_is_refused_with_those_that_are(call: Callable[[object], object], network: object) -> None:
    with pytest.raises(InvalidParameter, match="one of white-noise, scale-invariant, gpt2"):
        call(network)


def test_a_start_in_words_is_refused_by_name() -> None:
    with pytest.raises(InvalidParameter, match=r"initial_rms = 'equilibrium' must be .* theory.equilibrium"):
        predict(OPTIMIZER, [1.0], initial_rms="equilibrium")  # type: ignore[call-overload]


def test_refused() -> None:
    early = EarlyGradients(factor=3, steps=10)
    for optimizer, network in (
        (OPTIMIZER, Network(name="resnet")),
        (OPTIMIZER, replace(WHITE_NOISE, gradient_history=early)),
        (AdamH(learning_rate=0.01), replace(SCALE_INVARIANT, gradient_history=early)),
        (replace(OPTIMIZER, beta2=0.01), SCALE_INVARIANT),
    ):
        with pytest.raises(InvalidParameter):
            predict(optimizer, Constant(num_steps=10), initial_rms=0.1, network=network)
    for ratio in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidParameter, match="direction_ratio"):
            Network(name="white-noise", direction_ratio=ratio)
    for given in ({"factor": 0.0, "steps": 1.0}, {"factor": 2.0, "steps": 0.0}):
        with pytest.raises(InvalidParameter):
            EarlyGradients(**given)
    assert all(network.worth for network in NETWORKS.values())


def test_a_history_of_the_direction_is_straight_between_its_steps() -> None:
    assert DirectionHistory(steps=(0, 1), ratios=(2.0, 1.0))(3).tolist() == [2, 1, 1]
    history = DirectionHistory(steps=(2, 6), ratios=(2.0, 1.0))
    assert history(8).tolist() == [2, 2, 2, 1.75, 1.5, 1.25, 1, 1]
    known = replace(SCALE_INVARIANT, direction_ratio=0.5, direction_history=history)
    rates = np.full((8, 1), 1e-2)
    ours = model_of(OPTIMIZER, known).moments(rates[:, 0], np.array([0.3]))
    expected = inverse_norm.moments(rates, 0.3 * rates, 0.9, 0.99, np.array([0.3]), direction_ratio=0.5 * history(8))
    assert np.array_equal(ours.rho, expected.rho)


@pytest.mark.parametrize(
    ("steps", "ratios"), [((), ()), ((1, 1), (1.0, 1.0)), ((-1, 2), (1.0, 1.0)), ((0, 1), (1.0,)), ((0,), (0.0,))]
)
def test_histories_that_are_none_are_refused(steps: tuple[int, ...], ratios: tuple[float, ...]) -> None:
    with pytest.raises(InvalidParameter, match=r"steps|ratios"):
        DirectionHistory(steps=steps, ratios=ratios)


@pytest.mark.parametrize("network", [WHITE_NOISE, GPT2], ids=lambda one: one.name)
def test_only_scale_invariant_takes_a_history_of_the_direction(network: Network) -> None:
    told = replace(network, direction_history=DirectionHistory(steps=(0,), ratios=(1.0,)))
    with pytest.raises(InvalidParameter, match="direction_history"):
        model_of(OPTIMIZER, told)


@pytest.mark.parametrize("kind", radial.KINDS)
def test_a_network_knows_the_kind_of_its_law(kind: str) -> None:
    assert gpt2_matrices(kind).kind == kind
    assert replace(WHITE_NOISE, law=radial.KINDS[kind]).kind is None
    assert replace(GPT2, law=replace(GPT2.law, outward=2.0)).kind is None


@pytest.mark.parametrize("network", NETWORKS.values(), ids=lambda one: one.name)
def test_what_is_said_of_a_network_does_not_make_it_another(network: Network) -> None:
    assert replace(network, worth="unknown") == network
    assert replace(network, direction_ratio=0.5) != network


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_at_a_rate_of_zero_is_no_relaxation(name: str) -> None:
    with_pauses, without = (
        num_relaxations(OPTIMIZER, rates, network=name) for rates in ([0.0, 1.0, 0.5, 0.0], [1.0, 0.5])
    )
    assert with_pauses == pytest.approx(without, rel=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_independent_decay_relaxes_alike_at_every_rate(name: str) -> None:
    independent = replace(OPTIMIZER, weight_decay=0.003, decay="independent")
    counts = [num_relaxations(independent, [1.0, rate], network=name) for rate in (1.0, 1e-3, 0.0)]
    assert counts == pytest.approx([num_relaxations(OPTIMIZER, [1.0, 1.0], network=name)] * 3, rel=1e-12)


def test_without_decay_nothing_relaxes_in_any_network() -> None:
    optimizer = AdamW(learning_rate=1e-2, weight_decay=0)
    assert num_relaxations(optimizer, Constant(num_steps=100), network=GPT2) == 0
