"""The cells of the study, and what is measured in a run half way and at its end."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from experiments.runs.configs import config_hash
from experiments.studies.moved_optimum.runs import ADAMH, ARMS, SEEDS, Arm, config_of
from experiments.studies.workplace import Workplace
from gpt.checkpoint import previous
from gpt.config import TrainConfig
from gpt.diagnose import LoadedRun, load_run, measure
from gpt.model import block_matrices
from gpt.sharpness import sharpness
from gpt.train import train, weight_rms
from theory.outcome import RunOutcome

COMPARED = ("start 1.6", "start 14.4", "equilibrium", ADAMH.name)
MOMENTS = ("half", "end")
MEASURED = (
    "noise_scale",
    "sharpness",
    "normalised_sharpness",
    "preconditioned_sharpness",
    "update_rms",
    "sign_agreement",
    "output_norm",
    "logit_rms",
    "weight_rms",
)
NUM_BATCHES, NUM_SHARPNESS_BATCHES = 64, 2
NUMBERS = ("num_steps", "learning_rate", "seed", "seconds")
GAPS = ("loss", "mean_angle", *(f"{name}_{moment}" for moment in MOMENTS for name in MEASURED))
TEXTS = ("outcome", "run")
COLUMNS = ("arm", *NUMBERS[:3], "outcome", *GAPS, "seconds", "run")


def cell_rates(optima: pd.DataFrame, runs: pd.DataFrame, arm: str, num_steps: int) -> tuple[float, ...]:
    """The rate of the arm's grid nearest to its measured optimum, the next below and the next above; the two that have
    the optimum between them come first.

    ``runs``: those of moved-optimum and AdamH's of same-angle; the optimum lies inside the grid.
    """
    here = runs[(runs["arm"] == arm) & (runs["num_steps"] == num_steps)]
    rates = np.unique(here["learning_rate"].to_numpy(float))
    best = float(optima.loc[(optima["arm"] == arm) & (optima["num_steps"] == num_steps), "learning_rate"].iloc[0])
    nearest = int(np.argmin(np.abs(np.log(rates / best))))
    middle = min(max(nearest, 1), len(rates) - 2)
    own = rates[middle - 1 : middle + 2]
    third = 2 if best < own[1] else 0
    return tuple(float(rate) for rate in (*np.delete(own, third), own[third]))


def arm_by_name(name: str) -> Arm:
    """One of moved-optimum."""
    return next(one for one in ARMS if one.name == name)


def make_runs(
    place: Workplace, rates: dict[tuple[str, int], tuple[float, ...]], lengths: Sequence[int], seeds: Sequence[int]
) -> Iterator[pd.DataFrame]:
    """All finished rows, again after every run; missing runs of ``lengths`` and ``seeds`` are made. ``rates`` by arm
    and length, of `cell_rates`.

    In the order in which an answer is soonest known: AdamW's arms before AdamH, the rates beside the optimum before the
    third, seeds 0 and 1 of all that before seed 2.
    """
    place.make_folders()
    known: dict[str, pd.DataFrame] = {}
    tasks = [
        ((length, seed == max(SEEDS), arm == ADAMH.name, rate == own[-1], seed), arm, rate)
        for (arm, length), own in rates.items()
        for rate in own
        for seed in SEEDS
    ]
    for (num_steps, *_, seed), arm, rate in sorted(tasks, key=lambda task: task[0]):
        config = config_of(arm_by_name(arm), num_steps, rate, seed)
        wanted = num_steps in lengths and seed in seeds
        if not wanted and not (place.runs / f"{config_hash(config)}.csv").exists():
            continue
        (row,) = place.run_tables([config], rows_of, numbers=NUMBERS, gaps=GAPS, texts=TEXTS)
        known[config_hash(config)] = row.assign(arm=arm)
        yield pd.concat(known.values(), ignore_index=True)[list(COLUMNS)]


def rows_of(config: TrainConfig) -> pd.DataFrame:
    """The row of one run, without its arm. A run that diverged has no measurements."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    half = config.schedule.num_steps // 2
    row: dict[str, object] = dict.fromkeys(GAPS, math.nan)
    with tempfile.TemporaryDirectory() as folder:
        last = Path(folder) / "checkpoint.pt"
        found = train(config, checkpoint=last, checkpoint_every=half)
        if found.outcome is RunOutcome.COMPLETED:
            for moment, file, step in (("half", previous(last), half), ("end", last, None)):
                measured = measurements(load_run(config, file, step=step))
                row |= {f"{name}_{moment}": value for name, value in measured.items()}
    row |= {
        "num_steps": config.schedule.num_steps,
        "learning_rate": config.optimizer.learning_rate,
        "seed": config.seed,
        "loss": found.final_loss,
        "mean_angle": float(np.nanmean(found.trajectory.angular_update)),
        "outcome": found.outcome.value,
        "seconds": round(time.perf_counter() - start, 1),
        "run": config_hash(config),
    }
    return pd.DataFrame([row])


def measurements(run: LoadedRun) -> dict[str, float]:
    r"""All of `MEASURED` at the weights of ``run``, on sequences that it has not seen.

    ``normalised_sharpness``: largest eigenvalue of the Hessian in units of each block matrix's norm, which no scale of
    theirs changes. ``output_norm``: of the map from the final norm to the logits, gain included, from root mean square
    to largest entry, :math:`\sqrt C \max_v \|g \odot w_v\|`. ``logit_rms``: of the logits less their mean over the
    vocabulary. ``weight_rms``: mean over the block matrices.
    """
    found = measure(run, num_batches=NUM_BATCHES, num_sharpness_batches=NUM_SHARPNESS_BATCHES)
    model, matrices = run.model, block_matrices(run.model)
    tokens, targets = run.joined(NUM_SHARPNESS_BATCHES)
    normalised = sharpness(
        lambda: model(tokens, targets).mean(),
        list(matrices.values()),
        preconditioner=[w.detach().square().sum().reciprocal() for w in matrices.values()],
    )
    gain = model.final_norm.gain
    assert isinstance(gain, torch.Tensor)
    with torch.no_grad():
        output = model.token_embedding * gain
        hidden: list[torch.Tensor] = []
        handle = model.final_norm.register_forward_hook(lambda _module, _inputs, result: hidden.append(result))
        model(tokens, targets)
        handle.remove()
        logits = F.linear(hidden[0], model.token_embedding)
        logits -= logits.mean(dim=-1, keepdim=True)
    values = {name: float(getattr(found, name)) for name in MEASURED if hasattr(found, name)}
    return values | {
        "noise_scale": found.noise_scale if math.isfinite(found.noise_scale) else math.nan,
        "normalised_sharpness": normalised.value,
        "output_norm": math.sqrt(output.shape[1]) * float(output.norm(dim=1).max()),
        "logit_rms": float(logits.square().mean().sqrt()),
        "weight_rms": float(np.mean(list(weight_rms(matrices).values()))),
    }
