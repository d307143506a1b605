"""Produce one run, of training or of simulation, in its run directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.files import to_json, write_whole
from experiments.runs import run_directory
from experiments.runs.configs import config_hash, config_text
from experiments.runs.progress import progress_writer
from experiments.runs.provenance import provenance
from experiments.runs.run_files import Run, load_run, losses_to_csv, to_netcdf
from experiments.runs.simulation import SimulationConfig, compare_with_theory, run_simulation, theory_of
from theory import InvalidParameter, RunOutcome, Trajectory

if TYPE_CHECKING:
    from gpt.config import TrainConfig
    from gpt.replay import Recording
    from gpt.train import TrainResult

CHECKPOINT_EVERY = 250
SAFE_PATH = {"PYTHONSAFEPATH": "1"}  # in the environment of every process that is started: no code of its folder runs


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


def train_run(
    job: Job,
    on_progress: Callable[[int, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    *,
    on_start: Callable[[int], None] | None = None,
    on_evaluation: Callable[[int, int], None] | None = None,
) -> Path:
    """Train into the run directory of the job, or find it finished there; a half-finished run goes on.

    ``should_stop`` is asked now and then; True saves a checkpoint and raises KeyboardInterrupt. The other calls are
    those of `gpt.train.train`.

    Of several processes that ``torchrun`` started the first writes; the others compute, and return before it is done.
    """
    from gpt.distributed import is_first_process

    final = job.path
    if not is_first_process():
        if not run_directory.is_finished(final):
            _train(job, run_directory.partial_path(final))
        return final
    with run_directory.claim(final) as partial:
        if partial is None:
            return final
        write_whole(partial / "config.json", config_text(job.config).encode())
        try:
            result = _train(
                job,
                partial,
                on_progress=progress_writer(partial, on_progress),
                should_stop=should_stop,
                on_start=on_start,
                on_evaluation=on_evaluation,
            )
        except InvalidParameter:
            if not list(partial.glob("checkpoint*")):
                shutil.rmtree(partial)
            raise
        if result.outcome is RunOutcome.STOPPED:
            raise KeyboardInterrupt
        summary = {
            "outcome": result.outcome,
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
        origin = provenance(seed=job.config.seed, fingerprint=result.fingerprint, conditions=result.conditions)
        files = {
            "trajectory.nc": to_netcdf(result.trajectory),
            "loss.csv": losses_to_csv(result.losses).encode(),
            "config.json": config_text(job.config).encode(),
            "provenance.json": to_json(origin, indent=2).encode(),
            run_directory.SUMMARY_FILE: to_json(summary, indent=2).encode(),
        }
        ended = result.outcome is RunOutcome.COMPLETED or (partial / run_directory.CHECKPOINT_FILE).exists()
        saved = [run_directory.CHECKPOINT_FILE] if ended else []
        run_directory.publish(partial, final, files, further=saved)
    return final


def _train(job: Job, partial: Path, **calls: Any) -> TrainResult:
    from gpt.train import train

    return train(
        job.config,
        recording=None if job.recording is None else load_recording(load_run(job.recording)),
        checkpoint=partial / run_directory.CHECKPOINT_FILE,
        checkpoint_every=job.checkpoint_every,
        device_peak_flops=job.device_peak_flops,
        **calls,
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


def load_recording(run: Run) -> Recording:
    """What every step of a run did to its matrices; raises `InvalidParameter` if not every step was recorded."""
    from gpt.replay import recording_of

    return recording_of(run.trajectory, run.summary.get("final_weight_rms", {}), len(run.losses))


def simulation_label(config: SimulationConfig) -> str:
    """A readable name: optimizer, rate, decay, beta2, initial RMS."""
    optimizer = config.optimizer
    told = {"lr": "learning_rate", "wd": "weight_decay", "beta2_": "beta2"}
    parts = [f"{short}{getattr(optimizer, name):g}" for short, name in told.items() if hasattr(optimizer, name)]
    return "-".join(["simulation", optimizer.name, *parts, f"rms{config.initial_rms:.3g}"])


def simulate_run(study: Path, config: SimulationConfig) -> Path:
    """Simulate into a run directory, or find it finished there, by whatever label it went when it was made."""
    final = run_directory.run_path(study, simulation_label(config), config)
    made = [path for path in study.glob(f"simulation-*-{config_hash(config)}") if run_directory.is_finished(path)]
    if made:
        return made[0]
    with run_directory.claim(final) as partial:
        if partial is None:
            return final
        simulation = run_simulation(config)
        agreement = None
        if simulation.outcome is RunOutcome.COMPLETED:
            predicted = theory_of(config, simulation.trajectory.steps)
            agreement = compare_with_theory(config, predicted, simulation.trajectory, simulation.standard_error)
        summary = {
            "outcome": simulation.outcome,
            "diverged_at_step": simulation.diverged_at_step,
            "coordinate_steps_per_second": simulation.coordinate_steps_per_second,
            "agreement": agreement,
        }
        files = {
            "trajectory.nc": to_netcdf(simulation.trajectory),
            "standard_error.nc": to_netcdf(simulation.standard_error),
            "config.json": config_text(config).encode(),
            "provenance.json": to_json(provenance(seed=config.seed, fingerprint=None), indent=2).encode(),
            run_directory.SUMMARY_FILE: to_json(summary, indent=2).encode(),
        }
        run_directory.publish(partial, final, files)
    return final
