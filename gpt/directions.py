r"""The direction :math:`u_t` of an optimizer's step: before the learning rate, and without decoupled weight decay.

- `torch.optim.Adam`, `AdamW`, `gpt.adamc.AdamC` and `gpt.adamh.AdamH` keep the averages it is made of:
  :math:`u = \hat m/(\sqrt{\hat v} + \epsilon)`, exact. A coupled decay (Adam's L2) is part of the gradient and of u.
- For `gpt.muonh.MuonH` it is computed again, as long as the gradient is still there.
- For any other optimizer it is read from what the step did, :math:`W_{t+1} = (1-\eta\lambda)W_t - \eta u_t`, with
  the group's ``lr`` and, where it is decoupled, ``weight_decay``. Rounding of the weights leaves an error of about
  :math:`6\times10^{-8}\,\|W\|/\eta\|u\|` in float32. At learning rate zero, and for weights that are also projected,
  averaged or clipped in the step, it means nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, optim

COUPLED = (optim.SGD, optim.ASGD, optim.RMSprop, optim.Adagrad, optim.Adadelta, optim.Adamax, optim.Rprop)


def direction_of_step(
    optimizer: optim.Optimizer, parameter: Tensor, group: dict[str, Any], *, before: Tensor, move: Tensor
) -> Tensor:
    """u of the step just made, float64, in the shape of the parameter; NaN where the optimizer does not tell.

    Parameters
    ----------
    group : of ``optimizer.param_groups``, the one with the parameter.
    before, move : :math:`W_t` and :math:`W_{t+1} - W_t`, float64.
    """
    if hasattr(optimizer, "direction"):
        u: Tensor = optimizer.direction(parameter)
        return u.double()
    if isinstance(optimizer, optim.Adam):
        state = optimizer.state[parameter]
        return adam_direction(state, group) if state else torch.full_like(before, torch.nan)
    decay = group.get("weight_decay", 0.0) if has_decoupled_decay(optimizer, group) else 0.0
    return move.div(-group["lr"]).sub_(before, alpha=decay)


def has_decoupled_decay(optimizer: optim.Optimizer, group: dict[str, Any]) -> bool:
    """What the group says; if it says nothing, the convention of torch's own classes, and decoupled for all others."""
    return bool(group.get("decoupled_weight_decay", not isinstance(optimizer, COUPLED)))


def radial_gradient(optimizer: optim.Optimizer, parameter: Tensor, group: dict[str, Any]) -> Tensor:
    r"""The gradient of the step just made as Adam sees it, :math:`g/(\sqrt{\hat v} + \epsilon)`, float64.

    Its product with W is the radial gradient. NaN for other optimizers, and where the gradient is gone: None, or zeros.
    """
    state = optimizer.state.get(parameter, {})
    gradient = parameter.grad
    if gradient is None or gradient.is_sparse or not {"exp_avg_sq", "step"} <= state.keys():
        return torch.full_like(parameter, torch.nan, dtype=torch.float64)
    g = gradient.double().div_(_adam_denominator(state, group))
    if group.get("maximize"):
        g.neg_()
    return g.mul_(torch.where(g.any(), 1.0, torch.nan))


def adam_direction(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    """Adam's bias-corrected direction of the last step from its averages, float64."""
    m = state["exp_avg"].double() / (1 - group["betas"][0] ** state["step"])
    return m.div_(_adam_denominator(state, group))


def _adam_denominator(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
    v = state.get("max_exp_avg_sq", state["exp_avg_sq"]).double() / (1 - group["betas"][1] ** state["step"])
    return v.sqrt_().add_(group["eps"])
