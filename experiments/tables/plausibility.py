"""Absolute numbers of a table against what they can be: each doubt comes with its probable cause and what to do.

Optima and exponents do not depend on units, so most wrong units go unseen: these checks are the place where they show.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.tables.keys import ROUNDING, Codes, codes, joined
from experiments.tables.run_table import Array, RunTable

UNIT_WORDS = {"perplexity": "ppl|perplexity", "bits": "(?<![a-z])(bp[bct]|bits)(?![a-z])"}
UNIFORM_LOSS = 12.0  # nats; a uniform guess over 50,257 tokens has 10.8, over 150,000 11.9
MOST_STEPS = ((4096, 2e5), (16384, 1e6))  # of a run whose steps hold fewer tokens than this: beyond, it is doubtful
AGREE = 0.05  # relative difference of tokens and steps times batch
FEWEST_TOKENS = 1e4  # a step has as many
TOKENS_PER_PARAM = (1e-3, 1e6)
FEWEST_NATS = 0.3  # of the losses of a table in which 0 and less stand for a run that failed
FEWEST_MISSING, MOSTLY = 3, 0.8
SWEEP, MOSTLY_TORN = 3, 0.5  # learning rates of a cell; of the runs
LOG_ROWS = 100  # at as many steps that never fall, rows are records of one run


def check_losses(where: str, loss: Array, cell: Codes, *, name: str) -> None:
    """Refuse losses that are not in nats, by the ``name`` of their column or because few cells have a possible one."""
    named = next((kind for kind, words in UNIT_WORDS.items() if re.search(words, name.lower())), None)
    if named is not None:
        raise BadInput(f"{where}: {name} is in {named}, by its name: --loss-unit {named}, or nats if it is not")
    least = np.full(int(cell.max(initial=0)) + 1, np.inf)
    np.minimum.at(least, cell, np.where(np.isfinite(loss), loss, np.inf))
    best = least[np.isfinite(least)]
    if len(best) and np.median(best) > UNIFORM_LOSS:
        raise BadInput(
            f"{where}: the best losses of the cells are {best.min():.4g} to {best.max():.4g} in {name}, but a uniform"
            " guess over 50,257 tokens has 10.8 nats: perplexities are read with --loss-unit perplexity, bits with"
            " --loss-unit bits; a sum over tokens has to be divided by their number (--loss-unit nats reads them as"
            " they are)"
        )


def failed_marks(loss: Array) -> NDArray[np.bool_]:
    """(num_runs,) which losses are 0 or below among others that are all far above, the fewer ones: marks of a run that
    failed, and the lowest loss of its cell if they were read."""
    finite = np.isfinite(loss)
    marks = finite & (loss <= 0)
    others = loss[finite & ~marks]
    if not len(others) or marks.sum() >= len(others) or others.min() < FEWEST_NATS:
        return np.zeros(len(loss), bool)
    return marks


def missing_above(rate: Array, loss: Array, cell: Codes, empty: NDArray[np.bool_]) -> list[str]:
    """A note where most rows without a loss, ``empty``, have rates above the best of their cell, as if they had
    diverged."""
    above = empty & (rate > _best_rates(rate, loss, cell)[cell])
    if above.sum() < max(FEWEST_MISSING, MOSTLY * empty.sum()):
        return []
    return [
        f"{int(above.sum())} of the {int(empty.sum())} rows without a loss have learning rates above the best of their"
        " cell: if those runs diverged, write nan there, which closes the grid"
    ]


def check_rates(where: str, rate: Array, usable: NDArray[np.bool_], *, name: str) -> None:
    """Refuse learning rates that are logarithms, by sign or by name."""
    known = rate[np.isfinite(rate) & usable]
    if len(known) and (np.all(known < 0) or ("log" in name.lower() and known.max() > 1)):
        raise BadInput(
            f"{where}: learning rates of {known.min():.4g} to {known.max():.4g} in {name} are logarithms, as it seems:"
            " put the rates themselves into the table (exp of natural ones, 10 or 2 to the power of the others)"
        )


def check_no_log(where: str, steps: Array, *, name: str) -> None:
    """Refuse the log of one run: ``steps``, those done by each row, never fall from row to row."""
    known = steps[np.isfinite(steps)]
    distinct = len(np.unique(known))
    if distinct >= max(LOG_ROWS, len(steps) / 2) and np.all(np.diff(known) >= 0):
        raise BadInput(
            f"{where}: looks like the log of one run, {len(steps)} rows with {name} rising and no sizes: lrbend read"
            " reads logs; here a row is a run"
        )


def sequence_length(table: RunTable, told: Array | None = None) -> tuple[float | None, str | None]:
    """Tokens in one unit of ``batch_size``, None if the table does not tell, and what there is to say of it.

    ``told``: (num_runs,) the tokens in a sequence by a column of their own, None if there is none.
    """
    numbers = table.numbers
    if not {"num_tokens", "batch_size"} <= set(numbers):
        return 1.0, None
    tokens, batch = numbers["num_tokens"], numbers["batch_size"]
    one = float(told[0]) if told is not None and np.all(told == told[0]) else None
    if "num_steps" not in numbers:
        steps, size = float(np.median(tokens / batch)), float(np.median(batch))
        if not any(size < few and steps > most for few, most in MOST_STEPS):
            return 1.0, None
        if one is not None and one > 1:
            said = f"the batch is in sequences, as it seems, and is read so: {one:g} tokens each, by their column"
            return one, said
        return None, (
            f"num_tokens over batch_size makes {steps:.3g} steps of {size:g} tokens: is the batch in sequences?"
            " steps count as unknown; give a column num_steps, or batch_size in tokens"
        )
    ratio = tokens / (numbers["num_steps"] * batch)
    middle = float(np.median(ratio))
    if one is None and told is not None and np.all(np.abs(ratio / told - 1) <= AGREE):
        return None, (
            f"num_tokens is num_steps x batch_size x {told.min():g} to {told.max():g}: the batch is in sequences whose"
            " length differs, so that a batch_size is not one number of tokens; put batch_size in tokens into the table"
        )
    if np.any(np.abs(ratio / middle - 1) > AGREE):
        return None, (
            f"num_tokens is {ratio.min():.3g} to {ratio.max():.3g} times num_steps x batch_size: one of the three is"
            " another quantity in some rows; leave it out"
        )
    if abs(middle - 1) <= AGREE:
        return 1.0, None
    if middle < 1:
        return None, (
            f"num_tokens is {middle:.3g} times num_steps x batch_size: one of the three is another quantity;"
            " leave it out"
        )
    length = float(round(middle)) if abs(middle / round(middle) - 1) < ROUNDING else middle
    return length, (
        f"num_tokens is num_steps x batch_size x {length:g}: the batch is in sequences of {length:g} tokens, as it"
        " seems, and is read so"
    )


def derived(table: RunTable) -> list[str]:
    """What follows from the columns, for the reader to recognise or not."""
    steps, numbers = table.num_steps, table.numbers
    if steps is None:
        return []
    parts = [f"{_range(steps)} steps"]
    if "num_tokens" in numbers:
        parts.append(f"{_range(numbers['num_tokens'] / steps)} tokens a step")
    if "weight_decay" in numbers and np.any(numbers["weight_decay"] > 0):
        relaxations = 2 * numbers["learning_rate"] * numbers["weight_decay"] * steps
        parts.append(f"{_range(relaxations)} relaxation times of the norm at the peak rate")
    return [f"a run has {', '.join(parts)}"]


def doubts(table: RunTable, cell: Codes) -> list[str]:
    """Warnings on single columns; ``cell`` (num_runs,)."""
    numbers = table.numbers
    found = _dead_below_the_best(numbers["learning_rate"], numbers["loss"], cell)
    if {"num_params", "num_tokens"} <= set(numbers):
        ratio = float(np.median(numbers["num_tokens"] / numbers["num_params"]))
        if not TOKENS_PER_PARAM[0] <= ratio <= TOKENS_PER_PARAM[1]:
            found.append(
                f"{ratio:.2g} tokens per parameter: num_params or num_tokens in another unit (millions, billions)?"
                " write 130M, 2.5B, or the numbers in full"
            )
    steps = table.num_steps
    if steps is not None and steps.min() < 1:
        found.append(f"a run of {steps.min():.3g} steps: num_tokens and batch_size differ in unit; use tokens in both")
    elif numbers.get("num_tokens", np.full(1, np.inf)).max() < FEWEST_TOKENS:
        found.append(
            f"no run has more than {numbers['num_tokens'].max():.3g} tokens: num_tokens in another unit (millions,"
            " billions)? write 130M, 2.5B, or the numbers in full"
        )
    if "weight_decay" in numbers and np.any(numbers["learning_rate"] * numbers["weight_decay"] >= 1):
        found.append(
            "learning_rate x weight_decay is 1 or more in some runs, which removes the weights in one step:"
            " is weight_decay a percentage, or the learning rate in another unit? put plain numbers into the table"
        )
    return found


def torn_cells(table: RunTable, group: Codes, rate: Codes) -> list[str]:
    """A warning where no cell has enough learning rates, and most runs would be in one that has but for one scale;
    ``group``, ``rate`` (num_runs,)."""

    def share_in_sweeps(names: Sequence[str]) -> float:
        cell = joined(group, codes([table.numbers[name] for name in names], len(table)))
        rates = np.bincount(np.unique(np.stack([cell, rate]), axis=1)[0])
        return float((rates >= SWEEP)[cell].mean())

    if share_in_sweeps(table.scales):
        return []
    for name in table.scales:
        if share_in_sweeps([other for other in table.scales if other != name]) >= MOSTLY_TORN:
            values = np.unique(table.numbers[name])
            shown = ", ".join(f"{value:.6g}" for value in values[:4])
            return [
                f"no cell has {SWEEP} learning rates, since {name} differs from run to run ({len(values)} values:"
                f" {shown}, ...): was it measured? --column {name}=NAME reads what was planned, or round it"
            ]
    return []


def _dead_below_the_best(rate: Array, loss: Array, cell: Codes) -> list[str]:
    """Divergence starts at high learning rates: marks below the best one are something else."""
    finite, best = np.isfinite(loss), _best_rates(rate, loss, cell)
    dead = ~finite & (rate < best[cell]) & np.isfinite(best[cell])
    if not dead.any():
        return []
    return [
        f"{int(dead.sum())} of {int((~finite).sum())} runs without a finite loss have learning rates below the best of"
        " their cell, where nothing diverges: missing values, or another cause; leave out such rows"
    ]


def _best_rates(rate: Array, loss: Array, cell: Codes) -> Array:
    """(num_cells,) where the lowest loss of each stands, the lowest such rate, inf in a cell without a finite loss."""
    number = int(cell.max(initial=0)) + 1
    least, best = np.full(number, np.inf), np.full(number, np.inf)
    finite = np.isfinite(loss) & np.isfinite(rate)
    np.minimum.at(least, cell[finite], loss[finite])
    top = finite & (loss == least[cell])
    np.minimum.at(best, cell[top], rate[top])
    return best


def _range(values: Array) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.3g}" if math.isclose(low, high, rel_tol=0.01) else f"{low:.3g} to {high:.3g}"
