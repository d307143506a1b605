"""Every optimizer through the same door: its specification, its prediction, and where its trajectory settles."""

from __future__ import annotations

import numpy as np
import pytest

from theory import Constant, Cosine, InvalidParameter, NoEquilibrium, adamw, stationary
from theory.models import model_of
from theory.optimizers import (
    OPTIMIZERS,
    SGDM,
    AdamC,
    AdamH,
    AdamL2,
    AdamW,
    Lion,
    Muon,
    MuonH,
    Optimizer,
    SignSGDM,
    pytorch_decay,
)
from theory.predict import equilibrium, final_rms, num_relaxations, predict, predict_trajectory

DECAYED = {"learning_rate": 0.01, "weight_decay": 1.0}
EVERY: list[Optimizer] = [
    AdamW(**DECAYED, beta2=1 - 1e-7),
    AdamC(**DECAYED, beta2=1 - 1e-7),
    AdamH(learning_rate=0.02, beta2=1 - 1e-7),
    AdamL2(**DECAYED),
    SGDM(**DECAYED),
    SGDM(**DECAYED, decoupled=True),
    Lion(**DECAYED),
    SignSGDM(**DECAYED),
    Muon(**DECAYED),
    Muon(**DECAYED, nesterov=False),
    MuonH(learning_rate=0.02),
]
# sigma such that Adam with L2 has about the same decay per step as the others
MATRIX = {"gradient_rms": 0.07, "shape": (64, 16)}
every = pytest.mark.parametrize("optimizer", EVERY, ids=lambda o: repr(o)[:40])


def test_every_optimizer_is_tried_and_named_once() -> None:
    assert {type(optimizer) for optimizer in EVERY} == set(OPTIMIZERS.values())
    assert all(OPTIMIZERS[name].name == name for name in OPTIMIZERS)


@every
def test_the_trajectory_settles_at_the_equilibrium(optimizer: Optimizer) -> None:
    settled = equilibrium(optimizer, initial_rms=0.05, **MATRIX)
    trajectory = predict_trajectory(optimizer, Constant(num_steps=3000), initial_rms=0.05, **MATRIX)
    for measured, expected in (
        (trajectory.weight_rms, settled.weight_rms),
        (trajectory.angular_update, settled.angular_update),
        (trajectory.cosine, settled.cosine),
    ):
        # Adam's count of samples in the second moment still grows, like 1/t
        assert measured[-1, 0] == pytest.approx(expected, rel=2e-3 if "Adam" in type(optimizer).__name__ else 1e-6)


@every
def test_records_close_the_triangle_of_weights_update_and_step(optimizer: Optimizer) -> None:
    """Angle and relative update follow from norms and cosine; several matrices are as many single ones."""
    schedule = Cosine(num_steps=60, warmup_steps=5)
    both = predict_trajectory(optimizer, schedule, initial_rms=[0.05, 0.4], matrices=("a", "b"), **MATRIX)
    alone = predict_trajectory(optimizer, schedule, initial_rms=0.4, **MATRIX)
    np.testing.assert_allclose(both.weight_rms[:, 1:], alone.weight_rms, rtol=1e-12)
    np.testing.assert_allclose(both.angular_update[:, 1:], alone.angular_update, rtol=1e-9)
    rms, angle = both.weight_rms, both.angular_update
    after = np.vstack([rms[1:], [[final_rms(optimizer, schedule, initial_rms=r, **MATRIX) for r in (0.05, 0.4)]]])
    chord = np.sqrt((rms - after) ** 2 + 4 * rms * after * np.sin(angle / 2) ** 2)
    np.testing.assert_allclose(chord, both.relative_update * rms, rtol=1e-7)


@every
def test_a_prediction_has_every_field(optimizer: Optimizer) -> None:
    prediction = predict(optimizer, Constant(num_steps=2000), initial_rms=0.05, **MATRIX)
    assert prediction.reaches_equilibrium
    assert prediction.transient_steps is not None
    assert prediction.transient_steps < 1000
    assert prediction.final_rms == pytest.approx(prediction.equilibrium_rms, rel=2e-3)
    if isinstance(optimizer, AdamH | MuonH):
        assert prediction.relaxation_steps is None
        assert prediction.num_relaxations is None
        assert prediction.equilibrium_rms == 0.05
    else:
        assert prediction.relaxation_steps is not None
        assert prediction.num_relaxations == pytest.approx(2000 / prediction.relaxation_steps)


@pytest.mark.parametrize(
    "optimizer", [o for o in EVERY if not isinstance(o, AdamH | MuonH)], ids=lambda o: repr(o)[:40]
)
def test_no_equilibrium_without_decay(optimizer: Optimizer) -> None:
    free = type(optimizer)(learning_rate=0.01, weight_decay=0.0)
    with pytest.raises(NoEquilibrium):
        predict(free, Constant(num_steps=10), initial_rms=0.05, **MATRIX)
    grown = predict_trajectory(free, Constant(num_steps=300), initial_rms=0.05, **MATRIX)
    assert grown.weight_rms[-1, 0] > grown.weight_rms[0, 0]


def test_the_finite_second_moment_is_off_unless_asked_for() -> None:
    schedule = Constant(num_steps=3000)
    for optimizer in (AdamW(**DECAYED), AdamC(**DECAYED)):
        plain = predict(optimizer, schedule, initial_rms=0.05)
        assert plain.equilibrium_rms == pytest.approx(float(adamw.equilibrium_rms(0.01, 1.0)), rel=1e-12)
        finite = predict(optimizer, schedule, initial_rms=0.05, finite_beta2=True)
        assert finite.equilibrium_rms / plain.equilibrium_rms - 1 == pytest.approx(-0.011, abs=1e-3)
        assert finite.final_rms == pytest.approx(finite.equilibrium_rms, rel=1e-4)
        assert finite.angular_update_equilibrium / plain.angular_update_equilibrium - 1 == pytest.approx(
            -0.0044, abs=2e-4
        )
        assert finite.final_angular_update == pytest.approx(finite.angular_update_equilibrium, rel=1e-4)
    coupled = AdamL2(**DECAYED)
    plain, finite = (predict(coupled, schedule, initial_rms=0.05, finite_beta2=on, **MATRIX) for on in (False, True))
    assert finite.angular_update_equilibrium / plain.angular_update_equilibrium - 1 == pytest.approx(-0.0127, abs=1e-3)
    assert finite.final_rms == pytest.approx(finite.equilibrium_rms, rel=1e-4)
    assert finite.final_angular_update == pytest.approx(finite.angular_update_equilibrium, rel=1e-3)
    sphere = AdamH(learning_rate=0.02)
    plain, finite = (predict(sphere, schedule, initial_rms=0.05, finite_beta2=on) for on in (False, True))
    assert 0.99 < finite.angular_update_equilibrium / plain.angular_update_equilibrium < 0.9999
    assert finite.final_angular_update == pytest.approx(finite.angular_update_equilibrium, rel=1e-4)


def test_relaxations_count_every_step_at_its_own_rate() -> None:
    """AdamW's add up like the rates; AdamC's like their squares; SGDM's twice as fast."""
    schedule = Cosine(num_steps=1000)
    m = schedule.multipliers()
    assert num_relaxations(AdamW(**DECAYED), schedule) == pytest.approx(0.02 * m.sum())
    assert num_relaxations(AdamC(**DECAYED), schedule) == pytest.approx(0.02 * (m**2).sum())
    assert num_relaxations(SGDM(**DECAYED, decoupled=True), schedule) == pytest.approx(0.04 * m.sum())
    assert num_relaxations(MuonH(learning_rate=0.1), schedule) is None


def test_what_a_model_needs_is_asked_for_in_one_line() -> None:
    for shape in (None, (3,), (0, 4)):
        with pytest.raises(InvalidParameter, match=r"^shape = ") as caught:
            equilibrium(Muon(**DECAYED), initial_rms=0.1, shape=shape)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    with pytest.raises(InvalidParameter, match="gradient_rms"):
        model_of(SGDM(**DECAYED), gradient_rms=0.0)
    for optimizer in EVERY[:3]:
        with pytest.raises(InvalidParameter, match="initial_rms"):
            equilibrium(optimizer, initial_rms=-1.0)


@pytest.mark.parametrize(("name", "cls"), OPTIMIZERS.items())
def test_bad_specifications_are_refused_by_name(name: str, cls: type[Optimizer]) -> None:
    good = {"learning_rate": 0.01} | ({} if name in ("adamh", "muonh") else {"weight_decay": 0.1})
    cls(**good)
    broken = [{"learning_rate": 0.0}, {"learning_rate": float("nan")}, {"beta1": 1.0}, {"beta1": -0.1}]
    if "weight_decay" in good:
        broken += [{"weight_decay": -1.0}, {"weight_decay": 100.0}]
    broken += [{flag: 1} for flag in ("nesterov", "decoupled") if flag in cls.__dataclass_fields__]
    broken += [{field: 1.0} for field in ("beta2",) if field in cls.__dataclass_fields__]
    for bad in broken:
        with pytest.raises(InvalidParameter) as caught:
            cls(**{**good, **bad})  # type: ignore[arg-type]
        assert caught.value.name == next(iter(bad))


def test_a_sphere_turns_like_its_equivalent_decay() -> None:
    """MuonH at the matching rate has the angle of Muon, whatever the shape's scale."""
    update = model_of(Muon(**DECAYED), shape=(32, 8)).autocovariance()  # type: ignore[union-attr]
    rate = float(stationary.sphere_learning_rate(update, 0.01))
    one = equilibrium(MuonH(learning_rate=rate), initial_rms=1.0, shape=(8, 32))
    other = equilibrium(Muon(**DECAYED), initial_rms=1.0, shape=(32, 8))
    assert one.angular_update == pytest.approx(other.angular_update, rel=1e-9)
    assert one.cosine == pytest.approx(other.cosine, rel=1e-9)


@pytest.mark.parametrize(("cls", "shape"), [(AdamW, None), (Lion, None), (SignSGDM, None), (Muon, (8, 8))])
def test_an_independent_decay_takes_the_same_share_of_every_step(
    cls: type[AdamW | Lion | SignSGDM | Muon], shape: tuple[int, int] | None
) -> None:
    plain = cls(learning_rate=0.01, weight_decay=0.3)
    independent = cls(learning_rate=0.01, weight_decay=0.003, decay="independent")
    assert equilibrium(independent, initial_rms=0.1, shape=shape) == equilibrium(plain, initial_rms=0.1, shape=shape)
    schedule = Cosine(num_steps=300)
    rates = independent.learning_rate * schedule.multipliers()
    moments = model_of(independent, shape=shape).moments(rates, np.array([0.1]))
    np.testing.assert_array_equal(moments.shrinkage, np.full((300, 1), 0.003))
    assert num_relaxations(independent, schedule) == pytest.approx(2 * 300 * 0.003)
    # The end of the schedule shrinks the weights of the one, and leaves those of the other alone.
    ends = [final_rms(one, schedule, initial_rms=0.1, shape=shape) for one in (independent, plain)]
    assert ends[0] < 0.9 * ends[1]


def test_a_decay_in_the_convention_of_pytorch() -> None:
    """One that is independent over the rate; none on the sphere."""
    for optimizer, decay in (
        (SGDM(learning_rate=0.1, weight_decay=0.02), 0.02),
        (Lion(learning_rate=0.1, weight_decay=0.02, decay="independent"), 0.2),
        (MuonH(learning_rate=0.1), 0.0),
    ):
        assert pytorch_decay(optimizer) == pytest.approx(decay, rel=1e-12, abs=0)


def test_what_came_later_does_not_change_the_text_of_what_was() -> None:
    assert repr(Lion(**DECAYED)) == "Lion(learning_rate=0.01, weight_decay=1.0, beta1=0.9, beta2=0.99)"
    assert repr(Muon(**DECAYED, scale="moonlight")).endswith("nesterov=True, scale='moonlight')")


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"decay": "coupled"}, "decay"),
        ({"decay": "independent", "weight_decay": 1.0}, "weight_decay"),
        ({"scale": "spectral"}, "scale"),
        ({"update_ratio": 0.0}, "update_ratio"),
    ],
)
def test_bad_conventions_are_refused(values: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Muon(**{**DECAYED, **values})  # type: ignore[arg-type]
    assert caught.value.name == name
