r"""How far off the law is where it has not been: prediction intervals from runs left out in groups.

The features are never quite right, and the errors of a prediction grow with what it extrapolates. Distance is measured
in what the law itself says: a run's terms, one per feature but the offset, are a point with coordinates in nats, and d
is the distance to the nearest run trained on. The error of a prediction is taken as Student's t with scale

.. math:: s^2 = s_0^2 + \kappa^2 d^2

where :math:`s_0`, in nats, is scatter, and :math:`\kappa` the fraction by which differences that the law tells may be
wrong. Both are fitted to errors of the law in every horizon, size, schedule and peak rate, each left out in turn. Runs
of a group are wrong together, so a group counts as `GROUP_WEIGHT` runs at most, and a prior holds :math:`\kappa` where
a table has too few groups to tell; beyond a quantity that the table never varies, as its batch may be, :math:`\kappa`
is not below the prior's. The ends of an interval are s times the quantile of the errors over s, not less than the
normal one.

With several data sets, an offset known from n runs adds :math:`s_0^2/n`, and the terms of two data sets are taken to
differ by a tenth: :math:`(0.1\,d')^2` with d' to the nearest run of the same data set.

Constants and scores of the law get theirs from the bootstrap.

The prior was settled with the public table of 202 runs in view (`docs/log.md`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import ndtri, stdtrit

from experiments.losses.finished_runs import Run, Score, score
from experiments.losses.schedule_law import ScheduleLaw, ShapeGrid, solve
from theory.checks import require_integer, require_number

Array = NDArray[np.float64]

GROUPS: dict[str, Callable[[Run], object]] = {
    "horizon": lambda run: run.num_steps,
    "size": lambda run: run.num_params,
    "schedule": lambda run: run.schedule,
    "peak_learning_rate": lambda run: f"{run.peak_learning_rate:.2g}",
}
GROUP_WEIGHT = 3.0
KAPPA, KAPPA_SPREAD = 0.5, 0.25  # prior of kappa: its middle, and its standard deviation in ln kappa
LEAST_SCATTER = 0.25  # of the cross-validated error
EXACT = 1e-6  # nats, an error below which a law is as good as exact
FREEDOM = 4.0  # of Student's t
BETWEEN_DATASETS = 0.1
ENOUGH_RUNS = 24  # for a quantile of their errors; with fewer it is not below that of Student's t


class LeftOut(NamedTuple):
    """Errors of runs left out in groups of one ``kind``, all (num_errors,): predicted minus measured in nats, distance
    to the nearest run kept in nats, and size of the run's group."""

    kind: str
    errors: Array
    distances: Array
    group_sizes: Array

    @property
    def rms(self) -> float:
        """Root mean square error, in nats."""
        return float(np.sqrt(np.mean(self.errors**2)))


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorModel:
    """Scale of the error of a ``law``'s predictions, and intervals made of it.

    scatter : s_0, in nats. per_distance : kappa. ratios, weights : (num_errors,) errors left out over s, absolute and
    ascending, and what each counts. left_out : of every kind of group that the table has. points : (num_runs,
    num_terms) of the runs trained on. datasets : (num_runs,) theirs.
    """

    law: ScheduleLaw
    scatter: float
    per_distance: float
    ratios: Array
    weights: Array
    left_out: tuple[LeftOut, ...]
    points: Array
    datasets: NDArray[np.str_]

    def predict(self, runs: Sequence[Run], level: float) -> tuple[Array, Array]:
        """Losses of ``runs`` and half the widths of their intervals, both (num_runs,), in nats. Raises
        `InvalidParameter` as the law's ``predict`` does."""
        require_number("level", level, above=0, below=1)
        terms = self.law.terms(runs)
        points = terms[:, len(self.law.datasets) :]
        untried = np.array([self.law.beyond_all(run) for run in runs], bool)
        kappa = np.where(untried, max(self.per_distance, KAPPA), self.per_distance)
        squared = self.scatter**2 + (kappa * nearest(self.points, points)) ** 2
        if len(self.law.datasets) > 1:
            own = np.array([run.dataset for run in runs])
            for name in set(own.tolist()):
                asked, known = own == name, self.datasets == name
                between = BETWEEN_DATASETS * nearest(self.points[known], points[asked])
                squared[asked] += self.scatter**2 / known.sum() + between**2
        return terms.sum(axis=1), self.quantile(level) * np.sqrt(squared)

    def quantile(self, level: float) -> float:
        """Of the absolute error over its scale."""
        few = len(self.points) < ENOUGH_RUNS
        least = stdtrit(FREEDOM, (1 + level) / 2) if few else ndtri((1 + level) / 2)
        if not self.ratios.size:
            return float(stdtrit(FREEDOM, (1 + level) / 2))
        place = int(np.searchsorted(np.cumsum(self.weights) / self.weights.sum(), level))
        return float(max(self.ratios[min(place, self.ratios.size - 1)], least))


def error_model(grid: ShapeGrid, runs: Sequence[Run], law: ScheduleLaw) -> ErrorModel:
    """Leave every group of ``runs`` out of the fit in turn, and learn from the errors.

    ``grid`` and ``law``: of the same runs. A group is not left out where the rest could not tell a size, a data set or
    the coefficients.
    """
    found = [left_out for kind in GROUPS if (left_out := leave_out(grid, runs, kind)).errors.size]
    errors, distances, sizes = (
        np.concatenate([getattr(one, name) for one in found] or [np.empty(0)])
        for name in ("errors", "distances", "group_sizes")
    )
    weights = np.minimum(1.0, GROUP_WEIGHT / np.maximum(sizes, 1.0))
    error = max(law.validation_error, EXACT)
    scatter, per_distance = fit_scales(errors, distances, weights, start=error, least=LEAST_SCATTER * error)
    ratios = np.abs(errors) / np.hypot(scatter, per_distance * distances)
    order = np.argsort(ratios)
    return ErrorModel(
        law=law,
        scatter=scatter,
        per_distance=per_distance,
        ratios=ratios[order],
        weights=weights[order],
        left_out=tuple(found),
        points=own_terms(grid, law)[:, grid.num_offsets :],
        datasets=np.array([run.dataset for run in runs]),
    )


def leave_out(grid: ShapeGrid, runs: Sequence[Run], kind: str) -> LeftOut:
    """Predict each group of one ``kind``, a key of `GROUPS`, from all others; empty with a single group."""
    keys = [GROUPS[kind](run) for run in runs]
    sizes, names = np.array([run.num_params for run in runs]), np.array([run.dataset for run in runs])
    needed = grid.designs[0].shape[1]
    parts: list[tuple[Array, Array, Array]] = []
    for key in dict.fromkeys(keys):
        out = np.array([one == key for one in keys])
        kept = ~out
        if kept.sum() < needed or (kind == "size" and len(set(sizes[kept].tolist())) < 2):
            continue
        out &= np.isin(names, names[kept])
        if not out.any():
            continue
        law = grid.law(kept.astype(np.float64))
        terms = own_terms(grid, law)
        errors = terms[out].sum(axis=1) - grid.losses[out]
        points = terms[:, grid.num_offsets :]
        parts.append((errors, nearest(points[kept], points[out]), np.full(out.sum(), float(out.sum()))))
    joined = [np.concatenate([part[i] for part in parts] or [np.empty(0)]) for i in range(3)]
    return LeftOut(kind, *joined)


def fit_scales(
    errors: Array, distances: Array, weights: Array, *, start: float, least: float, spread: float = KAPPA_SPREAD
) -> tuple[float, float]:
    """Scatter and kappa by maximum posterior density; all (num_errors,), in nats.

    start : a first guess at the scatter, and the answer where there are no errors. least : the scatter is not below it.
    spread : of the prior, in ln kappa.
    """
    if not errors.size:
        return start, KAPPA

    def cost(x: Array) -> float:
        squared = np.exp(2 * x[0]) + np.exp(2 * x[1]) * distances**2
        surprise = np.log(squared) / 2 + (FREEDOM + 1) / 2 * np.log1p(errors**2 / squared / FREEDOM)
        return float(weights @ surprise + ((x[1] - np.log(KAPPA)) / spread) ** 2 / 2)

    first = [np.log(start), np.log(KAPPA)]
    limits = [(np.log(least), None), (None, None)]
    best = minimize(cost, first, method="Nelder-Mead", bounds=limits)
    scatter, kappa = np.exp(best.x).tolist()
    return scatter, kappa


def nearest(known: Array, asked: Array) -> Array:
    """Distance from each point asked for to the nearest known one, (num_asked,), in nats."""
    return np.array([np.sqrt(((known - point) ** 2).sum(axis=1).min()) for point in asked])


def own_terms(grid: ShapeGrid, law: ScheduleLaw) -> Array:
    """`ScheduleLaw.terms` of the grid's own runs, without following them again."""
    places = {shape: place for place, shape in enumerate(grid.blank.shapes)}
    parts = [grid.designs[places[shape]] * c for shape, c in zip(law.shapes, law.coefficients, strict=True)]
    return np.mean(parts, axis=0)


# Constants and scores, with runs drawn again


class Constant(NamedTuple):
    """One constant of a fitted law, with its interval; ``meaning`` says what it is and in which unit."""

    name: str
    value: float
    low: float
    high: float
    meaning: str


def bootstrap_constants(
    grid: ShapeGrid, law: ScheduleLaw, *, num_replicas: int = 200, level: float = 0.9, seed: int = 0
) -> list[Constant]:
    """Every constant of ``law``, which ``grid`` gave, mean over its shapes, with the quantiles of replicas.

    A replica draws the runs of each data set again with replacement, chooses its shapes by their errors on those, and
    takes one of them at random: the interval holds what the runs do not decide about the shape.
    """
    require_integer("num_replicas", num_replicas, at_least=1)
    require_number("level", level, above=0, below=1)
    rng = np.random.default_rng(seed)
    offsets = grid.designs[0][:, : grid.num_offsets]
    members = [np.flatnonzero(column) for column in offsets.T]
    replicas = []
    for _ in range(num_replicas):
        drawn = np.concatenate([rng.choice(rows, rows.size) for rows in members])
        kept = grid.kept(np.bincount(drawn, minlength=len(grid.losses)).astype(np.float64))
        one = kept[rng.integers(len(kept))]
        coefficients = solve(grid.designs[one][drawn], grid.losses[drawn], grid.num_offsets)
        replicas.append(np.concatenate([coefficients, grid.blank.shapes[one]]))
    low, high = np.quantile(replicas, [(1 - level) / 2, (1 + level) / 2], axis=0)
    value = np.concatenate([np.mean(law.coefficients, axis=0), np.mean(law.shapes, axis=0)])
    named = _names(law)
    return [
        Constant(name, float(value[i]), float(min(low[i], value[i])), float(max(high[i], value[i])), meaning)
        for i, (name, meaning) in enumerate(named)
        if name
    ]


def _names(law: ScheduleLaw) -> list[tuple[str, str]]:
    """Name and meaning of every coefficient, then of every field of a shape; no name for one that is not in the law."""
    several = law.trained["num_params"][0] < law.trained["num_params"][1]
    largest = law.trained["num_params"][1]
    names = [(f"offset {name}".strip(), "nats, what no size and no length takes away") for name in law.datasets]
    if several:
        names.append(("size", f"nats at N = {largest:g}, falling as N^-size_exponent"))
    names.append(("progress", "nats at the longest progress trained on, falling as progress^-progress_exponent"))
    names += [
        (
            f"noise_memory_{1 / h:.2g}",
            f"nats per radian of noise that is forgotten in {1 / h:.2g} of the longest progress",
        )
        for h in law.bank
    ]
    return [
        *names,
        ("initial_rms", "effective weight RMS at the start"),
        ("decay_fraction", "of the weight decay, with which norms relax"),
        ("progress_exponent", ""),
        ("size_exponent" if several else "", ""),
    ]


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
    low, high = np.quantile(replicas, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Score(*low.tolist()), Score(*high.tolist())
