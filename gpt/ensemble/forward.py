"""`gpt.model.GPT` with an axis more, M: every model reads tokens of its own with weights of its own.

Axes as there: M models, B batch, T time, C channels, H heads, D channels of a head, V vocabulary; N = B T.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt.config import ModelConfig
from gpt.norm import inverse_rms

Weights = Mapping[str, Tensor]


def token_losses(config: ModelConfig, weights: Weights, tokens_MBT: Tensor, targets_MBT: Tensor) -> Tensor:
    """Cross-entropy in nats at each position, (M, B, T).

    weights : by the names of `gpt.model.GPT`, each with an axis M in front.
    """
    num_models, _, length = tokens_MBT.shape
    embedding_MVC = weights["token_embedding"]
    # a product, whose gradient is one too: that of a gather adds up in whatever order a GPU likes
    tokens_MN = tokens_MBT.flatten(1)
    which_MNV = embedding_MVC.new_zeros(*tokens_MN.shape, config.vocab_size).scatter_(2, tokens_MN[..., None], 1.0)
    x_MBTC = torch.bmm(which_MNV, embedding_MVC).view(*tokens_MBT.shape, -1)
    x_MBTC = x_MBTC + weights["position_embedding"][:, None, :length]
    for index in range(config.num_layers):
        x_MBTC = _block(config, weights, f"blocks.{index}", x_MBTC)
    x_MBTC = _norm(config, weights, "final_norm", x_MBTC)
    logits_MNV = torch.bmm(x_MBTC.flatten(1, 2), embedding_MVC.transpose(1, 2))
    losses = F.cross_entropy(logits_MNV.flatten(0, 1), targets_MBT.flatten(), reduction="none")
    return losses.view(num_models, *targets_MBT.shape[1:])


def _block(config: ModelConfig, weights: Weights, name: str, x_MBTC: Tensor) -> Tensor:
    normed = _norm(config, weights, f"{name}.attention_norm", x_MBTC)
    branch = _attention(config, weights, f"{name}.attention", normed)
    x_MBTC = x_MBTC + _inner_norm(weights, f"{name}.attention_output_norm", branch)
    hidden = _linear(weights, f"{name}.mlp.up", _norm(config, weights, f"{name}.mlp_norm", x_MBTC))
    hidden = F.gelu(_inner_norm(weights, f"{name}.mlp.hidden_norm", hidden))
    branch = _linear(weights, f"{name}.mlp.down", hidden)
    return x_MBTC + _inner_norm(weights, f"{name}.mlp_output_norm", branch)


def _attention(config: ModelConfig, weights: Weights, name: str, x_MBTC: Tensor) -> Tensor:
    head_dim = config.d_model // config.num_heads
    q, k, v = (
        _linear(weights, f"{name}.{which}", x_MBTC).unflatten(-1, (-1, head_dim)) for which in ("query", "key", "value")
    )
    q, k = (_inner_norm(weights, f"{name}.{which}_norm", x) for which, x in (("query", q), ("key", k)))
    q_XHTD, k_XHTD, v_XHTD = (x_MBTHD.flatten(0, 1).transpose(1, 2) for x_MBTHD in (q, k, v))  # X: M B
    y_XHTD = F.scaled_dot_product_attention(q_XHTD, k_XHTD, v_XHTD, is_causal=True)
    return _linear(weights, f"{name}.output", y_XHTD.transpose(1, 2).reshape(x_MBTC.shape))


def _linear(weights: Weights, name: str, x_MBTC: Tensor) -> Tensor:
    x_MNC, matrix = x_MBTC.flatten(1, 2), weights[f"{name}.weight"].transpose(1, 2)
    bias = weights.get(f"{name}.bias")
    y_MNC = torch.bmm(x_MNC, matrix) if bias is None else torch.baddbmm(bias[:, None], x_MNC, matrix)
    return y_MNC.view(*x_MBTC.shape[:3], -1)


def _norm(config: ModelConfig, weights: Weights, name: str, x: Tensor) -> Tensor:
    """Of what a branch or the head reads: LayerNorm, or RMSNorm."""
    if config.architecture == "scale-invariant":
        return _inner_norm(weights, name, x)
    normed = F.layer_norm(x, x.shape[-1:])
    return torch.addcmul(_wide(weights[f"{name}.bias"], x), normed, _wide(weights[f"{name}.weight"], x))


def _inner_norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    """RMSNorm where the architecture has one."""
    gain = weights.get(f"{name}.gain")
    if gain is None:
        return x
    unit: Tensor = _UnitRMS.apply(x)
    return unit * _wide(gain, x)


class _UnitRMS(torch.autograd.Function):
    """`gpt.norm.RMSNorm` without its gain. The fused kernel of torch gives a block of threads to every row, of which
    there are 262,144 of 8 numbers: on an H200 a step of 256 models of width 8 takes 9.9 ms with it and 6.1 with this,
    of width 32 13.8 and 12.5, of width 64 24.5 and 24.1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        inverse = inverse_rms(x)
        unit = x * inverse
        ctx.save_for_backward(unit, inverse)
        return unit

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (dy,) = grads
        unit, inverse = ctx.saved_tensors
        radial = (dy * unit).sum(dim=-1, keepdim=True) / -unit.shape[-1]
        return torch.addcmul(dy, unit, radial).mul_(inverse)


def _wide(vector_MC: Tensor, x: Tensor) -> Tensor:
    """A vector for each model, to go with the last axis of ``x``."""
    return vector_MC.view(len(vector_MC), *[1] * (x.ndim - 2), -1)
