r"""What the norm of a matrix did, and what it should have done.

.. math::
   \rho_{t+1} = \alpha_t^2\rho_t - 2\alpha_t\eta_t p_t + \eta_t^2 s_t, \qquad
   \langle W_{t+1}u_t\rangle = \alpha_t p_t - \eta_t s_t

Legend: :math:`\rho, s` mean squares of weights and direction, :math:`p = \langle W_t u_t\rangle`, :math:`\alpha_t = 1 -
\eta_t\lambda`. The first is an identity of decoupled decay; the second turns a product that was recorded after the step
into the one before it.

**Force budget.** The direction is momentum's, so that even on white noise it remembers steps that W has taken: then
:math:`p_t = -r_t s_t`, with r from the theory (:math:`\eta\beta_1/(1-\beta_1)` at a constant rate). What a step adds to
:math:`\rho` splits into

    noise      :math:`\eta^2 s`, a step at right angles
    momentum   :math:`2\alpha\eta r s`
    signal     :math:`-2\alpha\eta(p + rs)`: gradients that point along W, or that are alike beyond momentum
    decay      :math:`-(1-\alpha^2)\rho`

On white noise :math:`-2\langle W_{t+1}u_t\rangle/(\eta s) = 2/(1-\beta_1)`, 20 at beta1 = 0.9: what is above is signal.

**Own equilibrium.** In the time :math:`\tau = 2\lambda\sum\eta` any norm obeys :math:`d\rho/d\tau = \rho_{eq} - \rho`
with whatever level its direction gives it at that moment, so that :math:`\rho + d\rho/d\tau` is this level, told by the
norm alone.

Derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.logs.history import Matrix, Series
from theory import Optimizer
from theory.models import Moments, OnSphere
from theory.networks import Model
from theory.recursion import affine_recursion
from theory.settling import transient_steps

Array = NDArray[np.float64]

SPACING = 0.02  # relaxations between the records that tell a slope
LEAST_POINTS = 5
TOLERANCE = 0.05
CLEARLY = 0.05  # by which a direction ratio is off 1, where it makes half of the error of the norm or less
LEAST_LEVEL = 1e-30  # of equilibrium, by which a mean square is divided, and as a share of that mean square
LEAST_GROWN = 0.1  # of the last mean square of the weights, by steps since the first record, to tell a direction


@dataclass(frozen=True, kw_only=True)
class ForceBudget:
    """Sums over the recorded part of a run, as shares of what drives the norm outward: ``noise + momentum + signal`` is
    1, ``decay`` is below 0. ``alignment`` is -2<W,u>/(rate <u^2>) after the step, with its value on white noise."""

    noise: float
    momentum: float
    signal: float
    decay: float
    alignment: float
    alignment_white_noise: float


class Settled(NamedTuple):
    """Steps made when a norm had come to equilibrium; None for never, or where too little is logged to be ``known``."""

    step: int | None
    known: bool


NOT_KNOWN = Settled(None, known=False)


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm:
    """A matrix along the run.

    start : steps made at the first record, or 0 with an initial RMS that was told. predicted, driven : RMS before each
    step from there on and after the last, by the theory with the predicted and with the measured direction.
    angles : (num_steps - start,) in radians. The measured norm and direction count where they are; None where nothing
    tells it. angles_predicted : the same by theory alone. direction_ratio : of the RMS of a direction that nobody
    logged to the predicted one, told by the growth of the norm; None where it tells none that is clearly off 1.
    """

    matrix: Matrix
    start: int
    predicted: Array | None
    driven: Array | None
    angles: Array | None
    angles_predicted: Array | None
    update_rms: Array | None
    cosine: Array | None
    error: float | None
    error_predicted: float | None
    settled: Settled
    budget: ForceBudget | None
    direction_ratio: float | None = None


def predicted_moments(model: Model, rates: Array, initial_rms: float) -> Moments:
    """The moments with the direction that the theory predicts.

    rates : (num_steps,) from the first step on, so that the direction has its memory where records begin.
    """
    return model.moments(rates, np.array([initial_rms]))


def each_step(moments: Moments) -> tuple[Array, Array, Array, Array]:
    """p, s, the step's length and the shrinkage of the first matrix, (num_steps,) each."""
    p, s, e, x = (np.broadcast_to(part, (len(moments.rho) - 1, moments.rho.shape[1]))[:, 0] for part in moments[1:])
    return p, s, e, x


def follow(
    matrix: Matrix,
    optimizer: Optimizer,
    model: Model,
    rates: Array,
    *,
    initial_rms: float | None,
    after: bool,
    reaches: bool,
) -> Norm:
    """Compare a matrix with the theory.

    model : of the optimizer in its network. rates : (num_steps,) of the run. initial_rms : before the first step; None
    takes the first record. after : whether the direction was recorded after its step. reaches : whether the run is long
    enough for equilibrium.
    """
    weights = matrix.weight_rms
    start, initial = 0, initial_rms
    known = np.zeros(0, bool) if weights is None else np.isfinite(weights.values) & (weights.values > 0)
    if weights is not None and known.any():
        first = int(weights.done[known][0])
        if initial is None or first <= 1 or matrix.norm_only:
            start, initial = first, float(weights.values[known][0])
    if initial is None or start >= len(rates):
        return _unknown(matrix, start)
    held = isinstance(model, OnSphere)
    p, s, e, x = (part[start:] for part in each_step(predicted_moments(model, rates, initial)))
    settled = NOT_KNOWN if weights is None else own_equilibrium_step(weights, rates, start, x, reaches=reaches)
    if matrix.norm_only:
        return _unknown(matrix, start, settled)
    predicted = np.full(len(s) + 1, initial) if held else driven_rms(s, p, e, x, initial)
    turned = turns(np.square(predicted[:-1]), s, p, e, x)
    momentum, driven, budget, measured = p, None, None, False
    if matrix.update_rms is not None and matrix.update_rms.known:
        done = np.arange(start, len(rates), dtype=np.float64) + after
        measured_s = np.square(matrix.update_rms.at(done))
        momentum = p * measured_s / s
        s, p, measured = measured_s, momentum, True
        if matrix.mean_w_u is not None and matrix.mean_w_u.known:
            product = matrix.mean_w_u.at(done)
            p = (product + e * s) / (1 - x) if after else product
        if held:
            driven = predicted
        else:
            driven = driven_rms(s, p, e, x, initial)
            if p is not momentum:
                budget = force_budget(s, p, momentum, e, x, driven, getattr(optimizer, "beta1", 0.0))
    before = predicted[:-1] if driven is None else driven[:-1]
    if weights is not None:
        before = weights.at(np.arange(start, len(rates), dtype=np.float64))
    return Norm(
        matrix=matrix,
        start=start,
        predicted=predicted,
        driven=driven,
        angles=turns(np.square(before), s, p, e, x),
        angles_predicted=turned,
        update_rms=np.sqrt(s) if measured else None,
        cosine=cosines(p, before * np.sqrt(s)) if measured else None,
        error=None if weights is None or driven is None else largest_error(driven, weights, start),
        error_predicted=None if weights is None else largest_error(predicted, weights, start),
        settled=settled,
        budget=budget,
        direction_ratio=None if weights is None or measured or held else grown_ratio(weights, predicted, start, x),
    )


def grown_ratio(weights: Series, predicted: Array, start: int, shrinkage: Array) -> float | None:
    """Of the RMS of the direction to the predicted one, by which the norm grows as it was logged.

    What steps add to the mean square goes like the square of the direction, as on white noise. None where they added
    little, or where no ratio halves the error.
    """
    kept = np.isfinite(weights.values) & (weights.values > 0) & (weights.done >= start)
    place, rho = weights.done[kept] - start, np.square(weights.values[kept])
    left = predicted[0] ** 2 * np.append(1.0, np.cumprod(np.square(1 - shrinkage)))[place]
    grown = np.square(predicted[place]) - left
    if len(place) < LEAST_POINTS or grown[-1] < LEAST_GROWN * rho[-1]:
        return None
    square = float(np.sum((rho - left) * grown) / np.sum(np.square(grown)))
    if square <= 0 or abs(np.sqrt(square) - 1) < CLEARLY:
        return None
    before, after = (np.max(np.abs(np.sqrt(np.maximum(left + c * grown, 0) / rho) - 1)) for c in (1.0, square))
    return float(np.sqrt(square)) if after < before / 2 else None


def driven_rms(s: Array, p: Array, e: Array, x: Array, initial_rms: float) -> Array:
    """The recursion with any direction: (num_steps,) arrays to (num_steps + 1,) RMS."""
    grown = e * (e * s - 2 * (1 - x) * p)
    rho = affine_recursion(np.square(1 - x)[:, None], grown[:, None], np.array([initial_rms**2]))[:, 0]
    return np.sqrt(np.maximum(rho, 0))


def turns(rho: Array, s: Array, p: Array, e: Array, x: Array) -> Array:
    """Angle of every step in radians."""
    across = np.sqrt(np.maximum(rho * s - p**2, 0))
    return np.arctan2(e * across, (1 - x) * rho - e * p)


def cosines(products: Array, lengths: Array) -> Array:
    """NaN where a length is 0."""
    return np.divide(products, lengths, out=np.full(len(products), np.nan), where=lengths > 0)


def force_budget(
    s: Array, p: Array, momentum: Array, e: Array, x: Array, rms: Array, beta1: float
) -> ForceBudget | None:
    """``momentum`` is p as momentum alone makes it; None where nothing drives the norm outward."""
    noise = float(np.sum(e * e * s))
    remembered = float(np.sum(-2 * (1 - x) * e * momentum))
    signal = float(np.sum(-2 * (1 - x) * e * (p - momentum)))
    decay = -float(np.sum((2 - x) * x * np.square(rms[:-1])))
    outward = noise + remembered + signal
    if outward <= 0 or noise <= 0:
        return None
    return ForceBudget(
        noise=noise / outward,
        momentum=remembered / outward,
        signal=signal / outward,
        decay=decay / outward,
        alignment=(noise + outward) / noise,
        alignment_white_noise=2 / (1 - beta1),
    )


def largest_error(rms: Array, weights: Series, start: int) -> float | None:
    """Over the records from ``start`` on, of theory over measured, less 1."""
    kept = np.isfinite(weights.values) & (weights.values > 0) & (weights.done >= start)
    if not kept.any():
        return None
    return float(np.max(np.abs(rms[weights.done[kept] - start] / weights.values[kept] - 1)))


def peak_end_of(rates: Array) -> int:
    """Steps before the rate begins to fall for good."""
    return int(np.flatnonzero(rates >= 0.999 * rates.max())[-1]) + 1


def own_equilibrium_step(weights: Series, rates: Array, start: int, shrinkage: Array, *, reaches: bool) -> Settled:
    """Steps made at the first record from which on the RMS is within 5 % of the level that its direction gives it.

    As long as the peak rate lasts; a level that falls with the rate and passes the norm on its way counts only in a run
    that is long enough (``reaches``). Not known where there are too few records, or no decay.
    """
    kept = np.isfinite(weights.values) & (weights.done >= start)
    done, rho = weights.done[kept], np.square(weights.values[kept])
    tau = np.append(0.0, np.cumsum(2 * shrinkage))[done - start]
    spacing = max(SPACING, tau[-1] / 200) if len(tau) else SPACING
    slot = np.floor(tau / spacing)
    first = np.append(True, np.diff(slot) > 0)[: len(slot)]
    if first.sum() < LEAST_POINTS:
        return NOT_KNOWN
    done, rho, tau = done[first], rho[first], tau[first]
    level = rho + np.gradient(rho, tau)
    ratio = np.sqrt(rho / np.maximum(level, np.maximum(LEAST_LEVEL * rho, LEAST_LEVEL)))
    last = int(np.searchsorted(done, peak_end_of(rates), side="right")) - 1
    place = transient_steps(ratio, 1.0, peak_end=min(max(last, 0), len(done) - 1), tolerance=TOLERANCE)
    if place is None or (place > last and not reaches):
        return Settled(None, known=True)
    return Settled(int(done[place]), known=True)


def _unknown(matrix: Matrix, start: int, settled: Settled = NOT_KNOWN) -> Norm:
    return Norm(
        matrix=matrix,
        start=start,
        predicted=None,
        driven=None,
        angles=None,
        angles_predicted=None,
        update_rms=None,
        cosine=None,
        error=None,
        error_predicted=None,
        settled=settled,
        budget=None,
    )
