r"""The direction :math:`u_t` of an optimizer's step: before the learning rate, and without decoupled weight decay.

A step moves a matrix by :math:`W_{t+1} = (1-d)W_t - au_t`. Where u comes from:

- `torch.optim.Adam`, `AdamW`, `gpt.adamc.AdamC` and `gpt.adamh.AdamH`, and anybody's subclass of these, keep the
  averages that u is made of: :math:`u = \hat m/(\sqrt{\hat v} + \epsilon)`. A coupled decay (Adam's L2) is part of the
  gradient and of u. Whether that u explains the move is checked (`gpt.step_check`).
- For `gpt.muonh.MuonH` it is computed again, as long as the gradient is still there.
- For any other optimizer it is read from what the step did, :math:`u = -(W_{t+1} - W_t + dW_t)/\eta`, with the group's
  ``lr``. The decay d follows from its ``weight_decay`` :math:`\lambda` by the convention that the caller names, or that
  torch's own classes have: 0 if coupled, :math:`\eta\lambda` as in PyTorch, :math:`\lambda` if independent of the
  rate, or :math:`\lambda\eta/\eta_{peak}`. For a class that is not torch's it is looked for (`gpt.decay_search`).

Rounding of the weights leaves an error of about :math:`6\times10^{-8}\,\|W\|/\eta\|u\|` in float32 in what is read from
a move; where it would be 10 % or more, as in bfloat16, nothing is read. At learning rate zero nothing can be,
and for weights that somebody's optimizer also projects, averages or clips in its step -move/lr is all that u means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, optim

from gpt.decay_search import search_decay
from gpt.sharding import local, shard_groups
from gpt.sphere import SphereOptimizer
from gpt.step_check import CAPTURABLE_TOLERANCE, TOLERANCE, Claim
from theory.checks import InvalidParameter

Decay = Literal["coupled", "pytorch", "independent", "relative"]
DECAYS: tuple[Decay, ...] = get_args(Decay)
COUPLED = (optim.SGD, optim.ASGD, optim.RMSprop, optim.Adagrad, optim.Adadelta, optim.Adamax, optim.Rprop)
PEAKS = ("peak_lr", "max_lr", "initial_lr")  # keys of groups, as schedulers and this project write them


@dataclass(frozen=True)
class Direction:
    """u, and what it says about the move.

    u : float64, in the shape of the part of the parameter that is here; NaN where it is not known.
    claim : to be checked.
    scaled_gradient : the gradient as Adam sees it, up to the factor ``scale``; None where it is not known.
    """

    u: Tensor
    claim: Claim
    scaled_gradient: Tensor | None = None
    scale: Tensor | float = 1.0


def direction_of_step(
    optimizer: optim.Optimizer,
    parameter: Tensor,
    settings: dict[str, Any],
    *,
    before: Tensor,
    move: Tensor,
    decay: Decay | None,
) -> Direction:
    """u of the step just made.

    Parameters
    ----------
    settings : of the group of the parameter, at the step.
    before, move : :math:`W_t` and :math:`W_{t+1} - W_t`, float64, the part that is here.
    decay : convention of the optimizer's decay; None for what its class says.
    """
    state, lr = state_of(optimizer, parameter), settings.get("lr")
    if lr is None:
        return Direction(torch.full_like(before, torch.nan), Claim(known=False))
    lr = float(lr)
    averages = has_averages(state) and {"betas", "eps"} <= settings.keys()
    if isinstance(optimizer, SphereOptimizer):
        if not averages:
            return Direction(optimizer.direction(parameter).double(), Claim())
        radius = state["radius"]
        return _adams(state, settings, parameter, Claim(on_sphere=(lr, radius) if isinstance(radius, float) else None))
    decays = tuple(possible_decays(optimizer, settings, decay))
    if isinstance(optimizer, optim.Adam) and averages:
        tolerance = CAPTURABLE_TOLERANCE if settings.get("capturable") else TOLERANCE
        claim = Claim(rate=lr, decays=decays, tolerance=tolerance, proof=not is_well_known(optimizer))
        return _adams(state, settings, parameter, claim)
    if not lr:
        return Direction(torch.full_like(before, torch.nan), Claim())
    if len(decays) > 1:
        tensors = [t for t in (parameter.grad, *state.values()) if isinstance(t, Tensor) and t.shape == parameter.shape]
        precision = torch.finfo(parameter.dtype).eps
        found = None if shard_groups(parameter) else search_decay(before, move, decays, tensors, precision=precision)
        if found is None and averages:
            return _adams(state, settings, parameter, Claim(rate=lr, decays=decays, proof=True))
        if found is None:
            return Direction(torch.full_like(before, torch.nan), Claim(known=False))
        decays = (found,)
    return Direction(move.div(-lr).sub_(before, alpha=decays[0] / lr), Claim(from_move=True))


def possible_decays(optimizer: optim.Optimizer, settings: dict[str, Any], decay: Decay | None) -> Sequence[float]:
    """d, the share of the weights that the decay takes in a step: one value, or several where nobody says which.

    Raises `InvalidParameter` for ``decay="relative"`` where no key of the group holds the peak.
    """
    weight_decay, lr = float(settings.get("weight_decay") or 0.0), float(settings.get("lr", 0.0))
    if not weight_decay:
        return [0.0]
    peak = next((float(settings[key]) for key in PEAKS if settings.get(key)), None)
    if decay == "relative" and peak is None:
        raise InvalidParameter("decay", decay, f"another one where no group has one of the keys {', '.join(PEAKS)}")
    by_convention = {"pytorch": lr * weight_decay, "independent": weight_decay, "coupled": 0.0}
    if peak is not None:
        by_convention["relative"] = weight_decay * lr / peak
    if decay is None:
        decay = _convention_of_class(optimizer, settings)
    return list(dict.fromkeys(by_convention.values())) if decay is None else [by_convention[decay]]


def _convention_of_class(optimizer: optim.Optimizer, settings: dict[str, Any]) -> Decay | None:
    """What torch's own classes do, and AdamC; None for a class of somebody else's, a subclass included."""
    if not is_well_known(optimizer):
        return None
    return "pytorch" if settings.get("decoupled_weight_decay", not isinstance(optimizer, COUPLED)) else "coupled"


def is_well_known(optimizer: optim.Optimizer) -> bool:
    """Whether the class is torch's or this project's own, and no subclass of somebody else's."""
    return f"{type(optimizer).__module__}.".startswith(("torch.optim.", "gpt."))


def state_of(optimizer: optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    """What the optimizer remembers of the parameter, as far as it does so by name."""
    state = optimizer.state.get(parameter, {})
    return state if isinstance(state, dict) else {}


def has_averages(state: dict[str, Any]) -> bool:
    """Whether the state is Adam's."""
    return {"exp_avg", "exp_avg_sq", "step"} <= state.keys()


def adam_direction(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Adam's bias-corrected direction of the last step from its averages, float64, the part that is here."""
    return _direction_and_factors(state, group)[0]


def _adams(state: dict[str, Any], group: dict[str, Any], parameter: Tensor, claim: Claim) -> Direction:
    """Adam's direction, and the gradient of the same step over the same :math:`\\sqrt{\\hat v} + \\epsilon`."""
    u, inverse, scale = _direction_and_factors(state, group)
    gradient = parameter.grad
    if gradient is None or gradient.is_sparse:
        return Direction(u, claim)
    scaled = inverse.mul_(local(gradient)).double()
    return Direction(u, claim, scaled, -scale if group.get("maximize") else scale)


def _direction_and_factors(state: dict[str, Any], group: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor | float]:
    r"""u; and :math:`1/(\sqrt{\hat v} + \epsilon)` as a tensor over :math:`\sqrt{1-\beta_2^t}`, and that root."""
    count = state["step"]
    if isinstance(count, Tensor):  # float32, in which 1 - 0.999 has four digits
        count = float(count) if count.is_cpu else count.double()
    if not isinstance(count, Tensor) and not count:
        count = math.nan
    mean_correction = 1 - float(group["betas"][0]) ** count
    root = (1 - float(group["betas"][1]) ** count) ** 0.5
    squares = local(state.get("max_exp_avg_sq", state["exp_avg_sq"]))
    work = torch.promote_types(squares.dtype, torch.float32)  # the averages have no more digits
    inverse = squares.to(work, copy=True).sqrt_().add_(group["eps"] * root).reciprocal_()
    u = (inverse * local(state["exp_avg"])).double()
    return u.mul_(root / mean_correction), inverse, root
