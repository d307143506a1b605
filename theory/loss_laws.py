r"""Loss as a functional of the learning-rate schedule: three published laws, in learning rate or in angle.

A law maps the rates :math:`r_0, r_1, \dots` of a run, and the step t, to the loss after step t. The rates are
learning rates :math:`\eta_j`, or effective ones: angles per step, from `theory.slow_norm` or measured.
Legend: :math:`S_k(t) = \sum_{j=k}^t r_j`; progress :math:`S(t) = S_0(t)`; :math:`r_{-1} = 0`, so warmup counts.

.. math::
   \text{functional} \quad & L = L_0 + C_1 (B_1 + S)^{-a_1} + C_2 \int_0^S (B_2 + S - S')^{-a_2}\, r\, dS' \\
   \text{momentum} \quad & L = L_0 + A S^{-\alpha} - C \sum_{i\le t} m_i, \quad
                     m_i = \lambda m_{i-1} + (r_{i-1} - r_i) \\
   \text{multi-power} \quad & L = L_0 + A S^{-\alpha} - B \sum_{k\le t} (r_{k-1} - r_k)\, G(r_k^{-\gamma} S_k(t)), \quad
                     G(x) = 1 - (1 + Cx)^{-\beta}

Each is a drift, minus what every drop of the rate has paid back by now:
:math:`L = \text{drift}(S) - \sum_{k\le t} (r_{k-1}-r_k)\, P_k(t)`. For the functional law this is integration by
parts, with :math:`P_k = C_2\int_0^{S_k}(B_2+x)^{-a_2}dx`; for the momentum law an exchange of sums, with
:math:`P_k = C (1-\lambda^{t-k+1})/(1-\lambda)`. So **a multi-power law with** :math:`\gamma = 0` **is a functional
law** (derived here): :math:`a_2 = 1+\beta`, :math:`B_2 = 1/C`, :math:`C_2 = B\beta C^{-\beta}`. The factor
:math:`r_k^{-\gamma}` is what it adds: noise forgets faster, per unit of progress, where the rate is small.

The functional law is also written as :math:`\sum_j (B_2 + S - S_j)^{-a_2} r_j^2`, half a step of memory away from
the integral: they differ at first order in :math:`r/B_2`.

**Trap**: the sum of the multi-power law includes the increments of the warmup; they carry the noise that every
later decay takes away.

Where they fail: divergence and damage at the edge of stability are in none of them, nor is a loss that rises
because the data change. Where :math:`r = 0` nothing moves, except in the momentum law.

Sources: functional: arXiv 2509.19189 and, in effective learning rate, 2608.24814; momentum: 2408.11029;
multi-power: 2503.12811.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import exprel

from theory.checks import InvalidParameter, require_integer
from theory.symbolic import positive, sp

Array = NDArray[np.float64]

MAX_TERMS = 4_000_000  # terms of a sum held in memory at once


# The schedule as a law sees it


class Condensed(NamedTuple):
    """A schedule reduced to what the laws sum over; made by `condense`.

    ``steps``, ``progress``: (num_records,) where the loss is asked for, and S(t) there. ``drop``, ``drop_rate``,
    ``drop_step``, ``drop_progress``: (num_drops,) the changes :math:`r_{k-1} - r_k`, the rate after them (at least
    1e-12 of the highest), their step k, and the progress before it.
    """

    steps: Array
    progress: Array
    drop: Array
    drop_rate: Array
    drop_step: Array
    drop_progress: Array


def condense(rates: ArrayLike, steps: ArrayLike | None = None, *, block: int = 1) -> Condensed:
    """Reduce a schedule for evaluation at ``steps``.

    Parameters
    ----------
    rates : (num_steps,) rate at every step, at least 0.
    steps : (num_records,) 0-based steps after which the loss is wanted; all of them by default.
    block : longest group of steps that is lumped into one term of the sums. 1 is exact; 64 changes a multi-power
        loss by about 1e-4 on schedules of 24,000 steps and more.

    Raises
    ------
    InvalidParameter : rates that are not finite and at least 0, no progress yet at the first of ``steps``, a step
        outside the schedule.
    """
    r = np.asarray(rates, dtype=np.float64)
    require_integer("block", block, at_least=1)
    if r.ndim != 1 or r.size == 0:
        raise InvalidParameter("rates", r.shape, "a row of at least one number")
    if not np.all(np.isfinite(r) & (r >= 0)):
        raise InvalidParameter("rates", float(r[~(np.isfinite(r) & (r >= 0))][0]), "finite and at least 0")
    t = np.arange(r.size) if steps is None else np.asarray(steps)
    if t.dtype.kind not in "iu" or t.ndim != 1:
        raise InvalidParameter("steps", f"{t.dtype} {t.shape}", "a row of whole numbers")
    if np.any((t < 0) | (t >= r.size)):
        raise InvalidParameter("steps", int(t[(t < 0) | (t >= r.size)][0]), f"between 0 and {r.size - 1}")
    before = np.concatenate([[0.0], np.cumsum(r)])
    if t.size and before[t.min() + 1] == 0:
        raise InvalidParameter("steps", int(t.min()), "at or after the first step with a positive rate")

    index = np.arange(r.size)
    edges = np.unique(np.concatenate([np.arange(0, r.size, block), t + 1]))  # no group straddles a record
    group = np.searchsorted(edges, index, side="right")
    drop = -np.diff(r, prepend=0.0)
    size = np.bincount(group, np.abs(drop))
    used = size > 0

    def mean_over_drops(values: Array) -> Array:
        return np.bincount(group, np.abs(drop) * values)[used] / size[used]

    return Condensed(
        steps=t.astype(np.float64),
        progress=before[t + 1],
        drop=np.bincount(group, drop)[used].astype(np.float64),
        drop_rate=np.maximum(mean_over_drops(r), 1e-12 * r.max()),
        drop_step=mean_over_drops(index.astype(np.float64)),
        drop_progress=mean_over_drops(before[:-1]),
    )


# The laws


@dataclass(frozen=True, kw_only=True)
class _LossLaw:
    name: ClassVar[str]
    memory: ClassVar[tuple[str, ...]]  # the parameters of `payback`

    def loss(self, rates: ArrayLike, steps: ArrayLike | None = None) -> Array:
        """Loss after each of ``steps`` (by default every step), shape (num_records,); see `condense`."""
        whole = condense(rates, steps)
        chunks = max(1, -(-whole.steps.size * whole.drop.size // MAX_TERMS))
        parts = np.array_split(np.arange(whole.steps.size), chunks)
        return np.concatenate(
            [self.at(whole._replace(steps=whole.steps[i], progress=whole.progress[i])) for i in parts]
        )

    def at(self, schedule: Condensed, payback: Array | None = None) -> Array:
        """The same on a condensed schedule: what a fit evaluates; ``payback`` where it is known already."""
        raise TypeError("use one of FunctionalLaw, MomentumLaw, MultiPowerLaw")

    def payback(self, schedule: Condensed) -> Array:
        """The sum over the drops, per unit of its amplitude, (num_records,): nearly all the work of `at`."""
        raise TypeError("use one of FunctionalLaw, MomentumLaw, MultiPowerLaw")

    def coordinates(self) -> Array:
        """The parameters as numbers without a sign constraint, for an optimiser: their logarithms."""
        return np.log(np.array(astuple(self)))

    @classmethod
    def from_coordinates(cls, coordinates: Array) -> Self:
        """Inverse of `coordinates`."""
        names = [field.name for field in fields(cls)]
        return cls(**dict(zip(names, np.exp(coordinates).tolist(), strict=True)))


@dataclass(frozen=True, kw_only=True)
class FunctionalLaw(_LossLaw):
    """Functional scaling law: drift along a power-law spectrum, noise with a power-law memory.

    All above 0, except B1, which may be 0.
    """

    name: ClassVar[str] = "functional"
    memory: ClassVar[tuple[str, ...]] = ("B2", "a2")

    L0: float
    C1: float
    B1: float
    a1: float
    C2: float
    B2: float
    a2: float

    def at(self, schedule: Condensed, payback: Array | None = None) -> Array:
        paid = self.payback(schedule) if payback is None else payback
        return self.L0 + self.C1 * (self.B1 + schedule.progress) ** -self.a1 - self.C2 * paid

    def payback(self, schedule: Condensed) -> Array:
        elapsed = np.maximum(schedule.progress[:, None] - schedule.drop_progress, 0.0)
        log, power = np.log1p(elapsed / self.B2), 1 - self.a2
        paid: Array = self.B2**power * log * exprel(power * log)  # the kernel's integral from 0, also at a2 = 1
        return paid @ schedule.drop

    def coordinates(self) -> Array:
        """Logarithms, with C2 replaced by the kernel at its origin, C2 * B2^-a2, and B2 by B2/a2."""
        x = super().coordinates()
        x[4] -= self.a2 * x[5]
        x[5] -= x[6]
        return x

    @classmethod
    def from_coordinates(cls, coordinates: Array) -> Self:
        """Inverse of `coordinates`."""
        x = coordinates.copy()
        x[5] += x[6]
        x[4] += np.exp(x[6]) * x[5]
        return super().from_coordinates(x)


@dataclass(frozen=True, kw_only=True)
class MomentumLaw(_LossLaw):
    """Annealing as momentum; ``decay`` is lambda, in (0, 1), the rest above 0."""

    name: ClassVar[str] = "momentum"
    memory: ClassVar[tuple[str, ...]] = ("decay",)

    L0: float
    A: float
    alpha: float
    C: float
    decay: float

    def at(self, schedule: Condensed, payback: Array | None = None) -> Array:
        paid = self.payback(schedule) if payback is None else payback
        return self.L0 + self.A * schedule.progress**-self.alpha - self.C * paid

    def payback(self, schedule: Condensed) -> Array:
        elapsed = np.maximum(schedule.steps[:, None] + 1 - schedule.drop_step, 0.0)
        # sum_i m_i with the order of the sums exchanged: a drop has paid (1 - lam^n)/(1 - lam) after n steps
        paid: Array = -np.expm1(elapsed * np.log(self.decay)) / (1 - self.decay)
        return paid @ schedule.drop

    def coordinates(self) -> Array:
        """Logarithms; of 1 - decay for the decay."""
        x = super().coordinates()
        x[4] = np.log1p(-self.decay)
        return x

    @classmethod
    def from_coordinates(cls, coordinates: Array) -> Self:
        """Inverse of `coordinates`."""
        x = coordinates.copy()
        x[4] = np.log(-np.expm1(x[4]))
        return super().from_coordinates(x)


@dataclass(frozen=True, kw_only=True)
class MultiPowerLaw(_LossLaw):
    """Multi-power law; all parameters above 0, gamma may be 0. For beta -> 0 at fixed B*beta, G is a logarithm."""

    name: ClassVar[str] = "multi-power"
    memory: ClassVar[tuple[str, ...]] = ("C", "beta", "gamma")

    L0: float
    A: float
    alpha: float
    B: float
    C: float
    beta: float
    gamma: float

    def at(self, schedule: Condensed, payback: Array | None = None) -> Array:
        paid = self.payback(schedule) if payback is None else payback
        return self.L0 + self.A * schedule.progress**-self.alpha - self.B * paid

    def payback(self, schedule: Condensed) -> Array:
        elapsed = np.maximum(schedule.progress[:, None] - schedule.drop_progress, 0.0)
        log = np.log1p(self.C * schedule.drop_rate**-self.gamma * elapsed)
        paid: Array = -np.expm1(-self.beta * log)
        return paid @ schedule.drop

    def as_functional(self) -> FunctionalLaw:
        """The functional law that this one is. Raises `InvalidParameter` unless gamma is 0."""
        if self.gamma != 0:
            raise InvalidParameter("gamma", self.gamma, "0 for the law to be a functional one")
        return FunctionalLaw(
            L0=self.L0,
            C1=self.A,
            B1=0.0,
            a1=self.alpha,
            C2=self.B * self.beta * self.C**-self.beta,
            B2=1 / self.C,
            a2=1 + self.beta,
        )

    def coordinates(self) -> Array:
        """Logarithms, with B replaced by B*beta, which stays finite in the logarithmic limit."""
        x = super().coordinates()
        x[3] += x[5]
        return x

    @classmethod
    def from_coordinates(cls, coordinates: Array) -> Self:
        """Inverse of `coordinates`."""
        x = coordinates.copy()
        x[3] -= x[5]
        return super().from_coordinates(x)


LossLaw = FunctionalLaw | MomentumLaw | MultiPowerLaw
LOSS_LAWS: dict[str, type[LossLaw]] = {law.name: law for law in (FunctionalLaw, MomentumLaw, MultiPowerLaw)}

PUBLISHED_MULTI_POWER = {
    size: MultiPowerLaw(L0=L0, A=A, alpha=alpha, B=B, C=C, beta=beta, gamma=gamma)
    for size, L0, A, alpha, B, C, beta, gamma in (
        ("25M", 3.04045, 0.52469, 0.50787, 363.788, 2.06561, 0.58279, 0.64142),
        ("100M", 2.65145, 0.60115, 0.45296, 437.946, 2.13246, 0.59785, 0.65524),
        ("400M", 2.37474, 0.65421, 0.42879, 523.425, 2.02463, 0.59350, 0.63472),
    )
}
"""Constants published with arXiv 2503.12811, in learning rates, for three model sizes."""


# Closed forms


def derive_constant_loss() -> dict[str, sp.Expr]:
    """Loss after T steps at the constant rate r, without warmup: each law's sum carried out; keys are the names."""
    rate, steps_run, L0, A, alpha, B, C, beta, gamma, decay, C1, B1, a1, C2, B2, a2 = positive(
        "r T L_0 A alpha B C beta gamma lambda C_1 B_1 a_1 C_2 B_2 a_2"
    )
    progress = rate * steps_run
    (x,), i = positive("x"), sp.Symbol("i", integer=True, nonnegative=True)
    memory = sp.integrate((B2 + progress - x) ** -a2, (x, 0, progress), conds="none")
    m = sp.Function("m")
    momentum = sp.rsolve(m(i) - decay * m(i - 1), m(i), {m(0): -rate})
    annealing = sp.summation(momentum, (i, 0, steps_run - 1))
    paid = 1 - (1 + C * rate**-gamma * progress) ** -beta
    return {
        "functional": L0 + C1 * (B1 + progress) ** -a1 + C2 * rate * _generic(memory),
        "momentum": L0 + A * progress**-alpha - C * sp.factor(_generic(annealing)),
        "multi-power": L0 + A * progress**-alpha + B * rate * paid,  # one drop, -r, at the first step
    }


def derive_noise_floor() -> dict[str, sp.Expr]:
    """What a constant rate leaves above L0 however long it runs (a2 above 1): linear in r for all three."""
    steps_run, L0, decay, a2, excess, forgotten = positive("T L_0 lambda a_2 epsilon z")  # z = decay^T
    exact = derive_constant_loss()
    floor = {law: (loss - L0).subs(a2, 1 + excess) for law, loss in exact.items()}
    floor["momentum"] = floor["momentum"].subs(decay**steps_run, forgotten).subs(forgotten, 0)
    return {law: sp.simplify(sp.limit(loss, steps_run, sp.oo).subs(excess, a2 - 1)) for law, loss in floor.items()}


def derive_kernel() -> sp.Expr:
    """The kernel B G'(x) through which a multi-power law with gamma = 0 remembers r dS, as a function of x."""
    B, C, beta, x = positive("B C beta x")
    return sp.diff(B * (1 - (1 + C * x) ** -beta), x)


def _generic(expression: sp.Expr) -> sp.Expr:
    """The branch of a piecewise result that holds away from special parameter values."""
    folded = sp.piecewise_fold(expression)
    return folded.args[-1][0] if isinstance(folded, sp.Piecewise) else folded


if __name__ == "__main__":
    from theory.derivations import main

    main(__file__)
