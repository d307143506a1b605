"""A table's learning rates as mean angles: the effective learning rate that AdamW's norm makes of them.

The angle per step, averaged over the run, is that of `theory.optimal_lr.mean_angle`: scale-invariant matrices, gradient
noise, transient of the norm included. AdamH's learning rate is its angle already. Where the norm forgets its start only
by growing, the angle hardly depends on the learning rate; an optimum in angle is then as hard to find as one in rate.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from experiments.serialize import BadInput
from experiments.table import RunTable
from theory import SCHEDULES, InvalidParameter
from theory.optimal_lr import Setting, mean_angle
from theory.parameters import require_number

EFFECTIVE_OPTIMIZERS = ("adamw", "adamh")
SHAPE_STEPS = 100_000  # of the schedule that is stretched to each run


@dataclass(frozen=True, kw_only=True)
class AngleOf:
    """How a run's learning rate makes its angles, besides what the table says.

    schedule : one of `theory.SCHEDULES`. warmup_fraction : of the run, in [0, 1). beta1 : in [0, 1).
    Raises `InvalidParameter`.
    """

    schedule: str
    warmup_fraction: float = 0.01
    beta1: float = 0.9

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InvalidParameter("schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        require_number("warmup_fraction", self.warmup_fraction, at_least=0, below=0.8)
        require_number("beta1", self.beta1, at_least=0, below=1)


def in_mean_angle(runs: RunTable, how: AngleOf, *, adamh: bool = False) -> RunTable:
    """The table with mean angles per step, in radians, in place of learning rates.

    Needs columns or constants ``weight_decay``, ``initial_rms`` and ``num_steps``, or ``num_tokens`` and ``batch_size``
    (tokens per step); raises `BadInput` where one is missing.
    """
    if adamh:
        return runs
    numbers = runs.numbers
    missing = [name for name in ("weight_decay", "initial_rms") if name not in numbers]
    if "num_steps" not in numbers and not {"num_tokens", "batch_size"} <= set(numbers):
        missing.append("num_steps, or num_tokens and batch_size in tokens")
    if missing:
        raise BadInput(f"--effective: needs {'; '.join(missing)} (a column, or --constant NAME=VALUE)")
    steps = numbers["num_steps"] if "num_steps" in numbers else numbers["num_tokens"] / numbers["batch_size"]
    if steps.min() < 1:
        raise BadInput(f"--effective: a run of {steps.min():.3g} steps: batch_size has to be in tokens")
    schedule = SCHEDULES[how.schedule](num_steps=SHAPE_STEPS, warmup_steps=round(how.warmup_fraction * SHAPE_STEPS))
    setting = Setting(
        num_params=1.0,
        num_tokens=steps,
        tokens_per_step=1.0,
        schedule=schedule,
        weight_decay=numbers["weight_decay"],
        initial_rms=numbers["initial_rms"],
        beta1=how.beta1,
    )
    return replace(
        runs, numbers={**numbers, "learning_rate": np.asarray(mean_angle(setting, numbers["learning_rate"]))}
    )
