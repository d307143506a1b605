"""The tasks of some studies, made in ensembles of one shape until nothing is wanted or the time is over."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from experiments.studies.ensembles.tasks import Making, Run, Task, Trained
from gpt.config import Device, ModelConfig, TrainConfig

MOST = 256  # models of an ensemble, for the memory of a GPU
LITTLE = 64  # models that take a GPU no longer than one does
Wishes = Mapping[str, Callable[[], Sequence[Task]]]


@dataclass
class _Begun:
    """A task under way: how many runs it waits for, and what has come of them."""

    study: str
    task: Task
    making: Making
    num_runs: int = 0
    found: dict[int, Trained] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """One of the runs that a task waits for."""

    begun: _Begun
    index: int
    run: Run
    shape: tuple[Hashable, ...]

    @property
    def study(self) -> str:
        return self.begun.study


@dataclass(frozen=True)
class Ensemble:
    """Requests of one shape; a run that two studies want is trained once.

    files : those that it completed.
    """

    requests: Sequence[Request]
    seconds: float = np.nan
    device: str = ""
    files: tuple[Path, ...] = ()

    @property
    def config(self) -> TrainConfig:
        """That of its first run."""
        return self.requests[0].run.config

    @property
    def runs(self) -> list[Run]:
        return list({request.run.config: request.run for request in self.requests}.values())

    def __str__(self) -> str:
        config = self.config
        studies = " + ".join(dict.fromkeys(request.study for request in self.requests))
        size = f"width {config.model.d_model}, {config.schedule.num_steps} steps"
        kind = "steered" if config.steering is not None else f"a record every {config.record_every}"
        told = f"{studies}: {config.model.architecture}, {size}, {kind}: {len(self.runs)} runs"
        if np.isnan(self.seconds):
            return told
        per_step = 1e3 * self.seconds / config.schedule.num_steps
        return f"{told}, {self.seconds:.1f} s, {per_step:.2f} ms per step, {self.device}"


@dataclass
class Pace:
    """Whether an ensemble would end before ``deadline``, by `time.monotonic`, as fast as those before it were."""

    deadline: float = np.inf
    known: dict[ModelConfig, tuple[float, int]] = field(default_factory=dict)  # seconds per step, models

    def learn(self, ensemble: Ensemble) -> None:
        config = ensemble.config
        self.known[_bare(config.model)] = (ensemble.seconds / config.schedule.num_steps, len(ensemble.runs))

    def seconds(self, ensemble: Ensemble) -> float:
        """By the last one of its model; where there is none, by the slowest of the others. 0 before the first one.

        In proportion to the models beyond `LITTLE`, and to the width.
        """
        config, model, num_models = ensemble.config, _bare(ensemble.config.model), len(ensemble.runs)
        own = {model: self.known[model]} if model in self.known else self.known
        rates = [
            per_step * max(1.0, num_models / max(models, LITTLE)) * max(1.0, model.d_model / other.d_model)
            for other, (per_step, models) in own.items()
        ]
        return config.schedule.num_steps * max(rates, default=0.0)

    def allows(self, ensemble: Ensemble) -> bool:
        left = self.deadline - time.monotonic()
        return left > 0 and self.seconds(ensemble) <= left


def in_ensembles(
    wishes: Wishes,
    *,
    device: Device = "auto",
    most: int = MOST,
    seconds: float = np.inf,
    done: Callable[[Ensemble], None] = lambda ensemble: print(ensemble, file=sys.stderr, flush=True),
) -> None:
    """Make what these studies want, in their order, and again what they want then, until that is nothing.

    Runs that a later study wants fill up an ensemble of the same shape. Each file is written, whole, as soon as the
    ensemble that completes it has ended, so that nothing but the ensemble under way is lost with the process.

    wishes : by study, what it wants next of what has no file yet. most : models of an ensemble. seconds : after which
    none begins; nor does one begin that would not end before. done : called after each ensemble, its files written.
    """
    pace, seen = Pace(time.monotonic() + seconds), set[Path]()
    queue: list[Request] = []
    for position, study in enumerate(wishes):
        while True:
            for name in list(wishes)[position:]:
                new = [task for task in wishes[name]() if task.file not in seen]
                seen |= {task.file for task in new}
                queue += [request for task in new for request in _begin(name, task)]
            ran = False
            while ensemble := next((one for one in ensembles_of(queue, study, most) if pace.allows(one)), None):
                taken = set(map(id, ensemble.requests))
                queue = [request for request in queue if id(request) not in taken]
                ended, more = _train(ensemble, device)
                queue += more
                pace.learn(ended)
                done(ended)
                ran = True
            if not ran:
                break


def ensembles_of(queue: Sequence[Request], study: str, most: int) -> Iterator[Ensemble]:
    """For each shape that ``study`` wants the first ensemble of it: its own runs, then those of others, at most so
    many; and whoever else wants the same ones."""
    for shape in dict.fromkeys(request.shape for request in queue if request.study == study):
        alike = sorted((one for one in queue if one.shape == shape), key=lambda one: one.study != study)
        configs = set(list(dict.fromkeys(request.run.config for request in alike))[:most])
        yield Ensemble([request for request in alike if request.run.config in configs])


def planned(wishes: Wishes, most: int = MOST) -> list[Ensemble]:
    """The ensembles that would be made next if all ran in their order; nothing is trained."""
    queue = [request for name in wishes for task in wishes[name]() for request in _begin(name, task)]
    plan = []
    for study in wishes:
        while ensemble := next(ensembles_of(queue, study, most), None):
            taken = set(map(id, ensemble.requests))
            queue = [request for request in queue if id(request) not in taken]
            plan.append(ensemble)
    return plan


def _begin(study: str, task: Task) -> list[Request]:
    begun = _Begun(study, task, task.make(task.config))
    return _asked(begun, next(begun.making))


def _asked(begun: _Begun, runs: list[Run]) -> list[Request]:
    from gpt.ensemble import same_shape

    begun.num_runs, begun.found = len(runs), {}
    return [Request(begun, index, run, same_shape(run.config)) for index, run in enumerate(runs)]


def _train(ensemble: Ensemble, device: Device) -> tuple[Ensemble, list[Request]]:
    """The ensemble with what it took, its files written, and the runs that its tasks want next."""
    start = time.perf_counter()
    runs = ensemble.runs
    found = dict(zip((run.config for run in runs), _trained(runs, device), strict=True))
    seconds = time.perf_counter() - start
    files, more = [], []
    for request in ensemble.requests:
        begun = request.begun
        begun.found[request.index] = found[request.run.config]
    for begun in {id(request.begun): request.begun for request in ensemble.requests}.values():
        if len(begun.found) < begun.num_runs:
            continue
        try:
            more += _asked(begun, begun.making.send([begun.found[index] for index in range(begun.num_runs)]))
        except StopIteration as end:
            begun.task.keep(end.value)
            files.append(begun.task.file)
    where = next(iter(found.values())).device
    return Ensemble(ensemble.requests, seconds, where, tuple(files)), more


def _trained(runs: Sequence[Run], device: Device) -> list[Trained]:
    """In halves where the device has too little memory for all of them."""
    from gpt.ensemble import train_ensemble

    steered = runs[0].recording is not None
    start = time.perf_counter()
    try:
        results = train_ensemble(
            [run.config for run in runs],
            device=device,
            recordings=[run.recording for run in runs] if steered else None,
        )
    except torch.cuda.OutOfMemoryError:
        if len(runs) == 1:
            raise
        results = []
    if not results:
        torch.cuda.empty_cache()
        half = len(runs) // 2
        return [*_trained(runs[:half], device), *_trained(runs[half:], device)]
    share = (time.perf_counter() - start) / len(runs)
    return [Trained(result, share) for result in results]


def _bare(model: ModelConfig) -> ModelConfig:
    """The same for models that differ in their initial scale alone."""
    return replace(model, init_rms=1.0, residual_init_rms=1.0, embedding_init_rms=1.0)
