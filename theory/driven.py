r"""Weights on the move: second moments under any schedule, for updates that are a process of their own.

.. math::
   \rho_{t+1} = \alpha_t^2\rho_t - 2\alpha_t\eta_t p_t + \eta_t^2 c_{tt}, \qquad
   p_t = -\sum_{s<t}\eta_s \Big(\prod_{s<i<t}\alpha_i\Big) c_{st}

Legend: as in `theory.stationary`, with :math:`c_{st} = \langle u_s u_t\rangle` and rates that vary.

Momentum makes :math:`c_{st}` a sum of modes, each of which is carried on by a factor per step:
:math:`c_{s,t+1} = \kappa_t c_{st}` within a mode. Then each mode's share of p obeys

.. math::  p_{t+1} = \kappa_t\alpha_t p_t - e_t\eta_t, \qquad e_t = c_{t,t+1}

and the whole trajectory costs O(T) per mode, exactly. Lags that are listed one by one cost O(T) each.

On the sphere the shrink of a step is one over the norm :math:`N_t = \sqrt{1-2\eta_t\cos_t+\eta_t^2}` before
projection, which depends on p itself, so the steps follow one another.

Derived here; with one mode it is the recursion of `theory.adamw`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from theory.recursion import affine_recursion
from theory.stationary import Autocovariance

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Drive:
    r"""The update as a process from step 0 on.

    Attributes
    ----------
    variance : (num_steps,) :math:`c_{tt}`.
    modes : yields pairs of (num_steps,) arrays, entry :math:`e_t` and carry :math:`\kappa_t`; for lags above K.
    lags : (K,) stationary :math:`c_1 \dots c_K`, none by default.
    """

    variance: Array
    modes: Callable[[], Iterator[tuple[Array, Array]]]
    lags: Array = field(default_factory=lambda: np.zeros(0))


def stationary_drive(autocovariance: Autocovariance, num_steps: int) -> Drive:
    """An update that is stationary from the first step on, while W starts independent of it."""

    def modes() -> Iterator[tuple[Array, Array]]:
        for amplitude, ratio in zip(autocovariance.amplitudes, autocovariance.ratios, strict=True):
            yield np.full(num_steps, amplitude), np.full(num_steps, ratio)

    return Drive(variance=np.full(num_steps, autocovariance.variance), modes=modes, lags=autocovariance.lags)


def moments(rates: Array, shrinkage: Array, drive: Drive, initial_rms: float | Array) -> tuple[Array, Array]:
    r"""Squared RMS and :math:`\langle W u\rangle` under decoupled decay, from W independent of u.

    Parameters
    ----------
    rates : (num_steps, ...) learning rate at every step.
    shrinkage : same shape, :math:`1 - \alpha_t`, the fraction that decay takes off at every step.
    initial_rms : broadcasts against one row.

    Returns
    -------
    rho : (num_steps + 1, ...) before each step and after the last.
    p : shape of ``rates``; it does not depend on the initial RMS.
    """
    num_steps, row = len(rates), rates.shape[1:]
    column = (num_steps, *(1,) * len(row))
    alpha = 1 - shrinkage
    p = np.zeros(rates.shape)
    waiting = rates  # eta_s times the decay since, for the lag at hand
    for lag, c in enumerate(drive.lags, start=1):
        p[lag:] -= c * waiting[:-1]
        waiting = waiting[:-1] * alpha[lag:]
    seen = num_steps - len(waiting)
    for entry, carry in drive.modes():
        offset = np.zeros(rates.shape)
        offset[seen:] = -entry.reshape(column)[: len(waiting)] * waiting
        p += affine_recursion(carry.reshape(column) * alpha, offset, np.zeros(row))[:-1]
    grown = rates * (rates * drive.variance.reshape(column) - 2 * alpha * p)
    squares = np.square(initial_rms)
    shape = (num_steps, *np.broadcast_shapes(row, np.shape(squares)))
    return affine_recursion(np.broadcast_to(alpha**2, shape), np.broadcast_to(grown, shape), squares), p


def sphere_cosines(rates: Array, drive: Drive) -> Array:
    r""":math:`\cos(W_t, u_t)` on the sphere at every step, shape of ``rates`` (num_steps, ...); modes only."""
    num_steps, row = len(rates), rates.shape[1:]
    s = drive.variance
    modes = list(drive.modes())
    scale = np.sqrt(s[:-1] * s[1:])
    entry = np.stack([e[:-1] / scale for e, _ in modes], axis=1)  # of the normalised update
    carry = np.stack([k[:-1] * np.sqrt(s[:-1] / s[1:]) for _, k in modes], axis=1)
    if not row and len(modes) == 1:
        return _cosines_of_one(rates, entry[:, 0], carry[:, 0])
    share, cosine = np.zeros((len(modes), *row)), np.zeros_like(rates)
    widen = (slice(None), *(None,) * len(row))
    for t in range(num_steps - 1):
        eta, c = rates[t], cosine[t]
        norm = np.sqrt(1 - 2 * eta * c + eta**2)
        share = (carry[t][widen] * share - entry[t][widen] * eta) / norm
        cosine[t + 1] = share.sum(axis=0)
    return cosine


def _cosines_of_one(rates: Array, entry: Array, carry: Array) -> Array:
    """One setting and one mode, where arrays of one number would take ten times as long."""
    cosine, cosines = 0.0, [0.0]
    for eta, e, k in zip(rates[:-1].tolist(), entry.tolist(), carry.tolist(), strict=True):
        cosine = (k * cosine - e * eta) / math.sqrt(1 - 2 * eta * cosine + eta * eta)
        cosines.append(cosine)
    return np.array(cosines)


def sphere_rates(angles: Array, drive: Drive) -> Array:
    r"""Learning rates at which each step on the sphere turns by the given angle: `sphere_cosines` inverted.

    From :math:`\theta = \mathrm{atan2}(\eta\sqrt{1-c^2}, 1-\eta c)` with the c that the steps so far have left,
    :math:`\eta = \tan\theta/(\sqrt{1-c^2} + c\tan\theta)`; that is below 0 where a step along -u cannot turn so far.

    ``angles`` (num_steps, ...) in [0, pi/2); the result has their shape. Modes only.
    """
    s, memory = drive.variance, _Memory(drive, angles.shape[1:])
    rates, c = np.empty_like(angles), np.zeros(())
    for t, turn in enumerate(np.tan(angles)):
        rates[t] = eta = turn / (np.sqrt(1 - c**2) + c * turn)
        if t + 1 < len(angles):
            shrink = 1 / np.sqrt(1 - 2 * eta * c + eta**2)
            c = memory.after(t, shrink * eta / np.sqrt(s[t]), shrink) / np.sqrt(s[t + 1])
    return rates


def decoupled_rates(
    angles: Array, drive: Drive, initial_rms: float | Array, *, weight_decay: float = 0.0, share: float = 0.0
) -> Array:
    r"""Learning rates at which each step under decoupled decay turns by the given angle: `moments` inverted.

    NaN from the first step on that no rate turns so far (`decoupled_rate`).

    Parameters
    ----------
    angles : (num_steps, ...) in [0, pi/2).
    weight_decay : :math:`\lambda`, which a step takes times its rate.
    share : d, which every step takes whatever its rate.
    """
    s, memory, row = drive.variance, _Memory(drive, angles.shape[1:]), angles.shape[1:]
    rates, rho, p = np.empty_like(angles), np.broadcast_to(np.square(initial_rms), row), np.zeros(row)
    for t, turn in enumerate(np.tan(angles)):
        rates[t] = eta = decoupled_rate(turn, rho, p, s[t], weight_decay=weight_decay, share=share)
        alpha = 1 - share - weight_decay * eta
        rho = alpha**2 * rho - 2 * alpha * eta * p + eta**2 * s[t]
        p = memory.after(t, eta, alpha)
    return rates


def decoupled_rate(
    turn: Array, rho: Array, p: Array, s: Array | float, *, weight_decay: float = 0.0, share: float = 0.0
) -> Array:
    r"""Learning rate of the step that turns by the angle whose tangent is ``turn``, from the moments before it.

    With :math:`\alpha = 1 - d - \lambda\eta`, :math:`\tan\theta\,(\alpha\rho - \eta p) = \eta\sqrt{\rho s - p^2}`
    is linear in the rate,

    .. math:: \eta = \frac{(1-d)\rho\tan\theta}{\sqrt{\rho s - p^2} + (p + \lambda\rho)\tan\theta}

    NaN where no rate turns so far: a step along -u turns by less than :math:`\mathrm{atan2}(\sqrt{\rho s-p^2}, -p)`.
    ``weight_decay`` and ``share`` are those of `decoupled_rates`.
    """
    across = np.sqrt(np.maximum(rho * s - p**2, 0))
    possible = across + p * turn > 0
    below = np.where(possible, across + (p + weight_decay * rho) * turn, np.nan)
    return np.where(turn > 0, (1 - share) * rho * turn / below, 0.0)


class _Memory:
    """<W u> of the next step, mode by mode, while the steps are still being chosen."""

    def __init__(self, drive: Drive, row: tuple[int, ...]) -> None:
        if len(drive.lags):
            raise ValueError("lags that are listed one by one cannot be followed step by step")
        entries, carries = zip(*drive.modes(), strict=True)
        column = (-1, len(entries), *(1,) * len(row))
        self.entry, self.carry = (np.stack(each, axis=1).reshape(column) for each in (entries, carries))
        self.share = np.zeros((len(entries), *row))

    def after(self, t: int, eta: Array, alpha: Array | float) -> Array:
        """p at step t + 1, after a step of that length and shrink."""
        self.share = self.carry[t] * alpha * self.share - self.entry[t] * eta
        return np.asarray(self.share.sum(axis=0))


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
