"""Finished training runs as data for a law: which of them count, and how predictions are scored against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.divergence import FAR_ABOVE_MEDIAN

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One training run with AdamW.

    learning_rates : (num_steps,) at every step. num_params : N, counted as in the other runs. tokens_per_step : batch
    in tokens. weight_decay : PyTorch convention. loss : final loss in nats, NaN where it is to be predicted or is
    missing. schedule : name of the schedule's shape, the same in runs that differ in rate, length or size only.
    dataset : name of what the loss is measured on; losses of two data sets differ by an offset.
    """

    learning_rates: Array
    num_params: float
    tokens_per_step: float
    weight_decay: float
    loss: float = float("nan")
    schedule: str = ""
    dataset: str = ""

    @property
    def num_steps(self) -> int:
        """Length of the run, its horizon."""
        return len(self.learning_rates)

    @property
    def num_tokens(self) -> float:
        """D."""
        return self.num_steps * self.tokens_per_step

    @property
    def peak_learning_rate(self) -> float:
        """The highest rate of the run."""
        return float(np.max(self.learning_rates))


class Usable(NamedTuple):
    """Runs to fit and to score, after `usable_runs`.

    rerun_deviation : standard deviation in nats of one run about its repeats, NaN without repeats.
    """

    runs: list[Run]
    missing: list[Run]
    far_above: list[Run]
    rerun_deviation: float  # standard deviation of one run about its repeats, NaN without repeats


def usable_runs(runs: Sequence[Run], *, far_above: float = FAR_ABOVE_MEDIAN) -> Usable:
    """The rule for runs that went wrong and runs that were repeated.

    A run without a finite loss is missing. A run whose loss lies more than ``far_above`` nats above the median of the
    runs with its data set, N and D is far above them (`theory.divergence`). Both are left out. Runs with the same
    rates, N, batch, decay and data set are repeats: one run with their mean loss stands for them.
    """
    missing = [run for run in runs if not np.isfinite(run.loss)]
    finite = [run for run in runs if np.isfinite(run.loss)]
    losses_at: dict[tuple[object, ...], list[float]] = {}
    for run in finite:
        losses_at.setdefault((run.dataset, run.num_params, run.num_tokens), []).append(run.loss)
    high: list[Run] = []
    repeats: dict[tuple[object, ...], list[Run]] = {}
    for run in finite:
        if run.loss > np.median(losses_at[run.dataset, run.num_params, run.num_tokens]) + far_above:
            high.append(run)
            continue
        identity = (run.learning_rates.tobytes(), run.num_params, run.tokens_per_step, run.weight_decay, run.dataset)
        repeats.setdefault(identity, []).append(run)
    groups = list(repeats.values())
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(len(group) * float(np.var([run.loss for run in group])) for group in groups)
    return Usable(
        runs=[replace(group[0], loss=float(np.mean([run.loss for run in group]))) for group in groups],
        missing=missing,
        far_above=high,
        rerun_deviation=float(np.sqrt(squares / freedom)) if freedom else float("nan"),
    )


class Score(NamedTuple):
    r"""Predictions against measurements among candidates of one horizon.

    regret : measured loss of the predicted best minus that of the measured best, in nats. spearman : rank correlation,
    NaN where either is the same for all. relative_error : mean of \|predicted/measured - 1\|.
    """

    regret: float
    spearman: float
    relative_error: float


def score(predicted: ArrayLike, measured: ArrayLike, *, eligible: ArrayLike = True) -> Score:
    """Score predicted losses, both (num_candidates,); only an ``eligible`` candidate can be the predicted best.

    >>> score([3.0, 2.0, 2.5], [3.0, 2.25, 2.0]).regret  # the second was picked, the third was best
    0.25
    """
    from scipy.stats import spearmanr  # half a second, which a fit alone does not need

    p, y = np.asarray(predicted, dtype=np.float64), np.asarray(measured, dtype=np.float64)
    return Score(
        regret=float(y[np.argmin(np.where(eligible, p, np.inf))] - y.min()),
        spearman=float(spearmanr(p, y).statistic) if np.ptp(p) and np.ptp(y) else np.nan,
        relative_error=float(np.mean(np.abs(p / y - 1))),
    )
