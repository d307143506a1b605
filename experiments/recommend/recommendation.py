r"""The learning rate of a run that has not been made, from a pilot table of smaller ones.

The law of `experiments.bend.scaling_law` is read at the target (`experiments.recommend.prediction`). It has half
squares and products, so the extrapolation may bend, and the interval holds what is not known of the bend. It is an
interval for the optimum of the target itself: the scatter of single cells about the law is in it.

**What a table cannot tell.** No slope is ever assumed: an axis with one value, or with optima inside their grids at
fewer than two, is refused if the target differs there. With two values, or optima inside at two, a second derivative of
0 +- 0.1 (one standard deviation) is assumed, said, and widens the interval; so is a product that the design does not
determine. If axes move together in the table, D = 20 N say, only their joint change counts: on that line the
target is answered, off it an exponent of 0 +- 1 is assumed. Refused as well are a table without any optimum inside its
grid, as where training diverges before the loss turns up, and an interval wider than a factor of `WIDEST`.

**What it warns of**: a target outside the table's range, with the factor and the leverage; pilot runs whose norm had
not come to its equilibrium, since their optima follow another law than those of runs which had (`theory.bend`); laws in
learning rate and in mean angle whose intervals do not meet; cells of which divergence hides the optimum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experiments.bend.mean_angle import EFFECTIVE_OPTIMIZERS, AngleOf, angle_setting, in_mean_angle, rates_of_angles
from experiments.bend.scaling_law import AXES, Batch, ceiling_notes
from experiments.files import BadInput
from experiments.joint.regressors import SLOPE
from experiments.recommend.next_run import NextRun, next_runs
from experiments.recommend.pilot_law import Answer, PilotLaw, fit_pilot_law
from experiments.recommend.pilot_norms import PilotNorms, pilot_norms
from experiments.recommend.target_run import ON_LINE, TargetRun, beyond, off_lines
from experiments.tables.reading import How, table_from_frame
from experiments.tables.run_table import DECAYS, RunTable
from theory import InvalidParameter
from theory.checks import require_number

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

CONFIDENCE = 0.90
CHECKED = "; intervals were checked up to a third of it beyond, farther the law may not hold: add larger pilot runs"


@dataclass(frozen=True, kw_only=True)
class InAngle:
    """The answer by the law in mean angle. angle : the answer itself, in radians. value, low, high : the learning rates
    that have these mean angles at the target, None where no rate does."""

    angle: Answer
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What a table recommends for one group; a group is one optimizer unless something else was asked for.

    group : its name, None if there is one only. optimizer : that of its runs, None if the table does not tell. batch :
    how batch size was treated. target : complete, by column. confidence : that of the intervals. num_cells : the usable
    ones. answer : the learning rate, None if refused for the ``reason``. in_angle : the same by the law in mean angle,
    None unless asked for and known. beyond : by axis, the factor by which the target is outside the table's range, 1
    inside. norms : how far the norms of the pilot runs had come, None where the table does not tell. assumptions,
    warnings, notes : phrases. next_runs : the further cells that would narrow the interval most, best first. pilot :
    the law that was read, None if there is no answer.
    """

    group: str | None
    optimizer: str | None
    batch: Batch
    target: Mapping[str, float]
    confidence: float
    num_cells: int
    answer: Answer | None
    in_angle: InAngle | None
    beyond: Mapping[str, float]
    norms: PilotNorms | None
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    next_runs: tuple[NextRun, ...]
    reason: str | None = None
    pilot: PilotLaw | None = None


def recommend(
    table: pd.DataFrame | RunTable,
    target: TargetRun,
    *,
    confidence: float = CONFIDENCE,
    batch: Batch | None = None,
    effective: AngleOf | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, float | str] | None = None,
    further: bool = True,
    straight: bool = False,
) -> tuple[Recommendation, ...]:
    """The best learning rate at ``target``, for every group of a table of runs.

    Parameters
    ----------
    table, batch, columns, constants : as in `experiments.bend.fit.fit_bend`.
    target : the run to be made. It needs a value of every axis along which the table has several.
    confidence : that of the intervals, in (0, 1).
    effective : how AdamW's learning rate makes an angle; the law is then read in mean angle too.
    further : whether the next pilot run is looked for.
    straight : whether the law is taken to be straight, without curvature and without room for it in the interval.

    Raises `InvalidParameter`, and `experiments.files.BadInput` where no group can be answered; where some can,
    the others come with a ``reason``.

    Four sizes of five learning rates, whose optimum falls like the power -0.3:

    >>> rows = []
    >>> for size in (1e7, 3e7, 1e8, 3e8):
    ...     best = 0.003 * (size / 1e8) ** -0.3
    ...     for rate in best * 2.0 ** np.arange(-2, 3):
    ...         rows.append({"num_params": size, "learning_rate": rate, "loss": 3 + 0.05 * np.log(rate / best) ** 2})
    >>> import pandas as pd
    >>> (found,) = recommend(pd.DataFrame(rows), TargetRun(num_params=1e9), further=False)
    >>> round(found.answer.value, 4), round(0.003 * 10**-0.3, 4)
    (0.0015, 0.0015)
    >>> found.warnings[0]
    "num_params 1e+09 is a factor of 3.33 beyond the table's largest: 35 % of its range, in logarithms"
    """
    require_number("confidence", confidence, above=0, below=1)
    if batch not in (None, "fixed", "co-tuned", "covariate"):
        raise InvalidParameter("batch", batch, "fixed, co-tuned or covariate")
    runs = table
    if not isinstance(runs, RunTable):
        runs = table_from_frame(runs, How(columns=columns or {}, constants=constants or {}))
    results, refusals = [], []
    for name, chosen in runs.groups():
        try:
            results.append(_recommend(chosen, name, target, confidence, batch, effective, further, straight))
        except BadInput as error:
            refusals.append(str(error) if name is None else f"{name}: {error}")
            results.append(_refused(name, chosen.optimizer, confidence, batch or "fixed", str(error)))
    if len(refusals) == len(results):
        raise BadInput("; ".join(refusals))
    return tuple(results)


def _recommend(
    runs: RunTable,
    name: str | None,
    target: TargetRun,
    confidence: float,
    batch: Batch | None,
    effective: AngleOf | None,
    further: bool,
    straight: bool,
) -> Recommendation:
    pilot = fit_pilot_law(runs, batch, straight=straight, target=target)
    setting, answer = pilot.setting(target), pilot.read(target, confidence)
    kind = (runs.optimizer or "adamw").lower()
    notes = list(pilot.notes)
    matching = pilot.best_batch(target)
    if matching is not None:
        notes.append(f"the rate goes with a batch of about {matching:.3g}, the law of the cells' best batches")
    norms = None
    if kind == "adamw":
        norms = pilot_norms(runs, effective or AngleOf(schedule="constant", warmup_fraction=0.0))
        if norms is None:
            missing = ["weight_decay"] * ("weight_decay" not in runs.numbers)
            missing += ["num_steps or num_tokens and batch_size"] * (runs.num_steps is None)
            notes.append(
                f"norm equilibrium not checked: needs {', and '.join(missing)} (a column, or --constant NAME=VALUE)"
            )
        elif effective is None:
            notes.append("norm equilibrium judged as at constant learning rate (--effective and --schedule tell it)")
    in_angle = None
    if effective is not None and kind in EFFECTIVE_OPTIMIZERS:
        turned = in_mean_angle(runs, effective, adamh=kind == "adamh")
        try:
            in_angle = _in_angle(
                turned, target, pilot, answer, effective, confidence, adamh=kind == "adamh", straight=straight
            )
        except BadInput as error:
            notes.append(f"no answer in mean angle: {error}")
    elif effective is not None:
        notes.append(f"no effective learning rate is known for {runs.optimizer}")
    factors = beyond(pilot.cells, setting)
    nexts: Sequence[NextRun] = ()
    if further:
        nexts = next_runs(pilot.law, pilot.coefficients, setting, pilot.lines, (*AXES, *runs.axes), confidence)
    return Recommendation(
        group=name,
        optimizer=runs.optimizer,
        batch=pilot.batch,
        target=pilot.whole(target),
        confidence=confidence,
        num_cells=len(pilot.cells),
        answer=answer,
        in_angle=in_angle,
        beyond=factors,
        norms=norms,
        assumptions=pilot.assumptions,
        warnings=(
            *_off_line_warnings(pilot, target),
            *_warnings(pilot, setting, answer, in_angle, factors, norms),
        ),
        notes=tuple(notes),
        next_runs=tuple(nexts),
        pilot=pilot,
    )


def _in_angle(
    runs: RunTable,
    target: TargetRun,
    pilot: PilotLaw,
    answer: Answer,
    how: AngleOf,
    confidence: float,
    *,
    adamh: bool,
    straight: bool,
) -> InAngle:
    """The law of ``runs`` in mean angle, and its answer as a learning rate at the target."""
    if adamh:
        return InAngle(angle=answer, value=answer.value, low=answer.low, high=answer.high)
    angle = fit_pilot_law(runs, pilot.batch, straight=straight).read(target, confidence)
    given = pilot.whole(target)
    initial = target.initial_rms or _single(runs, "initial_rms")
    steps = target.num_steps
    size = given.get("batch_size", target.batch_size)
    if steps is None and size is not None and "num_tokens" in given and runs.sequence_length is not None:
        steps = given["num_tokens"] / (size * runs.sequence_length)
    if initial is None:
        raise BadInput("--effective: needs --initial-rms of the target, since the table has several")
    if steps is None:
        raise BadInput("--effective: needs --num-steps of the target, since batch and tokens do not tell it")
    held = given.get(DECAYS[1])
    setting = angle_setting(how, steps, given[DECAYS[0]] if held is None else 0.0, initial)
    value, low, high = rates_of_angles(setting, (angle.value, angle.low, angle.high), independent=held)
    return InAngle(angle=angle, value=value, low=low, high=high)


def _single(runs: RunTable, name: str) -> float | None:
    values = np.unique(runs.numbers[name])
    return float(values[0]) if len(values) == 1 else None


def _off_line_warnings(pilot: PilotLaw, target: TargetRun) -> list[str]:
    off = off_lines(pilot.whole(target), pilot.lines)
    return [
        f"{line.name} is a factor of {np.exp(abs(off[line.name])):.3g} off the line that the table keeps to ({line}):"
        f" an exponent of 0 with a standard deviation of {SLOPE:g} is assumed"
        for line in pilot.lines
        if abs(off[line.name]) > ON_LINE
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share > 0.1 else f"{100 * share:.2g} %"


def _warnings(
    pilot: PilotLaw,
    setting: Mapping[str, float],
    answer: Answer,
    in_angle: InAngle | None,
    factors: Mapping[str, float],
    norms: PilotNorms | None,
) -> list[str]:
    warnings = []
    for name, factor in factors.items():
        if factor > 1 + 1e-9:
            values = np.unique([cell.key[name] for cell in pilot.cells])
            end = "largest" if setting[name] > values[-1] else "least"
            span = np.log(factor) / np.log(values[-1] / values[0])
            warnings.append(
                f"{name} {setting[name]:.4g} is a factor of {factor:.3g} beyond the table's {end}:"
                f" {_percent(span)} of its range, in logarithms" + (CHECKED if span > 0.5 else "")
            )
    if answer.leverage > answer.largest_leverage:
        warnings.append(
            f"the law is extrapolated: what is known of it is {np.sqrt(answer.leverage / answer.largest_leverage):.2g}"
            " times as uncertain there as at the worst cell of the table, as the interval says; a pilot run nearer to"
            " the target narrows it"
        )
    if norms is not None and norms.num_best_short:
        start = "" if norms.from_start else ", from a start far below it"
        warnings.append(
            f"in {norms.num_best_short} of {norms.num_cells} cells the best run ended before its norm was within 5 % of"
            f" equilibrium{start} ({norms.num_short} of {norms.num_runs} runs did): these optima follow the law of the"
            " transient, and the target's need not; train pilots longer, or compare the law in mean angle (--effective)"
        )
    if in_angle is not None and in_angle.low is not None and in_angle.high is not None:
        if in_angle.high < answer.low or in_angle.low > answer.high:
            warnings.append(
                "the laws in learning rate and in mean angle disagree beyond both intervals:"
                " try both rates in a larger pilot run"
            )
    elif in_angle is not None:
        warnings.append(
            "an end of the interval in mean angle belongs to no learning rate at the target:"
            " there the angle hardly depends on the rate; use the interval in learning rate"
        )
    warnings += [f"{phrase}; the rate may be one at which the target diverges" for phrase in ceiling_notes(pilot.law)]
    if not pilot.joint.converged:
        warnings.append(
            "the search for the law stopped before it had come to rest, so that rate and interval may be off:"
            " run it again with --law straight, and if the two disagree look for odd cells (--where leaves some out)"
        )
    return warnings


def _refused(name: str | None, optimizer: str | None, confidence: float, batch: Batch, reason: str) -> Recommendation:
    return Recommendation(
        group=name,
        optimizer=optimizer,
        batch=batch,
        target={},
        confidence=confidence,
        num_cells=0,
        answer=None,
        in_angle=None,
        beyond={},
        norms=None,
        assumptions=(),
        warnings=(),
        notes=(),
        next_runs=(),
        reason=reason,
    )
