"""How certain a fitted schedule-and-scale law is: its constants and its scores, with runs drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.losses.finished_runs import Run, Score, score
from experiments.losses.schedule_law import ScheduleLaw, ShapeGrid, solve
from theory.checks import require_integer, require_number

Array = NDArray[np.float64]


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
    names += [(f"noise {h:g}", f"nats per radian of noise kept for 1/{h:g} of the longest progress") for h in law.bank]
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
