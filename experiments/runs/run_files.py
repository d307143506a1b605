"""What lies in a run directory, written and read back: a `Run` is all of it.

``config.json``, ``provenance.json``, ``summary.json`` (how it ended, and the numbers of a table), ``trajectory.nc``; of
a training run ``loss.csv`` and ``checkpoint.pt``, of a simulation ``standard_error.nc``; ``checksums.json``.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput, csv_text, one_line, read_json
from experiments.runs.configs import config_hash, read_config
from experiments.runs.run_directory import (
    CHECKPOINT_FILE,
    CHECKSUMS_FILE,
    SUMMARY_FILE,
    changed_files,
    is_finished,
    read_checked,
    read_checksums,
)
from experiments.runs.simulation import COMPARED, SimulationConfig
from experiments.tables.numbers import LARGEST, SMALLEST
from gpt.memory import is_out_of_memory
from theory.outcome import RunOutcome
from theory.trajectory import FIELDS, OPTIONAL_FIELDS, Trajectory

if TYPE_CHECKING:
    import xarray as xr

    from gpt.config import TrainConfig

Known = Mapping[str, Mapping[str, Any]] | None  # checksums by file, if they were kept

LOSS_COLUMNS = ("step", "loss")
SUMMARY_NUMBERS = (
    *("final_loss", "final_loss_se", "loss_floor", "tokens_per_second", "mfu", "num_params", "diverged_at_step"),
    *("mean_angular_update", "coordinate_steps_per_second"),
)
AGREEMENT = ("max_abs_z", "max_relative_error", "max_relative_standard_error")
LARGEST_NUMBER = 1e100  # in size, of what a summary says; a run that diverged may have weights of 1e38
UNITS = {
    "weight_rms": "1",
    "angular_update": "rad",
    "relative_update": "1",
    "update_rms": "1",
    "cosine": "1",
    "radial_gradient": "1",
}
ROUNDING = 1e-5  # of a record that was made in float32
RANGES = {
    "angular_update": (0.0, math.pi + ROUNDING),
    "cosine": (-1 - ROUNDING, 1 + ROUNDING),
    "radial_gradient": (-LARGEST, LARGEST),
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
    """Read a finished run; raises `BadInput` with one line for anything that is not one, or not as it was finished.

    The name of the directory has to be that of its config, and every file that is read the one whose checksum was kept.
    """
    config, known = _parts(path)
    is_simulation = isinstance(config, SimulationConfig)
    summary = _summary(path, known)
    if not is_simulation and "final_loss" not in summary:
        raise BadInput(f"{path / SUMMARY_FILE}: has no final_loss")
    trajectory = _read_trajectory(path, "trajectory.nc", known)
    if len(trajectory.steps) and trajectory.steps[-1] >= config.schedule.num_steps:
        raise BadInput(f"{path / 'trajectory.nc'}: is longer than the run of config.json")
    losses = np.empty(0) if is_simulation else _read_losses(path, known)
    if not is_simulation and summary["outcome"] == RunOutcome.COMPLETED and len(losses) != config.schedule.num_steps:
        raise BadInput(f"{path / 'loss.csv'}: holds {len(losses)} of {config.schedule.num_steps} steps")
    run = Run(
        path=path,
        config=config,
        provenance=_provenance(path, known),
        summary=summary,
        trajectory=trajectory,
        standard_error=_read_trajectory(path, "standard_error.nc", known) if is_simulation else None,
        losses=losses,
    )
    _require_name(path, config)
    return run


def read_summary(path: Path) -> dict[str, Any]:
    """``summary.json`` of a finished run whose name, config and files belong together; raises `BadInput`.

    Its outcome is known, its losses are numbers or None.
    """
    config, known = _parts(path)
    summary = _summary(path, known)
    _require_name(path, config)
    return summary


def read_provenance(path: Path) -> dict[str, Any]:
    """``provenance.json`` of a finished run, empty if a run without checksums has none; raises `BadInput`."""
    known = read_checksums(path)
    if known is None and not (path / "provenance.json").exists():
        return {}
    return _provenance(path, known)


def _provenance(path: Path, known: Known) -> dict[str, Any]:
    found = _read_object(path, "provenance.json", known)
    if not isinstance(found.get("conditions", []), list):
        raise BadInput(f"{path / 'provenance.json'}: conditions is not a list")
    return found


def verify_run(path: Path) -> list[str]:
    """What is wrong with a finished run, a line each: any file that changed, whatever in it, and what `load_run` finds.

    Raises `BadInput` for a run of before checksums were kept, whose files nobody can vouch for.
    """
    try:
        known = read_checksums(path)
        if known is not None:
            changed = changed_files(path, known)
            if changed:
                return changed
        load_run(path)
    except BadInput as error:
        return [str(error)]
    if known is None:
        raise BadInput(f"{path}: has no {CHECKSUMS_FILE}: finished before there were any, or removed since")
    return []


def _require_name(path: Path, config: TrainConfig | SimulationConfig) -> None:
    named, _, digest = path.resolve().name.rpartition("-")
    if not named or digest != config_hash(config):
        raise BadInput(f"{path}: not the run of its config.json, whose name ends in -{config_hash(config)}; rename it")


def _parts(path: Path) -> tuple[TrainConfig | SimulationConfig, Known]:
    """The config and the checksums of a finished run that has all its files."""
    if not path.is_dir():
        raise BadInput(f"{path}: not a directory")
    if not is_finished(path):
        held = next((one for one in sorted(path.iterdir()) if is_finished(one)), None)
        raise BadInput(
            f"{path}: not a finished run (no {SUMMARY_FILE})"
            + (f", but a folder of runs: give one of them, as {held}" if held else "")
        )
    known = read_checksums(path)
    config = read_config(_read_object(path, "config.json", known), where=str(path / "config.json"))
    if known is None:
        _say_unchecked(path)
    for name in known or ():
        if name != CHECKPOINT_FILE and not (path / name).is_file():  # a checkpoint is large, and no result
            raise BadInput(f"{path / name}: missing; delete the run to make it again")
    return config, known


def _say_unchecked(path: Path) -> None:
    """Once in a process."""
    if not _SAID:
        _SAID.append(path)
        line = f"note: {path} has no {CHECKSUMS_FILE}, which runs have had since 0.1.0; its files are taken as they are"
        print(line, file=sys.stderr, flush=True)


_SAID: list[Path] = []


def _summary(path: Path, known: Known) -> dict[str, Any]:
    file = path / SUMMARY_FILE
    summary = _read_object(path, SUMMARY_FILE, known)
    if summary.get("outcome") not in tuple(RunOutcome):
        raise BadInput(f"{file}: outcome is not one of {', '.join(RunOutcome)}")
    for key in SUMMARY_NUMBERS:
        if not is_number_or_none(summary.get(key)):
            raise BadInput(f"{file}: {key} is not a number")
    weights = summary.get("final_weight_rms", {})
    if not isinstance(weights, dict) or not all(map(is_number_or_none, weights.values())):
        raise BadInput(f"{file}: final_weight_rms is not an object of numbers")
    groups = summary.get("parameter_groups", [])
    if not isinstance(groups, list) or not all(isinstance(line, str) for line in groups):
        raise BadInput(f"{file}: parameter_groups is not a list of lines")
    if not _is_agreement(summary.get("agreement")):
        raise BadInput(f"{file}: agreement is not that of a simulation with its theory")
    return summary


def is_number_or_none(value: object) -> bool:
    """Whether something of a JSON file is None, or a number of a size that a run may have; not a number is one, too."""
    if value is None or isinstance(value, bool) or not isinstance(value, float | int):
        return value is None
    return abs(value) <= LARGEST_NUMBER or not abs(value) < math.inf


def _is_agreement(found: object) -> bool:
    """None, or the numbers that a report reads of `experiments.runs.simulation.Agreement`."""
    if found is None or found == {}:
        return True
    bias = found.get("mean_relative_bias") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(bias, dict):
        return False
    numbers = [*map(found.get, AGREEMENT), *map(bias.get, COMPARED)]
    return all(number is not None and is_number_or_none(number) for number in numbers)


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


def to_netcdf(trajectory: Trajectory) -> bytes:
    """The content of ``trajectory.nc``; made in memory, so that a full disk is the same error for every file."""
    return bytes(to_xarray(trajectory).to_netcdf(engine="h5netcdf"))


def from_netcdf(content: bytes) -> Trajectory:
    """Inverse of `to_netcdf`. Raises anything for anything else: HDF5 has no one word for a damaged file."""
    import h5py

    with h5py.File(io.BytesIO(content)) as file:
        fields = (*FIELDS, *(field for field in OPTIONAL_FIELDS if field in file))
        if any(file[field].nbytes > len(content) for field in ("step", "matrix", *fields)):
            raise ValueError("says that it holds more than it has bytes")
        if other := [field for field in ("step", *fields) if file[field].dtype.kind not in "iuf"]:
            raise ValueError(f"{other[0]} does not hold real numbers")
        if file["step"].dtype.kind == "f":
            raise ValueError("step does not hold whole numbers")
        steps, matrices = file["step"][:].astype(np.int64), tuple(file["matrix"].asstr()[:].tolist())
        if not matrices or (steps < 0).any():
            raise ValueError("holds no matrix" if not matrices else "a step below 0")
        return Trajectory(
            steps=steps,
            matrices=matrices,
            **{field: _possible(field, file[field][:].astype(np.float64)) for field in fields},
        )


def _possible(field: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The records of a field, without denormals. ValueError for finite ones that no run has, and overflow later."""
    low, high = RANGES.get(field, (0.0, LARGEST))
    outside = np.isfinite(values) & ((values < low) | (values > high))
    if outside.any():
        raise ValueError(f"{field} of {values[outside][0]:.3g}, expected from {low:.4g} to {high:.4g}")
    return np.where(np.abs(values) < SMALLEST, 0.0, values)


def losses_to_csv(losses: NDArray[np.float64]) -> str:
    """The content of ``loss.csv``: nats per token by step, every digit kept."""
    return csv_text(({"step": step, "loss": loss} for step, loss in enumerate(losses.tolist())), LOSS_COLUMNS)


def _read_losses(path: Path, known: Known) -> NDArray[np.float64]:
    try:
        header, *rows = csv.reader(read_checked(path, "loss.csv", known).decode().splitlines())
        if tuple(header) != LOSS_COLUMNS:
            raise ValueError(f"the first line is not {','.join(LOSS_COLUMNS)}")
        for place, row in enumerate(rows):
            if len(row) != 2 or row[0] != str(place):
                raise ValueError(f"the row of step {place} is {','.join(row)[:60]!r}")
        return np.array([float(loss) for _, loss in rows])
    except BadInput:
        raise
    except (ValueError, csv.Error) as error:
        raise BadInput(f"{path / 'loss.csv'}: not a loss record ({one_line(error)})") from None


def _read_trajectory(path: Path, name: str, known: Known) -> Trajectory:
    content = read_checked(path, name, known)
    try:
        return from_netcdf(content)
    except Exception as error:  # what HDF5 says of a damaged file can be of any kind
        if isinstance(error, MemoryError) or (known is not None and is_out_of_memory(error)):
            raise
        raise BadInput(f"{path / name}: not a trajectory ({one_line(error)})") from None


def _read_object(path: Path, name: str, known: Known) -> dict[str, Any]:
    read_checked(path, name, known)
    data = read_json(path / name)
    if not isinstance(data, dict):
        raise BadInput(f"{path / name}: expected an object")
    return data
