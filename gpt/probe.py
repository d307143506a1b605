r"""The probe: what an optimizer step does to each matrix, or to each neuron.

Two calls around the step of any torch optimizer on any module, and nothing is patched:

    probe = Probe(model, optimizer, every=10)
    ...
    probe.before()
    optimizer.step()
    probe.after(step)

It measures, in float64, the weight RMS of :math:`W_t`, the angle and relative size of the move to :math:`W_{t+1}`, and
the RMS of the direction :math:`u_t` and its cosine with :math:`W_t`, and under Adam the gradient along :math:`W_t`;
`gpt.directions` says where they come from, `gpt.steps` how a step is told from none.

The angle is taken from the difference :math:`D = W_{t+1} - W_t`, split along and across :math:`W_t`:
:math:`\theta = \mathrm{atan2}(\|D_\perp\|, \|W_t\| + D_\parallel)`. Small angles keep their digits, which they would
lose in an arc cosine.

Per neuron means per row of a matrix (output unit of ``nn.Linear``): each row has its own norm and angle, and is a
"matrix" of its own in the trajectory. The theory of Adam holds for it as it does for the whole, with more noise.

Cost: a copy of the weights from ``before`` to ``after``, and about twenty passes over them at a recorded step. Nothing
waits for a GPU until the record is read, but for the first one and the search for an unknown decay.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt.directions import DECAYS, Decay, Direction, direction_of_step
from gpt.sharding import local, shard_groups, sum_over_shards
from gpt.sphere import SphereOptimizer
from gpt.step_check import TINY, Claim
from gpt.step_records import ROWS, Measured, StepRecord, step_record
from gpt.steps import StepWatch
from theory.checks import InvalidParameter, require_integer
from theory.trajectory import FIELDS, OPTIONAL_FIELDS, Trajectory

WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")  # what these add to names


def reading_waits(tensor: Tensor) -> bool:
    """Whether to read its numbers would wait for a device."""
    return not tensor.is_cpu


class Probe:
    """Records of the matrices it is given.

    A record belongs to a step that was made. Where none was made, by the optimizer or for one matrix (a scaler skipped
    it, gradients were accumulated, there was no gradient), the record says so: angle and relative update are 0,
    direction and cosine NaN.

    Parameters
    ----------
    matrices : what to watch, by name; of a module, all its parameters with at least two axes that the optimizer trains,
        those that join it later included: they have NaN in the records before.
    optimizer : trains them; any torch optimizer, or a wrapper that has one as ``optimizer``.
    every : measure at every so many-th pair of calls, beginning with the first. If no step is made in that one, the
        next step that is made is measured too.
    per_neuron : measure each row by itself, under the name ``name[row]``.
    decay : convention of the optimizer's weight decay: "coupled" (part of the gradient), "pytorch" (times the learning
        rate), "independent" of it, or "relative" (times the rate over its peak). None for what its class says.
    check_moves : see whether Adam's direction explains what happened to the weights. If it does not, nor anything that
        the probe can think of, directions are NaN and a warning says so. False if you move the weights yourself.

    Raises
    ------
    InvalidParameter : nothing to watch, a parameter that the optimizer does not train, that has no data (meta) or no
        rows, or whose rows lie in several processes; a step that is not above the last one.
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
        decay: Decay | None = None,
        check_moves: bool = True,
    ) -> None:
        if decay is not None and decay not in DECAYS:
            raise InvalidParameter("decay", decay, f"one of {', '.join(DECAYS)}, or None")
        self._watch = StepWatch(optimizer)
        self._optimizer = self._watch.optimizer
        self._every = require_integer("every", every, at_least=1)
        self._per_neuron, self._decay, self._check_moves = per_neuron, decay, check_moves
        if not isinstance(matrices, nn.Module | Mapping):
            raise InvalidParameter("matrices", type(matrices).__name__, "a module, or tensors by name")
        self._module = matrices if isinstance(matrices, nn.Module) else None
        self._places: dict[str, tuple[nn.Module, str]] = {}  # where the module has what is watched
        self._matrices = self._trained_by_now() if isinstance(matrices, nn.Module) else dict(matrices)
        if not self._matrices:
            raise InvalidParameter("matrices", "{}", "at least one matrix that the optimizer trains")
        self._check(self._matrices)
        self._known = self._trained()
        self._calls = 0
        self._pending = False  # a record was due, and no step was made
        self._awaited = False
        self._told = False
        self._before: list[Tensor] = []
        self._steps: list[int] = []
        self._records: list[Tensor | StepRecord] = []  # (num_rows, num_units), or on a GPU and not yet read

    @torch.no_grad()
    def before(self) -> None:
        """Remember the weights; call right before ``optimizer.step()``."""
        self._before = []
        if self._calls % self._every == 0 or self._pending:
            if self._module is not None and (trained := self._trained()) != self._known:
                joined = {name: p for name, p in self._trained_by_now().items() if id(p) not in self._known}
                self._check(joined)
                self._matrices |= joined
                self._known = trained
            self._require_in_module()
            self._watch.begin(self._matrices.values(), keep_norms=self._check_moves and not self._says_what_it_does)
            self._before = [local(parameter).detach().clone() for parameter in self._matrices.values()]
        self._calls += 1
        self._awaited = True

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Measure what the step did and file it under ``step``; call right after ``optimizer.step()``."""
        if not self._awaited:
            raise RuntimeError("Probe.after(step) needs Probe.before() ahead of the optimizer's step")
        step = require_integer("step", step, at_least=-(2**53))
        if self._steps and step <= self._steps[-1]:
            raise InvalidParameter("step", step, f"above the last record's, {self._steps[-1]}; count on over epochs")
        self._awaited = False
        if self._before:
            due = (self._calls - 1) % self._every == 0
            self._pending = not self._watch.stepped
            if due or not self._pending:
                pairs = zip(self._before, self._matrices.values(), strict=True)
                moved = self._watch.moved_since()
                measured = [self._measure(w, parameter, moved.get(id(parameter), 0.0)) for w, parameter in pairs]
                self._records.append(step_record(measured, per_neuron=self._per_neuron, check=self._check_moves))
                self._steps.append(step)
                if len(self._records) == 1 or not reading_waits(measured[0].products[0]):
                    self._read_records()
            self._before = []
        self._watch.finish()

    def trajectory(self, *, made_only: bool = False) -> Trajectory:
        """Everything recorded so far; its ``matrices`` are the rows if the probe measures per neuron.

        ``made_only`` leaves out the records in which no matrix was stepped.
        """
        names = [
            unit
            for name, parameter in self._matrices.items()
            for unit in ([f"{name}[{row}]" for row in range(len(parameter))] if self._per_neuron else [name])
        ]
        records = self._read_records()
        values = np.full((len(self._steps), len(ROWS), len(names)), np.nan)
        for record, measured in zip(values, records, strict=True):  # older ones may lack rows and matrices
            record[: measured.shape[0], : measured.shape[1]] = measured.cpu().numpy()
        kept = ~(values[:, ROWS.index("made")] == 0).all(axis=1) if made_only else np.full(len(values), True)
        return Trajectory(
            steps=np.array(self._steps, dtype=np.int64)[kept],
            matrices=tuple(names),
            **{field: values[kept, index] for index, field in enumerate((*FIELDS, *OPTIONAL_FIELDS))},
        )

    def state_dict(self) -> dict[str, Any]:
        """The records and the place in the thinning."""
        return {
            "matrices": list(self._matrices),
            "steps": list(self._steps),
            "records": self._read_records(),
            "calls": self._calls,
            "pending": self._pending,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the records of another probe; NaN for matrices that it did not watch. Raises `InvalidParameter` if
        it watched one that this one does not."""
        saved = list(state_dict.get("matrices", self._matrices))
        for name in saved:
            if name not in self._matrices:
                known = "one of a probe of the same matrices: this one does not watch it"
                raise InvalidParameter("state_dict", name, known)
        self._steps = list(state_dict["steps"])
        self._records = [self._placed(record, saved) for record in state_dict["records"]]
        self._calls = state_dict["calls"]
        self._pending = state_dict.get("pending", False)

    def _units(self, name: str) -> int:
        return len(self._matrices[name]) if self._per_neuron else 1

    def _placed(self, record: Tensor, saved: list[str]) -> Tensor:
        """A record of the matrices ``saved``, or of the first of them, in the order of this probe."""
        if saved == list(self._matrices)[: len(saved)]:
            return record
        parts = dict(zip(saved, record.split([self._units(name) for name in saved], dim=1), strict=True))
        missing = {name: record.new_full((len(record), self._units(name)), torch.nan) for name in self._matrices}
        return torch.cat([parts.get(name, missing[name]) for name in self._matrices], dim=1)

    @property
    def _says_what_it_does(self) -> bool:
        """Whether the optimizer keeps what its directions are made of, so that they are not read from the move."""
        return isinstance(self._optimizer, torch.optim.Adam | SphereOptimizer)

    def _require_in_module(self) -> None:
        """Raise if the module has put another parameter in the place of one, and trains it in vain."""
        for name, (module, leaf) in self._places.items():
            watched, present = self._matrices[name], module._parameters.get(leaf)
            if present is None or present is watched or present.grad is None or watched.grad is not None:
                continue
            allowed = "the parameter that the module has: it was replaced (by .to(), by a new head); build"
            raise InvalidParameter("matrices", name, allowed + " the optimizer and the probe after that")

    def _trained(self) -> set[int]:
        """Identities of the parameters of the optimizer."""
        return {id(p) for group in self._optimizer.param_groups for p in group["params"]}

    def _trained_by_now(self) -> dict[str, Tensor]:
        """The module's matrices that the optimizer trains, under the names that they have without wrappers."""
        module = self._module
        while isinstance(module, nn.parallel.DistributedDataParallel | nn.DataParallel):
            module = module.module
        assert module is not None
        trained = self._trained()
        found: dict[str, Tensor] = {}
        for place, parameter in module.named_parameters():
            name = place
            for wrapper in WRAPPERS:
                name = name.replace(wrapper, "")
            if id(parameter) in trained and parameter.ndim >= 2:
                found[name] = parameter
                owner, _, leaf = place.rpartition(".")
                self._places[name] = module.get_submodule(owner), leaf
        return found

    def _check(self, matrices: Mapping[str, Tensor]) -> None:
        """Raise for what cannot be watched."""
        trained = self._trained()
        for name, parameter in matrices.items():
            if id(parameter) not in trained or (self._per_neuron and parameter.ndim < 2):
                raise InvalidParameter("matrices", name, "trained by this optimizer, and with two axes for per_neuron")
            if parameter.is_complex():
                raise InvalidParameter("matrices", name, "of real numbers")
            if parameter.is_meta:
                raise InvalidParameter("matrices", name, "a parameter with data, not one on the meta device")
            if self._per_neuron and shard_groups(parameter):
                raise InvalidParameter("per_neuron", True, f"False for {name}, which lies in several processes")

    def _read_records(self) -> list[Tensor]:
        """All records as tensors; warns once of directions that are not known. Waits for a GPU."""
        read = []
        for place, record in enumerate(self._records):
            if isinstance(record, StepRecord):
                self._records[place] = record = record.rows()
                if bool(record[ROWS.index("unexplained")].any()):
                    self._tell()
            read.append(record)
        return read

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            message = (
                f"the direction of {type(self._optimizer).__name__} is not known: its settings and state do not explain"
                " how the weights moved. Norm and angle are recorded, direction and cosine are NaN. If its weight decay"
                f" is {', '.join(DECAYS[:-1])} or {DECAYS[-1]}, say so: Probe(..., decay=...)"
            )
            warnings.warn(message, stacklevel=4)

    def _measure(self, before: Tensor, parameter: Tensor, moved: float | Tensor) -> Measured:
        """The products of the units of one matrix."""
        w = before.double()
        move = local(parameter) - w  # in float64
        groups = shard_groups(parameter)
        settings = self._watch.settings(parameter)
        if settings is None or not self._watch.stepped:
            found = Direction(torch.full_like(w, torch.nan), Claim())
        else:
            found = direction_of_step(self._optimizer, parameter, settings, before=w, move=move, decay=self._decay)
        made = self._watch.made(parameter, move)
        axis = 1 if self._per_neuron else 0
        w, move, u = (t.flatten(axis) for t in (w, move, found.u))
        dot = torch.linalg.vecdot
        nothing = w.new_full(w.shape[:-1], torch.nan)
        gw = nothing if found.scaled_gradient is None else dot(found.scaled_gradient.flatten(axis), w) * found.scale
        products = [dot(w, w), dot(move, w), dot(u, u), dot(u, w), gw]
        if groups:
            products = list(sum_over_shards(torch.stack(products), groups))
        move.addcmul_(w, (products[1] / products[0].clamp(min=TINY)).unsqueeze(-1), value=-1)
        across = [dot(move, move), dot(u, move)]
        products += list(sum_over_shards(torch.stack(across), groups)) if groups else across
        size = w.shape[-1] if self._per_neuron else parameter.numel()
        return Measured(products, size, made, moved, found.claim, torch.finfo(parameter.dtype).eps)
