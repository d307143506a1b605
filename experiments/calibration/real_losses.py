r"""Do the intervals of `lrbend losses` hold on final losses that nobody here made? Counted on 177 public runs.

Runs are left out by length, by size and by both ends of the list of lengths, the law is fitted to the others, and each
run left out is asked for. `WAYS` says how; of one size, the dense one, there are four lengths with about thirty runs
each. Runs left out together share the law's error, so a share of a hundred runs is worth a dozen at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from experiments.calibration.counting import DIGITS
from experiments.calibration.real_tables import public_folder, write_table
from experiments.files import BadInput
from experiments.losses.finished_runs import Run
from experiments.losses.intervals import error_model
from experiments.losses.loss_table import read_final_losses
from experiments.losses.schedule_law import shape_grid
from experiments.recommend.recommendation import CONFIDENCE
from experiments.text import counted

FILE = "lr_scheduling/slimpajama_final_losses.csv"
TABLE, CONFIG = "losses.csv", "losses.json"
SPLITS = (  # places of lengths in order: trained on, asked for
    ((0, 1), (2, 3)),
    ((0, 2), (1, 3)),
    ((1,), (2, 3)),
    ((1, 2), (3,)),
    ((0, 1, 2), (3,)),
    ((1, 3), (0, 2)),
)
FEWEST_LENGTHS = 1 + max(place for split in SPLITS for part in split for place in part)
FEWEST_RUNS = 20  # at one length, for it to count as dense

Way = Iterator[tuple[str, list[Run], list[Run]]]


def calibrate_losses(data: Path | None, out: Path, *, level: float = CONFIDENCE) -> pd.DataFrame:
    """A row for each group of runs left out, written into ``out`` with its config.

    ``data``: the folder of public tables, None for that of the environment. Raises `BadInput`.
    """
    runs = read_final_losses(public_folder(data) / FILE).runs
    rows = [
        {"way": name, "left_out": label, "trained_on": len(trained), **judge_left_out(trained, asked, level)}
        for name, way in WAYS.items()
        for label, trained, asked in way(runs)
    ]
    found = pd.DataFrame(rows).round(DIGITS)
    write_table(found, out / TABLE, out / CONFIG, {"confidence": level, "num_runs": len(runs)})
    return found


def judge_left_out(trained: Sequence[Run], asked: Sequence[Run], level: float) -> dict[str, Any]:
    """Of the runs asked for: how many, the share in their intervals, the mean error over the loss, the median half
    width over the loss, and the rank correlation, None below three runs."""
    grid = shape_grid(trained)
    predicted, half = error_model(grid, trained, grid.law()).predict(asked, level)
    losses = np.array([run.loss for run in asked])
    return {
        "num_asked": len(asked),
        "covered": float(np.mean(np.abs(predicted - losses) <= half)),
        "relative_error": float(np.mean(np.abs(predicted / losses - 1))),
        "relative_half_width": float(np.median(half / losses)),
        "spearman": float(spearmanr(predicted, losses).statistic) if len(asked) > 2 else None,
    }


def _dense(runs: Sequence[Run]) -> tuple[list[Run], list[int]]:
    """The runs of the most frequent size, and the lengths of which it has many. Raises `BadInput` for too few."""
    sizes = [run.num_params for run in runs]
    most = max(sorted(set(sizes)), key=sizes.count)
    dense = [run for run in runs if run.num_params == most]
    lengths = [run.num_steps for run in dense]
    many = sorted(length for length in set(lengths) if lengths.count(length) >= FEWEST_RUNS)
    if len(many) < FEWEST_LENGTHS:
        raise BadInput(
            f"{FILE}: {counted(len(many), 'length')} with {FEWEST_RUNS} runs of the most frequent size; needed are"
            f" {FEWEST_LENGTHS}"
        )
    return dense, many


def _by(quantity: Callable[[Run], float], runs: Sequence[Run]) -> Way:
    for value in sorted({quantity(run) for run in runs}):
        rest = [run for run in runs if quantity(run) != value]
        yield f"{value:g}", rest, [run for run in runs if quantity(run) == value]


def _dense_lengths(runs: Sequence[Run]) -> Way:
    dense, lengths = _dense(runs)
    return _by(lambda run: run.num_steps, [run for run in dense if run.num_steps in lengths])


def _splits(runs: Sequence[Run]) -> Way:
    dense, lengths = _dense(runs)
    for trained, asked in SPLITS:
        known = [run for run in dense if run.num_steps in [lengths[place] for place in trained]]
        for place in asked:
            label = f"{lengths[place]} from {' '.join(str(lengths[one]) for one in trained)}"
            yield label, known, [run for run in dense if run.num_steps == lengths[place]]


WAYS: dict[str, Callable[[Sequence[Run]], Way]] = {
    "length, dense size": _dense_lengths,
    "length, all sizes": lambda runs: _by(lambda run: run.num_steps, runs),
    "size": lambda runs: _by(lambda run: run.num_params, runs),
    "lengths from few": _splits,
}
