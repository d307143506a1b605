"""The answer to a log: everything that `lrbend read` says."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.logs.norms import ForceBudget
from experiments.logs.verdicts import GradientNorm
from theory import RunOutcome, Trajectory


@dataclass(frozen=True, kw_only=True)
class Group:
    """One matrix, or all together. weight_rms_first, weight_rms_last : as recorded, a norm where no size is told.
    settles : whether it comes to equilibrium in the log, None where the log does not tell."""

    name: str
    num_records: int
    weight_rms_first: float | None
    weight_rms_last: float | None
    equilibrium_step: int | None
    settles: bool | None
    weight_rms_error: float | None
    weight_rms_error_predicted: float | None
    force_budget: ForceBudget | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What a log tells; None where it does not.

    decay : the convention of weight_decay. independent_weight_decay : share of the weights that a step at the peak rate
    takes, None if the decay is part of the gradient.
    equilibrium_step : steps made when every matrix had come to equilibrium, by its norms if they are logged, else by
    theory; None for never or not known, which ``equilibrium`` tells in words. adamh_learning_rate : AdamH's rate that
    turns by AdamW's equilibrium angle at the peak. mean_angle : root mean square over the run, in radians per step;
    angles_from : what tells the angles of ``series``. belongs : in a fit of the best rate over scale, with ``reasons``
    why not, or what to heed. changes : what to do otherwise. series : thinned, by name. trajectory : the records.
    """

    kind: str
    num_lines: int
    num_broken: int
    outcome: RunOutcome
    diverged_step: int | None
    num_steps: int
    planned_steps: int | None
    optimizer: str
    weight_decay: float | None
    decay: str
    independent_weight_decay: float | None
    learning_rate: float | None
    num_relaxations: float | None
    reaches_equilibrium: bool | None
    equilibrium_step: int | None
    equilibrium: str
    adamh_learning_rate: float | None
    mean_angle: float | None
    angles_from: str | None
    weight_rms_error: float | None
    weight_rms_error_predicted: float | None
    final_loss: float | None
    gradient_norm: GradientNorm | None
    belongs: bool
    reasons: tuple[str, ...]
    changes: tuple[str, ...]
    groups: tuple[Group, ...]
    series: dict[str, list[float | None]]
    trajectory: Trajectory
    notes: tuple[str, ...]
