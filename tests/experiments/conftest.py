"""Small real runs, made once per session, for the tests that read run directories."""

from pathlib import Path

import pytest

from experiments.runs.run_files import Run
from experiments.runs.simulation import SimulationConfig
from experiments.studies.validate import produce
from gpt.config import TrainConfig, preset
from theory import AdamH, AdamW, Constant

SCHEDULE = Constant(num_steps=60, warmup_steps=5)
ADAMW = AdamW(learning_rate=0.03, weight_decay=2.0)
ADAMH = AdamH(learning_rate=0.01)


def tiny_config(**changes: object) -> TrainConfig:
    settings: dict[str, object] = {
        "model": preset("cpu-16", "scale-invariant"),
        "optimizer": ADAMW,
        "non_matrix_learning_rate": 3e-3,
        "schedule": SCHEDULE,
        "batch_size": 2,
        "record_every": 5,
        "eval_batches": 2,
        "device": "cpu",
    }
    return TrainConfig(**{**settings, **changes})  # type: ignore[arg-type]


def tiny_simulation(**changes: object) -> SimulationConfig:
    settings: dict[str, object] = {
        "optimizer": ADAMW,
        "schedule": SCHEDULE,
        "initial_rms": 0.25,
        "dim": 256,
        "num_replicas": 8,
        "record_every": 5,
    }
    return SimulationConfig(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """A directory with four training runs and two simulations."""
    directory = tmp_path_factory.mktemp("study")
    training = [
        tiny_config(),
        tiny_config(seed=1),
        tiny_config(optimizer=ADAMH),
        tiny_config(model=preset("cpu-16", "gpt2")),
    ]
    runs = produce(directory, [tiny_simulation(), tiny_simulation(optimizer=ADAMH)], training, num_workers=1)
    return directory, runs
