"""Runs as they are, as tables: how each ended, and the losses of its steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.agreement.setting_runs import setting_name
from experiments.runs.run_files import Run
from gpt.config import TrainConfig


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row per run."""
    return pd.DataFrame(
        [
            {
                "run": run.path.name,
                "outcome": run.outcome,
                "seed": run.config.seed,
                "final_loss": run.summary.get("final_loss"),
                "final_loss_se": run.summary.get("final_loss_se"),
                "tokens_per_second": run.summary.get("tokens_per_second"),
                "commit": run.provenance.get("commit"),
            }
            for run in runs
        ]
    ).astype({"final_loss": float, "final_loss_se": float, "tokens_per_second": float})


def losses_table(runs: Sequence[Run]) -> pd.DataFrame:
    """A row per step of each training run, in nats per token; empty without one.

    The first level of the index is the ``place`` of the run among them: its name may occur in two directories.
    """
    parts: dict[int, pd.DataFrame] = {}
    for run in runs:
        if isinstance(run.config, TrainConfig):
            parts[len(parts)] = pd.DataFrame(
                {
                    "run": run.path.name,
                    "setting": setting_name(run.config),
                    "architecture": run.config.model.architecture,
                    "step": np.arange(len(run.losses)),
                    "loss": run.losses,
                }
            )
    return pd.concat(parts, names=["place", None]) if parts else pd.DataFrame()
