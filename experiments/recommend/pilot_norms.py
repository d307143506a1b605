"""Had the norm come to its equilibrium in the runs of a table? The theory's transient against the length of each run.

The optimum of a run that ends in the transient of its norm follows another law than that of a run which spends most of
its steps at equilibrium (`theory.bend`): a table of the one kind says little of a target of the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.bend.mean_angle import SHAPE_STEPS, AngleOf
from experiments.tables.run_table import RunTable
from theory.transient import decay_time_transient_steps

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PilotNorms:
    """Runs that end before the norm is within 5 % of its equilibrium.

    num_runs, num_short : the number of runs, and of those that end before. num_cells, num_best_short : the same of the
    best run of each cell. median_share : the median share of a best run that its transient takes, inf if half of them
    end before. from_start : whether the table tells the initial RMS; if not, a start far below equilibrium is assumed.
    """

    num_runs: int
    num_short: int
    num_cells: int
    num_best_short: int
    median_share: float
    from_start: bool


def pilot_norms(runs: RunTable, how: AngleOf) -> PilotNorms | None:
    """Judge the runs of AdamW in a table, whose angles are made as ``how`` says.

    None where the table does not tell weight decay or the number of steps.
    """
    shares = transient_shares(runs, how)
    if shares is None:
        return None
    keys = [runs.numbers[name] for name in runs.scales]
    _, member = np.unique(np.stack(keys, axis=1), axis=0, return_inverse=True)
    losses = np.where(np.isfinite(runs.numbers["loss"]), runs.numbers["loss"], np.inf)
    order = np.lexsort((losses, member.ravel()))
    best = shares[order[np.unique(member.ravel()[order], return_index=True)[1]]]
    return PilotNorms(
        num_runs=len(shares),
        num_short=int((shares >= 1).sum()),
        num_cells=len(best),
        num_best_short=int((best >= 1).sum()),
        median_share=float(np.median(best)) if np.isfinite(np.sort(best)[: len(best) // 2 + 1]).all() else np.inf,
        from_start="initial_rms" in runs.numbers,
    )


def transient_shares(runs: RunTable, how: AngleOf) -> Array | None:
    """(num_runs,) share of each run before AdamW's norm is within 5 % of its equilibrium, inf if it ends before.

    `theory.transient.decay_time_transient_steps`, for runs as long as one another: a run k times as long is the same
    path at sqrt(k) times learning rate and decay. Without ``initial_rms`` from a norm far below equilibrium. None where
    ``weight_decay`` or the steps are not told.
    """
    steps = runs.num_steps
    if steps is None or "weight_decay" not in runs.numbers:
        return None
    root = np.sqrt(steps / SHAPE_STEPS)
    decay = runs.numbers["weight_decay"]
    shares = decay_time_transient_steps(
        how.shape(),
        learning_rate=runs.numbers["learning_rate"] * root,
        weight_decay=np.where(decay > 0, decay, 1.0) * root,
        initial_rms=runs.numbers.get("initial_rms", np.zeros(len(runs))),
    )
    return np.where(decay > 0, shares / SHAPE_STEPS, np.inf)
