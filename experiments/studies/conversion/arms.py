"""The settings of the study, and the arms that are made of a run of AdamW."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from experiments.runs.run_files import Run
from gpt.arms import converted
from gpt.config import TrainConfig, preset
from theory import WSD, AdamH, AdamW, Cosine, Linear, Schedule, adamh
from theory.networks import SCALE_INVARIANT, DirectionHistory
from theory.predict import predict_trajectory

SHORT_RECORDS = 10  # steps between the records of an arm that nothing is made of
TWIN_FACTOR = 1 + 1e-6

# The direction of AdamH over white noise in "late", seed 20, at constant norm, averaged over a few steps
# (docs/conversion/causes.csv): a signal that lasts, then the swing of later training, .847 over steps 160 to 640.
LATER_RATIO = 0.85
HISTORY = DirectionHistory(
    steps=(0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 30, 40, 60, 80, 100, 120, 140),
    ratios=(1.0, 1.23, 1.44, 1.61, 1.72, 1.87, 2.0, 2.17, 2.23, 2.12, 1.71, 1.42, 1.34, 1.32, 1.16, 0.95, 0.85),
)
BY_RATIO = dataclasses.replace(SCALE_INVARIANT, direction_ratio=LATER_RATIO)
BY_HISTORY = dataclasses.replace(SCALE_INVARIANT, direction_ratio=1.0, direction_history=HISTORY)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What AdamW is run with.

    initial_rms : of every block matrix. record_every : of AdamW. arms : beside adamw. rule : by which it is decided
    whether conversions are borne out, as the study says; None where that is not asked.
    """

    preset: str
    batch_size: int
    learning_rate: float
    weight_decay: float
    initial_rms: float
    schedule: Schedule
    record_every: int
    seeds: range
    arms: tuple[str, ...]
    rule: Literal["power", "interval"] | None = None


def _short(learning_rate: float, weight_decay: float, initial_rms: float) -> Setting:
    return Setting(
        preset="cpu-16",
        batch_size=8,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        initial_rms=initial_rms,
        schedule=Cosine(num_steps=300, warmup_steps=15),
        record_every=1,
        seeds=range(5),
        arms=("twin", "converted", "measured", "unconverted"),
    )


SETTINGS = {
    "fast": _short(0.02, 0.25, 0.05),
    "calm": _short(0.005, 0.5, 0.03),
    "late": Setting(
        preset="cpu-32",
        batch_size=16,
        learning_rate=0.02,
        weight_decay=0.5,
        initial_rms=2.7,
        schedule=Linear(num_steps=800, warmup_steps=40),
        record_every=10,
        seeds=range(5),
        arms=("twin", "converted", "unconverted", "mean"),
        rule="power",
    ),
    "settled": Setting(
        preset="cpu-32",
        batch_size=8,
        learning_rate=0.025,
        weight_decay=0.5,
        initial_rms=6.0,
        schedule=WSD(num_steps=600, warmup_steps=30),
        record_every=1,
        seeds=range(10, 20),
        arms=("twin", "converted", "ratio", "history", "measured", "unconverted"),
        rule="interval",
    ),
}


def original(seed: int, setting: Setting) -> TrainConfig:
    return TrainConfig(
        model=preset(setting.preset, "scale-invariant"),
        optimizer=AdamW(learning_rate=setting.learning_rate, weight_decay=setting.weight_decay),
        non_matrix_learning_rate=1e-2,
        schedule=setting.schedule,
        batch_size=setting.batch_size,
        seed=seed,
        dtype="float64",
        device="cpu",
        record_every=setting.record_every,
        block_rms=setting.initial_rms,
    )


def arms_of(config: TrainConfig, recorded: Run | None, names: Sequence[str]) -> dict[str, TrainConfig]:
    """Arms of a run by name; ``measured`` takes a record of every step, the others none."""
    config = dataclasses.replace(config, record_every=SHORT_RECORDS)
    return {name: _arm(name, config, recorded) for name in names}


def _arm(name: str, config: TrainConfig, recorded: Run | None) -> TrainConfig:
    target = _adamh(config, 1e-3)  # whose own rate does not matter
    match name:
        case "twin":
            return dataclasses.replace(config, initial_factor=TWIN_FACTOR)
        case "converted":
            return converted(config, target)
        case "ratio":
            return converted(config, target, network=BY_RATIO)
        case "history":
            return converted(config, target, network=BY_HISTORY)
        case "measured":
            assert recorded is not None
            return converted(config, target, recorded.trajectory.angular_update.mean(axis=1))
        case "unconverted":
            return dataclasses.replace(config, optimizer=_adamh(config, _matching_rate(config)))
        case "mean":
            return _at_mean_angle(config)
    raise ValueError(f"no arm {name}")


def _at_mean_angle(config: TrainConfig) -> TrainConfig:
    """AdamH's angle goes nearly in proportion to its rate."""
    matching = _adamh(config, _matching_rate(config))
    sums = [
        float(
            predict_trajectory(
                spec, config.schedule, initial_rms=config.block_rms or 1.0, finite_beta2=True
            ).angular_update.sum()
        )
        for spec in (config.optimizer, matching)
    ]
    return dataclasses.replace(config, optimizer=_adamh(config, matching.learning_rate * sums[0] / sums[1]))


def _adamh(config: TrainConfig, learning_rate: float) -> AdamH:
    spec = config.optimizer
    assert isinstance(spec, AdamW)
    return AdamH(learning_rate=learning_rate, beta1=spec.beta1, beta2=spec.beta2, eps=spec.eps)


def _matching_rate(config: TrainConfig) -> float:
    spec = config.optimizer
    assert isinstance(spec, AdamW)
    return float(adamh.matching_learning_rate(1 - spec.learning_rate * spec.weight_decay, spec.beta1))
