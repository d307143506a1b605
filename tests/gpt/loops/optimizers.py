"""Optimizers of other people, wrappers around optimizers, and a loop that steps through all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gpt.probe import Probe

Build = Callable[..., torch.optim.Optimizer]


class Wrapped:
    """As accelerate's: forwards everything, and steps only when ``sync`` says so."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        self.optimizer, self.sync = inner, True

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def step(self) -> None:
        if self.sync:
            self.optimizer.step()


class ByHand(torch.optim.Optimizer):
    """Decoupled decay by a convention, then a step along minus what `direction` makes of the gradient."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, convention: str) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "initial_lr": lr})
        self.convention = convention

    def direction(self, gradient: Tensor, state: dict[str, Any]) -> Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            lr, decay = group["lr"], group["weight_decay"]
            share = {"pytorch": lr, "independent": 1.0, "relative": lr / group["initial_lr"], "odd": 0.3 * lr}
            for p in group["params"]:
                if p.grad is not None:
                    u = self.direction(p.grad, self.state[p])
                    p.mul_(1 - share[self.convention] * decay).sub_(u, alpha=lr)


class Lion(ByHand):
    def direction(self, gradient: Tensor, state: dict[str, Any]) -> Tensor:
        m = state.setdefault("m", torch.zeros_like(gradient))
        u = (0.9 * m + 0.1 * gradient).sign()
        m.mul_(0.99).add_(gradient, alpha=0.01)
        return u


class Momentum(ByHand):
    def direction(self, gradient: Tensor, state: dict[str, Any]) -> Tensor:
        m = state.setdefault("m", torch.zeros_like(gradient))
        m.mul_(0.9).add_(gradient)
        return gradient + 0.9 * m


class Cubic(ByHand):
    """A direction that nobody could guess."""

    def direction(self, gradient: Tensor, state: dict[str, Any]) -> Tensor:
        return gradient**3


class IndependentAdam(torch.optim.Adam):
    """Decay that does not know the learning rate, ahead of Adam's step, under an option of its own."""

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            decay, group["weight_decay"] = group["weight_decay"], 0.0
            for p in group["params"]:
                p.mul_(1 - decay)
        super().step()
        for group in self.param_groups:
            group["weight_decay"] = decay


class HalfAdam(torch.optim.AdamW):
    """Adam's averages, but half of its step."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        before = [p.detach().clone() for group in self.param_groups for p in group["params"]]
        super().step()
        with torch.no_grad():
            for p, w in zip((p for group in self.param_groups for p in group["params"]), before, strict=True):
                p.lerp_(w, 0.5)


def gradients(num_steps: int, shape: tuple[int, ...] = (12, 10), dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(num_steps)]


def weights(shape: tuple[int, ...] = (12, 10), dtype: torch.dtype = torch.float64) -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    return nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype))


def run(w: nn.Parameter, optimizer: Any, probe: Probe, given: list[Tensor | None], *, first: int = 0) -> list[Tensor]:
    """Step under the probe; what the weights were before each step, and at the end."""
    seen = [w.detach().clone()]
    for step, gradient in enumerate(given, start=first):
        w.grad = None if gradient is None else gradient.clone()
        probe.before()
        optimizer.step()
        probe.after(step)
        seen.append(w.detach().clone())
    return seen
