r"""The norm under a schedule, in closed form: what a varying learning rate leaves in the weights, and how it lags.

.. math::
   \dot\rho = -2\lambda\eta_t\,\rho + \eta_t^2 \quad\Rightarrow\quad
   \rho_t = e^{-2\kappa_t}\rho_0 + \nu_t, \qquad
   \nu_t = \int_0^t e^{-2(\kappa_t-\kappa_s)}\,\eta_s^2\,ds, \qquad \kappa_t = \lambda\int_0^t\eta

Legend: :math:`\rho` squared weight RMS of AdamW; :math:`\eta_t = \eta\, s(t)` with the multiplier s of
`theory.schedules`; :math:`c = 2\lambda\eta`; :math:`\nu = \eta^2 J`, :math:`J = \int e^{-c(S(x)-S(y))} s(y)^2 dy`.

**Segments.** With :math:`\Delta = c(S(x)-S(0))`, g the slope of a ramp and :math:`k = c/2|g|`, every straight piece
obeys one formula, :math:`J = [H(s_1) - e^{-\Delta}H(s_0)]/c`:

.. math::
   \text{hold } H = s, \qquad
   \text{falling } H = s + \frac{\sqrt\pi}{2\sqrt k}\,\mathrm{erfcx}(\sqrt k s), \qquad
   \text{rising } H = s - \frac{F(\sqrt k s)}{\sqrt k}

with Dawson's integral F. Here s is the equilibrium of the moment and the rest is the lag: above it while the rate
falls, below it while the rate rises. Where :math:`\Delta < 1` the difference would lose digits, and J is a
Gauss-Legendre sum; so it is on a half cosine, whose integral has no elementary form (a series of Bessel functions
exists, but in a run of n relaxation times its terms reach :math:`e^{n/\pi}` and cancel). The sum takes 64 nodes over
the stretch that is not yet forgotten, :math:`e^{-45}`; measured relative error below 1e-11.

**After a long linear decay**, from equilibrium, with n relaxation times in the decay and the fraction s of the rate
left (derived here):

.. math::
   \frac{\rho}{\rho_{peak}} = s + L(s) - e^{-n(1-s^2)}L(1), \quad
   L(s) = \frac{\sqrt\pi}{2\sqrt n}\,\mathrm{erfcx}(\sqrt n s), \qquad
   \frac{\mathrm{RMS}_{end}}{\mathrm{RMS}_{peak}} \to \left(\frac{\pi}{4n}\right)^{1/4}

So below :math:`s \approx 1/\sqrt n` the norm stands still and the angle falls like :math:`\eta` and not like
:math:`\sqrt\eta`. A rate that ends like :math:`A\zeta^p`, :math:`\zeta` the time left over the time of decay, leaves
an RMS that falls only like :math:`n^{-p/(2p+2)}`: a quarter power after a line, a third after a cosine.

Assumptions and failures: those of the slow limit in `theory.adamw`; the start-up of Adam's averages is not in it.
Derived here; the integral is that of arXiv 2606.16899 in other words.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import dawsn, erfcx, exprel, gamma

from theory.checks import InvalidParameter, require_number
from theory.momentum import stationary_update_rms
from theory.recursion import affine_recursion
from theory.schedules import Schedule, ScheduleLike, as_schedule
from theory.segments import Segment
from theory.symbolic import positive, sp

Array = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
BLOCK = 2048  # times per block of the quadrature
FORGOTTEN = 45.0  # relaxation times after which an update has left the norm, to double precision


# Derivations


def derive_remembered_square() -> dict[str, sp.Expr]:
    r"""J of a straight piece from :math:`s_0` to :math:`s_1`, keys ``hold`` (:math:`s_0`, length x), ``rising``,
    ``falling``; g > 0 is the size of the slope. Integrated over :math:`u = s(y)`, :math:`dy = du/g`."""
    c, s0, s1, slope, x, y, u = positive("c s_0 s_1 g x y u")
    k = c / (2 * slope)
    return {
        "hold": sp.integrate(sp.exp(-c * s0 * (x - y)) * s0**2, (y, 0, x)),
        "rising": sp.exp(-k * s1**2) * sp.integrate(u**2 * sp.exp(k * u**2), (u, s0, s1)) / slope,
        "falling": sp.exp(k * s1**2) * sp.integrate(u**2 * sp.exp(-k * u**2), (u, s1, s0)) / slope,
    }


def derive_linear_decay() -> sp.Expr:
    r""":math:`\rho/\rho_{peak}` at the fraction s of the rate, n relaxation times from s = 1 to s = 0."""
    c, s0, s1, slope, n, s = positive("c s_0 s_1 g n s")
    whole = derive_remembered_square()["falling"].subs({s0: 1, s1: s}).subs(slope, c / (2 * n))
    return sp.simplify(sp.exp(-n * (1 - s**2)) + c * whole)  # in units of rho_peak = eta^2/c


def derive_decay_end() -> sp.Expr:
    r"""Leading :math:`\rho_{end}/\rho_{peak}` of a decay of length T that ends like :math:`A\zeta^p`; m = cT."""
    zeta, p, A, m = positive("zeta p A m")
    kernel = sp.exp(-m * A * zeta ** (p + 1) / (p + 1))
    return sp.simplify(m * sp.integrate(kernel * A**2 * zeta ** (2 * p), (zeta, 0, sp.oo)))


# nu


def remembered_square(segment: Segment, x: ArrayLike, decay: ArrayLike) -> Array:
    r"""J at x steps into a segment: :math:`\int_0^x e^{-c(S(x)-S(y))}s(y)^2dy`; ``x`` and c = ``decay`` broadcast.

    ``decay`` is :math:`2\lambda\eta` at the peak, at least 0; at 0 it is `Segment.integral_of_square`.
    """
    steps, rate = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(decay, np.float64))
    if segment.shape == "ramp" and segment.first == segment.last:
        return segment.first**2 * steps * exprel(-rate * segment.first * steps)
    forgotten = rate * segment.integral(steps)
    closed = (forgotten > 1) & (segment.shape == "ramp")
    result = np.empty(steps.shape)
    result[closed] = _ramp(segment, steps[closed], rate[closed], forgotten[closed])
    result[~closed] = _quadrature(segment, steps[~closed], rate[~closed])
    return result


def nu(schedule: ScheduleLike, x: ArrayLike, *, learning_rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    r""":math:`\nu(x)`: the part of the squared weight RMS that the updates up to time x (in steps) have left.

    ``x`` in [0, num_steps]; ``learning_rate`` the peak. All three broadcast; zero weight decay is allowed.
    Raises `InvalidParameter` for a time outside the run, a rate not above 0, a negative decay.
    """
    schedule = as_schedule(schedule)
    times, eta, lam = _settings(schedule, x, learning_rate, weight_decay)
    total, start = np.zeros(times.shape), 0
    for segment in schedule.segments():
        inside = np.clip(times - start, 0, segment.length)
        forgotten = 2 * lam * eta * segment.integral(inside)
        total = total * np.exp(-forgotten) + remembered_square(segment, inside, 2 * lam * eta)
        start += segment.length
    return eta**2 * total


def weight_rms(
    schedule: ScheduleLike,
    x: ArrayLike,
    *,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    initial_rms: ArrayLike,
) -> Array:
    r"""Weight RMS :math:`\sqrt{\rho(x)}` in the slow limit, under any schedule; arguments broadcast as in `nu`."""
    schedule = as_schedule(schedule)
    times, eta, lam = _settings(schedule, x, learning_rate, weight_decay)
    remembered = np.exp(-2 * lam * eta * schedule.integral(times))
    return np.sqrt(np.square(initial_rms) * remembered + nu(schedule, times, learning_rate=eta, weight_decay=lam))


def weight_rms_at_nodes(
    schedule: Schedule, x: Array, *, learning_rate: Array, weight_decay: Array, initial_rms: Array
) -> Array:
    """`weight_rms` at times ``x`` (num_segments, num_nodes), each in its segment: the cost grows like the segments.

    The settings (num_settings,) are taken as they are; returns (num_segments, num_nodes, num_settings).
    """
    decay, left, start = 2 * weight_decay * learning_rate, np.square(initial_rms), 0
    rho = np.empty((*x.shape, decay.size))
    for row, segment in enumerate(schedule.segments()):
        inside = np.append(np.clip(x[row] - start, 0, segment.length), segment.length)[:, None]
        grown = learning_rate**2 * remembered_square(segment, inside, decay)
        squares = left * np.exp(-decay * segment.integral(inside)) + grown
        rho[row], left, start = squares[:-1], squares[-1], start + segment.length
    return np.sqrt(rho)


def slow_angular_updates(
    learning_rates: ArrayLike,
    *,
    weight_decay: float,
    initial_rms: float,
    beta1: float = 0.9,
    hold: ArrayLike = 1.0,
) -> Array:
    r"""Angle per step in radians in the slow limit, for rates in a list: the ODE, rate by rate.

    :math:`\theta_t = \eta_t\sqrt{q/\rho_t}`, :math:`q = (1-\beta_1)/(1+\beta_1)`, with each rate held for a step or
    more. The start-up of the moments is left out; `theory.predict_trajectory` has it.

    Parameters
    ----------
    learning_rates : (num_rates,) at least 0.
    weight_decay : lam, at least 0; ``initial_rms`` : weight RMS at the start, above 0.
    hold : number of steps that each rate is held for, scalar or (num_rates,); the angles are those of the first.
    """
    require_number("weight_decay", weight_decay, at_least=0)
    require_number("initial_rms", initial_rms, above=0)
    require_number("beta1", beta1, at_least=0, below=1)
    eta = np.asarray(learning_rates, dtype=np.float64)
    if not np.all(eta >= 0):
        raise InvalidParameter("learning_rates", float(eta[~(eta >= 0)][0]), "at least 0")
    steps = np.asarray(hold, dtype=np.float64)
    exponent = 2 * weight_decay * eta * steps
    grown = eta**2 * steps * exprel(-exponent)
    rho = affine_recursion(np.exp(-exponent), grown, np.asarray(initial_rms**2))[:-1]
    return eta * stationary_update_rms(beta1) / np.sqrt(rho)


# The lag behind a falling rate


def lag(
    schedule: ScheduleLike,
    x: ArrayLike,
    *,
    learning_rate: ArrayLike,
    weight_decay: ArrayLike,
    initial_rms: ArrayLike,
) -> Array:
    r"""Weight RMS over the equilibrium :math:`\sqrt{\eta_t/2\lambda}` of the moment; inf where the rate is 0."""
    rms = weight_rms(schedule, x, learning_rate=learning_rate, weight_decay=weight_decay, initial_rms=initial_rms)
    with np.errstate(divide="ignore"):
        return rms / np.sqrt(
            np.asarray(learning_rate) * as_schedule(schedule).value(x) / (2 * np.asarray(weight_decay))
        )


def linear_decay_rms(remaining: ArrayLike, num_relaxations: ArrayLike) -> Array:
    r"""Weight RMS over the equilibrium of the peak, when a straight decay to 0 from equilibrium has come down to s.

    ``remaining`` s in [0, 1]; ``num_relaxations`` n above 0, in the decay alone: :math:`\lambda\eta T_{decay}`.
    """
    left, count = np.asarray(remaining, np.float64), np.asarray(num_relaxations, np.float64)
    if not np.all((left >= 0) & (left <= 1)):
        raise InvalidParameter("remaining", remaining, "between 0 and 1")
    if not np.all(count > 0):
        raise InvalidParameter("num_relaxations", num_relaxations, "above 0")
    root = np.sqrt(count)
    remembered = erfcx(root * left) - np.exp(-count * (1 - left**2)) * erfcx(root)
    return np.sqrt(left + np.sqrt(np.pi) / (2 * root) * remembered)


def linear_decay_angle(remaining: ArrayLike, num_relaxations: ArrayLike) -> Array:
    r"""Angular update over that of the peak, :math:`s/\sqrt{\rho/\rho_{peak}}`: like :math:`\sqrt s`, then like s."""
    return np.asarray(remaining, np.float64) / linear_decay_rms(remaining, num_relaxations)


def decay_end_rms(num_relaxations: ArrayLike, shape: str = "line") -> Array:
    r"""Leading law for the RMS at the end of a decay to 0 over the equilibrium of its peak; n is large.

    ``line``: :math:`(\pi/4n)^{1/4}`; ``cosine``: the same integral with :math:`A = \pi^2/4`, :math:`p = 2`, which
    falls like :math:`n^{-1/3}`. n counts the relaxation times of the decay: :math:`\lambda\eta T_{decay}` for both.
    """
    shapes = {"line": (1.0, 1), "cosine": (np.pi**2 / 4, 2)}
    if shape not in shapes:
        raise InvalidParameter("shape", shape, "'line' or 'cosine'")
    amplitude, p = shapes[shape]
    scale = 2 * np.asarray(num_relaxations, np.float64) * amplitude / (p + 1)
    return np.sqrt(amplitude * gamma((2 * p + 1) / (p + 1)) * scale ** (-p / (p + 1)))


def _ramp(segment: Segment, x: Array, decay: Array, forgotten: Array) -> Array:
    slope = (segment.last - segment.first) / segment.length
    root = np.sqrt(decay / (2 * abs(slope)))

    def lagging(value: Array) -> Array:
        if slope > 0:
            return value - dawsn(root * value) / root
        return value + np.sqrt(np.pi) / 2 * erfcx(root * value) / root

    start = np.full_like(x, segment.first)
    return (lagging(segment.value(x)) - np.exp(-forgotten) * lagging(start)) / decay


def _quadrature(segment: Segment, x: Array, decay: Array) -> Array:
    whole = segment.integral(x)
    with np.errstate(divide="ignore"):
        first = segment.time_at_integral(np.maximum(whole - FORGOTTEN / decay, 0.0))
    half = (x - first) / 2
    result = np.empty(x.shape)
    for block in range(0, len(x), BLOCK):  # what fits a cache
        here = slice(block, block + BLOCK)
        times = first[here, None] + half[here, None] * (1 + NODES)
        kernel = np.exp(-decay[here, None] * (whole[here, None] - segment.integral(times)))
        result[here] = half[here] * ((kernel * segment.value(times) ** 2) @ WEIGHTS)
    return result


def _settings(
    schedule: Schedule, x: ArrayLike, learning_rate: ArrayLike, weight_decay: ArrayLike
) -> tuple[Array, Array, Array]:
    eta, lam = np.asarray(learning_rate, np.float64), np.asarray(weight_decay, np.float64)
    if not np.all(np.isfinite(eta) & (eta > 0)):
        raise InvalidParameter("learning_rate", learning_rate, "a finite number above 0")
    if not np.all(np.isfinite(lam) & (lam >= 0)):
        raise InvalidParameter("weight_decay", weight_decay, "a finite number, at least 0")
    times, eta, lam = np.broadcast_arrays(np.asarray(x, np.float64), eta, lam)
    if not np.all((times >= 0) & (times <= schedule.num_steps)):
        raise InvalidParameter("x", x, f"between 0 and num_steps = {schedule.num_steps}")
    return times, eta, lam


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
