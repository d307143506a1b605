r"""Optimizers that keep each matrix on the sphere of its initial norm, whatever gives the direction.

.. math:: W \leftarrow R\,\mathrm{Norm}(W - \eta R\,\mathrm{Norm}(u)), \qquad \mathrm{Norm}(X) = X/\|X\|_F

with :math:`R = \|W_0\|_F` (Hyperball, arXiv 2606.16899). `SphereOptimizer` does this for any direction u;
`gpt.adamh.AdamH` and `gpt.muonh.MuonH` say which, `gpt.sphere_moves` how in few passes. What happens to parameters that
come late, leave, or are loaded is specified in ``docs/adamh.md``.
"""

from __future__ import annotations

import math
import operator
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from gpt.sharding import Dims, local, matrix_groups, of_all_matrices
from gpt.sphere_moves import Batch, Radius, norm, places, plan

RANGES = {  # of the numbers that a group may hold
    "lr": (0.0, math.inf),
    "betas": (0.0, 1.0),
    "momentum": (0.0, 1.0),
    "eps": (0.0, math.inf),
    "newton_schulz_steps": (1, math.inf),
}
NOTES = ("params", "param_names", "name", "initial_lr", "peak_lr", "max_lr", "min_lr")  # keys that others keep there
NEUTRAL = {"weight_decay": 0, "amsgrad": False, "maximize": False}  # options that may be named if they do nothing
FAR = 0.01  # off the radius, at a first step


class SphereOptimizer(Optimizer):
    """Moves matrices along directions that a subclass writes, at fixed norm.

    The state of every parameter has its ``radius``, a float (of a stack a tensor, a number for each matrix). The other
    entries are tensors, made by `initial_state` in the type of the arithmetic: that of the parameter, float32 at least.

    Parameters
    ----------
    params : tensors, or groups of them, as for any torch optimizer.
    defaults : options of the groups, with ``lr``, the step as a fraction of the norm; ``foreach``: True moves all
        matrices together, False one by one, None as many at a time as suits the device, the numbers are the same; and
        ``dims``: None if a tensor is one matrix, or its last axes, ``(-2, -1)``, if it is a stack of them.

    Raises
    ------
    ValueError : a tensor whose norm is zero or not finite, that is a vector or has no data; an option that is not
        known, out of its range, or without meaning at fixed norm (weight decay).
    """

    def __init__(self, params: Iterable[Tensor] | Iterable[dict[str, Any]], defaults: dict[str, Any]) -> None:
        self._forget_plans()
        super().__init__(params, defaults)

    @abstractmethod
    def initial_state(self, parameter: Tensor, dims: Dims) -> dict[str, Tensor]:
        """What the direction of one matrix, or of a stack, remembers before the first step."""

    @abstractmethod
    def write_directions(self, batch: Batch, group: dict[str, Any]) -> None:
        """Write :math:`-u` of each matrix of the batch into its slot, whatever stands there."""

    @abstractmethod
    def direction(self, parameter: Tensor) -> Tensor:
        """u of the last step, the part that is here; NaN where it cannot be told any more."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add matrices; their radius is the norm that they have now. A group that is refused is not added."""
        for key, value in param_group.items():
            if key not in (*self.defaults, *NOTES) and not (key in NEUTRAL and value == NEUTRAL[key]):
                raise ValueError(self._refusal(key, value))
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._check_options(group)
            states = [self._first_state(parameter, group) for parameter in group["params"]]
        except ValueError:
            self.param_groups.pop()
            raise
        self.state.update(zip(group["params"], states, strict=True))
        self._unchecked.update(group["params"])

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step for every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        planned = [(group, self._batches(index, group)) for index, group in enumerate(self.param_groups)]
        for group, batches in planned:
            for batch in batches:
                batch.clean()
                self.write_directions(batch, group)
                batch.move(group["lr"])
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As any optimizer's, but the state keeps the precision of the arithmetic where the parameters have less.

        Of another optimizer, one without radii, the averages are taken, with a warning; radii and options stay.

        Raises
        ------
        ValueError : another number of parameters, or a state without the averages that the direction needs.
        """
        saved = state_dict["state"]
        order = [index for group in state_dict["param_groups"] for index in group["params"]]
        owned = [(parameter, group) for group in self.param_groups for parameter in group["params"]]
        options = [{key: group[key] for key in group.keys() - {*NOTES}} for group in self.param_groups]
        states = {}
        for index, (parameter, group) in zip(order, owned, strict=False):  # other numbers are refused below
            entry, first = saved.get(index, {}), self.initial_state(parameter, group["dims"])
            if entry and (missing := sorted(first.keys() - entry.keys())):
                name = type(self).__name__
                raise ValueError(f"parameter {index} of the state to load has no {', '.join(missing)}: {name} needs it")
            averages = {key: made.copy_(entry[key]) for key, made in first.items()} if entry else first
            states[parameter] = {**averages, "radius": entry.get("radius", self._state(parameter, group)["radius"])}
        super().load_state_dict(state_dict)
        self.state.update(states)
        if any("radius" not in saved.get(index, {}) for index in order):
            for group, kept in zip(self.param_groups, options, strict=True):
                for key in group.keys() - {*NOTES}:
                    del group[key]
                group.update(kept)
            message = f"the state is another optimizer's: {type(self).__name__} takes its averages, and keeps its own"
            warnings.warn(message + " radii and options", stacklevel=2)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restored state comes without scratch."""
        super().__setstate__(state)
        self._forget_plans()
        for group in self.param_groups:
            self._unchecked.update(group["params"])
            for key, value in self.defaults.items():
                group.setdefault(key, value)

    def _forget_plans(self) -> None:
        self._plans: dict[int, tuple[list[Radius], list[Batch]]] = {}
        self._unchecked: set[Tensor] = set()  # not stepped since they or their state came

    def _group(self, parameter: Tensor) -> dict[str, Any]:
        (group,) = (group for group in self.param_groups if any(p is parameter for p in group["params"]))
        return group

    def _state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """Of a parameter that has lost its state, or came by another way than `add_param_group`, a first one."""
        state: dict[str, Any] = self.state[parameter]
        if "radius" not in state:
            state.update(self._first_state(parameter, group))
        return state

    def _batches(self, index: int, group: dict[str, Any]) -> list[Batch]:
        """The plan of the group; made anew only when other parameters have a gradient than last time."""
        if group.get("weight_decay"):
            raise ValueError(self._refusal("weight_decay", group["weight_decay"]))
        if isinstance(group["lr"], float) and not 0 <= group["lr"] < math.inf:
            raise ValueError(f"lr = {group['lr']} must be at least 0 and finite")
        moving = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in moving:
            if parameter.grad is not None and parameter.grad.is_sparse:
                raise ValueError(
                    f"{self._describe(parameter)} has a sparse gradient: {type(self).__name__} needs all of it"
                )
        radii = [self._state(parameter, group)["radius"] for parameter in moving]
        if self._unchecked:
            for parameter in moving:
                self._check_norm(parameter, group)
            self._unchecked.difference_update(moving)
        known_radii, known = self._plans.get(index, ([], []))
        planned = [parameter for batch in known for parameter in batch.parameters]
        same = len(planned) == len(moving) and all(map(operator.is_, planned, moving))
        if not (same and all(map(operator.is_, known_radii, radii))):
            known = list(plan(moving, radii, group["foreach"], group["dims"]))
            self._plans[index] = (radii, known)
        return known

    def _first_state(self, parameter: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        what, cls = f"{self._describe(parameter)}", type(self).__name__
        if parameter.is_meta:
            raise ValueError(f"{what} has no data (meta): give it values, then build {cls}")
        if not parameter.is_floating_point():
            raise ValueError(f"{what} is of type {parameter.dtype}: {cls} trains matrices of real numbers")
        state = self.initial_state(parameter, group["dims"])
        if parameter.ndim < 2:
            raise ValueError(f"{what} is a vector: {cls} keeps the norms of matrices; train gains and biases with Adam")
        norms = self._norms(parameter, group)
        for value in norms:
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"{what} has norm {value}: {cls} keeps the norm of a matrix, so it must be finite and above 0"
                )
        radius = norms[0] if group["dims"] is None else torch.tensor(norms, dtype=torch.float64)
        return {**state, "radius": radius}

    def _check_norm(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """Raise if other weights than those that the radius is of stand in a parameter before its first step."""
        if parameter not in self._unchecked:
            return
        work = torch.promote_types(parameter.dtype, torch.float32)
        for value in self.state[parameter].values():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.dtype != work:
                raise ValueError(
                    f"{self._describe(parameter)} is of type {parameter.dtype}, and {type(self).__name__} was built for"
                    " another: convert the module first, then build the optimizer"
                )
        radius = torch.as_tensor(self.state[parameter]["radius"], dtype=torch.float64).reshape(-1).tolist()
        for found, kept in zip(self._norms(parameter, group), radius, strict=True):
            if abs(found / kept - 1) > FAR:
                raise ValueError(
                    f"{self._describe(parameter)} has norm {found:.6g} before its first step, and"
                    f" {type(self).__name__} is to keep it at {kept:.6g}: load or change the weights first, then build"
                    " the optimizer, then load its state"
                )

    def _norms(self, parameter: Tensor, group: dict[str, Any]) -> list[float]:
        """One for each matrix of the parameter, the same in every process."""
        part, groups = local(parameter.detach()), matrix_groups(parameter, group["dims"])
        here = [norm(part[at] if at else part, groups) for at in places(parameter, group["dims"])]
        norms: list[float] = of_all_matrices(
            torch.tensor(here, dtype=torch.float64, device=part.device), parameter, group["dims"]
        ).tolist()
        return norms

    def _check_options(self, group: dict[str, Any]) -> None:
        for name, (lowest, below) in RANGES.items():
            values = group.get(name, lowest)
            for value in values if isinstance(values, tuple | list) else (values,):
                if not lowest <= value < below:
                    raise ValueError(f"{name} = {values} must be at least {lowest:g} and below {below:g}")
        dims = group["dims"]
        if dims is None:
            return
        for parameter in group["params"]:
            last = tuple(range(parameter.ndim - len(dims), parameter.ndim))
            if len(dims) < 2 or tuple(sorted(d % parameter.ndim for d in dims)) != last:
                raise ValueError(f"dims = {dims} must be the last axes of {self._describe(parameter)}, at least two")
        group["dims"] = tuple(range(-len(dims), 0))

    def _describe(self, parameter: Tensor) -> str:
        parameters = [p for group in self.param_groups for p in group["params"]]
        index = next(index for index, p in enumerate(parameters) if p is parameter)
        return f"parameter {index} of shape {tuple(parameter.shape)}"

    def _refusal(self, key: str, value: object) -> str:
        if key in NEUTRAL:
            return f"{key} = {value} means nothing to {type(self).__name__}, which keeps norms fixed: leave it out"
        return f"{key} is not an option of {type(self).__name__}, which has {', '.join(self.defaults)}"
