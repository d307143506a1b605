"""What a study costs before anything starts: runs, tokens, FLOPs, hours here and on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.sweeps.study import Study
from experiments.sweeps.sweep import CellState, states
from gpt.config import TrainConfig
from gpt.data import count_tokens
from gpt.estimates import estimate, flops_per_token, num_matrix_params, num_tokens
from gpt.timing import measured_hours
from theory import InvalidParameter

MOST_FLOPS_TIMED = 3e10  # of one step; about a second on a core


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    """The runs of one cell: how many, how many of them are finished, and what all of them take.

    d_model, num_params : of its model, parameters of the matrices of the blocks.
    """

    arm: str
    d_model: int
    num_params: int
    num_runs: int
    num_finished: int
    num_tokens: int
    flops: float
    gpu_hours: float


@dataclass(frozen=True, kw_only=True)
class TextPlan:
    """A text that the runs read.

    Attributes
    ----------
    source : as in the configs.
    tokens_needed : those of the longest run that reads it; windows are drawn anywhere, so that fewer are read again.
    tokens_found : to train on, as far as that is known without reading; None if it is not.
    missing : why there are none to train on; None if there are.
    """

    source: str
    tokens_needed: int
    tokens_found: int | None
    missing: str | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The cost of a study.

    Attributes
    ----------
    num_runs, num_finished : runs that the study asks for now, and those of them that lie finished in the directory.
    most_runs : with all adaptive cells at the end of their budgets; equals ``num_runs`` without such cells.
    num_tokens, flops : of the runs that are asked for now, finished ones included.
    hours_here : for those not finished, on this machine, ``num_workers`` at a time, by a few timed steps of each kind
        of run; None if a kind is too large to be timed here.
    not_timed : why there is none.
    gpu, utilisation, gpu_hours : as in `gpt.estimates.Estimate`, for those not finished; a calculation from an assumed
        utilisation, no GPU was used.
    cells, texts : one entry each.
    """

    study: str
    question: str
    num_runs: int
    num_finished: int
    most_runs: int
    num_tokens: int
    flops: float
    num_workers: int
    hours_here: float | None
    not_timed: str | None
    gpu: str
    utilisation: float
    gpu_hours: float
    cells: tuple[CellPlan, ...]
    texts: tuple[TextPlan, ...]


def make_plan(study: Study, directory: Path, *, gpu: str, utilisation: float, num_workers: int) -> Plan:
    """The plan of a study whose runs lie, or would lie, in ``directory``; raises `InvalidParameter` and `BadInput`.

    Takes a few seconds for each kind of run that is timed, one after the other; several workers are taken to be as fast
    as one each, which wants a core for each.
    """
    cells = states(study, directory)
    jobs = [job for state in cells for job in state.jobs]
    missing = [job.config for state in cells for job in state.missing]
    everything = estimate([job.config for job in jobs], gpu=gpu, utilisation=utilisation)
    rest = estimate(missing, gpu=gpu, utilisation=utilisation)
    hours, reason = _hours_here(missing, num_workers)
    return Plan(
        study=study.name,
        question=study.question,
        num_runs=len(jobs),
        num_finished=len(jobs) - len(missing),
        most_runs=sum(
            len(state.jobs) if state.cell.adaptive is None else state.cell.adaptive.max_runs for state in cells
        ),
        num_tokens=everything.num_tokens,
        flops=everything.flops,
        num_workers=num_workers,
        hours_here=hours,
        not_timed=reason,
        gpu=gpu,
        utilisation=utilisation,
        gpu_hours=rest.gpu_hours,
        cells=tuple(_cell_plan(state, gpu, utilisation) for state in cells),
        texts=_texts([job.config for job in jobs]),
    )


def _texts(configs: Sequence[TrainConfig]) -> tuple[TextPlan, ...]:
    needed: dict[str, int] = {}
    for config in configs:
        needed[config.source] = max(needed.get(config.source, 0), num_tokens(config))
    plans = []
    for source, tokens in needed.items():
        found, missing = None, None
        try:
            found = count_tokens(source)
        except InvalidParameter as error:
            missing = f"{error.value}: must be {error.allowed}"
        plans.append(TextPlan(source=source, tokens_needed=tokens, tokens_found=found, missing=missing))
    return tuple(plans)


def _cell_plan(state: CellState, gpu: str, utilisation: float) -> CellPlan:
    cost = estimate([job.config for job in state.jobs], gpu=gpu, utilisation=utilisation)
    model = state.cell.config.model
    return CellPlan(
        arm=state.cell.label,
        d_model=model.d_model,
        num_params=num_matrix_params(model),
        num_runs=len(state.jobs),
        num_finished=len(state.jobs) - len(state.missing),
        num_tokens=cost.num_tokens,
        flops=cost.flops,
        gpu_hours=cost.gpu_hours,
    )


def _hours_here(configs: Sequence[TrainConfig], num_workers: int) -> tuple[float | None, str | None]:
    import torch

    if not configs:
        return 0.0, None
    largest = max(configs, key=_step_flops)
    if _step_flops(largest) > MOST_FLOPS_TIMED:
        model = largest.model
        return None, (
            f"a step of {model.num_layers} layers of width {model.d_model} takes {_step_flops(largest):.2g} FLOPs;"
            f" up to {MOST_FLOPS_TIMED:g} are timed"
        )
    if largest.device == "cuda" and not torch.cuda.is_available():
        return None, "the runs want a GPU, and there is none here"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a sweep
    try:
        return measured_hours(configs, num_workers=num_workers), None
    finally:
        torch.set_num_threads(threads)


def _step_flops(config: TrainConfig) -> float:
    return config.tokens_per_step * flops_per_token(config.model)
