"""A table's learning rates as mean angles: the effective learning rate that AdamW's norm makes of them.

The angle per step, averaged over the run, is that of `theory.angle_law.mean_angle`: scale-invariant matrices, gradient
noise, transient of the norm included. AdamH's learning rate is its angle already. Where the norm forgets its start only
by growing, the angle hardly depends on the learning rate; an optimum in angle is then as hard to find as one in rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.files import BadInput
from experiments.tables.run_table import RunTable
from theory import SCHEDULES, InvalidParameter, Schedule
from theory.angle_law import Setting, mean_angle
from theory.checks import require_number
from theory.optimal_lr import HIGHEST, LOWEST

Array = NDArray[np.float64]

EFFECTIVE_OPTIMIZERS = ("adamw", "adamh")
SHAPE_STEPS = 100_000  # of the schedule that is stretched to each run
INVERSE_GRID = 400  # learning rates, over at most twelve powers of ten


@dataclass(frozen=True, kw_only=True)
class AngleOf:
    """How a run's learning rate makes its angles, besides what the table says.

    schedule : one of `theory.SCHEDULES`. warmup_fraction : of the run that its warmup takes, in [0, 0.8). beta1 : that
    of Adam's momentum, in [0, 1). Raises `InvalidParameter`.
    """

    schedule: str
    warmup_fraction: float = 0.01
    beta1: float = 0.9

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise InvalidParameter("schedule", self.schedule, f"one of {', '.join(SCHEDULES)}")
        require_number("warmup_fraction", self.warmup_fraction, at_least=0, below=0.8)
        require_number("beta1", self.beta1, at_least=0, below=1)

    def shape(self) -> Schedule:
        """The schedule at `SHAPE_STEPS` steps, to be stretched to each run."""
        warmup = round(self.warmup_fraction * SHAPE_STEPS)
        return SCHEDULES[self.schedule](num_steps=SHAPE_STEPS, warmup_steps=warmup)


def in_mean_angle(runs: RunTable, how: AngleOf, *, adamh: bool = False) -> RunTable:
    """The table with mean angles per step, in radians, in place of learning rates.

    The table needs columns or constants ``weight_decay``, ``initial_rms`` and ``num_steps``, or ``num_tokens`` and
    ``batch_size`` in tokens per step; `BadInput` is raised where one is missing. With ``adamh`` its rates are angles
    already.
    """
    if adamh:
        return runs
    numbers = runs.numbers
    missing = [name for name in ("weight_decay", "initial_rms") if name not in numbers]
    steps = runs.num_steps
    if steps is None:
        tell = "num_tokens and batch_size in tokens"
        if runs.sequence_length is None:
            tell = "batch_size in tokens, not in sequences as it seems to be"
        missing.append(f"num_steps, or {tell}")
    if missing or steps is None:
        raise BadInput(f"--effective: needs {'; '.join(missing)} (a column, or --constant NAME=VALUE)")
    if steps.min() < 1:
        raise BadInput(f"--effective: a run of {steps.min():.3g} steps: batch_size has to be in tokens")
    setting = angle_setting(how, steps, numbers["weight_decay"], numbers["initial_rms"])
    return replace(
        runs, numbers={**numbers, "learning_rate": np.asarray(mean_angle(setting, numbers["learning_rate"]))}
    )


def rates_of_angles(
    setting: Setting, angles: Sequence[float], *, independent: float | None = None
) -> list[float | None]:
    """The least learning rate with each mean angle, radians, at a ``setting`` of numbers; None if there is none.

    ``independent``: learning rate times decay, where that is held and not the decay of the ``setting``. To 1e-3:
    between points of a grid, from 1e-9 to where one step would remove the weights.
    """
    highest = HIGHEST if independent is not None else 1 / max(float(np.asarray(setting.weight_decay)), 1 / HIGHEST)
    rates = np.geomspace(LOWEST, highest, INVERSE_GRID)
    if independent is not None:
        setting = replace(setting, weight_decay=independent / rates)
    reached = np.maximum.accumulate(np.log(mean_angle(setting, rates)))
    found = np.exp(np.interp(np.log(angles), reached, np.log(rates), left=np.nan, right=np.nan))
    return [None if np.isnan(rate) else float(rate) for rate in found]


def angle_setting(how: AngleOf, steps: ArrayLike, weight_decay: ArrayLike, initial_rms: ArrayLike) -> Setting:
    """What `theory.angle_law.mean_angle` needs besides the learning rate.

    ``steps`` of the runs, ``weight_decay`` and ``initial_rms`` broadcast; the first and the last are above 0.
    """
    return Setting(
        num_params=1.0,
        num_tokens=steps,
        tokens_per_step=1.0,
        schedule=how.shape(),
        weight_decay=weight_decay,
        initial_rms=initial_rms,
        beta1=how.beta1,
    )
