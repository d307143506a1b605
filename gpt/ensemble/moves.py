r"""The step of all models at once on their stacked weights, and what the probe would say of it.

Adam's direction is that of the fused kernels of torch, :math:`u = \hat m/(\sqrt{\hat v} + \epsilon)`. A matrix goes to
:math:`sW - au`, with :math:`s = 1 - d` and :math:`a = \eta` under decoupled decay (`theory.optimizers`), and with
:math:`s = 1, a = \eta R/\|u\|` on a sphere, where it is then brought back to its radius R. A steered step is that of
`gpt.replay`, with a gradient that is not rescaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gpt.adamc import AdamC
from gpt.config import TrainableOptimizer, TrainConfig
from gpt.ensemble.weights import Stack
from gpt.independent_decay import IndependentDecayAdamW
from gpt.replay import Recording
from theory import optimizers as specs
from theory.checks import InvalidParameter
from theory.trajectory import FIELDS, OPTIONAL_FIELDS

RECORDED = (*FIELDS, *OPTIONAL_FIELDS)


class Moves:
    """Settings of every step and the moments of all models.

    Parameters
    ----------
    stack : whose weights are moved, as they are before the first step.
    configs : of its models, in its order; of one length, betas and eps.
    recordings : for steered models that whose angles and norms they take.
    """

    def __init__(
        self, stack: Stack, configs: Sequence[TrainConfig], recordings: Sequence[Recording | None] | None
    ) -> None:
        self._stack = stack
        values, device = stack.values, stack.values.device
        spec, num_steps = configs[0].optimizer, configs[0].schedule.num_steps
        assert not isinstance(spec, specs.MuonH)
        self._betas, self._eps = (spec.beta1, spec.beta2), spec.eps
        self.moments = torch.zeros_like(values), torch.zeros_like(values)

        def table(rows: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(rows)).to(device=device, dtype=values.dtype)

        steps = np.arange(1, num_steps + 1)
        self._corrections = table(np.stack([1 - spec.beta1**steps, np.sqrt(1 - spec.beta2**steps)], axis=1))
        rates = np.stack([(c.matrix_schedule or c.schedule).multipliers() * c.optimizer.learning_rate for c in configs])
        kept = np.stack([1 - decays_of(c.optimizer, own) for c, own in zip(configs, rates, strict=True)])
        others = np.stack([c.schedule.multipliers() * c.non_matrix_learning_rate for c in configs])
        self._rates, self._kept, self._other_rates = table(rates.T), table(kept.T), table(others.T)
        on_sphere = [isinstance(config.optimizer, specs.AdamH) for config in configs]
        self._on_sphere = torch.tensor(on_sphere, device=device)[:, None] if any(on_sphere) else None
        self._radii = stack.rms() * stack.sizes.sqrt()
        self._angles = self._norms = None
        if recordings is not None:
            given = [recording for recording in recordings if recording is not None]
            self._angles = torch.from_numpy(np.stack([r.angles for r in given], axis=1)).to(device)
            norms = torch.from_numpy(np.stack([r.rms for r in given], axis=1)).to(device)
            self._norms = norms * stack.sizes.sqrt()

    @torch.no_grad()
    def step(self, at: Tensor) -> Tensor:
        """One step of all models; ``at``: (1,) its number. Its direction u, (M, P)."""
        stack, (mean, square) = self._stack, self.moments
        gradients, (beta1, beta2) = stack.gradients, self._betas
        mean.lerp_(gradients, 1 - beta1)
        square.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        direction = mean / self._corrections[at, 0] * self._inverse(at)
        n = stack.num_entries
        stack.values[:, n:].sub_(self._other_rates[at].T * direction[:, n:])
        w, u = stack.in_blocks(stack.values[:, :n]), stack.in_blocks(direction[:, :n])
        before = w.double() if self._angles is not None else None
        rate = self._rates[at].T.double().expand(-1, len(stack.matrices))
        if self._on_sphere is not None:
            length = stack.summed(u * u).sqrt().clamp_(min=1e-30)
            rate = torch.where(self._on_sphere, rate * self._radii / length, rate)
        moved = w * self._kept[at].T.unsqueeze(-1) - stack.spread(rate).to(w.dtype) * u
        if self._on_sphere is not None:
            length = stack.summed(moved * moved).sqrt().clamp_(min=1e-30)
            factor = torch.where(self._on_sphere, self._radii / length, 1.0)
            moved = moved * stack.spread(factor).to(w.dtype)
        if before is not None:
            moved = self._steered(before, moved.double(), at)
        w.copy_(moved)
        return direction

    def _inverse(self, at: Tensor) -> Tensor:
        r""":math:`1/(\sqrt{\hat v} + \epsilon)`, (M, P)."""
        return (self.moments[1].sqrt() / self._corrections[at, 1]).add_(self._eps).reciprocal_()

    def _steered(self, before: Tensor, after: Tensor, at: Tensor) -> Tensor:
        """As `gpt.replay.rotated` times the prescribed norm, for all matrices; float64, in blocks."""
        stack = self._stack
        assert self._angles is not None
        assert self._norms is not None
        angles, norms = self._angles[at][0], self._norms[at + 1][0]
        along = before / stack.spread(stack.summed(before * before).sqrt())
        across = after - before
        for _ in range(2):
            across = across - along * stack.spread(stack.summed(along * across))
        size = stack.summed(across * across).sqrt()
        sine = torch.where(size > 0, angles.sin() / size, 0.0)
        cosine = torch.where(size > 0, angles.cos(), 1.0)
        turned = along * stack.spread(cosine) + across * stack.spread(sine)
        return turned * stack.spread(norms / stack.summed(turned * turned).sqrt())

    @torch.no_grad()
    def record(self, at: Tensor, before: Tensor, direction: Tensor) -> Tensor:
        """What `gpt.probe` measures of the step just made, (len(RECORDED), M, n) float64. ``before``: ``values`` as
        they were; the gradients are still those of the step."""
        stack, n = self._stack, self._stack.num_entries
        w, u, g, inverse, after = (
            stack.in_blocks(entries[:, :n]).double()
            for entries in (before, direction, stack.gradients, self._inverse(at), stack.values)
        )
        move = after - w
        ww, mw, mm, uu, uw = (stack.summed(a * b) for a, b in ((w, w), (move, w), (move, move), (u, u), (u, w)))
        across = move - w * stack.spread(mw / ww)
        length = ww.sqrt()
        angle = torch.atan2(stack.summed(across * across).sqrt(), length + mw / length)
        values = {
            "weight_rms": (ww / stack.sizes).sqrt(),
            "angular_update": angle,
            "relative_update": mm.sqrt() / length,
            "update_rms": (uu / stack.sizes).sqrt(),
            "cosine": uw / (ww * uu).sqrt(),
            "radial_gradient": stack.summed(w * g * inverse) / stack.sizes,
        }
        return torch.stack([values[name] for name in RECORDED])


def decays_of(spec: TrainableOptimizer, rates: np.ndarray) -> np.ndarray:
    """Share of the weights that each step's decay takes, as the torch optimizer of `gpt.optim` does; (num_steps,).

    Raises `InvalidParameter` for an optimizer that ensembles do not have.
    """
    if isinstance(spec, specs.AdamH):
        return np.zeros_like(rates)
    if isinstance(spec, specs.AdamC):
        group = {"peak_lr": spec.learning_rate, "peak_weight_decay": spec.weight_decay}
        return np.array([rate * AdamC.decay_of({**group, "lr": rate}) for rate in rates])
    if isinstance(spec, specs.AdamW):
        if spec.decay == "independent":
            group = {"independent_weight_decay": spec.weight_decay}
            shares = [rate * IndependentDecayAdamW.decay_of({**group, "lr": rate}) for rate in rates]
            return np.where(rates > 0, shares, spec.weight_decay)
        return rates * spec.weight_decay
    raise InvalidParameter("optimizer", spec.name, "adamw, adamc or adamh in an ensemble")
