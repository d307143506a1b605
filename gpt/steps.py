"""Whether an optimizer made a step between two moments, and with which settings.

Loops of other people skip steps (gradient scalers, accumulation of gradients, parameters without a gradient), move the
learning rate before or after the step, and wrap the optimizer. So the optimizer inside the wrappers is watched by its
own step hooks: they see every step that is made and the settings at that moment, and change nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gpt.adamc import AdamC
from gpt.directions import state_of
from gpt.independent_decay import IndependentDecayAdamW
from gpt.sharding import shard_groups, sum_over_shards


def unwrapped(optimizer: Any) -> Optimizer:
    """The optimizer inside wrappers that keep it as ``optimizer``: accelerate, Lightning, Fabric, mixed precision."""
    inner = getattr(optimizer, "optimizer", None)
    return unwrapped(inner) if isinstance(inner, Optimizer) and inner is not optimizer else optimizer


class StepWatch:
    """What happens between `begin` and the questions that follow it.

    Attributes
    ----------
    optimizer : inside all wrappers.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = unwrapped(optimizer)
        self._parameters: list[Tensor] = []
        self._group_of: dict[int, int] = {}
        self._counts: dict[int, Any] = {}
        self._settings: list[dict[str, Any]] = []
        self._had_gradient: set[int] = set()
        self._without_gradient: set[int] = set()
        self._overflow: Tensor | None = None
        self._depth = self._completed = 0
        self._hooked = "_optimizer_step_post_hooks" in vars(self.optimizer)
        if self._hooked:
            this = weakref.ref(self)  # a probe that is gone leaves nothing behind

            def starts(*_: object) -> None:
                if (watch := this()) is not None:
                    watch._starts()

            def ends(*_: object) -> None:
                if (watch := this()) is not None:
                    watch._ends()

            for handle in (
                self.optimizer.register_step_pre_hook(starts),
                self.optimizer.register_step_post_hook(ends),
            ):
                weakref.finalize(self, handle.remove)

    def begin(self, parameters: Iterable[Tensor]) -> None:
        """Look from now on at these parameters."""
        self._parameters = list(parameters)
        groups = self.optimizer.param_groups
        self._group_of = {id(p): index for index, group in enumerate(groups) for p in group["params"]}
        self._counts = {id(p): _frozen(self._count(p)) for p in self._parameters}
        self._settings = self._read_settings()
        self._had_gradient, self._without_gradient, self._overflow, self._completed = set(), set(), None, 0

    @property
    def stepped(self) -> bool:
        """Whether the optimizer was stepped; True where that cannot be watched. A step may still have been skipped
        for an overflow that only the device knows of: see `made`."""
        return self._completed > 0 or not self._hooked

    def settings(self, parameter: Tensor) -> dict[str, Any] | None:
        """The group of the parameter as it was at the step; None if it has none."""
        index = self._group_of.get(id(parameter))
        return None if index is None else self._settings[index]

    def made(self, parameter: Tensor, move: Tensor) -> Tensor:
        """Number of steps that were made for this parameter, as a tensor of no dimension, without waiting for a GPU.

        Where nothing else tells, it is one if the weights differ: ``move`` is how the part that is here did.
        """
        nothing = torch.zeros((), device=move.device)
        before, after = self._counts.get(id(parameter)), self._count(parameter)
        if self.settings(parameter) is None or (self._hooked and not self._completed):
            return nothing
        if after is not None:
            return nothing + after - (0 if before is None else before)
        used_up = id(parameter) in self._without_gradient and id(parameter) in self._had_gradient
        if not self._hooked or used_up:
            return (sum_over_shards(move.any().double(), shard_groups(parameter)) > 0) + nothing
        if id(parameter) in self._without_gradient:
            return nothing
        made = nothing + self._completed
        return made if self._overflow is None else made * (self._overflow.to(made.device) == 0)

    def finish(self) -> None:
        """Forget steps that raised an error."""
        self._depth = 0

    def _count(self, parameter: Tensor) -> Any:
        """Steps of this parameter so far where the optimizer counts them, else None."""
        count = state_of(self.optimizer, parameter).get("step")
        return count if isinstance(count, int | float | Tensor) else None

    def _read_settings(self) -> list[dict[str, Any]]:
        settings = [
            {key: _frozen(value) for key, value in group.items() if key != "params"}
            for group in self.optimizer.param_groups
        ]
        if isinstance(self.optimizer, AdamC | IndependentDecayAdamW):  # they set their decay during the step
            for group in settings:
                group["weight_decay"] = self.optimizer.decay_of(group)
        return settings

    def _starts(self) -> None:
        if self._depth == 0:
            self._settings = self._read_settings()
            self._had_gradient = {id(p) for p in self._parameters if p.grad is not None}
        self._depth += 1

    def _ends(self) -> None:
        """A step within a step, as of a class that calls its parent's, is not another one."""
        self._depth = max(self._depth - 1, 0)
        if self._depth == 0:
            self._completed += 1
            self._without_gradient = {id(p) for p in self._parameters if p.grad is None}
            overflow = getattr(self.optimizer, "found_inf", None)  # of a gradient scaler, for fused steps
            self._overflow = overflow if isinstance(overflow, Tensor) else None


def _frozen(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
