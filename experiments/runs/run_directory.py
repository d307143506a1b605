"""A run directory is the unit of record: everything about one run, complete or not there at all.

A run is produced under a hidden temporary name beside its final one and renamed when every file is written, so
that a directory under a final name is a finished run whatever happened to the process. Two processes that want
the same run take turns by a lock on the temporary directory; the second finds it done.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput, read_json, to_json
from experiments.runs.configs import config_from_dict, config_hash, config_to_dict
from experiments.runs.simulation import SimulationConfig
from theory.outcome import RunOutcome
from theory.trajectory import FIELDS, Trajectory

if TYPE_CHECKING:
    import xarray as xr

    from gpt.config import TrainConfig

OUTCOMES = tuple(RunOutcome)
LOSS_HEADER = "step,loss"
UNITS = {
    "weight_rms": "1",
    "angular_update": "rad",
    "relative_update": "1",
    "update_rms": "1",
    "cosine": "1",
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
    def outcome(self) -> str:
        return str(self.summary["outcome"])


def run_path(study: Path, label: str, config: object) -> Path:
    """Where the finished run of this config lies: ``<study>/<label>-<config hash>``."""
    return study / f"{label}-{config_hash(config)}"


def is_finished(path: Path) -> bool:
    return (path / "summary.json").is_file()


@contextlib.contextmanager
def claim(final: Path) -> Iterator[Path | None]:
    """Yield the locked temporary directory in which to produce the run ``final``; None if it is finished.

    Blocks while another process produces the same run. Raises `BadInput` if ``final`` is something else than a
    finished run, or cannot be written.
    """
    partial = partial_path(final)
    descriptor = None
    try:
        while descriptor is None and not is_finished(final):
            if final.exists() and not is_finished(final):
                raise BadInput(f"{final}: in the way of a run, but not a finished one (no summary.json); move it")
            try:
                partial.mkdir(parents=True, exist_ok=True)
                descriptor = _lock(partial)
            except OSError as error:
                raise BadInput(f"{final.parent}: cannot hold runs ({error.strerror})") from None
        if is_finished(final) and partial.is_dir():
            with contextlib.suppress(OSError):  # what we made just after another process had given its own away
                partial.rmdir()
        yield None if is_finished(final) else partial
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_claimed(final: Path) -> bool:
    """Whether a process produces this run right now. It may end the moment after."""
    try:
        descriptor = os.open(partial_path(final), os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(partial: Path) -> int | None:
    """An open, locked directory; None if it was renamed or removed before we had it."""
    try:
        descriptor = os.open(partial, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(descriptor), os.stat(partial)):
            return descriptor
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def partial_path(final: Path) -> Path:
    return final.parent / f".{final.name}.partial"


def publish(partial: Path, final: Path, files: dict[str, str], datasets: dict[str, Trajectory]) -> None:
    """Write text files and trajectories into ``partial``, flush them to disk, give it its final name."""
    for name, trajectory in datasets.items():
        # through memory, so that a full disk is the same error for every file
        (partial / name).write_bytes(to_xarray(trajectory).to_netcdf(engine="h5netcdf"))
    for name, text in files.items():
        (partial / name).write_text(text, encoding="utf-8")
    for path in partial.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    os.replace(partial, final)


def load_run(path: Path) -> Run:
    """Read a finished run; raises `BadInput` with one line for anything that is not one."""
    if not path.is_dir():
        raise BadInput(f"{path}: not a directory")
    if not is_finished(path):
        raise BadInput(f"{path}: not a finished run (no summary.json)")
    config = read_config(read_json(path / "config.json"), where=str(path / "config.json"))
    is_simulation = isinstance(config, SimulationConfig)
    summary = _read_object(path / "summary.json")
    if summary.get("outcome") not in OUTCOMES:
        raise BadInput(f"{path / 'summary.json'}: outcome is not one of {', '.join(OUTCOMES)}")
    for key in ("final_loss", "final_loss_se", "tokens_per_second"):
        if not isinstance(summary.get(key), (int, float, type(None))):
            raise BadInput(f"{path / 'summary.json'}: {key} is not a number")
    trajectory = _load_trajectory(path / "trajectory.nc")
    if len(trajectory.steps) and trajectory.steps[-1] >= config.schedule.num_steps:
        raise BadInput(f"{path / 'trajectory.nc'}: is longer than the run of config.json")
    losses = np.empty(0) if is_simulation else _load_losses(path / "loss.csv")
    if not is_simulation and summary["outcome"] == "completed" and len(losses) != config.schedule.num_steps:
        raise BadInput(f"{path / 'loss.csv'}: holds {len(losses)} of {config.schedule.num_steps} steps")
    return Run(
        path=path,
        config=config,
        provenance=_read_object(path / "provenance.json"),
        summary=summary,
        trajectory=trajectory,
        standard_error=_load_trajectory(path / "standard_error.nc") if is_simulation else None,
        losses=losses,
    )


def find_runs(directory: Path) -> list[Path]:
    """Finished runs below a directory, sorted; raises `BadInput` if it cannot be read."""
    if not directory.is_dir():
        raise BadInput(f"{directory}: not a directory")
    if not os.access(directory, os.R_OK | os.X_OK):
        raise BadInput(f"{directory}: cannot be read (permission denied)")
    candidates = [directory, *sorted(path.parent for path in directory.rglob("summary.json"))]
    return sorted({path for path in candidates if is_finished(path) and not _is_hidden(path, directory)})


def read_config(data: object, *, where: str) -> TrainConfig | SimulationConfig:
    """A config with its ``kind``, as stored in ``config.json``; raises `BadInput`."""
    from gpt.config import TrainConfig

    kinds: dict[str, type[TrainConfig] | type[SimulationConfig]] = {
        "train": TrainConfig,
        "simulation": SimulationConfig,
    }
    if not isinstance(data, dict):
        raise BadInput(f"{where}: expected an object")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise BadInput(f"{where}: kind {kind!r} is not one of {', '.join(kinds)}")
    return config_from_dict(kinds[kind], {k: v for k, v in data.items() if k != "kind"}, where=where)


def write_config(config: TrainConfig | SimulationConfig) -> str:
    """The text of ``config.json``; `read_config` turns it back into an equal config."""
    kind = "simulation" if isinstance(config, SimulationConfig) else "train"
    return to_json({"kind": kind, **config_to_dict(config)}, indent=2)


def provenance(*, seed: int, fingerprint: str | None) -> dict[str, Any]:
    """What it takes to tell two runs of one config apart."""
    packages = ("torch", "numpy", "scipy", "numba", "xarray")
    return {
        "commit": _git_commit(),
        "versions": {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in packages}},
        "machine": {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
        "data_fingerprint": fingerprint,
        "seed": seed,
        "command": sys.argv,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def to_xarray(trajectory: Trajectory) -> xr.Dataset:
    """The trajectory as a labelled dataset with dimensions (step, matrix)."""
    import xarray as xr

    return xr.Dataset(
        {field: (("step", "matrix"), getattr(trajectory, field), {"units": UNITS[field]}) for field in FIELDS},
        coords={"step": trajectory.steps, "matrix": list(trajectory.matrices)},
    )


def from_xarray(dataset: xr.Dataset) -> Trajectory:
    """Inverse of `to_xarray`."""
    return Trajectory(
        steps=dataset["step"].to_numpy().astype(np.int64),
        matrices=tuple(str(name) for name in dataset["matrix"].to_numpy()),
        **{field: dataset[field].to_numpy().astype(np.float64) for field in FIELDS},
    )


def losses_to_csv(losses: NDArray[np.float64]) -> str:
    return f"{LOSS_HEADER}\n" + "".join(f"{step},{loss!r}\n" for step, loss in enumerate(losses.tolist()))


def _load_losses(path: Path) -> NDArray[np.float64]:
    try:
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        if header != LOSS_HEADER:
            raise ValueError(f"the first line is not {LOSS_HEADER!r}")
        return np.array([float(line.split(",")[1]) for line in lines])
    except (OSError, ValueError, IndexError) as error:
        raise BadInput(f"{path}: not a loss record ({' '.join(str(error).split())})") from None


def _load_trajectory(path: Path) -> Trajectory:
    import xarray as xr

    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return from_xarray(dataset.load())
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{path}: not a trajectory ({reason})") from None


def _read_object(path: Path) -> dict[str, Any]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise BadInput(f"{path}: expected an object")
    return data


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _git_commit() -> str | None:
    """The commit of the code that ran, with ``+changes`` behind it if the files differ from it."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "--no-optional-locks", "-C", str(here), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
