r"""The learning rate that a loss law in effective learning rate calls best, for AdamW and for AdamH.

.. math::
   L = L_\infty + A N^{-a} + C_1 (B_1 + S)^{-a_1}
       + C_2 \Big(\frac{N}{N_r}\Big)^{g}\frac{B_r}{B} \int_0^S (B_2 + S - S')^{-a_2}\, r\, dS', \qquad
   S = \sum_t r_t, \quad r_t = d(B)\,\theta_t

Legend: N parameters; D tokens; B tokens per step; :math:`T = D/B` steps; :math:`\theta_t` angle per step: for AdamW in
the slow limit of `theory.slow_norm`, transient and lag included, for AdamH the learning rate itself; d the share of the
angle that goes along the signal (`theory.effective_lr`).

Assumptions: the loss sees a run only through its angles (scale-invariant matrices, all else fixed); drift and noise
add; the noise grows with N like a power, and only there does N move the optimum; the constants depend on neither D nor
B. Batch size enters twice, as 1/B in the noise and through d.

The slow limit costs little: for 19,073 steps, decay 0.1 and RMS_0 0.02 the optimum is within 0.4 % of that of the exact
recursion, 0.01 % with a warmup of 1 %. It fails without warmup where the first steps are as large as the start,
:math:`\eta \gtrsim \mathrm{RMS}_0/3`: Adam's first steps are sign updates, and their angles count.

**Asymptotics** (derived here). Where the angle's path is a fixed shape times its peak :math:`\theta`, and
:math:`B_1, B_2 \ll S`, the integral goes like :math:`\theta (T\theta)^{-m}` and the best peak angle is log-linear:

.. math::
   \theta_* \propto \big(N^{-g} B\big)^{1/(1+a_1-m)}\; T^{-(a_1-m)/(1+a_1-m)}, \qquad
   m = \min\Big(\frac{p\gamma}{p\gamma+1},\, a_2-1\Big)

A rate that ends like :math:`\zeta^p` in the time :math:`\zeta` left (p = 0: no decay to 0; 1: a line; 2: a cosine)
makes an angle that ends like :math:`\zeta^{p\gamma}`, and annealing takes m powers of S off the noise.

* deep equilibrium: :math:`\theta = \sqrt{2q\eta\lambda}`, :math:`\gamma = 1/2`, :math:`\eta_* = \theta_*^2/2q\lambda`;
* frozen norm: :math:`\theta = \eta\sqrt q/\mathrm{RMS}_0`, :math:`\gamma = 1`, :math:`\eta_* =
  \theta_*\mathrm{RMS}_0/\sqrt q`;
* between them, if :math:`2\lambda\,\mathrm{RMS}_0\sqrt T \ll 1`, :math:`\theta = \sqrt{q/t}` whatever the rate: the
  loss is flat there, and `OptimumOutcome.FLAT` says so instead of naming a rate.

So the slopes of :math:`\ln\eta_*` stand 2:1 if the rate does not decay. If it does, their ratio is
:math:`2(1+a_1-m_{frozen})/(1+a_1-m_{deep}) \le 2`: at equilibrium the angle anneals as the root of the rate, until the
lag of `theory.slow_norm` sets in.

Source of the law: arXiv 2608.24814, 2509.19189; its dependence on N and B is an assumption made here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray

from theory import slow_norm
from theory.checks import InvalidParameter, require_number
from theory.effective_lr import signal_share, update_rms
from theory.momentum import stationary_update_rms
from theory.schedules import Schedule

Array = NDArray[np.float64]

AXES = ("num_params", "num_tokens", "tokens_per_step", "weight_decay", "initial_rms")

NODES = 131  # per segment: the integrals of a run are good to 1e-5, and smooth in every parameter
OFFSETS = np.arange(-3.0, 5.0)
STEP_WEIGHTS = np.linalg.solve(np.vander(OFFSETS, increasing=True).T, 1 / np.arange(1.0, 9.0))  # of the step 0 to 1
LOWEST, HIGHEST = 1e-9, 1e3  # learning rates among which an optimum is looked for
SCAN = 81  # points of the first scan
STEP = 0.02  # of the differences in ln(learning rate) that polish a minimum
CHUNK = 1_000_000  # angles held in memory at once


@dataclass(frozen=True, kw_only=True)
class AngleLaw:
    """The law above. Its constants have no defaults: they are measured, or stated as an example.

    Parameters
    ----------
    C1, a1, C2, a2, B2 : above 0. B1 : at least 0.
    noise_growth : g; above 0 the optimum falls with N.
    noise_batch : tokens per step at which signal and noise of a gradient are equal; None leaves out the share d.
    L_inf, A, a : the part that no learning rate changes.
    reference_params, reference_batch : N_r and B_r, where C2 is the coefficient.
    """

    C1: float
    a1: float
    C2: float
    a2: float
    B2: float
    B1: float = 0.0
    noise_growth: float = 0.0
    noise_batch: float | None = None
    L_inf: float = 0.0
    A: float = 0.0
    a: float = 0.0
    reference_params: float = 1e8
    reference_batch: float = 2.0**19

    def __post_init__(self) -> None:
        for name in ("C1", "a1", "C2", "a2", "B2", "reference_params", "reference_batch"):
            require_number(name, getattr(self, name), above=0)
        require_number("B1", self.B1, at_least=0)
        if self.noise_batch is not None:
            require_number("noise_batch", self.noise_batch, above=0)
        for name in ("noise_growth", "L_inf", "A", "a"):
            require_number(name, getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained, but for the learning rate: numbers above 0, or arrays that broadcast.

    ``schedule`` gives the shape and is stretched to num_tokens / tokens_per_step steps. ``weight_decay`` (PyTorch
    convention, 0 allowed) and ``initial_rms`` matter to AdamW only. Raises `InvalidParameter`.
    """

    num_params: ArrayLike
    num_tokens: ArrayLike
    schedule: Schedule
    optimizer: Literal["adamw", "adamh"] = "adamw"
    tokens_per_step: ArrayLike = 2.0**19
    weight_decay: ArrayLike = 0.1
    initial_rms: ArrayLike = 0.02
    beta1: float = 0.9

    def __post_init__(self) -> None:
        for name in AXES:
            values = np.asarray(getattr(self, name), np.float64)
            allowed = values >= 0 if name == "weight_decay" else values > 0
            if not np.all(np.isfinite(values) & allowed):
                raise InvalidParameter(name, getattr(self, name), "a finite number above 0")
        if self.optimizer not in ("adamw", "adamh"):
            raise InvalidParameter("optimizer", self.optimizer, "'adamw' or 'adamh'")
        require_number("beta1", self.beta1, at_least=0, below=1)

    @property
    def num_steps(self) -> Array:
        """T, not rounded."""
        return np.asarray(self.num_tokens, np.float64) / np.asarray(self.tokens_per_step, np.float64)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape to which the arrays broadcast."""
        return np.broadcast_shapes(*(np.shape(getattr(self, name)) for name in AXES))

    def at(self, axis: str, values: ArrayLike) -> Setting:
        """The same with another value, or array of values, of one of `AXES`."""
        if axis not in AXES:
            raise InvalidParameter("axis", axis, f"one of {', '.join(AXES)}")
        return replace(self, **{axis: values})  # type: ignore[arg-type]

    def num_relaxations(self, learning_rate: ArrayLike) -> Array:
        r"""Relaxation times of AdamW's norm in the run, :math:`2\lambda\sum_t\eta_t`, at a peak learning rate."""
        mean = self.schedule.integral(self.schedule.num_steps) / self.schedule.num_steps
        return 2 * np.asarray(self.weight_decay) * np.asarray(learning_rate) * mean * self.num_steps


# The loss of a run


def excess_loss(law: AngleLaw, setting: Setting, learning_rate: ArrayLike) -> Array:
    """Final loss in nats above the part that no learning rate changes; ``learning_rate`` broadcasts."""
    return _outcome(law, setting, learning_rate)[1]


def loss(law: AngleLaw, setting: Setting, learning_rate: ArrayLike) -> Array:
    """Final loss in nats; ``learning_rate`` broadcasts against the setting."""
    settled = law.L_inf + law.A * np.asarray(setting.num_params, np.float64) ** -law.a
    return settled + excess_loss(law, setting, learning_rate)


def mean_angle(setting: Setting, learning_rate: ArrayLike) -> Array:
    """Angle per step in radians, averaged over the run; no law needed."""
    any_law = AngleLaw(C1=1.0, a1=1.0, C2=1.0, a2=1.0, B2=1.0)
    return _outcome(any_law, setting, learning_rate)[0]


def _outcome(law: AngleLaw, setting: Setting, learning_rate: ArrayLike) -> tuple[Array, Array]:
    """Mean angle and excess loss, shape of (learning rate, setting) broadcast."""
    arrays = [np.asarray(learning_rate, np.float64), *(np.asarray(getattr(setting, name), np.float64) for name in AXES)]
    if not np.all(np.isfinite(arrays[0]) & (arrays[0] > 0)):
        raise InvalidParameter("learning_rate", learning_rate, "a finite number above 0")
    shape = np.broadcast_shapes(*(array.shape for array in arrays))
    columns = [np.broadcast_to(array, shape).ravel() for array in arrays]
    times, weights = _nodes(setting.schedule)
    size = max(1, CHUNK // times.size)
    parts = []
    for start in range(0, columns[0].size, size):
        eta, params, tokens, batch, decay, initial = (column[start : start + size] for column in columns)
        parts.append(_integrate(law, setting, eta, params, tokens, batch, decay, initial, times, weights))
    mean, excess = (np.concatenate(column).reshape(shape) for column in zip(*parts, strict=True))
    return mean, excess


def _integrate(
    law: AngleLaw,
    setting: Setting,
    eta: Array,
    params: Array,
    tokens: Array,
    batch: Array,
    decay: Array,
    initial: Array,
    times: Array,
    weights: Array,
) -> tuple[Array, Array]:
    """`_outcome` for rows of numbers, by quadrature over the nodes (num_segments, NODES)."""
    schedule, x, steps = setting.schedule, times[:, :, None], tokens / batch
    stretch = steps / schedule.num_steps
    angle = eta * schedule.value(x)
    if setting.optimizer == "adamw":
        # k times as long is the same path at sqrt(k) eta and sqrt(k) lam
        root = np.sqrt(stretch)
        rms = slow_norm.weight_rms(
            schedule, x, learning_rate=eta * root, weight_decay=decay * root, initial_rms=initial
        )
        noise_only = stationary_update_rms(setting.beta1)
        angle *= (noise_only if law.noise_batch is None else update_rms(batch, law.noise_batch, setting.beta1)) / rms
    share = np.ones(1) if law.noise_batch is None else signal_share(batch, law.noise_batch, setting.beta1)
    turned = angle * share * weights[:, :, None] * stretch  # what each node adds to S
    whole = turned.sum(axis=1, keepdims=True)
    later = np.concatenate([np.cumsum(whole[:0:-1], axis=0)[::-1], np.zeros_like(whole[:1])])
    left = np.maximum(_remaining(turned), 0.0) + later
    total = whole.sum(axis=(0, 1))
    noise = (turned * angle * share * (law.B2 + left) ** -law.a2).sum(axis=(0, 1))
    strength = law.C2 * (params / law.reference_params) ** law.noise_growth * law.reference_batch / batch
    return total / (share * steps), law.C1 * (law.B1 + total) ** -law.a1 + strength * noise


def _nodes(schedule: Schedule) -> tuple[Array, Array]:
    """Times in each segment, even in the logit of the place in it, and weights; (num_segments, NODES) each.

    What happens in a run is spread over powers of ten from either end of a segment; in the logit it is smooth, and
    sums converge like exp(-10/spacing).
    """
    logit = np.linspace(-26, 26, NODES)
    place, rest = 1 / (1 + np.exp(-logit)), 1 / (1 + np.exp(logit))
    lengths = np.array([segment.length for segment in schedule.segments()], np.float64)[:, None]
    return np.cumsum(lengths, axis=0) - lengths * rest, lengths * place * rest * (logit[1] - logit[0])


def _remaining(turned: Array) -> Array:
    """What is still to come after each node, from samples on a uniform grid along axis 1 that vanish at its ends.

    Each step is the integral of the polynomial through eight samples about it. Summed from the end, so that the small
    remainders there keep their digits.
    """
    padded = np.pad(turned, ((0, 0), (3, 4), (0, 0)))
    steps = sum(weight * padded[:, k : k + NODES] for k, weight in enumerate(STEP_WEIGHTS))
    return np.flip(np.cumsum(np.flip(steps, axis=1), axis=1), axis=1)


# The optimum


class OptimumOutcome(Enum):
    """What a search for the best learning rate found."""

    FOUND = "found"
    FLAT = "flat"  # the loss changes less than its resolution over a wide range: nothing to identify
    AT_EDGE = "at-edge"  # the best rate that was looked at is the first or the last


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """Best learning rates, arrays of the setting's shape.

    ``learning_rate`` is NaN unless the outcome is FOUND; ``low``, ``high``: the outermost rates whose loss is within
    the resolution of the least; ``excess``: the least loss above what no rate changes, in nats; ``mean_angle``: mean
    angle per step at the minimum, in radians.
    """

    learning_rate: Array
    low: Array
    high: Array
    excess: Array
    mean_angle: Array
    outcome: NDArray[np.object_]


def optimal_learning_rate(
    law: AngleLaw, setting: Setting, *, loss_resolution: float = 1e-3, widest: float = 10.0
) -> Optimum:
    """Minimise the loss in the learning rate, for every entry of the setting.

    Parameters
    ----------
    loss_resolution : nats below which two losses are the same; 0 asks for the mathematical minimum.
    widest : ratio of ``high`` to ``low`` above which an optimum is called FLAT.

    A scan from 1e-9 up to where one step would remove the weights (AdamW: 1/weight_decay; AdamH: 1), two finer scans
    about its lowest point, then Newton's method. Of two minima, as at the two sides of a flat window, the lower counts.
    """
    require_number("loss_resolution", loss_resolution, at_least=0)
    require_number("widest", widest, above=1)
    ceiling = np.ones(setting.shape)
    if setting.optimizer == "adamw":
        ceiling = ceiling / np.maximum(np.asarray(setting.weight_decay, np.float64), 1 / HIGHEST)
    high = np.log(ceiling)
    column = (-1, *(1,) * high.ndim)

    def excess(x: Array) -> Array:
        return excess_loss(law, setting, np.exp(x))

    spacing = (high - np.log(LOWEST)) / (SCAN - 1)
    grid = high - spacing * np.arange(SCAN)[::-1].reshape(column)
    values = excess(grid)
    place = np.argmin(values, axis=0)
    best = np.take_along_axis(grid, place[None], axis=0)[0]
    for _ in range(2):
        local = best + spacing * np.linspace(-1, 1, 9).reshape(column)
        best = np.take_along_axis(local, np.argmin(excess(local), axis=0)[None], axis=0)[0]
        spacing = spacing / 4
    best = _polish(excess, best, spacing)
    least = excess(best)
    first, last = (
        _reach(excess, grid, values, best, least + loss_resolution, side) if loss_resolution else best
        for side in (-1, 1)
    )
    at_edge = (place == 0) | (place == SCAN - 1)
    flat = last - first > np.log(widest)
    kind = np.where(at_edge, 2, np.where(flat, 1, 0))
    return Optimum(
        learning_rate=np.where(kind == 0, np.exp(best), np.nan),
        low=np.exp(first),
        high=np.exp(last),
        excess=least,
        mean_angle=_outcome(law, setting, np.exp(best))[0],
        outcome=np.asarray(np.array(list(OptimumOutcome), dtype=object)[kind], dtype=object),
    )


def _polish(excess: Callable[[Array], Array], best: Array, spacing: Array) -> Array:
    """Newton's method on the derivative, by five-point differences, no farther than ``spacing`` from the start."""
    start, offsets = best, STEP * np.arange(-2.0, 3.0).reshape(-1, *(1,) * best.ndim)
    for _ in range(6):
        f = excess(best + offsets)
        slope = (f[0] - 8 * f[1] + 8 * f[3] - f[4]) / (12 * STEP)
        curvature = (-f[0] + 16 * f[1] - 30 * f[2] + 16 * f[3] - f[4]) / (12 * STEP**2)
        with np.errstate(divide="ignore", invalid="ignore"):
            move = np.where(curvature > 0, -slope / curvature, 0.0)
        best = np.clip(best + move, start - spacing, start + spacing)
    return best


def _reach(excess: Callable[[Array], Array], grid: Array, values: Array, best: Array, level: Array, side: int) -> Array:
    """Outermost ln(learning rate) on one side with an excess of at most ``level``, to 1e-4."""
    inside = np.maximum(best * side, np.where(values <= level, grid * side, -np.inf).max(axis=0))
    beyond = np.where(grid * side > inside, grid * side, np.inf).min(axis=0)
    outside = np.where(np.isfinite(beyond), beyond, inside)
    for _ in range(12):
        middle = (inside + outside) / 2
        within = excess(middle * side) <= level
        inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
    return inside * side


# Closed forms at both ends

C1, a1, C2, a2, B2 = sp.symbols("C_1 a_1 C_2 a_2 B_2", positive=True)
T, theta, lam, rms0, q = sp.symbols("T theta lambda R_0 q", positive=True)


def derive_asymptotic_optimum() -> dict[str, sp.Expr]:
    """Constant rate, B1 = 0, B2 << S, a2 > 1: the best ``angle``, and eta at it: ``equilibrium``, ``frozen``."""
    u, excess = sp.symbols("u epsilon", positive=True)  # a2 = 1 + epsilon
    memory = sp.integrate((B2 + u) ** (-1 - excess), (u, 0, sp.oo)).subs(excess, a2 - 1)
    total = C1 * (T * theta) ** -a1 + C2 * theta * memory
    (angle,) = sp.solve(sp.expand(sp.diff(total, theta) * theta ** (a1 + 1)), theta)
    return {"angle": angle, "equilibrium": angle**2 / (2 * q * lam), "frozen": angle * rms0 / sp.sqrt(q)}


def asymptotic_optimum(law: AngleLaw, setting: Setting) -> dict[str, Array]:
    """Numbers for `derive_asymptotic_optimum`; the constant rate and AdamW are presumed, a2 must exceed 1."""
    if law.a2 <= 1:
        raise InvalidParameter("a2", law.a2, "above 1 for the noise to be forgotten")
    if law.noise_batch is not None:
        raise InvalidParameter("noise_batch", law.noise_batch, "None: the closed form has no share of the signal")
    params, batch = (np.asarray(v, np.float64) for v in (setting.num_params, setting.tokens_per_step))
    strength = law.C2 * (params / law.reference_params) ** law.noise_growth * law.reference_batch / batch
    noise = strength * law.B2 ** (1 - law.a2) / (law.a2 - 1)
    angle = (law.a1 * law.C1 / noise) ** (1 / (1 + law.a1)) * setting.num_steps ** (-law.a1 / (1 + law.a1))
    share = stationary_update_rms(setting.beta1)
    return {
        "angle": angle,
        "equilibrium": angle**2 / (2 * share**2 * np.asarray(setting.weight_decay)),
        "frozen": angle * np.asarray(setting.initial_rms) / share,
    }
