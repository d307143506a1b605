r"""The schedule-and-scale law: the final loss from (schedule, N, D), linear in the features of `features`.

.. math:: L = c_0 + c_N N^{-\nu} + c_S S_T^{-a} + \sum_h c_h\, n_h

The coefficients are densities of modes and so not negative; :math:`c_0` is one for every data set. D enters through
the number of steps and the batch. The bank of h spans twice the longest progress seen down to one part in 20,000 of it,
half a decade apart, or two decades apart where there are fewer runs than two for every feature: slower modes cannot be
told from the constant.

**Fit.** For every `Shape` of a grid, non-negative least squares with a small ridge. Shapes whose cross-validated error
is within a factor of the best one's are averaged: the runs do not decide between them.

Where it fails: peaks so high that runs are damaged; optimizers other than AdamW; sizes far outside those trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from experiments.losses.features import noise_features, track
from experiments.losses.finished_runs import Run
from theory.checks import InvalidParameter, require_integer, require_number

Array = NDArray[np.float64]

SLOWEST = 0.5  # slowest mode's rate times the longest progress trained on
BANK = SLOWEST * 10 ** np.arange(0, 4.1, 0.5)
SMALL_BANK = BANK[::4]
RIDGE = 1e-3  # of a feature with unit spread, against the mean square of the residuals
RUNS_PER_FEATURE = 2
ROUNDING = 0.01  # relative; half a step off, the peak of a cosine lies below that of a held rate
TOLERANCE = 1.25  # shapes with a cross-validated error up to this factor above the best one's are averaged


class Shape(NamedTuple):
    """What enters the features non-linearly, and is chosen from a grid by cross-validation."""

    initial_rms: float
    decay_fraction: float  # of the weight decay, with which the norms relax
    progress_exponent: float  # a
    size_exponent: float  # nu

    @property
    def norm(self) -> tuple[float, float]:
        """What the norm's recursion needs of it."""
        return self.initial_rms, self.decay_fraction


class _Followed(NamedTuple):
    """Runs under one recursion of the norm: unit of progress; progress in it (num_runs, 1); noise features (num_runs,
    num_relaxation_rates)."""

    longest: float
    progress: Array
    noise: Array


SHAPES = tuple(
    Shape(*values)
    for values in product((0.02, 0.03, 0.04), (0.2, 0.3, 0.6, 1.0), (0.3, 0.4, 0.5), (0.05, 0.1, 0.15, 0.25))
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ScheduleLaw:
    """A fitted law; `predict` averages over its shapes.

    coefficients : per shape, (num_features,), in nats per unit of (1 per data set, N^-nu where several sizes were
    trained on, S^-a, n_h ...). longest : per shape, the longest progress trained on, the unit of S and 1/h.
    bank : (num_relaxation_rates,) h in that unit. datasets : names of the data sets. reference_tokens : per step.
    validation_error : cross-validated root mean square error of the best shape, in nats. trained : lowest and highest
    value trained on, by quantity; N is in units of the highest.
    """

    shapes: tuple[Shape, ...]
    coefficients: tuple[Array, ...]
    longest: tuple[float, ...]
    bank: Array
    datasets: tuple[str, ...]
    reference_tokens: float
    validation_error: float
    num_runs: int
    trained: dict[str, tuple[float, float]]

    def predict(self, runs: Sequence[Run]) -> Array:
        """Final losses, (num_runs,), in nats. Raises `InvalidParameter` for a data set that was not trained on, and
        for another N where one was trained on."""
        return self.terms(runs).sum(axis=1)

    def terms(self, runs: Sequence[Run]) -> Array:
        """What each feature adds to the final loss, mean over shapes, (num_runs, num_features), in nats."""
        designs = self.designs(runs)
        return np.mean([X * c for X, c in zip(designs, self.coefficients, strict=True)], axis=0)

    def outside(self, run: Run) -> tuple[str, ...]:
        """Names of the quantities in which ``run`` lies outside the runs trained on, by more than `ROUNDING`."""
        values = _quantities(run)
        return tuple(
            name
            for name, (low, high) in self.trained.items()
            if not low * (1 - ROUNDING) <= values[name] <= high * (1 + ROUNDING)
        )

    def beyond_all(self, run: Run) -> bool:
        """Whether ``run`` lies outside in a quantity of which one value only was trained on."""
        return any(self.trained[name][0] == self.trained[name][1] for name in self.outside(run))

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
        """Which runs `recommend` considers, shape (num_runs,)."""
        return np.array(["peak_learning_rate" not in self.outside(run) for run in runs], bool)

    def designs(self, runs: Sequence[Run]) -> list[Array]:
        """Feature matrices, one per shape, each (num_runs, num_features)."""
        longest = {shape.norm: unit for shape, unit in zip(self.shapes, self.longest, strict=True)}
        return self._matrices(runs, _follow(runs, self.shapes, self.bank, self.reference_tokens, longest))

    def _matrices(self, runs: Sequence[Run], followed: Mapping[tuple[float, float], _Followed]) -> list[Array]:
        low, high = self.trained["num_params"]
        several = low < high
        for run in runs:
            if not several and run.num_params != low:
                raise InvalidParameter(
                    "num_params", run.num_params, f"{low:g}, the only size trained on; another one needs two of them"
                )
            if run.dataset not in self.datasets:
                raise InvalidParameter(
                    "dataset", run.dataset, f"one with a loss to train on: {', '.join(self.datasets)}"
                )
        names = np.array(self.datasets)
        offsets = np.array([names == run.dataset for run in runs], np.float64).reshape(len(runs), names.size)
        size = np.array([run.num_params / high for run in runs])[:, None]
        designs = []
        for shape in self.shapes:
            sizes = [size**-shape.size_exponent] if several else []
            _, progress, noise = followed[shape.norm]
            designs.append(np.hstack([offsets, *sizes, progress**-shape.progress_exponent, noise]))
        return designs


class ShapeGrid(NamedTuple):
    """Every shape's features of the runs and its cross-validated errors: what a fit, whole or partial, chooses from.

    blank : the law of all shapes without coefficients. designs : per shape, (num_runs, num_features). losses :
    (num_runs,). errors : (num_shapes, num_runs) cross-validated, in nats; NaN in a run never left out.
    """

    blank: ScheduleLaw
    designs: list[Array]
    losses: Array
    errors: Array

    def kept(self, weights: Array | None = None, tolerance: float = TOLERANCE) -> list[int]:
        """Shapes to be averaged when only the runs with ``weights``, (num_runs,), above 0 count."""
        rms = self.shape_errors(weights)
        return np.flatnonzero(rms <= tolerance * rms.min()).tolist()

    def shape_errors(self, weights: Array | None = None) -> Array:
        """Root mean square of the cross-validated errors of each shape, (num_shapes,)."""
        w = np.ones_like(self.losses) if weights is None else weights
        w = np.where(np.isfinite(self.errors[0]), w, 0.0)
        return np.sqrt(np.nan_to_num(self.errors**2) @ w / max(w.sum(), 1.0))

    def law(self, weights: Array | None = None, tolerance: float = TOLERANCE) -> ScheduleLaw:
        """The law of the runs whose weight is 1 and not 0; units and what counts as trained on are those of all."""
        rows = slice(None) if weights is None else weights > 0
        kept = self.kept(weights, tolerance)
        return replace(
            self.blank,
            shapes=tuple(self.blank.shapes[i] for i in kept),
            coefficients=tuple(solve(self.designs[i][rows], self.losses[rows], self.num_offsets) for i in kept),
            longest=tuple(self.blank.longest[i] for i in kept),
            validation_error=float(self.shape_errors(weights).min()),
        )

    @property
    def num_offsets(self) -> int:
        """Leading features without a ridge: one per data set."""
        return len(self.blank.datasets)


def fit_schedule_law(
    runs: Sequence[Run],
    *,
    shapes: Sequence[Shape] = SHAPES,
    folds: int = 8,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> ScheduleLaw:
    """Fit the law to finished runs, best cleaned by `usable_runs` first; see `shape_grid` for the parameters."""
    require_number("tolerance", tolerance, at_least=1)
    return shape_grid(runs, shapes=shapes, folds=folds, seed=seed).law(tolerance=tolerance)


def shape_grid(runs: Sequence[Run], *, shapes: Sequence[Shape] = SHAPES, folds: int = 8, seed: int = 0) -> ShapeGrid:
    """Everything that a fit needs; costs most of it.

    Parameters
    ----------
    shapes : the grid.
    folds, seed : of the cross-validation that judges them; runs of each data set are dealt to folds at random, the only
        run of one is never left out.

    Raises
    ------
    InvalidParameter : fewer runs than twice the number of features of the smaller bank, or a run without a loss.
    """
    require_integer("folds", folds, at_least=2)
    losses = np.array([run.loss for run in runs])
    datasets = tuple(dict.fromkeys(run.dataset for run in runs))
    few = SMALL_BANK.size + 1 + len(datasets) + (len({run.num_params for run in runs}) > 1)
    if len(runs) < RUNS_PER_FEATURE * few:
        raise InvalidParameter("runs", len(runs), f"at least {RUNS_PER_FEATURE * few} runs, two for every feature")
    if not np.all(np.isfinite(losses)):
        raise InvalidParameter("loss", float("nan"), "a finite number in every run that is fitted")
    quantities = [_quantities(run) for run in runs]
    trained = {name: (min(q[name] for q in quantities), max(q[name] for q in quantities)) for name in quantities[0]}
    if trained["num_params"][0] == trained["num_params"][1]:
        shapes = list(dict.fromkeys(shape._replace(size_exponent=0.0) for shape in shapes))
    reference = float(np.median([run.tokens_per_step for run in runs]))
    bank = BANK if len(runs) >= RUNS_PER_FEATURE * (BANK.size + 2 + len(datasets)) else SMALL_BANK
    followed = _follow(runs, shapes, bank, reference, {})
    blank = ScheduleLaw(
        shapes=tuple(shapes),
        coefficients=(),
        longest=tuple(followed[shape.norm].longest for shape in shapes),
        bank=bank,
        datasets=datasets,
        reference_tokens=reference,
        validation_error=float("nan"),
        num_runs=len(runs),
        trained=trained,
    )
    designs = blank._matrices(runs, followed)
    names = np.array([run.dataset for run in runs])
    fold = np.zeros(len(runs), np.int64)
    rng = np.random.default_rng(seed)
    for name in datasets:
        rows = np.flatnonzero(names == name)
        fold[rows] = rng.permutation(rows.size) % folds if rows.size > 1 else -1
    errors = np.array([_validation_errors(X, losses, fold, len(datasets)) for X in designs])
    return ShapeGrid(blank, designs, losses, errors)


def solve(design: Array, losses: Array, num_offsets: int = 1) -> Array:
    """Coefficients, (num_features,), all at least 0: least squares with a ridge on all but the leading offsets."""
    spread = design.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    scale[:num_offsets] = 1.0
    penalty = RIDGE * np.sqrt(len(losses)) * np.eye(design.shape[1])
    penalty[:num_offsets] = 0.0
    stacked = np.vstack([design / scale, penalty])
    return nnls(stacked, np.concatenate([losses, np.zeros(design.shape[1])]))[0] / scale


def _follow(
    runs: Sequence[Run],
    shapes: Sequence[Shape],
    bank: Array,
    reference_tokens: float,
    longest: Mapping[tuple[float, float], float],
) -> dict[tuple[float, float], _Followed]:
    """By `Shape.norm`; the unit of progress is the longest of ``runs`` where ``longest`` does not give it."""
    found = {}
    for norm in dict.fromkeys(shape.norm for shape in shapes):
        rms, fraction = norm
        tracks = [
            track(run, initial_rms=rms, decay_fraction=fraction, reference_tokens=reference_tokens) for run in runs
        ]
        unit = longest[norm] if norm in longest else max(one.progress for one in tracks)
        noise = [noise_features(one.rates, one.gained / unit, bank) for one in tracks]
        progress = np.array([one.progress / unit for one in tracks])
        found[norm] = _Followed(unit, progress[:, None], np.array(noise).reshape(len(runs), bank.size))
    return found


def _validation_errors(design: Array, losses: Array, fold: NDArray[np.int64], num_offsets: int) -> Array:
    errors = np.full_like(losses, np.nan)
    for i in np.unique(fold[fold >= 0]):
        out = fold == i
        errors[out] = design[out] @ solve(design[~out], losses[~out], num_offsets) - losses[out]
    return errors


def _quantities(run: Run) -> dict[str, float]:
    return {
        "num_params": float(run.num_params),
        "num_steps": float(run.num_steps),
        "tokens_per_step": float(run.tokens_per_step),
        "weight_decay": float(run.weight_decay),
        "peak_learning_rate": run.peak_learning_rate,
    }
