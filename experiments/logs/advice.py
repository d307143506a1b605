"""What to say of a run: how it diverged, what its norms miss, whether it belongs in a fit, what to do otherwise."""

from __future__ import annotations

from experiments.logs.answer import Reading
from experiments.logs.history import History
from experiments.logs.norms import TOLERANCE, Norm
from experiments.logs.series import pooled_weights
from experiments.logs.verdicts import Ending, change
from theory import RunOutcome

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


def remarks(reading: Reading, norms: list[Norm]) -> list[str]:
    notes = []
    late = [norm for norm in norms if norm.equilibrium_step is None and norm.matrix.weight_rms is not None]
    if reading.reaches_equilibrium and late and reading.num_relaxations:
        notes.append(
            f"by its length the run reaches equilibrium, but the norms of {len(late)} of {len(norms)} groups do not"
            " stay"
            f" within {TOLERANCE:.0%} of theirs"
        )
    unsized = sum(norm.matrix.norm_only for norm in norms)
    if unsized:
        size = "--num-entries" if unsized == 1 else "a column num_entries beside one named matrix"
        notes.append(f"a weight norm is logged, not how many entries it has: give {size} for angles and RMS")
    predicted = reading.weight_rms_error_predicted
    if predicted is not None and predicted > 0.1 and reading.weight_rms_error is not None:
        notes.append(
            f"the theory is off by {predicted:.0%} with the direction of white noise and by"
            f" {reading.weight_rms_error:.1%}"
            " with the measured one: the direction is what it misses"
        )
    return notes


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
    if not any(matrix.weight_rms is not None for matrix in history.matrices):
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
