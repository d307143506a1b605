r"""AdamC for PyTorch: AdamW whose decay follows the learning rate, :math:`\lambda_t = \lambda\eta_t/\eta_{peak}`.

Defazio, arXiv 2506.02285; theory in `theory.adamc`. The peak is the learning rate that a group is given when it is
added, whatever a scheduler makes of it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class AdamC(torch.optim.AdamW):
    """AdamW with corrected decay; all arguments are those of `torch.optim.AdamW`.

    Each group keeps ``peak_lr`` and ``peak_weight_decay``, and its ``weight_decay`` is that of the last step.

    Raises
    ------
    ValueError : a learning rate of zero, which has no peak.
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.setdefault("peak_lr", float(group["lr"]))
        group.setdefault("peak_weight_decay", group["weight_decay"])
        if not group["peak_lr"] > 0:
            raise ValueError(f"peak learning rate {group['peak_lr']} must be above 0: the decay is relative to it")

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        for group in self.param_groups:
            group["weight_decay"] = self.decay_of(group)
        loss: float | None = super().step(closure)
        return loss

    @staticmethod
    def decay_of(group: dict[str, Any]) -> float:
        """The decay of a step at the learning rate of the group."""
        decay: float = group["peak_weight_decay"] * float(group["lr"]) / group["peak_lr"]
        return decay
