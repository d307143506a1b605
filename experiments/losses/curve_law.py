"""From the loss curves of one model to the final loss of another schedule: a law of `theory.loss_laws`, its errors,
and candidates ranked by it.

Rates are turned into angles per step by the norm's slow recursion, with a weight decay and an initial RMS that curves
do not tell; in angle the laws' errors halve on the public curves. Errors are told by each curve left out in turn, and
the curves of each length; see `intervals` for how an interval is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from experiments.losses.curve_files import LossCurve
from experiments.losses.curve_fit import Curve, FitOutcome, LawFit, fit_law
from experiments.losses.final_loss import Prediction
from experiments.losses.intervals import EXACT, FREEDOM, GROUP_WEIGHT, Constant, fit_scales, nearest
from experiments.losses.settings import Setting
from theory.checks import require_number
from theory.loss_laws import LOSS_LAWS, LossLaw, condense
from theory.slow_norm import slow_angular_updates

Array = NDArray[np.float64]

RECORDS = 40  # of each curve that are fitted
BLOCK = 64  # steps lumped into one term of a law's sums
SPREAD = 0.5  # of the prior of kappa, in ln: curves fix a law better than final losses do
SAME_LENGTH = 1.05  # ratio of neighbouring lengths below which they are one


@dataclass(frozen=True, kw_only=True)
class Angles:
    """What turns learning rates into angles per step. weight_decay : PyTorch convention. initial_rms : of weights."""

    weight_decay: float = 0.1
    initial_rms: float = 0.02

    def rates(self, learning_rates: Array) -> Array:
        """Angle per step at every step, (num_steps,), in radians."""
        return slow_angular_updates(learning_rates, weight_decay=self.weight_decay, initial_rms=self.initial_rms)


class LeftOutEnds(NamedTuple):
    """Errors at the ends of curves left out, predicted minus measured in nats, and distances in nats, both
    (num_errors,); ``group_sizes``: curves left out together."""

    errors: Array
    distances: Array
    group_sizes: Array


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedCurves:
    """A law of one group and what it is worth.

    scatter, per_distance : of the errors, see `intervals`. ends : (num_curves, 3) what the law's terms say at the ends
    of the curves. train_rms, residual_rms : in nats, over records, and over ends left out by curve and by length, None
    where all have one length. peaks, lengths : lowest and highest that were fitted.
    """

    group: str
    fit: LawFit
    angles: Angles | None
    constants: tuple[Constant, ...]
    scatter: float
    per_distance: float
    ends: Array
    residual_rms: dict[str, float | None]
    peaks: tuple[float, float]
    lengths: tuple[float, float]
    notes: tuple[str, ...]


def fit_curves(
    curves: Sequence[LossCurve], law: str, *, angles: Angles | None, level: float = 0.9, num_starts: int = 2
) -> FittedCurves:
    """Fit a law to the curves of one group; a few seconds.

    Parameters
    ----------
    law : a key of `theory.loss_laws.LOSS_LAWS`.
    angles : how learning rates become angles; None fits in learning rates.
    level : of the constants' intervals, by the jackknife over curves.
    """
    require_number("confidence", level, above=0, below=1)
    kind = LOSS_LAWS[law]
    data = [_thinned(curve, angles) for curve in curves]
    fit = fit_law(kind, data, num_starts=num_starts, block=BLOCK)
    every = range(len(data))
    by_curve = [_left_out(kind, data, [i], fit) for i in every]
    by_length = [
        _left_out(kind, data, out, fit)
        for out in _of_one_length([curve.num_steps for curve in curves])
        if len(out) > 1 and len(data) - len(out) > 1
    ]
    left = [ends for _, ends in (*by_curve, *by_length)]
    errors, distances, sizes = (np.concatenate([getattr(one, name) for one in left]) for name in LeftOutEnds._fields)
    weights = np.minimum(1.0, GROUP_WEIGHT / sizes)
    residuals = np.concatenate([fit.law.at(condense(c.rates, c.steps, block=BLOCK)) - c.losses for c in data])
    train = max(float(np.sqrt(np.mean(residuals**2))), EXACT)
    scatter, per_distance = fit_scales(errors, distances, weights, start=train, least=train, spread=SPREAD)
    longest = np.concatenate([ends.errors for _, ends in by_length]) if by_length else None
    return FittedCurves(
        group=curves[0].group,
        fit=fit,
        angles=angles,
        constants=_constants(fit.law, [one for one, _ in by_curve], level),
        scatter=scatter,
        per_distance=per_distance,
        ends=np.array([_end(fit.law, curve.rates) for curve in data]),
        residual_rms={
            "train": train,
            "leave_one_curve_out": float(np.sqrt(np.mean([float(ends.errors[0]) ** 2 for _, ends in by_curve]))),
            "leave_one_horizon_out": None if longest is None else float(np.sqrt(np.mean(longest**2))),
        },
        peaks=_limits([float(curve.learning_rates.max()) for curve in curves]),
        lengths=_limits([curve.num_steps for curve in curves]),
        notes=_notes(fit),
    )


def rank_curves(fitted: FittedCurves, settings: Sequence[Setting], *, level: float = 0.9) -> list[Prediction]:
    """Candidates by predicted final loss, lowest first, those with another peak rate than was fitted behind."""
    require_number("confidence", level, above=0, below=1)
    found = []
    for setting in settings:
        rates = setting.learning_rates()
        terms = _end(fitted.fit.law, rates if fitted.angles is None else fitted.angles.rates(rates))
        scale = np.hypot(fitted.scatter, fitted.per_distance * nearest(fitted.ends, terms[None])[0])
        loss, half = float(terms.sum()), float(stdtrit(FREEDOM, (1 + level) / 2) * scale)
        outside = [
            name
            for name, value, (low, high) in (
                ("num_steps", setting.num_steps, fitted.lengths),
                ("peak_learning_rate", setting.learning_rate, fitted.peaks),
            )
            if not low * (1 - 1e-3) <= value <= high * (1 + 1e-3)
        ]
        found.append(Prediction(setting=setting, loss=loss, low=loss - half, high=loss + half, outside=tuple(outside)))
    return sorted(found, key=lambda one: ("peak_learning_rate" in one.outside, one.loss))


def curve_settings(curves: Sequence[LossCurve]) -> list[Setting]:
    """What to choose from where no flag says it: the usual schedules at the curves' peak rates, down to the lowest
    final rate that a curve has, with the curves' warmup."""
    peaks = sorted({float(f"{curve.learning_rates.max():.3g}") for curve in curves})
    final = min(float(curve.learning_rates[-1] / curve.learning_rates.max()) for curve in curves)
    warmup = int(min(np.argmax(curve.learning_rates >= 0.999 * curve.learning_rates.max()) for curve in curves))
    shortest = min(curve.num_steps for curve in curves)
    return [
        Setting(
            schedule=name,
            learning_rate=peak,
            num_steps=shortest,
            warmup_steps=warmup,
            final_fraction=round(final, 3),
        )
        for peak in peaks
        for name in ("constant", "cosine", "linear", "wsd")
    ]


def _thinned(curve: LossCurve, angles: Angles | None) -> Curve:
    rates = curve.learning_rates if angles is None else angles.rates(curve.learning_rates)
    kept = np.unique(np.linspace(0, len(curve.steps) - 1, RECORDS).round().astype(int))
    return Curve(rates=rates, steps=curve.steps[kept], losses=curve.losses[kept])


def _left_out(
    kind: type[LossLaw], data: Sequence[Curve], out: Sequence[int], whole: LawFit
) -> tuple[LossLaw, LeftOutEnds]:
    """The law without some curves, and its errors at their ends."""
    kept = [curve for i, curve in enumerate(data) if i not in out]
    law = fit_law(kind, kept, num_starts=1, near=whole.law, block=BLOCK).law
    known, asked = (np.array([_end(law, curve.rates) for curve in some]) for some in (kept, [data[i] for i in out]))
    errors = asked.sum(axis=1) - np.array([data[i].losses[-1] for i in out])
    return law, LeftOutEnds(errors, nearest(known, asked), np.full(len(out), float(len(out))))


def _end(law: LossLaw, rates: Array) -> Array:
    """The terms of a law at the end of a run, (3,): constant, drift, and what the drops of the rate have not paid back,
    in nats; their sum is the loss."""
    end = condense(rates, [len(rates) - 1], block=BLOCK)
    loss = float(law.at(end)[0])
    drift = float(law.at(end._replace(drop=np.zeros_like(end.drop)))[0])
    return np.array([law.L0, drift - law.L0, loss - drift])


def _constants(law: LossLaw, without: Sequence[LossLaw], level: float) -> tuple[Constant, ...]:
    """Jackknife intervals of ln of every constant, of ln(1 - value) for a momentum's decay."""
    names = [field.name for field in fields(law)]
    signs = np.array([name != "decay" for name in names])

    def inner(values: Array) -> Array:
        return np.log(np.where(signs, values, 1 - values))

    left = np.array([inner(np.array(astuple(one))) for one in without])
    n = len(left)
    error = np.sqrt((n - 1) / n * ((left - left.mean(axis=0)) ** 2).sum(axis=0))
    half = stdtrit(n - 1, (1 + level) / 2) * error
    x = inner(np.array(astuple(law)))
    ends = [np.exp(np.clip(x + sign * half, -700, 700)) for sign in (-1, 1)]
    ends = [np.where(signs, end, 1 - end) for end in ends]
    return tuple(
        Constant(name, float(value), float(min(a, b)), float(max(a, b)), "")
        for name, value, a, b in zip(names, astuple(law), *ends, strict=True)
    )


def _of_one_length(lengths: Sequence[int]) -> list[list[int]]:
    """Places of curves that are about as long as each other."""
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not groups or lengths[place] > SAME_LENGTH * lengths[groups[-1][-1]]:
            groups.append([])
        groups[-1].append(place)
    return groups


def _limits(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _notes(fit: LawFit) -> tuple[str, ...]:
    meaning = {
        FitOutcome.CONVERGED: None,
        FitOutcome.PARAMETER_AT_BOUND: f"the curves do not determine {', '.join(fit.at_bound)}",
        FitOutcome.STARTS_DISAGREE: "only one start of the fit reached its minimum: there may be a better one",
        FitOutcome.NOT_CONVERGED: "the fit ran out of evaluations",
    }[fit.outcome]
    return () if meaning is None else (meaning,)
