"""What lies in a run directory, written and read back: a `Run` is all of it.

``config.json``, ``provenance.json``, ``summary.json`` (how it ended, and the numbers of a table), ``trajectory.nc``; of
a training run ``loss.csv`` and ``checkpoint.pt``, of a simulation ``standard_error.nc``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput, csv_text, one_line, read_json
from experiments.runs.configs import read_config
from experiments.runs.run_directory import SUMMARY_FILE, is_finished
from experiments.runs.simulation import SimulationConfig
from theory.outcome import RunOutcome
from theory.trajectory import FIELDS, OPTIONAL_FIELDS, Trajectory

if TYPE_CHECKING:
    import xarray as xr

    from gpt.config import TrainConfig

LOSS_COLUMNS = ("step", "loss")
UNITS = {
    "weight_rms": "1",
    "angular_update": "rad",
    "relative_update": "1",
    "update_rms": "1",
    "cosine": "1",
    "radial_gradient": "1",
}


@dataclass(frozen=True)
class Run:
    """A finished run, read back. ``losses`` has shape (num_steps,), empty for a simulation."""

    path: Path
    config: TrainConfig | SimulationConfig
    provenance: dict[str, Any]
    summary: dict[str, Any]
    trajectory: Trajectory
    standard_error: Trajectory | None
    losses: NDArray[np.float64]

    @property
    def outcome(self) -> RunOutcome:
        return RunOutcome(self.summary["outcome"])


def load_run(path: Path) -> Run:
    """Read a finished run; raises `BadInput` with one line for anything that is not one."""
    if not path.is_dir():
        raise BadInput(f"{path}: not a directory")
    if not is_finished(path):
        raise BadInput(f"{path}: not a finished run (no {SUMMARY_FILE})")
    config = read_config(read_json(path / "config.json"), where=str(path / "config.json"))
    is_simulation = isinstance(config, SimulationConfig)
    summary = read_summary(path)
    trajectory = _read_trajectory(path / "trajectory.nc")
    if len(trajectory.steps) and trajectory.steps[-1] >= config.schedule.num_steps:
        raise BadInput(f"{path / 'trajectory.nc'}: is longer than the run of config.json")
    losses = np.empty(0) if is_simulation else _read_losses(path / "loss.csv")
    if not is_simulation and summary["outcome"] == RunOutcome.COMPLETED and len(losses) != config.schedule.num_steps:
        raise BadInput(f"{path / 'loss.csv'}: holds {len(losses)} of {config.schedule.num_steps} steps")
    return Run(
        path=path,
        config=config,
        provenance=_read_object(path / "provenance.json"),
        summary=summary,
        trajectory=trajectory,
        standard_error=_read_trajectory(path / "standard_error.nc") if is_simulation else None,
        losses=losses,
    )


def read_summary(path: Path) -> dict[str, Any]:
    """``summary.json`` of a finished run: its outcome is known, its losses are numbers or None; raises `BadInput`."""
    file = path / SUMMARY_FILE
    summary = _read_object(file)
    if summary.get("outcome") not in tuple(RunOutcome):
        raise BadInput(f"{file}: outcome is not one of {', '.join(RunOutcome)}")
    for key in ("final_loss", "final_loss_se", "tokens_per_second"):
        if not isinstance(summary.get(key), float | int | None):
            raise BadInput(f"{file}: {key} is not a number")
    return summary


def to_xarray(trajectory: Trajectory) -> xr.Dataset:
    """The trajectory as a labelled dataset with dimensions (step, matrix).

    >>> from theory import AdamW, Constant, predict_trajectory
    >>> optimizer = AdamW(learning_rate=0.01, weight_decay=1.0)
    >>> dataset = to_xarray(predict_trajectory(optimizer, Constant(num_steps=30), initial_rms=0.02, record_every=10))
    >>> dict(dataset.sizes), dataset["angular_update"].units
    ({'step': 4, 'matrix': 1}, 'rad')
    """
    import xarray as xr

    return xr.Dataset(
        {field: (("step", "matrix"), values, {"units": UNITS[field]}) for field, values in trajectory.fields().items()},
        coords={"step": trajectory.steps, "matrix": list(trajectory.matrices)},
    )


def from_xarray(dataset: xr.Dataset) -> Trajectory:
    """Inverse of `to_xarray`."""
    present = (*FIELDS, *(field for field in OPTIONAL_FIELDS if field in dataset))
    return Trajectory(
        steps=dataset["step"].to_numpy().astype(np.int64),
        matrices=tuple(str(name) for name in dataset["matrix"].to_numpy()),
        **{field: dataset[field].to_numpy().astype(np.float64) for field in present},
    )


def to_netcdf(trajectory: Trajectory) -> bytes:
    """The content of ``trajectory.nc``; made in memory, so that a full disk is the same error for every file."""
    return bytes(to_xarray(trajectory).to_netcdf(engine="h5netcdf"))


def losses_to_csv(losses: NDArray[np.float64]) -> str:
    """The content of ``loss.csv``: nats per token by step, every digit kept."""
    return csv_text(({"step": step, "loss": loss} for step, loss in enumerate(losses.tolist())), LOSS_COLUMNS)


def _read_losses(path: Path) -> NDArray[np.float64]:
    try:
        header, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        if tuple(header) != LOSS_COLUMNS:
            raise ValueError(f"the first line is not {','.join(LOSS_COLUMNS)}")
        return np.array([float(loss) for _, loss in rows])
    except (OSError, ValueError, csv.Error) as error:
        raise BadInput(f"{path}: not a loss record ({one_line(error)})") from None


def _read_trajectory(path: Path) -> Trajectory:
    import xarray as xr

    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return from_xarray(dataset.load())
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path}: not a trajectory ({one_line(error)})") from None


def _read_object(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}: expected an object")
    return data
