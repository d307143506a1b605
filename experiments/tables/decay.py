"""Which weight decay makes a cell: PyTorch's, or the independent one, learning rate times it.

A sweep may hold either. Where the decay falls as one over the learning rate, so that the product stays, cells of equal
PyTorch decay would have a run each; there the product is the decay of the cell. It is taken without being asked for
only if the table has it as a column. Where each run has a decay of its own, as in a random search, neither makes cells,
and decay may be ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.tables.formats import RawTable
from experiments.tables.keys import Codes, codes, joined, merge_close
from experiments.tables.numbers import parse
from experiments.tables.run_table import DECAYS, Array, Rows

Decay = Literal["pytorch", "independent", "ignored"]

PYTORCH, INDEPENDENT = DECAYS
PRODUCT_ROUNDING = 0.05  # of a product of two rounded numbers
PRODUCT_SPAN = 0.11  # from the lowest to the highest of such products: decays of two digits
SWEEP = 3  # learning rates
SHARE_BESIDE = 0.2  # of the runs, from which on sweeps of the other kind are told
MOST_IN_SWEEPS = 0.5  # of the runs
FALLS = -0.5  # slope of ln(decay) in ln(rate): -1 where the product is held, 0 where they are drawn at random


def settle_decay(
    numbers: Mapping[str, Array], setting: Codes, asked: Decay | None, raw: RawTable, rows: Rows, notes: list[str]
) -> dict[str, Array]:
    """The columns with ``independent_weight_decay`` where it makes the cells, without it elsewhere.

    ``setting``: of the other scales and the group. Raises `BadInput` where no cell would have two learning rates.
    """
    result = dict(numbers)
    rate, given = numbers["learning_rate"], numbers.get(INDEPENDENT)
    if PYTORCH not in numbers and given is None:
        if asked is not None:
            raise BadInput(f"--decay {asked}: the table has no weight_decay")
        return result
    if asked == "ignored":
        notes.append("runs of every weight_decay count as one setting, as asked for")
        return {name: values for name, values in numbers.items() if name not in DECAYS}
    if PYTORCH not in numbers:
        assert given is not None
        result[PYTORCH] = given / rate
    product = rate * result[PYTORCH]
    own = given if given is not None else merge_close(product, PRODUCT_SPAN)[0]
    if given is not None and PYTORCH in numbers and not _same(given, product, rows):
        notes.append(f"{INDEPENDENT} is not learning_rate x weight_decay, and is not read")
        own = merge_close(product, PRODUCT_SPAN)[0]
        given = None
    held, held_product = (_in_sweeps(setting, values, rate, rows) for values in (result[PYTORCH], own))
    by_pytorch, by_product = int(held.sum()), int(held_product.sum())
    if asked is None and given is None and not by_pytorch and not _falls(setting, result[PYTORCH], rate, rows):
        if _in_sweeps(setting, np.ones(len(rate)), rate, rows).mean() >= MOST_IN_SWEEPS:
            raise BadInput(
                f"{raw.where}: weight_decay differs from run to run, so that no cell of one decay has {SWEEP} learning"
                " rates; --decay ignored makes cells of runs with every decay, whose effect then counts as noise"
            )
    elif asked is None and by_product > by_pytorch and given is None:
        column, values = _column_of(raw, product, rows)
        if column is None and not by_pytorch:
            raise BadInput(
                f"{raw.where}: weight_decay falls as 1/learning_rate, so that no cell of one decay has {SWEEP} learning"
                " rates; --decay independent makes cells of their product"
            )
        if column is None:
            notes.append(
                "weight_decay falls as 1/learning_rate in some sweeps: --decay independent makes cells of those"
            )
            return result
        notes.append(f"the column {column} is learning_rate x weight_decay")
        given = own = values
    if asked is not None and not (by_product if asked == "independent" else by_pytorch):
        other = PYTORCH if asked == "independent" else "learning_rate x weight_decay"
        if by_product or by_pytorch:
            raise BadInput(f"--decay {asked}: the sweeps hold {other}, so that no cell has {SWEEP} learning rates")
    chosen = asked or ("independent" if given is not None and by_product > by_pytorch else "pytorch")
    if chosen == "pytorch":
        beside = int((held_product & ~held).sum())
        if asked is None and by_pytorch and beside >= SHARE_BESIDE * len(held):
            notes.append(
                f"weight_decay falls as 1/learning_rate in the sweeps of {beside} other runs: choose those with"
                " --where, and --decay independent makes cells of them"
            )
        result.pop(INDEPENDENT, None)
        return result
    result[INDEPENDENT] = own
    notes.append(
        "weight decay of a cell: learning_rate x weight_decay"
        + ("" if asked else ", which the sweeps hold (--decay pytorch makes cells of weight_decay)")
    )
    return result


def _in_sweeps(setting: Codes, decay: Array, rate: Array, rows: Rows) -> NDArray[np.bool_]:
    """(num_kept,) whether a run is in a cell with enough learning rates."""
    size = int(rows.keep.sum())
    cell = joined(setting[rows.keep], codes([decay[rows.keep]], size))
    several = np.bincount(np.unique(np.stack([cell, codes([rate[rows.keep]], size)]), axis=1)[0]) >= SWEEP
    return np.asarray(several[cell], bool)


def _falls(setting: Codes, decay: Array, rate: Array, rows: Rows) -> bool:
    """Whether decay goes as one over the learning rate within the settings."""
    kept = rows.keep & (decay > 0)
    x, y, place = np.log(rate[kept]), np.log(decay[kept]), setting[kept]
    number = np.maximum(np.bincount(place), 1)
    x, y = (values - (np.bincount(place, values) / number)[place] for values in (x, y))
    return bool(x @ y <= FALLS * (x @ x))


def _same(one: Array, other: Array, rows: Rows) -> bool:
    kept = rows.keep
    return bool(np.all(np.abs(one[kept] - other[kept]) <= PRODUCT_ROUNDING * np.abs(other[kept])))


def _column_of(raw: RawTable, product: Array, rows: Rows) -> tuple[str | None, Array]:
    """The column that holds the product, whatever its name, and what stands in it."""
    for name, values in zip(raw.header, raw.columns, strict=True):
        found: Sequence[Any] = values
        parsed = parse(found)
        if np.isfinite(parsed.numbers[rows.keep]).all() and _same(parsed.numbers, product, rows):
            return name, merge_close(parsed.numbers, PRODUCT_SPAN)[0]
    return None, product
