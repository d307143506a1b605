r"""The direction :math:`u_t` of an optimizer's step: before the learning rate, and without decoupled weight decay.

A step moves a matrix by :math:`W_{t+1} = (1-d)W_t - au_t`. Where u comes from:

- `torch.optim.Adam`, `AdamW`, `gpt.adamc.AdamC` and `gpt.adamh.AdamH`, and anybody's subclass of these, keep the
  averages that u is made of: :math:`u = \hat m/(\sqrt{\hat v} + \epsilon)`. A coupled decay (Adam's L2) is part of the
  gradient and of u. Whether that u explains the move is checked: `unexplained`.
- For `gpt.muonh.MuonH` it is computed again, as long as the gradient is still there.
- For any other optimizer it is read from what the step did, :math:`u = -(W_{t+1} - W_t + dW_t)/\eta`, with the group's
  ``lr``. The decay d follows from its ``weight_decay`` :math:`\lambda` by the convention that the caller names, or that
  torch's own classes have: 0 if coupled, :math:`\eta\lambda` as in PyTorch, :math:`\lambda` if independent of the
  rate, or :math:`\lambda\eta/\eta_{peak}`. For a class that is not torch's it is looked for (`gpt.decay_search`).

Rounding of the weights leaves an error of about :math:`6\times10^{-8}\,\|W\|/\eta\|u\|` in float32 in what is read from
a move; where it would be 10 % or more, as in bfloat16, nothing is read. At learning rate zero nothing can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, optim

from gpt.decay_search import search_decay
from gpt.sharding import local, nan_if_zero, shard_groups
from gpt.sphere import SphereOptimizer
from theory.checks import InvalidParameter

Decay = Literal["coupled", "pytorch", "independent", "relative"]
DECAYS: tuple[Decay, ...] = get_args(Decay)
COUPLED = (optim.SGD, optim.ASGD, optim.RMSprop, optim.Adagrad, optim.Adadelta, optim.Adamax, optim.Rprop)
PEAKS = ("peak_lr", "max_lr", "initial_lr")  # keys of groups, as schedulers and this project write them
TOLERANCE, CAPTURABLE_TOLERANCE = 2e-5, 2e-4  # of the step; a capturable step corrects its bias in float32
READABLE = 0.1  # most that rounding may be of a move from which a direction is read


@dataclass(frozen=True)
class Direction:
    """u and what it says about the move.

    u : float64, in the shape of the part of the parameter that is here; NaN where it is not known.
    rate : a, the length of the step along -u; None if there is nothing to check.
    decays : values of d that are possible.
    on_sphere : (learning rate, radius) if the step went along a sphere; ``rate`` and ``decays`` then follow from these.
    known : False if the optimizer is one whose direction nobody can tell.
    tolerance : share of the step that the arithmetic of the optimizer may be off by.
    """

    u: Tensor
    rate: Tensor | float | None = None
    decays: tuple[float, ...] = ()
    on_sphere: tuple[float, float] | None = None
    known: bool = True
    tolerance: float = TOLERANCE


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
    if isinstance(optimizer, SphereOptimizer):
        u = optimizer.direction(parameter).double()
        radius = state["radius"]
        checkable = isinstance(radius, float) and has_averages(state)
        return Direction(u, on_sphere=(float(settings["lr"]), radius) if checkable else None)
    if isinstance(optimizer, optim.Adam) and has_averages(state):
        u = adam_direction(state, settings)
        tolerance = CAPTURABLE_TOLERANCE if settings.get("capturable") else TOLERANCE
        return Direction(u, lr, tuple(possible_decays(optimizer, settings, decay)), tolerance=tolerance)
    unknown = Direction(torch.full_like(before, torch.nan), known=False)
    if lr is None:
        return unknown
    if not lr:
        return Direction(unknown.u)
    decays = tuple(possible_decays(optimizer, settings, decay))
    if len(decays) > 1:
        if shard_groups(parameter):
            return unknown
        gradient = parameter.grad
        seen = [local(t) for t in (gradient, *state.values()) if isinstance(t, Tensor) and t.shape == parameter.shape]
        found = search_decay(before, move, lr, decays, seen, precision=torch.finfo(parameter.dtype).eps)
        if found is None:
            averages = has_averages(state) and {"betas", "eps"} <= settings.keys()
            return Direction(adam_direction(state, settings), lr, decays) if averages else unknown
        decays = (found,)
    return Direction(move.div(-lr).sub_(before, alpha=decays[0] / float(lr)))


@dataclass(frozen=True)
class Products:
    """Of W, the move and u, each a tensor with a value for every unit; ``_`` stands for the part of the move across W.

    ww, along, across : <W, W>, <move, W>, <move_, move_>.
    uu, uw, u_across : <u, u>, <u, W>, <u, move_>.
    """

    ww: Tensor
    along: Tensor
    across: Tensor
    uu: Tensor
    uw: Tensor
    u_across: Tensor


def unexplained(direction: Direction, p: Products, *, precision: float) -> Tensor:
    """Whether u, its length a and none of the possible decays give the move, for every unit.

    ``precision``: distance from 1 to the next number in the type of the weights, whose rounding is allowed for.
    """
    if not direction.known:
        return torch.ones_like(p.ww, dtype=torch.bool)
    if direction.on_sphere is not None:
        lr, radius = direction.on_sphere
        ww, uu, uw = (t.sum() for t in (p.ww, p.uu, p.uw))
        length = lr * radius / uu.clamp(min=1e-300).sqrt()
        stretch = radius / (ww - 2 * length * uw + length.square() * uu).clamp(min=1e-300).sqrt()
        rate = stretch * length
        decays: list[Tensor | float] = [1 - stretch]
    elif direction.rate is not None:
        rate = torch.as_tensor(direction.rate, dtype=torch.float64)  # squared below
        decays = list(direction.decays)
    else:
        return torch.zeros_like(p.ww, dtype=torch.bool)
    norm, size = p.ww.sqrt(), rate * p.uu.sqrt()
    share = p.uw / p.ww.clamp(min=1e-300)
    across = (p.across + 2 * rate * p.u_across + rate * rate * (p.uu - p.uw * share)).clamp(min=0).sqrt()
    along = torch.stack([(p.along + rate * p.uw + d * p.ww).abs() for d in decays]).amin(dim=0) / norm.clamp(min=1e-300)
    rounding = precision * norm
    return torch.maximum(across, along) > max(direction.tolerance, 4 * precision) * size + rounding


def unreadable(direction: Direction, p: Products, *, precision: float, exact: bool) -> Tensor:
    """Whether rounding made up the move that u was read from, or hides whether u explains it, for every unit.

    ``exact``: the optimizer's class is known to do what its state says, and needs no proof.
    """
    if direction.on_sphere is not None or (direction.rate is not None and exact):
        return torch.zeros_like(p.ww, dtype=torch.bool)
    if direction.rate is not None:
        return direction.rate * p.uu.sqrt() < 10 * precision * p.ww.sqrt()
    moved = p.across + p.along.square() / p.ww.clamp(min=1e-300)
    return 0.2 * precision * p.ww.sqrt() > READABLE * moved.sqrt()


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
    m = local(state["exp_avg"]).double() / _bias_correction(group["betas"][0], state["step"])
    return m.div_(_adam_denominator(state, group))


def radial_gradient(optimizer: optim.Optimizer, parameter: Tensor, group: dict[str, Any]) -> Tensor:
    r"""The gradient of the step just made as Adam sees it, :math:`g/(\sqrt{\hat v} + \epsilon)`, float64.

    Its product with W is the radial gradient. NaN for other optimizers, and where the gradient is gone: None, or zeros.
    """
    state, gradient = state_of(optimizer, parameter), parameter.grad
    if gradient is None or gradient.is_sparse or not (has_averages(state) and {"betas", "eps"} <= group.keys()):
        return torch.full_like(local(parameter), torch.nan, dtype=torch.float64)
    g = local(gradient).double().div(_adam_denominator(state, group))
    if group.get("maximize"):
        g.neg_()
    return g.mul_(nan_if_zero(gradient))


def _adam_denominator(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    squares = local(state.get("max_exp_avg_sq", state["exp_avg_sq"])).double()
    return squares.div(_bias_correction(group["betas"][1], state["step"])).sqrt_().add_(group["eps"])


def _bias_correction(beta: Tensor | float, step: Tensor | float) -> Tensor | float:
    """In float64: counters are float32, in which 1 - 0.999 has four digits."""
    correction: Tensor | float = 1 - float(beta) ** (step.double() if isinstance(step, Tensor) else step)
    return correction
