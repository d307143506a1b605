"""Which column of a source is which of ours, for final losses and for loss curves.

A column is taken by ``--column``, by our name, or by the first of the usual other names that the source has, in the
order in which they stand here: in a table of final losses ``final_val_loss`` is meant, not ``last_val_loss``. A unit
behind the name of what is counted is one of its values: params_M, tokens (B), steps_k. What was taken for what is
noted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.files import BadInput
from experiments.tables.aliases import ALIASES, SO_FAR, spelled, unit_of
from experiments.tables.formats import RawTable
from experiments.tables.numbers import Parsed, commas, is_empty, parse
from experiments.tables.outcomes import share_done
from experiments.tables.written import number

Array = NDArray[np.float64]

NUMBERS: dict[str, tuple[str, ...]] = {
    "learning_rate": ALIASES["learning_rate"],
    "loss": (
        *("final_loss", "final_val_loss", "final_validation_loss", "final_eval_loss", "val_loss", "validation_loss"),
        *("eval_loss", "test_loss", "train_loss", "final_train_loss", "last_val_loss"),
    ),
    "num_steps": ALIASES["num_steps"],
    "num_tokens": ALIASES["num_tokens"],
    "num_params": ALIASES["num_params"],
    "num_layers": ("n_layer", "n_layers", "layers", "depth", "num_hidden_layers"),
    "d_model": ("n_embd", "hidden_size", "width", "dim", "n_embed", "embed_dim"),
    "tokens_per_step": ("tokens_per_batch", "batch_tokens", "tokens_per_iter", "batch_size_tokens"),
    "batch_size": ALIASES["batch_size"],
    "accumulation_steps": ("acc_steps", "grad_acc_steps", "gradient_accumulation_steps", "grad_accum"),
    "sequence_length": ("seq_len", "seq_length", "context_length", "block_size", "context", "max_seq_len"),
    "weight_decay": ALIASES["weight_decay"],
    "warmup_steps": ("warmup", "warmup_iters", "num_warmup_steps", "warmup_iterations"),
    "warmup_fraction": ("warmup_ratio", "warmup_frac"),
    "decay_fraction": (
        *("cooldown_fraction", "decay_frac", "cooldown_frac", "fract_decay", "wsd_fract_decay", "wsd_decay_fraction"),
        *("decay_ratio", "cooldown_ratio", "cooldown", "annealing_fraction"),
    ),
    "decay_steps": ("cooldown_steps", "decay_iters", "cooldown_iters", "annealing_steps"),
    "final_fraction": (
        *("final_lr_fraction", "min_lr_ratio", "final_lr_ratio", "min_lr_fraction", "end_lr_ratio", "lr_end_ratio"),
        *("final_ratio", "min_ratio", "end_fraction", "lr_min_ratio"),
    ),
    "final_learning_rate": ("min_lr", "final_lr", "lr_end", "end_lr", "eta_min"),
}
TEXTS: dict[str, tuple[str, ...]] = {
    "schedule": ("scheduler", "lr_schedule", "lr_scheduler", "schedule_type", "lr_scheduler_type", "sched"),
    "decay_type": ("decay_shape", "cooldown_type", "cooldown_shape", "decay_function"),
    "dataset": ("data", "corpus", "dataset_name", "data_set"),
    "optimizer": ALIASES["optimizer"],
    "label": ("file", "filename", "name", "run", "run_name", "path"),
}
CURVE: dict[str, tuple[str, ...]] = {
    "step": (*SO_FAR["num_steps"], "steps", "iters", "iterations"),
    "learning_rate": ALIASES["learning_rate"],
    "loss": ("train_loss", "training_loss", *NUMBERS["loss"]),
}
FRACTIONS = ("warmup_fraction", "decay_fraction", "final_fraction")  # 20% is one
RATES = ("learning_rate", "final_learning_rate")  # 1/512 is one, and 3m none
COUNTED = ("num_steps", "num_tokens", "num_params", "tokens_per_step", "warmup_steps", "decay_steps")
LARGEST = 1e20  # beyond it, and below one over it, a number is none


@dataclass
class Cells:
    """What a source says: ``texts`` and ``numbers`` by our names, each of one value a row; ``read_from`` whose column
    under another name; ``units`` above 1 that a name tells, which the numbers have had; ``num_rows``."""

    num_rows: int
    numbers: dict[str, Parsed] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    read_from: dict[str, str] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)

    def number(self, name: str) -> Array | None:
        """(num_rows,) NaN where there is none; None without such a column."""
        return self.numbers[name].numbers if name in self.numbers else None

    def text(self, name: str) -> list[str]:
        """Of every row, "" where there is none."""
        return self.texts.get(name, [""] * self.num_rows)


def find_cells(raw: RawTable, columns: Mapping[str, str], constants: Mapping[str, str]) -> Cells:
    """Every column of ours that the source or the flags have.

    columns : of ours to theirs. constants : of ours to the text of the one value. Raises `BadInput` for a name that is
    not ours or a column that is not there.
    """
    known = {**NUMBERS, **TEXTS}
    for flag, names in (("--column", columns), ("--constant", constants)):
        for name in names:
            if name not in known:
                raise BadInput(f"{flag} {name}: must be one of {', '.join(known)}")
    cells = Cells(len(raw.lines))
    found_values = {
        name: values
        for name, others in known.items()
        if (values := _values(raw, name, others, columns, constants, cells.read_from)) is not None
    }
    own = [values for name, values in found_values.items() if name in NUMBERS and name not in constants]
    mark = commas(raw.where, own, raw.separator)
    for name, values in found_values.items():
        others = known[name]
        if name in TEXTS:
            cells.texts[name] = ["" if value is None else str(value).strip() for value in values]
            continue
        found = parse(values, suffixes=name not in RATES, commas="thousands" if name in constants else mark)
        if name in FRACTIONS and (share := share_done(values)) is not None:
            found = Parsed(share, np.zeros(len(share), bool), np.isnan(share))
        unit = _unit(columns.get(name, cells.read_from.get(name, "")), name, others, values)
        if unit != 1:
            found = replace(found, numbers=found.numbers * unit)
            cells.units[name] = unit
            cells.read_from.setdefault(name, columns.get(name, name))
        if name in constants and found.text.any():
            raise BadInput(f"--constant {name}={constants[name]}: {constants[name]!r} is not a number")
        size = np.abs(found.numbers)
        held = (size == 0) | ((size >= 1 / LARGEST) & (size <= LARGEST))  # products of them stay numbers
        cells.numbers[name] = replace(found, numbers=np.where(held, found.numbers, np.nan))
    return cells


def find_curve(raw: RawTable, columns: Mapping[str, str]) -> dict[str, Parsed]:
    """Steps, learning rates and losses of a curve, each (num_rows,). Raises `BadInput` with all that is missing."""
    found, missing = {}, []
    for name, others in CURVE.items():
        values = _values(raw, name, others, columns, {}, {})
        if values is None:
            missing.append(name)
        else:
            found[name] = parse(values)
    if missing:
        raise BadInput(f"{raw.where}: no column {' and no column '.join(missing)}; it has {raw.shown}")
    return found


def is_curve(raw: RawTable) -> bool:
    """Whether a table looks like one loss curve: a record a row, with a step that rises, rate and loss, no schedule."""
    step = _place(raw, "step", SO_FAR["num_steps"])
    there = [_place(raw, name, CURVE[name]) for name in ("learning_rate", "loss")]
    if step is None or None in there or _place(raw, "schedule", TEXTS["schedule"]) is not None:
        return False
    return bool(np.all(np.diff(parse(raw.columns[step]).numbers) > 0))


def _values(
    raw: RawTable,
    name: str,
    others: Sequence[str],
    columns: Mapping[str, str],
    constants: Mapping[str, str],
    read_from: dict[str, str],
) -> Sequence[Any] | None:
    if name in constants:
        if name in columns:
            raise BadInput(f"--constant {name}: it is mapped to a column as well")
        return [constants[name]] * len(raw.lines)
    if name in columns:
        if raw.times[columns[name]] != 1:
            raise BadInput(f"--column {name}={columns[name]}: {raw.where} has no such column; it has {raw.shown}")
        return raw.columns[raw.header.index(columns[name])]
    place = _place(raw, name, others, taken=set(columns.values()))
    if place is None and name in COUNTED:
        place = _place(raw, name, others, taken=set(columns.values()), in_units=True)
    if place is None:
        return None
    if raw.header[place] != name:
        read_from[name] = raw.header[place]
    return raw.columns[place]


def _unit(theirs: str, name: str, others: Sequence[str], values: Sequence[Any]) -> float:
    """What the name of a column says its values are in; 1 where it says nothing or they say it themselves."""
    base, unit = unit_of(theirs)
    if name not in COUNTED or not set(spelled(base)) & {name, *others}:
        return 1.0
    return 1.0 if any(number(value) is None for value in values if not is_empty(value)) else unit


def _place(
    raw: RawTable, name: str, others: Sequence[str], taken: set[str] | None = None, *, in_units: bool = False
) -> int | None:
    if raw.times[name] == 1:
        return raw.header.index(name)
    for other in (name, *others):
        for place, theirs in enumerate(raw.header):
            bare = unit_of(theirs)[0] if in_units else theirs
            if theirs not in (taken or ()) and raw.times[theirs] == 1 and other in spelled(bare):
                return place
    return None
