r"""What a schedule does to the loss, as features of a drift and a diffusion: the columns of the schedule-and-scale law.

Training is a drift plus a diffusion in the space of normalised weights, with the angle per step :math:`\theta_t` as its
step. A mode of the loss that relaxes at rate h per unit of progress S obeys

.. math:: \frac{de}{dS} = -h\,e + h\,c\,r, \qquad dS = \theta\sqrt b\,dt, \qquad r = \theta/\sqrt b,

since :math:`dw = -\tfrac h2 w\,dS + \sigma\sqrt r\,dB` has
:math:`\langle w^2\rangle' = -h\langle w^2\rangle + \sigma^2 r`. Here b is the batch over a reference batch: Adam
divides by the gradient's RMS, which is noise :math:`\propto b^{-1/2}`, so per step it drifts in proportion to
:math:`\theta\sqrt b` and diffuses by :math:`\theta^2` whatever b.

*Progress*: a power-law spectrum of initial errors relaxes as :math:`\int h^{a-1}e^{-hS}dh \propto S^{-a}`.

*Escape*: :math:`n_h = \int_0^{S_T} h\, e^{-h(S_T - S)}\, r\, dS` is the rate as remembered over a progress 1/h, the
noise that modes of rate h still hold at the end; fast modes hold what the last steps put there, which annealing
removes, and slow ones what the whole run left.

*Norms*: the angle follows from the learning rate by the norm's slow recursion (`slow_angular_updates`). Norms of real
models relax more slowly than noise alone says, so the start and the decay in that recursion are effective ones.

Derived here. The closest published idea, a linear fit of SDE features, is arXiv 2409.04777.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray

from experiments.losses.finished_runs import Run
from theory.slow_norm import slow_angular_updates

Array = NDArray[np.float64]

BLOCK = 10  # steps over which the rate is averaged


def noise_features(rates: ArrayLike, progress: ArrayLike, relaxation_rates: ArrayLike) -> Array:
    r""":math:`n_h` at the end of a run, shape (num_relaxation_rates,); exact for rates held over each interval.

    Parameters
    ----------
    rates : (num_intervals,) r in each interval.
    progress : (num_intervals,) S gained in each.
    relaxation_rates : h, (num_relaxation_rates,), per unit of progress.

    >>> noise_features([1.0, 0.2], [5.0, 5.0], [1e3]).round(3).tolist()  # fast modes hold the last rate
    [0.2]
    """
    gained = np.asarray(progress, dtype=np.float64)
    remaining = np.append(np.cumsum(gained[::-1])[::-1], 0.0)
    kept = np.exp(-np.outer(np.asarray(relaxation_rates, dtype=np.float64), remaining))
    return np.diff(kept, axis=1) @ np.asarray(rates, dtype=np.float64)


class Track(NamedTuple):
    """A run in blocks of steps: its rates r and gains of progress, both (num_blocks,), and the whole progress."""

    rates: Array
    gained: Array
    progress: float


def track(run: Run, *, initial_rms: float, decay_fraction: float, reference_tokens: float) -> Track:
    """Follow ``run`` through the norm's recursion.

    initial_rms : effective weight RMS at the start. decay_fraction : of the weight decay, with which the norms relax.
    reference_tokens : tokens per step at which b is 1.
    """
    edges = np.append(np.arange(0, run.num_steps, BLOCK), run.num_steps)
    hold = np.diff(edges).astype(np.float64)
    angles = slow_angular_updates(
        np.add.reduceat(run.learning_rates, edges[:-1]) / hold,
        weight_decay=decay_fraction * run.weight_decay,
        initial_rms=initial_rms,
        hold=hold,
    )
    root = np.sqrt(run.tokens_per_step / reference_tokens)
    gained = angles * hold * root
    return Track(angles / root, gained, float(gained.sum()))


# Derivations

S, h, c, r, e0, a, w_curvature, sigma = sp.symbols("S h c r e_0 a k sigma", positive=True)


def derive_mode_loss() -> sp.Expr:
    """Excess loss of one mode at constant r: solves the mean-square equation of its diffusion, then c from it."""
    square = sp.Function("w2")
    drift = sp.Eq(square(S).diff(S), -h * square(S) + sigma**2 * r)
    loss = w_curvature / 2 * sp.dsolve(drift, ics={square(0): 2 * e0 / w_curvature}).rhs
    return sp.expand(loss.subs(sigma, sp.sqrt(2 * c * h / w_curvature)))


def derive_progress() -> sp.Expr:
    """Power-law spectrum of modes without noise, normalised: equals S^-a."""
    return sp.simplify(sp.integrate(h ** (a - 1) * sp.exp(-h * S), (h, 0, sp.oo)) / sp.gamma(a))
