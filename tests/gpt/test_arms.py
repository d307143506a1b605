"""The arms of an experiment: what each changes, and that it changes nothing else."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import theory
from gpt import arms
from gpt.config import Steering, TrainConfig, preset
from gpt.model import GPT, block_matrices
from gpt.optim import MATRICES, build_optimizers, set_learning_rates
from gpt.train import rescale_initial_weights, train
from theory import InvalidParameter
from theory.conversion import convert
from theory.networks import SCALE_INVARIANT

CONFIG = TrainConfig(
    model=preset("cpu-16", "gpt2"),
    optimizer=theory.AdamW(learning_rate=1e-2, weight_decay=0.3, beta1=0.8, beta2=0.9, eps=1e-7),
    non_matrix_learning_rate=3e-3,
    schedule=theory.Linear(num_steps=10),
)


def changed(config: TrainConfig) -> set[str]:
    return {f.name for f in dataclasses.fields(config) if getattr(config, f.name) != getattr(CONFIG, f.name)}


def initial(config: TrainConfig) -> GPT:
    model = GPT(config.model)
    model.initialise(config.seed)
    rescale_initial_weights(model, config)
    return model


def test_at_equilibrium_every_matrix_has_the_norm_of_the_theory() -> None:
    config = arms.at_equilibrium(CONFIG)
    assert changed(config) == {"block_rms"}
    assert config.block_rms == pytest.approx(math.sqrt(1e-2 / 0.6), rel=0.01)
    drawn, rescaled = initial(CONFIG), initial(config)
    for name, w in rescaled.named_parameters():
        before = drawn.get_parameter(name)
        if name in block_matrices(drawn):
            assert float(w.detach().square().mean().sqrt()) == pytest.approx(config.block_rms, rel=1e-6)
            torch.testing.assert_close(w / w.norm(), before / before.norm())
        else:
            assert torch.equal(w, before)


def test_equilibrium_must_exist() -> None:
    still = dataclasses.replace(CONFIG, optimizer=theory.AdamW(learning_rate=1e-2, weight_decay=0.0))
    with pytest.raises(theory.NoEquilibrium):
        arms.at_equilibrium(still)
    with pytest.raises(InvalidParameter, match="such as adamw"):
        arms.at_equilibrium(arms.adamh(CONFIG))


def test_adamh_turns_as_adamw_does_at_its_equilibrium() -> None:
    config = arms.adamh(CONFIG)
    assert changed(config) == {"optimizer"}
    rate = math.sqrt(2 * 1e-2 * 0.3 * 0.2 / 1.8)
    assert config.optimizer.learning_rate == pytest.approx(rate, rel=0.01)
    assert arms.adamh(CONFIG, 0.5).optimizer == theory.AdamH(learning_rate=0.5, beta1=0.8, beta2=0.9, eps=1e-7)


def test_adamc_decays_with_the_rate() -> None:
    """Its optimizer must not be AdamW under another name: at half the rate the decay of a step falls to a quarter."""
    config = arms.adamc(CONFIG)
    assert changed(config) == {"optimizer"}
    model = initial(config)
    optimizers = build_optimizers(model, config)
    w = next(iter(block_matrices(model).values()))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    before = w.detach().clone()
    set_learning_rates(optimizers, 0.5)
    optimizers[MATRICES].step()
    torch.testing.assert_close(w.detach(), before * (1 - 1e-2 * 0.3 / 4))


def test_an_independent_decay_takes_its_share_whatever_the_rate() -> None:
    """Zero gradients: decay alone moves a matrix, at half the rate and at none as at the peak."""
    spec = dataclasses.replace(CONFIG.optimizer, weight_decay=0.02, decay="independent")
    config = dataclasses.replace(CONFIG, optimizer=spec)
    model = initial(config)
    optimizers = build_optimizers(model, config)
    w = next(iter(block_matrices(model).values()))
    for multiplier in (1.0, 0.5, 0.0):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        before = w.detach().clone()
        set_learning_rates(optimizers, multiplier)
        optimizers[MATRICES].step()
        torch.testing.assert_close(w.detach(), before * 0.98)


def test_a_converted_run_changes_optimizer_and_schedule_of_the_matrices_alone() -> None:
    start = dataclasses.replace(CONFIG, block_rms=0.02)
    config = arms.converted(start, theory.AdamH(learning_rate=1e-3, beta1=0.8, beta2=0.9, eps=1e-7))
    assert changed(config) == {"block_rms", "optimizer", "matrix_schedule"}
    angles = [
        theory.predict_trajectory(spec, schedule, initial_rms=0.02, finite_beta2=True).angular_update
        for spec, schedule in ((start.optimizer, start.schedule), (config.optimizer, config.matrix_schedule))
    ]
    torch.testing.assert_close(*map(torch.from_numpy, angles))
    swinging = dataclasses.replace(SCALE_INVARIANT, direction_ratio=0.8)
    slower = arms.converted(start, theory.AdamH(learning_rate=1e-3), network=swinging)
    known = convert(
        start.optimizer, start.schedule, theory.AdamH(learning_rate=1e-3), initial_rms=0.02, network=swinging
    )
    assert (slower.optimizer, slower.matrix_schedule) == (known.optimizer, known.schedule)
    with pytest.raises(InvalidParameter, match="block_rms"):
        arms.converted(CONFIG, theory.AdamH(learning_rate=1e-3))


def test_a_schedule_of_the_matrices_is_as_long_and_moves_them_alone() -> None:
    half = theory.Tabulated(num_steps=10, steps=(0,), values=(0.5,))
    config = dataclasses.replace(CONFIG, matrix_schedule=half)
    with pytest.raises(InvalidParameter, match="matrix_schedule"):
        dataclasses.replace(CONFIG, matrix_schedule=theory.Linear(num_steps=9))
    with pytest.raises(InvalidParameter, match="steering"):
        dataclasses.replace(config, steering=Steering(norm="fixed", angle=0.1))
    assert CONFIG.checkpoint_digest == dataclasses.replace(config, matrix_schedule=None).checkpoint_digest
    assert config.checkpoint_digest != CONFIG.checkpoint_digest
    result = [train(dataclasses.replace(one, source="zipf", device="cpu", eval_batches=1)) for one in (CONFIG, config)]
    assert result[0].trajectory.relative_update[0] != pytest.approx(result[1].trajectory.relative_update[0], rel=0.3)
    model = initial(config)
    optimizers = build_optimizers(model, config)
    set_learning_rates(optimizers, 0.25, 0.5)
    assert [one.param_groups[0]["lr"] for one in optimizers.values()] == [0.5e-2, 0.25 * 3e-3]


def test_arms_are_made_from_adamw() -> None:
    for arm in (arms.adamh, arms.adamc):
        with pytest.raises(InvalidParameter, match="adamw"):
            arm(arms.adamh(CONFIG))


def test_twin_differs_by_its_factor_alone() -> None:
    twin = initial(dataclasses.replace(CONFIG, initial_factor=1.5))
    for name, w in initial(CONFIG).named_parameters():
        torch.testing.assert_close(twin.get_parameter(name), 1.5 * w)
