"""The main job: closed form, simulation and real training of the same settings, compared.

Question    Do the closed forms for norm and rotation hold on real training runs, with no constant fitted?
Hypothesis  On exactly scale-invariant weights they hold with no fitted constant; on the classic GPT-2 they hold
            roughly, since a radial gradient acts there too.
Method      Three AdamW settings of one product learning rate x decay and one of AdamH, constant learning rate
            after a short warmup, three seeds on ``scale-invariant`` and one on ``gpt2``; the same settings
            simulated; `agreement` states how a trajectory is read.
Decision    The limits in `experiments.agreement.predictions`, as medians over matrices and seeds for each setting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments.agreement.measure import ComparedOptimizer
from experiments.runs.local import run_jobs
from experiments.runs.produce import Job, simulate_run, training_label
from experiments.runs.progress import bar
from experiments.runs.run_files import Run, load_run
from experiments.runs.simulation import SimulationConfig
from gpt.config import Architecture, Device, TrainConfig, preset
from gpt.data import load_text
from theory import AdamH, AdamW, Constant

SETTINGS: tuple[ComparedOptimizer, ...] = (
    AdamW(learning_rate=1e-2, weight_decay=0.3),
    AdamW(learning_rate=3e-3, weight_decay=1.0),
    AdamW(learning_rate=3e-2, weight_decay=0.1),
    AdamH(learning_rate=0.01),
)
SCHEDULE = Constant(num_steps=1600, warmup_steps=50)
SEEDS: dict[Architecture, tuple[int, ...]] = {"scale-invariant": (0, 1, 2), "gpt2": (0,)}
PRESET = "cpu-32"
NON_MATRIX_LEARNING_RATE = 1e-2  # the best of 1e-3, 3e-3, 1e-2 by loss
RECORD_EVERY = 10


def training_configs(device: Device = "auto") -> list[TrainConfig]:
    """The 16 runs, longest first so that the cores finish together."""
    return [
        TrainConfig(
            model=preset(PRESET, architecture),
            optimizer=optimizer,
            non_matrix_learning_rate=NON_MATRIX_LEARNING_RATE,
            schedule=SCHEDULE,
            seed=seed,
            device=device,
            record_every=RECORD_EVERY,
        )
        for architecture, seeds in SEEDS.items()
        for optimizer in SETTINGS
        for seed in seeds
    ]


def simulation_configs() -> list[SimulationConfig]:
    """Each setting as trained, to draw beside the runs; each setting at beta2 = 0.999, to judge the theory.

    A million coordinates bring the standard error of an RMS below 0.1 %.
    """
    drawn = [
        _simulation(optimizer, initial_rms=preset(PRESET, architecture).init_rms, num_replicas=128)
        for architecture in SEEDS
        for optimizer in SETTINGS
    ]
    judged = [
        _simulation(dataclasses.replace(optimizer, beta2=0.999), initial_rms=0.02, num_replicas=1024)
        for optimizer in SETTINGS
    ]
    return [*drawn, *judged]


def _simulation(optimizer: ComparedOptimizer, *, initial_rms: float, num_replicas: int) -> SimulationConfig:
    return SimulationConfig(
        optimizer=optimizer,
        schedule=SCHEDULE,
        initial_rms=initial_rms,
        dim=1024,
        num_replicas=num_replicas,
        record_every=RECORD_EVERY,
    )


def run_validation(directory: Path, *, device: Device = "auto", num_workers: int | None = None) -> list[Run]:
    """Simulate and train whatever is not finished in ``directory`` yet; returns all runs of the study."""
    return produce(directory, simulation_configs(), training_configs(device), num_workers=num_workers)


def produce(
    directory: Path,
    simulations: Sequence[SimulationConfig],
    training: Sequence[TrainConfig],
    *,
    num_workers: int | None = None,
) -> list[Run]:
    """Produce the runs of a study, simulations first, each with a progress bar on stderr."""
    paths = []
    for config in bar(iterable=simulations, desc="simulations", unit="run"):
        paths.append(simulate_run(directory, config))
    if training:
        load_text(training[0].source)  # build the text once, before several processes ask for it
    trained = run_jobs([Job(directory, training_label(config), config) for config in training], num_workers=num_workers)
    return [load_run(path) for path in [*trained, *paths]]
