r"""Our schedule-and-scale law: the final loss from (schedule, N, D), linear in features of a diffusion.

**Picture.** Training is a drift plus a diffusion in the space of normalised weights, with the angle per step
:math:`\theta_t` as its step. A mode of the loss that relaxes at rate h per unit of progress S obeys

.. math:: \frac{de}{dS} = -h\,e + h\,c\,r, \qquad dS = \theta\sqrt b\,dt, \qquad r = \theta/\sqrt b,

since :math:`dw = -\tfrac h2 w\,dS + \sigma\sqrt r\,dB` has
:math:`\langle w^2\rangle' = -h\langle w^2\rangle + \sigma^2 r`. Here b is the batch over a reference batch: Adam
divides by the gradient's RMS, which is noise :math:`\propto b^{-1/2}`, so per step it drifts in proportion to
:math:`\theta\sqrt b` and diffuses by :math:`\theta^2` whatever b.

**Features.** Summed over a spectrum, with coefficients that are densities of modes and so not negative:

.. math::
   L = c_0 + c_N N^{-\nu} + c_S S_T^{-a} + \sum_h c_h\, n_h, \qquad
   n_h = \int_0^{S_T} h\, e^{-h(S_T - S)}\, r\, dS

*Progress*: a power-law spectrum of initial errors relaxes as :math:`\int h^{a-1}e^{-hS}dh \propto S^{-a}`. *Escape*:
:math:`n_h` is the rate as remembered over a progress 1/h, the noise that modes of rate h still hold at the end; fast
modes hold what the last steps put there, which annealing removes, and slow ones what the whole run left. D enters
through the number of steps and b. The bank of h spans twice the longest progress seen down to one part in 20,000 of
it, half a decade apart: slower modes cannot be told from the constant.

**Norms.** The angle follows from the learning rate by the norm's slow recursion (`slow_angular_updates`). Norms of real
models relax more slowly than noise alone says, so the start and the decay in that recursion are effective ones.

**Fit.** For every `Shape` of a grid, non-negative least squares with a small ridge. Shapes whose cross-validated error
is within a factor of the best one's are averaged: the runs do not decide between them.

Where it fails: peaks so high that runs are damaged; optimizers other than AdamW; sizes far outside those trained on.
Derived here. The closest published idea, a linear fit of SDE features, is arXiv 2409.04777.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from experiments.losses.curves import Run, Score, score
from theory.checks import InvalidParameter, require_integer, require_number
from theory.slow_norm import slow_angular_updates

Array = NDArray[np.float64]

BLOCK = 10  # steps over which the rate is averaged
SLOWEST = 0.5  # slowest mode's rate times the longest progress trained on
BANK = SLOWEST * 10 ** np.arange(0, 4.1, 0.5)
RIDGE = 1e-3  # of a feature with unit spread, against the mean square of the residuals


class Shape(NamedTuple):
    """What enters the features non-linearly, and is chosen from a grid by cross-validation."""

    initial_rms: float
    decay_fraction: float  # of the weight decay, with which the norms relax
    progress_exponent: float  # a
    size_exponent: float  # nu


SHAPES = tuple(
    Shape(*values)
    for values in product((0.02, 0.03, 0.04), (0.2, 0.3, 0.6, 1.0), (0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.25))
)


# Features


def noise_features(rates: ArrayLike, progress: ArrayLike, relaxation_rates: ArrayLike) -> Array:
    r""":math:`n_h` at the end of a run, shape (num_relaxation_rates,); exact for rates held over each interval.

    Parameters
    ----------
    rates : (num_intervals,) r in each interval.
    progress : (num_intervals,) S gained in each.
    relaxation_rates : h, (num_relaxation_rates,), per unit of progress.
    """
    gained = np.asarray(progress, dtype=np.float64)
    remaining = np.append(np.cumsum(gained[::-1])[::-1], 0.0)
    kept = np.exp(-np.outer(np.asarray(relaxation_rates, dtype=np.float64), remaining))
    return np.diff(kept, axis=1) @ np.asarray(rates, dtype=np.float64)


class _Track(NamedTuple):
    """A run's rates r and gains of progress, block by block, and the whole progress."""

    rates: Array
    gained: Array
    progress: float


def _track(run: Run, shape: Shape, reference_tokens: float) -> _Track:
    num_steps = len(run.learning_rates)
    edges = np.append(np.arange(0, num_steps, BLOCK), num_steps)
    hold = np.diff(edges).astype(np.float64)
    angles = slow_angular_updates(
        np.add.reduceat(run.learning_rates, edges[:-1]) / hold,
        weight_decay=shape.decay_fraction * run.weight_decay,
        initial_rms=shape.initial_rms,
        hold=hold,
    )
    root = np.sqrt(run.tokens_per_step / reference_tokens)
    gained = angles * hold * root
    return _Track(angles / root, gained, float(gained.sum()))


# The law


@dataclass(frozen=True, kw_only=True, eq=False)
class ScheduleLaw:
    """A fitted law; `predict` averages over its shapes.

    ``coefficients``: per shape, of (1, N^-nu where several sizes were trained on, S^-a, n_h ...); ``longest``: per
    shape, the longest progress trained on, the unit of S and 1/h; ``validation_error``: cross-validated root mean
    square error of the best shape, in nats; ``trained``: lowest and highest value trained on, by quantity.
    """

    shapes: tuple[Shape, ...]
    coefficients: tuple[Array, ...]
    longest: tuple[float, ...]
    reference_tokens: float
    validation_error: float
    num_runs: int
    trained: dict[str, tuple[float, float]]

    def predict(self, runs: Sequence[Run]) -> Array:
        """Final losses, (len(runs),), in nats. Raises `InvalidParameter` for another N where one was trained on."""
        designs = self.designs(runs)
        return np.mean([X @ c for X, c in zip(designs, self.coefficients, strict=True)], axis=0)

    def outside(self, run: Run) -> tuple[str, ...]:
        """Names of the quantities in which ``run`` lies outside the runs trained on, by more than rounding."""
        values = _quantities(run)
        return tuple(
            name
            for name, (low, high) in self.trained.items()
            if not low * (1 - 1e-9) <= values[name] <= high * (1 + 1e-9)
        )

    def recommend(self, runs: Sequence[Run]) -> int:
        """Index of the run predicted to end lowest, among those whose peak rate lies within the range trained on.

        Damage by too high a rate is not in the features, so a rate above all those seen cannot be vouched for.
        Raises `InvalidParameter` where no run is eligible.
        """
        eligible = self.eligible(runs)
        if not eligible.any():
            low, high = self.trained["peak_learning_rate"]
            raise InvalidParameter("runs", len(runs), f"one at least with a peak rate between {low:g} and {high:g}")
        return int(np.argmin(np.where(eligible, self.predict(runs), np.inf)))

    def eligible(self, runs: Sequence[Run]) -> NDArray[np.bool_]:
        """Which runs `recommend` considers, shape (len(runs),)."""
        return np.array(["peak_learning_rate" not in self.outside(run) for run in runs])

    def designs(self, runs: Sequence[Run]) -> list[Array]:
        """Feature matrices, one per shape, each (len(runs), num_features)."""
        low, high = self.trained["num_params"]
        several = low < high
        if not several:
            for run in runs:
                if run.num_params != low:
                    raise InvalidParameter("num_params", run.num_params, f"{low:g}, the only size trained on")
        tracks: dict[tuple[int, float, float], tuple[float, Array]] = {}
        designs = []
        for shape, longest in zip(self.shapes, self.longest, strict=True):
            rows = []
            for run in runs:
                norm = (id(run), shape.initial_rms, shape.decay_fraction)
                if norm not in tracks:
                    track = _track(run, shape, self.reference_tokens)
                    gained = track.gained / longest
                    tracks[norm] = float(gained.sum()), noise_features(track.rates, gained, BANK)
                progress, noise = tracks[norm]
                size = [(run.num_params / high) ** -shape.size_exponent] if several else []
                rows.append([1.0, *size, progress**-shape.progress_exponent, *noise])
            designs.append(np.array(rows))
        return designs


def fit_schedule_law(
    runs: Sequence[Run],
    *,
    shapes: Sequence[Shape] = SHAPES,
    folds: int = 8,
    tolerance: float = 1.25,
    seed: int = 0,
) -> ScheduleLaw:
    """Fit the law to finished runs, best cleaned by `usable_runs` first.

    Parameters
    ----------
    shapes : the grid.
    folds, seed : of the cross-validation that judges them; runs are dealt to folds at random.
    tolerance : shapes with a cross-validated error up to this factor above the best one's are averaged.

    Raises
    ------
    InvalidParameter : fewer runs than twice the number of features, or a run without a loss.
    """
    require_integer("folds", folds, at_least=2)
    require_number("tolerance", tolerance, at_least=1)
    needed = 2 * (BANK.size + 3)
    if len(runs) < needed:
        raise InvalidParameter("runs", len(runs), f"at least {needed} runs, two for every feature")
    losses = np.array([run.loss for run in runs])
    if not np.all(np.isfinite(losses)):
        raise InvalidParameter("loss", float("nan"), "a finite number in every run that is fitted")
    quantities = [_quantities(run) for run in runs]
    trained = {name: (min(q[name] for q in quantities), max(q[name] for q in quantities)) for name in quantities[0]}
    if trained["num_params"][0] == trained["num_params"][1]:
        shapes = list(dict.fromkeys(shape._replace(size_exponent=0.0) for shape in shapes))
    reference = float(np.median([run.tokens_per_step for run in runs]))
    law = ScheduleLaw(
        shapes=tuple(shapes),
        coefficients=(),
        longest=_longest(runs, shapes, reference),
        reference_tokens=reference,
        validation_error=float("nan"),
        num_runs=len(runs),
        trained=trained,
    )
    designs = law.designs(runs)
    fold = np.random.default_rng(seed).permutation(len(runs)) % folds
    errors = np.array([_validation_error(X, losses, fold) for X in designs])
    kept = np.flatnonzero(errors <= tolerance * errors.min()).tolist()
    return replace(
        law,
        shapes=tuple(law.shapes[i] for i in kept),
        coefficients=tuple(solve(designs[i], losses) for i in kept),
        longest=tuple(law.longest[i] for i in kept),
        validation_error=float(errors.min()),
    )


def solve(design: Array, losses: Array) -> Array:
    """Coefficients, (num_features,), all at least 0: least squares with a ridge on all but the first."""
    spread = design.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    penalty = RIDGE * np.sqrt(len(losses)) * np.eye(design.shape[1])
    penalty[0, 0] = 0.0
    stacked = np.vstack([design / scale, penalty])
    return nnls(stacked, np.concatenate([losses, np.zeros(design.shape[1])]))[0] / scale


def _longest(runs: Sequence[Run], shapes: Sequence[Shape], reference: float) -> tuple[float, ...]:
    progress: dict[tuple[float, float], float] = {}
    for shape in shapes:
        norm = (shape.initial_rms, shape.decay_fraction)
        if norm not in progress:
            progress[norm] = max(_track(run, shape, reference).progress for run in runs)
    return tuple(progress[shape.initial_rms, shape.decay_fraction] for shape in shapes)


def _validation_error(design: Array, losses: Array, fold: NDArray[np.int64]) -> float:
    errors = np.zeros_like(losses)
    for i in np.unique(fold):
        out = fold == i
        errors[out] = design[out] @ solve(design[~out], losses[~out]) - losses[out]
    return float(np.sqrt(np.mean(errors**2)))


def _quantities(run: Run) -> dict[str, float]:
    return {
        "num_params": float(run.num_params),
        "num_steps": float(len(run.learning_rates)),
        "tokens_per_step": float(run.tokens_per_step),
        "weight_decay": float(run.weight_decay),
        "peak_learning_rate": float(np.max(run.learning_rates)),
    }


# How good it is


def bootstrap_scores(
    law: ScheduleLaw,
    training: Sequence[Run],
    horizons: Sequence[Sequence[Run]],
    *,
    num_replicas: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[Score, Score]:
    """Lower and upper ends of intervals for the scores, averaged over ``horizons``.

    Training runs and candidates are drawn again with replacement, and the law, with its shapes, is fitted again.
    """
    require_integer("num_replicas", num_replicas, at_least=1)
    require_number("level", level, above=0, below=1)
    rng = np.random.default_rng(seed)
    designs = law.designs(training)
    losses = np.array([run.loss for run in training])
    candidates = [(law.designs(runs), np.array([run.loss for run in runs]), law.eligible(runs)) for runs in horizons]
    replicas = []
    for _ in range(num_replicas):
        drawn = rng.integers(len(losses), size=len(losses))
        coefficients = [solve(X[drawn], losses[drawn]) for X in designs]
        scores = []
        for matrices, measured, eligible in candidates:
            again = rng.integers(len(measured), size=len(measured))
            predicted = np.mean([X[again] @ c for X, c in zip(matrices, coefficients, strict=True)], axis=0)
            scores.append(score(predicted, measured[again], eligible=eligible[again]))
        replicas.append(np.mean(scores, axis=0))
    # a candidate drawn again and again has no rank correlation
    low, high = np.nanquantile(replicas, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Score(*low.tolist()), Score(*high.tolist())


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
