"""What to say of a run: how it diverged, what its norms miss, whether it belongs in a fit, what to do otherwise."""

from __future__ import annotations

import numpy as np

from experiments.logs.answer import Reading
from experiments.logs.history import History
from experiments.logs.norms import LEAST_POINTS, SPACING, TOLERANCE, Norm
from experiments.logs.series import pooled_weights
from experiments.logs.settings import Setting
from experiments.logs.verdicts import Ending, change
from experiments.text import counted
from theory import RunOutcome
from theory.networks import WHITE, WHITE_NOISE, Network

HARDLY = 0.02  # relaxations, below which decay takes less than 1 % of the norm
ENOUGH = 2.3  # from a small start to 5 % below equilibrium: exp(-2.3) = 2 x 5 %


def endings(ending: Ending, history: History) -> list[str]:
    if ending.diverged_step is None:
        return []
    notes = [f"diverged: {ending.reason}"]
    for name, series in (
        ("weight RMS", pooled_weights(history)),
        ("gradient norm", history.series.get("gradient_norm")),
    ):
        found = change(series, ending.diverged_step)
        if found is None:
            notes.append(f"before that: no {name} is logged")
        else:
            step, first, last, end = found
            by = f" ({last / first - 1:+.0%})" if first > 0 else ""
            notes.append(
                f"before that the {name} went from {first:.4g} at step {step} to {last:.4g}{by},"
                f" and to {end:.4g} by the end"
            )
    return notes


def equilibrium_in_words(reading: Reading, norms: list[Norm]) -> str:
    """Whether and when it was reached, and what tells it."""
    step = reading.equilibrium_step
    if reading.num_relaxations is None:
        if reading.adamh_learning_rate is not None:
            return "the norm is held, there is no transient"
        if reading.learning_rate is None or reading.weight_decay is None:
            return f"not known: no {'learning rate' if reading.learning_rate is None else 'weight decay'} is told"
        return "not known: a decay in the gradient tells no time"
    logged = [norm for norm in norms if norm.matrix.weight_rms is not None]
    by = "by the logged norms" if logged else "by theory alone"
    if step is not None:
        return f"reached at step {step}, {by}"
    if not reading.num_relaxations:
        return "never: nothing decays"
    never = [norm for norm in logged if norm.settled.known and norm.settled.step is None]
    if never:
        late = f"{len(never)} of {counted(len(logged), 'group')} {'is' if len(never) == 1 else 'are'}"
        return f"not reached in this log, {by}: {late} not within {TOLERANCE:.0%} of the level of their direction"
    if logged:
        needed = f"the norms tell none with less than {LEAST_POINTS} records {SPACING:g} relaxations apart"
        if reading.reaches_equilibrium is False and not any(norm.matrix.norm_only for norm in logged):
            return f"not reached, by the length of the run and its first norm ({needed})"
        return f"not known: {needed}"
    return f"not reached, {by}"


def angles_from(norms: list[Norm], network: Network) -> str:
    """What tells the angles: the norm, and the direction of the optimizer."""
    direction = "direction of white noise" if network.name == WHITE_NOISE.name else f"direction of {network.name}"
    if network.direction_ratio != WHITE:
        direction += f" at {network.direction_ratio:.3g}"
    logged = any(norm.matrix.weight_rms is not None for norm in norms)
    if any(norm.update_rms is not None for norm in norms):
        return "logged norm, logged direction" if logged else "predicted norm, logged direction"
    return f"{'logged' if logged else 'predicted'} norm, {direction}"


def remarks(reading: Reading, norms: list[Norm], setting: Setting) -> list[str]:
    notes = []
    late = [
        norm
        for norm in norms
        if norm.settled.step is None and norm.settled.known and norm.matrix.weight_rms is not None
    ]
    if reading.reaches_equilibrium and late and reading.num_relaxations:
        notes.append(
            f"by its length the run reaches equilibrium, but the norms of {len(late)} of {len(norms)} groups do not"
            " stay"
            f" within {TOLERANCE:.0%} of theirs"
        )
    unsized = sum(norm.matrix.norm_only for norm in norms)
    if unsized:
        size = "--num-entries NUMBER"
        if len(norms) > 1:
            first = next(norm.matrix.name for norm in norms if norm.matrix.norm_only)
            size = f"--matrix-entries '{first}=NUMBER', and so on,"
        notes.append(f"a weight norm is logged, not how many entries it has: give {size} for angles and RMS")
    notes += _of_direction(norms, setting)
    predicted = reading.weight_rms_error_predicted
    if predicted is not None and predicted > 0.1 and reading.weight_rms_error is not None:
        notes.append(
            f"the theory is off by {predicted:.0%} with the direction of white noise and by"
            f" {reading.weight_rms_error:.1%}"
            " with the measured one: the direction is what it misses"
        )
    return notes


def _of_direction(norms: list[Norm], setting: Setting) -> list[str]:
    """A direction that the norms tell, where none is logged and the flag takes one."""
    ratios = [norm.direction_ratio for norm in norms if norm.direction_ratio is not None]
    plain = setting.network.name == WHITE_NOISE.name and setting.optimizer in (None, "adamw", "adamc")
    if not ratios or not plain:
        return []
    told = setting.network.direction_ratio * np.array(ratios)
    middle = float(np.median(told))
    spread = ""
    if len(norms) > 1:
        spread = f" ({told.min():.2g} to {told.max():.2g} over {len(told)} of {len(norms)} matrices)"
    return [
        f"no direction is logged, and the norm grows as under one {middle:.2g} times that of white noise{spread}:"
        f" --direction {middle:.2g} takes it for the angles too"
    ]


def membership(reading: Reading, history: History) -> tuple[bool, tuple[str, ...]]:
    """Whether a run may stand in a fit of the best rate over scale, and why not, or with what care."""
    against, care = [], []
    if reading.outcome is RunOutcome.DIVERGED:
        against.append(f"it diverged at step {reading.diverged_step}")
    elif reading.planned_steps is not None and reading.num_steps < reading.planned_steps:
        against.append(f"it ends at step {reading.num_steps} of {reading.planned_steps}: its schedule is not finished")
    if reading.learning_rate is None:
        against.append("its learning rate is not known")
    if history.jumps:
        against.append(f"its learning rate jumps at step {history.jumps[0]}: it is not one schedule")
    if reading.final_loss is None:
        against.append("no loss is logged")
    if reading.reaches_equilibrium is False:
        care.append(
            "its norm is not in equilibrium, so that its rate is no measure of its angle: fit in mean angle as well"
        )
    if history.num_restarts:
        care.append("it was restarted: whether with its optimizer state is not told by a log")
    return not against, (*against, *care)


def changes_for(reading: Reading, history: History) -> tuple[str, ...]:
    changes = []
    if reading.outcome is RunOutcome.DIVERGED:
        changes.append("a lower peak rate or a longer warmup; restart from a checkpoint before the divergence")
    if reading.num_relaxations is not None and reading.reaches_equilibrium is False and reading.weight_decay:
        if reading.num_relaxations < HARDLY:
            changes.append(
                f"in {reading.num_relaxations:.1g} relaxations the decay hardly acts: the norm is that of the start,"
                " and"
                " its size sets the angle"
            )
        else:
            changes.append(
                "to reach equilibrium the product of rate, decay and steps has to be about"
                f" {ENOUGH / reading.num_relaxations:.2g} times larger; or train with AdamH, which has no"
                " transient, on the schedule that lrbend convert --measured FILE makes of the angles in read --csv FILE"
            )
    if history.unread_norms and not any(matrix.weight_rms is not None for matrix in history.matrices):
        changes.append("map the logged norms if they are of weights (--column, below): else equilibrium is a guess")
    elif not any(matrix.weight_rms is not None for matrix in history.matrices):
        changes.append("log the weight RMS of the matrices: without it equilibrium is a guess from the settings")
    elif not any(matrix.mean_w_u is not None for matrix in history.matrices):
        changes.append(
            "log the RMS of the optimizer's direction and <W, u> too (gpt.probe does): they split the forces"
        )
    gradient = reading.gradient_norm
    if gradient is not None and gradient.cause == "one over the weight norm":
        changes.append(
            "the rising gradient norm is the falling weight norm: no clipping or lower rate is needed for it"
        )
    return tuple(changes)
