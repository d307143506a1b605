"""Two public data sets: 202 final losses of Llama-style models on SlimPajama, and loss curves of three sizes."""

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiments.losses.finished_runs import Run
from experiments.losses.loss_table import FinalLosses, read_final_losses

DENSE = 12 * 12 * 768**2  # the size with the dense table, without the embedding
SOURCES = {
    "lr_scheduling": "the table made from github.com/fabian-sp/lr-scheduling",
    "multipowerlaw": "loss_curve_repo of github.com/thu-yao-01-luo/MultiPowerLaw",
}


def public_folder(name: str) -> Path:
    """Where a data set lies; skips where there is none."""
    root = os.environ.get("LRBEND_PUBLIC_DATA")
    if not root:
        pytest.skip(f"LRBEND_PUBLIC_DATA is unset: {SOURCES[name]} is not here")
    return Path(root) / name


@functools.cache
def public_table() -> FinalLosses:
    """The table as it is, read without a flag."""
    return read_final_losses(public_folder("lr_scheduling") / "slimpajama_final_losses.csv")


def dense(*horizons: int) -> list[Run]:
    """Runs of the dense size, of some lengths."""
    return [run for run in public_table().runs if run.num_params == DENSE and run.num_steps in horizons]


def by_size() -> dict[float, list[Run]]:
    """All runs, by N."""
    result: dict[float, list[Run]] = {}
    for run in public_table().runs:
        result.setdefault(run.num_params, []).append(run)
    return result


def setting(run: Run) -> tuple[str, float]:
    """Schedule and rate, as they are at any length."""
    return run.schedule, round(run.peak_learning_rate, 5)


def copied_regret(source: Sequence[Run], target: Sequence[Run]) -> float:
    """Regret of taking the settings in the order in which they ended at another horizon."""
    there = {setting(run): run.loss for run in source}
    shared = [run for run in target if setting(run) in there]
    pick = min(shared, key=lambda run: there[setting(run)])
    return pick.loss - min(run.loss for run in target)
