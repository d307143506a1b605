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
from gpt.sharding import local, shard_groups, sum_over_shards
from theory.checks import InvalidParameter


def unwrapped(optimizer: Any) -> Optimizer:
    """The optimizer inside wrappers that keep it as ``optimizer``: accelerate, Lightning, Fabric, mixed precision.

    Raises `InvalidParameter` for what has no groups of parameters.
    """
    inner = getattr(optimizer, "optimizer", None)
    if isinstance(inner, Optimizer) and inner is not optimizer:
        return unwrapped(inner)
    if not hasattr(optimizer, "param_groups") or not hasattr(optimizer, "state"):
        kind = type(optimizer).__name__
        raise InvalidParameter("optimizer", kind, "one torch optimizer; of several, each has a probe of its own")
    found: Optimizer = optimizer
    return found


class StepWatch:
    """What happens between `begin` and the questions that follow it.

    Attributes
    ----------
    optimizer : inside all wrappers.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = unwrapped(optimizer)
        self._parameters: list[Tensor] = []
        self._keep_norms = False
        self._group_of: dict[int, int] = {}
        self._counts: dict[int, Any] = {}
        self._settings: list[dict[str, Any]] = []
        self._had_gradient: set[int] = set()
        self._without_gradient: set[int] = set()
        self._overflow: Tensor | None = None
        self._norms: list[Tensor] = []
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

    def begin(self, parameters: Iterable[Tensor], *, keep_norms: bool = False) -> None:
        """Look from now on at these parameters. ``keep_norms`` : for `moved_since`."""
        self._parameters = list(parameters)
        self._keep_norms = keep_norms
        groups = self.optimizer.param_groups
        self._group_of = {id(p): index for index, group in enumerate(groups) for p in group["params"]}
        self._counts = {id(p): _frozen(self._count(p)) for p in self._parameters}
        self._settings = self._read_settings()
        self._had_gradient, self._without_gradient, self._overflow, self._completed = set(), set(), None, 0
        self._norms = []

    @property
    def stepped(self) -> bool:
        """Whether the optimizer was stepped; True where that cannot be watched. A step may still have been skipped
        for an overflow that only the device knows of: see `made`."""
        return self._completed > 0 or not self._hooked

    def settings(self, parameter: Tensor) -> dict[str, Any] | None:
        """The group of the parameter as it was at the step; None if it has none."""
        index = self._group_of.get(id(parameter))
        return None if index is None else self._settings[index]

    def made(self, parameter: Tensor, move: Tensor) -> float | Tensor:
        """Number of steps that were made for this parameter; a tensor of no dimension where a GPU would have to be
        waited for.

        Where nothing else tells, it is one if the weights differ: ``move`` is how the part that is here did.
        """
        before, after = self._counts.get(id(parameter)), self._count(parameter)
        if self.settings(parameter) is None or (self._hooked and not self._completed):
            return 0.0
        if after is not None:
            made: float | Tensor = after - (0.0 if before is None else before)
            return float(made) if not isinstance(made, Tensor) or made.is_cpu else made
        used_up = id(parameter) in self._without_gradient and id(parameter) in self._had_gradient
        if not self._hooked or used_up:
            return (sum_over_shards(move.any().double(), shard_groups(parameter)) > 0).double()
        if id(parameter) in self._without_gradient:
            return 0.0
        return float(self._completed) if self._overflow is None else self._completed * (self._overflow == 0).double()

    def moved_since(self) -> dict[int, float | Tensor]:
        """By parameter, 1 if its weights are others than at the end of the last step: somebody moved them after it.
        A tensor of no dimension where a GPU would have to be waited for. Norms are compared, to the last bit."""
        if not self._norms:
            return {}
        moved = {}
        for parameter, before, now in zip(self._parameters, self._norms, self._norms_now(), strict=True):
            changed = sum_over_shards((before != now).double(), shard_groups(parameter)) > 0
            moved[id(parameter)] = float(changed) if changed.is_cpu else changed.double()
        return moved

    def _norms_now(self) -> list[Tensor]:
        parts = [local(parameter).detach() for parameter in self._parameters]
        return list(torch._foreach_norm(parts))

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
            if self._keep_norms:
                self._norms = self._norms_now()
            overflow = getattr(self.optimizer, "found_inf", None)  # of a gradient scaler, for fused steps
            self._overflow = overflow if isinstance(overflow, Tensor) else None


def _frozen(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
