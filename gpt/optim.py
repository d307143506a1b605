"""Which optimizer trains which parameter, and at which rate.

The rule: matrices of attention and MLP are trained by the optimizer under study; everything else (embeddings, which
are also the head, position embeddings, gains, biases) by Adam without decay, at its own learning rate. Both follow the
same schedule, unless the matrices have one of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gpt.adamc import AdamC
from gpt.adamh import AdamH
from gpt.config import TrainableOptimizer, TrainConfig
from gpt.independent_decay import IndependentDecayAdamW
from gpt.model import block_matrices
from gpt.muonh import MuonH
from theory import optimizers as specs

MATRICES, OTHERS = "block matrices", "everything else"


def parameter_groups(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """The parameters of both groups by name."""
    matrices = block_matrices(model)
    others = {name: p for name, p in model.named_parameters() if name not in matrices}
    return {MATRICES: matrices, OTHERS: others}


def matrix_optimizer(spec: TrainableOptimizer, matrices: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The torch optimizer that does what ``spec`` says, at its peak learning rate."""
    if isinstance(spec, specs.MuonH):
        return MuonH(matrices, lr=spec.learning_rate, momentum=spec.beta1, nesterov=spec.nesterov)
    betas = (spec.beta1, spec.beta2)
    if isinstance(spec, specs.AdamH):
        return AdamH(matrices, lr=spec.learning_rate, betas=betas, eps=spec.eps)
    decayed: type[torch.optim.AdamW] = AdamC if isinstance(spec, specs.AdamC) else torch.optim.AdamW
    if isinstance(spec, specs.AdamW) and spec.decay == "independent":
        decayed = IndependentDecayAdamW
    return decayed(
        matrices, lr=spec.learning_rate, betas=betas, eps=spec.eps, weight_decay=spec.weight_decay, fused=True
    )


def build_optimizers(model: nn.Module, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
    """One optimizer per group, each with its peak learning rate stored in its groups as ``peak_lr``.

    Adam on everything else takes betas and eps of the optimizer under study; beside MuonH, which has no second moment,
    those of `theory.AdamH`.
    """
    groups = parameter_groups(model)
    matrices, others = (list(group.values()) for group in (groups[MATRICES], groups[OTHERS]))
    rate = config.non_matrix_learning_rate
    adam = specs.AdamH(learning_rate=rate) if isinstance(config.optimizer, specs.MuonH) else config.optimizer
    optimizers: dict[str, torch.optim.Optimizer] = {
        MATRICES: matrix_optimizer(config.optimizer, matrices),
        OTHERS: torch.optim.Adam(others, lr=rate, betas=(adam.beta1, adam.beta2), eps=adam.eps, fused=True),
    }
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def set_learning_rates(
    optimizers: dict[str, torch.optim.Optimizer], multiplier: float, matrix_multiplier: float | None = None
) -> None:
    """Set every group to its peak times the schedule's multiplier, that of the block matrices where it is given."""
    for name, optimizer in optimizers.items():
        own = multiplier if matrix_multiplier is None or name != MATRICES else matrix_multiplier
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * own


def describe_groups(model: nn.Module, config: TrainConfig) -> tuple[str, ...]:
    """One line per group: optimizer and peak rate, number of tensors and parameters, and which."""
    spec = config.optimizer
    studied = f"{type(spec).__name__}, learning rate {spec.learning_rate:g}"
    if isinstance(spec, specs.AdamW | specs.AdamC):
        studied += f", weight decay {spec.weight_decay:g}"
    if isinstance(spec, specs.AdamW) and spec.decay == "independent":
        studied += " of every step, whatever the rate"
    how = {MATRICES: studied, OTHERS: f"Adam, learning rate {config.non_matrix_learning_rate:g}, no weight decay"}
    return tuple(
        f"{name}: {how[name]}; {len(group)} tensors, {_count(group):,} parameters ({_kinds(group)})"
        for name, group in parameter_groups(model).items()
    )


def _count(group: dict[str, nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in group.values())


def _kinds(group: dict[str, Tensor] | dict[str, nn.Parameter]) -> str:
    """The names without their block numbers, each once."""
    names = (name.removesuffix(".weight").split(".", 2) for name in group)
    return ", ".join(dict.fromkeys(parts[-1] if parts[0] == "blocks" else ".".join(parts) for parts in names))
