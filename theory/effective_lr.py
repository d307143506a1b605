r"""Effective learning rate: three definitions, the triangle that joins them, and what it means for a whole model.

One step takes W to :math:`W' = aW - \eta u`, with shrink :math:`a = 1-\eta\lambda` (1 for AdamH). Legend:
:math:`c = \cos(W, u)`; :math:`h = \eta\|u\|/\|W\|`; :math:`G = \|W'\|/\|W\|` the growth of the norm.

.. math::
   \text{angular update}\quad & \theta = \mathrm{atan2}(h\sqrt{1-c^2},\; a - hc) \\
   \text{relative update}\quad & \delta = \|W'-W\|/\|W\|, \qquad \delta^2 = (G-1)^2 + 4G\sin^2(\theta/2) \\
   \text{norm ratio}\quad & \eta/\|W\|_F = h/\|u\|, \qquad h = \frac{a\sin\theta}{\sqrt{1-c^2}\cos\theta + c\sin\theta}

Where the norm is stationary, G = 1, the relative update is the chord :math:`2\sin(\theta/2)` that some papers call the
effective step. They agree to third order; the norm ratio has other units and needs :math:`\|u\|` to become an angle.

**Rules of thumb** for AdamW at equilibrium, :math:`q = (1-\beta_1)/(1+\beta_1)`, `RULES`:
:math:`\sqrt{2q\eta\lambda}` is the angle of one step. :math:`\sqrt{2\eta\lambda} = \eta/\mathrm{RMS}` is the rate over
the weight RMS; it is also the angle per root step that accumulates over many steps, since consecutive steps of momentum
add up, and the angle of one step at beta1 = 0. :math:`\sqrt{\eta\lambda}` is widely copied as AdamH's learning rate and
is neither: :math:`\sqrt{1/2q}` times the angle, 3.08 at beta1 = 0.9.

**A whole model.** Normalise every scale-invariant matrix to RMS 1, so that matrix i has norm :math:`\sqrt{n_i}`, and
concatenate. The vector has constant norm, and the angle by which it turns is

.. math::
   \cos\Theta = \frac{\sum n_i\cos\theta_i}{\sum n_i}, \qquad
   \Theta^2 \approx \frac{\sum n_i\theta_i^2}{\sum n_i}

the root mean square angle weighted by parameter count. Two reasons to take this rule and not the mean over matrices:
cutting a matrix into blocks of equal RMS (fused or separate Q, K, V) leaves it unchanged, since squared steps add; and
noise of equal RMS in every entry, which is what Adam's normalisation makes, excites a loss with equal curvature per
parameter in proportion to it. It presumes that the loss does not know the scale of any matrix, and it says nothing of
which matrix matters more: embeddings, gains and the head, which are not scale-invariant, stay outside.

**Batch size.** A gradient with mean :math:`\mu` and noise :math:`\sigma^2/B` per coordinate has
:math:`b = \mu^2B/\sigma^2 = B/B_{noise}`. Adam divides by the root of the sum, and momentum averages the noise only:
update RMS :math:`\sqrt{(b+q)/(1+b)}`, and the share of a step that goes along the signal is :math:`\sqrt{b/(b+q)}`. So
with small batches progress per angle grows like :math:`\sqrt B`; per unit of progress the noise falls like 1/B at all
batch sizes. The norm grows by the same U: with tangent gradients :math:`\dot\rho = -2\lambda\eta\rho + \eta^2U^2/q`
whatever they remember (`theory.persistent_gradients`), so at equilibrium U drops out and the angle is that of noise at
every b, while the transient is that of noise from a start of :math:`\mathrm{RMS}_0\sqrt q/U`. A U with signal over a
norm without would turn :math:`U/\sqrt q` times too far: 1.4 at b = 0.05, 3.2 at b = 1, beta1 = 0.9.

Sources: angular update: Kosson et al., arXiv 2305.17212; Wen et al., 2606.16899; norm ratio: 2608.24814; intrinsic rate
:math:`\eta\lambda`: Li, Lyu and Arora, 2010.02916; triangle, aggregate: derived here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray

from theory import adamh, adamw
from theory.checks import InvalidParameter
from theory.momentum import stationary_update_rms

Array = NDArray[np.float64]

eta, lam, beta1 = sp.symbols("eta lambda beta_1", positive=True)
theta, a, c, h, G = sp.symbols("theta a c h G", positive=True)


# The triangle W, W', W' - W


def derive_triangle() -> dict[str, sp.Expr]:
    """The step in the plane of W and u: ``angle``, ``growth``, ``relative_update`` in (h, c, a); ``norm_ratio``
    (h in theta, c, a); ``relative_from_angle`` in (theta, G)."""
    along, across = a - h * c, h * sp.sqrt(1 - c**2)
    (solved,) = sp.solve(sp.Eq(across * sp.cos(theta), along * sp.sin(theta)), h)
    return {
        "angle": sp.atan2(across, along),
        "growth": sp.sqrt(sp.expand(along**2 + across**2)),
        "relative_update": sp.sqrt(sp.expand((along - 1) ** 2 + across**2)),
        "norm_ratio": sp.simplify(solved),
        "relative_from_angle": sp.sqrt((G * sp.cos(theta) - 1) ** 2 + (G * sp.sin(theta)) ** 2),
    }


def chord(angle: ArrayLike) -> Array:
    r"""Distance between the normalised weights before and after, :math:`2\sin(\theta/2)`."""
    return 2 * np.sin(np.asarray(angle, np.float64) / 2)


def angle_from_norm_ratio(
    norm_ratio_lr: ArrayLike, update_norm: ArrayLike, *, shrink: ArrayLike = 1.0, cosine: ArrayLike = 0.0
) -> Array:
    r"""Angular update in radians from :math:`\eta/\|W\|_F`; ``update_norm`` :math:`\|u\|_F`, ``cosine`` cos(W, u).

    Examples
    --------
    Learning rate 0.001 on a matrix of 1024 entries at RMS 0.05, moved by a sign update:

    >>> from theory import effective_lr
    >>> angle = effective_lr.angle_from_norm_ratio(0.001 / (0.05 * 32), update_norm=32)
    >>> ratio = effective_lr.norm_ratio_from_angle(angle, update_norm=32)
    >>> print(f"{angle:.6f} rad, and back {ratio:.6f}")
    0.019997 rad, and back 0.000625
    """
    step, kept, cos = _step(norm_ratio_lr, update_norm, shrink, cosine)
    return np.arctan2(step * np.sqrt(1 - cos**2), kept - step * cos)


def norm_ratio_from_angle(
    angle: ArrayLike, update_norm: ArrayLike, *, shrink: ArrayLike = 1.0, cosine: ArrayLike = 0.0
) -> Array:
    """Inverse of `angle_from_norm_ratio`; inf or negative where no step can turn W so far."""
    turn = np.asarray(angle, np.float64)
    unit, kept, cos = _step(1.0, update_norm, shrink, cosine)
    return kept * np.sin(turn) / (np.sqrt(1 - cos**2) * np.cos(turn) + cos * np.sin(turn)) / unit


def norm_growth(
    norm_ratio_lr: ArrayLike, update_norm: ArrayLike, *, shrink: ArrayLike = 1.0, cosine: ArrayLike = 0.0
) -> Array:
    r"""Growth :math:`G = \|W'\|/\|W\| = \sqrt{a^2 - 2ahc + h^2}` of the norm in one step."""
    step, kept, cos = _step(norm_ratio_lr, update_norm, shrink, cosine)
    return np.sqrt(kept**2 - 2 * kept * step * cos + step**2)


def relative_update_from_angle(angle: ArrayLike, growth: ArrayLike = 1.0) -> Array:
    r""":math:`\delta = \sqrt{(G-1)^2 + 4G\sin^2(\theta/2)}`; the chord where the norm is stationary.

    Examples
    --------
    The same turn, while the norm stands still and while it grows by 2 % per step:

    >>> from theory import effective_lr
    >>> effective_lr.relative_update_from_angle(0.1, growth=[1.0, 1.02]).round(4).tolist()
    [0.1, 0.1029]
    """
    ratio = np.asarray(growth, np.float64)
    return np.sqrt((ratio - 1) ** 2 + ratio * chord(angle) ** 2)


def angle_from_relative_update(relative_update: ArrayLike, growth: ArrayLike = 1.0) -> Array:
    """Inverse of `relative_update_from_angle`. Raises `InvalidParameter` where the three sides make no triangle."""
    ratio = np.asarray(growth, np.float64)
    squared = (np.square(relative_update) - (ratio - 1) ** 2) / (4 * ratio)
    if not np.all((squared >= 0) & (squared <= 1)):
        raise InvalidParameter("relative_update", relative_update, "between |growth - 1| and growth + 1")
    return 2 * np.arcsin(np.sqrt(squared))


# AdamW, AdamH, and the two conventions of weight decay


def adamh_from_adamw(learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    """AdamH's learning rate that turns exactly like AdamW at equilibrium; see `theory.adamh`.

    Examples
    --------
    There, and back at another weight decay: their product is what the angle knows.

    >>> from theory import effective_lr
    >>> rate = effective_lr.adamh_from_adamw(learning_rate=1e-3, weight_decay=0.1)
    >>> back = effective_lr.adamw_from_adamh(rate, weight_decay=0.2)
    >>> print(f"AdamH {rate:.6f}, AdamW {back:.6f} at twice the decay")
    AdamH 0.003246, AdamW 0.000500 at twice the decay
    """
    return adamh.matching_learning_rate(1 - np.asarray(learning_rate) * np.asarray(weight_decay), beta1)


def adamw_from_adamh(learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    """AdamW's learning rate that turns at equilibrium like AdamH at ``learning_rate``: only eta*lam is fixed by it."""
    decay = np.asarray(weight_decay, np.float64)
    if not np.all(decay > 0):
        raise InvalidParameter("weight_decay", weight_decay, "above 0")
    return adamh.equivalent_decay(learning_rate, beta1) / decay


def independent_weight_decay(learning_rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    r"""The shrink per step :math:`\lambda' = \eta\lambda` that the independent convention calls weight decay.

    Held fixed, it fixes the equilibrium angle :math:`\sqrt{2q\lambda'}`: there the learning rate scales the norm and
    nothing else, and has no optimum of its own.
    """
    return np.asarray(learning_rate, np.float64) * np.asarray(weight_decay, np.float64)


def pytorch_weight_decay(learning_rate: ArrayLike, independent_weight_decay: ArrayLike) -> Array:
    r""":math:`\lambda = \lambda'/\eta`, the inverse of `independent_weight_decay`; eta is the peak rate.

    Examples
    --------
    An independent decay of 1e-4, as torch wants it at two learning rates:

    >>> from theory import effective_lr
    >>> effective_lr.pytorch_weight_decay([1e-3, 4e-3], independent_weight_decay=1e-4).round(3).tolist()
    [0.1, 0.025]
    """
    return np.asarray(independent_weight_decay, np.float64) / np.asarray(learning_rate, np.float64)


@dataclass(frozen=True)
class Rule:
    """A published estimate for AdamW at equilibrium: its formula twice, what it measures, and where it stands."""

    formula: sp.Expr
    value: Callable[[Array, Array, Array], Array]
    measures: str
    source: str


RULES = {
    "angle": Rule(
        sp.sqrt(2 * eta * lam * (1 - beta1) / (1 + beta1)),
        lambda e, w, b: np.sqrt(2 * e * w) * stationary_update_rms(b),
        "angular update of one step, leading order",
        "arXiv 2305.17212, 2606.16899",
    ),
    "rate over RMS": Rule(
        sp.sqrt(2 * eta * lam),
        lambda e, w, b: np.sqrt(2 * e * w),
        "learning rate over weight RMS; angle per root step over many steps; angle of one step at beta1 = 0",
        "arXiv 2305.17212 (without momentum)",
    ),
    "root of eta lam": Rule(
        sp.sqrt(eta * lam),
        lambda e, w, b: np.sqrt(e * w),
        "nothing exactly; copied as AdamH's learning rate",
        "public AdamH configurations",
    ),
}
"""Rules proportional to sqrt(eta*lam). The intrinsic rate eta*lam (arXiv 2010.02916) and its inverse, the time scale of
AdamW as an average (2405.13698), measure time and not angle: the squared norm relaxes in half that time scale."""


def rule_factor(rule: str, learning_rate: ArrayLike, weight_decay: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    """A rule of `RULES` over the exact equilibrium angle: by how much it is too large.

    Examples
    --------
    >>> from theory import effective_lr
    >>> for rule in effective_lr.RULES:
    ...     print(f"{rule:16} {effective_lr.rule_factor(rule, learning_rate=1e-3, weight_decay=0.1):.3f}")
    angle            1.000
    rate over RMS    4.359
    root of eta lam  3.082
    """
    if rule not in RULES:
        raise InvalidParameter("rule", rule, f"one of {', '.join(RULES)}")
    arguments = [np.asarray(value, np.float64) for value in (learning_rate, weight_decay, beta1)]
    return RULES[rule].value(*arguments) / adamw.angular_update_equilibrium(*arguments)


def derive_rule_factors() -> dict[str, sp.Expr]:
    """Every rule over the exact angle as eta*lam tends to 0, from the solved recursion; functions of beta1."""
    x = sp.symbols("x", positive=True)
    angle = adamw.derive_equilibrium()["sine"].subs(lam, x / eta)
    leading = sp.simplify(sp.limit(angle / sp.sqrt(x), x, 0, "+"))
    return {name: sp.simplify(rule.formula / sp.sqrt(eta * lam) / leading) for name, rule in RULES.items()}


# A whole model, and its batch


def model_angle(angles: ArrayLike, num_params: ArrayLike) -> Array:
    r"""Angular update of a model in radians: :math:`\cos\Theta = \sum n_i\cos\theta_i/\sum n_i`.

    ``angles`` (..., num_matrices) in radians; ``num_params`` (num_matrices,) entries of each matrix.

    Examples
    --------
    A matrix in three quarters of the parameters turns by 0.01, the rest by 0.02: the root mean square.

    >>> from theory import effective_lr
    >>> print(f"{effective_lr.model_angle([0.01, 0.02], num_params=[3072, 1024]):.5f}")
    0.01323
    """
    turn, count = np.asarray(angles, np.float64), np.asarray(num_params, np.float64)
    if not np.all(count > 0):
        raise InvalidParameter("num_params", num_params, "above 0")
    # 1 - cos loses the digits of small angles
    return 2 * np.arcsin(np.sqrt((count * np.sin(turn / 2) ** 2).sum(axis=-1) / count.sum()))


def derive_signal() -> dict[str, sp.Expr]:
    """``update_rms`` and ``signal_share`` in b and beta1, from the mean and variance of averaged gradients."""
    mu, sigma, B, k = sp.symbols("mu sigma B k", positive=True)
    b = sp.symbols("b", positive=True)
    weights = (1 - beta1) * beta1**k
    mean = mu * sp.simplify(_series(weights, k))
    variance = sigma**2 / B * sp.simplify(_series(weights**2, k))
    scale = mu**2 + sigma**2 / B
    squared = {"update_rms": (mean**2 + variance) / scale, "signal_share": mean**2 / (mean**2 + variance)}
    return {name: sp.sqrt(sp.factor(sp.simplify(x.subs(B, b * sigma**2 / mu**2)))) for name, x in squared.items()}


def update_rms(batch: ArrayLike, noise_batch: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    r"""RMS of Adam's direction, :math:`\sqrt{(b+q)/(1+b)}`, under a persistent signal; b = ``batch / noise_batch``.

    A signal that turns lies between this and noise alone: `theory.persistent_gradients`.
    """
    b = np.asarray(batch, np.float64) / np.asarray(noise_batch, np.float64)
    return np.sqrt((b + stationary_update_rms(beta1) ** 2) / (1 + b))


def signal_share(batch: ArrayLike, noise_batch: ArrayLike, beta1: ArrayLike = 0.9) -> Array:
    r"""Share of the angle that goes along the signal, :math:`\sqrt{b/(b+q)}`."""
    b = np.asarray(batch, np.float64) / np.asarray(noise_batch, np.float64)
    return np.sqrt(b / (b + stationary_update_rms(beta1) ** 2))


def _series(term: sp.Expr, k: sp.Symbol) -> sp.Expr:
    """Geometric series from k = 0, for a ratio inside the unit circle."""
    ratio = sp.simplify(term.subs(k, k + 1) / term)
    return term.subs(k, 0) / (1 - ratio)


def _step(
    norm_ratio_lr: ArrayLike, update_norm: ArrayLike, shrink: ArrayLike, cosine: ArrayLike
) -> tuple[Array, Array, Array]:
    """h, a and c as arrays."""
    rate, norm, kept, cos = (np.asarray(v, np.float64) for v in (norm_ratio_lr, update_norm, shrink, cosine))
    if not np.all(norm > 0):
        raise InvalidParameter("update_norm", update_norm, "above 0")
    if not np.all(np.abs(cos) < 1):
        raise InvalidParameter("cosine", cosine, "between -1 and 1")
    return rate * norm, kept, cos


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
