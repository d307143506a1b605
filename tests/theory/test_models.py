"""The models of specifications: what all runs of one have in common, whichever optimizer it is."""

from __future__ import annotations

import numpy as np
import pytest

from theory import SGDM, AdamC, AdamH, AdamL2, AdamW, InvalidParameter, Muon, Optimizer
from theory.models import FedBack, model_of

DECAYED = {"learning_rate": 0.02, "weight_decay": 0.3}
RATES = 0.02 * np.array([1.0, 0.5, 0.25])


@pytest.mark.parametrize("optimizer", [SGDM(**DECAYED), AdamL2(**DECAYED), AdamW(**DECAYED), AdamC(**DECAYED)])
def test_a_step_without_a_rate_forgets_nothing(optimizer: Optimizer) -> None:
    model = model_of(optimizer)
    found = model.num_relaxations(np.insert(RATES, 1, 0.0))
    assert found == pytest.approx(model.num_relaxations(RATES), rel=1e-12)
    assert found is not None
    assert found > 0


@pytest.mark.parametrize("optimizer", [SGDM(**DECAYED, decoupled=True), AdamL2(**DECAYED), AdamW(**DECAYED)])
def test_a_row_of_starts_is_as_many_runs(optimizer: Optimizer) -> None:
    model = model_of(optimizer)
    together = model.moments(RATES, np.array([0.1, 0.4]))
    for k, start in enumerate((0.1, 0.4)):
        alone = model.moments(RATES, np.array([start]))
        assert alone.rho.shape == (4, 1)
        for one, both in zip(alone, together, strict=True):
            np.testing.assert_allclose(np.broadcast_to(both, (len(both), 2))[:, k], one[:, 0], rtol=1e-12)


def test_on_the_sphere_nothing_decays() -> None:
    model = model_of(AdamH(learning_rate=0.02))
    assert model.num_relaxations(RATES) is None
    assert not model.moments(RATES, np.array([0.1])).shrinkage.any()


@pytest.mark.parametrize("shape", [None, (8,), (8, 4, 2), (8, 0), (8.0, 4)])
def test_a_matrix_has_two_sides(shape: tuple[int, int] | None) -> None:
    with pytest.raises(InvalidParameter, match="shape"):
        model_of(Muon(**DECAYED), shape=shape)
    assert model_of(Muon(**DECAYED), shape=(8, 1)).equilibrium(1.0).weight_rms > 0


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 0.99e-20), ("weight_decay", 0.99e-20)])
def test_powers_that_no_float_holds_are_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidParameter, match=name):
        model_of(AdamW(**{**DECAYED, name: value}))
    assert model_of(AdamW(learning_rate=0.02, weight_decay=0.0)).num_relaxations(RATES) == 0


@pytest.mark.parametrize(
    "optimizer",
    [
        SGDM(learning_rate=0.1, weight_decay=5e-4),
        SGDM(learning_rate=0.1, weight_decay=5e-3, decoupled=True),
        AdamL2(learning_rate=1e-3, weight_decay=3.0),
        AdamW(learning_rate=1e-3, weight_decay=0.5),
    ],
    ids=lambda one: f"{one.name}-{getattr(one, 'decoupled', '')}",
)
def test_a_small_deviation_falls_to_its_eth_part_in_a_relaxation_time(optimizer: Optimizer) -> None:
    """In the slow limit: a momentum of 10 steps is 2 % of SGDM's time here."""
    model = model_of(optimizer)
    settled = model.equilibrium(1.0)
    assert settled.relaxation_steps is not None
    rates, starts = np.full(round(2 * settled.relaxation_steps), optimizer.learning_rate), np.array([0.99, 1.01])
    rho = model.moments(rates, settled.weight_rms * starts).rho
    deviation = np.diff(rho, axis=1)[:, 0]  # of two starts, in which the start of the momentum is the same
    assert deviation[-1] / deviation[len(rates) // 2] == pytest.approx(np.exp(-1), rel=0.03)
    assert model.num_relaxations(rates) == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(("optimizer", "power"), [(SGDM(**DECAYED), 2), (AdamL2(**DECAYED), 1)])
def test_the_power_of_the_squared_norm_that_relaxes_alone(optimizer: Optimizer, power: int) -> None:
    """Of SGDM's gradient, which goes like one over the norm, rho^2; of Adam's, whose size is held, rho."""
    model = model_of(optimizer)
    assert isinstance(model, FedBack)
    assert model.power == power
