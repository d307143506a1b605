r"""AdamW for PyTorch with a decay that is independent of the learning rate: every step takes the same share of W.

.. math:: W_{t+1} = (1-\lambda') W_t - \eta_t u_t

as Loshchilov and Hutter, arXiv 1711.05101, write it for a constant schedule multiplier. `theory.AdamW` with
``decay="independent"`` is its specification.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class IndependentDecayAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` whose ``weight_decay`` is the share of the weights that a step takes, in [0, 1).

    Each group keeps it as ``independent_weight_decay``; its ``weight_decay`` is that of PyTorch's convention at the
    rate of the last step.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        share = group.setdefault("independent_weight_decay", group["weight_decay"])
        if not 0 <= share < 1:
            raise ValueError(f"weight_decay {share} must be at least 0 and below 1: a step takes that share of W")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            rate, share = float(group["lr"]), group["independent_weight_decay"]
            group["weight_decay"] = self.decay_of(group)
            if not rate:
                for parameter in (p for p in group["params"] if p.grad is not None):
                    parameter.mul_(1 - share)
        loss: float | None = super().step(closure)
        return loss

    @staticmethod
    def decay_of(group: dict[str, Any]) -> float:
        """The decay in PyTorch's convention of a step at the learning rate of the group; 0 at a rate of 0."""
        rate = float(group["lr"])
        return float(group["independent_weight_decay"]) / rate if rate else 0.0
