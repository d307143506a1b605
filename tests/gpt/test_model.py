"""The two architectures are what they say: scale invariance, GPT-2's shape, initial scales, every device and type."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from gpt.config import Architecture, preset
from gpt.model import GPT, block_matrices, count_params
from gpt.norm import EPS, RMSNorm

ARCHITECTURES: tuple[Architecture, ...] = ("gpt2", "scale-invariant")


def make_model(architecture: Architecture, *, dtype: torch.dtype = torch.float32) -> GPT:
    model = GPT(preset("cpu-64", architecture)).to(dtype)
    model.initialise(3)
    return model


def make_batch(batch_size: int = 4) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(256, (batch_size, 65), generator=torch.Generator().manual_seed(1))
    return tokens[:, :-1], tokens[:, 1:]


def make_alive(model: GPT) -> None:
    """Weights large enough for every part to matter, so that a broken symmetry shows."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


@torch.no_grad()
def loss_changes(model: GPT, factor: float) -> dict[str, float]:
    batch = make_batch()
    reference = model(*batch).mean()
    changes = {}
    for name, matrix in block_matrices(model).items():
        original = matrix.clone()
        matrix.mul_(factor)
        changes[name] = float((model(*batch).mean() - reference).abs())
        matrix.copy_(original)
    return changes


@pytest.mark.parametrize("factor", [0.5, 3.0])
@pytest.mark.parametrize("alive", [False, True], ids=["initial", "alive"])
def test_scale_of_a_block_matrix_does_not_matter(factor: float, alive: bool) -> None:
    model = make_model("scale-invariant")
    if alive:
        make_alive(model)
    changes = loss_changes(model, factor)
    assert len(changes) == 12
    assert max(changes.values()) < 1e-5, changes


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_scale_of_a_block_matrix_matters_in_gpt2(factor: float) -> None:
    model = make_model("gpt2")
    make_alive(model)
    changes = loss_changes(model, factor)
    assert min(changes.values()) > 1e-3, changes


def cosine(w: Tensor, grad: Tensor | None) -> float:
    assert grad is not None
    return float((w * grad).sum().abs() / (w.norm() * grad.norm()))


def test_gradient_is_tangent_only_in_the_invariant_model() -> None:
    radial = {}
    for architecture in ARCHITECTURES:
        model = make_model(architecture, dtype=torch.float64)
        make_alive(model)
        model(*make_batch()).mean().backward()
        radial[architecture] = [cosine(w.detach(), w.grad) for w in block_matrices(model).values()]
    assert max(radial["scale-invariant"]) < 1e-10
    assert min(radial["gpt2"]) > 1e-4


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_future_is_not_seen(architecture: Architecture) -> None:
    model = make_model(architecture, dtype=torch.float64)
    make_alive(model)
    tokens, targets = make_batch()
    changed = tokens.clone()
    changed[:, 40] = (changed[:, 40] + 1) % 256
    with torch.no_grad():
        before, after = model(tokens, targets), model(changed, targets)
    assert torch.equal(before[:, :40], after[:, :40])
    assert (before[:, 40:] != after[:, 40:]).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_of_the_initial_model_is_that_of_a_uniform_guess(architecture: Architecture) -> None:
    loss = make_model(architecture)(*make_batch(16)).mean()
    assert loss.item() == pytest.approx(math.log(256), abs=0.1)


def test_gpt2_is_pytorchs_transformer() -> None:
    """A block equals ``nn.TransformerEncoderLayer`` with norms first and exact GELU, given the same weights."""
    model = make_model("gpt2", dtype=torch.float64)
    make_alive(model)
    layer = nn.TransformerEncoderLayer(
        64, 2, 256, dropout=0.0, activation="gelu", norm_first=True, batch_first=True, dtype=torch.float64
    )
    block = model.blocks[0]
    attention, mlp = block.attention, block.mlp
    qkv = (attention.query, attention.key, attention.value)
    pairs = {
        layer.self_attn.in_proj_weight: torch.cat([m.weight for m in qkv]),
        layer.self_attn.in_proj_bias: torch.cat([m.bias for m in qkv]),
        layer.self_attn.out_proj.weight: attention.output.weight,
        layer.self_attn.out_proj.bias: attention.output.bias,
        layer.linear1.weight: mlp.up.weight,
        layer.linear1.bias: mlp.up.bias,
        layer.linear2.weight: mlp.down.weight,
        layer.linear2.bias: mlp.down.bias,
        layer.norm1.weight: block.attention_norm.weight,
        layer.norm1.bias: block.attention_norm.bias,
        layer.norm2.weight: block.mlp_norm.weight,
        layer.norm2.bias: block.mlp_norm.bias,
    }
    x = torch.randn(2, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mask = nn.Transformer.generate_square_subsequent_mask(64, dtype=torch.float64)
    with torch.no_grad():
        for target, value in pairs.items():
            target.copy_(value)
        torch.testing.assert_close(block(x), layer(x, src_mask=mask, is_causal=True), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_scales_are_those_of_the_config(architecture: Architecture) -> None:
    config = dataclasses.replace(
        preset("cpu-128", architecture), init_rms=0.03, residual_init_rms=0.005, embedding_init_rms=0.1
    )
    model = GPT(config)
    model.initialise(0)
    for name, p in model.named_parameters():
        rms = float(p.detach().square().mean().sqrt())
        if p.ndim == 2:
            residual = name.endswith(("output.weight", "down.weight"))
            expected = 0.1 if name.endswith("embedding") else 0.005 if residual else 0.03
            assert rms == pytest.approx(expected, rel=0.05), name  # 5 standard errors of the smallest
        else:
            expected = 0.0 if name.endswith("bias") else 1.0
            assert torch.equal(p.detach(), torch.full_like(p, expected)), name


def test_same_seed_same_weights_in_every_type() -> None:
    first, second = make_model("gpt2"), make_model("gpt2", dtype=torch.float64)
    for (name, p), q in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(p.double(), q), name
    other = GPT(first.config)
    other.initialise(4)
    assert not torch.equal(other.token_embedding, first.token_embedding)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_parameters_are_counted_without_embeddings(architecture: Architecture) -> None:
    model = make_model(architecture)
    d, matrices = 64, 2 * 12 * 64**2
    # gains and biases: gpt2 two norms a layer, one at the end, biases of all six matrices
    vectors = 2 * (4 * d + 4 * d + 5 * d) + 2 * d if architecture == "gpt2" else 2 * (4 * d + 4 * d + 2 * 32) + d
    assert count_params(model) == matrices + vectors


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_runs_on_the_meta_device(architecture: Architecture) -> None:
    with torch.device("meta"):
        model = GPT(preset("64M", architecture))
        tokens = torch.zeros(2, 1024, dtype=torch.int64)
        loss = model(tokens, tokens)
    assert loss.shape == (2, 1024)
    assert loss.device.type == "meta"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bfloat16_autocast_stays_close(architecture: Architecture) -> None:
    model = make_model(architecture)
    make_alive(model)
    batch = make_batch()
    exact = model(*batch).mean().item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(*batch).mean()
    rounded.backward()
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact, rel=0.02)
    assert rounded.item() != exact
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


def test_norm_is_rmsnorm_with_its_gradients() -> None:
    norm = RMSNorm(6).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    gain = torch.randn(6, generator=generator, dtype=torch.float64, requires_grad=True)

    def apply(x: Tensor, gain: Tensor) -> Tensor:
        return torch.func.functional_call(norm, {"gain": gain}, (x,))

    torch.testing.assert_close(apply(x, gain), nn.functional.rms_norm(x, (6,), gain, EPS), rtol=1e-14, atol=0)
    assert torch.autograd.gradcheck(apply, (x, gain))
    assert torch.autograd.gradgradcheck(apply, (x, gain))


def test_norm_of_a_zero_row_is_zero() -> None:
    x = torch.zeros(2, 6, requires_grad=True)
    y = RMSNorm(6)(x)
    y.sum().backward()
    assert torch.equal(y.detach(), torch.zeros(2, 6))
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
