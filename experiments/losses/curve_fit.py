r"""Fit a loss law to measured loss curves: Huber loss on the log-loss, several starts, a named outcome.

Minimised over the parameters: :math:`\sum_i h_\delta(\ln\hat L_i - \ln L_i)` with Huber's :math:`h_\delta`, which
is quadratic below :math:`\delta` and linear above, so that the noisy first records do not decide. The parameters
enter as logarithms, within wide bounds set by the data's own scales: the progress reached, the peak rate, the
range of the losses. The starts are drawn from the same scales.

Objective as in arXiv 2203.15556 and 2503.12811 (which take :math:`\delta = 10^{-3}`); bounds and starts: here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from theory.checks import InvalidParameter, require_integer, require_number
from theory.loss_laws import Condensed, FunctionalLaw, LossLaw, MomentumLaw, MultiPowerLaw, condense

Array = NDArray[np.float64]

SAME_COST = 1.01  # starts within 1 % of the best cost count as the same minimum
AT_BOUND = 1e-3  # distance to a bound, in units of ln(parameter), at which a parameter counts as stuck to it
EXPONENTS = (1e-6, 30.0)  # a decay with exponent 30 is an exponential one for every purpose here


class FitOutcome(Enum):
    """How a fit ended; `CONVERGED` is the only one without a reservation."""

    CONVERGED = "converged"
    PARAMETER_AT_BOUND = "parameter-at-bound"  # the curves do not determine every parameter; predictions may hold
    STARTS_DISAGREE = "starts-disagree"  # only one start reached the best cost: there may be a better minimum
    NOT_CONVERGED = "not-converged"  # the best start ran out of evaluations


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A measured loss curve and the rates that made it.

    ``rates`` (num_steps,): learning rate, or effective one, at every step; ``steps`` (num_records,): 0-based steps
    after which the losses stand; ``losses`` (num_records,): above 0, in nats. Raises `InvalidParameter`: a loss that
    is not a positive number (a diverged run is not a curve to fit), or not one per step.
    """

    rates: Array
    steps: NDArray[np.int64]
    losses: Array

    def __post_init__(self) -> None:
        losses = np.asarray(self.losses)
        if losses.shape != np.shape(self.steps) or losses.size == 0:
            raise InvalidParameter("losses", losses.shape, f"one per step, shape {np.shape(self.steps)}")
        if not np.all(np.isfinite(losses) & (losses > 0)):
            raise InvalidParameter("losses", float(losses[~(losses > 0)][0]), "a finite number above 0")


@dataclass(frozen=True, kw_only=True)
class LawFit:
    """The best start's law, and how much to trust it.

    ``costs`` (num_starts,): final objective of every start, ascending; ``mean_absolute_error``: in nats, over the
    fitted records, curves weighted equally.
    """

    law: LossLaw
    outcome: FitOutcome
    at_bound: tuple[str, ...]
    costs: tuple[float, ...]
    mean_absolute_error: float
    num_records: int


def fit_law(
    law: type[LossLaw],
    curves: Sequence[Curve],
    *,
    num_starts: int = 4,
    seed: int = 0,
    near: LossLaw | None = None,
    huber: float = 1e-3,
    block: int = 64,
    max_evaluations: int = 300,
) -> LawFit:
    """Fit ``law`` to ``curves`` together.

    Parameters
    ----------
    num_starts, seed : random starts, and the generator's seed.
    near : a law to start from in place of the first random one.
    huber : delta, in units of ln(loss), above 0.
    block : steps lumped into one term of the law's sums, see `theory.loss_laws.condense`.
    max_evaluations : of the residuals, per start.

    Raises
    ------
    InvalidParameter : no curve, fewer records than parameters, a number outside its range.
    """
    require_integer("num_starts", num_starts, at_least=1)
    require_number("huber", huber, above=0)
    schedules = [condense(curve.rates, curve.steps, block=block) for curve in curves]
    log_losses = [np.log(curve.losses) for curve in curves]
    names = tuple(field.name for field in fields(law))
    num_records = sum(target.size for target in log_losses)
    if num_records < len(names):
        raise InvalidParameter("curves", num_records, f"at least {len(names)} records, one per parameter")

    known: dict[tuple[float, ...], list[Array]] = {}  # differences along most parameters need no other sum

    def residuals(coordinates: Array) -> Array:
        model = law.from_coordinates(coordinates)
        memory = tuple(getattr(model, name) for name in law.memory)
        with np.errstate(over="ignore", invalid="ignore"):
            if memory not in known:
                known.clear()
                known[memory] = [model.payback(s) for s in schedules]
            losses = [model.at(s, paid) for s, paid in zip(schedules, known[memory], strict=True)]
            logs = [np.log(np.maximum(loss, 1e-300)) for loss in losses]
            gaps = np.concatenate([log - target for log, target in zip(logs, log_losses, strict=True)])
        return np.nan_to_num(gaps, nan=1e3, posinf=1e3, neginf=-1e3)

    scale = _scale(schedules, curves)
    low, high = _bounds(law, scale)
    rng = np.random.default_rng(seed)
    solutions = []
    for place in range(num_starts):
        first = near if near is not None and place == 0 else _start(law, scale, rng)
        start = np.clip(first.coordinates(), low + AT_BOUND, high - AT_BOUND)
        solutions.append(
            least_squares(residuals, start, bounds=(low, high), loss="huber", f_scale=huber, max_nfev=max_evaluations)
        )
    solutions.sort(key=lambda solution: solution.cost)
    best = solutions[0]
    stuck = np.minimum(best.x - low, high - best.x) < AT_BOUND
    agreeing = sum(solution.cost <= SAME_COST * best.cost for solution in solutions)
    if best.status == 0:
        outcome = FitOutcome.NOT_CONVERGED
    elif num_starts > 1 and agreeing == 1:
        outcome = FitOutcome.STARTS_DISAGREE
    else:
        outcome = FitOutcome.PARAMETER_AT_BOUND if stuck.any() else FitOutcome.CONVERGED
    fitted = law.from_coordinates(best.x)
    errors = [np.abs(fitted.at(s) - c.losses).mean() for s, c in zip(schedules, curves, strict=True)]
    return LawFit(
        law=fitted,
        outcome=outcome,
        at_bound=tuple(name for name, at in zip(names, stuck, strict=True) if at),
        costs=tuple(float(solution.cost) for solution in solutions),
        mean_absolute_error=float(np.mean(errors)),
        num_records=num_records,
    )


# Scales of the data, and what they say about the parameters


class Scale(NamedTuple):
    """Orders of magnitude of a set of curves: what starts and bounds are made of."""

    first_progress: float
    last_progress: float
    peak_rate: float
    num_steps: int
    lowest_loss: float
    highest_loss: float


def _scale(schedules: Sequence[Condensed], curves: Sequence[Curve]) -> Scale:
    return Scale(
        first_progress=float(min(s.progress[0] for s in schedules)),
        last_progress=float(max(s.progress[-1] for s in schedules)),
        peak_rate=float(max(np.max(c.rates) for c in curves)),
        num_steps=max(len(c.rates) for c in curves),
        lowest_loss=float(min(np.min(c.losses) for c in curves)),
        highest_loss=float(max(np.max(c.losses) for c in curves)),
    )


def _start(law: type[LossLaw], scale: Scale, rng: np.random.Generator) -> LossLaw:
    L0 = scale.lowest_loss * rng.uniform(0.7, 0.95)
    alpha = rng.uniform(0.3, 0.7)
    A = (scale.highest_loss - L0) * scale.first_progress**alpha
    floor = rng.uniform(0.05, 0.2)  # nats of noise at the peak rate
    memory = scale.num_steps * 10.0 ** rng.uniform(-3, -1)  # steps
    if law is MomentumLaw:
        return MomentumLaw(
            L0=L0, A=A, alpha=alpha, C=floor / (memory * scale.peak_rate), decay=float(np.exp(-1 / memory))
        )
    if law is FunctionalLaw:
        a2 = rng.uniform(1.1, 2.0)
        B2 = memory * scale.peak_rate
        C2 = floor * (a2 - 1) * B2 ** (a2 - 1) / scale.peak_rate
        return FunctionalLaw(L0=L0, C1=A, B1=0.1 * scale.first_progress, a1=alpha, C2=C2, B2=B2, a2=a2)
    beta, gamma = rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.8)
    C = scale.peak_rate ** (gamma - 1) / memory
    return MultiPowerLaw(L0=L0, A=A, alpha=alpha, B=floor / scale.peak_rate, C=C, beta=beta, gamma=gamma)


def _bounds(law: type[LossLaw], scale: Scale) -> tuple[Array, Array]:
    """Wide limits of `LossLaw.coordinates`: a factor 1e6 about the data's scale, exponents in `EXPONENTS`."""
    spread = 1e6
    loss = (1e-3 * scale.lowest_loss, scale.lowest_loss)
    amplitude = tuple(scale.highest_loss * scale.last_progress**a * f for a, f in ((0, 1 / spread), (1, spread)))
    progress = (1e-6 * scale.first_progress, scale.last_progress)
    noise = tuple(f / scale.peak_rate for f in (1 / spread, spread))
    if law is MomentumLaw:
        limits = [loss, amplitude, EXPONENTS, (noise[0] / scale.num_steps, noise[1]), (0.1 / scale.num_steps, 0.9)]
    elif law is FunctionalLaw:
        kernel = tuple(n / scale.peak_rate for n in noise)
        length = (1e-3 * scale.peak_rate, scale.last_progress)
        limits = [loss, amplitude, progress, EXPONENTS, kernel, length, EXPONENTS]
    else:
        rate = tuple(f / scale.last_progress for f in (1 / spread, spread**2))
        limits = [loss, amplitude, EXPONENTS, noise, rate, EXPONENTS, EXPONENTS]
    low, high = np.log(np.array(limits)).T
    return low, high
