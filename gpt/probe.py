r"""The probe: what an optimizer step does to each matrix, or to each neuron.

Two calls around the step of any torch optimizer on any module, and nothing is patched:

    probe = Probe(model, optimizer, every=10)
    ...
    probe.before()
    optimizer.step()
    probe.after(step)

It measures, in float64, the weight RMS of :math:`W_t`, the angle and relative size of the move to :math:`W_{t+1}`, and
the RMS of the direction :math:`u_t` and its cosine with :math:`W_t`, and under Adam the gradient along :math:`W_t`;
`gpt.directions` says where they come from.

The angle is taken from the difference :math:`D = W_{t+1} - W_t`, split along and across :math:`W_t`:
:math:`\theta = \mathrm{atan2}(\|D_\perp\|, \|W_t\| + D_\parallel)`. Small angles keep their digits, which they would
lose in an arc cosine.

Per neuron means per row of a matrix (output unit of ``nn.Linear``): each row has its own norm and angle, and is a
"matrix" of its own in the trajectory. The theory of Adam holds for it as it does for the whole, with more noise.

Cost: a copy of the weights from ``before`` to ``after``, and about twenty passes over them at a recorded step. Nothing
waits for a GPU until the record is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt.directions import direction_of_step, radial_gradient
from theory.checks import InvalidParameter, require_integer
from theory.trajectory import FIELDS, OPTIONAL_FIELDS, Trajectory


class Probe:
    """Records of the matrices it is given.

    Parameters
    ----------
    matrices : what to watch, by name; of a module, all its parameters with at least two axes that the optimizer trains.
    optimizer : trains them; any torch optimizer.
    every : measure at every so many-th pair of calls, beginning with the first.
    per_neuron : measure each row by itself, under the name ``name[row]``.

    Raises
    ------
    InvalidParameter : nothing to watch, a parameter that the optimizer does not train, or one without rows.
    RuntimeError : ``after`` without ``before``.

    Examples
    --------
    A gradient at right angles to the weights: the first step turns them by arctan 0.1, and as the norm grows, the same
    step turns them by less.

    >>> import torch
    >>> from gpt.probe import Probe
    >>> w = torch.nn.Parameter(torch.ones(2, 2))
    >>> optimizer = torch.optim.SGD([w], lr=0.1)
    >>> probe = Probe({"w": w}, optimizer)
    >>> for step in range(3):
    ...     w.grad = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    ...     probe.before()
    ...     optimizer.step()
    ...     probe.after(step)
    >>> run = probe.trajectory()
    >>> run.weight_rms[:, 0].round(4).tolist(), run.angular_update[:, 0].round(4).tolist()
    ([1.0, 1.005, 1.0198], [0.0997, 0.0977, 0.0941])
    """

    def __init__(
        self,
        matrices: nn.Module | Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        *,
        every: int = 1,
        per_neuron: bool = False,
    ) -> None:
        self._optimizer = optimizer
        self._group_of = {id(p): index for index, group in enumerate(optimizer.param_groups) for p in group["params"]}
        if isinstance(matrices, nn.Module):
            named = matrices.named_parameters()
            trained: dict[str, Tensor] = {n: p for n, p in named if p.ndim >= 2 and id(p) in self._group_of}
        else:
            trained = dict(matrices)
        if not trained:
            raise InvalidParameter("matrices", "{}", "at least one matrix that the optimizer trains")
        for name, parameter in trained.items():
            if id(parameter) not in self._group_of or (per_neuron and parameter.ndim < 2):
                raise InvalidParameter("matrices", name, "trained by this optimizer, and with two axes for per_neuron")
        self._matrices = trained
        self._every = require_integer("every", every, at_least=1)
        self._per_neuron = per_neuron
        self._calls = 0
        self._awaited = False
        self._before: list[Tensor] = []
        self._steps: list[int] = []
        self._records: list[Tensor] = []  # each (num_fields, num_units), on the device: reading them would wait

    @torch.no_grad()
    def before(self) -> None:
        """Remember the weights; call right before ``optimizer.step()``."""
        due = self._calls % self._every == 0
        self._before = [parameter.detach().clone() for parameter in self._matrices.values()] if due else []
        self._calls += 1
        self._awaited = True

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Measure what the step did and file it under ``step``; call right after ``optimizer.step()``."""
        if not self._awaited:
            raise RuntimeError("Probe.after(step) needs Probe.before() ahead of the optimizer's step")
        self._awaited = False
        if self._before:
            pairs = zip(self._before, self._matrices.values(), strict=True)
            self._records.append(torch.cat([self._measure(w, parameter) for w, parameter in pairs], dim=1))
            self._steps.append(step)
            self._before = []

    def trajectory(self) -> Trajectory:
        """Everything recorded so far; its ``matrices`` are the rows if the probe measures per neuron."""
        names = [
            unit
            for name, parameter in self._matrices.items()
            for unit in ([f"{name}[{row}]" for row in range(len(parameter))] if self._per_neuron else [name])
        ]
        fields = (*FIELDS, *OPTIONAL_FIELDS)
        values = np.full((len(self._steps), len(fields), len(names)), np.nan)
        for row, record in zip(values, self._records, strict=True):
            row[: len(record)] = record.cpu().numpy()
        return Trajectory(
            steps=np.array(self._steps, dtype=np.int64),
            matrices=tuple(names),
            **{field: values[:, index].copy() for index, field in enumerate(fields)},
        )

    def state_dict(self) -> dict[str, Any]:
        """The records and the place in the thinning."""
        return {
            "steps": list(self._steps),
            "records": [record.cpu() for record in self._records],
            "calls": self._calls,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._steps = list(state_dict["steps"])
        self._records = list(state_dict["records"])
        self._calls = state_dict["calls"]

    def _measure(self, before: Tensor, parameter: Tensor) -> Tensor:
        """The fields of the units of one matrix, (num_fields, num_units), float64."""
        w = before.double()
        move = parameter.double() - w
        group = self._optimizer.param_groups[self._group_of[id(parameter)]]
        u = direction_of_step(self._optimizer, parameter, group, before=w, move=move)
        g = radial_gradient(self._optimizer, parameter, group)
        if self._per_neuron:
            return _fields(w.flatten(1), move.flatten(1), u.flatten(1), g.flatten(1))
        return _fields(w.flatten(), move.flatten(), u.flatten(), g.flatten()).unsqueeze(1)


def _fields(w: Tensor, move: Tensor, u: Tensor, g: Tensor) -> Tensor:
    """FIELDS and OPTIONAL_FIELDS of `theory.trajectory` in their order, along the last axis; ``move`` is used up."""
    dot = torch.linalg.vecdot
    size = w.shape[-1]
    ww, along = dot(w, w), dot(move, w)
    across = move.addcmul_(w, (along / ww).unsqueeze(-1), value=-1)
    across_squared, uu, uw = dot(across, across), dot(u, u), dot(u, w)
    angle = torch.atan2((across_squared * ww).sqrt(), ww + along)
    relative = (across_squared / ww + (along / ww).square()).sqrt()
    return torch.stack(
        [(ww / size).sqrt(), angle, relative, (uu / size).sqrt(), uw / (uu * ww).sqrt(), dot(g, w) / size]
    )
