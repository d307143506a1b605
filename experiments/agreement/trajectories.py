"""Every record of the runs of a setting beside theory and simulation, as one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from experiments.agreement.matrix_networks import has_kinds, kind_of, small_gpt2
from experiments.agreement.setting_runs import SettingRuns
from experiments.runs.run_files import Run
from experiments.runs.simulation import COMPARED
from theory import Trajectory, predict_trajectory, radial
from theory.networks import WHITE_NOISE

COLUMNS = ("series", "matrix", "step", *COMPARED)
SAME_SCALE = 1.2  # matrices whose initial RMS differ by less from one to the next share a line of theory


def trajectory_table(setting: SettingRuns) -> pd.DataFrame:
    """A row per series, matrix and record: `COLUMNS`, angles in radians per step.

    The index says whose record it is: its ``source`` (measured, theory, simulation) and the ``place`` of its trajectory
    among those of that source. There is a theory for each initial RMS that occurs.
    """
    recorded = [run for run in setting.runs if len(run.trajectory.steps)]
    parts = {
        ("measured", place): _records(run.trajectory, f"measured, seed {run.config.seed}")
        for place, run in enumerate(recorded)
    }
    kinds = tuple(radial.KINDS) if has_kinds(setting.config) else ("",)
    starts = [(kind, initial) for kind in kinds for initial in _initial_scales(recorded, kind)]
    for place, (kind, initial) in enumerate(starts):
        predicted = predict_trajectory(
            setting.optimizer,
            setting.schedule,
            initial_rms=initial,
            record_every=setting.config.record_every,
            network=small_gpt2(kind) if kind else WHITE_NOISE,
        )
        label = f"theory of {kind}," if kind else "theory"
        parts["theory", place] = _records(predicted, f"{label} from {predicted.weight_rms[0, 0]:.3g}")
    if setting.simulation is not None:
        parts["simulation", 0] = _records(setting.simulation.trajectory, "simulation")
    names = ["source", "place", None]
    if not parts:
        return pd.DataFrame(columns=COLUMNS, index=pd.MultiIndex.from_tuples([], names=names))
    return pd.concat(parts, names=names)


def _records(trajectory: Trajectory, series: str) -> pd.DataFrame:
    num_records, num_matrices = trajectory.weight_rms.shape
    return pd.DataFrame(
        {
            "series": series,
            "matrix": np.tile(trajectory.matrices, num_records),
            "step": np.repeat(trajectory.steps, num_matrices),
            **{field: getattr(trajectory, field).ravel() for field in COMPARED},
        }
    )


def _initial_scales(runs: Sequence[Run], kind: str) -> list[float]:
    """Medians of the initial RMS over clusters of matrices of a kind, or of any where it is empty, split where two
    neighbours are further apart."""
    starts = [
        run.trajectory.weight_rms[0, place]
        for run in runs
        for place, matrix in enumerate(run.trajectory.matrices)
        if kind in ("", kind_of(matrix))
    ]
    values = np.sort(np.array(starts, np.float64))
    values = values[values > 0]
    clusters = np.split(values, np.flatnonzero(np.diff(np.log(values)) > np.log(SAME_SCALE)) + 1)
    return [float(np.median(cluster)) for cluster in clusters if len(cluster)]
