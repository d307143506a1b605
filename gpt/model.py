"""GPT-2 in two architectures that differ only in their norms and biases.

``gpt2``: LayerNorm before each branch, biases, as in Radford et al. 2019.

``scale-invariant``: no biases; RMSNorm with gain before *and* after each branch, on queries and keys per head, and on
the hidden layer of the MLP before the GELU. Each of the six block matrices is followed by a norm before anything
nonlinear happens to its output (value is linear up to the norm behind output), so the loss does not depend on its
scale: the gradient is tangent, which is what the theory assumes.

Both: learned positions, exact GELU, tied embeddings.

Axes in names: B batch, T time, C channels (d_model), H heads, D channels of a head, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt.config import ModelConfig
from gpt.norm import RMSNorm


class Attention(nn.Module):
    """Causal self-attention with separate query, key, value and output matrices."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        classic = config.architecture == "gpt2"
        self.head_dim = config.d_model // config.num_heads
        self.query = nn.Linear(config.d_model, config.d_model, bias=classic)
        self.key = nn.Linear(config.d_model, config.d_model, bias=classic)
        self.value = nn.Linear(config.d_model, config.d_model, bias=classic)
        self.output = nn.Linear(config.d_model, config.d_model, bias=classic)
        self.query_norm = nn.Identity() if classic else RMSNorm(self.head_dim)
        self.key_norm = nn.Identity() if classic else RMSNorm(self.head_dim)

    def forward(self, x_BTC: Tensor) -> Tensor:
        inputs = (self.query, self.key, self.value)
        weight = torch.cat([matrix.weight for matrix in inputs])  # one product instead of three
        bias = None if self.query.bias is None else torch.cat([matrix.bias for matrix in inputs])
        qkv_BT3HD = F.linear(x_BTC, weight, bias).unflatten(-1, (3, -1, self.head_dim))
        q_BTHD, k_BTHD, v_BTHD = qkv_BT3HD.unbind(-3)
        q_BHTD = self.query_norm(q_BTHD).transpose(1, 2)
        k_BHTD = self.key_norm(k_BTHD).transpose(1, 2)
        v_BHTD = v_BTHD.transpose(1, 2).to(q_BHTD.dtype)
        y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, is_causal=True)
        return self.output(y_BHTD.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """One hidden layer of four times the width."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        classic = config.architecture == "gpt2"
        self.up = nn.Linear(config.d_model, 4 * config.d_model, bias=classic)
        self.hidden_norm = nn.Identity() if classic else RMSNorm(4 * config.d_model)
        self.down = nn.Linear(4 * config.d_model, config.d_model, bias=classic)

    def forward(self, x_BTC: Tensor) -> Tensor:
        return self.down(F.gelu(self.hidden_norm(self.up(x_BTC))))


class Block(nn.Module):
    """Attention and MLP, each a branch that reads the residual stream through a norm and adds to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        classic = config.architecture == "gpt2"
        self.attention_norm = _norm(config)
        self.attention = Attention(config)
        self.attention_output_norm = nn.Identity() if classic else RMSNorm(config.d_model)
        self.mlp_norm = _norm(config)
        self.mlp = MLP(config)
        self.mlp_output_norm = nn.Identity() if classic else RMSNorm(config.d_model)

    def forward(self, x_BTC: Tensor) -> Tensor:
        x_BTC = x_BTC + self.attention_output_norm(self.attention(self.attention_norm(x_BTC)))
        return x_BTC + self.mlp_output_norm(self.mlp(self.mlp_norm(x_BTC)))


class GPT(nn.Module):
    """A GPT that returns the loss of every token; see the module for the two architectures.

    The weights are not drawn here, so that the model can be built on the meta device: call `initialise`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        self.position_embedding = nn.Parameter(torch.empty(config.context_length, config.d_model))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.num_layers)])
        self.final_norm = _norm(config)

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Cross-entropy in nats at each position, shape (B, T); T at most the context length."""
        x_BTC = F.embedding(tokens_BT, self.token_embedding) + self.position_embedding[: tokens_BT.shape[1]]
        for block in self.blocks:
            x_BTC = block(x_BTC)
        logits_BTV = F.linear(self.final_norm(x_BTC), self.token_embedding)
        losses = F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten(), reduction="none")
        return losses.view_as(targets_BT)

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Draw the weights; the same numbers on every device, in float32 and rounded from there."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            scale = _initial_rms(name, parameter, self.config)
            if scale is not None:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
            else:
                parameter.fill_(1.0 if "norm" in name and not name.endswith("bias") else 0.0)


def block_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices of attention and MLP by name: what the studied optimizer trains and the probe watches."""
    return {n: p for n, p in model.named_parameters() if n.startswith("blocks.") and p.ndim == 2}


def count_params(model: nn.Module) -> int:
    """Number of parameters outside the embeddings of tokens and positions."""
    return sum(p.numel() for name, p in model.named_parameters() if not name.endswith("embedding"))


def _norm(config: ModelConfig) -> nn.Module:
    return nn.LayerNorm(config.d_model) if config.architecture == "gpt2" else RMSNorm(config.d_model)


def _initial_rms(name: str, parameter: Tensor, config: ModelConfig) -> float | None:
    """Scale of the random initial values; None for gains and biases, which start at one and zero."""
    if name.endswith("embedding"):
        return config.embedding_init_rms
    if parameter.ndim < 2:
        return None
    return config.residual_init_rms if name.endswith(("output.weight", "down.weight")) else config.init_rms
