"""A pilot table's law, fitted once, and read at any number of targets; refused where it has no answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from experiments.bend.evidence.cells import Cell, usable_places
from experiments.bend.low_runs import low_run_notes
from experiments.bend.scaling_law import (
    AXES,
    Batch,
    ScalingLaw,
    ceiling_notes,
    fit_scaling_law,
    group_cells,
    scatter_notes,
    values_inside,
    why_not,
)
from experiments.files import BadInput
from experiments.joint.fit import JointFit
from experiments.joint.model import Variances
from experiments.joint.regressors import SLOPE
from experiments.recommend.prediction import ASSUMED_BEND, Coefficients, Predicted
from experiments.recommend.target_run import LARGEST_LOG, ON_LINE, Line, TargetRun, complete, independent, off_lines
from experiments.tables.run_table import RunTable
from experiments.text import counted

WIDEST = 1e4  # ratio of the ends of an interval that is no answer any more


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A law read at the target, in learning rate or in mean angle (radians).

    value, low, high : the optimum and its interval. middle : the setting that contributions start from, the means of
    the logarithms. value_at_middle : what the law has there. contributions : the factors between the two, along each
    axis alone and for each product. leverage, largest_leverage : that of the target, and the largest of the table's
    cells. variances : those of the joint fit.
    """

    value: float
    low: float
    high: float
    middle: Mapping[str, float]
    value_at_middle: Predicted
    contributions: Mapping[str, Predicted]
    leverage: float
    largest_leverage: float
    variances: Variances


@dataclass(frozen=True, kw_only=True)
class PilotLaw:
    """The law of a pilot table, ready to be read at any target.

    cells : the usable ones, keyed as in the table. law : the law, keyed without what moves along ``lines``. joint : its
    fit. coefficients : what is known of its terms, assumed ones included. lines : the axes that move with others.
    batch : how batch size was treated. assumptions, notes : phrases.
    """

    cells: tuple[Cell, ...]
    law: ScalingLaw
    joint: JointFit
    coefficients: Coefficients
    lines: tuple[Line, ...]
    batch: Batch
    assumptions: tuple[str, ...]
    notes: tuple[str, ...]

    def setting(self, target: TargetRun) -> dict[str, float]:
        """The target by the names that the law is keyed by; raises `BadInput` where the table does not speak of it."""
        setting = self.whole(target)
        return {name: value for name, value in setting.items() if name in self.law.cells[0].key}

    def whole(self, target: TargetRun) -> dict[str, float]:
        """The same with the axes that move along lines."""
        return complete(self.cells, target, self.batch, self.lines)

    def best_batch(self, target: TargetRun) -> float | None:
        """The batch size that goes with the rate at a target where they were tuned together, by a power law of the
        cells' best ones; None where they were not."""
        if self.batch != "co-tuned":
            return None
        model = self.coefficients.model
        logs = np.log([cell.key["batch_size"] for cell in self.cells])
        powers = np.linalg.lstsq(model.trend, logs, rcond=None)[0]
        log_batch = model.trend_row(self.setting(target)) @ powers
        return float(np.exp(np.clip(log_batch, -LARGEST_LOG, LARGEST_LOG)))

    def read(self, target: TargetRun, confidence: float) -> Answer:
        """The optimum at a target, with intervals of that ``confidence``, in (0, 1).

        Raises `BadInput` where the interval is wider than a factor of `WIDEST`.
        """
        coefficients, setting = self.coefficients, self.setting(target)
        off = np.array(list(off_lines(self.whole(target), self.lines).values()))
        leverage, largest = coefficients.leverage(setting)
        # what the axes on lines would do beside them, at the target and in the cells that the law was fitted to
        further = float(SLOPE**2 * (np.sum(off**2) + leverage * sum(line.off**2 for line in self.lines)))
        found = coefficients.predict(coefficients.row(setting), confidence, scatter=True, further=further)
        if found.high - found.low > np.log(WIDEST):
            raise BadInput(
                f"the table does not determine it: the {100 * confidence:.3g} % interval would span a factor of"
                f" 10^{(found.high - found.low) / np.log(10):.1f}"
            )
        whole, middle = found.factor(), dict(coefficients.model.centre)
        return Answer(
            value=whole.value,
            low=whole.low,
            high=whole.high,
            middle=middle,
            value_at_middle=coefficients.predict(coefficients.row(middle), confidence, scatter=False).factor(),
            contributions={
                name: coefficients.predict(row, confidence, scatter=False).factor()
                for name, row in coefficients.parts(setting).items()
            },
            leverage=leverage,
            largest_leverage=largest,
            variances=self.joint.variances,
        )


def fit_pilot_law(
    runs: RunTable, batch: Batch | None, *, straight: bool = False, target: TargetRun | None = None
) -> PilotLaw:
    """Fit the law of one group's runs, ``batch`` treated as in `experiments.bend.scaling_law`.

    Raises `BadInput` where there is no law, or where it has no slope along an axis on which the table varies; and at
    once where it will be asked for a ``target`` of which the table does not speak.
    """
    cells, treated, notes = group_cells(runs, batch)
    usable = [cells[place] for place in usable_places(cells)]
    if not usable:
        raise BadInput("no cell has three usable learning rates")
    if len(usable) < len(cells):
        notes.append(f"{len(cells) - len(usable)} of {len(cells)} cells have fewer than two usable learning rates")
    if pairs := sum(len(cell.x) == 2 for cell in usable):
        speak = "it speaks" if pairs == 1 else "they speak"
        notes.append(
            f"{counted(pairs, 'cell')} with two usable learning rates: {speak} through the shape of the other cells"
        )
    rekeyed, lines = independent(usable, treated)
    for line in lines:
        within = f" to {100 * line.off:.2g} %" if line.off > ON_LINE else ""
        notes.append(f"{line} in the table{within}: the answer holds there, what {line.name} does counts along")
    if target is not None:
        complete(usable, target, treated, lines)
    axes = (*AXES, *runs.axes)
    law = fit_scaling_law(rekeyed, axes, treated, straight=straight)
    notes += [*scatter_notes(law), *low_run_notes(runs, usable)]
    model, joint = law.model, law.joint
    if model is None or joint is None:
        raise BadInput("the losses do not determine a law of the optimum")
    if not any(law.inside):
        counts = Counter(optimum.status.value for optimum in law.optima)
        shown = ", ".join(f"{number} {status}" for status, number in counts.items())
        ceiling = ceiling_notes(law)
        advice = "; ".join(
            [*ceiling, "widen grids where training holds, or add seeds" if ceiling else "widen grids or add seeds"]
        )
        raise BadInput(f"no cell shows an optimum inside its grid of learning rates ({shown}): {advice}")
    for name in rekeyed[0].key:
        number = len(values_inside(law, name, pairs=True))
        if name in model.lost:
            raise BadInput(f"{name}: {model.lost[name]}, so the table gives no slope along it")
        if name in model.slopes and number < 2:
            advice = "; ".join(["no slope along it", *ceiling_notes(law), "widen the grids"])
            raise BadInput(f"optima inside their grids at {number} value of {name}: {advice}")
    doubtful = {axis: reason for axis in axes if axis in model.slopes and (reason := why_not(axis, runs, law))}
    coefficients = Coefficients.of(model, joint, list(doubtful), () if straight else axes)
    assumptions = ["the law is straight, as asked for: no curvature, and none in the interval"] if straight else []
    for term in coefficients.assumed:
        why = doubtful.get(term[0]) if len(set(term)) == 1 else "the table does not tell it apart"
        what = "a bend along " + term[0] if len(set(term)) == 1 else f"how {term[0]} and {term[1]} act together"
        assumptions.append(f"{what} is not known ({why}): 0 +- {ASSUMED_BEND:g}, which widens the interval")
    if any(len(term) == 2 and set(term) <= set(axes) for term in model.terms):
        notes.append(
            f"beside what the losses say, bends are taken to be small (0 +- {ASSUMED_BEND:g}): if the law is straight,"
            " intervals are wider than they need be, and --law straight makes them narrower"
        )
    return PilotLaw(
        cells=tuple(usable),
        law=law,
        joint=joint,
        coefficients=coefficients,
        lines=tuple(lines),
        batch=treated,
        assumptions=tuple(assumptions),
        notes=tuple(notes),
    )
