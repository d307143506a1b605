"""Produce one run, of training or of simulation, in its run directory."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.files import to_json
from experiments.runs import run_directory
from experiments.runs.simulation import SimulationConfig, compare_with_theory, run_simulation
from theory import InvalidParameter, Trajectory

if TYPE_CHECKING:
    from gpt.config import TrainConfig
    from gpt.replay import Recording
    from gpt.train import TrainResult

CHECKPOINT_EVERY = 250
PROGRESS_FILE = "progress"


@dataclass(frozen=True)
class Job:
    """A training run to be produced in ``study`` under ``label``; ``recording`` is a run whose steps it replays.

    The last two are of no consequence for the result.
    """

    study: Path
    label: str
    config: TrainConfig
    recording: Path | None = None
    checkpoint_every: int = CHECKPOINT_EVERY
    device_peak_flops: float | None = None

    @property
    def path(self) -> Path:
        return run_directory.run_path(self.study, self.label, self.config)


def training_label(config: TrainConfig) -> str:
    """A readable name: architecture, width, optimizer, rate, decay, seed."""
    optimizer = config.optimizer
    decay = f"-wd{optimizer.weight_decay:g}" if hasattr(optimizer, "weight_decay") else ""
    return (
        f"{config.model.architecture}-{config.model.d_model}-{optimizer.name}"
        f"-lr{optimizer.learning_rate:g}{decay}-seed{config.seed}"
    )


def train_run(job: Job, on_progress: Callable[[int, float], None] | None = None) -> Path:
    """Train into the run directory of the job, or find it finished there; a half-finished run goes on.

    Of several processes that ``torchrun`` started the first writes; the others compute, and return before it is done.
    """
    from gpt.distributed import is_first_process

    final = job.path
    if not is_first_process():
        if not run_directory.is_finished(final):
            _train(job, run_directory.partial_path(final), None)
        return final
    with run_directory.claim(final) as partial:
        if partial is None:
            return final
        (partial / "config.json").write_text(run_directory.write_config(job.config), encoding="utf-8")
        try:
            result = _train(job, partial, _progress_writer(partial, on_progress))
        except InvalidParameter:
            if not list(partial.glob("checkpoint*")):
                shutil.rmtree(partial)
            raise
        summary = {
            "outcome": result.outcome.value,
            "final_loss": result.final_loss,
            "final_loss_se": result.final_loss_se,
            "loss_floor": loss_floor(job.config),
            "tokens_per_second": result.tokens_per_second,
            "mfu": result.mfu,
            "num_params": result.num_params,
            "diverged_at_step": result.diverged_at_step,
            "parameter_groups": list(result.groups),
            "final_weight_rms": result.final_weight_rms,
            "mean_angular_update": mean_angular_update(result.trajectory),
        }
        for leftover in (partial / PROGRESS_FILE, *partial.glob("checkpoint.p*.*")):
            leftover.unlink(missing_ok=True)
        run_directory.publish(
            partial,
            final,
            files={
                "loss.csv": run_directory.losses_to_csv(result.losses),
                "provenance.json": to_json(
                    run_directory.provenance(seed=job.config.seed, fingerprint=result.fingerprint), indent=2
                ),
                "summary.json": to_json(summary, indent=2),
            },
            datasets={"trajectory.nc": result.trajectory},
        )
    return final


def _train(job: Job, partial: Path, on_progress: Callable[[int, float], None] | None) -> TrainResult:
    from gpt.train import train

    return train(
        job.config,
        recording=None if job.recording is None else load_recording(run_directory.load_run(job.recording)),
        checkpoint=partial / "checkpoint.pt",
        checkpoint_every=job.checkpoint_every,
        on_progress=on_progress,
        device_peak_flops=job.device_peak_flops,
    )


def mean_angular_update(trajectory: Trajectory) -> float | None:
    """Angle per step in radians, mean over the recorded steps, median over the block matrices."""
    if not trajectory.angular_update.size:
        return None
    mean = float(np.median(trajectory.angular_update.mean(axis=0)))
    return mean if np.isfinite(mean) else None


def loss_floor(config: TrainConfig) -> float | None:
    """The smallest loss that any model can have on the source, where that is known."""
    if config.source != "zipf":
        return None
    from gpt import zipf

    return zipf.loss_floor(config.model.context_length)


def load_recording(run: run_directory.Run) -> Recording:
    """What every step of a run did to its matrices; raises `InvalidParameter` if not every step was recorded."""
    from gpt.replay import recording_of

    return recording_of(run.trajectory, run.summary.get("final_weight_rms", {}), len(run.losses))


def simulation_run(study: Path, label: str, config: SimulationConfig) -> Path:
    """Simulate into a run directory, or find it finished there."""
    final = run_directory.run_path(study, label, config)
    with run_directory.claim(final) as partial:
        if partial is None:
            return final
        simulation = run_simulation(config)
        completed = simulation.outcome.value == "completed"
        agreement = compare_with_theory(config, simulation.trajectory, simulation.standard_error) if completed else None
        run_directory.publish(
            partial,
            final,
            files={
                "config.json": run_directory.write_config(config),
                "provenance.json": to_json(run_directory.provenance(seed=config.seed, fingerprint=None), indent=2),
                "summary.json": to_json(
                    {
                        "outcome": simulation.outcome.value,
                        "diverged_at_step": simulation.diverged_at_step,
                        "coordinate_steps_per_second": simulation.coordinate_steps_per_second,
                        "agreement": agreement,
                    },
                    indent=2,
                ),
            },
            datasets={"trajectory.nc": simulation.trajectory, "standard_error.nc": simulation.standard_error},
        )
    return final


def _progress_writer(partial: Path, on_progress: Callable[[int, float], None] | None) -> Callable[[int, float], None]:
    """Report the step to the caller, and to other processes through a small file, at most twice a second."""
    last = 0.0

    def report(step: int, loss: float) -> None:
        nonlocal last
        if on_progress is not None:
            on_progress(step, loss)
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            with contextlib.suppress(OSError):  # a full disk ends a run when its results cannot be written, not here
                (partial / PROGRESS_FILE).write_text(str(step))

    return report
