"""The loss of a run: quadrature, exact symmetries, an integral by hand, and the exact recursion."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from theory import WSD, Constant, Cosine, InvalidParameter, Linear, Schedule, angle_law, transient
from theory.angle_law import AngleLaw, Setting, excess_loss, loss, mean_angle
from theory.schedules import PIECES

BATCH = 2.0**19
LAW = AngleLaw(C1=1.0, a1=0.43, C2=5.0, a2=1.4, B2=0.3, noise_growth=0.25)
CONSTANT, WSD_, COSINE = Constant(num_steps=1000), WSD(num_steps=1000, warmup_steps=20), Cosine(num_steps=1000)


def setting(schedule: Schedule = CONSTANT, steps: float = 2e4, **changes: object) -> Setting:
    return Setting(num_params=1e8, num_tokens=steps * BATCH, schedule=schedule, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("schedule", [CONSTANT, WSD_, COSINE, Linear(num_steps=1000, final_fraction=0.1)])
@pytest.mark.parametrize("rate", [1e-4, 3e-3, 0.1])
def test_the_quadrature_has_converged(schedule: Schedule, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = excess_loss(LAW, setting(schedule), rate)
    monkeypatch.setattr(angle_law, "NODES", 391)
    assert plain == pytest.approx(float(excess_loss(LAW, setting(schedule), rate)), rel=1e-5)


def test_adamh_at_constant_rate_is_an_integral_done_by_hand() -> None:
    steps, rate = 5000.0, 0.01
    total = steps * rate
    memory = (LAW.B2 ** (1 - LAW.a2) - (LAW.B2 + total) ** (1 - LAW.a2)) / (LAW.a2 - 1)
    by_hand = LAW.C1 * total**-LAW.a1 + LAW.C2 * rate * memory
    assert excess_loss(LAW, setting(steps=steps, optimizer="adamh"), rate) == pytest.approx(by_hand, rel=1e-6)
    whole = replace(LAW, L_inf=1.7, A=400.0, a=0.34)
    assert loss(whole, setting(steps=steps, optimizer="adamh"), rate) == pytest.approx(
        by_hand + 1.7 + 400 * 1e8**-0.34, rel=1e-7
    )


@pytest.mark.parametrize("schedule", [CONSTANT, WSD_, COSINE])
def test_it_is_the_sum_over_the_steps_of_the_exact_recursion(schedule: Schedule) -> None:
    """Angles of every step from the recursion, law summed by hand: 1 % (eta*lam is 3e-4, start-up included)."""
    steps = 4000
    longer = replace(schedule, num_steps=steps, warmup_steps=4 * schedule.warmup_steps)
    setup = {"weight_decay": 0.3, "initial_rms": 0.03}
    grid = transient.run_grid(longer, learning_rate=1e-3, **setup, steps=np.arange(steps))
    angles = grid.angular_update
    left = angles.sum() - np.cumsum(angles) + angles / 2
    by_hand = LAW.C1 * angles.sum() ** -LAW.a1 + LAW.C2 * np.sum((LAW.B2 + left) ** -LAW.a2 * angles**2)
    assert excess_loss(LAW, setting(longer, steps, **setup), 1e-3) == pytest.approx(by_hand, rel=0.01)
    mean = mean_angle(setting(longer, steps, **setup), 1e-3)
    assert mean == pytest.approx(angles.mean(), rel=0.01)


@given(st.sampled_from([CONSTANT, WSD_, COSINE]), st.floats(0.2, 5), st.floats(1e-4, 1e-2))
def test_rate_against_decay_and_start_is_an_exact_symmetry(schedule: Schedule, c: float, rate: float) -> None:
    one = excess_loss(LAW, setting(schedule, weight_decay=0.1, initial_rms=0.02), rate)
    other = excess_loss(LAW, setting(schedule, weight_decay=0.1 / c, initial_rms=0.02 * c), c * rate)
    assert other == pytest.approx(float(one), rel=1e-9)


def test_a_run_that_starts_at_its_equilibrium_is_an_adamh_run() -> None:
    rates = np.geomspace(1e-4, 1e-1, 7)
    settled = setting(weight_decay=0.1, initial_rms=np.sqrt(rates / 0.2))
    angles = np.sqrt(2 * 0.1 * rates * 0.1 / 1.9)
    np.testing.assert_allclose(
        excess_loss(LAW, settled, rates), excess_loss(LAW, setting(optimizer="adamh"), angles), rtol=1e-9
    )


def recursion(rates: np.ndarray, decay: float, initial: float, beta1: float, update_rms: float) -> np.ndarray:
    """Angles of every step: the two-variable recursion of tangent gradients at this RMS of the direction."""
    rho, p, angles = initial**2, 0.0, []
    for eta in rates:
        alpha = 1 - eta * decay
        after = alpha**2 * rho - 2 * alpha * eta * p + (eta * update_rms) ** 2
        angles.append(np.arccos((alpha * rho - eta * p) / np.sqrt(rho * after)))
        rho, p = after, beta1 * (alpha * p - eta * update_rms**2)
    return np.array(angles)


@pytest.mark.parametrize("b", [0.05, 1.0])
@pytest.mark.parametrize(("ratio", "initial"), [(1.0, 0.03), (0.885, 0.1)])
def test_signal_and_size_of_the_direction_enter_step_and_norm_alike(b: float, ratio: float, initial: float) -> None:
    """Mean angle over a transient of n = 1.2 within 1 % of the recursion at U. The signal over the norm of noise turns
    1.4 times too far at b = 0.05 and 3.2 times at b = 1, the reverse as much too little."""
    steps, rate, decay, beta1 = 2000, 1e-3, 0.3, 0.9
    law = replace(LAW, noise_batch=BATCH / b)
    q = (1 - beta1) / (1 + beta1)
    angles = recursion(np.full(steps, rate), decay, initial, beta1, ratio * np.sqrt((b + q) / (1 + b)))
    setup = setting(steps=steps, weight_decay=decay, initial_rms=initial, direction_ratio=ratio)
    found, _ = angle_law.angle_and_excess(law, setup, rate)
    assert found == pytest.approx(angles.mean(), rel=0.01)
    white = mean_angle(setting(steps=steps, weight_decay=decay, initial_rms=initial), rate)
    assert abs(float(found) / float(white) - 1) > 0.02  # it does something here


def test_at_equilibrium_the_angle_is_that_of_noise_at_every_batch() -> None:
    rate, decay = 1e-2, 0.3
    deep = setting(steps=1e6, weight_decay=decay, initial_rms=np.sqrt(rate / decay / 2), direction_ratio=0.8)
    for noise_batch in (None, BATCH / 0.05, BATCH):
        angle, _ = angle_law.angle_and_excess(replace(LAW, noise_batch=noise_batch), deep, rate)
        assert angle == pytest.approx(np.sqrt(2 * rate * decay / 19), rel=1e-3)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: replace(LAW, C1=0.0), "C1"),
        (lambda: replace(LAW, B1=-1.0), "B1"),
        (lambda: replace(LAW, noise_batch=0.0), "noise_batch"),
        (lambda: setting(steps=-1.0), "num_tokens"),
        (lambda: setting(initial_rms=[0.02, 0.0]), "initial_rms"),
        (lambda: setting(weight_decay=-0.1), "weight_decay"),
        (lambda: setting(direction_ratio=0.0), "direction_ratio"),
        (lambda: setting(optimizer="lion"), "optimizer"),
        (lambda: setting().at("beta1", 0.5), "axis"),
        (lambda: excess_loss(LAW, setting(), 0.0), "learning_rate"),
        (lambda: excess_loss(LAW, setting(), [1e-3, 0.0]), "learning_rate"),
        (lambda: excess_loss(LAW, setting(), np.inf), "learning_rate"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        call()  # type: ignore[operator]
    assert caught.value.name == name


@pytest.mark.parametrize(
    ("rates", "steps", "told"),
    [
        ([1e-4, 2e-3], [15_000, 50_000], ""),
        ([], 20_000, ""),
        (1.5e-4, 20_000, ""),
        (0.99e-4, 20_000, "learning rate 9.9e-05, fitted"),
        ([1e-3, 2.1e-3], 20_000, "learning rate 0.001 to 0.0021, fitted"),
        (1e-3, 75_000, "steps 7.5e+04, fitted"),
        (1e-3, 50_001, "steps 5e+04, fitted"),
        (3e-3, 7500, "learning rate 0.003, fitted from 0.0001 to 0.002; steps 7.5e+03, fitted"),
    ],
)
def test_outside_of_a_fit_is_beyond_its_ends(rates: object, steps: object, told: str) -> None:
    found = angle_law.EXAMPLE.outside(rates, steps)  # type: ignore[arg-type]
    assert found == "" if not told else found.startswith(f"outside the fit: {told} from ")


def test_a_decay_may_be_zero_and_the_refusal_of_a_negative_one_says_so() -> None:
    for name, bound in (("weight_decay", "of at least 0"), ("initial_rms", "above 0"), ("num_tokens", "above 0")):
        with pytest.raises(InvalidParameter, match=f"^{name} = -1 must be a finite number {bound}$"):
            setting().at(name, -1)


def test_pieces_in_memory_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = np.geomspace(1e-4, 0.1, 7)
    whole = excess_loss(LAW, setting(), rates)
    monkeypatch.setattr(angle_law, "CHUNK", 2 * angle_law.NODES)
    np.testing.assert_allclose(excess_loss(LAW, setting(), rates), whole, rtol=1e-12)


def test_a_schedule_may_be_an_array_of_multipliers() -> None:
    multipliers = np.linspace(1, 0, 50)
    run = Setting(num_params=1e8, num_tokens=2e9, schedule=multipliers)  # type: ignore[arg-type]
    assert mean_angle(run, 1e-3) == pytest.approx(
        mean_angle(setting(Linear(num_steps=50), 2e9 / 2**19), 1e-3), rel=0.05
    )
    with pytest.raises(InvalidParameter, match="divided by their peak"):
        Setting(num_params=1e8, num_tokens=2e9, schedule=1e-3 * multipliers)  # type: ignore[arg-type]


def test_the_steps_of_a_schedule_in_an_array_have_its_loss() -> None:
    """5,000 of them, within 1e-4 nats, and 1e-4 in the difference that moves an optimum by 0.2 %: pieces cost most at
    the end of a cosine, and their number does not grow with the steps."""
    schedule, rates = Cosine(num_steps=5000, warmup_steps=100), np.array([0.01, 0.04])
    whole, steps = (excess_loss(LAW, setting(s), rates) for s in (schedule, schedule.multipliers()))  # type: ignore[arg-type]
    np.testing.assert_allclose(steps, whole, atol=1e-4)
    np.testing.assert_allclose(np.diff(steps), np.diff(whole), atol=1e-4)
    assert len(setting(schedule.multipliers()).schedule.segments()) <= PIECES  # type: ignore[arg-type]
