r"""The probe: what one optimizer step does to each matrix.

Called around the step, and nothing is patched:

    probe.before()
    optimizer.step()
    probe.after(step)

It measures, in float64, the weight RMS of :math:`W_t`, the angle and relative size of the move to :math:`W_{t+1}`, and
the RMS of Adam's direction :math:`u_t` and its cosine with :math:`W_t`. The direction is read back from the optimizer's
averages after the step, :math:`u = \hat m/(\sqrt{\hat v} + \epsilon)`.

The angle is taken from the difference :math:`D = W_{t+1} - W_t`, split along and across :math:`W_t`:
:math:`\theta = \mathrm{atan2}(\|D_\perp\|, \|W_t\| + D_\parallel)`. Small angles keep their digits, which they would
lose in an arc cosine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from theory.trajectory import FIELDS, Trajectory


class Probe:
    """Records of the matrices it is given.

    Parameters
    ----------
    matrices : what to watch, by name.
    optimizer : the optimizer that trains them; Adam, AdamW or `gpt.adamh.AdamH`, or any other that keeps ``step``,
        ``exp_avg`` and ``exp_avg_sq``.
    """

    def __init__(self, matrices: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
        self._matrices = dict(matrices)
        self._optimizer = optimizer
        self._group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        self._before: list[Tensor] = []
        self._steps: list[int] = []
        self._records: list[Tensor] = []  # each (num_fields, num_matrices), on the device: reading them would wait

    @torch.no_grad()
    def before(self) -> None:
        """Remember the weights; call right before ``optimizer.step()``."""
        self._before = [parameter.to(torch.float64, copy=True) for parameter in self._matrices.values()]

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Measure what the step did and file it under ``step``; call right after ``optimizer.step()``."""
        sums = [
            _sums(w, parameter, self._direction(parameter))
            for w, parameter in zip(self._before, self._matrices.values(), strict=True)
        ]
        sizes = [parameter.numel() for parameter in self._matrices.values()]
        self._records.append(_fields(torch.stack(sums, dim=1), torch.tensor(sizes, device=sums[0].device)))
        self._steps.append(step)
        self._before = []

    def trajectory(self) -> Trajectory:
        """Everything recorded so far."""
        shape = (len(self._steps), len(FIELDS), len(self._matrices))
        values = np.array([record.cpu().numpy() for record in self._records], dtype=np.float64).reshape(shape)
        return Trajectory(
            steps=np.array(self._steps, dtype=np.int64),
            matrices=tuple(self._matrices),
            **{field: values[:, index].copy() for index, field in enumerate(FIELDS)},
        )

    def state_dict(self) -> dict[str, Any]:
        return {"steps": list(self._steps), "records": [record.cpu() for record in self._records]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._steps = list(state_dict["steps"])
        self._records = list(state_dict["records"])

    def _direction(self, parameter: Tensor) -> Tensor:
        """Adam's direction of the last step, float64."""
        state, group = self._optimizer.state[parameter], self._group_of[id(parameter)]
        beta1, beta2 = group["betas"]
        count = state["step"]
        m, v = state["exp_avg"].double() / (1 - beta1**count), state["exp_avg_sq"].double() / (1 - beta2**count)
        return m.div_(v.sqrt_().add_(group["eps"]))


def _sums(w: Tensor, after: Tensor, u: Tensor) -> Tensor:
    """What everything is made of, for one matrix: W.W, D.W, across.across, u.u, u.W."""
    w, u = w.flatten(), u.flatten()
    move = after.double().flatten() - w
    ww, along = w.dot(w), move.dot(w)
    across = move.addcmul(w, along / ww, value=-1)
    return torch.stack([ww, along, across.dot(across), u.dot(u), u.dot(w)])


def _fields(sums: Tensor, sizes: Tensor) -> Tensor:
    """From sums (5, num_matrices) to the values in the order of `theory.trajectory.FIELDS`."""
    ww, along, across, uu, uw = sums
    weight_rms, update_rms = (ww / sizes).sqrt(), (uu / sizes).sqrt()
    angle = torch.atan2((across * ww).sqrt(), ww + along)
    relative = (across / ww + (along / ww).square()).sqrt()
    return torch.stack([weight_rms, angle, relative, update_rms, uw / (uu * ww).sqrt()])
