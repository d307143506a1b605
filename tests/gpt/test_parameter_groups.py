"""The rule that sends each parameter to its optimizer."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import theory
from gpt.adamc import AdamC
from gpt.adamh import AdamH
from gpt.config import Architecture, TrainableOptimizer, TrainConfig, preset
from gpt.model import GPT
from gpt.muonh import MuonH
from gpt.optim import MATRICES, OTHERS, build_optimizers, describe_groups, parameter_groups, set_learning_rates

ADAMW = theory.AdamW(learning_rate=1e-2, weight_decay=0.3, beta1=0.8, beta2=0.99, eps=1e-6)
ADAMC = theory.AdamC(learning_rate=1e-2, weight_decay=0.3, beta1=0.8, beta2=0.99, eps=1e-6)
ADAMH = theory.AdamH(learning_rate=2e-2, beta1=0.8, beta2=0.99, eps=1e-6)
MUONH = theory.MuonH(learning_rate=2e-2, beta1=0.85, nesterov=False)


def make(architecture: Architecture, optimizer: TrainableOptimizer) -> tuple[GPT, TrainConfig]:
    config = TrainConfig(
        model=preset("cpu-16", architecture),
        optimizer=optimizer,
        non_matrix_learning_rate=3e-3,
        schedule=theory.Constant(num_steps=10),
    )
    model = GPT(config.model)
    model.initialise(0)
    return model, config


@pytest.mark.parametrize("architecture", ["gpt2", "scale-invariant"])
def test_every_parameter_is_in_one_group(architecture: Architecture) -> None:
    model, _ = make(architecture, ADAMW)
    groups = parameter_groups(model)
    assert set(groups[MATRICES]) == {
        f"blocks.{layer}.{name}.weight"
        for layer in range(2)
        for name in ("attention.query", "attention.key", "attention.value", "attention.output", "mlp.up", "mlp.down")
    }
    names = [*groups[MATRICES], *groups[OTHERS]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert all(p.ndim == 1 or name.endswith("embedding") for name, p in groups[OTHERS].items())


@pytest.mark.parametrize(
    ("spec", "kind", "own", "betas", "eps"),
    [
        (ADAMW, torch.optim.AdamW, {"betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.3}, (0.8, 0.99), 1e-6),
        (ADAMC, AdamC, {"betas": (0.8, 0.99), "eps": 1e-6, "peak_weight_decay": 0.3}, (0.8, 0.99), 1e-6),
        (ADAMH, AdamH, {"betas": (0.8, 0.99), "eps": 1e-6}, (0.8, 0.99), 1e-6),
        (MUONH, MuonH, {"momentum": 0.85, "nesterov": False}, (0.9, 0.95), 1e-8),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_torch_optimizers_are_built_from_the_spec(
    spec: TrainableOptimizer,
    kind: type[torch.optim.Optimizer],
    own: dict[str, object],
    betas: tuple[float, float],
    eps: float,
) -> None:
    model, config = make("gpt2", spec)
    optimizers = build_optimizers(model, config)
    matrices, others = optimizers[MATRICES], optimizers[OTHERS]
    assert type(matrices) is kind
    assert type(others) is torch.optim.Adam
    assert own.items() <= matrices.param_groups[0].items()
    assert {"betas": betas, "eps": eps, "weight_decay": 0}.items() <= others.param_groups[0].items()
    for optimizer, rate in ((matrices, spec.learning_rate), (others, 3e-3)):
        assert [group["lr"] for group in optimizer.param_groups] == [rate]
    set_learning_rates(optimizers, 0.25)
    set_learning_rates(optimizers, 0.5)
    assert matrices.param_groups[0]["lr"] == spec.learning_rate / 2
    assert others.param_groups[0]["lr"] == 1.5e-3


def test_one_step_obeys_the_decay_rule() -> None:
    """With zero gradients only decay moves a weight: matrices shrink, the rest stays."""
    model, config = make("gpt2", dataclasses.replace(ADAMW))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    for optimizer in build_optimizers(model, config).values():
        optimizer.step()
    for name, p in model.named_parameters():
        shrink = 1 - 1e-2 * 0.3 if name in parameter_groups(model)[MATRICES] else 1.0
        torch.testing.assert_close(p.detach(), shrink * before[name], rtol=1e-6, atol=0, msg=name)


def test_the_rule_is_printed() -> None:
    model, config = make("scale-invariant", ADAMW)
    matrices, others = describe_groups(model, config)
    assert matrices == (
        "block matrices: AdamW, learning rate 0.01, weight decay 0.3; 12 tensors, 6,144 parameters (attention.query, "
        "attention.key, attention.value, attention.output, mlp.up, mlp.down)"
    )
    assert others.startswith("everything else: Adam, learning rate 0.003, no weight decay; 17 tensors, ")
    assert "token_embedding" in others
    assert "mlp.hidden_norm" in others
    for spec, said in ((ADAMC, "AdamC, learning rate 0.01, weight decay 0.3;"), (MUONH, "MuonH, learning rate 0.02;")):
        assert said in describe_groups(*make("gpt2", spec))[0]
